//! The demo without anybody watching: a headless browser looks at both desktops.

use std::fs;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use gateway_tests::browser::Browser;
use gateway_tests::desktop::Desktop;
use gateway_tests::gateway::Gateway;
use gateway_tests::target;
use gateway_tests::viewer::{Picture, Viewer};
use gateway_tests::wait::{self, PATIENCE};

use super::{SANDBOXES, Sandbox, Stop, url};

/// Opens both desktops in two tabs of one browser and says what it found.
pub(crate) fn run(gateway: &Gateway, desktops: &[Desktop], stop: &Stop) -> anyhow::Result<()> {
    let browser = Browser::launch()?;
    let mut out = io::stdout();
    let mut seen: Vec<(Picture, Vec<u8>)> = Vec::new();
    let mut viewers = Vec::new();
    for (sandbox, desktop) in SANDBOXES.iter().zip(desktops) {
        ensure!(!stop.within(Duration::ZERO), "interrupted");
        let viewer = Viewer::open(&browser, &url(gateway, sandbox))?;
        let (picture, file) = look(&viewer, sandbox, desktop).with_context(|| format!("sandbox {}", sandbox.id))?;
        writeln!(out, "sandbox {}: {}, {}", sandbox.id, describe(&picture), sandbox.novnc)?;
        seen.push((picture, file));
        viewers.push(viewer);
    }
    let [(first, first_file), (second, second_file)] = &seen[..] else { bail!("the demo has two sandboxes") };
    ensure!(first.background != second.background && first_file != second_file, "both tabs show the same picture");
    writeln!(out, "the two pictures differ")?;
    for ((viewer, sandbox), desktop) in viewers.iter().zip(&SANDBOXES).zip(desktops) {
        viewer.reconnect()?;
        viewer.wait_shown(desktop.color()).with_context(|| format!("sandbox {} after a reconnect", sandbox.id))?;
    }
    writeln!(out, "each tab reconnected to its own desktop, with the other one open")?;
    let streams = wait::until("/streams to list two streams", PATIENCE, || {
        gateway.streams().ok().filter(|streams| streams.len() == viewers.len())
    })?;
    for stream in &streams {
        ensure!(stream["bytes_down"].as_u64() > Some(0), "a stream without bytes: {stream}");
    }
    writeln!(out, "/streams lists both, with their bytes")?;
    Ok(())
}

/// Waits for the desktop's picture, checks it and writes it to `target/demo/ID.png`.
fn look(viewer: &Viewer, sandbox: &Sandbox, desktop: &Desktop) -> anyhow::Result<(Picture, Vec<u8>)> {
    let picture = viewer.wait_shown(desktop.color())?;
    ensure!(picture.colors > COLORS_BLANK_MAX, "the picture is blank: {}", describe(&picture));
    viewer.wait_moved(&picture).context("nothing moves")?;
    let file = viewer.screenshot()?;
    let directory = target::directory()?.join("demo");
    fs::create_dir_all(&directory)?;
    let path = directory.join(sandbox.id).with_extension("png");
    fs::write(&path, &file).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((picture, file))
}

/// The background, and black and white for windows that have not drawn their contents.
const COLORS_BLANK_MAX: u64 = 3;

fn describe(picture: &Picture) -> String {
    let Picture { width, height, colors, background, checksum: _ } = picture;
    format!("{width}x{height} pixels, {colors} colours on {background}, moving")
}
