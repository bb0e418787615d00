//! What idle streams weigh, as tables and as a plot.

use std::fmt::Write as _;

use super::plot::{Line, lines};
use super::targets::OURS;
use crate::suite::{Idle, PerStream, slope};

/// An idle stream's bytes, everything counted.
const BYTES_MAX: f64 = 12.0 * 1024.0;

/// Everybody beside `direct`, with what each takes for a stream.
fn weighed(idle: &[Idle]) -> Vec<(&Idle, Vec<PerStream>)> {
    let Some(direct) = idle.iter().find(|idle| idle.subject == "direct") else { return Vec::new() };
    let others = idle.iter().filter(|idle| idle.subject != "direct");
    others.map(|idle| (idle, idle.per_stream(direct))).collect()
}

pub(super) fn table(out: &mut String, idle: &[Idle]) {
    *out += "\n## idle\n\nBytes per stream, beyond those of clients and pods: the kernel's slabs, what it charges to \
             sockets for what waits in them, the resident set, and the maps and programs that the subject has in the \
             kernel with or without streams.\n\n\
             | subject | streams | slabs | buffers | resident | maps | sum |\n|---|---:|---:|---:|---:|---:|---:|\n";
    let weighed = weighed(idle);
    for (idle, steps) in &weighed {
        for step in steps {
            let PerStream { streams, slabs, buffers, resident, maps } = step;
            let (name, sum) = (&idle.subject, step.sum());
            let _ = writeln!(
                out,
                "| {name} | {streams} | {slabs:.0} | {buffers:.0} | {resident:.0} | {maps:.0} | {sum:.0} |"
            );
        }
    }
    *out += "\nBytes that each further stream takes:\n\n| subject | bytes | from | to | |\n|---|---:|---:|---:|---|\n";
    for (idle, steps) in &weighed {
        let bytes = slope(steps).map_or_else(|| "unknown".to_owned(), |bytes| format!("{bytes:.0}"));
        let [from, to] = [steps.first(), steps.last()].map(|step| step.map_or(0, |step| step.streams));
        let why = idle.ended.as_deref().unwrap_or_default();
        let _ = writeln!(out, "| {} | {bytes} | {from} | {to} | {why} |", idle.subject);
    }
}

/// Every engine and every peer at the most streams that it had.
pub(super) fn verdict(idle: &[Idle]) -> Option<String> {
    let most: Vec<(&str, f64)> =
        weighed(idle).iter().filter_map(|(idle, steps)| Some((idle.subject.as_str(), steps.last()?.sum()))).collect();
    let is_ours = |(subject, _): &&(&str, f64)| OURS.contains(subject);
    let ours = most.iter().filter(is_ours).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let peer = most.iter().filter(|weight| !is_ours(weight)).min_by(|a, b| a.1.total_cmp(&b.1));
    let is_met = ours.1 <= BYTES_MAX && peer.is_none_or(|peer| ours.1 < peer.1);
    let verdict = if is_met { "met" } else { "missed" };
    let peer = peer.map_or_else(
        || "no peer was there".to_owned(),
        |(name, bytes)| format!("least of the peers {bytes:.0} ({name})"),
    );
    Some(format!("{verdict}: at most {:.0} bytes ({}); {peer}", ours.1, ours.0))
}

/// All of it by streams.
pub(super) fn plot(out: &mut String, idle: &[Idle]) {
    let mebibytes = |step: &PerStream| (step.streams as f64, step.sum() * step.streams as f64 / f64::from(1 << 20));
    let weighed = weighed(idle);
    let all: Vec<(&str, Vec<(f64, f64)>)> =
        weighed.iter().map(|(idle, steps)| (idle.subject.as_str(), steps.iter().map(mebibytes).collect())).collect();
    if all.iter().all(|(_, steps)| steps.is_empty()) {
        return;
    }
    let greatest = |of: fn(&(f64, f64)) -> f64| all.iter().flat_map(|(_, steps)| steps).map(of).fold(1.0, f64::max);
    let (streams, mebibytes) = (greatest(|step| step.0), greatest(|step| step.1));
    let scaled = |steps: &[(f64, f64)]| steps.iter().map(|(a, b)| (a / streams, b.max(0.0) / mebibytes)).collect();
    let all: Vec<Line> = all.iter().map(|(name, steps)| (*name, scaled(steps))).collect();
    let quarters = [0.0, 0.25, 0.5, 0.75, 1.0];
    let across = quarters.map(|part| (part, format!("{:.0}", part * streams)));
    let up = quarters.map(|part| (part, format!("{:.0} MiB", part * mebibytes)));
    lines(out, "Memory by idle streams, everything counted, beyond that of clients and pods", &all, &across, &up);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::suite::Weight;

    /// A subject's slabs and resident set at 1,000 streams.
    pub(in crate::report) fn idle(subject: &str, slabs: i64, resident: i64) -> Idle {
        let steps = vec![Weight { streams: 1000, slabs, buffers: 0, resident }];
        Idle { subject: subject.to_owned(), maps: 0, steps, ended: None }
    }

    #[test]
    fn an_idle_stream_is_weighed_against_the_lightest_peer() {
        let mut all = vec![idle("direct", 8_000_000, 0)];
        assert_eq!(verdict(&all), None);
        all.push(idle("copy uring", 15_000_000, 3_000_000));
        assert_eq!(verdict(&all).unwrap(), "met: at most 10000 bytes (copy uring); no peer was there");
        all.push(idle("haproxy", 16_000_000, 1_000_000));
        let text = verdict(&all).unwrap();
        assert_eq!(text, "missed: at most 10000 bytes (copy uring); least of the peers 9000 (haproxy)");
    }

    #[test]
    fn maps_and_the_end_are_in_the_table() {
        let mut copy = idle("copy", 16_000_000, 3_000_000);
        copy.maps = 500_000;
        copy.ended = Some("at most 1000 streams: no answer".to_owned());
        let mut text = String::new();
        table(&mut text, &[idle("direct", 8_000_000, 0), copy]);
        assert!(text.contains("| copy | 1000 | 8000 | 0 | 3000 | 500 | 11500 |"), "{text}");
        assert!(text.contains("| copy | unknown | 1000 | 1000 | at most 1000 streams: no answer |"), "{text}");
    }
}
