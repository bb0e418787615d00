//! Packages of npm: unpacked where their own files are served, installed where they run.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use gateway_tests::need;

use crate::apt;

/// Downloads `package`, such as `@xterm/xterm@6.0.0`, whose integrity npm checks, and returns its root below the new
/// directory `into`.
///
/// # Errors
///
/// When the registry cannot be reached, and where npm is missing and cannot be installed.
pub(crate) fn unpack(package: &str, into: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir(into)?;
    run(npm()?.args(["pack", "--silent", package]).current_dir(into))?;
    run(Command::new("tar").arg("-xzf").arg(only_file(into, "tgz")?).arg("-C").arg(into))?;
    Ok(into.join("package"))
}

/// Installs `package` into the new directory `into`, and everything that it depends on as it was on the day `as_of`. No
/// script of a package is run.
///
/// # Errors
///
/// When the registry cannot be reached, and where npm is missing and cannot be installed.
pub(crate) fn install(package: &str, as_of: &str, into: &Path) -> anyhow::Result<()> {
    fs::create_dir(into)?;
    // Without a manifest of its own npm would look for one further up.
    fs::write(into.join("package.json"), "{}")?;
    let mut install = npm()?;
    install.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]);
    run(install.arg(format!("--before={as_of}")).arg(package).current_dir(into))
}

/// npm, which brings Node.js.
fn npm() -> anyhow::Result<Command> {
    if need::find_program("npm").is_none() {
        apt::ensure(&["npm"])?;
    }
    Ok(Command::new("npm"))
}

/// The file of this extension, of which there must be one.
pub(crate) fn only_file(directory: &Path, extension: &str) -> anyhow::Result<PathBuf> {
    let mut paths = fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path()));
    let found = paths.find(|path| path.extension() == Some(OsStr::new(extension)));
    found.with_context(|| format!("no .{extension} was downloaded"))
}

/// Runs a command of which nothing is read.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.stdout(Stdio::null()).status().with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} failed ({status})");
    Ok(())
}
