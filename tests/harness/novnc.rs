//! The versions of noVNC that pods serve, and where their files are.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;

use crate::need::Need;
use crate::target;

/// A released noVNC. How a version builds the address of its WebSocket decides what a gateway has to do for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoVnc {
    /// Debian 12's. Opens `/` + its `path` setting at the root of the origin, wherever the page is.
    V1_3_0,
    /// Debian 13's, the first whose `path` setting is resolved against the address of the page.
    V1_6_0,
    /// The protocol engine of 1.7.0 (`core/` and `vendor/`, all that its npm package carries) under the application of
    /// 1.6.0 (`vnc.html` and `app/`), because no registry carries the application of 1.7.0. Both build the address in
    /// the same way.
    V1_7_0,
}

impl NoVnc {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V1_3_0, Self::V1_6_0, Self::V1_7_0];

    /// The version number.
    pub fn version(self) -> &'static str {
        match self {
            Self::V1_3_0 => "1.3.0",
            Self::V1_6_0 => "1.6.0",
            Self::V1_7_0 => "1.7.0",
        }
    }

    /// The directory that a pod serves, with `index.html` and `vnc.html` in it. `cargo xtask setup` fills it.
    pub fn directory(self) -> Result<PathBuf> {
        Ok(target::directory()?.join("novnc").join(self.version()))
    }

    /// What a story with this version needs.
    pub fn need(self) -> Need {
        let index = self.directory().map(|directory| directory.join("index.html"));
        Need::Path(index.unwrap_or_default(), "cargo xtask setup")
    }
}

impl fmt::Display for NoVnc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "noVNC {}", self.version())
    }
}
