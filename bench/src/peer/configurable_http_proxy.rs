//! configurable-http-proxy, which stands before the notebooks of JupyterHub: one Node process, routes by its REST API.
//!
//! It has no configuration file. Paths are all that it knows, and one thread is all that it has.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gateway_tests::wait;

use super::program::Program;
use super::site::{Launch, Site};
use super::{Peer, START_LIMIT, no_table};
use crate::subject::sandbox_id;

pub(super) const PEER: Peer = Peer {
    name: "configurable-http-proxy",
    program: Program::Npm { package: "configurable-http-proxy", version: "5.3.0" },
    needs: &[("node", "nodejs")],
    by_cookie: false,
    has_many: false,
    frames_on: None,
    prepare,
    settle,
    table: no_table,
};

const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The API listens beside the data port, on another loopback address, so that one free port is enough.
fn api(site: &Site) -> SocketAddr {
    (Ipv4Addr::new(127, 0, 0, 2), site.listen.port()).into()
}

fn prepare(site: &Site) -> Result<Launch> {
    let (listen, api) = (site.listen, api(site));
    drop(TcpListener::bind(api).context("the port of the API")?);
    let arguments = [
        format!("--ip={}", listen.ip()),
        format!("--port={}", listen.port()),
        format!("--api-ip={}", api.ip()),
        format!("--api-port={}", api.port()),
        "--no-include-prefix".to_owned(),
        "--log-level=error".to_owned(),
        // Kept connections to the pods.
        "--keep-alive-timeout=60000".to_owned(),
    ];
    let launch = Launch::new(arguments);
    // What its authors set for production; without it Express-like parts of Node check more than they need.
    Ok(Launch { environment: vec![("NODE_ENV".to_owned(), "production".to_owned())], ..launch })
}

fn settle(site: &Site) -> Result<()> {
    for (index, pod) in site.scene.pods.iter().enumerate() {
        let body = format!("{{\"target\":\"http://{pod}\"}}");
        let request = format!(
            "POST /api/routes/vnc/{} HTTP/1.1\r\nHost: api\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            sandbox_id(index),
            body.len()
        );
        let mut stream = wait::until("the API to accept", START_LIMIT, || TcpStream::connect(api(site)).ok())?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 201 "), "the API answered {answer}");
    }
    Ok(())
}
