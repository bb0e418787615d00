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
    held: Counter,
    under_way: Family<Gauge>,
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
            held: single(recorder, "gateway_broker_frames_held_total"),
            under_way: Family::new(recorder, "gateway_broker_redials_under_way"),
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

    /// A frame of data came from the client (`up`) or from the upstream (`down`).
    pub fn frame(&self, direction: &'static str) {
        self.frames.with([direction]).increment(1);
    }

    /// A client's frame came and is held for the next upstream.
    pub fn held(&self) {
        self.frame("up");
        self.held.increment(1);
    }

    /// A client's frame came and was dropped.
    pub fn dropped(&self) {
        self.frame("up");
        self.dropped.increment(1);
    }

    /// A redial is at this stage (`turn`, `lookup`, `handshake`) for as long as the answer lives.
    #[must_use]
    pub fn redials(&self, stage: &'static str) -> RedialStage<'_> {
        let gauge = self.under_way.with([stage]);
        gauge.increment(1.0);
        RedialStage(gauge)
    }

    /// A peer was asked for a sign of life.
    pub fn kept_alive(&self) {
        self.keepalives.increment(1);
    }
}

/// A redial at one stage; dropped when that is over, however it ended.
pub struct RedialStage<'a>(&'a Gauge);

impl Drop for RedialStage<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
