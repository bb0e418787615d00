//! What the operating system says about this process, read from `/proc/self` when somebody asks.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ::metrics::Gauge;
use metrics_exporter_prometheus::PrometheusRecorder;
use metrics_process::collector::{self, Metrics as Collected};
use nix::unistd::Pid;

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
    tables: OnceLock<Vec<Table>>,
}

/// A descriptor table that is not the process's first one, but a thread's own copy of it.
struct Table {
    /// Where its descriptors are listed.
    folder: PathBuf,
    /// How many are copies of the first table's. They stay for as long as the thread does.
    copies: u64,
}

impl Table {
    fn of(thread: Pid) -> Self {
        let folder = PathBuf::from(format!("/proc/self/task/{thread}/fd"));
        let copies = descriptors(&folder);
        Self { folder, copies }
    }
}

/// How many descriptors a folder of proc(5) lists; none where its thread has ended.
fn descriptors(folder: &Path) -> u64 {
    // Since Linux 6.2 the folder's size says it. To list tens of thousands would take as many microseconds.
    match fs::metadata(folder).map(|found| found.len()) {
        Ok(0) => fs::read_dir(folder).map_or(0, |entries| entries.count() as u64),
        known => known.unwrap_or(0),
    }
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
            tables: OnceLock::new(),
        }
    }

    /// The threads that have just got descriptor tables of their own. What these hold now is what the first one has as
    /// well. The first call wins.
    pub(super) fn count_tables_of(&self, threads: &[Pid]) {
        self.tables.get_or_init(|| threads.iter().copied().map(Table::of).collect());
    }

    /// Reads all values and returns how many could not be read; those keep what they had.
    pub(super) fn collect(&self) -> u64 {
        let mut collected = collector::collect();
        let tables = self.tables.get().map_or(&[][..], Vec::as_slice);
        let own = |table: &Table| descriptors(&table.folder).saturating_sub(table.copies);
        collected.open_fds = collected.open_fds.map(|first| first + tables.iter().map(own).sum::<u64>());
        // The first table holds next to nothing where others hold the connections.
        let with_connections = tables.len().max(1) as u64;
        collected.max_fds = collected.max_fds.map(|each| each.saturating_mul(with_connections));
        self.publish(&collected)
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
    fn descriptors_of_all_tables_are_counted_once() {
        const OPENED: usize = 50;
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let process = ProcessMetrics::new(&recorder);
        let (send, receive) = std::sync::mpsc::channel();
        let (go_on, told) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            crate::sys::descriptors::own_table().unwrap();
            send.send(nix::unistd::gettid()).unwrap();
            told.recv().unwrap();
            let opened: Vec<_> = (0..OPENED).map(|_| fs::File::open("/dev/null").unwrap()).collect();
            send.send(nix::unistd::gettid()).unwrap();
            told.recv().unwrap();
            drop(opened);
        });
        let table = Table::of(receive.recv().unwrap());
        go_on.send(()).unwrap();
        receive.recv().unwrap();
        assert_eq!(descriptors(&table.folder) - table.copies, OPENED as u64);
        process.tables.set(vec![table]).ok().unwrap();
        assert_eq!(process.collect(), 0);
        go_on.send(()).unwrap();
        thread.join().unwrap();
        assert_eq!(descriptors(&process.tables.get().unwrap()[0].folder), 0, "a thread that has ended holds nothing");
    }

    #[test]
    fn everything_is_readable_here() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        assert_eq!(ProcessMetrics::new(&recorder).collect(), 0);
    }
}
