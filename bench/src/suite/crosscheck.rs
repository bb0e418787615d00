//! Whether the CPU figure can be believed: the same load once as it is, and once with soakers that take what is left.

use std::slice;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::phase::phase;
use super::{Contender, Effort, Stage, processors};
use crate::load::Run;
use crate::load::crowd::Crowd;
use crate::load::size::Size;
use crate::soaker::Soaker;

/// Microseconds of the whole machine per message through one subject, round by round.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Soaked {
    pub(crate) subject: String,
    /// From the idle time that the kernel counts.
    pub(crate) by_idle: Vec<f64>,
    /// From what soakers got.
    pub(crate) by_soaker: Vec<f64>,
}

/// What is looked at: the limit, and one that works in its own threads. The kernel's engines do it in those of the
/// kernel's queues, which a spinning processor holds up: what is compared would not be the same load.
pub(super) const SUBJECTS: [&str; 2] = ["direct", "copy uring"];

const STREAMS: usize = 64;
const BYTES: u32 = 256;

/// Little enough for every machine to have something left.
const PER_SECOND: f64 = 5000.0;

pub(super) fn check(stage: &Stage, field: &[&Contender], effort: Effort) -> Result<Vec<Soaked>> {
    let mut found = Vec::new();
    for contender in field.iter().filter(|(name, _)| SUBJECTS.contains(&name.as_str())) {
        let (name, running) = contender;
        let mut crowd = Crowd::start(&stage.network, processors())?;
        crowd.open(STREAMS.min(effort.streams_max), |stream| stage.target(running, stream))?;
        found.push((*contender, crowd, Soaked { subject: name.clone(), by_idle: vec![], by_soaker: vec![] }));
    }
    let run = Run {
        up: BYTES,
        down: Size::Exactly(BYTES),
        per_second: Some(PER_SECOND),
        lead_millis: effort.lead_millis(),
        millis: effort.round_millis(),
        ..Run::default()
    };
    for _ in 0..effort.rounds {
        for (contender, crowd, soaked) in &mut found {
            let alone = phase(stage, contender, (slice::from_mut(crowd), slice::from_ref(&run)), 1, &[])?;
            soaked.by_idle.push(alone.per_message(alone.spent.cpu));
            let soaker = Soaker::start(processors())?;
            let load = (slice::from_mut(crowd), slice::from_ref(&run));
            let beside = phase(stage, contender, load, 1, &soaker.pids())?;
            let spent = &beside.spent;
            let left = spent.available.saturating_sub(spent.steal + spent.threads.soaker);
            soaked.by_soaker.push(beside.per_message(left));
        }
    }
    Ok(found.into_iter().map(|(_, _, soaked)| soaked).collect())
}
