//! The metrics of the broker's sessions.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::family::{Family, single};

/// What is counted about sessions.
pub struct BrokerMetrics {
    open: Gauge,
    opened: Counter,
    closed: Family<Counter>,
    redials: Family<Counter>,
    redial_duration: Histogram,
    frames: Family<Counter>,
    dropped: Counter,
    keepalives: Counter,
}

impl BrokerMetrics {
    pub(super) fn new(recorder: &Arc<PrometheusRecorder>) -> Self {
        Self {
            open: single(recorder, "gateway_broker_sessions_open"),
            opened: single(recorder, "gateway_broker_sessions_opened_total"),
            closed: Family::new(recorder, "gateway_broker_sessions_closed_total"),
            redials: Family::new(recorder, "gateway_broker_redials_total"),
            redial_duration: single(recorder, "gateway_broker_redial_duration_seconds"),
            frames: Family::new(recorder, "gateway_broker_frames_total"),
            dropped: single(recorder, "gateway_broker_frames_dropped_total"),
            keepalives: single(recorder, "gateway_broker_keepalives_total"),
        }
    }

    /// A session began.
    pub fn opened(&self) {
        self.opened.increment(1);
        self.open.increment(1.0);
    }

    /// A session ended, for this reason.
    pub fn closed(&self, end: &'static str) {
        self.open.decrement(1.0);
        self.closed.with([end]).increment(1);
    }

    /// An attempt to redial came to this, so long after the upstream was lost.
    pub fn redialled(&self, outcome: &'static str, took: Duration) {
        self.redials.with([outcome]).increment(1);
        if outcome == "resumed" {
            self.redial_duration.record(took);
        }
    }

    /// A frame of data came from the client (`up`) or from the upstream.
    pub fn frame(&self, up: bool, dropped: bool) {
        self.frames.with([if up { "up" } else { "down" }]).increment(1);
        if dropped {
            self.dropped.increment(1);
        }
    }

    /// A peer was asked for a sign of life.
    pub fn kept_alive(&self) {
        self.keepalives.increment(1);
    }
}
