//! The bench suite: what the gateway costs, side by side with the same traffic without it.

mod analysis;
mod compare;
mod congestion;
mod cpu;
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
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use gateway_tests::{memory, target};

use load::crowd;
use suite::{Effort, Results, Wanted};

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
    /// Without it 9.5 with `--quick`, otherwise 150.
    #[arg(long, value_name = "MINUTES", value_parser = minutes)]
    budget: Option<f64>,
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(scenario::SCENARIOS))]
    scenarios: Vec<String>,
}

fn main() -> Result<()> {
    memory::raise_descriptor_limit()?;
    // The roles of the processes that the suite starts; not for people, hence not among the options.
    match std::env::args().nth(1).as_deref() {
        Some("client") => return crowd::obey(),
        Some("pod") => return crowd::be_pod(false),
        Some("web-pod") => return crowd::be_pod(true),
        Some("soaker") => return soaker::soak(),
        Some("compare") => return compare::run(&std::env::args().skip(2).collect::<Vec<_>>()),
        // What `cargo xtask bench` asks for before it measures, and the check of what it got.
        Some("peer-packages") => return Ok(writeln!(io::stdout(), "{}", peer::packages())?),
        Some("install-peers") => return peer::install(),
        Some("check-peers") => return peer::check::run(),
        _ => {}
    }
    let options = Options::parse();
    let effort = options.effort();
    let wanted = Wanted { subjects: &subject::all(), scenarios: &options.scenarios, place: congestion::settle()? };
    write(&suite::run(&wanted, effort)?)
}

impl Options {
    fn effort(&self) -> Effort {
        let effort = |rounds, round, lead, minutes: f64| Effort {
            rounds,
            round: Duration::from_millis(round),
            lead: Duration::from_millis(lead),
            is_quick: self.quick || self.smoke,
            streams_max: usize::MAX,
            budget: Some(Duration::from_secs_f64(60.0 * self.budget.unwrap_or(minutes))),
        };
        match (self.smoke, self.quick) {
            (true, _) => Effort { streams_max: 64, budget: None, ..effort(2, 50, 10, 0.0) },
            (_, true) => effort(5, 800, 80, 9.5),
            _ => effort(10, 1500, 200, 150.0),
        }
    }
}

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
    keep("results.json", &serde_json::to_string_pretty(results)?)?;
    keep("results.md", &tables)?;
    keep("report.html", &report::html(results, &title))?;
    Ok(writeln!(io::stdout(), "{tables}\n{}", folder.display())?)
}
