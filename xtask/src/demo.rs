//! Two real desktops behind the gateway, to be looked at: `cargo xtask demo`.

mod check;
mod counters;
mod stop;

use std::io::{self, Write};
use std::net::TcpListener;
use std::time::Duration;

use clap::Args;
use gateway_tests::browser::Browser;
use gateway_tests::desktop::{self, Color, Desktop, DesktopOptions};
use gateway_tests::gateway::Gateway;
use gateway_tests::novnc::NoVnc;

use crate::{apt, cargo, novnc};
use counters::Counters;
use stop::Stop;

/// Shows two sandboxes through the gateway until Ctrl-C, with the live streams' counters in the terminal.
#[derive(Args)]
pub(crate) struct Options {
    /// Open both desktops in a headless browser, write what it shows to target/demo, fail unless both are right, and
    /// end
    #[arg(long)]
    check: bool,
}

/// What the demo shows of one sandbox.
struct Sandbox {
    id: &'static str,
    color: Color,
    novnc: NoVnc,
}

/// Of two generations of noVNC, which build the address of their WebSocket differently, as the images of a fleet do.
const SANDBOXES: [Sandbox; 2] = [
    Sandbox { id: "1001", color: Color(20, 80, 180), novnc: NoVnc::V1_6_0 },
    Sandbox { id: "1002", color: Color(20, 120, 60), novnc: NoVnc::V1_3_0 },
];

/// The gateway's usual port; another one is taken where it is in use.
const LISTEN: &str = "127.0.0.1:8080";

const REDRAW_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    install(options)?;
    // In the development profile: the demo shows what the gateway does, and the release build's link takes minutes.
    cargo::gateway()?;
    // Before the first process of ours: from here on a signal means that they all have to go.
    let stop = Stop::on_signals()?;
    let desktops = SANDBOXES.iter().map(start_desktop).collect::<anyhow::Result<Vec<_>>>()?;
    let gateway = start_gateway(&desktops)?;
    if options.check {
        return check::run(&gateway, &desktops, &stop);
    }
    let mut out = io::stdout();
    writeln!(out, "\nOpen these in one browser; Ctrl-C ends the demo:\n")?;
    for sandbox in &SANDBOXES {
        writeln!(out, "  {}   ({})", url(&gateway, sandbox), sandbox.novnc)?;
    }
    writeln!(out, "\nMetrics: http://{0}/metrics   live streams: http://{0}/streams\n", gateway.admin())?;
    let mut counters = Counters::new(out);
    while !stop.within(REDRAW_INTERVAL) {
        counters.show(&gateway)?;
    }
    eprintln!("ending two desktops and the gateway");
    Ok(())
}

fn install(options: &Options) -> anyhow::Result<()> {
    let mut packages = desktop::PACKAGES.to_vec();
    if options.check && !Browser::needs().is_empty() {
        packages.push("chromium");
    }
    apt::ensure(&packages)?;
    SANDBOXES.iter().try_for_each(|sandbox| novnc::ensure(sandbox.novnc).map(drop))
}

fn start_desktop(sandbox: &Sandbox) -> anyhow::Result<Desktop> {
    let &Sandbox { id, color, novnc } = sandbox;
    eprintln!("starting the desktop of sandbox {id}");
    Desktop::start(&DesktopOptions { name: format!("sandbox {id}"), color, novnc })
}

fn start_gateway(desktops: &[Desktop]) -> anyhow::Result<Gateway> {
    // Asked beforehand, because several processes may share a port that was opened with SO_REUSEPORT.
    let listen = if TcpListener::bind(LISTEN).is_ok() { LISTEN } else { "127.0.0.1:0" };
    let mut builder = Gateway::builder().listen(listen);
    for (sandbox, desktop) in SANDBOXES.iter().zip(desktops) {
        builder = builder.sandbox(sandbox.id, desktop.address());
    }
    builder.start()
}

fn url(gateway: &Gateway, sandbox: &Sandbox) -> String {
    format!("http://{}/vnc/{}/?autoconnect=true&resize=scale", gateway.addr(), sandbox.id)
}
