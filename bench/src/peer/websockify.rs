//! websockify, which noVNC comes with: Python, a process for each stream, and the end of WebSocket.
//!
//! It takes frames apart and puts them together, and the sandbox gets what is in them, where the others pass on frames
//! to a sandbox that has to do that itself. So clients of this subject send frames, and pods get none.

use std::net::TcpStream;

use anyhow::Result;
use gateway_tests::wait;

use super::program::Program;
use super::site::{Launch, Site};
use super::{Peer, START_LIMIT, no_table};

pub(super) const PEER: Peer = Peer {
    name: "websockify",
    // With numpy, without which it takes masks off byte by byte.
    program: Program::Wheel {
        package: "websockify",
        version: "0.13.0",
        program: "websockify",
        with: &["numpy==2.2.6"],
    },
    needs: &[("python3", "python3")],
    by_cookie: false,
    has_many: false,
    frames_on: Some(STREAMS_MAX),
    prepare,
    settle,
    table: no_table,
};

/// Streams, and so processes, of some 10 MB each.
const STREAMS_MAX: usize = 64;

fn prepare(site: &Site) -> Result<Launch> {
    site.write("tokens", &site.lines(|_, sandbox, pod| format!("{sandbox}: {pod}\n")), &[])?;
    let launch = Launch::new([
        // Read once, and not for each stream.
        "--token-plugin=ReadOnlyTokenFile".to_owned(),
        format!("--token-source={}", site.path("tokens")),
        site.listen.to_string(),
    ]);
    let place = PEER.program.place()?.display().to_string();
    Ok(Launch { environment: vec![("PYTHONPATH".to_owned(), place)], ..launch })
}

/// Its parent forks for each connection, and so has accepted the first one when it has taken its end.
fn settle(site: &Site) -> Result<()> {
    wait::until("websockify to accept again", START_LIMIT, || TcpStream::connect(site.listen).ok()).map(drop)
}
