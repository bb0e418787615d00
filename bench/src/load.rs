//! The load: clients and pods, each a process of its own, and the bytes between them.
//!
//! A client asks on an established stream with a message that says how long it is, how long the answer is to be, and
//! from where in the stream's pattern both are taken. Everything behind that header, and all of the answer, is pattern,
//! and is compared on arrival: no byte can be lost, doubled, changed or moved to another stream unseen.

pub(crate) mod client;
pub(crate) mod crowd;
mod frame;
pub(crate) mod pattern;
pub(crate) mod pod;
pub(crate) mod size;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use size::Size;

/// Bytes of a message's header: its length, the answer's length, the stream's seed.
pub(crate) const HEADER_BYTES: usize = 12;

/// The longest message and the longest answer.
pub(crate) const MESSAGE_BYTES_MAX: u32 = 16 << 20;

/// What separates the pattern of the messages from that of the answers.
pub(crate) const UP_OFFSET: u64 = 7919;

/// What all streams of a client do for a while.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Bytes of a message, header included.
    pub(crate) up: u32,
    /// Bytes of its answer.
    pub(crate) down: Size,
    /// Only that many of the client's streams take part; `None`: all.
    pub(crate) streams: Option<usize>,
    /// Messages per second of this client, all its streams together, whether or not answers come: an open loop. `None`:
    /// each stream sends when its answer has come.
    pub(crate) per_second: Option<f64>,
    /// Whether a stream holds a message back until the answer to the one before is complete, as a viewer asks for the
    /// next update only when it has got the last. The time it is held back counts.
    pub(crate) is_pull: bool,
    /// Bytes per second that each stream reads, until the end; then it takes what is left. `None`: what comes.
    pub(crate) reads_per_second: Option<u32>,
    /// What passes before anything counts.
    pub(crate) lead_millis: u64,
    pub(crate) millis: u64,
}

/// What came of a [`Run`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Messages whose answer was complete within the time.
    pub(crate) messages: u64,
    /// Nanoseconds from the intended time of sending to the answer's last byte, and how often; of all that was intended
    /// within the time, however late it was answered.
    pub(crate) latencies: Steps,
    /// The same for each stage of a visit, where messages have stages.
    pub(crate) stages: Vec<Steps>,
}

/// Values and how often they were recorded.
pub(crate) type Steps = Vec<(u64, u64)>;

/// A histogram as it travels between processes.
pub(crate) fn steps(histogram: &Histogram<u64>) -> Steps {
    histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
}
