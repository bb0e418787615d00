//! JupyterLab, from PyPI, in a virtual environment under `target/jupyter/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use gateway_tests::application::jupyter::{self, REQUIREMENTS, REQUIREMENTS_FILE};
use tempfile::TempDir;

use crate::apt;
use crate::npm::run;

/// Makes sure that the environment is in its place and of the versions that are asked for, and makes it if it is not.
///
/// # Errors
///
/// When the registry cannot be reached, and where Python is missing and cannot be installed.
pub(crate) fn ensure() -> anyhow::Result<PathBuf> {
    let place = jupyter::directory()?;
    if fs::read_to_string(place.join(REQUIREMENTS_FILE)).is_ok_and(|installed| installed == REQUIREMENTS) {
        return Ok(place);
    }
    eprintln!("installing JupyterLab into {}", place.display());
    let parent = place.parent().context("a directory below target")?;
    fs::create_dir_all(parent)?;
    // Beside the final place, so that publishing is one rename. The scripts in `bin` name the old place, but its Python
    // finds its packages beside itself.
    let scratch = TempDir::new_in(parent)?;
    let environment = scratch.path().join("environment");
    install(&environment, &scratch.path().join(REQUIREMENTS_FILE))?;
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::rename(&environment, &place).with_context(|| format!("cannot publish {}", place.display()))?;
    Ok(place)
}

fn install(environment: &Path, list: &Path) -> anyhow::Result<()> {
    if !has_venv() {
        apt::ensure(&["python3-venv"])?;
    }
    fs::write(list, REQUIREMENTS)?;
    run(Command::new("python3").args(["-m", "venv"]).arg(environment))?;
    let mut pip = Command::new(environment.join("bin/python"));
    // Nothing is compiled: a machine without a compiler is enough.
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary=:all:",
        "--requirement",
    ]);
    run(pip.arg(list))?;
    fs::copy(list, environment.join(REQUIREMENTS_FILE)).context("copy the list").map(drop)
}

/// Whether this machine's Python can make environments, which Debian splits off.
fn has_venv() -> bool {
    let mut asked = Command::new("python3");
    asked.args(["-c", "import ensurepip, venv"]).stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}
