//! What is measured: the scenarios of the specification, case by case.

use crate::web::Kind;

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

/// A case of visitors instead of streams.
pub(crate) struct WebCase {
    pub(crate) scenario: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// All processes together.
    pub(crate) visitors: usize,
    /// Sandboxes in the directory, at least one per pod, which is Redis for those that ask one, and a table for the
    /// others.
    pub(crate) sandboxes: usize,
    /// Changes of the directory per second while it is measured.
    pub(crate) changes_per_second: u32,
}

/// `http` has one sandbox per pod, so that connections to pods are kept; `session` has more than anybody's pool.
pub(crate) const WEB_CASES: &[WebCase] = &[
    WebCase {
        scenario: "http",
        name: "4 KiB on 32 kept connections",
        kind: Kind::Assets,
        visitors: 32,
        sandboxes: 0,
        changes_per_second: 0,
    },
    WebCase {
        scenario: "session",
        name: "of a page, 30 assets and a stream; 100,000 sandboxes",
        kind: Kind::Session,
        visitors: 16,
        sandboxes: 100_000,
        changes_per_second: 100,
    },
];

/// Streams at which the memory of idle ones is read.
pub(crate) const IDLE_STREAMS: &[usize] = &[1000, 5000, 10_000, 20_000];

/// The names that the command line takes.
pub(crate) const SCENARIOS: [&str; 7] = ["echo", "bulk", "vnc", "noisy", "http", "session", "idle"];
