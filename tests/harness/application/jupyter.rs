//! JupyterLab: a notebook in a page, whose kernel answers over a WebSocket.

use std::path::PathBuf;

use anyhow::Result;

use super::{Application, SourceFile};
use crate::need::Need;

/// JupyterLab and everything that it needs, as pip reads it: the same on every machine.
pub const REQUIREMENTS: &str = include_str!("requirements.txt");

/// The name of the directory's copy of [`REQUIREMENTS`], which is written last.
pub const REQUIREMENTS_FILE: &str = "requirements.txt";

/// The virtual environment that `cargo xtask setup` makes.
pub fn directory() -> Result<PathBuf> {
    super::installed("jupyter", "environment")
}

/// What a story with JupyterLab needs.
pub fn need() -> Need {
    Need::Path(directory().unwrap_or_default().join(REQUIREMENTS_FILE), "cargo xtask setup")
}

/// A JupyterLab with `files` in its root. Anybody may use it: who is let in is not what is tested. Its page gives
/// scripts the whole application as `jupyterapp`.
pub fn start(prefix: &str, files: &[SourceFile<'_>]) -> Result<Application> {
    let python = super::program(&directory()?.join("bin/python"))?;
    let mut started = Application::start(&python, prefix, files, |command, address, base| {
        command.args(["-m", "jupyterlab", "--no-browser", "--allow-root", "--IdentityProvider.token="]);
        command.arg(format!("--ServerApp.ip={}", address.ip()));
        command.arg(format!("--ServerApp.port={}", address.port()));
        command.arg(format!("--ServerApp.base_url={base}"));
        // It listens on loopback only here, and in a sandbox on all addresses: then it takes every Host.
        command.arg("--ServerApp.allow_remote_access=True");
        command.args(["--ServerApp.port_retries=0", "--LabApp.expose_app_in_browser=True"]);
        // It asks nobody outside for extensions, news or newer versions.
        command.args(["--LabApp.extension_manager=readonly", "--LabApp.news_url=None"]);
        command.arg("--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate");
        command.env("JUPYTER_NO_CONFIG", "1");
    })?;
    started.probe = format!("{}api/status", started.base);
    Ok(started)
}
