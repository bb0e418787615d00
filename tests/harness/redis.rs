//! A real Redis server that can be stopped, killed, restarted and replaced under the gateway.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::process::{self, Process};
use crate::wait::{self, PATIENCE};

const PING_TIMEOUT: Duration = Duration::from_millis(500);

/// A `redis-server` of its own on a free loopback port, with every write on disk before it is answered.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    address: SocketAddr,
    arguments: Vec<String>,
    directory: TempDir,
}

impl RedisServer {
    /// Starts an empty server without password and waits until it answers.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// The same with further arguments of `redis-server`, for example `["--requirepass", "secret"]`.
    pub fn start_with(arguments: &[&str]) -> Result<Self> {
        Self::start_at(process::free_address()?, arguments)
    }

    /// The same at an address of this machine, which has to be free.
    pub fn start_at(address: SocketAddr, arguments: &[&str]) -> Result<Self> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let directory = TempDir::with_prefix("gateway-redis-")?;
        let process = spawn(address, &directory, &arguments)?;
        let server = Self { process, address, arguments, directory };
        server.await_answer()?;
        Ok(server)
    }

    /// Where it listens; the same across [`Self::restart`] and [`Self::replace`].
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for the gateway and for other clients.
    pub fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    /// SIGSTOP: the server keeps its connections and says nothing.
    pub fn stop(&self) -> Result<()> {
        self.process.signal(Signal::SIGSTOP)
    }

    /// SIGCONT: the server answers all that has piled up.
    pub fn cont(&self) -> Result<()> {
        self.process.signal(Signal::SIGCONT)
    }

    /// SIGKILL: connections are reset and the port refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Kills the server if it still runs and starts it again on the same port with the same data.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.process = spawn(self.address, &self.directory, &self.arguments)?;
        self.await_answer()
    }

    /// Kills the server if it still runs and starts an empty one on the same port.
    pub fn replace(&mut self) -> Result<()> {
        self.kill()?;
        self.directory = TempDir::with_prefix("gateway-redis-")?;
        self.process = spawn(self.address, &self.directory, &self.arguments)?;
        self.await_answer()
    }

    fn await_answer(&self) -> Result<()> {
        wait::until("redis-server to answer a PING", PATIENCE, || answers(self.address).then_some(()))
    }
}

fn spawn(address: SocketAddr, directory: &TempDir, arguments: &[String]) -> Result<Process> {
    Process::spawn("redis-server", |command| {
        command.arg("--bind").arg(address.ip().to_string()).arg("--port").arg(address.port().to_string());
        command.arg("--dir").arg(directory.path());
        command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    })
    .context("start a Redis")
}

/// A server that asks for a password is up as well; one that still loads its data answers `-LOADING`.
fn answers(address: SocketAddr) -> bool {
    let ping = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PING_TIMEOUT)?;
        stream.set_read_timeout(Some(PING_TIMEOUT))?;
        stream.write_all(b"PING\r\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    };
    ping().is_ok_and(|line| line.starts_with("+PONG") || line.starts_with("-NOAUTH"))
}
