//! Row by row: what is valid, what is not, and the text that says so.

use gateway_tests::dns::Dns;
use gateway_tests::pod::{Absent, Pod};
use gateway_tests::wire::{Client, UPGRADE_FIELDS};

use super::{ask, detail, named, open, pod};
use crate::scene::{get, ok, until};

#[test]
fn each_malformed_field_has_its_own_400() {
    let dns = Dns::start().unwrap();
    let gateway = open(&dns).start().unwrap();
    let id = |rest: &str| format!("X-Sandbox-ID: box\r\n{rest}\r\n");
    for (fields, text) in [
        (String::new(), "X-Sandbox-ID header is required."),
        ("X-Sandbox-ID:\r\n".to_owned(), "X-Sandbox-ID header is required."),
        ("X-Sandbox-ID: Box\r\n".to_owned(), "Invalid sandbox ID format."),
        ("X-Sandbox-ID: a.b\r\n".to_owned(), "Invalid sandbox ID format."),
        (format!("X-Sandbox-ID: {}\r\n", "a".repeat(64)), "Invalid sandbox ID format."),
        (id("X-Sandbox-Namespace: team a"), "Invalid namespace format."),
        (id("X-Sandbox-Namespace: -a"), "Invalid namespace format."),
        (id("X-Sandbox-Port: http"), "Invalid port format."),
        (id("X-Sandbox-Port: 0"), "Invalid port format."),
        (id("X-Sandbox-Port: 65536"), "Invalid port format."),
        (id("X-Sandbox-Pod-IP: pod"), "Invalid target IP address format."),
        (id("X-Sandbox-Pod-IP: 169.254.169.254"), "Invalid target IP address."),
        (id("X-Sandbox-Pod-IP: fe80::1"), "Invalid target IP address."),
        (id("X-Sandbox-Pod-IP: 224.0.0.1"), "Invalid target IP address."),
        (id("X-Sandbox-Pod-IP: ::"), "Invalid target IP address."),
        (id("X-Sandbox-Pod-IP: 10.0.0.256"), "Invalid target IP address format."),
        (id("X-Sandbox-Pod-IP: [::1]"), "Invalid target IP address format."),
        (id("X-Sandbox-Pod-IP: 0.0.0.0"), "Invalid target IP address."),
        (id("X-Sandbox-Pod-IP: ::ffff:169.254.169.254"), "Invalid target IP address."),
        // Sent twice: the sandbox might believe the other one.
        ("X-Sandbox-ID: box\r\nX-Sandbox-ID: box\r\n".to_owned(), "Invalid sandbox ID format."),
        (id("X-Sandbox-Port: 80\r\nX-Sandbox-Port: 80"), "Invalid port format."),
        (id("X-Sandbox-Namespace: a\r\nX-Sandbox-Namespace: a"), "Invalid namespace format."),
        // The gateway itself: a loop.
        (
            id(&format!("X-Sandbox-Pod-IP: 127.0.0.1\r\nX-Sandbox-Port: {}", gateway.addr().port())),
            "Invalid target IP address.",
        ),
    ] {
        assert_eq!(detail(&ask(&gateway, &fields)), (400, text.to_owned()), "{fields}");
    }
    assert_eq!(gateway.metric("gateway_upstream_dials_total", &[]).unwrap(), 0.0, "nothing was dialled");
}

/// Trap 50.
#[test]
fn a_loopback_address_is_refused_unless_it_is_allowed() {
    let dns = Dns::start().unwrap();
    let gateway = open(&dns).args(["--allow-loopback-pod-ip", "false"]).start();
    // A flag that takes one value is not given twice.
    assert!(gateway.is_err());
    let server = dns.address().to_string();
    let gateway = crate::scene::builder()
        .args(["--source", "header", "--dns-server", &server, "--allow-unauthenticated", "true"])
        .start()
        .unwrap();
    for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
        let answer = ask(&gateway, &format!("X-Sandbox-ID: box\r\nX-Sandbox-Pod-IP: {address}\r\n"));
        assert_eq!(detail(&answer), (400, "Invalid target IP address.".to_owned()), "{address}");
    }
}

/// What is not sent, or sent empty, has its default: the namespace `default` and port 8888.
#[test]
fn every_valid_form_names_its_sandbox() {
    let dns = Dns::start().unwrap();
    let pod = pod("here", 88, 8888);
    let at = std::net::Ipv4Addr::new(127, 0, 0, 88);
    let longest = "a".repeat(63);
    for name in ["box.default", "0.default", "a--b.default", "box.team-1", &format!("{longest}.{longest}")] {
        dns.set(&format!("{name}.svc.cluster.local"), at, 600);
    }
    let gateway = open(&dns).start().unwrap();
    for fields in [
        "X-Sandbox-ID: box\r\n".to_owned(),
        "x-sandbox-id:box\r\nX-Sandbox-Namespace:\r\nX-Sandbox-Port:\r\nX-Sandbox-Pod-IP:\r\n".to_owned(),
        "X-Sandbox-ID: 0\r\nX-Sandbox-Namespace: default\r\nX-Sandbox-Port: 8888\r\n".to_owned(),
        "X-Sandbox-ID: a--b\r\nX-Sandbox-Port: 08888\r\n".to_owned(),
        "X-Sandbox-ID: box\r\nX-Sandbox-Namespace: team-1\r\nX-Sandbox-UID: anything at all\r\n".to_owned(),
        format!("X-Sandbox-ID: {longest}\r\nX-Sandbox-Namespace: {longest}\r\n"),
        "X-Sandbox-ID: nameless\r\nX-Sandbox-Pod-IP: 127.0.0.88\r\n".to_owned(),
        "X-Sandbox-ID: nameless\r\nX-Sandbox-Pod-IP: ::ffff:127.0.0.88\r\n".to_owned(),
    ] {
        let answer = ask(&gateway, &fields);
        assert_eq!((answer.status(), answer.text().as_str()), (200, "here"), "{fields}");
    }
    assert_eq!(pod.requests()[0].field("host"), Some("127.0.0.88:8888"));
}

/// An address of IPv6 is written in brackets to the pod, in its shortest form.
#[test]
fn an_ipv6_address_is_dialled_and_bracketed() {
    let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else {
        return gateway_tests::need::skip("IPv6 on loopback");
    };
    let port = listener.local_addr().unwrap().port();
    let dns = Dns::start().unwrap();
    let gateway = open(&dns).start().unwrap();
    let mut client = Client::connect(gateway.addr()).unwrap();
    client.send(get("/x", &format!("{}X-Sandbox-Pod-IP: 0:0:0:0:0:0:0:1\r\n", named(port)))).unwrap();
    let mut pod = gateway_tests::wire::Received::new(std::sync::Arc::new(listener.accept().unwrap().0)).unwrap();
    let request = pod.head().unwrap().unwrap();
    assert_eq!(request.field("host"), Some(format!("[::1]:{port}").as_str()));
    pod.send(ok("", "here").as_bytes()).unwrap();
    assert_eq!(client.answer().unwrap().text(), "here");
}

#[test]
fn a_pod_is_reached_at_its_address() {
    let dns = Dns::start().unwrap();
    let pod = pod("here", 1, 0);
    let gateway = open(&dns).start().unwrap();
    let answer = ask(&gateway, &format!("{}X-Sandbox-Pod-IP: 127.0.0.1\r\n", named(pod.address().port())));
    assert_eq!((answer.status(), answer.text().as_str()), (200, "here"));
    assert_eq!(dns.asked("box.default.svc.cluster.local"), 0, "nobody is asked for a name");
    // It is counted once the answer is out.
    until("the request to be counted", || {
        gateway.metric("gateway_http_requests_total", &[("source", "header")]).unwrap() >= 1.0
    });
}

/// Trap 45. The path is what the client sent, to the byte (trap 41), and so is the query (trap 42).
#[test]
fn every_method_and_every_byte_of_the_target_passes() {
    let dns = Dns::start().unwrap();
    let pod = Pod::answering(ok("", "")).unwrap();
    let gateway = open(&dns).start().unwrap();
    let fields = format!("{}X-Sandbox-Pod-IP: 127.0.0.1\r\n", named(pod.address().port()));
    let target = "/a%2Fb//c/%2E%2E/@?a=1&a=2;b&%zz=";
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"] {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n{fields}\r\n");
        let client = Client::connect(gateway.addr()).unwrap();
        client.send(request).unwrap();
        let mut client = client;
        let answer = if method == "HEAD" { client.answer_without_body() } else { client.answer() };
        assert_eq!(answer.unwrap().status(), 200, "{method}");
        let last = pod.requests().pop().unwrap();
        assert_eq!((last.method(), last.target()), (method, target));
    }
}

/// Traps 18, 47 and 49.
#[test]
fn the_sandbox_sees_its_own_host_and_no_foreign_origin_on_upgrades() {
    let dns = Dns::start().unwrap();
    let pod = Pod::echoing().unwrap();
    let gateway = open(&dns).start().unwrap();
    let fields = format!(
        "{}X-Sandbox-Pod-IP: 127.0.0.1\r\nOrigin: http://gw.example\r\nX-Forwarded-For: 6.6.6.6\r\n",
        named(pod.address().port())
    );
    assert_eq!(ask(&gateway, &fields).status(), 404);
    let mut client = Client::connect(gateway.addr()).unwrap();
    assert_eq!(client.ask(get("/ws", &format!("{fields}{UPGRADE_FIELDS}"))).unwrap().status(), 101);
    let requests = pod.requests();
    let (plain, upgrade) = (&requests[0], &requests[1]);
    assert_eq!((plain.field("origin"), upgrade.field("origin")), (Some("http://gw.example"), None));
    for request in [plain, upgrade] {
        assert_eq!(request.field("host"), Some(pod.address().to_string().as_str()));
        assert_eq!(request.field("x-forwarded-host"), Some("gw.example"));
        assert_eq!(request.values("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(request.field("x-sandbox-id"), Some("box"), "forwarded unless it is to stay behind");
    }
}

#[test]
fn an_origin_and_the_fields_are_treated_as_configured() {
    let dns = Dns::start().unwrap();
    let pod = Pod::echoing().unwrap();
    let arguments = ["--strip-sandbox-headers", "true", "--header-upgrade-origin", "rewrite"];
    let gateway = open(&dns).args(arguments).start().unwrap();
    let fields = format!(
        "{}X-Sandbox-Pod-IP: 127.0.0.1\r\nX-Sandbox-UID: u\r\nOrigin: http://gw.example\r\n{UPGRADE_FIELDS}",
        named(pod.address().port())
    );
    let mut client = Client::connect(gateway.addr()).unwrap();
    assert_eq!(client.ask(get("/ws", &fields)).unwrap().status(), 101);
    let request = pod.requests().pop().unwrap();
    assert_eq!(request.field("origin"), Some(format!("http://{}", pod.address()).as_str()));
    let left = request.fields().iter().filter(|(name, _)| name.to_ascii_lowercase().starts_with("x-sandbox-"));
    assert_eq!(left.count(), 0);
}

/// Trap 35: a closed port is not an unknown sandbox to the log, and 502 to the client, who tries again.
#[test]
fn a_pod_that_refuses_is_dialled_four_times_on_a_doubling_ladder() {
    let dns = Dns::start().unwrap();
    let absent = Absent::new().unwrap();
    let gateway = open(&dns).start().unwrap();
    let begun = std::time::Instant::now();
    let answer = ask(&gateway, &format!("{}X-Sandbox-Pod-IP: 127.0.0.1\r\n", named(absent.address().port())));
    assert_eq!(detail(&answer), (502, "Could not connect to the backend sandbox: box".to_owned()));
    assert!(begun.elapsed().as_millis() >= 1400, "200, 400 and 800 ms lie between four attempts");
    assert_eq!(gateway.metric("gateway_upstream_dials_total", &[("outcome", "refused")]).unwrap(), 4.0);
}

#[test]
fn a_sandbox_that_is_silent_is_a_504_as_soon_as_the_client_wants() {
    let dns = Dns::start().unwrap();
    let pod = Pod::start(|_, connection| connection.some().map(drop)).unwrap();
    let gateway = open(&dns).start().unwrap();
    let fields = format!("{}X-Sandbox-Pod-IP: 127.0.0.1\r\nX-Sandbox-Timeout: 0.2\r\n", named(pod.address().port()));
    let answer = ask(&gateway, &fields);
    assert_eq!(detail(&answer), (504, "Timed out waiting for the backend sandbox: box".to_owned()));
}

/// The client's number counts where it is one, positive, and below what is configured.
#[test]
fn a_timeout_is_shortened_and_never_lengthened() {
    let dns = Dns::start().unwrap();
    let pod = Pod::start(|_, connection| connection.some().map(drop)).unwrap();
    let gateway = open(&dns).args(["--response-timeout", "300ms"]).start().unwrap();
    for timeout in ["0.1", "3600", "1e300", "0", "-1", "inf", "NaN", "soon", ""] {
        let fields = named(pod.address().port()) + "X-Sandbox-Pod-IP: 127.0.0.1\r\n";
        let answer = ask(&gateway, &format!("{fields}X-Sandbox-Timeout: {timeout}\r\n"));
        let expected = "Timed out waiting for the backend sandbox: box".to_owned();
        assert_eq!(detail(&answer), (504, expected), "{timeout}");
    }
}

#[test]
fn health_is_answered_on_the_data_port_while_the_source_is_on() {
    let dns = Dns::start().unwrap();
    let gateway = open(&dns).start().unwrap();
    let answer = Client::connect(gateway.addr()).unwrap().ask(get("/healthz", "")).unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (200, r#"{"status":"ok"}"#));
    let without = crate::scene::builder().start().unwrap();
    let answer = Client::connect(without.addr()).unwrap().ask(get("/healthz", "")).unwrap();
    assert_eq!(answer.status(), 404);
}

#[test]
fn the_directory_is_asked_where_it_is_to_be() {
    let dns = Dns::start().unwrap();
    let (first, second) = (pod("first", 1, 0), pod("second", 1, 0));
    let gateway = open(&dns).args(["--header-lookup", "directory"]).sandbox("box", first.address()).start().unwrap();
    assert_eq!(ask(&gateway, "X-Sandbox-ID: box\r\n").text(), "first");
    assert_eq!(ask(&gateway, &named(second.address().port())).text(), "second", "the port is the client's");
    let answer = ask(&gateway, "X-Sandbox-ID: box\r\nX-Sandbox-Namespace: other\r\n");
    assert_eq!(detail(&answer), (502, "Could not connect to the backend sandbox: box".to_owned()));
}

/// Beside other sources a request without the fields is theirs.
#[test]
fn other_sources_go_on_beside_it() {
    let dns = Dns::start().unwrap();
    let pod = pod("by path", 1, 0);
    let gateway = crate::scene::builder()
        .args(["--source", "path,cookie,header", "--dns-server", &dns.address().to_string()])
        .args(["--allow-unauthenticated", "true"])
        .sandbox("1", pod.address())
        .start()
        .unwrap();
    let mut client = Client::connect(gateway.addr()).unwrap();
    assert_eq!(client.ask(get("/vnc/1/x", "")).unwrap().text(), "by path");
    let answer = client.ask(get("/vnc/1/x", "X-Sandbox-ID: -\r\n")).unwrap();
    assert_eq!(detail(&answer), (400, "Invalid sandbox ID format.".to_owned()), "the headers come first");
}
