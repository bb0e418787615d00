//! Redis comes and goes; whatever table a worker has, it keeps nothing of old connections and sees every change.

use std::time::Duration;

use gateway_tests::memory;
use gateway_tests::wait::{self, PATIENCE, pause};

use super::Scene;
use crate::users::{named, until_metric, until_ready, who};

/// Requests, each on a connection of its own, so that the kernel gives every worker some.
const REQUESTS: usize = 12;

#[test]
fn reconnects_leave_no_descriptor_behind_and_every_worker_sees_the_next_change() {
    const RECONNECTS: u32 = 6;
    let (blue, green) = (named("blue"), named("green"));
    let arguments = ["--workers", "2", "--pool-idle-max", "0"];
    let Some(mut scene) = Scene::start_with(&[], |gateway| gateway.args(arguments)) else { return };
    let pid = scene.gateway.pid();
    assert_follows(&scene, [(&blue, "200 blue"), (&green, "200 green")]);
    let quiet = || {
        wait::until("descriptors to stay the same", PATIENCE, || {
            let before = memory::descriptors(pid).ok()?;
            pause(Duration::from_millis(100));
            (memory::descriptors(pid).ok()? == before).then_some(before)
        })
    };
    let descriptors = quiet().unwrap();
    let shared = memory::shared_sockets(pid).unwrap();
    for reconnects in 1..=RECONNECTS {
        if reconnects % 2 == 0 {
            // While nobody is connected, the workers look as well.
            scene.redis.kill().unwrap();
            until_ready(&scene.gateway, 503);
            assert_eq!(who(&scene.gateway, "1"), "200 green", "a known sandbox goes on");
        }
        scene.redis.restart().unwrap();
        until_metric(&scene.gateway, "gateway_redis_reconnects_total", &[], f64::from(reconnects));
        until_ready(&scene.gateway, 200);
        assert_follows(&scene, [(&blue, "200 blue"), (&green, "200 green")]);
    }
    let settled = || (memory::descriptors(pid).ok()? == descriptors).then_some(());
    wait::until("what was open before to be open, and no more", PATIENCE, settled).unwrap();
    assert_eq!(memory::shared_sockets(pid).unwrap(), shared);
    scene.redis.kill().unwrap();
    let closed = || (memory::descriptors(pid).ok()? == descriptors - 1).then_some(());
    wait::until("the only connection to be closed", PATIENCE, closed).unwrap();
}

/// The sandbox moves to and fro, and each worker sends the next requests after it.
fn assert_follows<const N: usize>(scene: &Scene, pods: [(&gateway_tests::pod::Pod, &str); N]) {
    for (pod, expected) in pods {
        scene.set("1", pod.address());
        for _ in 0..REQUESTS {
            assert_eq!(who(&scene.gateway, "1"), expected);
        }
    }
}
