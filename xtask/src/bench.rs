//! The bench suite with what it needs: `cargo xtask bench`. `bench/README.md` says what it measures.

use std::path::Path;
use std::process::Command;

use gateway_tests::target;

use crate::apt;
use crate::cargo::{self, succeed};

/// What to measure is the suite's own business.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Options and scenarios of the suite: `--quick`, `--smoke`, echo, bulk, idle.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the gateway as it is released, and the suite, and runs it.
///
/// # Errors
///
/// When something does not compile, or the suite fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    // One build of both, so that cargo unites their features once.
    succeed(cargo::command("build").args(["--release", "--package", "gateway", "--package", "gateway-bench"]))?;
    let suite = target::directory()?.join("release/gateway-bench");
    // The smoke test measures nothing, so it takes the peers that are there.
    if !options.arguments.iter().any(|argument| argument == "--smoke") {
        install_peers(&suite)?;
    }
    succeed(Command::new(suite).args(&options.arguments))
}

/// What the other programs of the comparison need. One that cannot be had is no error: the suite skips it by name.
fn install_peers(suite: &Path) -> anyhow::Result<()> {
    let packages = Command::new(suite).arg("peer-packages").output()?;
    let packages = String::from_utf8(packages.stdout)?;
    if let Err(error) = apt::ensure(&packages.split_whitespace().collect::<Vec<_>>()) {
        eprintln!("some peers stay away: {error:#}");
    }
    succeed(Command::new(suite).arg("install-peers"))
}
