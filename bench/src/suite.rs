//! The course of a run: subjects take turns in every round, so that what the machine does falls on all of them.

pub(crate) mod capacity;
mod course;
pub(crate) mod crosscheck;
mod idle;
mod mix;
pub(crate) mod phase;
mod slabs;

use std::net::SocketAddr;
use std::slice;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::analysis::median;
use crate::congestion;
use crate::load::Run;
use crate::load::crowd::{Crowd, Helper, Target};
use crate::load::size::Size;
use crate::scenario::{Case, LEADERS};
use crate::subject::{Running, Scene, Started, Subject, sandbox_id};
use crate::topology::Network;
use capacity::Carried;
use crosscheck::Soaked;
use phase::{Sample, phase};

use course::progress;
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

/// A subject that runs, and its name.
pub(crate) type Contender = (String, Running);

/// Pods and subjects that run.
pub(crate) struct Stage {
    pub(crate) network: Network,
    pub(crate) pods: Vec<SocketAddr>,
    has_pages: bool,
    helpers: Vec<Helper>,
    pub(crate) subjects: Vec<Contender>,
}

/// The two cases of `noisy`: without the noise, and with it.
pub(crate) const NOISY: (&str, &str) = (mix::ALONE, mix::BESIDE);

impl Stage {
    /// Pods, a process each, in the `role` of streams' or of visitors'. Nothing stands before them yet.
    pub(crate) fn of_pods(network: &Network, role: &str) -> Result<Self> {
        let mut helpers = (0..processors()).map(|_| Helper::pod(network, role)).collect::<Result<Vec<_>>>()?;
        let pods = helpers.iter_mut().map(|pod| Ok(pod.line()?.parse()?)).collect::<Result<Vec<SocketAddr>>>()?;
        let has_pages = role == "web-pod";
        Ok(Self { network: network.clone(), pods, has_pages, helpers, subjects: Vec::new() })
    }

    /// What is to be served before these pods, by as many sandboxes, or one per pod.
    pub(crate) fn scene(&self, sandboxes: usize, redis: Option<SocketAddr>) -> Scene<'_> {
        let sandboxes = sandboxes.max(self.pods.len());
        let (listen, workers) = (self.network.gateway(), processors());
        Scene { listen, pods: &self.pods, workers, has_pages: self.has_pages, sandboxes, redis, is_alone: false }
    }

    /// Starts the subjects before the pods.
    pub(crate) fn start(
        &mut self,
        subjects: &[Box<dyn Subject>],
        (sandboxes, redis): (usize, Option<SocketAddr>),
        skipped: &mut Vec<(String, String)>,
    ) -> Result<()> {
        for subject in subjects {
            let name = subject.name();
            let started = subject.start(&self.scene(sandboxes, redis)).or_else(|error| not_started(&name, &error))?;
            match started {
                Started::Running(running) => self.subjects.push((name, running)),
                Started::Skipped(why) => {
                    let entry = (name, why);
                    if !skipped.contains(&entry) {
                        skipped.push(entry);
                    }
                }
            }
        }
        Ok(())
    }

    /// Those that take part in a case of so many streams: everybody who can have them, or [`LEADERS`] only.
    pub(crate) fn field(&self, is_everybody: bool, streams: usize) -> Vec<&Contender> {
        let is_wanted = |name: &str| is_everybody || LEADERS.contains(&name);
        let takes_part = |(name, running): &&Contender| is_wanted(name) && running.holds(streams);
        self.subjects.iter().filter(takes_part).collect()
    }

    /// Those that cannot have so many streams, with the reason.
    fn left_out(&self, streams: usize) -> impl Iterator<Item = (String, String)> {
        let too_many = self.subjects.iter().filter(move |(_, running)| !running.holds(streams));
        too_many.map(|(name, running)| {
            let most = running.frames_on.unwrap_or_default();
            (format!("{name}, where there are more than {most} streams"), "it has a process for each".to_owned())
        })
    }

    pub(crate) fn pod_pids(&self) -> impl Iterator<Item = Pid> {
        self.helpers.iter().map(Helper::pid)
    }

    /// Where the n-th stream through a subject goes.
    fn target(&self, running: &Running, stream: usize) -> Target {
        // By twos, so that the streams of each client process reach every pod.
        let pod = stream / processors() % self.pods.len();
        let to = running.addresses[pod % running.addresses.len()];
        Target { to, sandbox: sandbox_id(pod), is_framed: running.frames_on.is_some() }
    }
}

/// One program that does not work here is no reason to measure none of the others.
fn not_started(name: &str, error: &anyhow::Error) -> Result<Started> {
    let error = format!("{error:#}");
    progress(&format!("{name} does not start: {error}"))?;
    // Behind the first line is the program's log, whose last line says why.
    let mut lines = error.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    let last = lines.next_back().map(|line| format!(" {line}")).unwrap_or_default();
    Ok(Started::Skipped(format!("it does not start: {first}{last}")))
}

/// Streams that all do the same: as much as a subject takes, and at a rate that everybody can take.
fn measure(stage: &Stage, field: &[&Contender], case: &Case, effort: Effort) -> Result<CaseResult> {
    let streams = case.streams.min(effort.streams_max);
    let mut crowds = Vec::new();
    let mut series = Vec::new();
    for (name, running) in field {
        let mut crowd = Crowd::start(&stage.network, processors().min(streams))?;
        crowd.open(streams, |stream| stage.target(running, stream)).with_context(|| name.clone())?;
        crowds.push(crowd);
        series.push(Series { subject: name.clone(), closed: Vec::new(), paced: Vec::new() });
    }
    congestion::verify()?;
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
        if run.per_second.is_some() && !field[index].1.sets_pace() {
            continue;
        }
        let load = (slice::from_mut(&mut crowds[index]), slice::from_ref(run));
        keep(index, phase(stage, field[index], load, 1, &[])?.sample());
    }
    Ok(())
}

fn slowest(field: &[&Contender], series: &[Series]) -> f64 {
    let median = |series: &Series| median(&series.closed.iter().map(|s| s.per_second).collect::<Vec<_>>());
    let pairs = field.iter().zip(series).filter(|((_, running), _)| running.sets_pace());
    pairs.map(|(_, series)| median(series)).fold(f64::INFINITY, f64::min)
}
