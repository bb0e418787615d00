//! What the directory says of a sandbox beside its endpoint.

use gateway_tests::gateway::Gateway;
use gateway_tests::websocket::{Opened, Socket};
use gateway_tests::wire::{Answer, Client, UPGRADE_FIELDS};
use gateway_tests::worker::Worker;

use super::{Fleet, PTY, assert_resumes, broker, connect};
use crate::control_plane::Said;
use crate::scene::{get, until};
use crate::users::{Stream, named};

/// The answer to an upgrade, short: status, code, and whether to come back in a second.
fn refused(gateway: &Gateway, target: &str) -> (u16, String, bool) {
    match Socket::open(gateway.addr(), target, "").unwrap() {
        Opened::Refused(answer) => summary(&answer),
        Opened::Switched(..) => panic!("{target} was accepted"),
    }
}

fn summary(answer: &Answer) -> (u16, String, bool) {
    let code = answer.field("x-gateway-error").unwrap_or_default().to_owned();
    (answer.status(), code, answer.field("retry-after") == Some("1"))
}

fn told(status: u16, code: &str, again: bool) -> (u16, String, bool) {
    (status, code.to_owned(), again)
}

#[test]
fn before_the_upgrade_each_state_has_its_own_answer() {
    let Some(fleet) = Fleet::start(&[]) else { return };
    let (worker, pod) = (Worker::start().unwrap(), named("pod"));
    fleet.place("1", worker.address());
    let target = |sandbox: &str| format!("/api/sandboxes/{sandbox}/pty/one");
    for (sandbox, state) in [("2", "stopped"), ("3", "migrating"), ("4", "running"), ("5", "who knows")] {
        fleet.place(sandbox, pod.address());
        fleet.state(sandbox, state);
    }
    // One that is stopped need not have an endpoint any more.
    fleet.state("6", "stopped");
    fleet.place("7", "169.254.169.254:80".parse().unwrap());
    for (sandbox, expected) in [
        ("2", told(410, "sandbox_stopped", false)),
        ("3", told(503, "sandbox_migrating", true)),
        ("6", told(410, "sandbox_stopped", false)),
        ("7", told(502, "upstream_unreachable", false)),
        ("8", told(404, "sandbox_not_found", false)),
        ("", told(400, "invalid_name", false)),
        ("a%2Fb", told(400, "invalid_name", false)),
    ] {
        assert_eq!(refused(&fleet.gateway, &target(sandbox)), expected, "sandbox {sandbox}");
    }
    let malformed = Client::connect(fleet.gateway.addr()).unwrap().ask(get(
        PTY,
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n",
    ));
    assert_eq!(summary(&malformed.unwrap()), told(400, "bad_request", false));
    worker.expect_no_call().unwrap();
    // Streams and ordinary requests hear the same.
    for fields in ["", UPGRADE_FIELDS] {
        let ask = |sandbox: &str| {
            let request = get(&format!("/vnc/{sandbox}/x"), fields);
            Client::connect(fleet.gateway.addr()).unwrap().ask(request).unwrap()
        };
        assert_eq!(summary(&ask("2")), told(410, "sandbox_stopped", false));
        assert_eq!(summary(&ask("3")), told(503, "sandbox_migrating", true));
        let expected = if fields.is_empty() { 200 } else { 101 };
        assert_eq!((ask("4").status(), ask("5").status()), (expected, expected));
    }
    assert_eq!(pod.requests().len(), 4);
}

#[test]
fn before_the_upgrade_a_control_planes_states_have_the_same_answers() {
    let (said, worker) = (Said::default(), Worker::start().unwrap());
    let control_plane = said.serve();
    let url = format!("http://{}/resolve/{{id}}", control_plane.address());
    let gateway = broker().args(["--directory-url", &url]).start().unwrap();
    worker.stop().unwrap();
    said.say("1", 200, format!(r#"{{"endpoint":"{}"}}"#, worker.address()));
    said.say("2", 409, r#"{"state":"paused"}"#);
    said.say("3", 410, "");
    said.say("4", 503, "the sandbox is Migrating");
    for (sandbox, expected) in [
        ("1", told(502, "upstream_unreachable", false)),
        ("2", told(409, "sandbox_not_running", false)),
        ("3", told(410, "sandbox_stopped", false)),
        ("4", told(503, "sandbox_migrating", true)),
        ("5", told(404, "sandbox_not_found", false)),
    ] {
        assert_eq!(refused(&gateway, &format!("/agent/{sandbox}")), expected, "sandbox {sandbox}");
    }
}

#[test]
fn a_sandbox_that_is_stopped_closes_its_clients_at_once() {
    let Some(fleet) = Fleet::start(&[]) else { return };
    let (worker, pod) = (Worker::start().unwrap(), named("pod"));
    fleet.place("1", worker.address());
    fleet.place("2", worker.address());
    fleet.place("3", pod.address());
    let (mut gone, mut gone_worker) = connect(&fleet.gateway, &worker, PTY);
    let (mut stays, mut stays_worker) = connect(&fleet.gateway, &worker, "/api/sandboxes/2/pty/one");
    let mut stream = Stream::open(&fleet.gateway, "3");
    fleet.state("2", "migrating");
    fleet.state("1", "stopped");
    fleet.state("3", "stopped");
    gone.expect_close(1000, "sandbox stopped").unwrap();
    gone_worker.expect_close(1000, "sandbox stopped").unwrap();
    assert_eq!(stream.client.end().unwrap().0, b"");
    stays.exchange(&mut stays_worker, "still here").unwrap();
    worker.expect_no_call().unwrap();
    let ended = [("end", "sandbox_stopped")];
    until("the end to be counted", || {
        fleet.gateway.metric("gateway_broker_sessions_closed_total", &ended).unwrap() == 1.0
    });
}

#[test]
fn a_control_plane_that_says_stopped_closes_its_clients() {
    let (said, worker) = (Said::default(), Worker::start().unwrap());
    let control_plane = said.serve();
    let url = format!("http://{}/resolve/{{id}}", control_plane.address());
    let gateway = broker().args(["--directory-url", &url]).start().unwrap();
    said.say("1", 200, format!(r#"{{"endpoint":"{}","ttl":1}}"#, worker.address()));
    let (mut client, _worker) = connect(&gateway, &worker, PTY);
    said.say("1", 410, "");
    client.expect_close(1000, "sandbox stopped").unwrap();
    worker.expect_no_call().unwrap();
}

/// The directory says so, and no worker has to be asked.
#[test]
fn a_session_waits_for_a_sandbox_that_is_migrating() {
    let Some(fleet) = Fleet::start(&["--broker-redial-attempts", "2", "--broker-migrating-attempts", "1000"]) else {
        return;
    };
    let (first, second) = (Worker::start().unwrap(), Worker::start().unwrap());
    fleet.place("1", first.address());
    let (mut client, worker) = connect(&fleet.gateway, &first, PTY);
    fleet.state("1", "migrating");
    drop(worker);
    let waited = || fleet.gateway.metric("gateway_broker_redials_total", &[("outcome", "migrating")]).unwrap();
    until("more attempts than there are of others", || waited() >= 5.0);
    first.expect_no_call().unwrap();
    fleet.place("1", second.address());
    fleet.state("1", "running");
    let mut worker = second.accept().unwrap();
    assert_resumes(&mut client, &mut worker);
    first.expect_no_call().unwrap();
}

#[test]
fn a_session_ends_when_its_sandbox_stops_while_it_redials() {
    for (status, reason) in [(409, "sandbox stopped"), (410, "sandbox stopped"), (404, "sandbox not found")] {
        let (said, worker) = (Said::default(), Worker::start().unwrap());
        let control_plane = said.serve();
        let url = format!("http://{}/resolve/{{id}}", control_plane.address());
        let gateway = broker().args(["--directory-url", &url]).start().unwrap();
        said.say("1", 200, format!(r#"{{"endpoint":"{}","ttl":3600}}"#, worker.address()));
        let (mut client, upstream) = connect(&gateway, &worker, PTY);
        said.say("1", status, r#"{"state":"stopped"}"#);
        drop(upstream);
        let close = client.frame().unwrap();
        let text = String::from_utf8_lossy(&close.payload[2..]).into_owned();
        // Its live sessions are closed by the same answer, with the same code.
        assert!(
            close.payload[..2] == 1000_u16.to_be_bytes() && [reason, "sandbox stopped"].contains(&&*text),
            "{text}"
        );
        worker.expect_no_call().unwrap();
    }
}
