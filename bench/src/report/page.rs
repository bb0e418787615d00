//! The same results as a page that needs nothing but itself: verdicts first, then a chart per question.

use std::fmt::Write as _;

use super::plot::{Bar, Line, Mark, Part, bars, lines};
use super::{memory, targets, value, withheld};
use crate::analysis::{Ratio, median, spread};
use crate::suite::capacity::{BOUND_MILLIS, Carried};
use crate::suite::phase::{QUANTILES, Sample};
use crate::suite::{CaseResult, Results, Series, uncarried};

const STYLE: &str = include_str!("page.css");

/// Everything, as one file.
pub(crate) fn html(results: &Results, title: &str) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Bench {0}</title><style>{STYLE}</style>\
         <header><h1>Splicegate bench <small>{0}</small></h1><p>{1}. Commit <code>{2}</code>.</p></header>",
        escaped(title),
        escaped(&results.machine),
        escaped(&results.commit)
    );
    for (name, why) in &results.failed {
        let _ = write!(out, "<p class=\"failed\">Failed: {}: {}</p>", escaped(name), escaped(why));
    }
    contents(&mut out, results);
    verdicts(&mut out, results);
    for case in &results.cases {
        section(&mut out, case);
    }
    carried(&mut out, &results.carried);
    if !results.idle.is_empty() {
        out += "<section id=\"idle\"><h2>idle</h2><div class=\"charts\">";
        memory::plot(&mut out, &results.idle);
        out += "</div></section>";
    }
    cross_check(&mut out, results);
    notes(&mut out, results);
    out + "</html>\n"
}

/// What may stand in a text of HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn anchor(case: &CaseResult) -> String {
    let name = format!("{} {}", case.scenario, case.name);
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect()
}

fn contents(out: &mut String, results: &Results) {
    *out += "<nav>";
    for case in &results.cases {
        let name = escaped(&format!("{} {}", case.scenario, case.name));
        let _ = write!(out, "<a href=\"#{}\">{name}</a>", anchor(case));
    }
    if !results.carried.is_empty() {
        *out += "<a href=\"#carried\">streams carried</a>";
    }
    if !results.idle.is_empty() {
        *out += "<a href=\"#idle\">idle</a>";
    }
    *out += "</nav>";
}

/// The targets of the specification, with what this run says about them.
fn verdicts(out: &mut String, results: &Results) {
    *out += "<section class=\"verdicts\">";
    for target in targets::all(results) {
        let class = match target.found.split(':').next() {
            Some("met") => "met",
            Some("missed") => "missed",
            _ => "pending",
        };
        let what = target.what.replace('`', "");
        let _ = write!(
            out,
            "<div class=\"{class}\"><b>{}</b><span>{}</span><em>{}</em></div>",
            escaped(&what),
            escaped(&target.target),
            escaped(&target.found)
        );
    }
    *out += "</section>";
}

/// How its charts are called and measured.
struct Words {
    per_second: &'static str,
    cpu: &'static str,
}

fn words(case: &CaseResult) -> Words {
    match case.scenario.as_str() {
        "bulk" => Words { per_second: "MiB per second", cpu: "CPU per MiB, us" },
        "http" => Words { per_second: "Requests per second", cpu: "CPU per request, us" },
        "session" => Words { per_second: "Sessions per second", cpu: "CPU per session, us" },
        _ => Words { per_second: "Messages per second", cpu: "CPU per message, us" },
    }
}

fn section(out: &mut String, case: &CaseResult) {
    let (scenario, name) = (escaped(&case.scenario), escaped(&case.name));
    let _ =
        write!(out, "<section id=\"{}\"><h2>{scenario} <small>{name}</small></h2><div class=\"charts\">", anchor(case));
    let Words { per_second, cpu } = words(case);
    let has = |samples: fn(&Series) -> &Vec<Sample>| case.series.iter().any(|series| !samples(series).is_empty());
    if has(|series| &series.closed) {
        let title = format!("{per_second}, as many as it takes");
        bars(out, &title, &of_case(case, |series| &series.closed, |sample| sample.per_second, false));
        let title = format!("{cpu}, as many as it takes");
        bars(out, &title, &of_case(case, |series| &series.closed, |sample| sample.cpu_micros, true));
    }
    if has(|series| &series.paced) {
        let rate = case.series.first().map_or(0.0, |series| value(&series.paced, |sample| sample.per_second));
        let title = format!("{cpu}, everybody at {rate:.0} per second");
        bars(out, &title, &of_case(case, |series| &series.paced, |sample| sample.cpu_micros, true));
        latencies(out, case, "Latency from the intended time of sending, at that rate", |series| &series.paced);
    } else {
        latencies(out, case, "Latency, as many as it takes", |series| &series.closed);
    }
    *out += "</div>";
    for (series, carried) in case.uncarried() {
        let _ = write!(out, "<p>{}: {}</p>", escaped(&series.subject), withheld(carried));
    }
    *out += "</section>";
}

/// A bar per subject: the median, where the true one lies, every round as a dot, and for CPU whose it was.
fn of_case(
    case: &CaseResult,
    samples: fn(&Series) -> &Vec<Sample>,
    figure: fn(&Sample) -> f64,
    is_cpu: bool,
) -> Vec<Bar> {
    let values = |series: &Series| samples(series).iter().map(figure).collect::<Vec<f64>>();
    let Some(first) = case.series.first() else { return Vec::new() };
    let bar = |series: &Series| {
        let rounds = values(series);
        let ratio = Ratio::of(&rounds, &values(first));
        Bar {
            name: series.subject.clone(),
            value: median(&rounds),
            interval: spread(&rounds),
            note: if series.subject == first.subject { String::new() } else { format!("x {:.2}", ratio.median) },
            parts: if is_cpu { parts(samples(series)) } else { Vec::new() },
            rounds,
        }
    };
    case.carried().filter(|series| !samples(series).is_empty()).map(bar).collect()
}

/// Whose time it was; what no thread of theirs ran is interrupts of an idle processor, and others.
fn parts(samples: &[Sample]) -> Vec<Part> {
    let part = |name, figure: fn(&Sample) -> f64| Part { name, value: value(samples, figure) };
    vec![
        part("subject", |sample| sample.subject_micros),
        part("io-wq", |sample| sample.io_wq_micros),
        part("kworker", |sample| sample.kworker_micros),
        part("clients and pods", |sample| sample.load_micros),
    ]
}

/// Medians of rounds, quantile by quantile, both axes logarithmic: each step to the right is a tenth of the messages.
fn latencies(out: &mut String, case: &CaseResult, title: &str, samples: fn(&Series) -> &Vec<Sample>) {
    let place = |quantile: f64| -(1.0 - quantile).log10();
    let range = |quantile: &f64| *quantile >= 0.5;
    let first = place(0.5);
    let most = place(QUANTILES.iter().copied().fold(0.5, f64::max));
    let along = |quantile: f64| (place(quantile) - first) / (most - first);
    let points = |series: &Series| -> Vec<(f64, f64)> {
        let at = |(index, quantile): (usize, &f64)| {
            let of = |sample: &Sample| sample.quantiles.get(index).copied().unwrap_or(f64::NAN);
            (along(*quantile), value(samples(series), of))
        };
        QUANTILES.iter().enumerate().filter(|(_, quantile)| range(quantile)).map(at).collect()
    };
    let all: Vec<(&str, Vec<(f64, f64)>)> =
        case.carried().map(|series| (series.subject.as_str(), points(series))).collect();
    let values = || all.iter().flat_map(|(_, points)| points).map(|point| point.1).filter(|value| *value > 0.0);
    if values().next().is_none() {
        return;
    }
    // Whole decades, so that charts can be compared.
    let least = values().fold(f64::INFINITY, f64::min).log10().floor();
    let decades = (values().fold(0.0, f64::max).log10().ceil() - least).max(1.0);
    let up = |micros: f64| (micros.log10() - least) / decades;
    let scaled = |points: Vec<(f64, f64)>| points.into_iter().filter(|p| p.1 > 0.0).map(|(x, y)| (x, up(y))).collect();
    let all: Vec<Line> = all.into_iter().map(|(name, points)| (name, scaled(points))).collect();
    // Too near to the first one, the second has no room for its name.
    let names = ["50 %", "", "90 %", "99 %", "99.9 %", "99.99 %"];
    let across: Vec<Mark> = QUANTILES
        .iter()
        .filter(|quantile| range(quantile))
        .zip(names)
        .map(|(q, name)| (along(*q), name.to_owned()))
        .collect();
    let mut marks: Vec<Mark> = Vec::new();
    let mut exponent = least;
    while exponent <= least + decades {
        marks.push(((exponent - least) / decades, duration(10_f64.powf(exponent))));
        exponent += 1.0;
    }
    lines(out, title, &all, &across, &marks);
}

fn duration(micros: f64) -> String {
    match micros {
        _ if micros < 1e3 => format!("{micros:.0} us"),
        _ if micros < 1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.0} s", micros / 1e6),
    }
}

fn carried(out: &mut String, carried: &[Carried]) {
    let Some(first) = carried.first() else { return };
    let _ = write!(
        out,
        "<section id=\"carried\"><h2>vnc <small>streams carried with 99 % of the updates within {BOUND_MILLIS:.0} ms\
         </small></h2><div class=\"charts\">"
    );
    let bar = |one: &Carried, of: fn(&Carried) -> &Vec<f64>| {
        let ratio = Ratio::of(of(one), of(first)).median;
        Bar {
            name: one.subject.clone(),
            value: median(of(one)),
            interval: spread(of(one)),
            note: if one.subject == first.subject { String::new() } else { format!("x {ratio:.2}") },
            parts: Vec::new(),
            rounds: of(one).clone(),
        }
    };
    let shown = || carried.iter().filter(|one| uncarried(&one.by_packet).is_none());
    let all: Vec<Bar> = shown().map(|one| bar(one, |one| &one.streams)).collect();
    bars(out, "Active streams; dots are the last steps of the search", &all);
    let all: Vec<Bar> = shown().map(|one| bar(one, |one| &one.cpu_micros)).collect();
    bars(out, "CPU per stream and second, us", &all);
    *out += "</div>";
    for (one, carried) in carried.iter().filter_map(|one| Some((one, uncarried(&one.by_packet)?))) {
        let _ = write!(out, "<p>{}: {}</p>", escaped(&one.subject), withheld(carried));
    }
    *out += "</section>";
}

fn cross_check(out: &mut String, results: &Results) {
    if results.soaked.is_empty() {
        return;
    }
    let bar = |(name, values): (String, &Vec<f64>)| Bar {
        name,
        value: median(values),
        interval: spread(values),
        note: String::new(),
        parts: Vec::new(),
        rounds: values.clone(),
    };
    let both = |soaked: &crate::suite::crosscheck::Soaked| {
        let name = |by: &str| format!("{}, {by}", soaked.subject);
        [(name("idle"), soaked.by_idle.clone()), (name("soaker"), soaked.by_soaker.clone())]
    };
    let all: Vec<(String, Vec<f64>)> = results.soaked.iter().flat_map(both).collect();
    *out += "<section><h2>Cross-check of the CPU figure</h2><div class=\"charts\">";
    let all: Vec<Bar> = all.iter().map(|(name, values)| bar((name.clone(), values))).collect();
    bars(out, "CPU per message, us: by the kernel's idle time, and by what a soaker got", &all);
    *out += "</div></section>";
}

fn notes(out: &mut String, results: &Results) {
    *out += "<section><h2>How to read this</h2><p>Bars are medians of interleaved rounds, dots are rounds, whiskers \
             say where the true median lies by the sign test; \u{201c}x\u{201d} is the median of the ratios to the \
             first subject, round by round. CPU is the whole machine's, steal excluded: the segments are the threads \
             of the subject, those of io-wq inside it, the kernel's workers, and clients and pods; the rest ran on no \
             thread of theirs. Lines nearer to the bottom are better.</p>";
    if !results.skipped.is_empty() {
        *out += "<h3>Not measured</h3><ul>";
        for (name, why) in &results.skipped {
            let _ = write!(out, "<li><b>{}</b>: {}</li>", escaped(name), escaped(why));
        }
        *out += "</ul>";
    }
    *out += "</section>";
}
