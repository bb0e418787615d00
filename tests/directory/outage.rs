//! The server hangs, dies, comes back, comes back as another one, or answers errors: known sandboxes go on, unknown
//! ones are told at once, readiness follows, and nobody restarts the gateway.

use std::thread;
use std::time::{Duration, Instant};

use gateway_tests::redis::RedisServer;
use gateway_tests::wait::{self, PATIENCE};

use super::{Scene, command, set};
use crate::users::{get, named, until_ready, who};

const UNKNOWN: &str = "404 sandbox_not_found";
const UNAVAILABLE: &str = "503 directory_unavailable";

/// What a client of an unknown sandbox waits at most is a second; the other is this machine's.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How many clients ask at one moment.
const CLIENTS: usize = 20;

#[test]
fn a_server_that_hangs() {
    let blue = named("blue");
    let Some(scene) = Scene::start() else { return };
    scene.set("1", blue.address());
    assert_eq!(who(&scene.gateway, "1"), "200 blue");
    scene.redis.stop().unwrap();
    // Nobody has noticed yet: these are the ones that could wait for long.
    assert_unknown_is_told(&scene, "7");
    until_ready(&scene.gateway, 503);
    assert_outage(&scene);
    scene.redis.cont().unwrap();
    assert_recovery(&scene);
}

#[test]
fn a_server_that_hangs_unasked_turns_readiness_red() {
    let Some(scene) = Scene::start() else { return };
    scene.redis.stop().unwrap();
    until_ready(&scene.gateway, 503);
    assert_eq!(scene.metric("gateway_redis_up", &[]), 0.0);
    scene.redis.cont().unwrap();
    until_ready(&scene.gateway, 200);
    assert_eq!(scene.metric("gateway_redis_up", &[]), 1.0);
}

#[test]
fn a_server_that_dies_and_comes_back_with_its_data() {
    let blue = named("blue");
    let Some(mut scene) = Scene::start() else { return };
    scene.set("1", blue.address());
    assert_eq!(who(&scene.gateway, "1"), "200 blue");
    scene.redis.kill().unwrap();
    until_ready(&scene.gateway, 503);
    assert_outage(&scene);
    scene.redis.restart().unwrap();
    assert_recovery(&scene);
    // It is asked again, and says when something changes.
    let green = named("green");
    scene.set("1", green.address());
    assert_eq!(who(&scene.gateway, "1"), "200 green");
    assert!(scene.metric("gateway_redis_reconnects_total", &[]) >= 1.0);
}

#[test]
fn a_server_that_is_not_there_at_the_start_is_waited_for() {
    let Some(mut scene) = Scene::start() else { return };
    scene.redis.kill().unwrap();
    let gateway = gateway_tests::gateway::Gateway::builder().redis(scene.redis.url()).start().unwrap();
    assert_eq!(gateway.readiness().unwrap(), 503);
    assert_eq!(who(&gateway, "1"), UNAVAILABLE);
    scene.redis.restart().unwrap();
    until_ready(&gateway, 200);
    assert_eq!(who(&gateway, "1"), UNKNOWN);
}

#[test]
fn another_server_with_other_data_in_its_place_is_believed() {
    let (blue, green) = (named("blue"), named("green"));
    let Some(mut scene) = Scene::start() else { return };
    scene.set("1", blue.address());
    scene.set("2", blue.address());
    assert_eq!((who(&scene.gateway, "1"), who(&scene.gateway, "2")), ("200 blue".into(), "200 blue".into()));

    let other = RedisServer::start().unwrap();
    set(&other.url(), "1", green.address());
    set(&other.url(), "3", green.address());
    scene.redis.kill().unwrap();
    until_ready(&scene.gateway, 503);
    // Since Redis 7 a running server can change its port.
    command(&other.url(), &["CONFIG", "SET", "port", &scene.redis.address().port().to_string()]);
    until_ready(&scene.gateway, 200);
    for (sandbox, expected) in [("1", "200 green"), ("3", "200 green"), ("2", UNKNOWN)] {
        assert_eq!(who(&scene.gateway, sandbox), expected, "{sandbox}");
    }
}

#[test]
fn a_key_of_another_type_is_an_outage_until_it_is_a_hash_again() {
    let (blue, green) = (named("blue"), named("green"));
    let Some(scene) = Scene::start() else { return };
    scene.set("1", blue.address());
    assert_eq!(who(&scene.gateway, "1"), "200 blue");
    scene.command(&["SET", "vnc_sandboxes", "not a hash"]);
    until_ready(&scene.gateway, 503);
    assert_outage(&scene);
    let complaint = scene.gateway.logged("a complaint", PATIENCE, |record| record["level"] == "WARN").unwrap();
    assert!(complaint["error"].as_str().unwrap().contains("WRONGTYPE"), "{complaint}");
    scene.command(&["DEL", "vnc_sandboxes"]);
    scene.set("1", green.address());
    until_ready(&scene.gateway, 200);
    assert_eq!((who(&scene.gateway, "1"), who(&scene.gateway, "700")), ("200 green".into(), UNKNOWN.into()));
}

#[test]
fn a_server_that_wants_a_password_all_at_once() {
    let blue = named("blue");
    let Some(scene) = Scene::start() else { return };
    scene.set("1", blue.address());
    assert_eq!(who(&scene.gateway, "1"), "200 blue");
    let mut manager = redis::Client::open(scene.redis.url()).unwrap().get_connection().unwrap();
    redis::cmd("CONFIG").arg(&["SET", "requirepass", "secret"]).exec(&mut manager).unwrap();
    // Who was let in before stays in, so the gateway is put out.
    redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).exec(&mut manager).unwrap();
    until_ready(&scene.gateway, 503);
    assert_outage(&scene);
    redis::cmd("CONFIG").arg(&["SET", "requirepass", ""]).exec(&mut manager).unwrap();
    assert_recovery(&scene);
}

#[test]
fn a_server_that_still_loads_its_data() {
    /// What loading takes: commands times the delay of each. Clients are answered after every 1,024 commands.
    const COMMANDS: usize = 8 * 1024;
    let blue = named("blue");
    let Some(mut scene) = Scene::start_with(&["--key-load-delay", "250"], |gateway| gateway) else { return };
    scene.set("1", blue.address());
    assert_eq!(who(&scene.gateway, "1"), "200 blue");
    let mut manager = redis::Client::open(scene.redis.url()).unwrap().get_connection().unwrap();
    let mut filling = redis::pipe();
    (0..COMMANDS).for_each(|number| {
        filling.hset("filling", number, number).ignore();
    });
    filling.exec(&mut manager).unwrap();
    scene.redis.kill().unwrap();
    until_ready(&scene.gateway, 503);
    let Scene { gateway, redis } = &mut scene;
    let url = redis.url();
    thread::scope(|scope| {
        // The server must be started from this thread, because it ends with the thread that started it.
        let gateway = &*gateway;
        scope.spawn(move || {
            wait::until("the server to load", PATIENCE, || says_loading(&url).then_some(())).unwrap();
            assert_eq!((who(gateway, "1"), who(gateway, "700")), ("200 blue".into(), UNAVAILABLE.into()));
            assert_eq!(gateway.readiness().unwrap(), 503);
        });
        redis.restart().unwrap();
    });
    assert_recovery(&scene);
}

fn says_loading(url: &str) -> bool {
    let asked = redis::Client::open(url).unwrap().get_connection();
    let asked = asked.and_then(|mut connection| redis::cmd("HLEN").arg("vnc_sandboxes").exec(&mut connection));
    asked.is_err_and(|error| error.kind() == redis::ServerErrorKind::BusyLoading.into())
}

/// Sandbox 1 is known and goes on; an unknown one is told that nobody knows, by many at once and within the second.
fn assert_outage(scene: &Scene) {
    let stale = || scene.metric("gateway_directory_lookups_total", &[("source", "stale"), ("outcome", "hit")]);
    let before = stale();
    for _ in 0..10 {
        assert_eq!(who(&scene.gateway, "1"), "200 blue");
    }
    assert_eq!(stale(), before + 10.0);
    assert_unknown_is_told(scene, "8");
    assert_eq!(scene.gateway.readiness().unwrap(), 503);
    assert_eq!(scene.metric("gateway_redis_up", &[]), 0.0);
}

fn assert_unknown_is_told(scene: &Scene, sandbox: &str) {
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let asked_at = Instant::now();
                let answer = get(&scene.gateway, &format!("{sandbox}0{client}"));
                assert!(asked_at.elapsed() < ANSWER_WITHIN, "took {:?}", asked_at.elapsed());
                assert_eq!((answer.status(), answer.field("x-gateway-error")), (503, Some("directory_unavailable")));
                assert_eq!(answer.field("retry-after"), Some("1"));
                assert!(answer.text().contains("\"code\":\"directory_unavailable\""), "{answer:?}");
            });
        }
    });
}

fn assert_recovery(scene: &Scene) {
    until_ready(&scene.gateway, 200);
    assert_eq!((who(&scene.gateway, "1"), who(&scene.gateway, "700")), ("200 blue".into(), UNKNOWN.into()));
    assert_eq!(scene.metric("gateway_redis_up", &[]), 1.0);
}
