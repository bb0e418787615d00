//! The real gateway program on loopback ports of the kernel's choice.

mod log;
mod metrics;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use crate::process::Process;
use crate::state::StateDir;
use crate::wait::{self, PATIENCE};
use crate::{http, target};
use log::Log;

/// Lines of its log that a failed story shows.
const LOG_LINES_SHOWN: usize = 40;

/// A running `gateway serve`. Dropping it kills it by its process id; a story that fails gets its log on standard
/// error.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    log: Log,
    listening: Vec<SocketAddr>,
    admin: SocketAddr,
    /// Goes after the process.
    _state: Arc<StateDir>,
}

/// What to start, in the words of the command line. `STORIES_IO` in the environment chooses what the workers wait
/// with where a story does not.
#[derive(Debug, Default)]
#[must_use = "nothing runs before `start`"]
pub struct GatewayBuilder {
    program: Option<PathBuf>,
    launcher: Vec<String>,
    admin: Option<String>,
    listen: Vec<String>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    state: Arc<StateDir>,
}

impl Gateway {
    /// A gateway with no sandbox yet, on one free loopback port.
    pub fn builder() -> GatewayBuilder {
        GatewayBuilder::default()
    }

    /// The first address on which clients are served.
    pub fn addr(&self) -> SocketAddr {
        self.listening[0]
    }

    /// All addresses on which clients are served, in the order in which the program reported them.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// Where `/metrics`, `/healthz`, `/readyz` and `/streams` are served.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The process id.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// The sum of all samples of `name` that carry all of `labels`; 0 when there is none yet.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        Ok(metrics::sum(&self.metrics()?, name, labels))
    }

    /// The whole text of `/metrics`.
    pub fn metrics(&self) -> Result<String> {
        let response = http::get(self.admin, "/metrics")?;
        ensure!(response.status == 200, "/metrics answered {}", response.head);
        Ok(response.body)
    }

    /// The live streams as `/streams` lists them, one object each.
    pub fn streams(&self) -> Result<Vec<Value>> {
        let response = http::get(self.admin, "/streams")?;
        ensure!(response.status == 200, "/streams answered {}", response.head);
        serde_json::from_str(&response.body).context("parse /streams")
    }

    /// The status of `/readyz`: 200 when the gateway wants traffic.
    pub fn readiness(&self) -> Result<u16> {
        Ok(http::get(self.admin, "/readyz")?.status)
    }

    /// Sends `signal` to the process.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits until the program ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.wait(limit)
    }

    /// The lines that the program has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// The first logged record that `wanted` accepts, waiting for it at most `limit`.
    /// [`field`] reads a field of such a record.
    pub fn logged(&self, what: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until(what, limit, || self.log.records().into_iter().find(|record| wanted(record)))
    }
}

pub use log::field;

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.log.lines();
            let last = lines.len().saturating_sub(LOG_LINES_SHOWN);
            eprintln!("--- the last lines of the gateway's log\n{}\n---", lines[last..].join("\n"));
        }
    }
}

impl GatewayBuilder {
    /// Another build of the program than [`program`] finds.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// Starts the program through another one that is replaced by it, such as `["prlimit", "--nofile=2000"]`.
    pub fn through<S: Into<String>>(mut self, launcher: impl IntoIterator<Item = S>) -> Self {
        self.launcher = launcher.into_iter().map(Into::into).collect();
        self
    }

    /// One entry of the embedded directory.
    pub fn sandbox(self, id: &str, endpoint: SocketAddr) -> Self {
        self.arg("--sandbox").arg(format!("{id}={endpoint}"))
    }

    /// The Redis directory instead of the embedded one.
    pub fn redis(self, url: impl AsRef<str>) -> Self {
        self.arg("--redis").arg(url.as_ref())
    }

    /// An address to listen on instead of `127.0.0.1:0`; repeatable.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen.push(address.into());
        self
    }

    /// The address of the admin port instead of `127.0.0.1:0`.
    pub fn admin(mut self, address: impl Into<String>) -> Self {
        self.admin = Some(address.into());
        self
    }

    /// Where the kernel side is kept, instead of in a directory of its own.
    pub fn state(mut self, state: &Arc<StateDir>) -> Self {
        self.state = Arc::clone(state);
        self
    }

    /// One more word on the command line, after `serve`.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Several more words on the command line.
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// A variable of the program's environment. Variables of the gateway that this process has itself are not passed
    /// on.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts the program and waits until it has reported every address that it listens on.
    pub fn start(mut self) -> Result<Gateway> {
        if self.listen.is_empty() {
            self.listen.push("127.0.0.1:0".to_owned());
        }
        let mut process = self.spawn()?;
        let stderr = process.child().stderr.take().expect("standard error is piped and was not taken yet");
        let log = Log::follow(stderr);
        let (listening, admin) = await_listening(&mut process, &log, self.listen.len())
            .with_context(|| format!("start the gateway; it logged:\n{}", log.lines().join("\n")))?;
        Ok(Gateway { process, log, listening, admin, _state: self.state })
    }

    fn spawn(&self) -> Result<Process> {
        let program = self.program.clone().map_or_else(program, Ok)?.to_string_lossy().into_owned();
        let mut words = self.launcher.iter().chain([&program]);
        let first = words.next().expect("the program is one of them");
        Process::spawn(first, |command| {
            command.args(words);
            command.args(["serve", "--admin", self.admin.as_deref().unwrap_or("127.0.0.1:0")]);
            command.arg("--state-dir").arg(self.state.path());
            for address in &self.listen {
                command.args(["--listen", address]);
            }
            for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GATEWAY_")) {
                command.env_remove(name);
            }
            if let Some(io) = std::env::var_os("STORIES_IO") {
                command.env("GATEWAY_IO", io);
            }
            command.args(&self.arguments).envs(self.environment.iter().cloned());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        })
    }
}

/// The program under test: `GATEWAY_BIN`, or what `cargo build -p gateway` left beside this executable.
pub fn program() -> Result<PathBuf> {
    std::env::var_os("GATEWAY_BIN").map_or_else(|| target::program("gateway"), |path| Ok(path.into()))
}

fn await_listening(process: &mut Process, log: &Log, data_count: usize) -> Result<(Vec<SocketAddr>, SocketAddr)> {
    wait::until("the gateway to listen", PATIENCE, || match process.exited() {
        Err(error) => Some(Err(error)),
        Ok(Some(status)) => Some(Err(anyhow::anyhow!("the gateway ended at once, {status}"))),
        Ok(None) => {
            let data = log.listening("data");
            let admin = log.listening("admin").first().copied()?;
            (data.len() >= data_count).then_some(Ok((data, admin)))
        }
    })?
}
