//! Just enough of the Prometheus text format to add up samples.

/// The sum over the samples of `name` whose labels include all of `labels`.
pub(super) fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    // Not `sum`, which is -0 when there is nothing to add.
    text.lines().filter_map(|line| sample(line, name, labels)).fold(0.0, |sum, value| sum + value)
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

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP requests_total Requests.\n# TYPE requests_total counter\n\
        requests_total{source=\"path\",code=\"200\"} 3\nrequests_total{source=\"cookie\",code=\"200\"} 4\n\
        requests_total_more 9\nopen 2.5\n";

    #[test]
    fn samples_that_carry_the_labels_are_added_up() {
        assert_eq!(sum(TEXT, "requests_total", &[]), 7.0);
        assert_eq!(sum(TEXT, "requests_total", &[("source", "path")]), 3.0);
        assert_eq!(sum(TEXT, "requests_total", &[("code", "200"), ("source", "cookie")]), 4.0);
        assert_eq!(sum(TEXT, "requests_total", &[("code", "20")]), 0.0);
        assert_eq!(sum(TEXT, "open", &[]), 2.5);
        assert!(sum(TEXT, "absent", &[]).is_sign_positive());
    }
}
