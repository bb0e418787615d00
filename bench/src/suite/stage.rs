//! Pods and subjects that run, each subject where nobody else's program sees its packets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use gateway_tests::redis::RedisServer;
use nix::unistd::Pid;

use super::course::progress;
use super::{Effort, phase, processors};
use crate::congestion;
use crate::load::crowd::{Crowd, Helper, Target};
use crate::scenario::LEADERS;
use crate::subject::{Engines, Running, Scene, Started, Subject, sandbox_id};
use crate::topology::Network;
use crate::topology::venue::Venue;
use crate::web::write_directory;

/// What pods serve.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Streams,
    /// Visitors, with so many sandboxes in Redis, at least one per pod.
    Visits {
        sandboxes: usize,
    },
}

/// A subject that runs.
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) running: Running,
    ground: usize,
}

/// Pods, and the Redis that knows them, in one venue.
pub(crate) struct Ground {
    pub(crate) venue: Venue,
    pub(crate) pods: Vec<SocketAddr>,
    pub(crate) redis: Option<RedisServer>,
    /// What Redis has.
    pub(crate) entries: Arc<[(String, SocketAddr)]>,
    helpers: Vec<Helper>,
}

/// Pods and subjects that run.
pub(crate) struct Stage {
    pub(crate) subjects: Vec<Contender>,
    role: Role,
    /// The first is where the suite is.
    grounds: Vec<Ground>,
}

impl Ground {
    pub(super) fn new(venue: Venue, role: Role) -> Result<Self> {
        let word = if matches!(role, Role::Streams) { "pod" } else { "web-pod" };
        let (helpers, pods, redis) = venue.inside(|| {
            let mut helpers =
                (0..processors()).map(|_| Helper::pod(venue.network(), word)).collect::<Result<Vec<_>>>()?;
            let pods = helpers.iter_mut().map(|pod| Ok(pod.line()?.parse()?)).collect::<Result<Vec<SocketAddr>>>()?;
            let redis = match role {
                Role::Streams => None,
                Role::Visits { .. } => {
                    Some(RedisServer::start_with(&["--save", "", "--appendonly", "no"]).context("start Redis")?)
                }
            };
            Ok((helpers, pods, redis))
        })?;
        let mut ground = Self { venue, pods, redis, entries: Arc::new([]), helpers };
        if let Some(redis) = &ground.redis {
            let entries: Arc<[_]> = ground.scene(role).directory().collect();
            ground.venue.inside(|| write_directory(redis.address(), &entries))?;
            ground.entries = entries;
        }
        Ok(ground)
    }

    /// What is to be served here.
    pub(crate) fn scene(&self, role: Role) -> Scene<'_> {
        let (has_pages, sandboxes) = match role {
            Role::Streams => (false, 0),
            Role::Visits { sandboxes } => (true, sandboxes),
        };
        Scene {
            listen: self.venue.network().gateway(),
            pods: &self.pods,
            workers: processors(),
            has_pages,
            sandboxes: sandboxes.max(self.pods.len()),
            redis: self.redis.as_ref().map(RedisServer::address),
        }
    }

    /// Where the n-th stream through a subject goes.
    pub(crate) fn target(&self, running: &Running, stream: usize) -> Target {
        // By twos, so that the streams of each client process reach every pod.
        let pod = stream / processors() % self.pods.len();
        let to = running.addresses[pod % running.addresses.len()];
        Target { to, sandbox: sandbox_id(pod), is_framed: running.frames_on.is_some() }
    }

    /// Client processes, without a stream yet.
    pub(super) fn crowd(&self, clients: usize) -> Result<Crowd> {
        self.venue.inside(|| Crowd::start(self.venue.network(), clients))
    }

    /// Waits until the streams of a subject that is to splice them have no sockets any more, or long enough: what still
    /// has some then is told by each phase.
    pub(super) fn settle(&self, running: &Running, effort: Effort) -> Result<()> {
        let Some(engines) = &running.engines else { return Ok(()) };
        let looks = |time: Duration| time.as_millis().div_ceil(BETWEEN_LOOKS.as_millis());
        let (mut latest, mut unchanged) = (f64::NAN, 0);
        for _ in 0..looks(effort.settle) {
            let Engines { packet, others } = self.venue.inside(engines)?;
            unchanged = if (packet.streams - latest).abs() < 0.5 { unchanged + 1 } else { 0 };
            latest = packet.streams;
            if packet.streams > 0.0 && others.streams == 0.0 || unchanged >= looks(UNCHANGED_MAX) {
                break;
            }
            phase::pass(BETWEEN_LOOKS);
        }
        Ok(())
    }
}

/// Between two questions of [`Ground::settle`].
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// `auto` takes a stream when it is three seconds old and looks once a second: what it has not taken then, for want of
/// places or ports, it will not take.
const UNCHANGED_MAX: Duration = Duration::from_secs(5);

impl Stage {
    /// Pods where the suite is. Nothing stands before them yet.
    pub(crate) fn new(network: &Network, role: Role) -> Result<Self> {
        let here = Ground::new(Venue::here(network), role)?;
        Ok(Self { subjects: Vec::new(), role, grounds: vec![here] })
    }

    /// Starts the subjects before the pods, each one that sees the packets of others on a ground of its own.
    pub(crate) fn start(&mut self, subjects: &[Box<dyn Subject>], skipped: &mut Vec<(String, String)>) -> Result<()> {
        for subject in subjects {
            let name = subject.name();
            let ground = if subject.sees_packets()? { self.another(&name)? } else { 0 };
            let start = || subject.start(&self.grounds[ground].scene(self.role));
            let started = self.grounds[ground].venue.inside(start).or_else(|error| not_started(&name, &error))?;
            match started {
                Started::Running(running) => self.subjects.push(Contender { name, running, ground }),
                Started::Skipped(why) => {
                    let entry = (name, why);
                    if !skipped.contains(&entry) {
                        skipped.push(entry);
                    }
                }
            }
        }
        Ok(())
    }

    fn another(&mut self, name: &str) -> Result<usize> {
        let venue = Venue::another(self.grounds[0].venue.network(), name)?;
        self.grounds.push(Ground::new(venue, self.role)?);
        Ok(self.grounds.len() - 1)
    }

    /// Those that take part in a case of so many streams: everybody who can have them, or [`LEADERS`] only.
    pub(crate) fn field(&self, is_everybody: bool, streams: usize) -> Vec<&Contender> {
        let is_wanted = |name: &str| is_everybody || LEADERS.contains(&name);
        let takes_part = |one: &&Contender| is_wanted(&one.name) && one.running.holds(streams);
        self.subjects.iter().filter(takes_part).collect()
    }

    /// Those that cannot have so many streams, with the reason.
    pub(super) fn left_out(&self, streams: usize) -> impl Iterator<Item = (String, String)> {
        let too_many = self.subjects.iter().filter(move |one| !one.running.holds(streams));
        too_many.map(|Contender { name, running, .. }| {
            let most = running.frames_on.unwrap_or_default();
            (format!("{name}, where there are more than {most} streams"), "it has a process for each".to_owned())
        })
    }

    pub(crate) fn ground(&self, contender: &Contender) -> &Ground {
        &self.grounds[contender.ground]
    }

    /// Pods before which a subject stands. Those of each ground are as many.
    pub(crate) fn pods(&self) -> usize {
        self.grounds[0].pods.len()
    }

    pub(super) fn pod_pids(&self, contender: &Contender) -> impl Iterator<Item = Pid> {
        self.ground(contender).helpers.iter().map(Helper::pid)
    }

    /// Client processes of a subject, without a stream yet.
    pub(crate) fn crowd(&self, contender: &Contender, clients: usize) -> Result<Crowd> {
        self.ground(contender).crowd(clients)
    }

    /// Clients with so many streams through a subject.
    pub(super) fn crowd_of(&self, contender: &Contender, clients: usize, streams: usize) -> Result<Crowd> {
        let ground = self.ground(contender);
        let mut crowd = ground.crowd(clients)?;
        crowd
            .open(streams, |stream| ground.target(&contender.running, stream))
            .with_context(|| contender.name.clone())?;
        Ok(crowd)
    }

    /// Once all streams are open: looks at their sockets, and waits until each is where its subject wants it.
    pub(super) fn settle(&self, field: &[&Contender], effort: Effort) -> Result<()> {
        for ground in &self.grounds {
            ground.venue.inside(congestion::verify)?;
        }
        field.iter().try_for_each(|one| self.ground(one).settle(&one.running, effort))
    }

    /// Bytes that a subject's streams have moved so far, by the packet program and otherwise; `None` where it is not to
    /// splice them, or they are those of visitors, which end before it pays.
    pub(super) fn moved(&self, contender: &Contender) -> Result<Option<[f64; 2]>> {
        let (Some(engines), Role::Streams) = (&contender.running.engines, self.role) else { return Ok(None) };
        let Engines { packet, others } = self.ground(contender).venue.inside(engines)?;
        Ok(Some([packet.bytes, others.bytes]))
    }
}

/// One program that does not work here is no reason to measure none of the others.
fn not_started(name: &str, error: &anyhow::Error) -> Result<Started> {
    let error = format!("{error:#}");
    progress(&format!("{name} does not start: {error}"))?;
    // Behind the first line is the program's log, whose last line says why.
    let mut lines = error.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    let last = lines.next_back().map(|line| format!(" {line}")).unwrap_or_default();
    Ok(Started::Skipped(format!("it does not start: {first}{last}")))
}
