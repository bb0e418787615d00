//! What stands in the hash is checked before it is dialled, whoever wrote it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use gateway_tests::process::free_address;

use super::Scene;
use crate::users::{get, named, who};

#[test]
fn an_endpoint_that_no_sandbox_may_have_is_never_dialled() {
    let everywhere = SocketAddr::from(([0, 0, 0, 0], free_address().unwrap().port()));
    let Some(scene) = Scene::start_with(&[], |gateway| gateway.listen(everywhere.to_string()).listen("127.0.0.1:0"))
    else {
        return;
    };
    let (port, other) = (everywhere.port(), scene.gateway.addrs()[1]);
    let refused = [
        (format!("127.0.0.1:{port}"), "the gateway's listener on every address"),
        (format!("[::ffff:127.0.0.1]:{port}"), "the same in IPv6 notation"),
        (other.to_string(), "its other listener"),
        (scene.gateway.admin().to_string(), "its admin listener"),
        ("0.0.0.0:80".to_owned(), "unspecified"),
        ("[::]:80".to_owned(), "unspecified"),
        ("224.0.0.1:80".to_owned(), "multicast"),
        ("[ff02::1]:80".to_owned(), "multicast"),
        ("255.255.255.255:80".to_owned(), "broadcast"),
        ("169.254.169.254:80".to_owned(), "link-local"),
        ("[fe80::1]:80".to_owned(), "link-local"),
        ("127.0.0.1:0".to_owned(), "no port"),
        ("127.0.0.1".to_owned(), "no port at all"),
        ("localhost:80".to_owned(), "a name"),
        ("http://127.0.0.1:80".to_owned(), "a URL"),
        (String::new(), "nothing"),
        ("\u{7f}\u{1b}[31m".to_owned(), "control characters"),
        ("1".repeat(100_000), "far too long"),
    ];
    for (number, (endpoint, what)) in refused.iter().enumerate() {
        let sandbox = number.to_string();
        scene.set(&sandbox, endpoint);
        let answer = get(&scene.gateway, &sandbox);
        assert_eq!(answer.status(), 502, "{what}: {answer:?}");
        assert_eq!(answer.field("x-gateway-error"), Some("upstream_unreachable"), "{what}");
        assert!(
            answer.text().contains("\"detail\":\"the directory's entry for this sandbox cannot be used\""),
            "{what}: {answer:?}"
        );
    }
    assert_eq!(scene.metric("gateway_upstream_dials_total", &[]), 0.0);
    assert!(scene.gateway.readiness().unwrap() == 200, "one bad record is no broken directory");
    assert_eq!(scene.hgets(), u64::try_from(refused.len()).unwrap(), "a bad record is remembered as well");

    // The operator is told which record it is and why, without what could change a terminal.
    let line = scene.gateway.logged("a line about the record", gateway_tests::wait::PATIENCE, |record| {
        record["message"] == "the sandbox cannot be reached"
    });
    let line = line.unwrap();
    assert_eq!((&line["sandbox"], &line["value"]), (&"0".into(), &refused[0].0.as_str().into()), "{line}");
}

#[test]
fn an_allow_list_holds_whatever_the_hash_says() {
    let blue = named("blue");
    let Some(scene) = Scene::start_with(&[], |gateway| gateway.args(["--upstream-allow", "127.0.0.2/32,::1/128"]))
    else {
        return;
    };
    scene.set("1", blue.address());
    assert_eq!(who(&scene.gateway, "1"), "502 upstream_unreachable");
    assert!(blue.connections().is_empty());
    scene.set("1", SocketAddr::from(([127, 0, 0, 2], free_address().unwrap().port())));
    assert_eq!(who(&scene.gateway, "1"), "502 upstream_unreachable");
    // Only the second was dialled.
    assert_eq!(scene.metric("gateway_upstream_dials_total", &[("outcome", "refused")]), 3.0);
}

#[test]
fn white_space_around_an_endpoint_does_not_matter() {
    let blue = named("blue");
    let Some(scene) = Scene::start() else { return };
    scene.set("1", format!(" {}\r\n", blue.address()));
    assert_eq!(who(&scene.gateway, "1"), "200 blue");
}

#[test]
fn a_sandbox_may_listen_on_ipv6() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        // A kernel without IPv6; which CI's is not.
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI lacks IPv6");
        return;
    };
    let address = listener.local_addr().unwrap();
    let Some(scene) = Scene::start() else { return };
    scene.set("1", address);
    let pod = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nsix").unwrap();
        String::from_utf8(head).unwrap()
    });
    assert_eq!(who(&scene.gateway, "1"), "200 six");
    let head = pod.join().unwrap();
    assert!(head.to_ascii_lowercase().contains(&format!("\r\nhost: {address}\r\n")), "{head}");
}
