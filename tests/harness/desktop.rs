//! A real desktop as a sandbox pod runs it: TigerVNC's Xvnc with something moving on it, and websockify, which serves
//! noVNC's files and the WebSocket on one port.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::http;
use crate::need::Need;
use crate::novnc::NoVnc;
use crate::process::{self, Process};
use crate::wait::{self, PATIENCE};

/// Debian's packages with the programs of a desktop.
pub const PACKAGES: [&str; 5] =
    ["tigervnc-standalone-server", "websockify", "x11-apps", "x11-xserver-utils", "fonts-dejavu-core"];

/// Width and height of every desktop in pixels.
pub const SIZE: (u32, u32) = (1024, 768);

/// A colour as three bytes: red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Color(pub u8, pub u8, pub u8);

/// What distinguishes one desktop from another.
#[derive(Debug, Clone)]
pub struct DesktopOptions {
    /// Written in large letters on the screen, with the time.
    pub name: String,
    /// Fills the background.
    pub color: Color,
    /// What websockify serves.
    pub novnc: NoVnc,
}

/// A running desktop. Dropping it ends its programs and removes its files.
#[derive(Debug)]
pub struct Desktop {
    address: SocketAddr,
    color: Color,
    websockify: Process,
    _clients: Vec<Process>,
    _server: Process,
    directory: TempDir,
}

impl Desktop {
    /// Starts all of it and waits until websockify serves the page.
    pub fn start(options: &DesktopOptions) -> Result<Self> {
        let directory = TempDir::with_prefix("gateway-desktop-")?;
        let started = Self::start_in(directory.path(), options);
        let (address, server, clients, websockify) = started.with_context(|| {
            let log = |name| fs::read_to_string(directory.path().join(name)).unwrap_or_default();
            format!("start desktop {}:\n{}{}", options.name, log(SERVER_LOG), log(WEBSOCKIFY_LOG))
        })?;
        Ok(Self { address, color: options.color, websockify, _clients: clients, _server: server, directory })
    }

    /// What the stories with desktops need, beside the files of the noVNC that they serve.
    pub fn needs() -> Vec<Need> {
        ["Xvnc", "websockify", "xsetroot", "xclock", "ico"].map(Need::Program).into()
    }

    /// Where websockify serves the page and the WebSocket: the endpoint of the sandbox.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The colour of its background.
    pub fn color(&self) -> Color {
        self.color
    }

    /// How many WebSockets have been opened to this desktop since it was started.
    pub fn sessions(&self) -> Result<usize> {
        Ok(self.log()?.lines().filter(|line| line.contains("connecting to unix socket")).count())
    }

    /// What websockify has logged: the path of every WebSocket and, as it was told to be verbose, every request.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(self.directory.path().join(WEBSOCKIFY_LOG)).context("read websockify's log")
    }

    /// websockify itself, for stories in which a pod stops answering or dies.
    pub fn websockify(&mut self) -> &mut Process {
        &mut self.websockify
    }

    fn start_in(directory: &Path, options: &DesktopOptions) -> Result<(SocketAddr, Process, Vec<Process>, Process)> {
        let (server, display) = start_server(directory, &options.name)?;
        let clients = start_clients(&display, options)?;
        let (websockify, address) = start_websockify(directory, &options.novnc.directory()?)?;
        Ok((address, server, clients, websockify))
    }
}

impl fmt::Display for Color {
    /// As X resources and style sheets write it, `#rrggbb`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}

const SERVER_LOG: &str = "xvnc.log";
const WEBSOCKIFY_LOG: &str = "websockify.log";
const RFB_SOCKET: &str = "rfb.sock";

/// Starts Xvnc on a display number that it finds free itself and reports through `-displayfd`.
/// The VNC side listens on a socket file alone, so that desktops never compete for a port.
fn start_server(directory: &Path, name: &str) -> Result<(Process, String)> {
    let reported = directory.join("display");
    let stdout = File::create(&reported)?;
    let stderr = File::create(directory.join(SERVER_LOG))?;
    let (width, height) = SIZE;
    let mut server = Process::spawn("Xvnc", |command| {
        command.args([
            "-displayfd",
            "1",
            "-SecurityTypes",
            "None",
            "-AlwaysShared",
            "-nolisten",
            "tcp",
            "-depth",
            "24",
        ]);
        command.args(["-geometry", &format!("{width}x{height}"), "-desktop", name, "-rfbport", "-1", "-rfbunixpath"]);
        command.arg(directory.join(RFB_SOCKET));
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    })?;
    let number = await_ready(&mut server, "Xvnc to report its display", || {
        fs::read_to_string(&reported).ok()?.strip_suffix('\n').map(str::to_owned)
    })?;
    Ok((server, format!(":{number}")))
}

/// A background, a large label with the running time, a clock and a tumbling solid: every desktop looks like no other,
/// and sends updates all the time.
fn start_clients(display: &str, options: &DesktopOptions) -> Result<Vec<Process>> {
    let color = options.color.to_string();
    let mut background = start_client(display, "xsetroot", ["-solid", &color])?;
    ensure!(background.wait(PATIENCE)?.success(), "xsetroot failed");
    let label = format!("{}  %H:%M:%S", options.name.replace('%', "%%"));
    let face = ["-render", "-face", "DejaVu Sans:size=36:bold", "-padding", "20"];
    let digital =
        ["-digital", "-update", "1", "-fg", "white", "-bg", &color, "-geometry", "+60+60", "-strftime", &label];
    let analog = ["-analog", "-update", "1", "-geometry", "320x320+60+320"];
    let solid = ["-faces", "-bg", &color, "-geometry", "420x420+520+260", "-sleep", "0.05"];
    Ok(vec![
        start_client(display, "xclock", digital.into_iter().chain(face))?,
        start_client(display, "xclock", analog)?,
        start_client(display, "ico", solid)?,
    ])
}

fn start_client(
    display: &str,
    program: &str,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Process> {
    Process::spawn(program, |command| {
        command.args(arguments).env("DISPLAY", display);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    })
}

fn start_websockify(directory: &Path, files: &Path) -> Result<(Process, SocketAddr)> {
    ensure!(files.is_dir(), "{} is missing: run `cargo xtask setup`", files.display());
    let address = process::free_address()?;
    let log = File::create(directory.join(WEBSOCKIFY_LOG))?;
    let errors = log.try_clone()?;
    let mut websockify = Process::spawn("websockify", |command| {
        command.arg("--verbose").arg("--web").arg(files);
        command.arg("--unix-target").arg(directory.join(RFB_SOCKET)).arg(address.to_string());
        command.env("PYTHONUNBUFFERED", "1");
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
    })?;
    await_ready(&mut websockify, "websockify to serve the page", || {
        http::get(address, "/vnc.html").is_ok_and(|response| response.status == 200).then_some(())
    })?;
    Ok((websockify, address))
}

/// Waits for what `ready` finds, and not any longer once the program has ended.
fn await_ready<T>(process: &mut Process, what: &str, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
    wait::until(what, PATIENCE, || match process.exited() {
        Err(error) => Some(Err(error)),
        Ok(Some(status)) => Some(Err(anyhow::anyhow!("ended at once, {status}"))),
        Ok(None) => ready().map(Ok),
    })?
    .context(what.to_owned())
}
