//! A stream lives as long as its sandbox stands in the directory, and not a second longer; nor a second shorter.

use std::time::{Duration, Instant};

use gateway_tests::wait::PATIENCE;
use gateway_tests::wire::End;

use super::Scene;
use crate::users::{Stream, named, until_metric, until_ready, who};

/// A second is what is promised; the rest is for a machine under load.
const CLOSED_WITHIN: Duration = Duration::from_secs(3);

#[test]
fn the_streams_of_a_sandbox_that_leaves_are_closed_and_no_others() {
    let (blue, green) = (named("blue"), named("green"));
    let Some(scene) = Scene::start() else { return };
    scene.set("1", blue.address());
    scene.set("2", blue.address());
    scene.set("3", green.address());
    let mut leaving = [Stream::open(&scene.gateway, "1"), Stream::open(&scene.gateway, "1")];
    let mut moving = Stream::open(&scene.gateway, "2");
    let mut staying = Stream::open(&scene.gateway, "3");

    let left_at = Instant::now();
    scene.remove("1");
    for stream in &mut leaving {
        let (rest, _) = stream.client.end().unwrap();
        assert_eq!(rest, b"");
    }
    assert!(left_at.elapsed() < CLOSED_WITHIN, "took {:?}", left_at.elapsed());
    until_gone(&scene, 2.0);
    let closed = scene.gateway.logged("the closing line", PATIENCE, |record| record["message"] == "stream closed");
    let closed = closed.unwrap();
    let fields = ["sandbox", "side", "reason", "bytes_up", "bytes_down"].map(|field| closed[field].clone());
    assert_eq!(serde_json::json!(fields), serde_json::json!(["1", "gateway", "sandbox_gone", 6, 6]));

    // A stream is not moved with its sandbox, but it is not cut for that either: the pod decides when it ends.
    scene.set("2", green.address());
    assert_eq!(who(&scene.gateway, "2"), "200 green");
    moving.echo("still with blue");
    staying.echo("still here");

    scene.command(&["DEL", "vnc_sandboxes"]);
    for stream in [&mut moving, &mut staying] {
        assert_eq!(stream.client.end().unwrap().0, b"");
    }
    until_gone(&scene, 4.0);
    assert_eq!(scene.gateway.streams().unwrap().len(), 0);
}

#[test]
fn an_outage_closes_no_stream_and_what_left_meanwhile_is_closed_after_it() {
    let blue = named("blue");
    let Some(mut scene) = Scene::start() else { return };
    scene.set("1", blue.address());
    scene.set("2", blue.address());
    let mut streams = ["1", "2"].map(|sandbox| Stream::open(&scene.gateway, sandbox));
    scene.redis.kill().unwrap();
    until_ready(&scene.gateway, 503);
    streams.iter_mut().for_each(|stream| stream.echo("without a directory"));
    // A sandbox that is known can be connected to.
    let mut another = Stream::open(&scene.gateway, "2");

    scene.redis.restart().unwrap();
    until_ready(&scene.gateway, 200);
    streams.iter_mut().for_each(|stream| stream.echo("with it again"));
    scene.remove("1");
    let [first, second] = &mut streams;
    assert_eq!(first.client.end().unwrap().0, b"");
    second.echo("alive");
    another.echo("alive");
    until_gone(&scene, 1.0);
}

/// A server that has lost its data looks like one whose sandboxes have all gone. Cutting every user off would be the
/// wrong guess.
#[test]
fn a_server_that_comes_back_empty_closes_no_stream_until_it_has_spoken() {
    let (blue, green) = (named("blue"), named("green"));
    let Some(mut scene) = Scene::start() else { return };
    scene.set("1", blue.address());
    scene.set("2", blue.address());
    let [mut first, mut second] = ["1", "2"].map(|sandbox| Stream::open(&scene.gateway, sandbox));
    scene.redis.replace().unwrap();
    until_metric(&scene.gateway, "gateway_redis_reconnects_total", &[], 1.0);
    assert_eq!(scene.gateway.readiness().unwrap(), 503, "an empty server is no directory");
    assert_eq!(
        (who(&scene.gateway, "1"), who(&scene.gateway, "9")),
        ("200 blue".into(), "503 directory_unavailable".into())
    );

    // Its manager begins to fill it again: what it has is believed, what it lacks is not lost yet.
    scene.set("3", green.address());
    until_ready(&scene.gateway, 200);
    assert_eq!((who(&scene.gateway, "3"), who(&scene.gateway, "1")), ("200 green".into(), "200 blue".into()));
    first.echo("alive");
    second.echo("alive");

    // What it has said it may take back.
    scene.set("1", blue.address());
    assert_eq!(who(&scene.gateway, "1"), "200 blue");
    scene.remove("1");
    let (rest, end) = first.client.end().unwrap();
    assert!(rest.is_empty() && matches!(end, End::Closed | End::Reset));
    until_gone(&scene, 1.0);
    second.echo("alive");
}

fn until_gone(scene: &Scene, count: f64) {
    let labels = [("side", "gateway"), ("reason", "sandbox_gone")];
    until_metric(&scene.gateway, "gateway_streams_closed_total", &labels, count);
    assert_eq!(scene.metric("gateway_streams_closed_total", &[("reason", "sandbox_gone")]), count);
}
