//! Packages of npm, unpacked and not installed: their own files are served, and nothing they depend on.

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
    if need::find_program("npm").is_none() {
        apt::ensure(&["npm"])?;
    }
    fs::create_dir(into)?;
    run(Command::new("npm").args(["pack", "--silent", package]).current_dir(into))?;
    run(Command::new("tar").arg("-xzf").arg(only_file(into, "tgz")?).arg("-C").arg(into))?;
    Ok(into.join("package"))
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
