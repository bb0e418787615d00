//! The bench suite: what the gateway costs, side by side with the same traffic without it.

mod analysis;
mod compare;
mod congestion;
mod cpu;
mod keep;
mod load;
mod peer;
mod plan;
mod report;
mod scenario;
mod soaker;
mod subject;
mod suite;
#[cfg(test)]
mod tests;
mod topology;
mod web;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use gateway_tests::{memory, target};

use load::crowd;
use subject::Subject;
use suite::{Effort, Results, Wanted};
use topology::{Network, keeper};

/// Measure the gateway beside the same traffic without it. Say what to measure, or nothing for everything.
#[derive(Parser)]
#[command(
    after_help = "`compare RUN RUN` tells whether the results in two folders agree within the spread they state."
)]
struct Options {
    /// Five short rounds of the most important cases instead of ten of all.
    #[arg(long)]
    quick: bool,
    /// Two rounds of a tenth of a second, which measure nothing, and show that the suite works.
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
    /// Minutes that everything may take: rounds become shorter, and what there is no time for is skipped by name.
    /// Without it 9.5 with `--quick`, 8 for `limit`, otherwise 150.
    #[arg(long, value_name = "MINUTES", value_parser = minutes)]
    budget: Option<f64>,
    /// Where clients, gateway and pods are.
    #[arg(long, value_enum, default_value_t = Topology::Loopback)]
    topology: Topology,
    /// Only these subjects beside `direct`, by their names in the tables; repeatable.
    #[arg(long = "subject", value_name = "NAME")]
    subjects: Vec<String>,
    /// What this program tells itself once it has built the network: the suite is to run here.
    #[arg(long, hide = true, value_name = "NETWORK", value_parser = |text: &str| anyhow::Ok(Network::from(text)))]
    within: Option<Network>,
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(scenario::SCENARIOS))]
    scenarios: Vec<String>,
}

/// See [`Network`].
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Topology {
    /// All on this machine's loopback, which flatters some engines.
    Loopback,
    /// Three hosts joined by veth: network namespaces, which only root may make.
    Namespaces,
}

fn main() -> Result<ExitCode> {
    memory::raise_descriptor_limit()?;
    if let Some(ended) = std::env::args().nth(1).and_then(|role| play(&role)) {
        return ended.map(|()| ExitCode::SUCCESS);
    }
    let options = Options::parse();
    let Some(network) = &options.within else {
        congestion::settle()?;
        return keeper::keep(options.topology == Topology::Namespaces);
    };
    keeper::unblock_signals()?;
    let wanted = Wanted { network, subjects: &options.subjects()?, scenarios: &options.scenarios };
    let results = suite::run(&wanted, options.effort())?;
    write(&results)?;
    Ok(if results.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The roles of the processes that the suite starts; not for people, hence not among the options.
fn play(role: &str) -> Option<Result<()>> {
    Some(match role {
        "client" => crowd::obey(),
        "pod" => crowd::be_pod(false),
        "web-pod" => crowd::be_pod(true),
        "soaker" => soaker::soak(),
        "compare" => compare::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        "keep" => keep::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        // What `cargo xtask bench` asks for before it measures, and the check of what it got.
        "peer-packages" => writeln!(io::stdout(), "{}", peer::packages()).map_err(Into::into),
        "install-peers" => peer::install(),
        "check-peers" => peer::check::run(),
        _ => return None,
    })
}

impl Options {
    fn subjects(&self) -> Result<Vec<Box<dyn Subject>>> {
        let mut subjects = subject::all();
        let mut wanted = self.subjects.clone();
        for wanted in &wanted {
            ensure!(subjects.iter().any(|subject| subject.name() == *wanted), "there is no subject called {wanted}");
        }
        if wanted.is_empty() && self.asks_for_limit() {
            wanted.extend(scenario::LIMIT_SUBJECTS.map(str::to_owned));
        }
        if !wanted.is_empty() {
            // The first is what the others are compared with.
            let mut number = 0..;
            subjects.retain(|subject| number.next() == Some(0) || wanted.contains(&subject.name()));
        }
        Ok(subjects)
    }

    /// Whether that question is all that is asked.
    fn asks_for_limit(&self) -> bool {
        self.scenarios.iter().all(|scenario| scenario == scenario::LIMIT) && !self.scenarios.is_empty()
    }

    fn effort(&self) -> Effort {
        let effort = |rounds, round, lead, minutes: f64| Effort {
            rounds,
            round: Duration::from_millis(round),
            lead: Duration::from_millis(lead),
            is_quick: self.quick || self.smoke,
            streams_max: usize::MAX,
            settle: SETTLE_MAX,
            budget: Some(Duration::from_secs_f64(60.0 * self.budget.unwrap_or(minutes))),
        };
        match (self.smoke, self.quick) {
            (true, _) => {
                Effort { streams_max: 64, settle: Duration::from_secs(1), budget: None, ..effort(2, 50, 10, 0.0) }
            }
            (_, true) => effort(5, 800, 80, 9.5),
            _ if self.asks_for_limit() => effort(20, 600, 100, 8.0),
            _ => effort(10, 1500, 200, 150.0),
        }
    }
}

/// Three times as long as it takes where nothing holds it up.
const SETTLE_MAX: Duration = Duration::from_secs(12);

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.0..=1e4).contains(&minutes) => Ok(minutes),
        _ => Err("not a number of minutes".to_owned()),
    }
}

/// Everything into a folder of its own, and the tables to the terminal.
fn write(results: &Results) -> Result<()> {
    let date = Command::new("date").args(["-u", "+%Y-%m-%dT%H%M%SZ"]).output().context("run date")?;
    let date = String::from_utf8(date.stdout)?.trim().to_owned();
    let title = format!("{date}{}", if cfg!(debug_assertions) { " (development build)" } else { "" });
    let folder = target::directory()?.join("bench").join(&date);
    fs::create_dir_all(&folder)?;
    let keep = |name: &str, text: &str| fs::write(Path::new(&folder).join(name), text).context(name.to_owned());
    let tables = report::markdown(results, &title);
    keep("results.json", &serde_json::to_string(results)?)?;
    keep("results.md", &tables)?;
    keep("report.html", &report::html(results, &title))?;
    Ok(writeln!(io::stdout(), "{tables}\n{}", folder.display())?)
}
