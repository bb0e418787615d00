//! HTTP before the stream: visitors who load pages and assets over kept connections, and the pods that have them.

mod churn;
pub(crate) mod pod;
mod step;
#[cfg(test)]
mod tests;
pub(crate) mod visitor;

use std::net::SocketAddr;
use std::slice;

use anyhow::{Context as _, Result};
use gateway_tests::redis::RedisServer;
use serde::{Deserialize, Serialize};

use crate::load::Run;
use crate::load::crowd::Crowd;
use crate::scenario::WebCase;
use crate::subject::Subject;
use crate::suite::phase::phase;
use crate::suite::{CaseResult, Effort, Series, Stage, processors};
use crate::topology::Network;
use churn::Changing;
pub(crate) use churn::write_directory;

/// Bytes of a small asset.
pub(crate) const ASSET_BYTES: usize = 4 << 10;

/// Bytes of the page a session begins with; noVNC's `vnc.html` has about as many.
pub(crate) const PAGE_BYTES: usize = 16 << 10;

/// Assets of one session: as many as noVNC 1.3 loads, within one or two.
pub(crate) const SESSION_ASSETS: u64 = 30;

/// What a visitor does again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// One asset after the other on one connection: a message is a request.
    Assets,
    /// A page, its assets on the same connection, then a WebSocket on another one until its first frame, then goodbye:
    /// a message is a session.
    Session,
}

/// Parts of a session whose times are told apart, in the order of [`Tally::stages`](crate::load::Tally::stages).
pub(crate) const STAGES: [&str; 4] = ["page", "asset", "upgrade", "first frame"];

/// What the visitors of one client process are told before the first run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    /// Visitors of this process.
    pub(crate) visitors: usize,
    /// Where to connect for sandboxes of the n-th pod: the n-th address, modulo their number.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Where the pods listen: each answer names the pod that it comes from.
    pub(crate) pods: Vec<SocketAddr>,
    /// Sandboxes to choose from.
    pub(crate) sandboxes: usize,
    /// Where the choice begins, so that processes do not choose alike.
    pub(crate) seed: u64,
}

/// Measures a case with every subject that can take part.
pub(crate) fn measure(
    subjects: &[Box<dyn Subject>],
    case: &WebCase,
    (network, effort): (&Network, Effort),
    skipped: &mut Vec<(String, String)>,
) -> Result<CaseResult> {
    let redis = RedisServer::start_with(&["--save", "", "--appendonly", "no"]).context("start Redis")?;
    let mut stage = Stage::of_pods(network, "web-pod")?;
    // A smoke test measures nothing: its directory may be small.
    let sandboxes = case.sandboxes.min(effort.streams_max.saturating_mul(16)).max(stage.pods.len());
    let entries: Vec<_> = stage.scene(sandboxes, None).directory().collect();
    write_directory(redis.address(), &entries)?;
    stage.start(subjects, (sandboxes, Some(redis.address())), skipped)?;
    let mut crowds = Vec::new();
    let mut series = Vec::new();
    let field = stage.field(true, 0);
    for (name, running) in &field {
        let processes = processors();
        let mut crowd = Crowd::start(&stage.network, processes)?;
        let plan = |index| Plan {
            kind: case.kind,
            visitors: case.visitors / processes,
            addresses: running.addresses.clone(),
            pods: stage.pods.clone(),
            sandboxes,
            seed: index as u64 + 1,
        };
        crowd.visit(plan).with_context(|| name.clone())?;
        crowds.push(crowd);
        series.push(Series { subject: name.clone(), closed: Vec::new(), paced: Vec::new() });
    }
    let run = Run { lead_millis: effort.lead_millis(), millis: effort.round_millis(), ..Run::default() };
    let changing = Changing::start(redis.address(), entries, case.changes_per_second);
    for round in 0..effort.rounds {
        for place in 0..field.len() {
            let index = (place + round) % field.len();
            changing.aim(field[index].1.table.as_ref());
            let load = (slice::from_mut(&mut crowds[index]), slice::from_ref(&run));
            series[index].closed.push(phase(&stage, field[index], load, 1, &[])?.sample());
        }
    }
    changing.stop()?;
    Ok(CaseResult { series, ..CaseResult::new(case.scenario, case.name) })
}
