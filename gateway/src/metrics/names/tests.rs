//! The table is well-formed, and what is deployed names only what it lists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;

#[test]
fn names_are_unique_and_follow_the_naming_rules() {
    let names: BTreeSet<&str> = METRICS.iter().map(|spec| spec.name).collect();
    assert_eq!(names.len(), METRICS.len());
    for MetricSpec { name, kind, .. } in METRICS {
        assert!(name.starts_with("gateway_") || name.starts_with("process_"), "{name}: prefix");
        match kind {
            Kind::Counter => assert!(name.ends_with("_total"), "{name}: a counter ends with _total"),
            Kind::Histogram(bounds) => {
                assert!(name.ends_with("_seconds"), "{name}: the base unit");
                assert!(bounds.is_sorted_by(|a, b| a < b) && !bounds.is_empty(), "{name}: bounds");
            }
            Kind::Gauge => {}
        }
    }
}

#[test]
fn no_label_can_name_a_sandbox_a_path_or_an_address() {
    for MetricSpec { name, labels, .. } in METRICS {
        for label in *labels {
            assert!(!matches!(label.name, "sandbox" | "id" | "path" | "client" | "endpoint" | "address"), "{name}");
            let distinct: BTreeSet<_> = label.values.iter().collect();
            assert_eq!(distinct.len(), label.values.len(), "{name}: {} lists a value twice", label.name);
        }
    }
}

#[test]
fn the_markdown_table_has_a_row_per_metric() {
    let table = markdown_table();
    assert_eq!(table.lines().count(), METRICS.len() + 2);
    assert!(table.lines().all(|line| line.matches('|').count() == 5), "{table}");
    let row = "| `gateway_upstream_dials_total` | counter | `outcome`: connected refused timeout unreachable error |";
    assert!(table.contains(row), "{table}");
}

#[test]
fn dashboards_and_alerts_name_only_metrics_that_exist() {
    let mut files = Vec::new();
    files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy"), &mut files);
    let mut named = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).expect("everything in deploy/ is text");
        for word in words(&text) {
            named += 1;
            assert!(exists(word), "{} names {word}, which is not in METRICS", file.display());
        }
    }
    assert!(named > 20, "only {named} metric names found in deploy/: is this looking at the right files?");
}

#[test]
fn a_name_that_does_not_exist_is_found() {
    let text =
        "rate(gateway_streams_opend_total[5m]) / gateway_http_request_duration_seconds_bucket + process_open_fds";
    let unknown: Vec<&str> = words(text).filter(|word| !exists(word)).collect();
    assert_eq!(unknown, ["gateway_streams_opend_total"]);
    assert!(!exists("gateway_streams_open_bucket"), "only histograms have buckets");
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("gateway_") || word.starts_with("process_"))
}

fn exists(word: &str) -> bool {
    METRICS.iter().any(|MetricSpec { name, kind, .. }| match kind {
        Kind::Histogram(_) => word.strip_prefix(name).is_some_and(|rest| matches!(rest, "_bucket" | "_sum" | "_count")),
        Kind::Counter | Kind::Gauge => *name == word,
    })
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("deploy/ is part of the repository") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() { files_below(&path, files) } else { files.push(path) }
    }
}
