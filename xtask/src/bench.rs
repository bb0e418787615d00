//! The bench suite with what it needs: `cargo xtask bench`. `bench/README.md` says what it measures.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use gateway_tests::target;

use crate::apt;
use crate::cargo::{self, succeed};

/// What to measure is the suite's own business.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Options and scenarios of the suite: `--quick`, `--smoke`, `--budget MINUTES`, and names such as `echo`; or
    /// `compare` and the folders of two runs, or `keep` and that of one.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the gateway as it is released, and the suite, and runs it.
///
/// # Errors
///
/// When something does not compile, or the suite fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let begun = Instant::now();
    // One build of both, so that cargo unites their features once.
    succeed(cargo::command("build").args(["--release", "--package", "gateway", "--package", "gateway-bench"]))?;
    let suite = target::directory()?.join("release/gateway-bench");
    let has = |wanted: &str| options.arguments.iter().any(|argument| argument == wanted);
    // The smoke test measures nothing, so it takes the peers that are there, and so does what looks at runs.
    let measures = options.arguments.first().is_none_or(|first| !["compare", "keep"].contains(&first.as_str()));
    if !has("--smoke") && measures {
        install_peers(&suite)?;
    }
    let mut command = Command::new(suite);
    if has("--quick") && !has("--budget") {
        command.args(["--budget", &minutes_left(begun.elapsed()).to_string()]);
    }
    succeed(command.args(&options.arguments))
}

/// What `--quick` promises for everything, in seconds, on two processors and from a clean clone.
const QUICK_SECONDS: u64 = 15 * 60;

/// What is not in our hands: the build of this program before it starts, and the reports at the end, in seconds.
const ASIDE_SECONDS: u64 = 100;

/// More than this makes intervals narrower than anybody needs at a glance, in seconds.
const MEASURING_SECONDS_MAX: u64 = 570;

/// How long the suite may measure after the builds, in minutes.
fn minutes_left(since: Duration) -> f64 {
    let left = Duration::from_secs(QUICK_SECONDS - ASIDE_SECONDS).saturating_sub(since);
    left.min(Duration::from_secs(MEASURING_SECONDS_MAX)).as_secs_f64() / 60.0
}

/// What the other programs of the comparison need. One that cannot be had is no error: the suite skips it by name.
fn install_peers(suite: &Path) -> anyhow::Result<()> {
    let packages = Command::new(suite).arg("peer-packages").output()?;
    let packages = String::from_utf8(packages.stdout)?;
    for error in apt::ensure_most(&packages.split_whitespace().collect::<Vec<_>>()) {
        eprintln!("some peers stay away: {error:#}");
    }
    succeed(Command::new(suite).arg("install-peers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_comes_off_the_time_for_measuring() {
        assert_eq!(minutes_left(Duration::from_secs(2)), 9.5);
        assert_eq!(minutes_left(Duration::from_secs(320)), 8.0);
        assert_eq!(minutes_left(Duration::from_secs(3600)), 0.0);
    }
}
