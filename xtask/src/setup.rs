//! Everything that the tests need beside Rust.

use clap::Args;
use gateway_tests::browser::Browser;
use gateway_tests::desktop;
use gateway_tests::novnc::NoVnc;

use crate::{apt, jupyter, novnc, vite, xterm};

/// Nothing to choose: what is already there is left alone.
#[derive(Args)]
pub(crate) struct Options {}

/// A real directory server, certificates for it, other hosts, their cables as real ones are and as bad ones, what
/// watches and understands the cables, and a system that refuses; the desktops name their own packages.
const PACKAGES: [&str; 8] =
    ["redis-server", "openssl", "iproute2", "ethtool", "nftables", "tcpdump", "tshark", "strace"];

pub(crate) fn run(_: &Options) -> anyhow::Result<()> {
    let mut packages: Vec<&str> = desktop::PACKAGES.into_iter().chain(PACKAGES).collect();
    if !Browser::needs().is_empty() {
        packages.push("chromium");
    }
    apt::ensure(&packages)?;
    for version in NoVnc::ALL {
        eprintln!("{version}: {}", novnc::ensure(version)?.display());
    }
    eprintln!("xterm.js: {}", xterm::ensure()?.display());
    eprintln!("JupyterLab: {}", jupyter::ensure()?.display());
    eprintln!("Vite: {}", vite::ensure()?.display());
    Ok(())
}
