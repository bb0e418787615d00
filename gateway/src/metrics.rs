//! What is counted, and the only way to count it.
//!
//! One [`Metrics`] is made at the start and shared by all threads. It keeps a handle for every series, so counting is
//! an atomic addition and never formats or hashes a label on the way of a request. There is no global recorder: what
//! has no reference to this struct cannot count, and two of them in one test do not mix.

mod broker;
mod family;
pub mod names;
mod process;
mod streams;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use nix::unistd::Pid;

pub use broker::BrokerMetrics;
use family::{Family, OpenFamily, single};
use names::{Kind, MetricSpec};
pub use names::{METRICS, markdown_table};
use process::ProcessMetrics;
pub use streams::{StreamMetrics, StreamTotals};

/// All metrics of the process. Methods may be called from any thread.
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    exporter: PrometheusHandle,
    connections: Connections,
    http: Http,
    directory: Directory,
    upstream: Upstream,
    streams: StreamMetrics,
    broker: BrokerMetrics,
    drain_state: Gauge,
    collection_errors: Family<Counter>,
    process: ProcessMetrics,
}

/// Why a client connection was turned away before it could send a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// As many connections as `connections_max` allows are open.
    ConnectionsMax,
    /// The process or the system is out of file descriptors (`EMFILE`, `ENFILE`).
    Descriptors,
    /// accept(2) failed in another way.
    Other,
}

/// What a connection to a pod was doing when it was reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamState {
    /// It was kept for a next request.
    Idle,
    /// A request was on it.
    Busy,
}

impl UpstreamState {
    const fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
        }
    }
}

/// What `gateway_drain_state` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainState {
    /// Accepting and serving.
    Serving = 0,
    /// No new connections; exchanges are being finished, streams go on until the deadline.
    Draining = 1,
    /// The deadline has passed and what is left is being closed.
    Closing = 2,
}

struct Connections {
    accepted: Counter,
    open: Gauge,
    rejected: Family<Counter>,
}

struct Http {
    requests: Family<Counter>,
    codes: CodePositions,
    duration: Family<Histogram>,
    rejected: OpenFamily,
    failures: OpenFamily,
}

struct Directory {
    lookups: Family<Counter>,
    duration: Family<Histogram>,
    questions: Family<Counter>,
    invalidations: Family<Counter>,
    /// Absent until a Redis directory reports for the first time: an embedded directory is not a Redis that is down.
    redis_up: OnceLock<Gauge>,
    redis_reconnects: Counter,
}

struct Upstream {
    dials: Family<Counter>,
    duration: Family<Histogram>,
    retries: Counter,
    resets: Family<Counter>,
}

impl Metrics {
    /// Registers every metric of [`METRICS`].
    #[must_use]
    pub fn new() -> Self {
        let recorder = Arc::new(described_recorder());
        let build_info: Family<Gauge> = Family::new(&recorder, "gateway_build_info");
        build_info.with([env!("CARGO_PKG_VERSION")]).set(1.0);
        Self {
            exporter: recorder.handle(),
            connections: Connections::new(&recorder),
            http: Http::new(&recorder),
            directory: Directory::new(&recorder),
            upstream: Upstream::new(&recorder),
            streams: StreamMetrics::new(&recorder),
            broker: BrokerMetrics::new(&recorder),
            drain_state: single(&recorder, "gateway_drain_state"),
            collection_errors: Family::new(&recorder, "gateway_collection_errors_total"),
            process: ProcessMetrics::new(&recorder),
            recorder,
        }
    }

    /// A client connection was accepted.
    pub fn connection_accepted(&self) {
        self.connections.accepted.increment(1);
        self.connections.open.increment(1.0);
    }

    /// A client connection that was counted as accepted is over.
    pub fn connection_closed(&self) {
        self.connections.open.decrement(1.0);
    }

    /// A client connection was turned away. It does not count as accepted.
    pub fn connection_rejected(&self, reason: Reason) {
        self.connections.rejected.with([reason.label()]).increment(1);
    }

    /// A request was answered. `source` is the label of its route's source, or `none` when it had no route; the
    /// duration runs from the first byte of the head.
    pub fn request(&self, source: &'static str, method: &str, code: u16, duration: Duration) {
        let positions =
            [names::ROUTE_SOURCE.position(source), names::METHOD.position(method), self.http.codes.position(code)];
        self.http.requests.at(positions).increment(1);
        self.http.duration.with([source]).record(duration);
    }

    /// A message broke this rule (`HeadError::rule` and its relatives).
    pub fn rejected(&self, rule: &'static str) {
        self.http.rejected.with(rule).increment(1);
    }

    /// The gateway wrote this failure as an answer (`Failure::code`).
    pub fn failure(&self, code: &'static str) {
        self.http.failures.with(code).increment(1);
    }

    /// A lookup was answered by `source` (`embedded`, `cache`, `redis`, `stale`) with `outcome` (`hit`, `miss`,
    /// `error`).
    pub fn lookup(&self, source: &'static str, outcome: &'static str, duration: Duration) {
        self.directory.lookups.with([source, outcome]).increment(1);
        self.directory.duration.with([source]).record(duration);
    }

    /// A question about one sandbox was sent to `source`.
    pub fn question(&self, source: &'static str) {
        self.directory.questions.with([source]).increment(1);
    }

    /// Cached entries were marked for asking again: `push`, `reconnect` or `dial_failure`.
    pub fn invalidation(&self, cause: &'static str) {
        self.directory.invalidations.with([cause]).increment(1);
    }

    /// The connection to Redis came up or was lost.
    pub fn set_redis_up(&self, up: bool) {
        let gauge = self.directory.redis_up.get_or_init(|| single(&self.recorder, "gateway_redis_up"));
        gauge.set(if up { 1.0 } else { 0.0 });
    }

    /// Redis was reached again after a loss.
    pub fn redis_reconnected(&self) {
        self.directory.redis_reconnects.increment(1);
    }

    /// One attempt to connect to an endpoint ended: `connected`, `refused`, `timeout`, `unreachable` or `error`.
    pub fn dial(&self, outcome: &'static str, duration: Duration) {
        self.upstream.dials.with([outcome]).increment(1);
        self.upstream.duration.with([outcome]).record(duration);
    }

    /// A failed attempt to connect is being repeated.
    pub fn dial_retried(&self) {
        self.upstream.retries.increment(1);
    }

    /// Connections to pods were reset because their sandbox ended or moved.
    pub fn upstream_reset(&self, state: UpstreamState, count: u64) {
        self.upstream.resets.with([state.label()]).increment(count);
    }

    /// Everything about established streams.
    pub fn streams(&self) -> &StreamMetrics {
        &self.streams
    }

    /// Everything about sessions of the broker.
    pub fn broker(&self) -> &BrokerMetrics {
        &self.broker
    }

    /// The threads that have just parted from the process's descriptor table. The first call wins.
    pub fn count_tables_of(&self, threads: &[Pid]) {
        self.process.count_tables_of(threads);
    }

    /// How far a shutdown has come.
    pub fn set_drain_state(&self, state: DrainState) {
        self.drain_state.set(f64::from(state as u8));
    }

    /// Collects what is read on demand and writes everything in the Prometheus text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let failures = self.process.collect();
        if failures > 0 {
            self.collection_errors.with(["process"]).increment(failures);
        }
        self.streams.collect();
        self.exporter.render()
    }

    /// Moves recorded durations into their buckets. The recorder keeps each observation (8 bytes) until then, so this
    /// runs every few seconds whether anybody scrapes or not.
    pub fn upkeep(&self) {
        self.exporter.run_upkeep();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Reason {
    /// The value of the label `reason`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ConnectionsMax => "connections_max",
            Self::Descriptors => "descriptors",
            Self::Other => names::OTHER,
        }
    }
}

impl Connections {
    fn new(recorder: &Arc<PrometheusRecorder>) -> Self {
        Self {
            accepted: single(recorder, "gateway_connections_accepted_total"),
            open: single(recorder, "gateway_connections_open"),
            rejected: Family::new(recorder, "gateway_connections_rejected_total"),
        }
    }
}

impl Http {
    fn new(recorder: &Arc<PrometheusRecorder>) -> Self {
        Self {
            requests: Family::new(recorder, "gateway_http_requests_total"),
            codes: CodePositions::new(),
            duration: Family::new(recorder, "gateway_http_request_duration_seconds"),
            rejected: OpenFamily::new(recorder, "gateway_http_rejected_total"),
            failures: OpenFamily::new(recorder, "gateway_failures_total"),
        }
    }
}

impl Directory {
    fn new(recorder: &Arc<PrometheusRecorder>) -> Self {
        Self {
            lookups: Family::new(recorder, "gateway_directory_lookups_total"),
            duration: Family::new(recorder, "gateway_directory_lookup_duration_seconds"),
            questions: Family::new(recorder, "gateway_directory_questions_total"),
            invalidations: Family::new(recorder, "gateway_directory_invalidations_total"),
            redis_up: OnceLock::new(),
            redis_reconnects: single(recorder, "gateway_redis_reconnects_total"),
        }
    }
}

impl Upstream {
    fn new(recorder: &Arc<PrometheusRecorder>) -> Self {
        Self {
            dials: Family::new(recorder, "gateway_upstream_dials_total"),
            duration: Family::new(recorder, "gateway_upstream_dial_duration_seconds"),
            retries: single(recorder, "gateway_upstream_dial_retries_total"),
            resets: Family::new(recorder, "gateway_upstream_resets_total"),
        }
    }
}

/// Where each status code stands in the list of [`names::CODE`].
struct CodePositions([u8; 600]);

impl CodePositions {
    /// A code that is not registered gets the position of its class's first code, one outside of 100 to 599 that of
    /// [`names::OTHER`].
    fn new() -> Self {
        let position = |code: usize| {
            let listed = |text: String| names::CODE.values.iter().position(|known| *known == text);
            listed(code.to_string()).or_else(|| listed((code / 100 * 100).to_string()))
        };
        let last = names::CODE.values.len() - 1;
        Self(std::array::from_fn(|code| {
            u8::try_from(position(code).unwrap_or(last)).expect("there are fewer than 256 registered codes")
        }))
    }

    fn position(&self, code: u16) -> usize {
        let Self(positions) = self;
        positions.get(usize::from(code)).map_or(names::CODE.values.len() - 1, |position| usize::from(*position))
    }
}

/// A recorder with explicit buckets (without them the exporter would make summaries) and every metric's help text.
fn described_recorder() -> PrometheusRecorder {
    let mut builder = PrometheusBuilder::new();
    for MetricSpec { name, kind, .. } in METRICS {
        if let Kind::Histogram(bounds) = kind {
            builder = builder
                .set_buckets_for_metric(Matcher::Full((*name).to_owned()), bounds)
                .expect("no bucket list of the table is empty");
        }
    }
    let recorder = builder.build_recorder();
    for MetricSpec { name, kind, help, .. } in METRICS {
        match kind {
            Kind::Counter => recorder.describe_counter((*name).into(), None, (*help).into()),
            Kind::Gauge => recorder.describe_gauge((*name).into(), None, (*help).into()),
            Kind::Histogram(_) => recorder.describe_histogram((*name).into(), None, (*help).into()),
        }
    }
    recorder
}

/// Gauges are floating-point numbers: exact up to 2^53, which no count and no size here reaches.
#[expect(clippy::cast_precision_loss, reason = "the loss begins at 2^53")]
const fn gauge_value(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;
