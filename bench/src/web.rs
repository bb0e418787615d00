//! HTTP before the stream: visitors who load pages and assets over kept connections, and the pods that have them.

mod churn;
pub(crate) mod pod;
mod step;
#[cfg(test)]
mod tests;
pub(crate) mod visitor;

use std::net::SocketAddr;
use std::slice;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::load::Run;
use crate::scenario::WebCase;
use crate::subject::{Running, Subject};
use crate::suite::phase::phase;
use crate::suite::stage::{Ground, Role, Stage};
use crate::suite::{CaseResult, Effort, Series, processors};
use crate::topology::Network;
pub(crate) use churn::write_directory;
use churn::{Aim, Changing, redis_table};

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
    // A smoke test measures nothing: its directory may be small.
    let sandboxes = case.sandboxes.min(effort.streams_max.saturating_mul(16));
    let role = Role::Visits { sandboxes };
    let mut stage = Stage::new(network, role)?;
    stage.start(subjects, skipped)?;
    let field = stage.field(true, 0);
    let (mut crowds, mut aims) = (Vec::new(), Vec::new());
    for contender in &field {
        let processes = processors();
        let mut crowd = stage.crowd(contender, processes)?;
        let ground = stage.ground(contender);
        let plan = |index| Plan {
            kind: case.kind,
            visitors: case.visitors / processes,
            addresses: contender.running.addresses.clone(),
            pods: ground.pods.clone(),
            sandboxes: ground.scene(role).sandboxes,
            seed: index as u64 + 1,
        };
        crowd.visit(plan).with_context(|| contender.name.clone())?;
        crowds.push(crowd);
        aims.push(aim(&contender.running, ground)?);
    }
    let mut series: Vec<Series> = field.iter().map(|one| Series::of(&one.name)).collect();
    let run = Run { lead_millis: effort.lead_millis(), millis: effort.round_millis(), ..Run::default() };
    let changing = Changing::start(case.changes_per_second);
    for round in 0..effort.rounds {
        for place in 0..field.len() {
            let index = (place + round) % field.len();
            changing.aim(&aims[index]);
            let load = (slice::from_mut(&mut crowds[index]), slice::from_ref(&run));
            series[index].closed.push(phase(&stage, field[index], load, 1, &[])?.sample());
        }
    }
    changing.stop()?;
    Ok(CaseResult { series, ..CaseResult::new(case.scenario, case.name) })
}

/// Where a subject's directory is changed: in a table of its own, or in the Redis of its ground.
fn aim(running: &Running, ground: &Ground) -> Result<Aim> {
    let redis = ground.redis.as_ref().context("visitors come with Redis")?;
    let table = match &running.table {
        Some(table) => Arc::clone(table),
        None => ground.venue.inside(|| redis_table(redis.address()))?,
    };
    Ok(Aim { table, entries: Arc::clone(&ground.entries) })
}
