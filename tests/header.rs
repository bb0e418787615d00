//! The header source: the contract of the agent-sandbox routers, held by a gateway in their place.

mod contract;
mod environment;
mod names;
mod tokens;

use std::net::{Ipv4Addr, SocketAddr};

use gateway_tests::dns::Dns;
use gateway_tests::gateway::{Gateway, GatewayBuilder};
use gateway_tests::pod::{Absent, Pod};
use gateway_tests::wire::{Answer, Client};
use serde_json::Value;

use crate::scene::get;

/// A gateway of the header source alone that lets everybody in and asks `dns`.
fn open(dns: &Dns) -> GatewayBuilder {
    asking(dns).args(["--allow-unauthenticated", "true"])
}

/// The same, without a word about who may come in.
fn asking(dns: &Dns) -> GatewayBuilder {
    let server = dns.address().to_string();
    crate::scene::builder().args(["--source", "header", "--dns-server", &server, "--allow-loopback-pod-ip", "true"])
}

/// A pod that says `text`, at a port of its own on the loopback address `127.0.0.last`, or at the port given.
fn pod(text: &str, last: u8, port: u16) -> Pod {
    let absent = Absent::at(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port))).unwrap();
    let response = crate::scene::ok("", text);
    absent
        .listen(move |request, connection| {
            connection.body(request)?;
            connection.send(&response)
        })
        .unwrap()
}

/// The answer to a GET with these fields.
#[track_caller]
fn ask(gateway: &Gateway, fields: &str) -> Answer {
    Client::connect(gateway.addr()).unwrap().ask(get("/x", fields)).unwrap()
}

/// The fields that name `box` at `port`.
fn named(port: u16) -> String {
    format!("X-Sandbox-ID: box\r\nX-Sandbox-Port: {port}\r\n")
}

/// The status and the contract's text.
fn detail(answer: &Answer) -> (u16, String) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("no JSON: {}", answer.text()));
    (answer.status(), body["detail"].as_str().unwrap_or_default().to_owned())
}
