//! Visitors are measured with pods whose answers are known.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use gateway_tests::bridge::read_head;

use super::visitor::Visitors;
use super::{Kind, Plan, pod};
use crate::load::pattern::Pattern;
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

/// A server that closes each connection behind as many answers, without a word.
fn closing(answers: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            for _ in 0..answers {
                let Ok(head) = read_head(&mut socket) else { break };
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let (bytes, position) = pod::body(&path).unwrap();
                let head = format!("HTTP/1.1 200 OK\r\nX-Pod: {address}\r\nContent-Length: {bytes}\r\n\r\n");
                let answer = [head.as_bytes(), Pattern::new().at(position, bytes)].concat();
                if socket.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    address
}

#[test]
fn a_kept_connection_that_ends_is_replaced() {
    let pod = closing(2);
    let tally = run(Kind::Assets, 1, vec![pod], vec![pod]).unwrap();
    assert!(tally.messages > 4, "{tally:?}");
}

#[test]
fn a_server_that_never_answers_fails_the_run() {
    let pod = closing(0);
    let error = run(Kind::Assets, 1, vec![pod], vec![pod]).unwrap_err();
    assert!(error.to_string().starts_with("a connection has ended"), "{error}");
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
