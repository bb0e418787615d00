//! The bench suite: what the gateway costs, side by side with the same traffic without it.

mod analysis;
mod cpu;
mod load;
mod peer;
mod report;
mod scenario;
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
use suite::{Effort, Results};

/// Measure the gateway beside the same traffic without it. Say what to measure, or nothing for everything.
#[derive(Parser)]
struct Options {
    /// Five short rounds of the most important cases instead of ten of all.
    #[arg(long)]
    quick: bool,
    /// Two rounds of a tenth of a second, which measure nothing, and show that the suite works.
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
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
        // What `cargo xtask bench` asks for before it measures, and the check of what it got.
        Some("peer-packages") => return Ok(writeln!(io::stdout(), "{}", peer::packages())?),
        Some("install-peers") => return peer::install(),
        Some("check-peers") => return peer::check::run(),
        _ => {}
    }
    let options = Options::parse();
    let results = suite::run(&subject::all(), &options.scenarios, options.effort())?;
    write(&results)
}

impl Options {
    fn effort(&self) -> Effort {
        let effort = |rounds, round, lead, streams_max| Effort {
            rounds,
            round: Duration::from_millis(round),
            lead: Duration::from_millis(lead),
            is_quick: self.quick || self.smoke,
            streams_max,
        };
        match (self.smoke, self.quick) {
            (true, _) => effort(2, 50, 10, 64),
            (_, true) => effort(5, 500, 100, usize::MAX),
            _ => effort(10, 1500, 200, usize::MAX),
        }
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
