//! A worker that restarts, hangs or is gone, where nothing outlives it: what a stream's client sees of that.

use gateway_tests::websocket::{Frame, Opened, Socket};
use gateway_tests::wire::End;

use super::{Scene, TARGET};

#[test]
fn a_restarted_worker_is_reached_by_the_next_client_and_not_by_the_last() {
    let scene = Scene::start();
    let (mut client, worker) = scene.connect();
    scene.worker.stop().unwrap();
    worker.reset().unwrap();
    assert_eq!(client.end().unwrap(), (Vec::new(), End::Reset));
    let Opened::Refused(answer) = Socket::open(scene.gateway.addr(), TARGET, "").unwrap() else {
        panic!("nobody listens")
    };
    assert_eq!((answer.status(), answer.field("x-gateway-error")), (502, Some("upstream_unreachable")));

    scene.worker.restart().unwrap();
    let (mut client, mut worker) = scene.connect();
    client.exchange(&mut worker, "again").unwrap();
    scene.worker.expect_no_call().unwrap();
}

#[test]
fn a_worker_that_dies_within_a_frame_leaves_a_part_of_it() {
    let scene = Scene::start();
    let (mut client, worker) = scene.connect();
    let whole = Frame::binary(vec![7; 1000]).encode(gateway_tests::websocket::Role::Server);
    worker.send_raw(&whole[..600]).unwrap();
    drop(worker);
    assert_eq!(client.end().unwrap(), (whole[..600].to_vec(), End::Closed));
}

#[test]
fn a_client_that_leaves_a_hanging_handshake_is_not_waited_for() {
    let scene = Scene::start();
    let client = gateway_tests::wire::Client::connect(scene.gateway.addr()).unwrap();
    client.send(crate::scene::get(TARGET, gateway_tests::wire::UPGRADE_FIELDS)).unwrap();
    let hanging = scene.worker.call().unwrap();
    client.reset().unwrap();
    hanging.expect_abandoned().unwrap();
}
