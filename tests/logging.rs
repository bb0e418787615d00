//! One line per request and one per stream: what an operator can tell from the log, and what must not be in it.

use gateway_tests::gateway::Gateway;
use gateway_tests::pod::Pod;
use gateway_tests::process::free_address;
use gateway_tests::wait::{self, PATIENCE};
use gateway_tests::wire::{Client, End};
use serde_json::{Value, json};

use crate::program;
use crate::users::{Stream, named};

#[test]
fn a_request_is_one_line_with_everything_about_it() {
    let blue = named("blue");
    let gateway = Gateway::builder().sandbox("37579", blue.address()).start().unwrap();
    let mut client = Client::connect(gateway.addr()).unwrap();
    let post = "POST /vnc/37579/a%20file?token=secret HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\n\
        X-Request-Id: abc-123\r\n\r\n";
    assert_eq!(client.ask(format!("{post}12345")).unwrap().status(), 200);

    let line = logged(&gateway, "request", "abc-123");
    let expected = json!({
        "request_id": "abc-123", "client": client.address().unwrap().to_string(), "method": "POST", "status": 200,
        "path": "/vnc/37579/a%20file", "source": "path", "sandbox": "37579", "endpoint": blue.address().to_string(),
        "bytes_up": 5, "bytes_down": 4, "level": "INFO", "target": "access",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&line[field], value, "{field} of {line}");
    }
    assert!(line["duration_ms"].is_u64() && line["timestamp"].is_string(), "{line}");
    // A query may carry a password; noVNC's does.
    assert!(!gateway.log().iter().any(|line| line.contains("secret")), "{:?}", gateway.log());
    assert_eq!(lines(&gateway, "request").len(), 1);
}

#[test]
fn the_id_of_a_request_goes_with_it_everywhere() {
    let blue = named("blue");
    let gateway = Gateway::builder().sandbox("1", blue.address()).start().unwrap();
    let mut client = Client::connect(gateway.addr()).unwrap();
    let mut ask =
        |fields: &str, target: &str| client.ask(format!("GET {target} HTTP/1.1\r\nHost: g\r\n{fields}\r\n")).unwrap();
    // Taken over, on the way in and in the gateway's own answers.
    ask("X-Request-Id: from-client.1\r\n", "/vnc/1/");
    assert_eq!(blue.requests().last().unwrap().field("x-request-id"), Some("from-client.1"));
    let own = ask("X-Request-Id: from-client.2\r\n", "/vnc/2/");
    assert_eq!((own.status(), own.field("x-request-id")), (404, Some("from-client.2")));
    logged(&gateway, "request", "from-client.1");
    let failed = logged(&gateway, "request", "from-client.2");
    assert_eq!((&failed["code"], &failed["sandbox"]), (&"sandbox_not_found".into(), &"2".into()), "{failed}");
    assert!(failed["error"].is_string() && failed.get("endpoint").is_none(), "{failed}");

    // Made up where there is none, or none that could be logged and passed on as it is; another one each time.
    let mut ids = Vec::new();
    for fields in
        ["", "", "X-Request-Id: \r\n", "X-Request-Id: a b\r\n", &format!("X-Request-Id: {}\r\n", "x".repeat(4000))]
    {
        ask(fields, "/vnc/1/");
        let id = blue.requests().last().unwrap().field("x-request-id").unwrap().to_owned();
        assert!(id.len() < 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        logged(&gateway, "request", &id);
        assert!(!ids.contains(&id));
        ids.push(id);
    }
}

#[test]
fn a_refused_request_is_a_line_too_and_names_nothing_inside_to_the_client() {
    let nobody = free_address().unwrap();
    let gateway = Gateway::builder().sandbox("1", nobody).start().unwrap();
    let ask = |request: &str| Client::connect(gateway.addr()).unwrap().ask(request).unwrap();
    let cases = [
        ("GET /vnc/1/ HTTP/1.1\r\nHost: g\r\nX-Request-Id: dial\r\n\r\n", "dial", 502, "upstream_unreachable"),
        ("GET /nothing HTTP/1.1\r\nHost: g\r\nX-Request-Id: lost\r\n\r\n", "lost", 404, "no_route"),
    ];
    for (request, id, status, code) in cases {
        let answer = ask(request);
        assert_eq!((answer.status(), answer.field("x-gateway-error")), (status, Some(code)));
        let line = logged(&gateway, "request", id);
        assert_eq!((&line["status"], &line["code"]), (&status.into(), &code.into()), "{line}");
        let told = format!("{}{}", String::from_utf8_lossy(answer.head.raw()), answer.text());
        assert!(!told.contains("127.0.0.1") && !told.contains(&nobody.port().to_string()), "{told}");
    }
    // The operator is told where the dial went.
    assert!(logged(&gateway, "request", "dial")["error"].as_str().unwrap().contains(&nobody.to_string()));

    // A head that cannot be read has no method and no id of its own, but it has a line.
    let answer = ask("GET / HTTP/1.1\r\nHost: g\r\nX-Request-Id: bad\r\nBad Field: x\r\n\r\n");
    assert_eq!((answer.status(), answer.field("x-gateway-error")), (400, Some("bad_request")));
    let line = logged(&gateway, "request", answer.field("x-request-id").unwrap());
    assert_eq!(
        (&line["status"], &line["code"], &line["method"]),
        (&400.into(), &"bad_request".into(), &"".into()),
        "{line}"
    );
}

/// Who ended a stream, and why, in all the ways in which the two sides can.
#[test]
fn a_stream_is_a_line_when_it_opens_and_a_line_when_it_ends() {
    let pod = Pod::start(|request, connection| {
        connection.switch(request)?;
        while let Some(bytes) = connection.some()? {
            match &bytes[..] {
                b"close" => break,
                b"reset" => return connection.reset(),
                _ => connection.send(bytes)?,
            }
        }
        connection.close();
        Ok(())
    });
    let pod = pod.unwrap();
    let gateway = Gateway::builder().sandbox("37579", pod.address()).start().unwrap();
    let open = |id: &str| Stream::open_with(&gateway, "37579", &format!("X-Request-Id: {id}\r\n"));

    let by_client = open("client-fin");
    let address = by_client.client.address().unwrap().to_string();
    by_client.client.finish().unwrap();
    assert_ended(&gateway, "client-fin", "client", "fin", 6);
    open("client-rst").client.reset().unwrap();
    assert_ended(&gateway, "client-rst", "client", "rst", 6);
    let mut by_pod = open("pod-fin");
    by_pod.client.send("close").unwrap();
    assert_eq!(by_pod.client.end().unwrap(), (Vec::new(), End::Closed));
    drop(by_pod);
    assert_ended(&gateway, "pod-fin", "upstream", "fin", 11);
    let mut by_reset = open("pod-rst");
    by_reset.client.send("reset").unwrap();
    assert_eq!(by_reset.client.end().unwrap(), (Vec::new(), End::Reset));
    assert_ended(&gateway, "pod-rst", "upstream", "rst", 11);

    let opened = logged(&gateway, "request", "client-fin");
    assert_eq!((&opened["status"], &opened["sandbox"]), (&101.into(), &"37579".into()), "{opened}");
    let closed = logged(&gateway, "stream closed", "client-fin");
    let expected = json!({
        "sandbox": "37579", "client": address, "endpoint": pod.address().to_string(), "engine": "copy", "bytes_up": 6,
        "bytes_down": 6, "target": "stream", "level": "INFO",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&closed[field], value, "{field} of {closed}");
    }
    assert!(closed["duration_ms"].is_u64() && closed["stream"].is_u64(), "{closed}");
    assert_eq!((lines(&gateway, "request").len(), lines(&gateway, "stream closed").len()), (4, 4));
}

#[test]
fn what_a_client_has_read_is_counted_even_if_it_resets_in_the_same_moment() {
    const ROUNDS: usize = 200;
    let blue = named("blue");
    let gateway = Gateway::builder().sandbox("1", blue.address()).start().unwrap();
    for _ in 0..ROUNDS {
        Stream::open(&gateway, "1").client.reset().unwrap();
    }
    let closed = || lines(&gateway, "stream closed");
    wait::until("all closing lines", PATIENCE, || (closed().len() == ROUNDS).then_some(())).unwrap();
    for line in closed() {
        assert_eq!((&line["bytes_up"], &line["bytes_down"]), (&6.into(), &6.into()), "{line}");
    }
}

#[test]
fn a_stream_that_is_idle_or_old_is_ended_by_the_gateway() {
    let blue = named("blue");
    let with = |option: &str| Gateway::builder().sandbox("1", blue.address()).args([option, "1s"]).start().unwrap();
    for (option, reason) in [("--stream-idle-timeout", "idle"), ("--stream-lifetime-max", "lifetime")] {
        let gateway = with(option);
        let mut stream = Stream::open_with(&gateway, "1", "X-Request-Id: quiet\r\n");
        assert_eq!(stream.client.end().unwrap().0, b"");
        assert_ended(&gateway, "quiet", "gateway", reason, 6);
    }
}

#[test]
fn people_get_the_same_lines_in_words() {
    let blue = named("blue");
    let sandbox = format!("37579={}", blue.address());
    let address = free_address().unwrap();
    let listen = address.to_string();
    let serve = ["serve", "--log", "human", "--listen", &listen, "--admin", "127.0.0.1:0", "--sandbox", &sandbox];
    let gateway = program::Running::start(&serve, &[]);
    gateway.logged(&["listening", "role=\"data\""]);
    let mut client = Client::connect(address).unwrap();
    let request = "GET /vnc/37579/page HTTP/1.1\r\nHost: g\r\nX-Request-Id: in-words\r\n\r\n";
    assert_eq!(client.ask(request).unwrap().status(), 200);
    let line = gateway.logged(&["in-words"]);
    for part in [" INFO ", "request", "status=200", "sandbox=37579", "path=/vnc/37579/page", "bytes_down=4"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(serde_json::from_str::<Value>(&line).is_err());
}

#[test]
fn a_filter_silences_requests_and_keeps_the_rest() {
    let blue = named("blue");
    let gateway =
        Gateway::builder().sandbox("1", blue.address()).args(["--log-level", "info,access=off"]).start().unwrap();
    let stream = Stream::open_with(&gateway, "1", "X-Request-Id: only-stream\r\n");
    drop(stream);
    logged(&gateway, "stream closed", "only-stream");
    assert!(lines(&gateway, "request").is_empty());
}

fn assert_ended(gateway: &Gateway, id: &str, side: &str, reason: &str, bytes_up: u64) {
    let line = logged(gateway, "stream closed", id);
    let fields = ["side", "reason", "bytes_up", "bytes_down"].map(|field| line[field].clone());
    assert_eq!(json!(fields), json!([side, reason, bytes_up, 6]), "{line}");
    let labels = [("side", side), ("reason", reason)];
    let counted =
        || gateway.metric("gateway_streams_closed_total", &labels).is_ok_and(|count| count == 1.0).then_some(());
    wait::until("the stream to be counted", PATIENCE, counted).unwrap();
}

/// The line with this message about this request.
fn logged(gateway: &Gateway, message: &str, request_id: &str) -> Value {
    let wanted = |record: &Value| record["message"] == message && record["request_id"] == request_id;
    gateway.logged(&format!("{message} of {request_id}"), PATIENCE, wanted).unwrap()
}

fn lines(gateway: &Gateway, message: &str) -> Vec<Value> {
    let records = gateway.log();
    let records = records.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records.filter(|record| record["message"] == message).collect()
}
