//! `gateway serve` as it is started: what wins, what is printed, and what a start that cannot succeed says and ends
//! with.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};

use gateway_tests::gateway::Gateway;
use gateway_tests::http;
use gateway_tests::process::free_address;
use tempfile::NamedTempFile;

use crate::program::{self, Said};

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let file = file("path_prefix = \"/file/\"\ncookie_name = \"file\"\n");
    let path = file.path().to_str().unwrap();
    let by_default = Gateway::builder().start().unwrap();
    let by_file = Gateway::builder().args(["--config", path]).start().unwrap();
    let by_variable = Gateway::builder().args(["--config", path]).env("GATEWAY_PATH_PREFIX", "/variable/");
    let by_variable = by_variable.start().unwrap();
    let by_flag = Gateway::builder().args(["--path-prefix", "/flag/"]).env("GATEWAY_CONFIG", path);
    let by_flag = by_flag.env("GATEWAY_PATH_PREFIX", "/variable/").start().unwrap();
    let gateways = [(by_default, "vnc"), (by_file, "file"), (by_variable, "variable"), (by_flag, "flag")];
    for (gateway, prefix) in gateways {
        for candidate in ["vnc", "file", "variable", "flag"] {
            // The missing slash is answered by the gateway itself, below its prefix and nowhere else.
            let status = http::get(gateway.addr(), &format!("/{candidate}/1")).unwrap().status;
            assert_eq!(status, if candidate == prefix { 308 } else { 404 }, "/{candidate}/ with the prefix /{prefix}/");
        }
    }
}

#[test]
fn port_0_becomes_a_port_that_is_printed_for_each_address() {
    let mut addresses = vec!["127.0.0.1:0", "127.0.0.1:0"];
    let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
    if has_ipv6 {
        addresses.push("[::1]:0");
    }
    let mut builder = Gateway::builder().args(["--workers", "3"]);
    for address in &addresses {
        builder = builder.listen(*address);
    }
    let gateway = builder.start().unwrap();
    let printed = gateway.addrs();
    assert_eq!(printed.len(), addresses.len());
    for (index, address) in printed.iter().enumerate() {
        assert!(address.port() != 0 && !printed[..index].contains(address), "{printed:?}");
        assert_eq!(http::get(*address, "/vnc/1").unwrap().status, 308, "{address}");
    }
}

#[test]
fn people_are_told_the_port_too() {
    let serve = ["serve", "--log", "human", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let gateway = program::Running::start(&serve, &[]);
    for role in ["data", "admin"] {
        let line = gateway.logged(&["listening", &format!("role=\"{role}\"")]);
        let (_, address) = line.split_once("address=").unwrap();
        let address: SocketAddr = address.split(' ').next().unwrap().parse().unwrap();
        assert!(TcpStream::connect(address).is_ok(), "{line}");
        assert!(!line.contains('\u{1b}'), "no colours in a file: {line:?}");
    }
}

#[test]
fn a_port_that_is_taken_ends_the_start_with_1_and_a_sentence() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let sentence = format!("cannot listen on {taken}: Address already in use (os error 98)");
    let data = program::run(&["serve", "--listen", &taken, "--admin", "127.0.0.1:0"]);
    assert_ended(&data, 1, &sentence);
    let admin = program::run(&["serve", "--listen", "127.0.0.1:0", "--admin", &taken]);
    assert_ended(&admin, 1, &sentence);
    // Some of the addresses are not enough.
    let second = program::run(&["serve", "--listen", "127.0.0.1:0", "--listen", &taken, "--admin", "127.0.0.1:0"]);
    assert_ended(&second, 1, &sentence);
}

#[test]
fn an_address_of_another_machine_ends_the_start_with_1_and_a_sentence() {
    // TEST-NET-1 of RFC 5737.
    let elsewhere = program::run(&["serve", "--listen", "192.0.2.1:80", "--admin", "127.0.0.1:0"]);
    assert_ended(&elsewhere, 1, "cannot listen on 192.0.2.1:80: Cannot assign requested address (os error 99)");
}

#[test]
fn two_directories_are_one_too_many() {
    let both = serve(&["--sandbox", "1=127.0.0.1:80", "--redis", "redis://127.0.0.1/"]);
    assert_ended(&both, 78, "--sandbox: conflicts with --redis: the directory is either this table or Redis");
    let both = serve(&["--redis", "redis://127.0.0.1/", "--directory-url", "http://127.0.0.1/{id}"]);
    assert_ended(&both, 78, "--directory-url: conflicts with --redis: the directory is one of them");
}

#[test]
fn an_endpoint_that_may_not_be_dialled_is_named_at_the_start() {
    let addresses = "1=169.254.169.254:80,2=127.0.0.1:80,3=0.0.0.0:80,4=224.0.0.1:80";
    let refused = serve(&["--sandbox", addresses]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let sentence = refused.stderr.lines().last().unwrap();
    for part in ["169.254.169.254:80", "0.0.0.0:80", "224.0.0.1:80", "link-local", "unspecified", "multicast"] {
        assert!(sentence.contains(part), "{part} is not in {sentence}");
    }
    assert!(!sentence.contains("127.0.0.1:80"), "{sentence}");

    let outside = serve(&["--sandbox", "7=127.0.0.1:80", "--upstream-allow", "10.0.0.0/8"]);
    assert_eq!(outside.code, Some(1), "{outside:?}");
    assert!(outside.stderr.contains("127.0.0.1:80") && outside.stderr.contains("allowed networks"), "{outside:?}");
}

#[test]
fn the_gateway_is_not_its_own_sandbox() {
    let address = free_address().unwrap().to_string();
    let looped =
        program::run(&["serve", "--listen", &address, "--admin", "127.0.0.1:0", "--sandbox", &format!("1={address}")]);
    assert_eq!(looped.code, Some(1), "{looped:?}");
    assert!(looped.stderr.contains(&address) && looped.stderr.contains("the gateway itself"), "{looped:?}");
}

fn serve(arguments: &[&str]) -> Said {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    program::run(&[&serve, arguments].concat())
}

/// The last line is the sentence; lines of the log may stand before it.
fn assert_ended(said: &Said, code: i32, sentence: &str) {
    assert_eq!((said.code, said.stdout.as_str()), (Some(code), ""), "{said:?}");
    assert_eq!(said.stderr.lines().last(), Some(sentence), "{said:?}");
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}
