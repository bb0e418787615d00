//! Applications as people run them in their sandboxes: JupyterLab, a development server, a file server. Each has a port
//! of its own, and files that a story may change while it runs.

pub mod jupyter;
pub mod vite;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::need::Need;
use crate::process::{self, Process};
use crate::wait::{self, PATIENCE};
use crate::{http, target};

/// A running application. Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Application {
    address: SocketAddr,
    base: String,
    /// What answers with 200 once it serves.
    probe: String,
    process: Process,
    directory: TempDir,
}

/// A file of an application: its path, and what is in it.
pub type SourceFile<'a> = (&'a str, &'a str);

impl Application {
    /// Python's file server, which answers by HTTP/1.0 and has never heard of prefixes.
    pub fn files(files: &[SourceFile<'_>]) -> Result<Self> {
        Self::start("python3", "", files, |command, address, _| {
            command.args(["-m", "http.server", &address.port().to_string(), "--bind", &address.ip().to_string()]);
        })
    }

    /// What a story with [`Application::files`] needs.
    pub fn needs_of_files() -> Vec<Need> {
        vec![Need::Program("python3")]
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The path below which it believes to be: `/`, or its public prefix with the port and a slash.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Waits until it serves.
    pub fn ready(mut self) -> Result<Self> {
        let Self { address, probe, process, .. } = &mut self;
        let serves = || http::get(*address, probe).is_ok_and(|response| response.status == 200);
        let served = wait::until("the application to serve", PATIENCE, || match process.exited() {
            Err(error) => Some(Err(error)),
            Ok(Some(status)) => Some(Err(anyhow::anyhow!("ended at once, {status}"))),
            Ok(None) => serves().then_some(Ok(())),
        });
        served.and_then(|served| served).with_context(|| self.log())?;
        Ok(self)
    }

    /// Replaces a file in one step, so that no watcher sees half of it.
    pub fn write(&self, (path, text): SourceFile<'_>) -> Result<()> {
        let fresh = self.directory.path().join("fresh");
        fs::write(&fresh, text)?;
        fs::rename(&fresh, self.source().join(path)).with_context(|| path.to_owned())
    }

    /// What it wrote to its streams.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default()
    }

    /// Starts `program` among its files. `prepare` gets its address, and its base below `prefix`, which is empty for an
    /// application that is at the root of its origin.
    fn start(
        program: &str,
        prefix: &str,
        files: &[SourceFile<'_>],
        prepare: impl FnOnce(&mut Command, SocketAddr, &str),
    ) -> Result<Self> {
        let address = process::free_address()?;
        let base = if prefix.is_empty() { "/".to_owned() } else { format!("{prefix}/{}/", address.port()) };
        let directory = TempDir::with_prefix("gateway-application-")?;
        let source = directory.path().join(SOURCE);
        for (path, text) in files {
            let path = source.join(path);
            fs::create_dir_all(path.parent().context("a path below the source")?)?;
            fs::write(path, text)?;
        }
        let log = File::create(directory.path().join(LOG))?;
        let errors = log.try_clone()?;
        let process = Process::spawn(program, |command| {
            // Nothing of the user's own configuration, and nothing left behind in it.
            command.env("HOME", directory.path()).current_dir(&source);
            command.stdin(Stdio::null()).stdout(log).stderr(errors);
            prepare(command, address, &base);
        })?;
        let probe = base.clone();
        Ok(Self { address, base, probe, process, directory })
    }

    fn source(&self) -> PathBuf {
        self.directory.path().join(SOURCE)
    }
}

const SOURCE: &str = "source";
const LOG: &str = "log";

/// A directory that `cargo xtask setup` fills with a program.
fn installed(name: &str, version: &str) -> Result<PathBuf> {
    Ok(target::directory()?.join(name).join(version))
}

/// The path of a program as an argument of [`Process::spawn`].
fn program(path: &Path) -> Result<String> {
    ensure!(path.exists(), "{} is missing: run `cargo xtask setup`", path.display());
    Ok(path.to_string_lossy().into_owned())
}
