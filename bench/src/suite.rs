//! The course of a run: subjects take turns in every round, so that what the machine does falls on all of them.

pub(crate) mod capacity;
mod course;
pub(crate) mod crosscheck;
mod idle;
mod mix;
pub(crate) mod phase;
mod slabs;
pub(crate) mod stage;

use std::slice;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::analysis::median;
use crate::load::Run;
use crate::load::crowd::Crowd;
use crate::load::size::Size;
use crate::scenario::Case;
use capacity::Carried;
use crosscheck::Soaked;
use phase::{Sample, phase};
use stage::{Contender, Stage};

pub(crate) use course::{Wanted, run};

#[cfg(test)]
pub(crate) use idle::Weight;
pub(crate) use idle::{Idle, PerStream, slope};

/// Clients, pods and workers: one of each per processor, on whatever processor the scheduler finds, for everybody
/// alike.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// How thoroughly to measure.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// At most; the plan shortens it where the time is limited.
    pub(crate) round: Duration,
    pub(crate) lead: Duration,
    /// Only the cases marked for it.
    pub(crate) is_quick: bool,
    /// At most that many streams per case.
    pub(crate) streams_max: usize,
    /// How long streams that are to lose their sockets are waited for, at most.
    pub(crate) settle: Duration,
    /// How long everything may take; `None`: as long as it takes.
    pub(crate) budget: Option<Duration>,
}

impl Effort {
    pub(crate) fn lead_millis(&self) -> u64 {
        millis(self.lead)
    }

    pub(crate) fn round_millis(&self) -> u64 {
        millis(self.round)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The open loop's rate, as a part of what the slowest subject reached in the first round of the closed one.
const PACE: f64 = 0.4;

/// All rounds of one subject in one case.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) subject: String,
    pub(crate) closed: Vec<Sample>,
    pub(crate) paced: Vec<Sample>,
}

/// The part of the bytes that the packet program has to carry for the numbers to be its own.
const CARRIED_MIN: f64 = 0.99;

impl Series {
    pub(crate) fn of(subject: &str) -> Self {
        Self { subject: subject.to_owned(), closed: Vec::new(), paced: Vec::new() }
    }

    /// Of a subject that was to splice its streams and did not do so in every phase: which part of the bytes the packet
    /// program carried, in the median phase and in the worst one. Such numbers say nothing about what they stand for.
    pub(crate) fn uncarried(&self) -> Option<(f64, f64)> {
        let parts: Vec<f64> = self.closed.iter().chain(&self.paced).filter_map(|sample| sample.by_packet).collect();
        uncarried(&parts)
    }
}

/// The median and the least of these parts, if that is too little.
pub(crate) fn uncarried(parts: &[f64]) -> Option<(f64, f64)> {
    let least = parts.iter().copied().fold(f64::INFINITY, f64::min);
    (least < CARRIED_MIN).then(|| (median(parts), least))
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct CaseResult {
    pub(crate) scenario: String,
    pub(crate) name: String,
    /// Bytes that one message and its answer move; 0 of visits, and the message alone where answers differ.
    pub(crate) bytes: u32,
    /// Streams that the open loop's messages were spread over, where CPU per stream is asked for.
    pub(crate) streams: usize,
    /// Milliseconds of a round.
    pub(crate) round_millis: u64,
    pub(crate) series: Vec<Series>,
}

impl CaseResult {
    pub(crate) fn new(scenario: &str, name: &str) -> Self {
        Self { scenario: scenario.to_owned(), name: name.to_owned(), ..Self::default() }
    }

    /// Those whose numbers are what they seem to be.
    pub(crate) fn carried(&self) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(|series| series.uncarried().is_none())
    }

    /// The others, with what the packet program carried.
    pub(crate) fn uncarried(&self) -> impl Iterator<Item = (&Series, (f64, f64))> {
        self.series.iter().filter_map(|series| Some((series, series.uncarried()?)))
    }
}

/// Everything that a run has found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    /// The commit that was measured, as git names it.
    pub(crate) commit: String,
    pub(crate) skipped: Vec<(String, String)>,
    /// Steps that failed, and why, also where a second try worked: any of them fails the run.
    pub(crate) failed: Vec<(String, String)>,
    pub(crate) cases: Vec<CaseResult>,
    pub(crate) carried: Vec<Carried>,
    pub(crate) idle: Vec<Idle>,
    pub(crate) soaked: Vec<Soaked>,
}

/// The two cases of `noisy`: without the noise, and with it.
pub(crate) const NOISY: (&str, &str) = (mix::ALONE, mix::BESIDE);

/// Streams that all do the same: as much as a subject takes, and at a rate that everybody can take.
fn measure(stage: &Stage, field: &[&Contender], case: &Case, effort: Effort) -> Result<CaseResult> {
    let streams = case.streams.min(effort.streams_max);
    let mut crowds = Vec::new();
    for contender in field {
        crowds.push(stage.crowd_of(contender, processors().min(streams), streams)?);
    }
    stage.settle(field, effort)?;
    let mut series: Vec<Series> = field.iter().map(|one| Series::of(&one.name)).collect();
    let closed = Run {
        up: case.up,
        down: Size::Exactly(case.down),
        lead_millis: effort.lead_millis(),
        millis: effort.round_millis(),
        ..Run::default()
    };
    let mut paced = closed.clone();
    for round in 0..effort.rounds {
        turn(stage, field, (&mut crowds, &closed), round, |index, sample| series[index].closed.push(sample))?;
        if case.is_paced {
            paced.per_second.get_or_insert_with(|| PACE * slowest(field, &series));
            turn(stage, field, (&mut crowds, &paced), round, |index, sample| series[index].paced.push(sample))?;
        }
    }
    Ok(CaseResult { bytes: case.up + case.down, series, ..CaseResult::new(case.scenario, case.name) })
}

/// One phase of every subject; each round begins with another one.
fn turn(
    stage: &Stage,
    field: &[&Contender],
    (crowds, run): (&mut [Crowd], &Run),
    round: usize,
    mut keep: impl FnMut(usize, Sample),
) -> Result<()> {
    for place in 0..crowds.len() {
        let index = (place + round) % crowds.len();
        if run.per_second.is_some() && !field[index].running.sets_pace() {
            continue;
        }
        let load = (slice::from_mut(&mut crowds[index]), slice::from_ref(run));
        keep(index, phase(stage, field[index], load, 1, &[])?.sample());
    }
    Ok(())
}

fn slowest(field: &[&Contender], series: &[Series]) -> f64 {
    let median = |series: &Series| median(&series.closed.iter().map(|s| s.per_second).collect::<Vec<_>>());
    let pairs = field.iter().zip(series).filter(|(one, _)| one.running.sets_pace());
    pairs.map(|(_, series)| median(series)).fold(f64::INFINITY, f64::min)
}
