//! The bench suite with what it needs: `cargo xtask bench`. `bench/README.md` says what it measures.

use std::process::Command;

use gateway_tests::target;

use crate::cargo::{self, succeed};

/// What to measure is the suite's own business.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Options and scenarios of the suite: `--quick`, `--smoke`, and names such as `echo`.
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
    succeed(Command::new(suite).args(&options.arguments))
}
