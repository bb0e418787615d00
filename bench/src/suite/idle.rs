//! What streams weigh while nothing happens on them.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use gateway_tests::memory;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

use super::phase::pass;
use super::stage::{Ground, Role};
use super::{Effort, processors, slabs};
use crate::load::crowd::Opened;
use crate::scenario::IDLE_STREAMS;
use crate::subject::{Started, Subject};
use crate::topology::Network;
use crate::topology::venue::Venue;

/// Memory of idle streams through one subject.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) subject: String,
    /// Bytes of the maps and programs that the subject has in the kernel, which it has without any stream.
    pub(crate) maps: u64,
    pub(crate) steps: Vec<Weight>,
    /// Why there is no further step.
    pub(crate) ended: Option<String>,
}

/// So many streams more, and the bytes by which something has grown since there were [`FIRST_STREAMS`] only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Weight {
    pub(crate) streams: usize,
    /// The kernel's slabs: sockets, their inodes, files, polls and what else belongs to a stream.
    pub(crate) slabs: i64,
    /// What the kernel charges to TCP sockets for what they have received and not sent yet.
    pub(crate) buffers: i64,
    /// The subject's resident set.
    pub(crate) resident: i64,
}

/// The same for one stream, in bytes.
pub(crate) struct PerStream {
    pub(crate) streams: usize,
    pub(crate) slabs: f64,
    pub(crate) buffers: f64,
    pub(crate) resident: f64,
    pub(crate) maps: f64,
}

impl PerStream {
    pub(crate) fn sum(&self) -> f64 {
        self.slabs + self.buffers + self.resident + self.maps
    }
}

impl Idle {
    /// Step by step what this subject takes for a stream, beyond what clients and pods take, which is all that there is
    /// of `direct`.
    pub(crate) fn per_stream(&self, direct: &Self) -> Vec<PerStream> {
        let steps = self.steps.iter().filter(|step| step.streams > 0);
        let per_stream = |step: &Weight| {
            let (streams, base) = (step.streams as f64, direct.nearest(step.streams)?);
            let beyond = |bytes: i64, base_bytes: i64| bytes as f64 / streams - base_bytes as f64 / base.streams as f64;
            Some(PerStream {
                streams: step.streams,
                slabs: beyond(step.slabs, base.slabs),
                buffers: beyond(step.buffers, base.buffers),
                resident: step.resident as f64 / streams,
                maps: self.maps as f64 / streams,
            })
        };
        steps.filter_map(per_stream).collect()
    }

    /// The step of so many streams more, or of nearly as many.
    fn nearest(&self, streams: usize) -> Option<&Weight> {
        let steps = self.steps.iter().filter(|step| step.streams > 0);
        steps.min_by_key(|step| step.streams.abs_diff(streams))
    }
}

/// Bytes that each further stream takes, from the first step to the last; `None` of less than two.
pub(crate) fn slope(steps: &[PerStream]) -> Option<f64> {
    let [first, .., last] = steps else { return None };
    let bytes = |step: &PerStream| step.sum() * step.streams as f64;
    let further = last.streams.checked_sub(first.streams).filter(|further| *further > 0)?;
    Some((bytes(last) - bytes(first)) / further as f64)
}

/// Opens more and more streams through a subject of its own, and reads memory in between. `None` where the subject does
/// not run here.
pub(super) fn measure(network: &Network, subject: &dyn Subject, effort: Effort) -> Result<Option<Idle>> {
    // Alone, so that nobody's packets are seen by another.
    let ground = Ground::new(Venue::here(network), Role::Streams)?;
    let mut scene = ground.scene(Role::Streams);
    let limit = if effort.is_quick { QUICK_STREAMS } else { usize::MAX }.min(effort.streams_max);
    let all: Vec<usize> = IDLE_STREAMS.iter().copied().filter(|streams| *streams <= limit).collect();
    scene.workers = workers(all.last().copied().unwrap_or_default())?;
    let Ok(Started::Running(running)) = subject.start(&scene) else { return Ok(None) };
    if let Some(most) = running.frames_on.filter(|_| !running.holds(FIRST_STREAMS + IDLE_STREAMS[0])) {
        let ended = Some(format!("at most {most} streams: it has a process for each"));
        return Ok(Some(Idle { subject: subject.name(), maps: 0, steps: Vec::new(), ended }));
    }
    let mut crowd = ground.crowd(processors())?;
    let resident = || running.pids()?.iter().map(|pid| memory::resident(*pid)).sum::<Result<u64>>();
    let now = || Ok::<_, anyhow::Error>([settled_slabs()?, buffers()?, resident()?]);
    let mut result = Idle { subject: subject.name(), maps: 0, steps: Vec::new(), ended: None };
    let mut open_most = |count| crowd.open_most(count, |stream| ground.target(&running, stream));
    let mut open = open_most(FIRST_STREAMS)?.streams;
    result.maps = running.pids()?.iter().map(|pid| memory::kernel_objects(*pid)).sum::<Result<u64>>()?;
    let before = now()?;
    for streams in all {
        let Opened { streams: opened, refused } = open_most(FIRST_STREAMS + streams - open)?;
        open += opened;
        ground.settle(&running, effort)?;
        let now = now()?;
        let grown = |index: usize| i64::try_from(now[index]).unwrap_or(0) - i64::try_from(before[index]).unwrap_or(0);
        if open > FIRST_STREAMS {
            let streams = open - FIRST_STREAMS;
            result.steps.push(Weight { streams, slabs: grown(0), buffers: grown(1), resident: grown(2) });
        }
        if let Some(why) = refused {
            result.ended = Some(format!("at most {open} streams: {why}"));
            break;
        }
    }
    Ok(Some(result))
}

/// Streams that are open before the first reading, so that what a subject makes once, for its first ones, is not taken
/// for theirs.
const FIRST_STREAMS: usize = 64;

/// Streams at which `--quick` stops.
const QUICK_STREAMS: usize = 10_000;

/// Descriptors per stream: two, and half as many more, since the kernel spreads connections by a hash.
const DESCRIPTORS: usize = 3;

/// As many workers, threads or processes as have descriptors for `streams`, and at least one per processor. Programs of
/// one process have no more of them for it, and end at what they can hold.
fn workers(streams: usize) -> Result<usize> {
    let (_, descriptors) = getrlimit(Resource::RLIMIT_NOFILE).context("ask for the limit of descriptors")?;
    let needed = streams.saturating_mul(DESCRIPTORS);
    Ok(needed.div_ceil(usize::try_from(descriptors)?).max(processors()))
}

/// Bytes in the kernel's slabs once they no longer change: it frees what the subject before this one had by and by.
fn settled_slabs() -> Result<u64> {
    let mut latest = slabs::bytes()?;
    for _ in 0..LOOKS_MAX {
        pass(BETWEEN_LOOKS);
        let now = slabs::bytes()?;
        if now.abs_diff(latest) <= SETTLED_BYTES {
            return Ok(now);
        }
        latest = now;
    }
    // Another program's doing; what it does to the result is seen in the result.
    Ok(latest)
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Five seconds in all.
const LOOKS_MAX: usize = 25;

/// What may change from one look to the next: of a thousand streams, less than 300 bytes each.
const SETTLED_BYTES: u64 = 256 << 10;

/// Bytes that the kernel charges to all TCP sockets, in whichever network namespace (`mem` of sockstat in proc(5)).
fn buffers() -> Result<u64> {
    let pages = tcp_pages(&fs::read_to_string("/proc/net/sockstat")?).context("no mem in /proc/net/sockstat")?;
    let page = sysconf(SysconfVar::PAGE_SIZE)?.context("the kernel has a page size")?;
    Ok(pages * u64::try_from(page)?)
}

fn tcp_pages(sockstat: &str) -> Option<u64> {
    let mut words = sockstat.lines().find_map(|line| line.strip_prefix("TCP: "))?.split(' ');
    words.find(|word| *word == "mem")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(maps: u64, steps: &[(usize, i64, i64)]) -> Idle {
        let weight = |&(streams, slabs, resident)| Weight { streams, slabs, buffers: 0, resident };
        Idle { subject: "a".to_owned(), maps, steps: steps.iter().map(weight).collect(), ended: None }
    }

    #[test]
    fn a_stream_weighs_what_is_beyond_clients_and_pods() {
        let direct = idle(0, &[(1000, 4_000_000, 0), (5000, 20_000_000, 0)]);
        let subject = idle(1_000_000, &[(1000, 12_000_000, 2_000_000), (4500, 54_000_000, 5_500_000)]);
        let found = subject.per_stream(&direct);
        let sums: Vec<(usize, f64)> = found.iter().map(|step| (step.streams, step.sum().round())).collect();
        assert_eq!(sums, [(1000, 11_000.0), (4500, 9444.0)]);
        assert_eq!(slope(&found).map(f64::round), Some(9000.0), "what is there without a stream is not in the slope");
        assert_eq!(slope(&found[..1]), None);
    }

    #[test]
    fn the_pages_of_tcp_are_read_and_not_those_of_others() {
        let text = "sockets: used 30\nUDP: inuse 0 mem 7\nTCP: inuse 5 orphan 0 tw 68 alloc 5 mem 425\n";
        assert_eq!(tcp_pages(text), Some(425));
        assert_eq!(tcp_pages("TCP: inuse 5\n"), None);
    }
}
