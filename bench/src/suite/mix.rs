//! Streams of several kinds at once: desktops as people use them, and quiet streams beside greedy ones.

use anyhow::{Context as _, Result};

use super::{CaseResult, Effort, Sample, Series, Stage, processors, sample};
use crate::load::Run;
use crate::load::crowd::Crowd;

/// Streams that do the same.
struct Part {
    /// Of a thousand desktops, or all of them.
    streams: usize,
    /// Messages per second and stream; `None`: as fast as answers come.
    per_second: Option<f64>,
    /// Bytes of an answer; a message asks for it as a client asks for the next update of its screen.
    down: u32,
}

/// A thousand desktops: how many are how busy, and what an update of theirs weighs. An assumption, whose sources are
/// session measurements that were published; updates of one kind are all of the same size.
const DESKTOPS: &[Part] = &[
    // Nobody looks: a sign of life every 20 s.
    Part { streams: 800, per_second: Some(0.05), down: 32 },
    // Somebody types and moves windows.
    Part { streams: 150, per_second: Some(10.0), down: 6 << 10 },
    // Somebody scrolls.
    Part { streams: 40, per_second: Some(17.0), down: 32 << 10 },
    // Somebody watches.
    Part { streams: 10, per_second: Some(25.0), down: 100 << 10 },
];

/// The quiet streams, which are what is looked at, and those that take what they can.
const QUIET: Part = Part { streams: 1000, per_second: Some(1.0), down: 256 };
const GREEDY: Part = Part { streams: 10, per_second: None, down: 1 << 20 };

/// The header and a pointer event.
const MESSAGE_BYTES: u32 = 24;

pub(super) const ALONE: &str = "1,000 quiet streams alone";
pub(super) const BESIDE: &str = "1,000 quiet streams beside 10 that saturate";

/// Desktops in thousands.
const FLEETS: [(usize, &str); 2] = [(1, "1,000 desktops"), (4, "4,000 desktops")];

/// What stands between, with its streams of each kind.
struct Scene {
    crowds: Vec<Crowd>,
    runs: Vec<Run>,
}

/// Fleets of desktops, all of one mix.
pub(super) fn vnc(stage: &Stage, effort: Effort) -> Result<Vec<CaseResult>> {
    let fleets = if effort.is_quick { &FLEETS[..1] } else { &FLEETS };
    let mut results = Vec::new();
    for &(thousands, name) in fleets {
        let mut scenes = scenes(stage, DESKTOPS, thousands, effort)?;
        let mut result = empty(stage, "vnc", name);
        for round in 0..effort.rounds {
            for place in 0..scenes.len() {
                let index = (place + round) % scenes.len();
                let sample = taken(stage, &mut scenes[index], index, DESKTOPS.len(), DESKTOPS.len())?;
                result.series[index].paced.push(sample);
            }
        }
        results.push(result);
    }
    Ok(results)
}

/// The quiet streams first without the greedy ones, then with them; what counts is what the quiet ones feel.
pub(super) fn noisy(stage: &Stage, effort: Effort) -> Result<Vec<CaseResult>> {
    let mut scenes = scenes(stage, &[QUIET, GREEDY], 1, effort)?;
    let mut results = [ALONE, BESIDE].map(|name| empty(stage, "noisy", name));
    for round in 0..effort.rounds {
        for place in 0..scenes.len() {
            let index = (place + round) % scenes.len();
            for (parts, result) in [1, 2].into_iter().zip(&mut results) {
                result.series[index].paced.push(taken(stage, &mut scenes[index], index, parts, 1)?);
            }
        }
    }
    Ok(results.into())
}

fn scenes(stage: &Stage, parts: &[Part], times: usize, effort: Effort) -> Result<Vec<Scene>> {
    let mut scenes = Vec::new();
    for (name, running) in &stage.subjects {
        let mut scene = Scene { crowds: Vec::new(), runs: Vec::new() };
        for part in parts {
            let streams = (part.streams * times).min(effort.streams_max);
            let mut crowd = Crowd::start(&stage.network, processors())?;
            crowd.open(streams, |stream| stage.target(running, stream)).with_context(|| name.clone())?;
            scene.crowds.push(crowd);
            scene.runs.push(Run {
                up: MESSAGE_BYTES,
                down: part.down,
                per_second: part.per_second.map(|rate| rate * streams as f64),
                lead_millis: u64::try_from(effort.lead.as_millis())?,
                millis: u64::try_from(effort.round.as_millis())?,
            });
        }
        scenes.push(scene);
    }
    Ok(scenes)
}

/// One phase of the first `parts`, of which the first `counted` count.
fn taken(stage: &Stage, scene: &mut Scene, index: usize, parts: usize, counted: usize) -> Result<Sample> {
    let (name, running) = &stage.subjects[index];
    let Scene { crowds, runs } = scene;
    sample(&mut crowds[..parts], &runs[..parts], counted, &running.pids).with_context(|| name.clone())
}

fn empty(stage: &Stage, scenario: &'static str, name: &'static str) -> CaseResult {
    let series = |(name, _): &(String, _)| Series { subject: name.clone(), closed: Vec::new(), paced: Vec::new() };
    CaseResult { scenario, name, bytes: MESSAGE_BYTES, series: stage.subjects.iter().map(series).collect() }
}
