//! How many streams a subject carries: as many as still get their updates in time.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::mix::{MESSAGE_BYTES, Part, desktops};
use super::phase::phase;
use super::stage::{Contender, Stage};
use super::{Effort, processors};
use crate::load::Run;

/// Within which 99 % of the updates have to come, in milliseconds from the time at which they were to be asked for:
/// three frames of a screen with 60 per second.
pub(crate) const BOUND_MILLIS: f64 = 50.0;

/// Where the search begins, in active streams.
const FIRST: f64 = 200.0;

/// Probes before those that count, by which the search finds the neighbourhood.
const APPROACH: usize = 5;

/// Active streams per subject at most, and of all subjects together per pod: each is a descriptor of its pod, of which
/// a process may have 20,000 where this was written.
const STREAMS_MAX: usize = 3000;
const STREAMS_PER_POD_MAX: usize = 18_000;

/// What one subject carries.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Carried {
    pub(crate) subject: String,
    /// Active streams, as the search had it in each of its last rounds.
    pub(crate) streams: Vec<f64>,
    /// Processor time of the machine per active stream and second, in microseconds, in each of those rounds.
    pub(crate) cpu_micros: Vec<f64>,
    /// Whether it carried as many as were tried at most.
    pub(crate) is_at_most: bool,
    /// Which part of the bytes the packet program moved in those rounds, where it is to move all.
    #[serde(default)]
    pub(crate) by_packet: Vec<f64>,
}

/// A search for the border between what is carried and what is not, where one answer may be wrong.
///
/// Doubles until it fails, then goes up and down in steps that become smaller, to one of 9 %: around the border,
/// answers alternate.
#[derive(Debug, Clone, Copy)]
struct Search {
    at: f64,
    most: f64,
    step: f64,
    has_failed: bool,
}

/// The smallest step of the search, as a factor: the eighth root of two.
const STEP_MIN: f64 = 1.09;

impl Search {
    fn new(most: usize) -> Self {
        let most = most as f64;
        Self { at: FIRST.min(most), most, step: 2.0, has_failed: false }
    }

    fn learn(&mut self, is_carried: bool) {
        self.has_failed |= !is_carried;
        if self.has_failed {
            self.step = self.step.sqrt().max(STEP_MIN);
        }
        let next = if is_carried { self.at * self.step } else { self.at / self.step };
        self.at = next.clamp(1.0, self.most);
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a usize")]
    fn streams(&self) -> usize {
        self.at as usize
    }
}

/// How many probes each subject has.
pub(super) fn probes(effort: Effort) -> usize {
    APPROACH + effort.rounds
}

/// One probe of every subject per round, each at its own place of the search.
pub(super) fn capacity(stage: &Stage, field: &[&Contender], effort: Effort) -> Result<Vec<Carried>> {
    let most = STREAMS_MAX.min(STREAMS_PER_POD_MAX * stage.pods() / field.len().max(1)).min(effort.streams_max);
    let mut fleets = Vec::new();
    for contender in field {
        let mut crowds = Vec::new();
        for part in active() {
            crowds.push(stage.crowd_of(contender, processors(), share(&part, most))?);
        }
        let subject = contender.name.clone();
        let carried = Carried { subject, streams: vec![], cpu_micros: vec![], is_at_most: false, by_packet: vec![] };
        fleets.push((crowds, Search::new(most), carried));
    }
    stage.settle(field, effort)?;
    for round in 0..probes(effort) {
        for place in 0..fleets.len() {
            let index = (place + round) % fleets.len();
            let (crowds, search, carried) = &mut fleets[index];
            let streams = search.streams();
            let done = phase(stage, field[index], (crowds, &runs(streams, effort)), crowds_counted(), &[])?;
            let is_carried = done.sample().p99 <= BOUND_MILLIS * 1e3;
            if round >= APPROACH {
                carried.streams.push(search.at);
                let cpu = done.spent.cpu.as_secs_f64() / done.spent.wall.as_secs_f64();
                carried.cpu_micros.push(cpu * 1e6 / streams as f64);
                carried.by_packet.extend(done.by_packet);
                carried.is_at_most = is_carried && streams == most;
            }
            search.learn(is_carried);
        }
    }
    Ok(fleets.into_iter().map(|(_, _, carried)| carried).collect())
}

fn crowds_counted() -> usize {
    active().count()
}

/// The desktops that somebody sits at. The others add connections, which `idle` weighs, and nothing to do.
fn active() -> impl Iterator<Item = Part> {
    desktops().iter().filter(|part| part.is_active).copied()
}

/// How many of `streams` active ones are of this kind.
fn share(part: &Part, streams: usize) -> usize {
    let all: usize = active().map(|part| part.streams).sum();
    // Each process has one at least.
    (streams * part.streams / all).max(processors())
}

fn runs(streams: usize, effort: Effort) -> Vec<Run> {
    let run = |part: Part| {
        let taking_part = share(&part, streams);
        Run {
            up: MESSAGE_BYTES,
            down: part.down,
            streams: Some(taking_part.div_ceil(processors())),
            per_second: part.per_second.map(|rate| rate * taking_part as f64),
            is_pull: true,
            lead_millis: effort.lead_millis(),
            millis: effort.round_millis(),
            ..Run::default()
        }
    };
    active().map(run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(border: f64, most: usize, is_wrong: impl Fn(usize) -> bool) -> Vec<f64> {
        let mut search = Search::new(most);
        let probe = |number| {
            let at = search.at;
            search.learn((at <= border) != is_wrong(number));
            at
        };
        (0..15).map(probe).skip(APPROACH).collect()
    }

    #[test]
    fn the_border_is_found_from_both_sides() {
        for border in [90.0, 210.0, 777.0, 1500.0, 2900.0] {
            let found = crate::analysis::median(&found(border, 3000, |_| false));
            assert!((0.9..1.1).contains(&(found / border)), "{border}: {found}");
        }
    }

    #[test]
    fn one_wrong_answer_is_made_up_for() {
        for wrong in 6..12 {
            let found = crate::analysis::median(&found(1000.0, 3000, |number| number == wrong));
            assert!((0.8..1.2).contains(&(found / 1000.0)), "{wrong}: {found}");
        }
    }

    #[test]
    fn nobody_is_tried_with_more_than_there_are() {
        assert!(found(1e9, 1234, |_| false).iter().all(|at| *at <= 1234.0));
        assert_eq!(found(1e9, 1234, |_| false).last(), Some(&1234.0));
    }
}
