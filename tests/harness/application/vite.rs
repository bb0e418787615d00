//! Vite's development server, which tells the page over a WebSocket that a file has changed.

use std::path::PathBuf;

use anyhow::Result;

use super::{Application, SourceFile};
use crate::need::Need;

/// The last version that runs on the Node.js of Debian 12.
pub const VERSION: &str = "6.4.6";

/// Where `cargo xtask setup` puts it.
pub fn directory() -> Result<PathBuf> {
    super::installed("vite", VERSION)
}

/// What a story with Vite needs.
pub fn needs() -> Vec<Need> {
    vec![Need::Program("node"), Need::Path(directory().unwrap_or_default(), "cargo xtask setup")]
}

/// A development server of `files`, which are watched.
pub fn start(prefix: &str, files: &[SourceFile<'_>]) -> Result<Application> {
    let program = super::program(&directory()?.join("node_modules/vite/bin/vite.js"))?;
    let mut started = Application::start("node", prefix, files, |command, address, base| {
        command.args([&program, "--strictPort", "--clearScreen", "false", "--base", base]);
        command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
    })?;
    started.probe = format!("{}@vite/client", started.base);
    Ok(started)
}
