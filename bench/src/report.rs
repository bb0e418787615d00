//! What a run found, for people: a Markdown table, and a page with plots that needs nothing but itself.

mod memory;
mod page;
mod targets;

use std::fmt::Write as _;

use crate::analysis::{Ratio, median};
use crate::suite::{CaseResult, Results, Sample, Series};
use crate::web::STAGES;

pub(crate) use page::html;

/// A number of a sample, how it is called, and in which cases it means something.
type Figure = (&'static str, fn(&Sample) -> f64);

const CLOSED: [Figure; 4] = [
    ("messages/s", |sample| sample.per_second),
    ("CPU us", |sample| sample.cpu_micros),
    ("of it the subject", |sample| sample.subject_micros),
    ("kernel threads", |sample| sample.kernel_micros),
];

/// Of visits, which have no open loop beside the closed one.
const WEB: [Figure; 4] = [
    ("visits/s", |sample| sample.per_second),
    ("CPU us", |sample| sample.cpu_micros),
    ("of it the subject", |sample| sample.subject_micros),
    ("p99 us", |sample| sample.p99),
];

const PACED: [Figure; 4] = [
    ("CPU us", |sample| sample.cpu_micros),
    ("p50 us", |sample| sample.p50),
    ("p99 us", |sample| sample.p99),
    ("p99.9 us", |sample| sample.p999),
];

/// Tables of everything.
pub(crate) fn markdown(results: &Results, title: &str) -> String {
    let mut out = format!("# Bench {title}\n\n{}.\n", results.machine);
    out += "\nMedians of interleaved rounds. A ratio is to `direct`, round by round: its median, and where the true \
            one lies by the sign test. CPU is the whole machine's per message.\n";
    for (name, why) in &results.skipped {
        let _ = write!(out, "\nSkipped: {name}: {why}\n");
    }
    for case in &results.cases {
        let _ = write!(out, "\n## {} {}\n", case.scenario, case.name);
        if case.series.iter().any(|series| !series.closed.is_empty()) {
            out += "\nAs much as it takes (closed loop):\n\n";
            let figures = if case.bytes == 0 { WEB } else { CLOSED };
            table(&mut out, case, &figures, |series| &series.closed);
            stages(&mut out, case);
        }
        if case.scenario == "bulk" {
            out += "\nA message moves 1 MiB: 1,000 us of CPU per message are 0.95 s per GB.\n";
        }
        if case.series.iter().any(|series| !series.paced.is_empty()) {
            let rate = case.series.first().map_or(0.0, |series| value(&series.paced, |sample| sample.per_second));
            let _ = write!(out, "\nAt {rate:.0} messages/s for everybody (open loop, from the intended time):\n\n");
            table(&mut out, case, &PACED, |series| &series.paced);
        }
    }
    if !results.idle.is_empty() {
        memory::table(&mut out, &results.idle);
    }
    out + &targets::table(results)
}

fn table(out: &mut String, case: &CaseResult, figures: &[Figure], samples: fn(&Series) -> &Vec<Sample>) {
    *out += "| subject |";
    for (name, _) in figures {
        let _ = write!(out, " {name} |");
    }
    *out += " CPU, ratio |\n|---|";
    *out += &"---:|".repeat(figures.len());
    *out += "---|\n";
    let costs = |series| samples(series).iter().map(|sample| sample.cpu_micros).collect::<Vec<f64>>();
    for series in &case.series {
        let _ = write!(out, "| {} |", series.subject);
        for (_, figure) in figures {
            let _ = write!(out, " {:.1} |", value(samples(series), figure));
        }
        let is_base = series.subject == case.series[0].subject;
        let ratio = || Ratio::of(&costs(series), &costs(&case.series[0])).text();
        let _ = writeln!(out, " {} |", if is_base { "1".to_owned() } else { ratio() });
    }
}

/// How long the slowest hundredth of each stage of a session took.
fn stages(out: &mut String, case: &CaseResult) {
    let count = case.series.iter().flat_map(|series| &series.closed).map(|sample| sample.stages.len()).min();
    if case.scenario != "session" || count != Some(STAGES.len()) {
        return;
    }
    *out += "\np99 of each stage, us:\n\n| subject |";
    for name in STAGES {
        let _ = write!(out, " {name} |");
    }
    *out += "\n|---|";
    *out += &"---:|".repeat(STAGES.len());
    *out += "\n";
    for series in &case.series {
        let _ = write!(out, "| {} |", series.subject);
        for stage in 0..STAGES.len() {
            let _ = write!(out, " {:.0} |", value(&series.closed, |sample| sample.stages[stage]));
        }
        *out += "\n";
    }
}

fn value(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> f64 {
    median(&samples.iter().map(figure).collect::<Vec<f64>>())
}

#[cfg(test)]
mod tests {
    use super::memory::tests::idle;
    use super::*;

    fn sample(per_second: f64, cpu_micros: f64) -> Sample {
        let (p50, p99, p999) = (10.0, 20.0, 30.0);
        Sample {
            per_second,
            cpu_micros,
            subject_micros: 1.0,
            kernel_micros: 0.5,
            steal_percent: 0.0,
            p50,
            p99,
            p999,
            stages: Vec::new(),
        }
    }

    fn results() -> Results {
        let series = |subject: &str, factor: f64| Series {
            subject: subject.to_owned(),
            closed: (0..5).map(|round| sample(1000.0 / factor, 20.0 * factor + f64::from(round) / 100.0)).collect(),
            paced: Vec::new(),
        };
        let series = vec![series("direct", 1.0), series("copy", 2.0)];
        let case = CaseResult { scenario: "echo", name: "256 B", bytes: 512, series };
        Results {
            machine: "a machine".to_owned(),
            skipped: vec![("sozu".to_owned(), "not installed".to_owned())],
            cases: vec![case],
            idle: vec![idle("direct", 8_000_000, 0), idle("copy", 16_000_000, 3_000_000)],
        }
    }

    #[test]
    fn tables_say_what_was_measured_and_what_was_skipped() {
        let text = markdown(&results(), "today");
        assert!(text.contains("| copy | 500.0 | 40.0 | 1.0 | 0.5 | 1.999 (1.998 to 2.000) |"), "{text}");
        assert!(text.contains("| copy | 1000 | 8000 | 0 | 3000 | 0 | 11000 |"), "{text}");
        assert!(text.contains("Skipped: sozu: not installed"), "{text}");
    }

    #[test]
    fn the_page_has_a_bar_per_subject_and_a_dot_per_round() {
        let page = html(&results(), "today");
        assert_eq!(page.matches("rx=\"2\"").count(), 4);
        assert_eq!(page.matches("<polyline").count(), 1, "memory has a line per subject beside direct");
        assert_eq!(page.matches("<circle").count(), 20);
    }
}
