//! SIGTERM, as a rolling update sends it: nobody who was accepted goes without an answer, streams get their time,
//! exit 0.
//!
//! What is asserted about a request on a kept connection, where the gateway may close at the very moment in which the
//! client sends (RFC 9112, section 9.5): one that was sent before the signal is answered whole, whatever state its
//! connection was in, because its bytes had arrived. One that was sent later is answered whole, or not by a single
//! byte and never reached a pod, so that the client may send it again elsewhere.

mod load;
mod phases;

use std::time::Duration;

use gateway_tests::gateway::{Gateway, GatewayBuilder};
use gateway_tests::pod::Pod;
use gateway_tests::wait::PATIENCE;
use gateway_tests::wire::Client;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::users::until_ready;

/// A gateway whose sandbox 1 is `pod`.
fn gateway(pod: &Pod, prepare: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Gateway {
    prepare(Gateway::builder().sandbox("1", pod.address())).start().unwrap()
}

/// Sends SIGTERM and waits until the gateway has taken notice.
fn terminate(gateway: &Gateway) {
    gateway.signal(Signal::SIGTERM).unwrap();
    until_ready(gateway, 503);
}

/// Waits for the end, which is in order.
fn assert_exit(gateway: &mut Gateway, limit: Duration) {
    let status = gateway.wait(limit).unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(!gateway.log().iter().any(|line| line.contains("did not end in order")), "{:?}", gateway.log());
}

/// The closing lines of the gateway's streams.
fn closing_lines(gateway: &Gateway) -> Vec<Value> {
    let lines = gateway.log();
    let records = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records.filter(|record| record["message"] == "stream closed").collect()
}

/// Waits until nobody accepts connections any more.
fn until_refused(gateway: &Gateway) {
    let refuses = || std::net::TcpStream::connect(gateway.addr()).is_err().then_some(());
    gateway_tests::wait::until("connections to be refused", PATIENCE, refuses).unwrap();
}

/// A connection that was used once, and waits.
fn kept(gateway: &Gateway) -> Client {
    let mut client = Client::connect(gateway.addr()).unwrap();
    assert_eq!(client.ask(REQUEST).unwrap().status(), 200);
    client
}

const REQUEST: &str = "GET /vnc/1/page HTTP/1.1\r\nHost: gateway.example\r\n\r\n";
