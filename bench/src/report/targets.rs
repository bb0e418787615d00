//! What is promised, beside what this run has found: the table of the specification, ready to be put there.

mod limit;

use super::memory;
use crate::analysis::{Ratio, median};
use crate::suite::phase::Sample;
use crate::suite::{CaseResult, Results, Series};

pub(super) const OURS: [&str; 6] = ["copy uring", "copy epoll", "splice", "sockmap", "packet", "auto"];
const HAPROXY: &str = "haproxy";
const NGINX: &str = "nginx";
const NGINX_LUA: &str = "nginx lua redis";

const PENDING: &str = "not in this run";

/// One line of the specification.
pub(super) struct Target {
    pub(super) what: String,
    pub(super) target: String,
    /// Whether it is met or missed, and by which number.
    pub(super) found: String,
}

pub(super) fn table(results: &Results) -> String {
    let row = |Target { what, target, found }| format!("| {what} | {target} | {found} |\n");
    "\n## Targets\n\n| | target | this run |\n|---|---|---|\n".to_owned()
        + &all(results).into_iter().map(row).collect::<String>()
}

pub(super) fn all(results: &Results) -> Vec<Target> {
    let mut all = Vec::new();
    let mut row = |what: &str, target: &str, found: String| {
        all.push(Target { what: what.to_owned(), target: target.to_owned(), found });
    };
    for name in ["256 B on 64 streams", "1 KiB on 64 streams"] {
        let case = results.cases.iter().find(|case| case.scenario == "echo" && case.name == name);
        let what = |engine: &str| format!("`{engine}`, echo of {name}: CPU per message at the same rate");
        let copy = case.and_then(|case| against_best(case, "copy uring", &[HAPROXY, NGINX]));
        row(&what("copy"), "at most 0.95 of the better of HAProxy and nginx", judged(copy, |ratio| ratio <= 0.95));
        let sockmap = case.and_then(|case| against_best(case, "sockmap", &[HAPROXY]));
        row(&what("sockmap"), "at most 0.85 of HAProxy", judged(sockmap, |ratio| ratio <= 0.85));
    }
    for case in results.cases.iter().filter(|case| case.scenario == "bulk") {
        let found = OURS.iter().filter_map(|engine| against_best(case, engine, &[HAPROXY]));
        let best = found.min_by(|a, b| a.median.total_cmp(&b.median));
        let what = format!("`bulk` {}, best engine: CPU per GB", case.name);
        row(&what, "at most 0.9 of HAProxy with splicing", judged(best, |ratio| ratio <= 0.9));
    }
    let idle = memory::verdict(&results.idle).unwrap_or_else(|| PENDING.to_owned());
    row("an idle stream, any engine, everything counted", "at most 12 KiB, below every peer", idle);
    for scenario in ["session", "http"] {
        let case = results.cases.iter().find(|case| case.scenario == scenario);
        for (peer, least) in [(NGINX_LUA, 1.3), (HAPROXY, 1.0)] {
            let found = case.and_then(|case| of_case(case, "auto", peer, |series| &series.closed, |s| s.per_second));
            let target = format!("at least {least} of {peer}");
            row(&format!("`{scenario}`, per second"), &target, judged(found, |ratio| ratio >= least));
        }
    }
    limit::rows(results, &mut row);
    row("quiet streams' p99 beside noisy ones", "at most 1.2 of that without them", noisy(results));
    all
}

fn judged(ratio: Option<Ratio>, is_met: impl Fn(f64) -> bool) -> String {
    let verdict = |ratio: Ratio| if is_met(ratio.median) { "met" } else { "missed" };
    ratio.map_or_else(|| PENDING.to_owned(), |ratio| format!("{}: {}", verdict(ratio), ratio.text()))
}

/// CPU per message beside that of the peer that needs least of it.
fn against_best(case: &CaseResult, engine: &str, peers: &[&str]) -> Option<Ratio> {
    let samples: fn(&Series) -> &Vec<Sample> = if is_paced(case) { |s| &s.paced } else { |s| &s.closed };
    let cost = |s: &Sample| s.cpu_micros;
    let found = peers.iter().filter_map(|peer| of_case(case, engine, peer, samples, cost));
    // The better a peer, the larger the ratio to it.
    found.max_by(|a, b| a.median.total_cmp(&b.median))
}

fn is_paced(case: &CaseResult) -> bool {
    case.series.iter().any(|series| !series.paced.is_empty())
}

fn of_case(
    case: &CaseResult,
    engine: &str,
    peer: &str,
    samples: fn(&Series) -> &Vec<Sample>,
    figure: fn(&Sample) -> f64,
) -> Option<Ratio> {
    let values = |name: &str| {
        let series = case.carried().find(|series| series.subject == name)?;
        Some(samples(series).iter().map(figure).collect::<Vec<f64>>())
    };
    Some(Ratio::of(&values(engine)?, &values(peer)?))
}

/// Two cases of one subject, round by round; `direct` says what the load does to itself.
fn noisy(results: &Results) -> String {
    let p99 = |name: &str, subject: &str| -> Option<Vec<f64>> {
        let case = results.cases.iter().find(|case| case.scenario == "noisy" && case.name == name)?;
        let series = case.series.iter().find(|series| series.subject == subject)?;
        Some(series.paced.iter().map(|sample| sample.p99).collect())
    };
    let (alone, beside) = crate::suite::NOISY;
    let ratio = |subject: &str| Some(Ratio::of(&p99(beside, subject)?, &p99(alone, subject)?));
    let Some(direct) = ratio("direct") else { return PENDING.to_owned() };
    let found = judged(ratio("auto"), |ratio| ratio <= 1.2);
    let peers = [HAPROXY, NGINX].iter().filter_map(|peer| Some(format!("; {peer} {:.1}", ratio(peer)?.median)));
    format!("{found}; direct {:.1}{}", median(&[direct.median]), peers.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(subject: &str, cost: f64) -> Series {
        let sample = |round: u32| Sample {
            per_second: 1e6 / cost,
            cpu_micros: cost * (1.0 + f64::from(round) / 100.0),
            ..Sample::default()
        };
        Series {
            subject: subject.to_owned(),
            closed: (0..5).map(sample).collect(),
            paced: (0..5).map(sample).collect(),
        }
    }

    #[test]
    fn a_target_is_met_or_missed_against_the_better_peer() {
        let all = [("direct", 10.0), ("copy uring", 36.0), ("sockmap", 30.0), ("haproxy", 40.0), ("nginx", 37.0)];
        let series = all.iter().map(|(name, cost)| series(name, *cost)).collect();
        let case = CaseResult { series, ..CaseResult::new("echo", "256 B on 64 streams") };
        let text = table(&Results { cases: vec![case], ..Results::default() });
        let row = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
        assert!(row("| `copy`, echo of 256 B").contains("missed: 0.973"), "{text}");
        assert!(row("| `sockmap`, echo of 256 B").contains("met: 0.750"), "{text}");
        assert!(row("| an idle stream").ends_with("not in this run |"), "{text}");
    }
}
