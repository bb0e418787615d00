//! What stands between clients and pods while it is measured.

mod group;

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use gateway_tests::gateway::{self, Gateway};
use gateway_tests::wait;
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

    /// Whether it puts a program on the network's interfaces, which sees the packets of everybody there, and so costs
    /// all of them.
    fn sees_packets(&self) -> Result<bool> {
        Ok(false)
    }

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
    /// Where it is to splice its streams: who moves them, by its own counters.
    pub(crate) engines: Option<Counters>,
    /// What ends with the subject.
    pub(crate) _parts: Box<dyn Any>,
}

/// See [`Running::engines`].
pub(crate) type Counters = Box<dyn Fn() -> Result<Engines>>;

/// What the packet program has, and what everybody else has.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Engines {
    pub(crate) packet: Held,
    pub(crate) others: Held,
}

/// Streams that are open, and bytes that were moved since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Held {
    pub(crate) streams: f64,
    pub(crate) bytes: f64,
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
        Engine { engine: "copy", io: "uring" },
        Engine { engine: "copy", io: "epoll" },
        Engine { engine: "splice", io: "auto" },
        Engine { engine: "sockmap", io: "auto" },
        Engine { engine: "packet", io: "auto" },
        Engine { engine: "auto", io: "auto" },
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
        let (leader, frames_on, table, engines) = (None, None, None, None);
        Ok(Started::Running(Running { addresses, leader, frames_on, table, engines, _parts: Box::new(()) }))
    }
}

/// Our own program with one engine and one way to wait.
struct Engine {
    engine: &'static str,
    io: &'static str,
}

impl Subject for Engine {
    fn name(&self) -> String {
        match self.io {
            "auto" => self.engine.to_owned(),
            io => format!("{} {io}", self.engine),
        }
    }

    fn sees_packets(&self) -> Result<bool> {
        Ok(matches!(self.engine, PACKET | "auto") && missing(PACKET)?.is_none())
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
        let mut gateway = builder.args(["--engine", self.engine, "--io", self.io]).args(quiet).start()?;
        await_ready(&mut gateway)?;
        let (addresses, leader) = (vec![gateway.addr()], Some(gateway.pid()));
        let gateway = Rc::new(gateway);
        let engines = self.sees_packets()?.then(|| counters(Rc::clone(&gateway)));
        let (frames_on, table) = (None, None);
        Ok(Started::Running(Running { addresses, leader, frames_on, table, engines, _parts: Box::new(gateway) }))
    }
}

const PACKET: &str = "packet";

/// How long a gateway may take until it wants traffic.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// It has its sockets before it has its engine, its workers and its directory, any of which it may not get; then it
/// ends, and whoever asks it is refused.
fn await_ready(gateway: &mut Gateway) -> Result<()> {
    let answered = wait::until("the gateway to be ready", READY_LIMIT, || {
        if let Ok(status) = gateway.wait(Duration::ZERO) {
            return Some(Err(anyhow!("the gateway ended with {status}: {}", last_words(gateway))));
        }
        gateway.readiness().is_ok_and(|status| status == 200).then_some(Ok(()))
    });
    answered.and_then(|answered| answered)
}

/// How long what a gateway that has ended said last may be on its way.
const WORDS_LIMIT: Duration = Duration::from_secs(5);

/// Why it ended, which it says in plain text.
fn last_words(gateway: &Gateway) -> String {
    let said = || gateway.log().pop().filter(|line| !line.starts_with('{'));
    // Where it does not get as far as that, its log may tell.
    wait::until("why the gateway ended", WORDS_LIMIT, said).ok().or_else(|| gateway.log().pop()).unwrap_or_default()
}

fn counters(gateway: Rc<Gateway>) -> Counters {
    Box::new(move || {
        let held = |labels: &[(&str, &str)]| -> Result<Held> {
            let streams = gateway.metric("gateway_streams_open", labels)?;
            Ok(Held { streams, bytes: gateway.metric("gateway_stream_bytes_total", labels)? })
        };
        let (packet, all) = (held(&[("engine", PACKET)])?, held(&[])?);
        let others = Held { streams: all.streams - packet.streams, bytes: all.bytes - packet.bytes };
        Ok(Engines { packet, others })
    })
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
    fn a_gateway_that_ends_after_it_listened_has_not_started() {
        // The secret is read when all sockets are open.
        let builder = Gateway::builder().args(["--source", "header", "--auth-secret-file", "/nowhere/secret"]);
        // It may be seen to end before it is seen to listen.
        let Ok(mut gateway) = builder.start() else { return };
        let error = await_ready(&mut gateway).unwrap_err().to_string();
        assert!(error.contains("/nowhere/secret"), "{error}");
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
