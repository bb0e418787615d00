//! The files of xterm.js and of its addon for WebSockets, from npm, under `target/xterm/`.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use gateway_tests::xterm;
use tempfile::TempDir;

use crate::npm;

/// Makes sure that the files are in their place, and fetches them if they are not.
///
/// # Errors
///
/// When the registry cannot be reached.
pub(crate) fn ensure() -> anyhow::Result<PathBuf> {
    let place = xterm::directory()?;
    if xterm::FILES.iter().all(|file| place.join(file.name).is_file()) {
        return Ok(place);
    }
    eprintln!("fetching xterm.js into {}", place.display());
    let parent = place.parent().context("a directory below target")?;
    fs::create_dir_all(parent)?;
    // Beside the final place, so that publishing is one rename.
    let scratch = TempDir::new_in(parent)?;
    let files = scratch.path().join("files");
    fs::create_dir(&files)?;
    for (number, file) in xterm::FILES.iter().enumerate() {
        let package = npm::unpack(file.package, &scratch.path().join(number.to_string()))?;
        fs::copy(package.join(file.path), files.join(file.name)).with_context(|| format!("copy {}", file.path))?;
    }
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::rename(&files, &place).with_context(|| format!("cannot publish {}", place.display()))?;
    Ok(place)
}
