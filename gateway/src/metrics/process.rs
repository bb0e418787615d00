//! What the operating system says about this process, read from `/proc/self` when somebody asks.

use ::metrics::Gauge;
use metrics_exporter_prometheus::PrometheusRecorder;
use metrics_process::collector::{self, Metrics as Collected};

use super::family::single;

/// Handles of the `process_*` metrics. The crate behind them has a recorder adapter of its own; it rounds CPU time to
/// whole seconds, which is useless for the CPU per stream that this program is judged by, so only its reading side is
/// used.
pub(super) struct ProcessMetrics {
    cpu_seconds: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    virtual_memory: Gauge,
    virtual_memory_max: Gauge,
    resident_memory: Gauge,
    start_time: Gauge,
    threads: Gauge,
}

impl ProcessMetrics {
    /// Registers the handles; they hold no values before the first [`collect`](Self::collect).
    pub(super) fn new(recorder: &PrometheusRecorder) -> Self {
        Self {
            cpu_seconds: single(recorder, "process_cpu_seconds_total"),
            open_fds: single(recorder, "process_open_fds"),
            max_fds: single(recorder, "process_max_fds"),
            virtual_memory: single(recorder, "process_virtual_memory_bytes"),
            virtual_memory_max: single(recorder, "process_virtual_memory_max_bytes"),
            resident_memory: single(recorder, "process_resident_memory_bytes"),
            start_time: single(recorder, "process_start_time_seconds"),
            threads: single(recorder, "process_threads"),
        }
    }

    /// Reads all values and returns how many could not be read; those keep what they had.
    pub(super) fn collect(&self) -> u64 {
        self.publish(&collector::collect())
    }

    fn publish(&self, collected: &Collected) -> u64 {
        let Self { cpu_seconds, open_fds, max_fds, virtual_memory, virtual_memory_max, resident_memory, .. } = self;
        let Self { start_time, threads, .. } = self;
        let whole_numbers = [
            (open_fds, collected.open_fds),
            (max_fds, collected.max_fds),
            (virtual_memory, collected.virtual_memory_bytes),
            (virtual_memory_max, collected.virtual_memory_max_bytes),
            (resident_memory, collected.resident_memory_bytes),
            (start_time, collected.start_time_seconds),
            (threads, collected.threads),
        ];
        let mut failures = 0;
        match collected.cpu_seconds_total {
            Some(seconds) => cpu_seconds.set(seconds),
            None => failures += 1,
        }
        for (gauge, value) in whole_numbers {
            match value {
                Some(value) => gauge.set(super::gauge_value(value)),
                None => failures += 1,
            }
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_cannot_be_read_is_counted_and_keeps_its_last_reading() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let process = ProcessMetrics::new(&recorder);
        let known =
            Collected { threads: Some(3), open_fds: Some(17), cpu_seconds_total: Some(0.25), ..Collected::default() };
        assert_eq!(process.publish(&known), 5);
        assert_eq!(process.publish(&Collected::default()), 8);
        let text = recorder.handle().render();
        for line in ["process_threads 3", "process_open_fds 17", "process_cpu_seconds_total 0.25"] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn everything_is_readable_here() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        assert_eq!(ProcessMetrics::new(&recorder).collect(), 0);
    }
}
