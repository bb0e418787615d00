//! What counts as naming a path.

use super::*;

fn texts(source: &str) -> Vec<String> {
    let syntax = syn::parse_file(source).expect("a test's source parses");
    named(&syntax, "gateway", &["http", "parse"]).iter().map(NamedPath::text).collect()
}

#[track_caller]
fn assert_names(source: &str, path: &str) {
    let found = texts(source);
    assert!(found.iter().any(|text| text == path), "{path} is not in {found:?}");
}

#[test]
fn use_trees_are_flattened() {
    let source = "use std::{fs, net::{self, TcpStream as Socket}, time::*};";
    assert_eq!(texts(source), ["std::fs", "std::net", "std::net::TcpStream", "std::time"]);
}

#[test]
fn the_own_crate_is_resolved() {
    assert_names("use super::body::Reader;", "crate::http::body::Reader");
    assert_names("use super::super::route;", "crate::route");
    assert_names("use self::lines::Line;", "crate::http::parse::lines::Line");
    assert_names("use gateway::config::Config;", "crate::config::Config");
    assert_names("fn f(x: crate::route::SandboxId) {}", "crate::route::SandboxId");
}

#[test]
fn a_local_name_is_not_the_crate_of_that_name() {
    assert_names("mod redis;\nfn f() { redis::connect() }", "crate::http::parse::redis::connect");
    assert_names("use crate::metrics;\nfn f() { metrics::count() }", "crate::http::parse::metrics::count");
    assert_names("mod redis;\nfn f() { ::redis::connect() }", "redis::connect");
    assert_names("fn f() { redis::connect() }", "redis::connect");
}

#[test]
fn macro_arguments_count() {
    assert_names("fn f() { assert!(std::fs::exists(path), \"{}\", rand::random()) }", "std::fs::exists");
    assert_names("fn f() { assert!(a(std::fs::exists(path)), \"{}\", rand::random()) }", "rand::random");
    assert_names("fn f() { vec![::tokio::spawn] }", "tokio::spawn");
}

#[test]
fn types_bounds_and_methods_count() {
    assert_names("fn f<T: tokio::io::AsyncRead>(x: Vec<tokio::net::TcpStream>) {}", "tokio::net::TcpStream");
    assert_names("fn f<T: tokio::io::AsyncRead>() {}", "tokio::io::AsyncRead");
    assert_names("fn f() { begun.elapsed() }", "<method>::elapsed");
}

#[test]
fn a_name_alone_is_no_crate() {
    let source = "use redis;\nfn f(redis: A) { g(redis.hash, redis); option!(redis.hash, redis) }";
    assert_eq!(texts(source), ["redis"]);
}

#[test]
fn test_code_does_not_count() {
    let source = r#"
        #[cfg(test)]
        mod tests { use std::fs; }
        #[test]
        fn t() { std::fs::exists(""); }
        #[cfg(test)]
        use rand::random;
    "#;
    assert_eq!(texts(source), Vec::<String>::new());
    assert_names("#[cfg(unix)]\nmod system { use std::fs; }", "std::fs");
}

#[test]
fn lines_are_those_of_the_source() {
    let syntax = syn::parse_file("\nuse std::{\n    fmt,\n    fs,\n};\n").unwrap();
    let lines: Vec<usize> = named(&syntax, "gateway", &[]).iter().map(|path| path.line).collect();
    assert_eq!(lines, [3, 4]);
}

#[test]
fn prefixes_and_suffixes_end_at_segments() {
    let path = NamedPath { segments: ["crate", "http", "parse"].map(str::to_owned).to_vec(), line: 1 };
    assert!(path.is_within("crate::http") && path.is_within("crate::http::parse"));
    assert!(!path.is_within("crate::htt") && !path.is_within("crate::http::parse::lines"));
    assert!(path.ends_with("http::parse") && !path.ends_with("ttp::parse") && !path.ends_with("parse::http"));
}
