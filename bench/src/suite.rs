//! The course of a run: subjects take turns in every round, so that what the machine does falls on all of them.

mod idle;
mod mix;

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::slice;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::unistd::Pid;
use serde::Serialize;

use crate::analysis::median;
use crate::cpu::{self, Meter};
use crate::load::Run;
use crate::load::crowd::{Crowd, Helper, Total};
use crate::scenario::{CASES, Case, WEB_CASES};
use crate::subject::{Running, Scene, Started, Subject, sandbox_id};
use crate::topology::Network;
use crate::web;

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
    pub(crate) round: Duration,
    pub(crate) lead: Duration,
    /// Only the cases marked for it.
    pub(crate) is_quick: bool,
    /// At most that many streams per case.
    pub(crate) streams_max: usize,
}

/// The open loop's rate, as a part of what the slowest subject reached in the first round of the closed one.
const PACE: f64 = 0.4;

/// What one subject did in one phase of one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    /// Whole machine, per message.
    pub(crate) cpu_micros: f64,
    /// Of it, the subject's own processes and the kernel's threads, per message.
    pub(crate) subject_micros: f64,
    pub(crate) kernel_micros: f64,
    pub(crate) steal_percent: f64,
    /// Microseconds: the median, 99 % and 99.9 %.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// 99 % of each of [`STAGES`](crate::web::STAGES), where messages are sessions.
    pub(crate) stages: Vec<f64>,
}

/// All rounds of one subject in one case.
#[derive(Debug, Serialize)]
pub(crate) struct Series {
    pub(crate) subject: String,
    pub(crate) closed: Vec<Sample>,
    pub(crate) paced: Vec<Sample>,
}

#[derive(Debug, Serialize)]
pub(crate) struct CaseResult {
    pub(crate) scenario: &'static str,
    pub(crate) name: &'static str,
    /// Bytes that one message and its answer move.
    pub(crate) bytes: u32,
    pub(crate) series: Vec<Series>,
}

/// Everything that a run has found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) skipped: Vec<(String, String)>,
    pub(crate) cases: Vec<CaseResult>,
    pub(crate) idle: Vec<Idle>,
}

/// Pods and subjects that run.
pub(crate) struct Stage {
    pub(crate) network: Network,
    pub(crate) pods: Vec<SocketAddr>,
    _helpers: Vec<Helper>,
    pub(crate) subjects: Vec<(String, Running)>,
}

/// The two cases of `noisy`: without the noise, and with it.
pub(crate) const NOISY: (&str, &str) = (mix::ALONE, mix::BESIDE);

/// A scenario of several kinds of streams.
type Mixed = fn(&Stage, Effort) -> Result<Vec<CaseResult>>;

/// Measures the named scenarios, or all of them.
pub(crate) fn run(
    network: &Network,
    subjects: &[Box<dyn Subject>],
    scenarios: &[String],
    effort: Effort,
) -> Result<Results> {
    let mut results = Results { machine: machine(network), ..Results::default() };
    let is_wanted = |name: &str| scenarios.is_empty() || scenarios.iter().any(|wanted| wanted == name);
    let mut stage = Stage::of_pods(network, "pod")?;
    stage.start(subjects, (0, None), &mut results.skipped)?;
    let cases = CASES.iter().filter(|case| is_wanted(case.scenario) && (case.in_quick || !effort.is_quick));
    let cases: Vec<&Case> = cases.collect();
    let begun = Instant::now();
    for (index, case) in cases.iter().enumerate() {
        results.cases.push(measure(&stage, case, effort).with_context(|| format!("{} {}", case.scenario, case.name))?);
        let left = begun.elapsed() / u32::try_from(index + 1)? * u32::try_from(cases.len() - index - 1)?;
        progress(&format!("{} {} done; about {} s left of these", case.scenario, case.name, left.as_secs()))?;
    }
    let mixed: [(&str, Mixed); 2] = [("vnc", mix::vnc), ("noisy", mix::noisy)];
    for (name, measure) in mixed {
        if is_wanted(name) {
            results.cases.extend(measure(&stage, effort).context(name)?);
            progress(&format!("{name} done"))?;
        }
    }
    drop(stage);
    for case in WEB_CASES.iter().filter(|case| is_wanted(case.scenario)) {
        let found = web::measure(subjects, case, (network, effort), &mut results.skipped);
        results.cases.push(found.with_context(|| format!("{} {}", case.scenario, case.name))?);
        progress(&format!("{} {} done", case.scenario, case.name))?;
    }
    if is_wanted("idle") {
        for subject in subjects {
            results.idle.extend(idle::measure(network, subject.as_ref(), effort)?);
            progress(&format!("idle {} done", subject.name()))?;
        }
    }
    Ok(results)
}

impl Stage {
    /// Pods, a process each, in the `role` of streams' or of visitors'. Nothing stands before them yet.
    pub(crate) fn of_pods(network: &Network, role: &str) -> Result<Self> {
        let mut helpers = (0..processors()).map(|_| Helper::pod(network, role)).collect::<Result<Vec<_>>>()?;
        let pods = helpers.iter_mut().map(|pod| Ok(pod.line()?.parse()?)).collect::<Result<Vec<SocketAddr>>>()?;
        Ok(Self { network: network.clone(), pods, _helpers: helpers, subjects: Vec::new() })
    }

    /// What is to be served before these pods, by as many sandboxes, or one per pod.
    pub(crate) fn scene(&self, sandboxes: usize, redis: Option<SocketAddr>) -> Scene<'_> {
        let sandboxes = sandboxes.max(self.pods.len());
        Scene { listen: self.network.gateway(), pods: &self.pods, workers: processors(), sandboxes, redis }
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

    /// Where the n-th stream through a subject goes.
    fn target(&self, running: &Running, stream: usize) -> (SocketAddr, String) {
        // By twos, so that the streams of each client process reach every pod.
        let pod = stream / processors() % self.pods.len();
        (running.addresses[pod % running.addresses.len()], sandbox_id(pod))
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

fn measure(stage: &Stage, case: &Case, effort: Effort) -> Result<CaseResult> {
    let streams = case.streams.min(effort.streams_max);
    let mut crowds = Vec::new();
    let mut series = Vec::new();
    for (name, running) in &stage.subjects {
        let mut crowd = Crowd::start(&stage.network, processors().min(streams))?;
        crowd.open(streams, |stream| stage.target(running, stream)).with_context(|| name.clone())?;
        crowds.push(crowd);
        series.push(Series { subject: name.clone(), closed: Vec::new(), paced: Vec::new() });
    }
    let closed = Run {
        up: case.up,
        down: case.down,
        per_second: None,
        lead_millis: u64::try_from(effort.lead.as_millis())?,
        millis: u64::try_from(effort.round.as_millis())?,
    };
    let mut paced = closed.clone();
    for round in 0..effort.rounds {
        turn(stage, &mut crowds, &closed, round, |index, sample| series[index].closed.push(sample))?;
        if case.is_paced {
            paced.per_second.get_or_insert_with(|| PACE * slowest(&series));
            turn(stage, &mut crowds, &paced, round, |index, sample| series[index].paced.push(sample))?;
        }
    }
    Ok(CaseResult { scenario: case.scenario, name: case.name, bytes: case.up + case.down, series })
}

/// One phase of every subject; each round begins with another one.
pub(crate) fn turn(
    stage: &Stage,
    crowds: &mut [Crowd],
    run: &Run,
    round: usize,
    mut keep: impl FnMut(usize, Sample),
) -> Result<()> {
    for place in 0..crowds.len() {
        let index = (place + round) % crowds.len();
        let (name, running) = &stage.subjects[index];
        keep(
            index,
            sample(slice::from_mut(&mut crowds[index]), slice::from_ref(run), 1, &running.pids)
                .with_context(|| name.clone())?,
        );
    }
    Ok(())
}

/// One phase: what the first `counted` of the crowds did, and what the machine spent on all of them together.
fn sample(crowds: &mut [Crowd], runs: &[Run], counted: usize, pids: &[Pid]) -> Result<Sample> {
    let run = runs.first().context("a phase has a run")?;
    let spent_by_subject = || pids.iter().map(|pid| cpu::of_process(*pid)).sum::<Duration>();
    crowds.iter_mut().zip(runs).try_for_each(|(crowd, run)| crowd.begin(run))?;
    pass(Duration::from_millis(run.lead_millis));
    let (subject, kernel) = (spent_by_subject(), cpu::of_kernel_threads());
    let meter = Meter::start()?;
    pass(Duration::from_millis(run.millis));
    let spent = meter.stop()?;
    let (subject, kernel) = (spent_by_subject() - subject, cpu::of_kernel_threads().saturating_sub(kernel));
    let mut total = Total::default();
    for (index, crowd) in crowds.iter_mut().enumerate() {
        let ended = crowd.end()?;
        if index < counted {
            total.add(&ended)?;
        }
    }
    // Never none: a rate of zero would make ratios infinite.
    let messages = total.messages.max(1) as f64;
    // The clients count within their own window, which is as long as intended.
    let per_message =
        |time: Duration| time.as_secs_f64() / spent.wall.as_secs_f64() * (run.millis as f64 / 1e3) * 1e6 / messages;
    let quantile = |quantile| total.latencies.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Sample {
        per_second: messages / (run.millis as f64 / 1e3),
        cpu_micros: per_message(spent.cpu),
        subject_micros: per_message(subject),
        kernel_micros: per_message(kernel),
        steal_percent: spent.steal.as_secs_f64() / spent.wall.as_secs_f64() * 100.0,
        p50: quantile(0.5),
        p99: quantile(0.99),
        p999: quantile(0.999),
        stages: total.stages.iter().map(|stage| stage.value_at_quantile(0.99) as f64 / 1e3).collect(),
    })
}

#[expect(clippy::disallowed_methods, reason = "a measurement is the passing of time, and nothing else waits here")]
fn pass(time: Duration) {
    thread::sleep(time);
}

fn slowest(series: &[Series]) -> f64 {
    let rates = series.iter().map(|series| median(&series.closed.iter().map(|s| s.per_second).collect::<Vec<_>>()));
    rates.fold(f64::INFINITY, f64::min)
}

/// Kernel, processors and what decides about TCP, for the head of a report.
fn machine(network: &Network) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let model = read("/proc/cpuinfo");
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    format!(
        "Linux {}, {} processors ({}), congestion control {}; {}",
        read("/proc/sys/kernel/osrelease"),
        processors(),
        model.trim_start_matches(['\t', ':', ' ']),
        read("/proc/sys/net/ipv4/tcp_congestion_control"),
        network.describe()
    )
}

fn progress(text: &str) -> io::Result<()> {
    writeln!(io::stderr(), "bench: {text}")
}
