//! The metrics of established streams.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::family::Family;
use super::{gauge_value, names};

/// What the registry of live streams knows at the moment of a scrape, the kernel's counters included.
pub trait StreamTotals: Send + Sync {
    /// Bytes moved since the start, by engine and direction (`up`, `down`), streams that are closed included. Never
    /// shrinks.
    fn bytes(&self) -> Vec<(&'static str, &'static str, u64)>;

    /// Socket buffers that the kernel passed from socket to socket since the start, by direction.
    fn skbs(&self) -> Vec<(&'static str, u64)>;

    /// Packets that the packet engine did not splice since the start, by reason.
    fn unspliced(&self) -> Vec<(&'static str, u64)>;

    /// Streams that are open now, by engine. An engine that is not named has none.
    fn open(&self) -> Vec<(&'static str, u64)>;
}

/// How streams are counted.
pub struct StreamMetrics {
    open: Family<Gauge>,
    opened: Family<Counter>,
    adopted: Family<Counter>,
    closed: Family<Counter>,
    duration: Family<Histogram>,
    bytes: Family<Counter>,
    promotions: Family<Counter>,
    promotions_refused: Family<Counter>,
    demotions: Family<Counter>,
    skbs: Family<Counter>,
    unspliced: Family<Counter>,
    route_changes: Family<Counter>,
    available: Family<Gauge>,
    /// Set once, when the registry of live streams exists.
    totals: OnceLock<Arc<dyn StreamTotals>>,
}

impl StreamMetrics {
    pub(super) fn new(recorder: &Arc<PrometheusRecorder>) -> Self {
        Self {
            open: Family::new(recorder, "gateway_streams_open"),
            opened: Family::new(recorder, "gateway_streams_opened_total"),
            adopted: Family::new(recorder, "gateway_streams_adopted_total"),
            closed: Family::new(recorder, "gateway_streams_closed_total"),
            duration: Family::new(recorder, "gateway_stream_duration_seconds"),
            bytes: Family::new(recorder, "gateway_stream_bytes_total"),
            promotions: Family::new(recorder, "gateway_stream_promotions_total"),
            promotions_refused: Family::new(recorder, "gateway_stream_promotions_refused_total"),
            demotions: Family::new(recorder, "gateway_stream_demotions_total"),
            skbs: Family::new(recorder, "gateway_sockmap_skbs_total"),
            unspliced: Family::new(recorder, "gateway_packets_unspliced_total"),
            route_changes: Family::new(recorder, "gateway_stream_route_changes_total"),
            available: Family::new(recorder, "gateway_engine_available"),
            totals: OnceLock::new(),
        }
    }

    /// A stream began in this engine.
    pub fn opened(&self, engine: &'static str) {
        self.opened.with([engine]).increment(1);
    }

    /// Streams of a gateway that is gone are this one's now.
    pub fn adopted(&self, streams: u64) {
        self.adopted.with([]).increment(streams);
    }

    /// A stream ended: in which engine, which side ended it (`client`, `upstream`, `gateway`) and why.
    pub fn closed(&self, engine: &'static str, side: &'static str, reason: &'static str, duration: Duration) {
        self.closed.with([engine, side, reason]).increment(1);
        self.duration.with([engine]).record(duration);
    }

    /// A stream went over to this engine.
    pub fn promoted(&self, engine: &'static str) {
        self.promotions.with([engine]).increment(1);
    }

    /// A stream could not go into the kernel.
    pub fn promotion_refused(&self, reason: &'static str) {
        self.promotions_refused.with([reason]).increment(1);
    }

    /// A stream came back from this engine.
    pub fn demoted(&self, engine: &'static str, reason: &'static str) {
        self.demotions.with([engine, reason]).increment(1);
    }

    /// The way of a stream without sockets has changed.
    pub fn route_changed(&self, change: &'static str) {
        self.route_changes.with([change]).increment(1);
    }

    /// Whether this process can use an engine.
    pub fn set_available(&self, engine: &'static str, available: bool) {
        self.available.with([engine]).set(if available { 1.0 } else { 0.0 });
    }

    /// Where open streams and their bytes are read at each scrape. The first call wins.
    pub fn set_totals(&self, totals: Arc<dyn StreamTotals>) {
        let first = self.totals.set(totals).is_ok();
        debug_assert!(first, "the stream totals were set twice");
    }

    pub(super) fn collect(&self) {
        let Some(totals) = self.totals.get() else { return };
        let open = totals.open();
        for engine in names::ENGINE.values {
            let count = open.iter().filter(|(name, _)| name == engine).map(|(_, count)| count).sum();
            self.open.with([engine]).set(gauge_value(count));
        }
        for (engine, direction, bytes) in totals.bytes() {
            self.bytes.with([engine, direction]).absolute(bytes);
        }
        for (direction, skbs) in totals.skbs() {
            self.skbs.with([direction]).absolute(skbs);
        }
        for (reason, packets) in totals.unspliced() {
            self.unspliced.with([reason]).absolute(packets);
        }
    }
}
