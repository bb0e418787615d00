//! Whether the CPU figure can be believed: the same load once as it is, and once with soakers that take what is left.

use std::slice;

use anyhow::Result;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::phase::{Phase, phase};
use super::stage::{Contender, Stage};
use super::{Effort, PACE, processors};
use crate::load::Run;
use crate::load::crowd::Crowd;
use crate::load::size::Size;
use crate::soaker::Soaker;
use crate::soaker::pen::Pen;

/// Microseconds of the whole machine per message through one subject, round by round.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Soaked {
    pub(crate) subject: String,
    /// Messages per second of all of them.
    #[serde(default)]
    pub(crate) per_second: f64,
    /// From the idle time that the kernel counts.
    pub(crate) by_idle: Vec<f64>,
    /// From what soakers got.
    pub(crate) by_soaker: Vec<f64>,
}

/// What is looked at: the limit, one that works in its own threads, and those that work in the kernel's.
pub(super) const SUBJECTS: [&str; 4] = ["direct", "copy uring", "sockmap", "packet"];

const STREAMS: usize = 64;
const BYTES: u32 = 256;

/// The same load of every subject, with soakers and without. Nothing where soakers would take more than what is left.
pub(super) fn check(
    stage: &Stage,
    field: &[&Contender],
    effort: Effort,
    skipped: &mut Vec<(String, String)>,
) -> Result<Vec<Soaked>> {
    let pen = match Pen::new() {
        Ok(pen) => pen,
        Err(error) => {
            skipped.push(("cross-check of the CPU figure".to_owned(), format!("{error:#}")));
            return Ok(Vec::new());
        }
    };
    let mut found = Vec::new();
    for contender in field.iter().filter(|one| SUBJECTS.contains(&one.name.as_str())) {
        let crowd = stage.crowd_of(contender, processors(), STREAMS.min(effort.streams_max))?;
        let soaked = Soaked { subject: contender.name.clone(), per_second: 0.0, by_idle: vec![], by_soaker: vec![] };
        found.push((*contender, crowd, soaked));
    }
    stage.settle(field, effort)?;
    let closed = Run {
        up: BYTES,
        down: Size::Exactly(BYTES),
        lead_millis: effort.lead_millis(),
        millis: effort.round_millis(),
        ..Run::default()
    };
    let load = |contender, crowd: &mut Crowd, run: &Run, soaker: &[Pid]| -> Result<Phase> {
        phase(stage, contender, (slice::from_mut(crowd), slice::from_ref(run)), 1, soaker)
    };
    // As much as leaves something on every machine, and enough for a tick to be little of it.
    let mut slowest = f64::INFINITY;
    for (contender, crowd, _) in &mut found {
        slowest = slowest.min(load(contender, crowd, &closed, &[])?.sample().per_second);
    }
    let run = Run { per_second: Some(PACE * slowest), ..closed };
    for _ in 0..effort.rounds {
        for (contender, crowd, soaked) in &mut found {
            let alone = load(contender, crowd, &run, &[])?;
            soaked.by_idle.push(alone.per_message(alone.spent.cpu));
            let soaker = Soaker::start(processors(), &pen)?;
            let beside = load(contender, crowd, &run, &soaker.pids())?;
            let spent = &beside.spent;
            let left = spent.available.saturating_sub(spent.steal + spent.threads.soaker);
            soaked.by_soaker.push(beside.per_message(left));
            soaked.per_second = PACE * slowest;
        }
    }
    Ok(found.into_iter().map(|(_, _, soaked)| soaked).collect())
}
