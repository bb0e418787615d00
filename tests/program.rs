//! The program as a command: one that is expected to end by itself, or one whose log is for people.

use std::fs::File;
use std::process::Stdio;

use gateway_tests::gateway;
use gateway_tests::process::Process;
use gateway_tests::wait::{self, PATIENCE};
use tempfile::TempDir;

/// What the program ended with, and what it wrote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// It did what was asked and printed this.
pub(crate) fn printed(stdout: &str) -> Said {
    Said { code: Some(0), stdout: stdout.to_owned(), stderr: String::new() }
}

/// It failed while running and wrote this to standard error.
pub(crate) fn failed(stderr: &str) -> Said {
    Said { code: Some(1), stdout: String::new(), stderr: stderr.to_owned() }
}

/// Runs the program to its end. A program that goes on fails the story and is killed.
pub(crate) fn run(arguments: &[&str]) -> Said {
    run_with(arguments, &[])
}

/// The same with variables in its environment. None of the gateway's is inherited.
pub(crate) fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    Running::start(arguments, environment).end()
}

/// Runs the program to its end, started by a command that replaces itself by what stands behind its own arguments.
pub(crate) fn run_through(command: &[&str], arguments: &[&str]) -> Said {
    Running::start_through(command, arguments, &[]).end()
}

/// A program that was started. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Running {
    process: Process,
    /// Holds what it writes.
    directory: TempDir,
}

impl Running {
    /// Starts the program with variables in its environment, of which none of the gateway's is inherited.
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_through(&[], arguments, environment)
    }

    fn start_through(through: &[&str], arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let directory = TempDir::with_prefix("gateway-program-").unwrap();
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| File::create(directory.path().join(name)).unwrap());
        let program = gateway::program().unwrap();
        let program = program.to_string_lossy();
        let words: Vec<&str> = through.iter().copied().chain([&*program]).collect();
        let process = Process::spawn(words[0], |command| {
            command.args(&words[1..]);
            for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GATEWAY_")) {
                command.env_remove(name);
            }
            command.args(arguments).envs(environment.iter().copied());
            command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        });
        Self { process: process.unwrap(), directory }
    }

    fn end(mut self) -> Said {
        let status = self.process.wait(PATIENCE).unwrap();
        Said { code: status.code(), stdout: self.written("stdout"), stderr: self.written("stderr") }
    }

    /// The line of its log that has all of `parts`, waiting for it.
    pub(crate) fn logged(&self, parts: &[&str]) -> String {
        let found = wait::until(&format!("a line with {parts:?}"), PATIENCE, || {
            let log = self.written("stderr");
            log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        });
        found.unwrap_or_else(|error| panic!("{error}; the log:\n{}", self.written("stderr")))
    }

    fn written(&self, stream: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(stream)).unwrap()
    }
}
