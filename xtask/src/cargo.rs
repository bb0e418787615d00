//! Cargo as a tool of the other tasks.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use gateway_tests::gateway;

/// `cargo TASK --locked`, by the cargo that runs this program, in the checkout's workspace.
pub(crate) fn command(task: &str) -> Command {
    let mut command = program();
    command.args([task, "--locked"]).current_dir(checkout());
    command
}

/// The cargo that runs this program, in the current directory and without an argument.
pub(crate) fn program() -> Command {
    // Cargo names itself to what it runs; without it the one in the search path will do.
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The folder of the checkout that this program was built from.
pub(crate) fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout")
}

/// Builds everything that the workspace's tests and tasks run, in the development profile.
///
/// Always the whole workspace, since cargo unites the features of what it builds at once: the gateway built on its own
/// would differ in a feature of some crate from the one beside the tests, and most of it would be compiled twice.
///
/// # Errors
///
/// When something does not compile.
pub(crate) fn build_all() -> anyhow::Result<()> {
    succeed(command("build").args(["--workspace", "--all-targets"]))
}

/// The gateway of this source: the one that `GATEWAY_BIN` names, or a fresh build in the development profile.
///
/// # Errors
///
/// When it does not compile.
pub(crate) fn gateway() -> anyhow::Result<PathBuf> {
    if env::var_os("GATEWAY_BIN").is_none() {
        succeed(command("build").args(["--package", "gateway"]))?;
    }
    gateway::program()
}

/// Runs `command` on this program's own streams.
///
/// # Errors
///
/// When it cannot be started, and when it ends with another status than 0.
pub(crate) fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let name = name(command);
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} failed ({status})");
    Ok(())
}

/// The program and its first argument, which is the task of those that have several.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let first = command.get_args().next().unwrap_or_default().to_string_lossy();
    format!("{program} {first}").trim_end().to_owned()
}
