//! Vite, from npm, under `target/vite/`.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use gateway_tests::application::vite;
use tempfile::TempDir;

use crate::npm;

/// What it needs is taken as it was on this day: the same on every machine.
const AS_OF: &str = "2026-11-20";

/// Makes sure that it is in its place, and installs it if it is not.
///
/// # Errors
///
/// When the registry cannot be reached.
pub(crate) fn ensure() -> anyhow::Result<PathBuf> {
    let place = vite::directory()?;
    if place.is_dir() {
        return Ok(place);
    }
    eprintln!("installing Vite into {}", place.display());
    let parent = place.parent().context("a directory below target")?;
    fs::create_dir_all(parent)?;
    // Beside the final place, so that publishing is one rename.
    let scratch = TempDir::new_in(parent)?;
    let files = scratch.path().join("files");
    npm::install(&format!("vite@{}", vite::VERSION), AS_OF, &files)?;
    fs::rename(&files, &place).with_context(|| format!("cannot publish {}", place.display()))?;
    Ok(place)
}
