//! One phase of a round: one subject under load, and what it cost.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::stage::{Contender, Stage};
use crate::cpu::{Meter, Parties, Spent};
use crate::load::Run;
use crate::load::crowd::{Crowd, Total};

/// What one subject did in one phase of one round. What is spent is per message.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    /// Whole machine.
    pub(crate) cpu_micros: f64,
    /// Of it, the threads of the subject's own processes, those of io-wq, of the kernel's other workers, and of clients
    /// and pods.
    pub(crate) subject_micros: f64,
    pub(crate) io_wq_micros: f64,
    pub(crate) kworker_micros: f64,
    pub(crate) load_micros: f64,
    /// In interrupts and softirqs, which is also part of the time of the threads that they interrupted.
    pub(crate) softirq_micros: f64,
    pub(crate) steal_percent: f64,
    /// Microseconds: quantiles of [`QUANTILES`].
    pub(crate) quantiles: Vec<f64>,
    /// Microseconds: the median, 99 % and 99.9 %.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// 99 % of each of [`STAGES`](crate::web::STAGES), where messages are sessions.
    pub(crate) stages: Vec<f64>,
    /// Which part of the bytes the packet program moved, by the subject's own counters, where it is to move all.
    #[serde(default)]
    pub(crate) by_packet: Option<f64>,
}

impl Sample {
    /// What none of the threads took that are told apart.
    pub(crate) fn rest_micros(&self) -> f64 {
        let Self { subject_micros, io_wq_micros, kworker_micros, load_micros, .. } = self;
        (self.cpu_micros - subject_micros - io_wq_micros - kworker_micros - load_micros).max(0.0)
    }
}

/// Points of the distribution that a report draws.
pub(crate) const QUANTILES: [f64; 9] = [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999];

/// What came of a phase.
pub(crate) struct Phase {
    pub(crate) total: Total,
    pub(crate) spent: Spent,
    /// How long clients counted.
    window: Duration,
    /// See [`Sample::by_packet`].
    pub(crate) by_packet: Option<f64>,
}

/// Lets the crowds do their runs at the same time. What the first `counted` of them did is what counts; what the
/// machine spent is for all of them.
pub(crate) fn phase(
    stage: &Stage,
    contender: &Contender,
    (crowds, runs): (&mut [Crowd], &[Run]),
    counted: usize,
    soaker: &[Pid],
) -> Result<Phase> {
    let run = runs.first().context("a phase has a run")?;
    let clients = crowds.iter().flat_map(Crowd::pids);
    let load = stage.pod_pids(contender).chain(clients).collect();
    let parties = Parties { subject: contender.running.pids()?, load, soaker: soaker.to_vec() };
    let moved_before = stage.moved(contender)?;
    crowds.iter_mut().zip(runs).try_for_each(|(crowd, run)| crowd.begin(run))?;
    pass(Duration::from_millis(run.lead_millis));
    let meter = Meter::start(&parties)?;
    pass(Duration::from_millis(run.millis));
    let spent = meter.stop()?;
    let mut total = Total::default();
    for (index, crowd) in crowds.iter_mut().enumerate() {
        let ended = crowd.end().with_context(|| contender.name.clone())?;
        if index < counted {
            total.add(&ended)?;
        }
    }
    let moved = moved_before.zip(stage.moved(contender)?);
    let by_packet = moved.and_then(|(before, now)| by_packet(before, now));
    Ok(Phase { total, spent, window: Duration::from_millis(run.millis), by_packet })
}

/// Which part of the bytes of a phase the packet program moved; `None` where no stream moved any.
fn by_packet(before: [f64; 2], now: [f64; 2]) -> Option<f64> {
    let [packet, others] = [now[0] - before[0], now[1] - before[1]];
    (packet + others > 0.0).then(|| packet / (packet + others))
}

impl Phase {
    /// What was spent in `time`, per message in microseconds.
    pub(crate) fn per_message(&self, time: Duration) -> f64 {
        // The clients count within their own window, which is as long as intended.
        let rate = time.as_secs_f64() / self.spent.wall.as_secs_f64();
        rate * self.window.as_secs_f64() * 1e6 / self.messages()
    }

    /// Never none: a rate of zero would make ratios infinite.
    fn messages(&self) -> f64 {
        self.total.messages.max(1) as f64
    }

    pub(crate) fn sample(&self) -> Sample {
        let Self { total, spent, window, by_packet } = self;
        let quantile = |quantile| total.latencies.value_at_quantile(quantile) as f64 / 1e3;
        Sample {
            per_second: self.messages() / window.as_secs_f64(),
            cpu_micros: self.per_message(spent.cpu),
            subject_micros: self.per_message(spent.threads.subject),
            io_wq_micros: self.per_message(spent.threads.io_wq),
            kworker_micros: self.per_message(spent.threads.kworker),
            load_micros: self.per_message(spent.threads.load),
            softirq_micros: self.per_message(spent.softirq),
            steal_percent: spent.steal.as_secs_f64() / spent.wall.as_secs_f64() * 100.0,
            quantiles: QUANTILES.map(quantile).into(),
            p50: quantile(0.5),
            p99: quantile(0.99),
            p999: quantile(0.999),
            stages: total.stages.iter().map(|stage| stage.value_at_quantile(0.99) as f64 / 1e3).collect(),
            by_packet: *by_packet,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement is the passing of time, and nothing else waits here")]
pub(super) fn pass(time: Duration) {
    thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_program_has_carried_what_it_counts_beside_what_others_do() {
        assert_eq!(by_packet([1e6, 5e3], [1e6 + 300.0, 5e3 + 100.0]), Some(0.75));
        assert_eq!(by_packet([1e6, 5e3], [1e6, 5e3]), None);
    }
}
