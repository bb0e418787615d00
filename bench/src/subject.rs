//! What stands between clients and pods while it is measured.

mod group;

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use gateway_tests::gateway::{self, Gateway};
use nix::unistd::Pid;
use serde_json::Value;

use crate::peer;

/// What a subject is to serve: the sandbox with [`sandbox_id`] `n` listens at the n-th of `pods`, modulo their number.
pub(crate) struct Scene<'a> {
    /// The address on which clients are to be served, on a port of the subject's choice.
    pub(crate) listen: IpAddr,
    pub(crate) pods: &'a [SocketAddr],
    /// Workers, threads or processes that a subject may spread its work over.
    pub(crate) workers: usize,
    /// Whether visitors load pages, too, and not streams alone.
    pub(crate) has_pages: bool,
    /// How many sandboxes there are, from number 0 on; at least as many as pods.
    pub(crate) sandboxes: usize,
    /// The server whose hash `vnc_sandboxes` has all of them, for subjects that ask one. Where there is none, those
    /// start one, or have a table.
    pub(crate) redis: Option<SocketAddr>,
    /// Whether no other subject runs beside it.
    pub(crate) is_alone: bool,
}

impl Scene<'_> {
    /// All sandboxes, and where they listen.
    pub(crate) fn directory(&self) -> impl Iterator<Item = (String, SocketAddr)> {
        (0..self.sandboxes).map(|number| (sandbox_id(number), self.pods[number % self.pods.len()]))
    }
}

/// The name of the n-th sandbox.
pub(crate) fn sandbox_id(number: usize) -> String {
    (37_000 + number).to_string()
}

/// One line of the tables.
pub(crate) trait Subject {
    /// Short, and the same in every run, since runs are compared by it.
    fn name(&self) -> String;

    /// Starts it and waits until it accepts.
    ///
    /// # Errors
    ///
    /// When it is there and does not work; what this machine lacks is [`Started::Skipped`].
    fn start(&self, scene: &Scene) -> Result<Started>;
}

/// What came of [`Subject::start`].
pub(crate) enum Started {
    Running(Running),
    /// Not on this machine, for this reason.
    Skipped(String),
}

/// A subject that accepts connections. It ends when this is dropped.
pub(crate) struct Running {
    /// One for all pods, or one per pod where nothing stands between.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The process that leads the subject's group; `None` where there is none.
    pub(crate) leader: Option<Pid>,
    /// Where it ends WebSocket, and pods get what is in the frames: how many streams it may have, each with a process.
    pub(crate) frames_on: Option<usize>,
    /// How its table is changed while it runs, where it has one, and asks no Redis.
    pub(crate) table: Option<Table>,
    /// What ends with the subject.
    pub(crate) _parts: Box<dyn Any>,
}

/// Gives a sandbox another endpoint in the table of a subject that runs, sooner or later, as its operators would.
pub(crate) type Table = Arc<dyn Fn(&str, SocketAddr) -> Result<()> + Send + Sync>;

impl Running {
    /// Whether it can have so many streams.
    pub(crate) fn holds(&self, streams: usize) -> bool {
        self.frames_on.is_none_or(|most| streams <= most)
    }

    /// Whether the open loop's rate is one that it can keep, too. A process for each stream is slower than the others
    /// by more than they should have to wait for.
    pub(crate) fn sets_pace(&self) -> bool {
        self.frames_on.is_none()
    }

    /// Those that its processor time and memory are read from: all of its process group, some of which may be new.
    pub(crate) fn pids(&self) -> Result<Vec<Pid>> {
        self.leader.map_or(Ok(Vec::new()), group::members)
    }
}

/// Everything that can be measured, in the order of the tables. The first is the limit.
pub(crate) fn all() -> Vec<Box<dyn Subject>> {
    let ours = [
        Engine { engine: "copy", io: "uring", ports: None },
        Engine { engine: "copy", io: "epoll", ports: None },
        Engine { engine: "splice", io: "auto", ports: None },
        Engine { engine: "sockmap", io: "auto", ports: None },
        Engine { engine: "packet", io: "auto", ports: Some("61000-63267") },
        Engine { engine: "auto", io: "auto", ports: Some("63268-65535") },
    ];
    let mut all: Vec<Box<dyn Subject>> = vec![Box::new(Direct)];
    for engine in ours {
        all.push(Box::new(engine));
    }
    all.extend(peer::all());
    all
}

/// No gateway: what the machine, the clients and the pods take by themselves.
struct Direct;

impl Subject for Direct {
    fn name(&self) -> String {
        "direct".to_owned()
    }

    fn start(&self, scene: &Scene) -> Result<Started> {
        let addresses = scene.pods.to_vec();
        Ok(Started::Running(Running { addresses, leader: None, frames_on: None, table: None, _parts: Box::new(()) }))
    }
}

/// Our own program with one engine and one way to wait.
struct Engine {
    engine: &'static str,
    io: &'static str,
    /// From which it dials beside others: a stream without sockets does not keep another gateway from its port.
    /// Each has half of what an only one would have.
    ports: Option<&'static str>,
}

impl Subject for Engine {
    fn name(&self) -> String {
        match self.io {
            "auto" => self.engine.to_owned(),
            io => format!("{} {io}", self.engine),
        }
    }

    fn start(&self, scene: &Scene) -> Result<Started> {
        if let Some(missing) = missing(self.engine)? {
            return Ok(Started::Skipped(missing));
        }
        let mut builder = Gateway::builder().listen(SocketAddr::new(scene.listen, 0).to_string());
        if let Some(redis) = scene.redis {
            builder = builder.redis(format!("redis://{redis}/"));
        } else {
            for (sandbox, endpoint) in scene.directory() {
                builder = builder.sandbox(&sandbox, endpoint);
            }
        }
        let workers = scene.workers.to_string();
        // Nobody writes a line per request.
        let quiet = ["--log-level", "info,access=off,stream=off", "--workers", &workers];
        let ports = self.ports.filter(|_| !scene.is_alone).map(|range| ["--packet-ports", range]);
        builder = builder.args(["--engine", self.engine, "--io", self.io]).args(quiet);
        let gateway = builder.args(ports.into_iter().flatten()).start()?;
        let (addresses, leader) = (vec![gateway.addr()], Some(gateway.pid()));
        Ok(Started::Running(Running { addresses, leader, frames_on: None, table: None, _parts: Box::new(gateway) }))
    }
}

/// What `gateway probe` says is missing for `engine`; `auto` takes what there is.
fn missing(engine: &str) -> Result<Option<String>> {
    if engine == "auto" {
        return Ok(None);
    }
    let output = Command::new(gateway::program()?).args(["probe", "--json"]).output()?;
    Ok(reasons(&serde_json::from_slice(&output.stdout).context("gateway probe")?, engine))
}

/// The gateway's own words, without what they stand in.
fn reasons(report: &Value, engine: &str) -> Option<String> {
    let mut engines = report["engines"].as_array().into_iter().flatten();
    let Some(report) = engines.find(|report| report["engine"] == engine) else {
        return Some("gateway probe does not know it".to_owned());
    };
    let missing = report["missing"].as_array().into_iter().flatten();
    let reasons: Vec<&str> = missing.filter_map(|missing| missing["detail"].as_str()).collect();
    (report["available"] != true).then(|| reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_cannot_run_has_the_reasons_of_the_probe() {
        let missing = |detail| serde_json::json!({ "what": "build", "detail": detail });
        let report = serde_json::json!({ "engines": [
            { "engine": "copy", "available": true, "missing": [] },
            { "engine": "packet", "available": false, "missing": [missing("not in this build"), missing("no bpffs")] },
        ]});
        assert_eq!(reasons(&report, "copy"), None);
        assert_eq!(reasons(&report, "packet").unwrap(), "not in this build; no bpffs");
        assert_eq!(reasons(&report, "quantum").unwrap(), "gateway probe does not know it");
    }

    #[test]
    fn no_two_subjects_share_a_name() {
        let mut names: Vec<String> = all().iter().map(|subject| subject.name()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
