//! Visitors are measured with pods whose answers are known.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use gateway_tests::bridge::read_head;

use super::visitor::Visitors;
use super::{Kind, Plan, pod};
use crate::load::{Run, Tally};

fn served() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || pod::serve(&listener));
    address
}

/// A server for one connection that answers every request with `answer`.
fn scripted(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        while read_head(&mut socket).is_ok() {
            if socket.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    address
}

fn run(kind: Kind, visitors: usize, addresses: Vec<SocketAddr>, pods: Vec<SocketAddr>) -> anyhow::Result<Tally> {
    let mut visitors = Visitors::new(Plan { kind, visitors, addresses, pods, sandboxes: 10, seed: 7 })?;
    visitors.run(&Run { millis: 200, ..Run::default() })
}

fn count(steps: &[(u64, u64)]) -> u64 {
    steps.iter().map(|(_, count)| count).sum()
}

#[test]
fn sessions_have_all_their_stages() {
    let pods = vec![served(), served()];
    let tally = run(Kind::Session, 4, pods.clone(), pods).unwrap();
    assert!(tally.messages > 0, "{tally:?}");
    assert_eq!(count(&tally.latencies), tally.messages);
    let counts: Vec<u64> = tally.stages.iter().map(|stage| count(stage)).collect();
    // What was under way at the end has fewer of the later stages.
    assert!(counts[3] >= tally.messages && counts[1] >= 30 * tally.messages, "{counts:?} {}", tally.messages);
}

#[test]
fn assets_are_loaded_on_one_connection() {
    let pods = vec![served()];
    let tally = run(Kind::Assets, 3, pods.clone(), pods).unwrap();
    assert!(tally.messages > 3, "{tally:?}");
    assert_eq!(count(&tally.stages[1]), tally.messages);
}

#[test]
fn an_answer_of_another_pod_fails_the_run() {
    let (pod, other) = (served(), served());
    let error = run(Kind::Assets, 1, vec![pod], vec![other]).unwrap_err();
    assert!(error.to_string().starts_with("an answer of another pod"), "{error}");
}

#[test]
fn a_page_that_redirects_for_ever_fails_the_run() {
    let pod = scripted("HTTP/1.1 302 Found\r\nLocation: /vnc/37000/\r\nContent-Length: 0\r\n\r\n");
    let error = run(Kind::Session, 1, vec![pod], vec![pod]).unwrap_err();
    assert!(error.to_string().starts_with("redirected for ever"), "{error}");
}

#[test]
fn an_error_fails_the_run() {
    let pod = scripted("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    let error = run(Kind::Assets, 1, vec![pod], vec![pod]).unwrap_err();
    assert!(error.to_string().starts_with("no answer to Asset"), "{error}");
}
