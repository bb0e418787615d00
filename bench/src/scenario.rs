//! What is measured: the scenarios of the specification, case by case.

/// One row of cases in the tables.
pub(crate) struct Case {
    pub(crate) scenario: &'static str,
    pub(crate) name: &'static str,
    pub(crate) streams: usize,
    /// Bytes of a message, and of its answer.
    pub(crate) up: u32,
    pub(crate) down: u32,
    /// Whether it is measured at a common rate, too: an open loop.
    pub(crate) is_paced: bool,
    pub(crate) in_quick: bool,
}

const fn echo(name: &'static str, streams: usize, bytes: u32, in_quick: bool) -> Case {
    Case { scenario: "echo", name, streams, up: bytes, down: bytes, is_paced: true, in_quick }
}

const fn bulk(name: &'static str, up: u32, down: u32) -> Case {
    Case { scenario: "bulk", name, streams: 8, up, down, is_paced: false, in_quick: true }
}

/// In the order in which they are taken.
pub(crate) const CASES: &[Case] = &[
    echo("256 B on 64 streams", 64, 256, true),
    echo("1 KiB on 64 streams", 64, 1 << 10, true),
    echo("16 KiB on 64 streams", 64, 16 << 10, true),
    echo("256 B on 1,000 streams", 1000, 256, true),
    echo("256 B on 1 stream", 1, 256, true),
    echo("16 B on 64 streams", 64, 16, false),
    echo("4 KiB on 64 streams", 64, 4 << 10, false),
    echo("64 KiB on 64 streams", 64, 64 << 10, false),
    echo("1 KiB on 1,000 streams", 1000, 1 << 10, false),
    bulk("down", 16, 1 << 20),
    bulk("up", 1 << 20, 16),
];

/// Streams at which the memory of idle ones is read. A process may have 20,000 descriptors where this was written, and
/// our workers share that out: 19,000 streams are what surely fits.
pub(crate) const IDLE_STREAMS: &[usize] = &[1000, 5000, 10_000, 19_000];

/// The names that the command line takes.
pub(crate) const SCENARIOS: [&str; 5] = ["echo", "bulk", "vnc", "noisy", "idle"];
