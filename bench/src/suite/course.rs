//! What is measured one after the other, and how long that takes.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::stage::{Role, Stage};
use super::{CaseResult, Effort, Results, capacity, crosscheck, idle, measure, mix, processors};
use crate::congestion;
use crate::plan::{self, Plan, Turn};
use crate::scenario::{CASES, Case, LIMIT, WEB_CASES, WebCase};
use crate::subject::Subject;
use crate::topology::Network;
use crate::web;

/// What to measure, and where.
pub(crate) struct Wanted<'a> {
    pub(crate) subjects: &'a [Box<dyn Subject>],
    /// Names of scenarios; none: all.
    pub(crate) scenarios: &'a [String],
    pub(crate) network: &'a Network,
}

/// One thing after the other.
#[derive(Clone, Copy)]
enum Step {
    Streams(&'static Case),
    /// The fleet of that number.
    Desktops(usize),
    Capacity,
    Noisy,
    CrossCheck,
    Visits(&'static WebCase),
    Idle,
}

/// What it takes to start a subject, to stop it, and to establish a stream, about. The plan corrects them as it goes.
const START: Duration = Duration::from_millis(400);
const ESTABLISH: Duration = Duration::from_micros(120);

/// What it takes until `auto` has spliced streams that rest: they have to be three seconds old, and are looked at once
/// a second.
const SETTLE: Duration = Duration::from_millis(4500);

/// Measures what is wanted, within the time. A step that fails is taken once more with subjects that have just been
/// started, so that one failure does not cost everybody's numbers; it stays among the results, and is the run's.
pub(crate) fn run(wanted: &Wanted, effort: Effort) -> Result<Results> {
    let mut results = Results { machine: machine(wanted.network), commit: commit(), ..Results::default() };
    let begun = Instant::now();
    let mut stage = Some(start(wanted, &mut results)?);
    let steps = steps(wanted.scenarios, effort);
    let outlines = steps.iter().map(|step| step.outline(wanted.subjects, effort)).collect();
    let mut plan = Plan::new(outlines, effort.budget, (effort.round, effort.lead));
    for step in steps {
        let now = begun.elapsed();
        let turn = plan.next(now).context("a turn for each step")?;
        let Turn::Measure(round) = turn else {
            results.skipped.push((plan.name().to_owned(), "no time was left for it".to_owned()));
            continue;
        };
        announce(&plan, round, now)?;
        if step.has_subjects_of_its_own() {
            // The others would be in their way.
            drop(stage.take());
        }
        let effort = Effort { round, ..effort };
        for _ in 0..TRIES_MAX {
            let Err(error) = step.take(wanted, stage.as_ref(), effort, &mut results) else { break };
            progress(&format!("FAILED: {}: {error:#}", plan.name()))?;
            results.failed.push((plan.name().to_owned(), format!("{error:#}")));
            if stage.take().is_some() {
                stage = Some(start(wanted, &mut results)?);
            }
            if effort.budget.is_some_and(|budget| begun.elapsed() > budget) {
                break;
            }
        }
    }
    progress(&format!("measured in {}", clock(begun.elapsed())))?;
    Ok(results)
}

/// How often a step is taken until it works.
const TRIES_MAX: usize = 2;

/// Pods, and all subjects before them.
fn start(wanted: &Wanted, results: &mut Results) -> Result<Stage> {
    let mut stage = Stage::new(wanted.network, Role::Streams)?;
    stage.start(wanted.subjects, &mut results.skipped)?;
    Ok(stage)
}

/// In the order in which they are taken.
fn steps(scenarios: &[String], effort: Effort) -> Vec<Step> {
    let cases = CASES.iter().filter(|case| case.in_quick || !effort.is_quick).map(Step::Streams);
    let fleets = if effort.is_quick { 1 } else { mix::FLEETS.len() };
    let own = [Step::Capacity, Step::Noisy];
    let all = cases.chain((0..fleets).map(Step::Desktops)).chain(own).chain(WEB_CASES.iter().map(Step::Visits));
    let all = all.chain([Step::Idle]);
    let is_wanted = |step: &Step| scenarios.is_empty() || scenarios.iter().any(|wanted| step.is_of(wanted));
    [Step::CrossCheck].into_iter().chain(all).filter(is_wanted).collect()
}

impl Step {
    fn scenario(self) -> &'static str {
        match self {
            Self::Streams(case) => case.scenario,
            Self::Desktops(_) | Self::Capacity => "vnc",
            Self::Noisy => "noisy",
            Self::CrossCheck => "cross-check",
            Self::Visits(case) => case.scenario,
            Self::Idle => "idle",
        }
    }

    fn is_of(self, wanted: &str) -> bool {
        let is_of_limit = matches!(self, Self::Streams(case) if case.is_of_limit);
        wanted == self.scenario() || wanted == LIMIT && is_of_limit
    }

    fn name(self) -> &'static str {
        match self {
            Self::Streams(case) => case.name,
            Self::Desktops(fleet) => mix::FLEETS[fleet].1,
            Self::Capacity => "streams carried",
            Self::Noisy => "1,000 quiet streams and 10 that saturate",
            Self::CrossCheck => "of the CPU figure",
            Self::Visits(case) => case.name,
            Self::Idle => "memory",
        }
    }

    fn has_subjects_of_its_own(self) -> bool {
        matches!(self, Self::Visits(_) | Self::Idle)
    }

    /// Whether all subjects take part, or only the leaders, so that the time suffices for the rest.
    fn is_for_everybody(self, effort: Effort) -> bool {
        match self {
            Self::Streams(case) => case.is_for_everybody || !effort.is_quick,
            Self::Desktops(fleet) => fleet == 0 && !effort.is_quick,
            Self::Capacity => false,
            Self::Noisy => !effort.is_quick,
            Self::CrossCheck | Self::Visits(_) | Self::Idle => true,
        }
    }

    /// What a subject has to hold to take part; the kinds with streams of many sorts are for those without a limit.
    fn streams(self, effort: Effort) -> usize {
        match self {
            Self::Streams(case) => case.streams.min(effort.streams_max),
            Self::Desktops(_) | Self::Capacity | Self::Noisy | Self::Idle => usize::MAX,
            Self::CrossCheck | Self::Visits(_) => 0,
        }
    }

    /// What the plan has to know.
    fn outline(self, wanted: &[Box<dyn Subject>], effort: Effort) -> plan::Step {
        let everybody = wanted.len();
        let field =
            if self.is_for_everybody(effort) { everybody } else { crate::scenario::LEADERS.len().min(everybody) };
        let (rounds, most) = (effort.rounds, effort.streams_max);
        let (phases, streams) = match self {
            Self::Streams(case) => (field * rounds * if case.is_paced { 2 } else { 1 }, field * case.streams.min(most)),
            Self::Desktops(fleet) => (field * rounds, field * (1000 * mix::FLEETS[fleet].0).min(most)),
            Self::Capacity => (field * capacity::probes(effort), field * 2000.min(most)),
            Self::Noisy => (field * rounds * 2, field * 1010.min(most)),
            Self::CrossCheck => (crosscheck::SUBJECTS.len() * (rounds * 2 + 1), crosscheck::SUBJECTS.len() * 64),
            Self::Visits(case) => (field * rounds, field * case.visitors),
            Self::Idle => (0, field * if effort.is_quick { 10_000 } else { 20_000 }.min(most)),
        };
        let has_auto = wanted.iter().any(|subject| subject.name() == "auto");
        let settle = if has_auto && streams > 0 { SETTLE.min(effort.settle) } else { Duration::ZERO };
        let starts = if self.has_subjects_of_its_own() { field } else { 0 };
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        plan::Step {
            name: format!("{} {}", self.scenario(), self.name()),
            phases: count(phases),
            // Clients are processes, which start anew for each step.
            beside: START * count(starts) + ESTABLISH * count(streams) + BETWEEN_PHASES * count(phases) + settle,
        }
    }

    fn take(self, wanted: &Wanted, stage: Option<&Stage>, effort: Effort, results: &mut Results) -> Result<()> {
        let keep = |result: CaseResult| CaseResult { round_millis: effort.round_millis(), ..result };
        let stage = || stage.context("the subjects run");
        let (is_everybody, streams) = (self.is_for_everybody(effort), self.streams(effort));
        for left_out in stage().iter().flat_map(|stage| stage.left_out(streams)) {
            if is_everybody && !results.skipped.contains(&left_out) {
                results.skipped.push(left_out);
            }
        }
        match self {
            Self::Streams(case) => {
                let stage = stage()?;
                results.cases.push(keep(measure(stage, &stage.field(is_everybody, streams), case, effort)?));
            }
            Self::Desktops(fleet) => {
                let stage = stage()?;
                results.cases.push(keep(mix::vnc(stage, &stage.field(is_everybody, streams), fleet, effort)?));
            }
            Self::Capacity => {
                let stage = stage()?;
                results.carried = capacity::capacity(stage, &stage.field(is_everybody, streams), effort)?;
            }
            Self::Noisy => {
                let stage = stage()?;
                results
                    .cases
                    .extend(mix::noisy(stage, &stage.field(is_everybody, streams), effort)?.into_iter().map(keep));
            }
            Self::CrossCheck => {
                let stage = stage()?;
                let field = stage.field(is_everybody, streams);
                results.soaked = crosscheck::check(stage, &field, effort, &mut results.skipped)?;
            }
            Self::Visits(case) => {
                results.cases.push(keep(web::measure(
                    wanted.subjects,
                    case,
                    (wanted.network, effort),
                    &mut results.skipped,
                )?));
            }
            Self::Idle => {
                results.idle.clear();
                for subject in wanted.subjects {
                    results.idle.extend(idle::measure(wanted.network, subject.as_ref(), effort)?);
                }
            }
        }
        Ok(())
    }
}

/// From one phase's end to the next one's beginning: reports of clients, and the last answers.
const BETWEEN_PHASES: Duration = Duration::from_millis(30);

/// What begins, and how long everything will still take.
fn announce(plan: &Plan, round: Duration, now: Duration) -> io::Result<()> {
    let (number, all) = plan.place();
    let left = clock(plan.left(now));
    progress(&format!("[{number:>2}/{all}] {}, rounds of {} ms; about {left} left", plan.name(), round.as_millis()))
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02} min", seconds / 60, seconds % 60)
}

pub(super) fn progress(text: &str) -> io::Result<()> {
    let mut out = io::stderr().lock();
    let (bold, plain) = if out.is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    writeln!(out, "{bold}bench{plain} {text}")
}

/// Kernel, processors and what decides about TCP, for the head of a report.
fn machine(network: &Network) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let model = read("/proc/cpuinfo");
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    format!(
        "Linux {}, {} processors ({}), {}; {}",
        read("/proc/sys/kernel/osrelease"),
        processors(),
        model.trim_start_matches(['\t', ':', ' ']),
        congestion::describe(),
        network.describe(),
    )
}

/// What is checked out; "unknown" without git.
fn commit() -> String {
    let described = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    let described = described.ok().filter(|output| output.status.success());
    let text = described.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
