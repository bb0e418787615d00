//! Everything that the stories need beside Rust.

use clap::Args;
use gateway_tests::desktop;
use gateway_tests::novnc::NoVnc;

use crate::{apt, novnc};

/// Nothing to choose: what is already there is left alone.
#[derive(Args)]
pub(crate) struct Options {}

/// A real directory server, and a real browser; the desktops name their own packages.
const PACKAGES: [&str; 2] = ["redis-server", "chromium"];

pub(crate) fn run(_: &Options) -> anyhow::Result<()> {
    let packages: Vec<&str> = desktop::PACKAGES.into_iter().chain(PACKAGES).collect();
    apt::ensure(&packages)?;
    for version in NoVnc::ALL {
        eprintln!("{version}: {}", novnc::ensure(version)?.display());
    }
    Ok(())
}
