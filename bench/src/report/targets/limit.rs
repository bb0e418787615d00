//! Whether a stream without sockets is as cheap as no gateway, and how far from the peers.

use super::super::withheld;
use super::{OURS, PENDING, of_case};
use crate::analysis::Ratio;
use crate::suite::phase::Sample;
use crate::suite::{CaseResult, Results, Series};

const DIRECT: &str = "direct";

/// Who is to reach it.
const ENGINES: [&str; 2] = ["packet", "auto"];

type Samples = fn(&Series) -> &Vec<Sample>;
type Figure = fn(&Sample) -> f64;

const CLOSED: Samples = |series| &series.closed;
const PACED: Samples = |series| &series.paced;
const PER_SECOND: Figure = |sample| sample.per_second;
const CPU: Figure = |sample| sample.cpu_micros;
const P50: Figure = |sample| sample.p50;

/// One line of the targets each: what, which target, and what was found.
pub(super) fn rows(results: &Results, row: &mut impl FnMut(&str, &str, String)) {
    for name in ["256 B on 64 streams", "256 B on 1,000 streams"] {
        let case = results.cases.iter().find(|case| case.scenario == "echo" && case.name == name);
        let what = |figure: &str| format!("`packet` and `auto`, echo of {name}: {figure}");
        let found = beside_direct(case, (PACED, CPU), |ratio| ratio <= 1.05);
        row(&what("CPU per message at the same rate"), "at most 1.05 of direct", found);
        let found = beside_direct(case, (CLOSED, PER_SECOND), |ratio| ratio >= 0.95);
        row(&what("messages/s"), "at least 0.95 of direct", found);
        let found = beside_direct(case, (PACED, P50), |ratio| ratio <= 1.05);
        row(&what("p50 at the same rate"), "at most 1.05 of direct", found);
        let target = "at most a half of the best peer";
        row(&what("CPU per message at the same rate"), target, beside_peers(case, PACED, |ratio| ratio <= 0.5));
        row(&what("CPU per message at full load"), target, beside_peers(case, CLOSED, |ratio| ratio <= 0.5));
    }
    for name in ["down", "up"] {
        let case = results.cases.iter().find(|case| case.scenario == "bulk" && case.name == name);
        let what = |figure: &str| format!("`packet` and `auto`, `bulk` {name}: {figure}");
        let found = beside_direct(case, (CLOSED, PER_SECOND), |ratio| ratio >= 0.95);
        row(&what("MiB/s"), "at least 0.95 of direct", found);
        let target = "at most a quarter of the best peer";
        row(&what("CPU per GB"), target, beside_peers(case, CLOSED, |ratio| ratio <= 0.25));
    }
}

fn beside_direct(
    case: Option<&CaseResult>,
    (samples, figure): (Samples, Figure),
    is_met: impl Fn(f64) -> bool,
) -> String {
    judged(case, |case, engine| of_case(case, engine, DIRECT, samples, figure), is_met)
}

/// Beside whichever peer of the case needs least processor time, and how `direct` stands there: nobody gets below it.
fn beside_peers(case: Option<&CaseResult>, samples: Samples, is_met: impl Fn(f64) -> bool) -> String {
    let best = |case: &CaseResult, subject: &str| {
        let peers = case.series.iter().map(|series| series.subject.as_str());
        let peers = peers.filter(|name| *name != DIRECT && !OURS.contains(name));
        let ratios = peers.filter_map(|peer| of_case(case, subject, peer, samples, CPU));
        // The better a peer, the larger the ratio to it. One that had no part in these rounds has none.
        ratios.filter(|ratio| ratio.median.is_finite()).max_by(|a, b| a.median.total_cmp(&b.median))
    };
    let found = judged(case, best, is_met);
    let direct = case.and_then(|case| best(case, DIRECT)).filter(|_| found != PENDING);
    found + &direct.map(|ratio| format!("; direct itself {:.3}", ratio.median)).unwrap_or_default()
}

/// Met where all engines meet it that took part; whose bytes another engine carried has no number, and misses it.
fn judged(
    case: Option<&CaseResult>,
    ratio: impl Fn(&CaseResult, &str) -> Option<Ratio>,
    is_met: impl Fn(f64) -> bool,
) -> String {
    let Some(case) = case else { return PENDING.to_owned() };
    let (mut found, mut is_all_met) = (Vec::new(), true);
    for engine in ENGINES {
        if let Some((_, carried)) = case.uncarried().find(|(series, _)| series.subject == engine) {
            is_all_met = false;
            found.push(format!("{engine} has {}", withheld(carried)));
        } else if let Some(ratio) = ratio(case, engine) {
            is_all_met &= is_met(ratio.median);
            found.push(format!("{engine} {}", ratio.text()));
        }
    }
    if found.is_empty() {
        return PENDING.to_owned();
    }
    format!("{}: {}", if is_all_met { "met" } else { "missed" }, found.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(subject: &str, cost: f64, by_packet: Option<f64>) -> Series {
        let sample =
            Sample { per_second: 1e6 / cost, cpu_micros: cost, p50: 2.0 * cost, by_packet, ..Sample::default() };
        Series { subject: subject.to_owned(), closed: vec![sample.clone(); 5], paced: vec![sample; 5] }
    }

    fn found(packet: f64, auto: (f64, f64)) -> Vec<(String, String)> {
        let series = vec![
            series("direct", 20.0, None),
            series("copy uring", 30.0, None),
            series("packet", packet, Some(1.0)),
            series("auto", auto.0, Some(auto.1)),
            series("haproxy", 45.0, None),
            series("nginx", 41.0, None),
        ];
        let case = CaseResult { series, ..CaseResult::new("echo", "256 B on 64 streams") };
        let mut found = Vec::new();
        let results = Results { cases: vec![case], ..Results::default() };
        rows(&results, &mut |what, target, text| found.push((format!("{what} {target}"), text)));
        found
    }

    fn of<'a>(found: &'a [(String, String)], what: &str) -> &'a str {
        &found.iter().find(|(name, _)| name.contains(what)).unwrap().1
    }

    #[test]
    fn both_engines_have_to_reach_the_limit() {
        let found = found(20.4, (21.5, 1.0));
        let cpu = of(&found, "CPU per message at the same rate at most 1.05");
        assert_eq!(cpu, "missed: packet 1.020 (1.020 to 1.020), auto 1.075 (1.075 to 1.075)");
        // 20.4 is less than a half of what nginx needs; 21.5 is more, and `copy` is no peer.
        let peers = of(&found, "at the same rate at most a half of the best peer");
        assert!(peers.starts_with("missed: packet 0.498") && peers.ends_with("; direct itself 0.488"), "{peers}");
        assert!(of(&found, "echo of 256 B on 64 streams: messages/s").starts_with("missed: packet 0.980"));
        assert_eq!(of(&found, "1,000 streams"), PENDING);
        let met = self::found(20.4, (20.2, 1.0));
        assert!(met.iter().filter(|(name, _)| name.contains("64 streams")).all(|(_, text)| text.starts_with("met: ")));
    }

    #[test]
    fn what_another_engine_carried_reaches_nothing() {
        let found = found(20.4, (20.2, 0.5));
        let p50 = of(&found, "64 streams: p50");
        assert!(p50.starts_with("missed: packet 1.020") && p50.contains("auto has no number"), "{p50}");
    }
}
