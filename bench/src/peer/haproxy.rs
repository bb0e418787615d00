//! HAProxy: one process with threads, the routing table in a map file.

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit};

use super::Peer;
use super::program::Program;
use super::site::{Launch, Site};

pub(super) const PEER: Peer = Peer {
    name: "haproxy",
    program: Program::Debian("haproxy"),
    needs: &[],
    by_cookie: true,
    has_many: true,
    prepare,
    settle: |_| Ok(()),
};

/// Descriptors that HAProxy needs beside those of its connections: two for each of `maxpipes`, listeners, pollers.
const DESCRIPTORS_KEPT: u64 = 2 * 512 + 200;

fn prepare(site: &Site) -> Result<Launch> {
    let (_, descriptors) = getrlimit(Resource::RLIMIT_NOFILE).context("ask for the limit of descriptors")?;
    // It refuses to start where two for each connection would not fit.
    let connections = descriptors.min(1 << 20).saturating_sub(DESCRIPTORS_KEPT) / 2;
    site.write("haproxy.cfg", include_str!("../../peers/haproxy.cfg"), &[("connections", connections.to_string())])?;
    site.write("sandboxes.map", &site.lines(|_, sandbox, pod| format!("{sandbox} {pod}\n")), &[])?;
    // In the foreground, without a master process.
    Ok(Launch::new(["-db", "-f", &site.path("haproxy.cfg")]))
}
