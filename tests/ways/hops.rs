//! What one gateway does, two in a row do as well: bodies, events, ends, refusals, states and tokens.

use gateway_tests::gateway::Gateway;
use gateway_tests::pod::{Gate, Pod};
use gateway_tests::wire::{Answer, End, UPGRADE_FIELDS};

use super::Way;
use crate::control_plane::Said;
use crate::scene::{OK, builder, ok};

/// One hop and two, to pods of this kind.
fn ways(pod: impl Fn() -> Pod) -> [Way; 2] {
    [Way::one_hop_to(pod(), &[]), Way::two_hops_to(pod(), &[])]
}

/// A pod that sends back what it is sent.
fn mirror() -> Pod {
    Pod::start(|request, connection| {
        let body = connection.body(request)?;
        connection.send(ok("", &String::from_utf8(body)?))
    })
    .unwrap()
}

#[test]
fn bodies_arrive_whole_in_either_framing() {
    let body: String = (0..60_000).map(|number| format!("{number},")).collect();
    for way in ways(mirror) {
        let whole = format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let (one, two) = body.split_at(body.len() / 3);
        let chunks = format!("{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
        let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{chunks}");
        let mut client = way.client();
        for rest in [whole, chunked] {
            let answer = client.ask(format!("POST /x HTTP/1.1\r\nHost: {}\r\n{rest}", way.host())).unwrap();
            assert!(answer.text() == body, "{} bytes came back", answer.body.len());
        }
    }
}

/// Trap 48.
#[test]
fn an_event_passes_before_the_next_one_exists() {
    for hops in [1, 2] {
        let gate = Gate::default();
        let opened = gate.clone();
        let pod = Pod::start(move |_, connection| {
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n")?;
            opened.pass()?;
            connection.send("7\r\nsecond\n\r\n0\r\n\r\n")
        })
        .unwrap();
        let way = if hops == 1 { Way::one_hop_to(pod, &[]) } else { Way::two_hops_to(pod, &[]) };
        let mut client = way.client();
        client.send(format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", way.host())).unwrap();
        client.until("first\n").unwrap();
        gate.open();
        client.until("second\n").unwrap();
    }
}

/// Traps 44 and 45.
#[test]
fn methods_and_statuses_keep_their_rules() {
    let pod = || {
        Pod::start(|request, connection| {
            connection.body(request)?;
            match (request.method(), request.target()) {
                ("HEAD", _) => connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
                (_, "/none") => connection.send("HTTP/1.1 204 No Content\r\n\r\n"),
                (_, "/same") => connection.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
                (method, _) => connection.send(ok("", method)),
            }
        })
        .unwrap()
    };
    for way in ways(pod) {
        let mut client = way.client();
        let mut ask = |method: &str, target: &str| -> Answer {
            client.ask(format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n\r\n", way.host())).unwrap()
        };
        let head = ask("HEAD", "/x");
        assert_eq!((head.status(), head.field("content-length")), (200, Some("9")));
        for method in ["OPTIONS", "PUT", "PATCH", "DELETE"] {
            assert_eq!(ask(method, "/x").text(), method);
        }
        assert_eq!((ask("GET", "/none").status(), ask("GET", "/x").text().as_str()), (204, "GET"));
        assert_eq!((ask("GET", "/same").status(), ask("GET", "/x").text().as_str()), (304, "GET"));
    }
}

#[test]
fn a_response_that_is_cut_is_cut_for_the_client() {
    for (response, end) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", End::Closed),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", End::Closed),
    ] {
        let pod = || {
            Pod::start(move |_, connection| {
                connection.close();
                connection.send(response)
            })
            .unwrap()
        };
        for way in ways(pod) {
            let mut client = way.client();
            client.send(format!("GET /x HTTP/1.1\r\nHost: {}\r\n\r\n", way.host())).unwrap();
            let (rest, ended) = client.end().unwrap();
            let rest = String::from_utf8(rest).unwrap();
            assert!(rest.contains("half") && !rest.contains("0\r\n\r\n"), "{rest}");
            assert_eq!(ended, end, "{response}");
        }
    }
}

/// Trap 13.
#[test]
fn an_upgrade_that_the_pod_refuses_is_refused_in_its_words() {
    let pod = || Pod::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX-Why: a\r\n\r\nno").unwrap();
    for way in ways(pod) {
        let request = format!("GET /ws HTTP/1.1\r\nHost: {}\r\n{UPGRADE_FIELDS}\r\n", way.host());
        let answer = way.client().ask(request).unwrap();
        assert_eq!((answer.status(), answer.field("x-why"), answer.text().as_str()), (403, Some("a"), "no"));
        assert_eq!(answer.field("x-gateway-error"), None);
    }
}

/// Whoever knows of the state tells it, the edge or the agent, and the client hears the same.
#[test]
fn the_states_of_sandboxes_are_told_wherever_they_are_known() {
    let said = Said::default();
    let control_plane = said.serve();
    said.say("a", 409, r#"{"state":"paused"}"#);
    said.say("b", 410, "");
    said.say("c", 503, "migrating");
    said.say("d", 200, r#"{"endpoint":null}"#);
    let url = format!("http://{}/resolve/{{id}}", control_plane.address());
    let pod = Pod::answering(OK).unwrap();
    let asking = |arguments: &[&str]| builder().args(["--directory-url", &url]).args(arguments).start().unwrap();
    let edge = |place: &Gateway| {
        let mut edge = builder().args(["--source", "host", "--host-agent", "true"]);
        for id in ["a", "b", "c", "d", "e"] {
            edge = edge.sandbox(id, place.addr());
        }
        edge.start().unwrap()
    };
    let agent = asking(&["--source", "agent", "--trusted-proxy", "127.0.0.1"]);
    for gateway in [asking(&["--source", "host"]), asking(&["--source", "host", "--host-agent", "true"]), edge(&agent)]
    {
        for (id, status, code) in [
            ("a", 409, "sandbox_not_running"),
            ("b", 410, "sandbox_stopped"),
            ("c", 503, "sandbox_migrating"),
            ("d", 503, "sandbox_no_address"),
            ("e", 404, "sandbox_not_found"),
        ] {
            let request = format!("GET /x HTTP/1.1\r\nHost: 80-{id}.localhost\r\n\r\n");
            let answer = gateway_tests::wire::Client::connect(gateway.addr()).unwrap().ask(request).unwrap();
            assert_eq!((answer.status(), answer.field("x-gateway-error")), (status, Some(code)), "{id}");
        }
    }
    assert!(pod.connections().is_empty());
}

/// The edge asks for the token, and nobody behind it sees one.
#[test]
fn a_token_ends_at_the_edge() {
    const TOKEN: &str = "a-token-for-everything";
    let guarded = |pod: Pod, two: bool| {
        let tokens = ["--auth-token", TOKEN];
        if two { Way::two_hops_to(pod, &tokens) } else { Way::one_hop_to(pod, &tokens) }
    };
    for way in [guarded(mirror(), false), guarded(mirror(), true)] {
        let ask = |target: &str, fields: &str| {
            let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", way.host());
            way.client().ask(request).unwrap()
        };
        assert_eq!(ask("/x", "").status(), 401);
        assert_eq!(ask("/x", &format!("Authorization: Bearer {TOKEN}\r\n")).status(), 200);
        let answer = ask(&format!("/x?gateway_token={TOKEN}&a"), "");
        assert_eq!((answer.status(), answer.field("location")), (302, Some("/x?a")));
        let cookie = answer.field("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        assert_eq!(ask("/x", &format!("Cookie: {cookie}; a=b\r\n")).status(), 200);
        assert_eq!(way.pod.requests().pop().unwrap().field("cookie"), Some("a=b"));
        let received = String::from_utf8_lossy(&way.pod.received()).into_owned();
        assert!(!received.contains(TOKEN) && !received.contains("gateway_access"), "{received}");
        let logs = [Some(&way.edge), way.agent.as_ref()].into_iter().flatten().flat_map(Gateway::log);
        assert!(!logs.collect::<String>().contains(TOKEN), "the logs have it");
    }
}
