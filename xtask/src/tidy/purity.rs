//! Pure modules stay pure: bytes and `now` come in, values go out. That is what lets them be fuzzed without sockets.

use super::Finding;
use super::imports::{is_at, paths_in_gateway};
use super::paths::{METHOD, NamedPath};
use super::source::Source;

/// Files, or folders with a slash at the end, in `gateway/src/`.
const PURE: &[&str] = &[
    "auth.rs",
    "auth/",
    "broker/backoff.rs",
    "broker/frame.rs",
    "broker/frame/",
    "broker/held.rs",
    "broker/session.rs",
    "directory/cache.rs",
    "directory/dns/names.rs",
    "directory/record.rs",
    "http.rs",
    "http/",
    "route.rs",
    "route/",
    "tunnel/half_close.rs",
    "tunnel/packet/icmp.rs",
    "tunnel/packet/ip.rs",
    "tunnel/packet/segment.rs",
];

/// What does I/O, waits or draws lots. The address types of `std::net` are values and fine.
const IMPURE: &[&str] = &[
    "crate::bpf",
    "crate::sys",
    "getrandom",
    "io_uring",
    "libc",
    "nix",
    "rand",
    "socket2",
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "tokio",
    "tokio_uring",
];

/// What reads a clock, under whatever name its type was imported.
const CLOCKS: &[&str] = &["Instant::now", "SystemTime::now"];

/// Pure modules that are not.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    if !source.in_gateway().is_some_and(|file| is_at(file, PURE)) {
        return Vec::new();
    }
    let impure = paths_in_gateway(source).into_iter().filter(is_impure);
    impure.map(|path| source.finding(path.line, format!("a pure module must not use `{}`", path.text()))).collect()
}

fn is_impure(path: &NamedPath) -> bool {
    IMPURE.iter().any(|prefix| path.is_within(prefix))
        || CLOCKS.iter().any(|suffix| path.ends_with(suffix))
        || path.is_within(METHOD) && path.ends_with("elapsed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Source::new(path, text)).len()
    }

    #[test]
    fn sockets_files_clocks_and_lots_are_refused() {
        for text in [
            "use std::net::TcpStream;",
            "use std::{fmt, fs};",
            "use tokio::sync::oneshot;",
            "fn f() -> u8 { rand::random() }",
            "use std::time::Instant;\nfn f() -> Instant { Instant::now() }",
            "fn f() { dbg!(SystemTime::now()) }",
            "fn f(begun: Instant) -> Duration { begun.elapsed() }",
            "use crate::sys::Socket;",
        ] {
            assert_eq!(count("gateway/src/http/parse.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn values_are_fine() {
        let text = "
            use std::net::SocketAddr;
            use std::time::{Duration, Instant};
            use crate::http::body;
            fn f(now: Instant) {}
        ";
        assert_eq!(count("gateway/src/directory/cache.rs", text), 0);
    }

    #[test]
    fn others_and_tests_may_do_what_they_need() {
        for path in ["gateway/src/worker.rs", "gateway/src/directory.rs", "gateway/src/http/parse/tests.rs"] {
            assert_eq!(count(path, "use std::fs;"), 0, "{path}");
        }
    }
}
