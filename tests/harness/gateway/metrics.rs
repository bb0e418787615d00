//! Just enough of the Prometheus text format to add up samples.

/// The sum over the samples of `name` whose labels include all of `labels`.
pub(super) fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    text.lines().filter_map(|line| sample(line, name, labels)).sum()
}

fn sample(line: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let (carried, value) = match rest.strip_prefix('{') {
        Some(rest) => rest.split_once("} ")?,
        None => ("", rest.strip_prefix(' ')?),
    };
    let carries = |(key, value): &(&str, &str)| carried.split(',').any(|pair| pair == format!("{key}=\"{value}\""));
    labels.iter().all(carries).then(|| value.trim().parse().ok())?
}
