//! A control plane as the directory: what it says over HTTP, and what becomes of requests and streams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use gateway_tests::gateway::Gateway;
use gateway_tests::pod::{Gate, Pod};
use gateway_tests::wire::{Answer, Client, UPGRADE_FIELDS};

use crate::scene::{OK, builder, get, ok, until};

/// What it answers by the id that it is asked for; 404 for all others.
#[derive(Clone, Default)]
pub(crate) struct Said(Arc<Mutex<HashMap<String, (u16, String)>>>);

impl Said {
    pub(crate) fn say(&self, id: &str, status: u16, body: impl Into<String>) {
        self.0.lock().unwrap().insert(id.to_owned(), (status, body.into()));
    }

    pub(crate) fn place(&self, id: &str, pod: &Pod, ttl: u32) {
        self.say(id, 200, format!(r#"{{"endpoint":"{}","ttl":{ttl}}}"#, pod.address()));
    }

    pub(crate) fn serve(&self) -> Pod {
        let said = self.clone();
        let pod = Pod::start(move |request, connection| {
            let id = request.target().strip_prefix("/resolve/").unwrap_or_default();
            let (status, body) = said.0.lock().unwrap().get(id).cloned().unwrap_or((404, String::new()));
            connection.send(format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
        });
        pod.unwrap()
    }
}

fn gateway(control_plane: &Pod) -> Gateway {
    let url = format!("http://{}/resolve/{{id}}", control_plane.address());
    builder().args(["--directory-url", &url]).start().unwrap()
}

#[track_caller]
fn ask(gateway: &Gateway, id: &str) -> Answer {
    Client::connect(gateway.addr()).unwrap().ask(get(&format!("/vnc/{id}/x"), "")).unwrap()
}

#[test]
fn each_state_has_its_own_answer() {
    let said = Said::default();
    let control_plane = said.serve();
    let gateway = gateway(&control_plane);
    said.say("2", 409, r#"{"state":"paused"}"#);
    said.say("3", 410, "");
    said.say("4", 503, r#"{"code":"sandbox_migrating"}"#);
    said.say("5", 200, r#"{"endpoint":null}"#);
    said.say("6", 500, "");
    said.say("7", 200, r#"{"endpoint":"169.254.169.254:80"}"#);
    for (id, status, code, retry_after) in [
        ("1", 404, "sandbox_not_found", None),
        ("2", 409, "sandbox_not_running", None),
        ("3", 410, "sandbox_stopped", None),
        ("4", 503, "sandbox_migrating", Some("1")),
        ("5", 503, "sandbox_no_address", Some("1")),
        ("6", 503, "directory_unavailable", Some("1")),
        ("7", 502, "upstream_unreachable", None),
    ] {
        let answer = ask(&gateway, id);
        let told = (answer.status(), answer.field("x-gateway-error"), answer.field("retry-after"));
        assert_eq!(told, (status, Some(code), retry_after), "sandbox {id}");
    }
}

#[test]
fn an_answer_holds_for_its_time_to_live() {
    let (said, pod, other) = (Said::default(), Pod::answering(OK).unwrap(), Pod::answering(ok("", "other")).unwrap());
    let control_plane = said.serve();
    let gateway = gateway(&control_plane);
    said.place("1", &pod, 100);
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "1").text(), "ok");
    }
    assert_eq!(control_plane.requests().len(), 1);
    let by_cache = [("source", "cache"), ("outcome", "hit")];
    assert_eq!(gateway.metric("gateway_directory_lookups_total", &by_cache).unwrap(), 2.0);
    // One that says that it does not hold is asked for each time.
    said.place("2", &pod, 0);
    assert_eq!(ask(&gateway, "2").text(), "ok");
    said.place("2", &other, 0);
    assert_eq!(ask(&gateway, "2").text(), "other");
}

/// Trap 33: a change is seen by the first request behind the time to live, and no use of the old answer renews that.
#[test]
fn the_next_request_follows_once_the_time_to_live_is_over() {
    let (said, pod, other) = (Said::default(), Pod::answering(OK).unwrap(), Pod::answering(ok("", "other")).unwrap());
    let control_plane = said.serve();
    let gateway = gateway(&control_plane);
    said.place("1", &pod, 1);
    assert_eq!(ask(&gateway, "1").text(), "ok");
    said.place("1", &other, 100);
    until("the other pod, however often the old one is asked", || ask(&gateway, "1").text() == "other");
    assert_eq!(ask(&gateway, "1").text(), "other");
    assert_eq!(control_plane.requests().len(), 2, "each answer was asked for once");
}

#[test]
fn clients_that_ask_at_once_share_one_question() {
    let (pod, gate) = (Pod::answering(OK).unwrap(), Gate::default());
    let endpoint = pod.address();
    let control_plane = {
        let gate = gate.clone();
        Pod::start(move |_, connection| {
            gate.pass()?;
            connection.send(ok("", &format!(r#"{{"endpoint":"{endpoint}"}}"#)))
        })
        .unwrap()
    };
    let gateway = gateway(&control_plane);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(gateway.addr()).unwrap()).collect();
    clients.iter().for_each(|client| client.send(get("/vnc/1/x", "")).unwrap());
    until("the question to arrive", || control_plane.requests().len() == 1);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.answer().unwrap().text(), "ok");
    }
    assert_eq!(control_plane.requests().len(), 1);
}

/// Trap 37: known sandboxes go on without the control plane, unknown ones are told at once, readiness is red.
#[test]
fn known_sandboxes_outlive_the_control_plane() {
    let (said, pod) = (Said::default(), Pod::answering(OK).unwrap());
    let control_plane = said.serve();
    let gateway = gateway(&control_plane);
    said.place("1", &pod, 0);
    assert_eq!(ask(&gateway, "1").text(), "ok");
    drop(control_plane);
    assert_eq!(ask(&gateway, "1").text(), "ok");
    assert_eq!(ask(&gateway, "2").field("x-gateway-error"), Some("directory_unavailable"));
    assert_eq!(gateway.readiness().unwrap(), 503);
}

/// Trap 37: it comes back without a restart, for sandboxes old and new.
#[test]
fn a_control_plane_that_comes_back_is_believed_again() {
    let (said, pod) = (Said::default(), Pod::answering(OK).unwrap());
    let control_plane = said.serve();
    let gateway = gateway(&control_plane);
    for id in ["1", "2"] {
        said.say(id, 500, "");
    }
    assert_eq!(ask(&gateway, "1").field("x-gateway-error"), Some("directory_unavailable"));
    assert_eq!(gateway.readiness().unwrap(), 503);
    for id in ["1", "2"] {
        said.place(id, &pod, 100);
    }
    until("readiness, although nobody asks", || gateway.readiness().unwrap() == 200);
    assert_eq!([ask(&gateway, "1").text(), ask(&gateway, "2").text()], ["ok", "ok"]);
}

/// Trap 32: the streams of a sandbox that ends are closed although nobody asks for it.
#[test]
fn a_sandbox_that_ends_loses_its_streams() {
    let pod = Pod::start(|request, connection| {
        connection.switch(request)?;
        connection.echo()
    })
    .unwrap();
    let said = Said::default();
    let control_plane = said.serve();
    let gateway = gateway(&control_plane);
    said.place("1", &pod, 1);
    let mut client = Client::connect(gateway.addr()).unwrap();
    assert_eq!(client.ask(get("/vnc/1/ws", UPGRADE_FIELDS)).unwrap().status(), 101);
    client.send("hello\n").unwrap();
    assert_eq!(client.until("\n").unwrap(), b"hello\n");
    said.say("1", 410, "");
    until("the pod's connection to end", || pod.open() == 0);
    let gone = [("reason", "sandbox_gone")];
    until("the stream to be counted", || gateway.metric("gateway_streams_closed_total", &gone).unwrap() == 1.0);
}
