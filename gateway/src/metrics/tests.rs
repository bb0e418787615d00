//! What a scrape shows after things were counted.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_common::packet::Unspliced;

use super::*;
use crate::directory::{InvalidationCause, LookupOutcome, LookupSource};
use crate::{route, tunnel};

fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

fn assert_series(metrics: &Metrics, expected: &[(&str, f64)]) {
    let text = metrics.render();
    for (series, number) in expected {
        let found = value(&text, series).unwrap_or_else(|| panic!("{series} is missing in:\n{text}"));
        assert!((found - number).abs() < 1e-9, "{series} is {found}, not {number}");
    }
}

fn count_everything_once(metrics: &Metrics) {
    let duration = Duration::from_millis(3);
    metrics.connection_accepted();
    metrics.connection_rejected(Reason::Descriptors);
    metrics.request("path", "GET", 200, duration);
    metrics.rejected("two_hosts");
    metrics.failure("bad_request");
    metrics.lookup("redis", "hit", duration);
    metrics.invalidation("push");
    metrics.set_redis_up(true);
    metrics.redis_reconnected();
    metrics.dial("connected", duration);
    metrics.dial_retried();
    metrics.streams().opened("copy");
    metrics.streams().closed("copy", "client", "fin", duration);
    metrics.streams().promoted("sockmap");
    metrics.streams().promotion_refused("full");
    metrics.streams().demoted("sockmap", "pressure");
    metrics.streams().set_available("sockmap", true);
    metrics.set_drain_state(DrainState::Draining);
    metrics.streams().set_totals(Arc::new(Totals(AtomicU64::new(1))));
}

/// A registry with this many streams.
struct Totals(AtomicU64);

impl StreamTotals for Totals {
    fn bytes(&self) -> Vec<(&'static str, &'static str, u64)> {
        vec![("copy", "up", 700), ("copy", "down", 9_000_000_000), ("sockmap", "up", 6), ("sockmap", "down", 7)]
    }

    fn skbs(&self) -> Vec<(&'static str, u64)> {
        vec![("up", 2), ("down", 3)]
    }

    fn unspliced(&self) -> Vec<(&'static str, u64)> {
        Unspliced::ALL.map(|reason| (reason.label(), 1)).to_vec()
    }

    fn open(&self) -> Vec<(&'static str, u64)> {
        match self.0.load(Ordering::Relaxed) {
            0 => vec![],
            count => vec![("copy", count)],
        }
    }
}

#[test]
fn every_metric_of_the_table_is_rendered_with_its_type_and_nothing_else_is() {
    let metrics = Metrics::new();
    count_everything_once(&metrics);
    metrics.collection_errors.with(["process"]).increment(1);
    let text = metrics.render();
    let rendered: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let table: Vec<String> = METRICS.iter().map(|spec| format!("{} {}", spec.name, spec.kind.as_str())).collect();
    assert_eq!(rendered, table.iter().map(String::as_str).collect());
    assert_eq!(text.matches("# HELP ").count(), METRICS.len());
}

#[test]
fn each_call_counts_in_its_own_series() {
    let metrics = Metrics::new();
    count_everything_once(&metrics);
    assert_series(
        &metrics,
        &[
            (concat!(r#"gateway_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#), 1.0),
            ("gateway_connections_accepted_total", 1.0),
            ("gateway_connections_open", 1.0),
            (r#"gateway_connections_rejected_total{reason="descriptors"}"#, 1.0),
            (r#"gateway_http_requests_total{source="path",method="GET",code="200"}"#, 1.0),
            (r#"gateway_http_request_duration_seconds_bucket{source="path",le="0.0025"}"#, 0.0),
            (r#"gateway_http_request_duration_seconds_bucket{source="path",le="0.005"}"#, 1.0),
            (r#"gateway_http_rejected_total{rule="two_hosts"}"#, 1.0),
            (r#"gateway_failures_total{code="bad_request"}"#, 1.0),
            (r#"gateway_directory_lookups_total{source="redis",outcome="hit"}"#, 1.0),
            (r#"gateway_directory_lookup_duration_seconds_count{source="redis"}"#, 1.0),
            (r#"gateway_directory_invalidations_total{cause="push"}"#, 1.0),
            ("gateway_redis_up", 1.0),
            ("gateway_redis_reconnects_total", 1.0),
            (r#"gateway_upstream_dials_total{outcome="connected"}"#, 1.0),
            (r#"gateway_upstream_dial_duration_seconds_sum{outcome="connected"}"#, 0.003),
            ("gateway_upstream_dial_retries_total", 1.0),
            (r#"gateway_streams_opened_total{engine="copy"}"#, 1.0),
            (r#"gateway_streams_closed_total{engine="copy",side="client",reason="fin"}"#, 1.0),
            (r#"gateway_stream_duration_seconds_bucket{engine="copy",le="86400"}"#, 1.0),
            (r#"gateway_stream_promotions_total{engine="sockmap"}"#, 1.0),
            (r#"gateway_stream_promotions_refused_total{reason="full"}"#, 1.0),
            (r#"gateway_stream_demotions_total{engine="sockmap",reason="pressure"}"#, 1.0),
            (r#"gateway_engine_available{engine="sockmap"}"#, 1.0),
            ("gateway_drain_state", 1.0),
        ],
    );
    metrics.connection_closed();
    assert_series(&metrics, &[("gateway_connections_open", 0.0), ("gateway_connections_accepted_total", 1.0)]);
}

#[test]
fn streams_are_read_at_the_scrape_and_an_engine_that_is_not_named_has_none() {
    let metrics = Metrics::new();
    let totals = Arc::new(Totals(AtomicU64::new(12)));
    metrics.streams().set_totals(totals.clone());
    assert_series(
        &metrics,
        &[
            (r#"gateway_streams_open{engine="copy"}"#, 12.0),
            (r#"gateway_stream_bytes_total{engine="copy",direction="up"}"#, 700.0),
            (r#"gateway_stream_bytes_total{engine="copy",direction="down"}"#, 9_000_000_000.0),
            (r#"gateway_stream_bytes_total{engine="sockmap",direction="down"}"#, 7.0),
            (r#"gateway_sockmap_skbs_total{direction="up"}"#, 2.0),
        ],
    );
    totals.0.store(0, Ordering::Relaxed);
    assert_series(&metrics, &[(r#"gateway_streams_open{engine="copy"}"#, 0.0)]);
}

#[test]
fn what_a_peer_chooses_cannot_make_new_series() {
    let metrics = Metrics::new();
    for (method, code) in [("BREW", 299), ("get", 290), ("PROPFIND", 298)] {
        metrics.request("cookie", method, code, Duration::ZERO);
    }
    metrics.request("none", "GET", 999, Duration::ZERO);
    metrics.request("none", "GET", 65_535, Duration::ZERO);
    metrics.request("none", "GET", 7, Duration::ZERO);
    assert_series(
        &metrics,
        &[
            (r#"gateway_http_requests_total{source="cookie",method="other",code="200"}"#, 3.0),
            (r#"gateway_http_requests_total{source="none",method="GET",code="other"}"#, 3.0),
        ],
    );
    assert_eq!(metrics.render().matches("gateway_http_requests_total{").count(), 2);
}

#[test]
fn every_registered_code_keeps_its_number() {
    let metrics = Metrics::new();
    for code in names::CODE.values.iter().filter_map(|code| code.parse().ok()) {
        metrics.request("path", "GET", code, Duration::ZERO);
    }
    let text = metrics.render();
    for code in names::CODE.values.iter().filter(|code| **code != names::OTHER) {
        let series = format!(r#"gateway_http_requests_total{{source="path",method="GET",code="{code}"}}"#);
        assert_eq!(value(&text, &series), Some(1.0), "{series}");
    }
}

#[test]
#[should_panic(expected = "engine=\"warp\" is not listed")]
fn a_label_value_that_our_own_code_invents_fails_a_test_build() {
    Metrics::new().streams().opened("warp");
}

#[test]
fn every_label_that_other_modules_use_is_listed() {
    let metrics = Metrics::new();
    for source in route::Source::ALL {
        metrics.request(source.label(), "GET", 200, Duration::ZERO);
    }
    for source in [
        LookupSource::Embedded,
        LookupSource::Cache,
        LookupSource::Redis,
        LookupSource::ControlPlane,
        LookupSource::Stale,
        LookupSource::Dns,
    ] {
        for outcome in [LookupOutcome::Hit, LookupOutcome::Miss, LookupOutcome::Error] {
            metrics.lookup(source.label(), outcome.label(), Duration::ZERO);
        }
    }
    for cause in [InvalidationCause::Push, InvalidationCause::Reconnect, InvalidationCause::DialFailure] {
        metrics.invalidation(cause.label());
    }
    for engine in tunnel::Engine::ALL {
        metrics.streams().opened(engine.label());
        for reason in tunnel::Reason::ALL {
            for side in [tunnel::Side::Client, tunnel::Side::Upstream, tunnel::Side::Gateway] {
                metrics.streams().closed(engine.label(), side.label(), reason.label(), Duration::ZERO);
            }
        }
    }
    for direction in tunnel::live::Direction::ALL {
        assert!(names::DIRECTION.values.contains(&direction.label()));
    }
}

#[test]
fn an_embedded_directory_has_no_redis_that_is_down() {
    let metrics = Metrics::new();
    assert!(!metrics.render().contains("gateway_redis_up "));
    metrics.set_redis_up(false);
    assert_series(&metrics, &[("gateway_redis_up", 0.0)]);
}

#[test]
fn counting_from_several_threads_loses_nothing() {
    let metrics = Arc::new(Metrics::new());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let metrics = Arc::clone(&metrics);
            std::thread::spawn(move || (0..1_000).for_each(|_| metrics.request("path", "POST", 204, Duration::ZERO)))
        })
        .collect();
    metrics.upkeep();
    for thread in threads {
        thread.join().expect("a counting thread does not panic");
    }
    assert_series(
        &metrics,
        &[
            (r#"gateway_http_requests_total{source="path",method="POST",code="204"}"#, 4_000.0),
            (r#"gateway_http_request_duration_seconds_count{source="path"}"#, 4_000.0),
        ],
    );
}
