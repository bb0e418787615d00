//! Two kinds of charts, as SVG: bars with their rounds, and lines.

use std::fmt::Write as _;

use super::page::escaped;
use super::targets::OURS;

/// One row of a bar chart.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    /// Where the true median lies.
    pub(super) interval: (f64, f64),
    /// What stands behind the value.
    pub(super) note: String,
    /// What the bar is made of, from its beginning on; what they leave is drawn pale.
    pub(super) parts: Vec<Part>,
    pub(super) rounds: Vec<f64>,
}

/// A segment of a bar.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) value: f64,
}

/// A subject's name, and its points as parts of the plot's width and height.
pub(super) type Line<'a> = (&'a str, Vec<(f64, f64)>);

/// A place on an axis, as a part of it, and what is written there.
pub(super) type Mark = (f64, String);

/// Pixels: of a chart, of a row, and where its bar begins and ends at most.
const WIDTH: f64 = 620.0;
const ROW: f64 = 24.0;
const BAR: (f64, f64) = (165.0, 485.0);

/// A bar per subject.
pub(super) fn bars(out: &mut String, title: &str, bars: &[Bar]) {
    if bars.is_empty() {
        return;
    }
    let all = bars.iter().flat_map(|bar| bar.rounds.iter().copied().chain([bar.value]));
    let greatest = all.filter(|value| value.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
    let scale = |value: f64| (value / greatest).clamp(0.0, 1.0) * (BAR.1 - BAR.0);
    let parts = bars.iter().map(|bar| bar.parts.as_slice()).max_by_key(|parts| parts.len()).unwrap_or_default();
    let foot = ROW * bars.len() as f64 + 22.0;
    begin(out, title, if parts.is_empty() { foot - 14.0 } else { foot + 14.0 });
    legend(out, parts, foot);
    for (row, bar) in bars.iter().enumerate() {
        let (top, middle) = (ROW * row as f64 + 4.0, ROW * row as f64 + 13.0);
        let (name, text) = (escaped(&bar.name), number(bar.value));
        let _ = write!(out, "<text x=\"0\" y=\"{:.0}\">{name}</text>", middle + 4.5);
        let colour = colour(&bar.name);
        let whole = if bar.parts.is_empty() { colour.clone() } else { "var(--rest)".to_owned() };
        let tip = tip(bar);
        let _ = write!(
            out,
            "<rect x=\"{}\" y=\"{top:.0}\" width=\"{:.1}\" height=\"18\" rx=\"2\" fill=\"{whole}\">\
             <title>{tip}</title></rect>",
            BAR.0,
            scale(bar.value)
        );
        let mut left = BAR.0;
        for (index, part) in bar.parts.iter().enumerate() {
            let width = scale(part.value).min((BAR.0 + scale(bar.value) - left).max(0.0));
            let fill = if index == 0 { colour.as_str() } else { SEGMENTS[(index - 1).min(SEGMENTS.len() - 1)] };
            let _ = write!(
                out,
                "<rect class=\"part\" x=\"{left:.1}\" y=\"{top:.0}\" width=\"{width:.1}\" height=\"18\" \
                 fill=\"{fill}\"><title>{}: {}</title></rect>",
                part.name,
                number(part.value)
            );
            left += width;
        }
        let at = |value: f64| BAR.0 + scale(value);
        let (low, high) = (at(bar.interval.0), at(bar.interval.1));
        let _ = write!(out, "<path class=\"whisker\" d=\"M{low:.1} {middle}H{high:.1}\"/>");
        for round in &bar.rounds {
            let _ = write!(out, "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{middle}\" r=\"2.2\"/>", at(*round));
        }
        let (y, note) = (middle + 4.5, escaped(&bar.note));
        let _ = write!(out, "<text x=\"{}\" y=\"{y:.0}\">{text}</text>", BAR.1 + 12.0);
        let _ = write!(out, "<text class=\"n\" x=\"{WIDTH}\" y=\"{y:.0}\" text-anchor=\"end\">{note}</text>");
    }
    *out += "</svg></figure>";
}

/// Colours of the segments behind the first, which has its subject's.
const SEGMENTS: [&str; 3] = ["#8a5fb0", "#c2577a", "var(--limit)"];

/// What the colours of the segments mean.
fn legend(out: &mut String, parts: &[Part], y: f64) {
    const STEP: f64 = 92.0;
    let colours = ["url(#subject)"].into_iter().chain(SEGMENTS);
    let names = parts.iter().map(|part| part.name).zip(colours).chain([("rest", "var(--rest)")]);
    if parts.is_empty() {
        return;
    }
    *out += "<defs><linearGradient id=\"subject\"><stop stop-color=\"#2f74b5\"/>\
             <stop offset=\"1\" stop-color=\"#c98a1b\"/></linearGradient></defs>";
    // The last two names are the longest and the shortest.
    for (index, (name, colour)) in names.enumerate() {
        let x = BAR.0 + STEP * index as f64 + if index > 3 { 36.0 } else { 0.0 };
        let _ = write!(
            out,
            "<path d=\"M{x:.0} {y:.0}h12v8h-12z\" fill=\"{colour}\"/>\
             <text class=\"n\" x=\"{:.0}\" y=\"{:.0}\">{name}</text>",
            x + 17.0,
            y + 8.5
        );
    }
}

/// What a bar says when one points at it.
fn tip(bar: &Bar) -> String {
    let mut tip = format!("{}: {}", escaped(&bar.name), number(bar.value));
    let _ = write!(tip, " ({} to {})", number(bar.interval.0), number(bar.interval.1));
    for part in &bar.parts {
        let _ = write!(tip, "; {} {}", part.name, number(part.value));
    }
    tip
}

/// Of the plot within its chart, in pixels.
const LEFT: f64 = 62.0;
const PLOT: (f64, f64) = (390.0, 250.0);
const TOP: f64 = 10.0;

/// A line per subject, with their names beside them in the order in which they end.
pub(super) fn lines(out: &mut String, title: &str, lines: &[Line], across: &[Mark], up: &[Mark]) {
    let (x, y) = (|part: f64| LEFT + part * PLOT.0, |part: f64| TOP + (1.0 - part) * PLOT.1);
    begin(out, title, TOP + PLOT.1 + 26.0);
    for (part, text) in up {
        let (y, right) = (y(*part), x(1.0));
        let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>");
        let _ = write!(
            out,
            "<text class=\"n\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            LEFT - 8.0,
            y + 4.0
        );
    }
    for (part, text) in across {
        let (x, bottom) = (x(*part), y(0.0));
        let _ = write!(out, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>");
        let y = bottom + 18.0;
        let _ = write!(out, "<text class=\"n\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{text}</text>");
    }
    let end = |line: &&Line| line.1.last().map_or(f64::NEG_INFINITY, |point| point.1);
    let mut ordered: Vec<&Line> = lines.iter().filter(|(_, points)| !points.is_empty()).collect();
    ordered.sort_by(|a, b| end(b).total_cmp(&end(a)));
    for (row, (name, points)) in ordered.into_iter().enumerate() {
        let points: Vec<String> = points.iter().map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b))).collect();
        let (colour, dash, line, name) = (colour(name), dash(name), points.join(" "), escaped(name));
        let _ = write!(
            out,
            "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" {dash}>\
             <title>{name}</title></polyline>"
        );
        let (left, y) = (x(1.0) + 16.0, TOP + 8.0 + 18.0 * row as f64);
        let _ = write!(
            out,
            "<path d=\"M{left} {y}h16\" stroke=\"{colour}\" stroke-width=\"3\" {dash}/>\
             <text x=\"{}\" y=\"{}\">{name}</text>",
            left + 22.0,
            y + 4.5
        );
    }
    *out += "</svg></figure>";
}

fn begin(out: &mut String, title: &str, height: f64) {
    let title = escaped(title);
    let _ = write!(
        out,
        "<figure><figcaption>{title}</figcaption><svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         aria-label=\"{title}\">"
    );
}

/// Three digits that count, and thousands apart.
fn number(value: f64) -> String {
    match value {
        _ if !value.is_finite() => "?".to_owned(),
        _ if value < 10.0 => format!("{value:.2}"),
        _ if value < 100.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let groups: Vec<&str> = digits
                .as_bytes()
                .rchunks(3)
                .rev()
                .map(|group| std::str::from_utf8(group).expect("digits are ASCII"))
                .collect();
            groups.join(",")
        }
    }
}

/// The limit is grey, our engines are blue and green, the others warm; the same subject has the same colour everywhere.
fn colour(name: &str) -> String {
    const COOL: [&str; 6] = ["#2f74b5", "#63a4dc", "#2a9d8f", "#5f7fd0", "#1aa0b8", "#123f6d"];
    const WARM: [&str; 8] = ["#c98a1b", "#c8553d", "#9c3d5f", "#e0a63c", "#a8743f", "#d97b66", "#7d5a2f", "#b8a03a"];
    // Names in charts may say more behind a comma.
    let name = name.split(',').next().unwrap_or(name);
    match OURS.iter().position(|ours| *ours == name) {
        _ if name == "direct" => "var(--limit)".to_owned(),
        Some(index) => COOL[index % COOL.len()].to_owned(),
        None => {
            let sum = name.bytes().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            WARM[sum % WARM.len()].to_owned()
        }
    }
}

/// Peers are dashed, for those who see colours differently.
fn dash(name: &str) -> &'static str {
    if name == "direct" || OURS.contains(&name) { "" } else { "stroke-dasharray=\"6 3\"" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        assert_eq!(
            [0.123, 12.34, 123.4, 1234.5, 1_234_567.0].map(number),
            ["0.12", "12.3", "123", "1,234", "1,234,567"]
        );
        assert_eq!(number(f64::NAN), "?");
    }

    #[test]
    fn segments_never_leave_their_bar() {
        let part = |value| Part { name: "subject", value };
        let bar = Bar {
            name: "copy <b>".to_owned(),
            value: 10.0,
            interval: (9.0, 11.0),
            note: String::new(),
            parts: vec![part(8.0), part(8.0)],
            rounds: vec![10.0],
        };
        let mut out = String::new();
        bars(&mut out, "CPU", &[bar]);
        // 320 pixels are the whole bar: the first segment has four fifths of it, the second what is left.
        assert!(out.contains("width=\"256.0\"") && out.contains("width=\"64.0\""), "{out}");
        assert!(out.contains("copy &lt;b&gt;") && !out.contains("<b>"), "{out}");
    }
}
