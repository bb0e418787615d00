//! The one table of metrics: registration, the README and the checks of `deploy/` all read it.
//!
//! To add a metric: add a row here, register its handle in `metrics.rs`, run `gateway docs metrics-table`. A label's
//! values are part of the table, because a label whose values nobody can list is a label that somebody else can fill. A
//! sandbox id, a path or an address never becomes a value.

/// One metric, as registered and as documented.
#[derive(Debug)]
pub struct MetricSpec {
    /// The full name, with its unit and, for counters, `_total`.
    pub name: &'static str,
    /// What kind of metric it is; histograms carry their bucket bounds.
    pub kind: Kind,
    /// The labels, in the order in which handles are addressed.
    pub labels: &'static [LabelSpec],
    /// One sentence for `# HELP` and for the README.
    pub help: &'static str,
}

/// The kind of a metric.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Only grows, until the process restarts.
    Counter,
    /// A current value.
    Gauge,
    /// Observations in buckets with these upper bounds, in seconds.
    Histogram(&'static [f64]),
}

/// One label of a metric.
#[derive(Debug)]
pub struct LabelSpec {
    /// The label's name.
    pub name: &'static str,
    /// Every value it can have. Where the last one is [`OTHER`], it stands for all values that are not listed. An empty
    /// list means that the code names the values (`&'static str`), so that they are bounded without being repeated
    /// here.
    pub values: &'static [&'static str],
}

/// The value that stands for everything a label's list does not name.
pub const OTHER: &str = "other";

/// Bounds for what ordinarily takes less than a millisecond, in seconds.
const FAST: &[f64] = &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
/// Bounds for a request, in seconds: up to the default response timeout of 180 s.
const REQUEST: &[f64] =
    &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0];
/// Bounds for a stream's life, in seconds: from a failed hand-over to a whole day at a desktop.
const LIFETIME: &[f64] = &[0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 28_800.0, 86_400.0];

const VERSION: LabelSpec = LabelSpec { name: "version", values: &[env!("CARGO_PKG_VERSION")] };
/// RFC 9110 section 9.3 and RFC 5789.
pub(super) const METHOD: LabelSpec = LabelSpec {
    name: "method",
    values: &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", OTHER],
};
/// The registered status codes; others count as the `x00` of their class, which is how RFC 9110 section 15 reads them.
pub(super) const CODE: LabelSpec = LabelSpec {
    name: "code",
    values: &[
        "100", "101", "102", "103", "200", "201", "202", "203", "204", "205", "206", "207", "208", "226", "300", "301",
        "302", "303", "304", "305", "307", "308", "400", "401", "402", "403", "404", "405", "406", "407", "408", "409",
        "410", "411", "412", "413", "414", "415", "416", "417", "421", "422", "423", "424", "425", "426", "428", "429",
        "431", "451", "499", "500", "501", "502", "503", "504", "505", "506", "507", "508", "510", "511", OTHER,
    ],
};
pub(super) const ROUTE_SOURCE: LabelSpec = LabelSpec {
    name: "source",
    values: &["path", "referer", "cookie", "host", "agent", "prefix", "header", "broker", "default", "none"],
};
const REJECT_REASON: LabelSpec = LabelSpec { name: "reason", values: &["connections_max", "descriptors", OTHER] };
const RULE: LabelSpec = LabelSpec { name: "rule", values: &[] };
const FAILURE_CODE: LabelSpec = LabelSpec { name: "code", values: &[] };
const LOOKUP_SOURCE: LabelSpec =
    LabelSpec { name: "source", values: &["embedded", "cache", "redis", "control_plane", "stale", "dns"] };
const QUESTION_SOURCE: LabelSpec = LabelSpec { name: "source", values: &["redis", "control_plane", "dns"] };
const LOOKUP_OUTCOME: LabelSpec = LabelSpec { name: "outcome", values: &["hit", "miss", "error"] };
const INVALIDATION_CAUSE: LabelSpec = LabelSpec { name: "cause", values: &["push", "reconnect", "dial_failure"] };
const DIAL_OUTCOME: LabelSpec =
    LabelSpec { name: "outcome", values: &["connected", "refused", "timeout", "unreachable", "error"] };
/// The engines of this build.
pub(super) const ENGINE: LabelSpec = LabelSpec { name: "engine", values: &["copy", "splice", "sockmap", "packet"] };
/// The engines that streams are promoted to.
pub(super) const KERNEL_ENGINE: LabelSpec = LabelSpec { name: "engine", values: &["sockmap", "packet"] };
const REFUSAL: LabelSpec = LabelSpec {
    name: "reason",
    values: &["busy", "urgent", "fin", "full", "refused", "route", "martian", "port", "options", "mss"],
};
/// [`gateway_common::packet::Unspliced`]
const UNSPLICED: LabelSpec = LabelSpec {
    name: "reason",
    values: &[
        "fragment",
        "ip_options",
        "malformed",
        "held",
        "tcp_options",
        "hops",
        "too_long",
        "refused",
        "no_route",
        "congested",
    ],
};
const ROUTE_CHANGE: LabelSpec = LabelSpec { name: "change", values: &["moved", "lost", "found"] };
const DEMOTION: LabelSpec =
    LabelSpec { name: "reason", values: &["ended", "pressure", "late", "raced", "operator", "closed"] };
const UPSTREAM_STATE: LabelSpec = LabelSpec { name: "state", values: &["idle", "busy"] };
const SIDE: LabelSpec = LabelSpec { name: "side", values: &["client", "upstream", "gateway"] };
const CLOSE_REASON: LabelSpec = LabelSpec {
    name: "reason",
    values: &["fin", "rst", "vanished", "error", "idle", "lifetime", "sandbox_gone", "drain", "operator"],
};
pub(super) const DIRECTION: LabelSpec = LabelSpec { name: "direction", values: &["up", "down"] };
const SESSION_END: LabelSpec = LabelSpec {
    name: "end",
    values: &[
        "client",
        "client_silent",
        "refused",
        "exec_completed",
        "sandbox_stopped",
        "sandbox_not_found",
        "unrecoverable",
        "flapping",
        "cut",
        "subprotocol",
        "idle",
        "lifetime",
        "drain",
        "operator",
    ],
};
const REDIAL_OUTCOME: LabelSpec =
    LabelSpec { name: "outcome", values: &["resumed", "not_found", "stopped", "migrating", "subprotocol", "failed"] };
const REDIAL_STAGE: LabelSpec = LabelSpec { name: "stage", values: &["turn", "lookup", "handshake"] };
const COLLECTOR: LabelSpec = LabelSpec { name: "collector", values: &["process", "streams"] };

/// Every metric there is.
pub const METRICS: &[MetricSpec] = &[
    gauge("gateway_build_info", &[VERSION], "Always 1; the label is the running version."),
    counter("gateway_connections_accepted_total", &[], "Client connections accepted."),
    gauge(
        "gateway_connections_open",
        &[],
        "Client connections open now, those that became streams included for as long as they have sockets.",
    ),
    counter("gateway_connections_rejected_total", &[REJECT_REASON], "Client connections turned away before a request."),
    counter(
        "gateway_http_requests_total",
        &[ROUTE_SOURCE, METHOD, CODE],
        "Requests answered, by the source of their route.",
    ),
    histogram(
        "gateway_http_request_duration_seconds",
        REQUEST,
        &[ROUTE_SOURCE],
        "From a request's first byte to its answer's last; an upgrade ends with its 101.",
    ),
    counter(
        "gateway_http_rejected_total",
        &[RULE],
        "Messages refused, by the framing, header or upgrade rule they broke.",
    ),
    counter("gateway_failures_total", &[FAILURE_CODE], "Answers that the gateway wrote itself, by their failure code."),
    counter(
        "gateway_directory_lookups_total",
        &[LOOKUP_SOURCE, LOOKUP_OUTCOME],
        "Lookups, by what answered them and how.",
    ),
    histogram("gateway_directory_lookup_duration_seconds", FAST, &[LOOKUP_SOURCE], "Time to look an endpoint up."),
    counter(
        "gateway_directory_questions_total",
        &[QUESTION_SOURCE],
        "Questions about one sandbox that a server was sent; lookups of the same time share them.",
    ),
    counter(
        "gateway_directory_invalidations_total",
        &[INVALIDATION_CAUSE],
        "Cached entries dropped or marked for asking again.",
    ),
    gauge(
        "gateway_redis_up",
        &[],
        "1 while the connection to Redis works, else 0; absent with the embedded directory.",
    ),
    counter("gateway_redis_reconnects_total", &[], "Connections to Redis made again after a loss."),
    counter("gateway_upstream_dials_total", &[DIAL_OUTCOME], "Connection attempts to endpoints."),
    histogram(
        "gateway_upstream_dial_duration_seconds",
        FAST,
        &[DIAL_OUTCOME],
        "Time of one connection attempt to an endpoint.",
    ),
    counter(
        "gateway_upstream_dial_retries_total",
        &[],
        "Connection attempts to endpoints made again after a failed one.",
    ),
    counter(
        "gateway_upstream_resets_total",
        &[UPSTREAM_STATE],
        "Connections to endpoints reset because their sandbox ended, or, idle ones, because it moved.",
    ),
    gauge("gateway_streams_open", &[ENGINE], "Streams open now, by the engine that moves them."),
    counter("gateway_streams_opened_total", &[ENGINE], "Streams opened, by their first engine."),
    counter(
        "gateway_streams_adopted_total",
        &[],
        "Streams without sockets that were taken over from a gateway that is gone.",
    ),
    counter("gateway_streams_closed_total", &[ENGINE, SIDE, CLOSE_REASON], "Streams closed: who ended them, and why."),
    histogram("gateway_stream_duration_seconds", LIFETIME, &[ENGINE], "Life of a stream, from its 101 to its end."),
    counter(
        "gateway_stream_bytes_total",
        &[ENGINE, DIRECTION],
        "Stream bytes moved; `up` is from the client to the sandbox.",
    ),
    counter("gateway_stream_promotions_total", &[KERNEL_ENGINE], "Times a stream went over to this engine."),
    counter(
        "gateway_stream_promotions_refused_total",
        &[REFUSAL],
        "Times a stream could not go into the kernel: bytes were on their way, no place was left, the kernel refused, \
         or its two connections do not fit together.",
    ),
    counter(
        "gateway_stream_demotions_total",
        &[KERNEL_ENGINE, DEMOTION],
        "Times a stream came back from this engine to user space, and why.",
    ),
    counter("gateway_sockmap_skbs_total", &[DIRECTION], "Socket buffers that the kernel passed from socket to socket."),
    counter(
        "gateway_packets_unspliced_total",
        &[UNSPLICED],
        "Packets that the packet engine left to the IP stack (fragment, ip_options, malformed) or dropped.",
    ),
    counter(
        "gateway_stream_route_changes_total",
        &[ROUTE_CHANGE],
        "Times that a direction of a stream without sockets took another interface, had no route any more, or had one \
         again.",
    ),
    gauge(
        "gateway_engine_available",
        &[ENGINE],
        "1 for engines that this process can use here, else 0; the log says what is missing.",
    ),
    gauge("gateway_broker_sessions_open", &[], "Sessions of the broker open now."),
    counter("gateway_broker_sessions_opened_total", &[], "Sessions of the broker opened."),
    counter("gateway_broker_sessions_closed_total", &[SESSION_END], "Sessions of the broker closed, and why."),
    counter("gateway_broker_redials_total", &[REDIAL_OUTCOME], "Attempts to redial a session's upstream."),
    histogram(
        "gateway_broker_redial_duration_seconds",
        REQUEST,
        &[],
        "From the loss of a session's upstream to the next one's 101.",
    ),
    counter("gateway_broker_frames_total", &[DIRECTION], "Frames of data that came; `up` is from the client."),
    counter(
        "gateway_broker_frames_dropped_total",
        &[],
        "Frames of clients dropped because their session had no upstream.",
    ),
    counter("gateway_broker_frames_held_total", &[], "Frames of clients held for the next upstream of their session."),
    gauge(
        "gateway_broker_redials_under_way",
        &[REDIAL_STAGE],
        "Redials that wait for their turn, for the directory, or for a worker's answer.",
    ),
    counter("gateway_broker_keepalives_total", &[], "Times that a peer of a session was asked for a sign of life."),
    gauge("gateway_drain_state", &[], "0 while serving, 1 while draining, 2 while the last streams are being closed."),
    counter("gateway_collection_errors_total", &[COLLECTOR], "Values that a scrape could not collect."),
    gauge(
        "process_cpu_seconds_total",
        &[],
        "User and system CPU time; exported as a gauge to keep the fractions of a second.",
    ),
    gauge(
        "process_open_fds",
        &[],
        "Open file descriptors, in all descriptor tables; what each worker's has a copy of is counted once.",
    ),
    gauge(
        "process_max_fds",
        &[],
        "Limit on open file descriptors: the soft RLIMIT_NOFILE times the tables that hold connections; 0 means none.",
    ),
    gauge("process_virtual_memory_bytes", &[], "Virtual memory size."),
    gauge("process_virtual_memory_max_bytes", &[], "Limit on virtual memory (soft RLIMIT_AS); 0 means none."),
    gauge("process_resident_memory_bytes", &[], "Resident memory size."),
    gauge("process_start_time_seconds", &[], "Start of the process, in seconds since the Unix epoch."),
    gauge("process_threads", &[], "Threads of the process."),
];

/// The table as Markdown, as the README shows it (`gateway docs metrics-table`).
#[must_use]
pub fn markdown_table() -> String {
    let mut table = String::from("| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n");
    for MetricSpec { name, kind, labels, help } in METRICS {
        let labels: Vec<String> = labels.iter().map(label_cell).collect();
        let row = format!("| `{name}` | {} | {} | {help} |\n", kind.as_str(), labels.join(", "));
        table.push_str(&row);
    }
    table
}

/// A list longer than this is left to the prose of the metric.
const VALUES_SHOWN_MAX: usize = 12;

fn label_cell(LabelSpec { name, values }: &LabelSpec) -> String {
    if values.len() < 2 || values.len() > VALUES_SHOWN_MAX {
        return format!("`{name}`");
    }
    format!("`{name}`: {}", values.join(" "))
}

impl LabelSpec {
    /// Where `value` stands in the list. A value that is not listed counts as the last one, which is [`OTHER`] wherever
    /// a peer has a say; anywhere else it is a mistake that a test build reports.
    #[must_use]
    pub(super) fn position(&self, value: &str) -> usize {
        let listed = self.values.iter().position(|known| *known == value);
        debug_assert!(listed.is_some() || self.values.last() == Some(&OTHER), "{}={value:?} is not listed", self.name);
        listed.unwrap_or(self.values.len() - 1)
    }
}

impl Kind {
    /// The type as `# TYPE` writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

const fn counter(name: &'static str, labels: &'static [LabelSpec], help: &'static str) -> MetricSpec {
    MetricSpec { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [LabelSpec], help: &'static str) -> MetricSpec {
    MetricSpec { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(
    name: &'static str,
    buckets: &'static [f64],
    labels: &'static [LabelSpec],
    help: &'static str,
) -> MetricSpec {
    MetricSpec { name, kind: Kind::Histogram(buckets), labels, help }
}

#[cfg(test)]
mod tests;
