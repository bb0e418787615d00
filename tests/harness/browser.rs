//! A real headless Chromium, driven over the DevTools protocol; nothing is downloaded and no traffic is intercepted.

mod devtools;
mod tab;

use std::fs;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::interfaces::Unchanged;
use crate::need::{self, Need};
use crate::process::Process;
use crate::wait::{self, PATIENCE};
use devtools::DevTools;
pub use tab::Tab;

/// A browser with a fresh profile. Its tabs share one cookie jar and one local storage, as a user's do.
#[derive(Debug)]
pub struct Browser {
    devtools: Arc<Mutex<DevTools>>,
    _process: Process,
    _profile: TempDir,
    _interfaces: Unchanged,
}

impl Browser {
    /// Starts Chromium and connects to it.
    pub fn launch() -> Result<Self> {
        let program = program().context("no Chromium is installed")?;
        let interfaces = Unchanged::hold();
        let profile = TempDir::with_prefix("gateway-browser-")?;
        let mut process = Process::spawn(program, |command| {
            command.args(FLAGS).arg(format!("--user-data-dir={}", profile.path().display()));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        })?;
        // Two lines, written in one go: the port, and the path of the browser's own WebSocket.
        let port_file = profile.path().join("DevToolsActivePort");
        let address = wait::until("Chromium to report its DevTools port", PATIENCE, || {
            if let Ok(Some(status)) = process.exited() {
                return Some(Err(anyhow::anyhow!("{program} ended at once, {status}")));
            }
            let text = fs::read_to_string(&port_file).ok()?;
            let (port, path) = text.trim_end().split_once('\n')?;
            Some(Ok((port.parse(), path.to_owned())))
        })??;
        let devtools = DevTools::connect(address.0.context("a port number")?, &address.1)?;
        Ok(Self {
            devtools: Arc::new(Mutex::new(devtools)),
            _process: process,
            _profile: profile,
            _interfaces: interfaces,
        })
    }

    /// What every story with a browser needs.
    pub fn needs() -> Vec<Need> {
        if program().is_some() { Vec::new() } else { vec![Need::Program(PROGRAMS[0])] }
    }

    /// Opens a new tab and starts to load `url` in it.
    pub fn open(&self, url: &str) -> Result<Tab> {
        let tab = Tab::create(Arc::clone(&self.devtools))?;
        tab.navigate(url)?;
        Ok(tab)
    }

    /// Every cookie of the jar, as the protocol's `Network.Cookie` objects (`name`, `value`, `path`, `httpOnly`, ...).
    pub fn cookies(&self) -> Result<Vec<Value>> {
        let mut answer = devtools::call(&self.devtools, None, "Storage.getCookies", &json!({}))?;
        match answer["cookies"].take() {
            Value::Array(cookies) => Ok(cookies),
            other => anyhow::bail!("no list of cookies: {other}"),
        }
    }
}

const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// `--no-sandbox` because tests may run as root; the rest keeps the browser from talking to anything but what a story
/// opens, and lets a tab go on drawing while another one is in front.
const FLAGS: [&str; 13] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--window-size=1280,900",
    "--remote-debugging-port=0",
];

fn program() -> Option<&'static str> {
    PROGRAMS.into_iter().find(|program| need::find_program(program).is_some())
}
