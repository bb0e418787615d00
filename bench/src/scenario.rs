//! What is measured: the scenarios of the specification, case by case.

use crate::web::Kind;

/// One row of cases in the tables.
#[derive(Clone, Copy)]
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
    /// Whether all subjects take part with `--quick`, too, and not only [`LEADERS`].
    pub(crate) is_for_everybody: bool,
    /// Whether it belongs to the question [`LIMIT`].
    pub(crate) is_of_limit: bool,
}

/// Who takes part in every case: the limit, our engines, and the two that people would use instead.
pub(crate) const LEADERS: [&str; 9] =
    ["direct", "copy uring", "copy epoll", "splice", "sockmap", "packet", "auto", "haproxy", "nginx"];

const fn echo(name: &'static str, streams: usize, bytes: u32) -> Case {
    Case {
        scenario: "echo",
        name,
        streams,
        up: bytes,
        down: bytes,
        is_paced: true,
        in_quick: false,
        is_for_everybody: false,
        is_of_limit: false,
    }
}

const fn bulk(name: &'static str, up: u32, down: u32) -> Case {
    Case { scenario: "bulk", streams: 8, up, down, is_paced: false, in_quick: true, ..of_limit(echo(name, 8, up)) }
}

const fn quick(case: Case) -> Case {
    Case { in_quick: true, ..case }
}

const fn for_everybody(case: Case) -> Case {
    Case { is_for_everybody: true, ..case }
}

const fn of_limit(case: Case) -> Case {
    Case { is_of_limit: true, ..case }
}

/// In the order in which they are taken.
pub(crate) const CASES: &[Case] = &[
    of_limit(for_everybody(quick(echo("256 B on 64 streams", 64, 256)))),
    quick(echo("1 KiB on 64 streams", 64, 1 << 10)),
    quick(echo("16 KiB on 64 streams", 64, 16 << 10)),
    of_limit(quick(echo("256 B on 1,000 streams", 1000, 256))),
    quick(echo("256 B on 1 stream", 1, 256)),
    echo("16 B on 64 streams", 64, 16),
    echo("4 KiB on 64 streams", 64, 4 << 10),
    echo("64 KiB on 64 streams", 64, 64 << 10),
    echo("16 B on 1 stream", 1, 16),
    echo("1 KiB on 1 stream", 1, 1 << 10),
    echo("4 KiB on 1 stream", 1, 4 << 10),
    echo("16 KiB on 1 stream", 1, 16 << 10),
    echo("64 KiB on 1 stream", 1, 64 << 10),
    echo("16 B on 1,000 streams", 1000, 16),
    echo("1 KiB on 1,000 streams", 1000, 1 << 10),
    echo("4 KiB on 1,000 streams", 1000, 4 << 10),
    echo("16 KiB on 1,000 streams", 1000, 16 << 10),
    echo("64 KiB on 1,000 streams", 1000, 64 << 10),
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

/// A question instead of a scenario: is a stream without sockets as cheap as no gateway? It takes the cases that this
/// is asked about, of those who are asked, in as many rounds as an answer needs.
pub(crate) const LIMIT: &str = "limit";

/// Who is asked: the limit, those who are to reach it, and those whom people would use instead.
pub(crate) const LIMIT_SUBJECTS: [&str; 5] = ["direct", "packet", "auto", "haproxy", "nginx"];

/// The names that the command line takes.
pub(crate) const SCENARIOS: [&str; 9] =
    ["echo", "bulk", "vnc", "noisy", "http", "session", "idle", "cross-check", LIMIT];
