//! What a run found, for people: a Markdown table, and a page with plots that needs nothing but itself.

mod memory;
mod page;
mod plot;
mod targets;

use std::fmt::Write as _;

use crate::analysis::{Ratio, median};
use crate::suite::capacity::{BOUND_MILLIS, Carried};
use crate::suite::phase::Sample;
use crate::suite::{CaseResult, Results, Series, uncarried};
use crate::web::STAGES;

pub(crate) use page::html;

/// A number of a sample, how it is called, and in which cases it means something.
type Figure = (&'static str, fn(&Sample) -> f64);

const CLOSED: [Figure; 6] = [
    ("messages/s", |sample| sample.per_second),
    ("CPU us", |sample| sample.cpu_micros),
    ("subject", |sample| sample.subject_micros),
    ("io-wq", |sample| sample.io_wq_micros),
    ("kworker", |sample| sample.kworker_micros),
    ("softirq", |sample| sample.softirq_micros),
];

/// Of visits, which have no open loop beside the closed one.
const WEB: [Figure; 7] = [
    ("visits/s", |sample| sample.per_second),
    ("CPU us", |sample| sample.cpu_micros),
    ("subject", |sample| sample.subject_micros),
    ("io-wq", |sample| sample.io_wq_micros),
    ("kworker", |sample| sample.kworker_micros),
    ("softirq", |sample| sample.softirq_micros),
    ("p99 us", |sample| sample.p99),
];

const PACED: [Figure; 8] = [
    ("CPU us", |sample| sample.cpu_micros),
    ("subject", |sample| sample.subject_micros),
    ("io-wq", |sample| sample.io_wq_micros),
    ("kworker", |sample| sample.kworker_micros),
    ("softirq", |sample| sample.softirq_micros),
    ("p50 us", |sample| sample.p50),
    ("p99 us", |sample| sample.p99),
    ("p99.9 us", |sample| sample.p999),
];

/// Tables of everything.
pub(crate) fn markdown(results: &Results, title: &str) -> String {
    let mut out = format!("# Bench {title}\n\n{}. Commit {}.\n", results.machine, results.commit);
    out += "\nMedians of interleaved rounds. A ratio is to `direct`, round by round: its median, and where the true \
            one lies by the sign test. CPU is the whole machine's per message, steal excluded. Of it: `subject`, the \
            threads of the subject's processes; `io-wq`, the kernel's threads inside them; `kworker`, those of its \
            queues. What is left is clients and pods. `softirq` is time in interrupts, on whatever thread, and so part \
            of the others.\n";
    for (name, why) in &results.failed {
        let _ = write!(out, "\nFAILED: {name}: {why}\n");
    }
    for (name, why) in &results.skipped {
        let _ = write!(out, "\nSkipped: {name}: {why}\n");
    }
    for case in &results.cases {
        let _ = write!(out, "\n## {} {}\n", case.scenario, case.name);
        if case.series.iter().any(|series| !series.closed.is_empty()) {
            out += "\nAs much as it takes (closed loop):\n\n";
            let figures: &[Figure] = if case.bytes == 0 { &WEB } else { &CLOSED };
            table(&mut out, case, figures, |series| &series.closed);
            stages(&mut out, case);
        }
        if case.scenario == "bulk" {
            out += "\nA message moves 1 MiB: 1,000 us of CPU per message are 0.95 s per GB.\n";
        }
        if case.series.iter().any(|series| !series.paced.is_empty()) {
            let rate = case.series.first().map_or(0.0, |series| value(&series.paced, |sample| sample.per_second));
            let _ = write!(out, "\nAt {rate:.0} messages/s for everybody (open loop, from the intended time):\n\n");
            table(&mut out, case, &PACED, |series| &series.paced);
            per_stream(&mut out, case);
        }
    }
    carried(&mut out, &results.carried);
    if !results.idle.is_empty() {
        memory::table(&mut out, &results.idle);
    }
    others(&mut out, &results.cases);
    for soaked in &results.soaked {
        let (by_idle, by_soaker) = (median(&soaked.by_idle), median(&soaked.by_soaker));
        let ratio = Ratio::of(&soaked.by_soaker, &soaked.by_idle).text();
        let _ = write!(
            out,
            "\nCross-check, {} with {:.0} messages/s: {by_idle:.1} us of CPU per message by the kernel's idle time, \
             {by_soaker:.1} us by what a soaker got: {ratio}.\n",
            soaked.subject, soaked.per_second
        );
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
    for series in case.carried().filter(|series| !samples(series).is_empty()) {
        let _ = write!(out, "| {} |", series.subject);
        for (_, figure) in figures {
            let _ = write!(out, " {:.1} |", value(samples(series), figure));
        }
        let is_base = series.subject == case.series[0].subject;
        let ratio = || Ratio::of(&costs(series), &costs(&case.series[0])).text();
        let _ = writeln!(out, " {} |", if is_base { "1".to_owned() } else { ratio() });
    }
    for (series, carried) in case.uncarried() {
        let none = " |".repeat(figures.len());
        let _ = writeln!(out, "| {} |{none} {} |", series.subject, withheld(carried));
    }
}

/// Instead of numbers, where they would be another engine's.
fn withheld((median, least): (f64, f64)) -> String {
    format!(
        "no number: `packet` carried {:.0} % of the bytes in the median phase, {:.0} % at worst",
        100.0 * median,
        100.0 * least
    )
}

/// What a stream costs the machine per second, where messages are spread over streams as people would.
fn per_stream(out: &mut String, case: &CaseResult) {
    if case.streams == 0 {
        return;
    }
    *out += "\n| subject | CPU us per stream and second |\n|---|---:|\n";
    for series in case.carried() {
        let cost = value(&series.paced, |sample| sample.cpu_micros * sample.per_second / case.streams as f64);
        let _ = writeln!(out, "| {} | {cost:.1} |", series.subject);
    }
}

/// How many streams everybody carries.
fn carried(out: &mut String, carried: &[Carried]) {
    let Some(direct) = carried.first() else { return };
    let _ = write!(
        out,
        "\n## vnc streams carried\n\nActive streams (those of the mix that are not idle) at which 99 % of the updates \
         come within {BOUND_MILLIS:.0} ms.\n\n\
         | subject | streams | ratio | CPU us per stream and second |\n|---|---:|---|---:|\n"
    );
    for one in carried {
        if let Some(carried) = uncarried(&one.by_packet) {
            let _ = writeln!(out, "| {} | | {} | |", one.subject, withheld(carried));
            continue;
        }
        let least = if one.is_at_most { "at least " } else { "" };
        let ratio = Ratio::of(&one.streams, &direct.streams).text();
        let (streams, cost) = (median(&one.streams), median(&one.cpu_micros));
        let _ = writeln!(out, "| {} | {least}{streams:.0} | {ratio} | {cost:.0} |", one.subject);
    }
}

/// What the hypervisor gave to others while it was measured, which is in no figure, and what other programs may have
/// taken, which is in all of them.
fn others(out: &mut String, cases: &[CaseResult]) {
    let phases = || cases.iter().flat_map(|case| &case.series).flat_map(|s| s.closed.iter().chain(&s.paced));
    let mut say = |what: &str, percents: Vec<f64>| {
        if percents.is_empty() {
            return;
        }
        let greatest = percents.iter().copied().fold(0.0, f64::max);
        let median = median(&percents);
        let _ = write!(out, "\n{what}: {median:.1} % of a processor in the median phase, {greatest:.1} % at worst.\n");
    };
    say("Steal, which is in no figure", phases().map(|sample| sample.steal_percent).collect());
    let what = "What no thread of the run took, which is interrupts of idle processors and other programs, and is in \
                every figure";
    say(what, phases().map(|sample| sample.rest_micros() * sample.per_second / 1e4).collect());
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
    use crate::suite::crosscheck::Soaked;
    use crate::suite::phase::QUANTILES;

    fn sample(per_second: f64, cpu_micros: f64) -> Sample {
        Sample {
            per_second,
            cpu_micros,
            subject_micros: 1.0,
            io_wq_micros: 0.25,
            kworker_micros: 0.5,
            softirq_micros: 4.0,
            ..Sample::default()
        }
    }

    fn results() -> Results {
        let series = |subject: &str, factor: f64| Series {
            subject: subject.to_owned(),
            closed: (0..5).map(|round| sample(1000.0 / factor, 20.0 * factor + f64::from(round) / 100.0)).collect(),
            paced: Vec::new(),
        };
        let series = vec![series("direct", 1.0), series("copy", 2.0)];
        let case = CaseResult { bytes: 512, series, ..CaseResult::new("echo", "256 B") };
        let carried = |(subject, streams, is_at_most): (&str, f64, bool)| Carried {
            subject: subject.to_owned(),
            streams: vec![streams; 5],
            cpu_micros: vec![600.0; 5],
            is_at_most,
            by_packet: Vec::new(),
        };
        Results {
            machine: "a machine".to_owned(),
            skipped: vec![("sozu".to_owned(), "not installed".to_owned())],
            failed: vec![("bulk down".to_owned(), "a wrong byte in an answer".to_owned())],
            cases: vec![case],
            idle: vec![idle("direct", 8_000_000, 0), idle("copy", 16_000_000, 3_000_000)],
            carried: [("direct", 2000.0, true), ("copy", 1500.0, false)].map(carried).into(),
            soaked: vec![Soaked {
                subject: "direct".to_owned(),
                per_second: 5000.0,
                by_idle: vec![20.0; 5],
                by_soaker: vec![19.0; 5],
            }],
            ..Results::default()
        }
    }

    #[test]
    fn tables_say_what_was_measured_and_what_was_skipped() {
        let text = markdown(&results(), "today");
        assert!(text.contains("| copy | 500.0 | 40.0 | 1.0 | 0.2 | 0.5 | 4.0 | 1.999 (1.998 to 2.000) |"), "{text}");
        assert!(text.contains("| direct | at least 2000 | 1.000"), "{text}");
        // Of 20 us 18.25, a thousand times a second, and of 40 us 38.25 half as often.
        assert!(text.contains("and is in every figure: 1.9 % of a processor in the median phase, 1.9 %"), "{text}");
        assert!(text.contains("| copy | 1500 | 0.750 (0.750 to 0.750) | 600 |"), "{text}");
        assert!(text.contains("20.0 us of CPU per message by the kernel's idle time, 19.0 us by"), "{text}");
        assert!(text.contains("| copy | 1000 | 8000 | 0 | 3000 | 0 | 11000 |"), "{text}");
        assert!(text.contains("FAILED: bulk down: a wrong byte in an answer"), "{text}");
        assert!(text.contains("Skipped: sozu: not installed"), "{text}");
    }

    #[test]
    fn what_another_engine_carried_is_no_number_of_the_packet_engine() {
        let mut results = results();
        let mut packet = Series { subject: "packet".to_owned(), ..results.cases[0].series.pop().unwrap() };
        for sample in &mut packet.closed {
            sample.by_packet = Some(1.0);
        }
        results.cases[0].series.push(packet);
        assert!(markdown(&results, "today").contains("| packet | 500.0 |"));
        results.cases[0].series[1].closed[3].by_packet = Some(0.25);
        let (text, page) = (markdown(&results, "today"), html(&results, "today"));
        assert!(!text.contains("500.0"), "{text}");
        let verdict = "no number: `packet` carried 100 % of the bytes in the median phase, 25 % at worst";
        assert!(text.contains(&format!("| packet | | | | | | | {verdict} |")), "{text}");
        assert!(page.contains(verdict) && !page.contains("packet: 500 ("), "{page}");
    }

    #[test]
    fn the_page_has_a_bar_per_subject_and_a_dot_per_round() {
        let mut results = results();
        let paced = |sample: &Sample| Sample { quantiles: vec![10.0; QUANTILES.len()], ..sample.clone() };
        for series in &mut results.cases[0].series {
            series.paced = series.closed.iter().map(paced).collect();
        }
        let page = html(&results, "today");
        // Throughput, and CPU of both loops, of two subjects; what two carry, and for which CPU; the cross-check's two.
        assert_eq!(page.matches("rx=\"2\"").count(), 6 + 4 + 2);
        assert_eq!(page.matches("<circle").count(), 5 * (6 + 4 + 2));
        assert_eq!(page.matches("class=\"part\"").count(), 4 * 4, "CPU is told apart by whose it is");
        assert_eq!(page.matches("<polyline").count(), 2 + 1, "latency has a line per subject, and so has memory");
        assert!(page.contains("class=\"failed\"") && page.contains("sozu"), "{page}");
        assert!(page.contains("class=\"pending\""), "{page}");
    }
}
