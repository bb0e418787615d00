//! Whatever another client does to the hash, the next request sees it; what nobody changes is asked for once.

use std::thread;

use gateway_tests::pod::Pod;
use gateway_tests::process::free_address;
use gateway_tests::wait::{self, PATIENCE};
use gateway_tests::wire::Client;
use redis::Commands;

use super::Scene;
use crate::users::{named, request_to, until_metric, who};

const UNKNOWN: &str = "404 sandbox_not_found";

/// Every way to change the hash, and what the sandbox is then. No pause, no retry: the server sends its pushes before
/// it answers the writer, so on one machine they have arrived when the next request does.
#[test]
fn the_next_request_sees_any_change_by_another_client() {
    let (blue, green) = (named("blue"), named("green"));
    let Some(scene) = Scene::start() else { return };
    let (to_blue, to_green) = (blue.address().to_string(), green.address().to_string());
    let hash = "vnc_sandboxes";
    let field = "Sandbox_ID_37579";
    assert_eq!(who(&scene.gateway, "37579"), UNKNOWN);
    let changes: [(&[&str], &str); 12] = [
        (&["HSET", hash, field, &to_blue], "200 blue"),
        (&["HSET", hash, field, &to_green], "200 green"),
        (&["HMSET", hash, "Sandbox_ID_1", &to_green, field, &to_blue], "200 blue"),
        (&["HDEL", hash, field], UNKNOWN),
        (&["HSETNX", hash, field, &to_green], "200 green"),
        (&["HSET", hash, "Sandbox_ID_2", &to_blue], "200 green"),
        (&["RENAME", hash, "elsewhere"], UNKNOWN),
        (&["COPY", "elsewhere", hash], "200 green"),
        (&["DEL", hash], UNKNOWN),
        (&["RENAME", "elsewhere", hash], "200 green"),
        (&["MOVE", hash, "7"], UNKNOWN),
        (&["EVAL", "return redis.call('hset', KEYS[1], ARGV[1], ARGV[2])", "1", hash, field, &to_green], "200 green"),
    ];
    for (change, expected) in changes {
        scene.command(change);
        assert_eq!(who(&scene.gateway, "37579"), expected, "after {change:?}");
    }
}

#[test]
fn a_sandbox_that_moves_all_the_time_is_followed() {
    let pods = [named("blue"), named("green")];
    let Some(scene) = Scene::start_with(&[], |gateway| gateway.args(["--log-level", "info,access=off"])) else {
        return;
    };
    let mut manager = redis::Client::open(scene.redis.url()).unwrap().get_connection().unwrap();
    for round in 0..300 {
        let (pod, expected) = (&pods[round % 2], ["200 blue", "200 green"][round % 2]);
        let () = manager.hset("vnc_sandboxes", "Sandbox_ID_1", pod.address().to_string()).unwrap();
        assert_eq!(who(&scene.gateway, "1"), expected, "in round {round}");
    }
}

/// The one push that Redis sends after its answer, a moment later.
#[test]
fn a_server_that_is_flushed_has_no_sandbox() {
    let blue = named("blue");
    let Some(scene) = Scene::start() else { return };
    let pushes = || scene.metric("gateway_directory_invalidations_total", &[("cause", "push")]);
    for flush in ["FLUSHDB", "FLUSHALL"] {
        scene.set("1", blue.address());
        assert_eq!(who(&scene.gateway, "1"), "200 blue");
        let before = pushes();
        scene.command(&[flush]);
        wait::until("the push", PATIENCE, || (pushes() > before).then_some(())).unwrap();
        assert_eq!(who(&scene.gateway, "1"), UNKNOWN, "after {flush}");
    }
}

#[test]
fn a_transaction_is_seen_whole() {
    let (blue, green) = (named("blue"), named("green"));
    let Some(scene) = Scene::start() else { return };
    scene.set("1", blue.address());
    assert_eq!(who(&scene.gateway, "1"), "200 blue");
    let mut manager = redis::Client::open(scene.redis.url()).unwrap().get_connection().unwrap();
    let mut swap = redis::pipe();
    swap.atomic().hdel("vnc_sandboxes", "Sandbox_ID_1");
    swap.hset("vnc_sandboxes", "Sandbox_ID_2", blue.address().to_string());
    swap.hset("vnc_sandboxes", "Sandbox_ID_1", green.address().to_string());
    swap.exec(&mut manager).unwrap();
    assert_eq!((who(&scene.gateway, "1"), who(&scene.gateway, "2")), ("200 green".to_owned(), "200 blue".to_owned()));
}

#[test]
fn a_hash_that_expires_is_gone_for_the_next_request() {
    let blue = named("blue");
    let Some(scene) = Scene::start() else { return };
    scene.set("1", blue.address());
    assert_eq!(who(&scene.gateway, "1"), "200 blue");
    let pushes = || scene.metric("gateway_directory_invalidations_total", &[("cause", "push")]);
    let before = pushes();
    scene.command(&["PEXPIRE", "vnc_sandboxes", "200"]);
    // One push says that it will expire, another that it has.
    wait::until("the hash to expire", PATIENCE, || (pushes() >= before + 2.0).then_some(())).unwrap();
    assert_eq!(scene.command(&["EXISTS", "vnc_sandboxes"]), "0");
    assert_eq!(who(&scene.gateway, "1"), UNKNOWN);
}

#[test]
fn a_change_of_anything_else_is_no_change() {
    let blue = named("blue");
    let Some(scene) = Scene::start() else { return };
    scene.set("1", blue.address());
    assert_eq!(who(&scene.gateway, "1"), "200 blue");
    let pushes = scene.metric("gateway_directory_invalidations_total", &[("cause", "push")]);
    scene.command(&["HSET", "sandboxes", "Sandbox_ID_1", "10.0.0.1:80"]);
    scene.command(&["SET", "another", "key"]);
    assert_eq!(who(&scene.gateway, "1"), "200 blue");
    assert_eq!(scene.metric("gateway_directory_invalidations_total", &[("cause", "push")]), pushes);
    assert_eq!(scene.hgets(), 1);
}

#[test]
fn ten_thousand_requests_to_a_hundred_sandboxes_cost_a_hundred_questions() {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 10_000;
    let pod = named("any");
    let Some(scene) = Scene::start_with(&[], |gateway| gateway.args(["--log-level", "info,access=off"])) else {
        return;
    };
    for sandbox in 0..100 {
        scene.set(&sandbox.to_string(), pod.address());
    }
    thread::scope(|scope| {
        for first in 0..CLIENTS {
            let gateway = &scene.gateway;
            scope.spawn(move || {
                let mut client = Client::connect(gateway.addr()).unwrap();
                for number in (first..REQUESTS).step_by(CLIENTS) {
                    let answer = client.ask(request_to(&(number % 100).to_string(), "")).unwrap();
                    assert_eq!(answer.status(), 200);
                }
            });
        }
    });
    // A request is counted once its answer has left.
    until_metric(&scene.gateway, "gateway_http_requests_total", &[("code", "200")], 10_000.0);
    assert!((100..=110).contains(&scene.hgets()), "{} questions", scene.hgets());
    let answered_by =
        |source| scene.metric("gateway_directory_lookups_total", &[("source", source), ("outcome", "hit")]);
    assert_eq!(answered_by("cache") + answered_by("redis"), 10_000.0);
    assert!(answered_by("cache") >= 9_800.0, "{}", answered_by("cache"));
}

#[test]
fn a_sandbox_that_does_not_exist_is_asked_for_once_a_second_at_most() {
    let Some(scene) = Scene::start_with(&[], |gateway| gateway.args(["--redis-negative-ttl", "1h"])) else { return };
    for _ in 0..100 {
        assert_eq!(who(&scene.gateway, "404"), UNKNOWN);
    }
    assert_eq!(scene.hgets(), 1);
    let late = named("late");
    scene.set("404", late.address());
    assert_eq!(who(&scene.gateway, "404"), "200 late");
}

/// The address of a pod goes to another sandbox: a kept connection leads to whom it was opened for, and nobody else.
#[test]
fn a_kept_connection_never_carries_another_sandboxs_request() {
    let pod = named("pod");
    let Some(scene) = Scene::start_with(&[], |gateway| gateway.args(["--workers", "1"])) else { return };
    let targets =
        |pod: &Pod| -> Vec<usize> { pod.connections().iter().map(|record| record.requests().len()).collect() };
    scene.set("1", pod.address());
    for _ in 0..3 {
        assert_eq!(who(&scene.gateway, "1"), "200 pod");
    }
    assert_eq!(targets(&pod), [3], "one connection is used again");

    // Recycled: the same address is sandbox 2 now.
    scene.remove("1");
    scene.set("2", pod.address());
    assert_eq!(who(&scene.gateway, "2"), "200 pod");
    assert_eq!(who(&scene.gateway, "1"), UNKNOWN);
    assert_eq!(targets(&pod), [3, 1], "the connection of sandbox 1 is not used for 2");

    // Gone and back: whatever listens there now may be another pod.
    scene.set("1", pod.address());
    assert_eq!(who(&scene.gateway, "1"), "200 pod");
    assert_eq!(targets(&pod), [3, 1, 1]);

    // Moved away and back.
    let other = named("other");
    scene.set("2", other.address());
    assert_eq!(who(&scene.gateway, "2"), "200 other");
    scene.set("2", pod.address());
    assert_eq!(who(&scene.gateway, "2"), "200 pod");
    assert_eq!(targets(&pod), [3, 1, 1, 1]);

    // A change of another sandbox closes nothing.
    scene.set("3", other.address());
    assert_eq!(who(&scene.gateway, "2"), "200 pod");
    assert_eq!(targets(&pod), [3, 1, 1, 2]);
}

#[test]
fn a_sandbox_that_is_written_before_it_listens_is_waited_for() {
    let Some(scene) = Scene::start() else { return };
    let nobody = free_address().unwrap();
    scene.set("1", nobody);
    assert_eq!(who(&scene.gateway, "1"), "502 upstream_unreachable");
    // "Connection refused" says that the host is there: no reason to ask the directory again.
    assert_eq!(scene.hgets(), 1);
    assert_eq!(scene.metric("gateway_upstream_dials_total", &[("outcome", "refused")]), 3.0);
    until_metric(&scene.gateway, "gateway_upstream_dial_retries_total", &[], 2.0);
}
