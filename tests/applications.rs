//! Applications that know nothing of gateways, used in a browser by each way in: by host names of their own over one
//! gateway and over two, and below a path prefix.

mod bytes;
mod files;
mod jupyter;
mod vite;
mod waiting;

use std::net::SocketAddr;

use gateway_tests::application::Application;
use gateway_tests::browser::{Browser, Tab};
use gateway_tests::gateway::Gateway;
use gateway_tests::need::{self, Need};
use gateway_tests::wait::PATIENCE;

use crate::scene::{builder, until};

/// What stands before the port in the path of sandbox `team/a`.
const PREFIX: &str = "/sandboxes/team/a";

/// A gateway whose sandboxes `a` and `team/a` are this machine, by host name and by prefix.
fn gateway(arguments: &[&str]) -> Gateway {
    let here = SocketAddr::from(([127, 0, 0, 1], 1));
    builder()
        .args(["--source", "host,prefix"])
        .args(arguments)
        .sandbox("a", here)
        .sandbox("team/a", here)
        .start()
        .unwrap()
}

/// An edge and the host agent behind it.
fn two_hops(arguments: &[&str]) -> (Gateway, Gateway) {
    let here = SocketAddr::from(([127, 0, 0, 1], 1));
    let agent = builder().args(["--source", "agent", "--trusted-proxy", "127.0.0.1"]).args(arguments);
    let agent = agent.sandbox("a", here).start().unwrap();
    let edge = builder().args(["--source", "host", "--host-agent", "true"]).sandbox("a", agent.addr()).start().unwrap();
    (edge, agent)
}

/// Where a browser finds `application` by the host name of its port, without a slash at its end.
fn by_host(gateway: &Gateway, application: &Application) -> String {
    format!("http://{}-a.localhost:{}", application.address().port(), gateway.addr().port())
}

/// Where a browser finds `application` below the prefix, without a slash at its end.
fn by_prefix(gateway: &Gateway, application: &Application) -> String {
    format!("http://{}{PREFIX}/{}", gateway.addr(), application.address().port())
}

fn is_missing(needs: &[Need]) -> bool {
    need::is_missing(&Browser::needs()) || need::is_missing(needs)
}

/// Waits until the tab shows `url`, and that page has loaded.
#[track_caller]
fn wait_at(tab: &Tab, url: &str) {
    tab.wait_for(&format!("location.href === '{url}' && document.readyState === 'complete'"), PATIENCE).unwrap();
}

/// Waits for a live stream to `endpoint` that has brought something from there.
#[track_caller]
fn wait_stream(gateway: &Gateway, endpoint: SocketAddr) {
    until("a stream that carries bytes", || {
        let carries = |stream: &serde_json::Value| {
            stream["endpoint"] == *endpoint.to_string() && stream["bytes_down"].as_u64().is_some_and(|bytes| bytes > 0)
        };
        gateway.streams().unwrap().iter().any(carries)
    });
}
