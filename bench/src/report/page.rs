//! The same results as a page that needs nothing but itself.

use std::fmt::Write as _;

use super::{memory, value};
use crate::suite::{CaseResult, Results, Sample, Series};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
    padding:0 1rem;color:#1d2733}\
    h1{font-weight:650}h2{margin-top:2.5rem;border-bottom:1px solid #d5dce4}svg{width:100%;height:auto}\
    text{font:13px system-ui,sans-serif;fill:#1d2733}.n{fill:#5b6b7c}p{color:#45525f}";

/// The same as a page: a bar chart per figure that matters, one bar per subject, with every round as a dot.
pub(crate) fn html(results: &Results, title: &str) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Bench {title}</title><style>{STYLE}</style>\
         <h1>Bench {title}</h1><p>{}. Bars are medians, dots are rounds.</p>",
        results.machine
    );
    for case in &results.cases {
        let _ = write!(out, "<h2>{} {}</h2>", case.scenario, case.name);
        chart(&mut out, case, "CPU per message in us, closed loop", |s| &s.closed, |s| s.cpu_micros);
        chart(&mut out, case, "Messages per second, closed loop", |s| &s.closed, |s| s.per_second);
        chart(&mut out, case, "CPU per message in us, everybody at the same rate", |s| &s.paced, |s| s.cpu_micros);
        latencies(&mut out, case);
    }
    memory::plot(&mut out, &results.idle);
    out + "</html>\n"
}

/// Pixels of a row, and where its bar begins and ends.
const ROW: usize = 26;
const BAR: (f64, f64) = (130.0, 640.0);

fn chart(
    out: &mut String,
    case: &CaseResult,
    title: &str,
    samples: fn(&Series) -> &Vec<Sample>,
    figure: fn(&Sample) -> f64,
) {
    if case.series.iter().all(|series| samples(series).is_empty()) {
        return;
    }
    let all = case.series.iter().flat_map(samples).map(figure);
    let greatest = all.fold(f64::MIN_POSITIVE, f64::max);
    let scale = |value: f64| value / greatest * (BAR.1 - BAR.0);
    let height = ROW * (case.series.len() + 1) + 8;
    let _ =
        write!(out, "<svg viewBox=\"0 0 760 {height}\" role=\"img\"><text x=\"0\" y=\"18\" class=\"n\">{title}</text>");
    for (row, series) in case.series.iter().enumerate() {
        let y = ROW * (row + 1);
        let middle = value(samples(series), figure);
        let colour = colour(row);
        let _ = write!(
            out,
            "<text x=\"0\" y=\"{}\">{}</text>\
             <rect x=\"{}\" y=\"{}\" width=\"{:.1}\" height=\"16\" rx=\"2\" fill=\"{colour}\"/>\
             <text x=\"660\" y=\"{}\">{middle:.1}</text>",
            y + 17,
            series.subject,
            BAR.0,
            y + 4,
            scale(middle),
            y + 17
        );
        for sample in samples(series) {
            let x = BAR.0 + scale(figure(sample));
            let _ = write!(out, "<circle cx=\"{x:.1}\" cy=\"{}\" r=\"2.5\" fill=\"#1d2733\" opacity=\".5\"/>", y + 12);
        }
    }
    *out += "</svg>";
}

/// `direct`, which is first, steps back.
const COLOURS: [&str; 8] = ["#9aa7b5", "#3f7fbf", "#6aa5dd", "#2a9d8f", "#7b5ea7", "#1b4f86", "#c8553d", "#d99a2b"];

fn colour(row: usize) -> &'static str {
    COLOURS[row % COLOURS.len()]
}

/// The plot's area, in pixels.
const LEFT: f64 = 70.0;
const WIDTH: f64 = 500.0;
const TOP: f64 = 30.0;
const HEIGHT: f64 = 220.0;

/// A subject's name, and its points as parts of the plot's width and height.
pub(super) type Line<'a> = (&'a str, Vec<(f64, f64)>);

/// Lines with their names beside them; `marks` are what stands at the axes.
pub(super) fn lines(out: &mut String, title: &str, lines: &[Line], across: &[(f64, String)], up: &[(f64, String)]) {
    let (x, y) = (|part: f64| LEFT + part * WIDTH, |part: f64| TOP + (1.0 - part) * HEIGHT);
    let _ = write!(out, "<svg viewBox=\"0 0 760 280\" role=\"img\"><text x=\"0\" y=\"16\" class=\"n\">{title}</text>");
    for (part, text) in up {
        let (y, right) = (y(*part), x(1.0));
        let _ = write!(out, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#e3e8ee\"/>");
        let _ = write!(out, "<text x=\"60\" y=\"{:.1}\" text-anchor=\"end\" class=\"n\">{text}</text>", y + 4.0);
    }
    for (part, text) in across {
        let _ = write!(out, "<text x=\"{:.1}\" y=\"272\" text-anchor=\"middle\" class=\"n\">{text}</text>", x(*part));
    }
    for (row, (name, points)) in lines.iter().enumerate() {
        let points: Vec<String> = points.iter().map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b))).collect();
        let (colour, line) = (colour(row), points.join(" "));
        let _ = write!(out, "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        let _ = write!(
            out,
            "<rect x=\"600\" y=\"{0}\" width=\"12\" height=\"4\" fill=\"{colour}\"/>\
             <text x=\"618\" y=\"{1}\">{name}</text>",
            TOP + 18.0 * row as f64,
            TOP + 18.0 * row as f64 + 7.0
        );
    }
    *out += "</svg>";
}

/// Medians of rounds at three percentiles, on a logarithmic scale from 10 us to 1 s.
fn latencies(out: &mut String, case: &CaseResult) {
    if case.series.iter().all(|series| series.paced.is_empty()) {
        return;
    }
    let part = |micros: f64| ((micros.max(10.0).log10() - 1.0) / 5.0).min(1.0);
    let points = |series: &Series| {
        let at = |figure: fn(&Sample) -> f64| part(value(&series.paced, figure));
        vec![(0.0, at(|s| s.p50)), (0.5, at(|s| s.p99)), (1.0, at(|s| s.p999))]
    };
    let all: Vec<Line> = case.series.iter().map(|series| (series.subject.as_str(), points(series))).collect();
    let across = [(0.0, "50 %"), (0.5, "99 %"), (1.0, "99.9 %")].map(|(part, text)| (part, text.to_owned()));
    let up = ["10 us", "100 us", "1 ms", "10 ms", "100 ms", "1 s"];
    let up: Vec<_> = up.iter().enumerate().map(|(index, text)| (index as f64 / 5.0, (*text).to_owned())).collect();
    lines(out, "Latency from the intended time of sending, everybody at the same rate", &all, &across, &up);
}
