//! xterm.js, the terminal that runs in a page, and where its files are.

use std::path::PathBuf;

use anyhow::Result;

use crate::need::Need;
use crate::target;

/// A file of a package on npm.
#[derive(Debug)]
pub struct File {
    /// Package and version.
    pub package: &'static str,
    /// Where the file is in the package.
    pub path: &'static str,
    /// What it is served as.
    pub name: &'static str,
}

/// All that a page needs.
pub const FILES: [File; 3] = [
    File { package: XTERM, path: "lib/xterm.js", name: "xterm.js" },
    File { package: XTERM, path: "css/xterm.css", name: "xterm.css" },
    File { package: "@xterm/addon-attach@0.12.0", path: "lib/addon-attach.js", name: "addon-attach.js" },
];

const XTERM: &str = "@xterm/xterm@6.0.0";

/// A page with a terminal on the WebSocket that its query names as `socket`. Its scripts find the terminal's text with
/// `text()`, and how the connection ended in `closed`.
pub const PAGE: &str = include_str!("xterm.html");

/// The directory with [`FILES`]. `cargo xtask setup` fills it.
pub fn directory() -> Result<PathBuf> {
    Ok(target::directory()?.join("xterm"))
}

/// What a story with a terminal in a page needs.
pub fn need() -> Need {
    Need::Path(directory().unwrap_or_default().join(FILES[2].name), "cargo xtask setup")
}
