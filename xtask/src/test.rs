//! Every test of the repository, on a machine that has nothing but Rust: `cargo xtask test`.

mod tally;

use std::io;
use std::num::NonZero;
use std::process::ExitCode;
use std::thread;

use anyhow::Context as _;
use gateway_tests::target;

use crate::{cargo, setup};
pub(crate) use tally::Tally;

/// Installs what the tests need, builds, and runs all of them to the end; the last line is their number.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run only the tests whose names contain this
    filter: Option<String>,
}

/// Prints the sum of all runners as the last line, `N passed, M failed`, and `, K skipped` where some were.
/// The exit code is a failure when a test failed, and when none ran.
#[expect(clippy::print_stdout, reason = "the sum is this command's output")]
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if let Err(error) = setup::run(&setup::Options {}) {
        // Not the end: on a machine without apt most tests run all the same, and the others say what they lack.
        eprintln!("setup: {error:#}");
    }
    let tally = suite(options.filter.as_deref(), &[])?;
    for name in tally.failures() {
        println!("failed: {name}");
    }
    println!("{tally}");
    Ok(if tally.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds, and runs all tests whose names contain `filter`: those of every crate, style among them, and the stories.
/// `environment` is added to that of the runners. What they print is shown as it comes.
///
/// # Errors
///
/// When the tests do not compile; failed tests are in the tally.
pub(crate) fn suite(filter: Option<&str>, environment: &[(&str, &str)]) -> anyhow::Result<Tally> {
    cargo::build_all()?;
    let mut command = cargo::command("test");
    // So that no test builds another one.
    command.env("GATEWAY_BIN", target::program("gateway")?).envs(environment.iter().copied());
    command.args(["--workspace", "--no-fail-fast"]).args(filter);
    command.args(["--", "--test-threads", &threads().to_string()]);
    tally::follow(&mut command, io::stdout(), io::stderr()).context("cannot run the tests")
}

/// Tests that run at the same time in a runner.
///
/// A story mostly waits, for a page to load or a deadline to pass, so two for each core keep the machine busy. A few
/// start what fills a machine, such as a browser or ten thousand sockets: past eight at once they would only take time,
/// memory and descriptors from each other. One alone would make libtest run it on the main thread, and a test that is
/// skipped is told from another by the name of its thread.
fn threads() -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    (2 * cores).clamp(2, 8)
}
