//! Whether two runs say the same: `gateway-bench compare RUN RUN`.
//!
//! Absolute numbers of two runs differ as the machine does. What has to agree are the ratios, within the intervals that
//! the runs themselves state: two intervals that have nothing in common contradict each other.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::analysis::{Ratio, median};
use crate::suite::phase::Sample;
use crate::suite::{CaseResult, Results, Series};

/// The part of all ratios that may contradict each other by chance. Two intervals of five rounds without anything in
/// common are rarer (one in 126) where nothing has changed; but ratios of one case are not independent.
const CONTRADICTIONS_MAX: f64 = 0.05;

/// A number of which there is a ratio, and in which rounds.
type Figure = (&'static str, fn(&Series) -> &Vec<Sample>, fn(&Sample) -> f64);

const FIGURES: [Figure; 4] = [
    ("messages/s", |series| &series.closed, |sample| sample.per_second),
    ("CPU per message", |series| &series.closed, |sample| sample.cpu_micros),
    ("CPU per message at the same rate", |series| &series.paced, |sample| sample.cpu_micros),
    ("p99 at the same rate", |series| &series.paced, |sample| sample.p99),
];

/// One ratio in both runs.
#[derive(Debug)]
struct Pair {
    what: String,
    ratios: [Ratio; 2],
}

impl Pair {
    fn agrees(&self) -> bool {
        let [one, other] = self.ratios;
        one.low <= other.high && other.low <= one.high
    }
}

/// What both runs have measured, and what they say about it.
#[derive(Debug, Default)]
struct Comparison {
    pairs: Vec<Pair>,
    /// What only one of them has.
    alone: Vec<String>,
}

/// Compares the results in two folders that a run has written.
///
/// # Errors
///
/// When there are none, they have nothing in common, or more of them contradict each other than chance explains.
pub(crate) fn run(folders: &[String]) -> Result<()> {
    let [one, other] = folders else { anyhow::bail!("compare RUN RUN: the folders of two runs") };
    let read = |folder: &str| -> Result<Results> {
        let file = Path::new(folder).join("results.json");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no result of this version", file.display()))
    };
    let runs = [read(one)?, read(other)?];
    let comparison = Comparison::of(&runs);
    ensure!(!comparison.pairs.is_empty(), "the two runs have nothing in common");
    write!(io::stdout(), "{}", comparison.text(&runs))?;
    let share = comparison.contradictions().count() as f64 / comparison.pairs.len() as f64;
    ensure!(
        share <= CONTRADICTIONS_MAX,
        "{:.0} % of the ratios contradict each other, which is no chance: at most {:.0} % are",
        share * 100.0,
        CONTRADICTIONS_MAX * 100.0
    );
    Ok(())
}

impl Comparison {
    fn of(runs: &[Results; 2]) -> Self {
        let mut all = Self::default();
        for case in &runs[0].cases {
            match other(&runs[1], case) {
                Some(same) => all.add(case, same),
                None => all.alone.push(format!("{} {}", case.scenario, case.name)),
            }
        }
        let missing = runs[1].cases.iter().filter(|case| other(&runs[0], case).is_none());
        all.alone.extend(missing.map(|case| format!("{} {}", case.scenario, case.name)));
        all
    }

    /// Every subject of a case beside the case's first, which is the limit.
    fn add(&mut self, one: &CaseResult, other: &CaseResult) {
        for series in &one.series {
            let what = format!("{} {}: {}", one.scenario, one.name, series.subject);
            let Some(same) = other.series.iter().find(|same| same.subject == series.subject) else {
                self.alone.push(what);
                continue;
            };
            let bases = [&one.series[0], &other.series[0]];
            if series.subject == bases[0].subject || bases[0].subject != bases[1].subject {
                continue;
            }
            if [series, same].iter().any(|series| series.uncarried().is_some()) {
                self.alone.push(format!("{what}, since not both were by packet"));
                continue;
            }
            for (figure, samples, value) in FIGURES {
                let values = |series: &Series| samples(series).iter().map(value).collect::<Vec<f64>>();
                let ratios =
                    [(series, bases[0]), (same, bases[1])].map(|(s, base)| Ratio::of(&values(s), &values(base)));
                if ratios.iter().all(|ratio| ratio.median.is_finite()) {
                    self.pairs.push(Pair { what: format!("{what}, {figure}"), ratios });
                }
            }
        }
    }

    fn contradictions(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().filter(|pair| !pair.agrees())
    }

    fn text(&self, runs: &[Results; 2]) -> String {
        let mut out = String::new();
        for run in runs {
            let _ = writeln!(out, "{} ({})", run.machine, run.commit);
        }
        if runs[0].machine != runs[1].machine {
            out += "These are not the same machines, or not the same settings.\n";
        }
        for what in &self.alone {
            let _ = writeln!(out, "in one of them only: {what}");
        }
        for Pair { what, ratios: [one, other] } in self.contradictions() {
            let _ = writeln!(out, "CONTRADICTION {what}: {}, then {}", one.text(), other.text());
        }
        let widths: Vec<f64> =
            self.pairs.iter().flat_map(|pair| pair.ratios).map(|r| (r.high - r.low) / r.median).collect();
        let moved: Vec<f64> =
            self.pairs.iter().map(|Pair { ratios: [a, b], .. }| (b.median / a.median - 1.0).abs()).collect();
        let agreeing = self.pairs.len() - self.contradictions().count();
        let _ = writeln!(
            out,
            "{agreeing} of {} ratios agree; half of the medians moved by less than {:.1} %, half of the intervals are \
             narrower than {:.1} %",
            self.pairs.len(),
            median(&moved) * 100.0,
            median(&widths) * 100.0
        );
        out
    }
}

fn other<'a>(results: &'a Results, case: &CaseResult) -> Option<&'a CaseResult> {
    results.cases.iter().find(|other| other.scenario == case.scenario && other.name == case.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run in which `copy` needs `factor` times what `direct` does, on a machine that is `speed` times as fast.
    fn run(factor: f64, speed: f64) -> Results {
        let series = |subject: &str, factor: f64, wobble: f64| Series {
            subject: subject.to_owned(),
            closed: (0..5)
                .map(|round| {
                    let cpu_micros = 20.0 / speed * factor * (1.0 + wobble * f64::from(round - 2));
                    Sample { cpu_micros, per_second: 1e6 / cpu_micros, ..Sample::default() }
                })
                .collect(),
            paced: Vec::new(),
        };
        let series = vec![series("direct", 1.0, 0.0), series("copy", factor, 0.01)];
        let case = CaseResult { series, ..CaseResult::new("echo", "256 B") };
        Results { cases: vec![case], ..Results::default() }
    }

    #[test]
    fn two_runs_agree_where_their_intervals_meet_however_fast_the_machine_was() {
        let runs = [run(2.0, 1.0), run(2.05, 1.7)];
        let comparison = Comparison::of(&runs);
        assert_eq!((comparison.pairs.len(), comparison.contradictions().count()), (2, 0));
        assert!(comparison.text(&runs).contains("2 of 2 ratios agree"), "{}", comparison.text(&runs));
    }

    #[test]
    fn a_change_beyond_both_intervals_is_a_contradiction() {
        let runs = [run(2.0, 1.0), run(2.3, 1.0)];
        let comparison = Comparison::of(&runs);
        assert_eq!(comparison.contradictions().count(), 2);
        let text = comparison.text(&runs);
        assert!(
            text.contains("CONTRADICTION echo 256 B: copy, CPU per message: 2.000 (1.960 to 2.040), then"),
            "{text}"
        );
    }

    #[test]
    fn what_one_run_has_alone_is_said() {
        let mut more = run(2.0, 1.0);
        more.cases.push(CaseResult::new("bulk", "down"));
        more.cases[0].series.pop();
        let comparison = Comparison::of(&[run(2.0, 1.0), more]);
        assert_eq!(comparison.alone, ["echo 256 B: copy", "bulk down"]);
    }

    #[test]
    fn runs_are_read_from_their_folders_and_contradictions_fail() {
        let folder = |results: &Results| {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("results.json"), serde_json::to_string(results).unwrap()).unwrap();
            folder
        };
        let [one, same, changed] = [folder(&run(2.0, 1.0)), folder(&run(2.0, 1.0)), folder(&run(3.0, 1.0))];
        let compared = |a: &Path, b: &Path| super::run(&[a, b].map(|path| path.display().to_string()));
        compared(one.path(), same.path()).unwrap();
        let error = compared(one.path(), changed.path()).unwrap_err();
        assert!(error.to_string().starts_with("100 % of the ratios contradict"), "{error}");
        let error = compared(one.path(), &one.path().join("nowhere")).unwrap_err();
        assert!(error.to_string().starts_with("read "), "{error}");
    }
}
