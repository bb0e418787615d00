//! Streams of several kinds at once: desktops as people use them, and quiet streams beside greedy ones.

use anyhow::Result;

use super::phase::{Sample, phase};
use super::stage::{Contender, Stage};
use super::{CaseResult, Effort, Series, processors};
use crate::load::Run;
use crate::load::crowd::Crowd;
use crate::load::size::Size;

/// Streams that do the same.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// Of a thousand desktops, or all of them.
    pub(super) streams: usize,
    /// Messages per second and stream; `None`: as fast as answers come.
    pub(super) per_second: Option<f64>,
    /// Bytes of an answer; a message asks for it as a client asks for the next update of its screen.
    pub(super) down: Size,
    /// Whether somebody sits at it whose updates have to come in time.
    pub(super) is_active: bool,
    /// Bytes per second that each stream reads; `None`: what comes.
    reads_per_second: Option<u32>,
}

/// A thousand desktops: how many are how busy, and what an update of theirs weighs. An assumption, whose sources are
/// session measurements that were published. Sizes of updates are log-normal, with nineteen of twenty in the range that
/// is given. The slow readers come last: they are no part of what counts, but of what everybody has to bear.
const DESKTOPS: [Part; 5] = [
    // Nobody looks: a sign of life every 20 s.
    Part { is_active: false, ..Part::active(800, 0.05, Size::Exactly(32)) },
    // Somebody types and moves windows.
    Part::active(150, 10.0, log_normal(2450, 1.25, 200, 30_000)),
    // Somebody scrolls.
    Part::active(40, 17.0, log_normal(20_000, 0.7, 5000, 80_000)),
    // Somebody watches.
    Part::active(10, 25.0, log_normal(89_000, 0.4, 40_000, 200_000)),
    // Somebody watches over a line of 160 kbit/s, and is sent updates whether or not it has read the last.
    Part {
        is_active: false,
        reads_per_second: Some(20_000),
        ..Part::active(SLOW, 5.0, log_normal(89_000, 0.4, 40_000, 200_000))
    },
];

/// Slow readers among a thousand desktops.
const SLOW: usize = 10;

/// The quiet streams, which are what is looked at, and those that take what they can.
const QUIET: Part = Part::active(1000, 1.0, Size::Exactly(256));
const GREEDY: Part =
    Part { streams: 10, per_second: None, down: Size::Exactly(1 << 20), is_active: false, reads_per_second: None };

/// The header and a pointer event.
pub(super) const MESSAGE_BYTES: u32 = 24;

pub(super) const ALONE: &str = "1,000 quiet streams alone";
pub(super) const BESIDE: &str = "1,000 quiet streams beside 10 that saturate";

/// Desktops in thousands.
pub(super) const FLEETS: [(usize, &str); 2] = [(1, "1,000 desktops"), (3, "3,000 desktops")];

impl Part {
    const fn active(streams: usize, per_second: f64, down: Size) -> Self {
        Self { streams, per_second: Some(per_second), down, is_active: true, reads_per_second: None }
    }
}

const fn log_normal(median: u32, deviation: f64, least: u32, most: u32) -> Size {
    Size::LogNormal { median, deviation, least, most }
}

pub(super) fn desktops() -> &'static [Part] {
    &DESKTOPS
}

/// What stands between, with its streams of each kind.
struct Scene {
    crowds: Vec<Crowd>,
    runs: Vec<Run>,
}

/// A fleet of desktops, of the mix.
pub(super) fn vnc(stage: &Stage, field: &[&Contender], fleet: usize, effort: Effort) -> Result<CaseResult> {
    let (thousands, name) = FLEETS[fleet];
    let mut scenes = scenes(stage, field, (&DESKTOPS, thousands), effort)?;
    let mut result = empty(field, "vnc", name);
    for round in 0..effort.rounds {
        for place in 0..scenes.len() {
            let index = (place + round) % scenes.len();
            let counted = DESKTOPS.len() - 1;
            let sample = taken(stage, field[index], &mut scenes[index], DESKTOPS.len(), counted)?;
            result.series[index].paced.push(sample);
        }
    }
    result.streams = thousands * DESKTOPS.iter().map(|part| part.streams).sum::<usize>();
    Ok(result)
}

/// The quiet streams first without the greedy ones, then with them; what counts is what the quiet ones feel.
pub(super) fn noisy(stage: &Stage, field: &[&Contender], effort: Effort) -> Result<Vec<CaseResult>> {
    let mut scenes = scenes(stage, field, (&[QUIET, GREEDY], 1), effort)?;
    let mut results = [ALONE, BESIDE].map(|name| empty(field, "noisy", name));
    for round in 0..effort.rounds {
        for place in 0..scenes.len() {
            let index = (place + round) % scenes.len();
            for (parts, result) in [1, 2].into_iter().zip(&mut results) {
                let sample = taken(stage, field[index], &mut scenes[index], parts, 1)?;
                result.series[index].paced.push(sample);
            }
        }
    }
    Ok(results.into())
}

fn scenes(stage: &Stage, field: &[&Contender], (parts, times): (&[Part], usize), effort: Effort) -> Result<Vec<Scene>> {
    let mut scenes = Vec::new();
    for contender in field {
        let mut scene = Scene { crowds: Vec::new(), runs: Vec::new() };
        for part in parts {
            let streams = (part.streams * times).min(effort.streams_max);
            scene.crowds.push(stage.crowd_of(contender, processors(), streams)?);
            scene.runs.push(Run {
                up: MESSAGE_BYTES,
                down: part.down,
                per_second: part.per_second.map(|rate| rate * streams as f64),
                // Whoever reads slowly does not ask for one after the other, or nothing would be held up.
                is_pull: part.per_second.is_some() && part.reads_per_second.is_none(),
                reads_per_second: part.reads_per_second,
                lead_millis: effort.lead_millis(),
                millis: effort.round_millis(),
                ..Run::default()
            });
        }
        scenes.push(scene);
    }
    stage.settle(field, effort)?;
    Ok(scenes)
}

/// One phase of the first `parts`, of which the first `counted` count.
fn taken(stage: &Stage, contender: &Contender, scene: &mut Scene, parts: usize, counted: usize) -> Result<Sample> {
    let Scene { crowds, runs } = scene;
    Ok(phase(stage, contender, (&mut crowds[..parts], &runs[..parts]), counted, &[])?.sample())
}

fn empty(field: &[&Contender], scenario: &str, name: &str) -> CaseResult {
    let series = field.iter().map(|one| Series::of(&one.name)).collect();
    CaseResult { bytes: MESSAGE_BYTES, series, ..CaseResult::new(scenario, name) }
}
