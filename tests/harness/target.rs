//! Where cargo put things: the running executable is a test or xtask inside the target directory.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// Cargo's target directory, which it marks with `CACHEDIR.TAG`.
pub fn directory() -> Result<PathBuf> {
    let executable = std::env::current_exe().context("find the running executable")?;
    let marked = executable.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file());
    marked.map(Into::into).with_context(|| format!("{} is in no target directory", executable.display()))
}

/// A program of this workspace, built in the same profile as the running executable.
pub fn program(package: &str) -> Result<PathBuf> {
    let mut directory = std::env::current_exe().context("find the running executable")?;
    directory.pop();
    if directory.ends_with("deps") || directory.ends_with("examples") {
        directory.pop();
    }
    let path = directory.join(package);
    ensure!(path.is_file(), "{} is missing: run `cargo build -p {package}`", path.display());
    Ok(path)
}
