//! What only streams in the kernel can get wrong: the way there and back under traffic, memory that is charged to
//! nobody, what stays behind, and machines on which they cannot go there.

mod asleep;
mod backlog;
mod bounds;
mod remains;
mod stalled;
mod switching;
mod talk;
mod without;

use gateway_tests::bridge::{Bridge, Ends, Path};
use gateway_tests::gateway::GatewayBuilder;
use gateway_tests::http;
use gateway_tests::need::{Need, is_missing};
use gateway_tests::wait::{PATIENCE, until};
use serde_json::Value;

/// Streams go into the kernel as soon as they can.
const SOCKMAP: Path = Path::on_loopback("sockmap", "uring");

/// They wait for the sweeper, or for an operator. Without the right to raw sockets there is no engine `packet`, which
/// `auto` would take first.
const AUTO: Path = Path::on_loopback("auto", "uring");

const COPY: Path = Path::on_loopback("copy", "uring");

/// Whether this machine has no way into the kernel.
fn is_unavailable() -> bool {
    is_missing(&[Need::Engine("sockmap"), Need::Program("setpriv")])
}

fn start(path: Path) -> Bridge {
    let with_less = |gateway: GatewayBuilder| match path.engine {
        "auto" => gateway.through(["setpriv", "--bounding-set", "-net_raw", "--"]),
        _ => gateway,
    };
    Bridge::start(path, with_less).unwrap()
}

/// Bytes that an engine has moved, in both directions.
fn bytes_by(bridge: &Bridge, engine: &str) -> f64 {
    bridge.gateway.metric("gateway_stream_bytes_total", &[("engine", engine)]).unwrap()
}

fn promotions(bridge: &Bridge) -> f64 {
    bridge.gateway.metric("gateway_stream_promotions_total", &[]).unwrap()
}

fn demotions(bridge: &Bridge, reason: &str) -> f64 {
    bridge.gateway.metric("gateway_stream_demotions_total", &[("reason", reason)]).unwrap()
}

/// What `/streams` says of a stream; nothing once it has ended.
fn listed(bridge: &Bridge, ends: &Ends) -> Option<Value> {
    let client = ends.client.local_addr().unwrap().to_string();
    bridge.gateway.streams().unwrap().into_iter().find(|stream| stream["client"] == client.as_str())
}

fn id(bridge: &Bridge, ends: &Ends) -> u64 {
    listed(bridge, ends).expect("the stream is alive")["id"].as_u64().unwrap()
}

/// Who moves the bytes of the stream with this number; nothing once it has ended.
fn engine(bridge: &Bridge, id: u64) -> Option<String> {
    let streams = bridge.gateway.streams().unwrap();
    let stream = streams.iter().find(|stream| stream["id"] == id)?;
    stream["engine"].as_str().map(str::to_owned)
}

fn until_engine(bridge: &Bridge, id: u64, wanted: &str) {
    let is_wanted = || (engine(bridge, id)? == wanted).then_some(());
    until(&format!("the stream to be with {wanted}"), PATIENCE, is_wanted).unwrap();
}

/// Brings a stream back to user space.
fn demote(bridge: &Bridge, id: u64) -> u16 {
    http::send(bridge.gateway.admin(), "PUT", &format!("/streams/{id}/demoted")).unwrap().status
}

/// Lets it go into the kernel again.
fn promote(bridge: &Bridge, id: u64) -> u16 {
    http::send(bridge.gateway.admin(), "DELETE", &format!("/streams/{id}/demoted")).unwrap().status
}

/// The closing line of a stream, by its number.
fn closing_line(bridge: &Bridge, id: u64) -> Value {
    let is_it = |record: &Value| record["message"] == "stream closed" && record["stream"] == id;
    bridge.gateway.logged("the closing line", PATIENCE, is_it).unwrap()
}

fn until_no_stream(bridge: &Bridge) {
    until("no stream to be left", PATIENCE, || bridge.gateway.streams().unwrap().is_empty().then_some(())).unwrap();
}
