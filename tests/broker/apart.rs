//! Sessions of one sandbox have nothing to do with each other.

use gateway_tests::websocket::Frame;

use super::{PTY, Scene, assert_resumes};

#[test]
fn two_clients_never_see_each_others_frames() {
    let scene = Scene::start();
    let (mut one, mut one_worker) = scene.connect(PTY);
    let (mut two, mut two_worker) = scene.connect("/api/sandboxes/1/pty/two");
    for round in 0..20 {
        one.send(&Frame::text(format!("one {round}"))).unwrap();
        two.send(&Frame::text(format!("two {round}"))).unwrap();
        two_worker.expect(&Frame::text(format!("two {round}"))).unwrap();
        one_worker.expect(&Frame::text(format!("one {round}"))).unwrap();
        one_worker.send(&Frame::binary([round, 1])).unwrap();
        two_worker.send(&Frame::binary([round, 2])).unwrap();
        two.expect(&Frame::binary([round, 2])).unwrap();
        one.expect(&Frame::binary([round, 1])).unwrap();
    }
}

#[test]
fn one_clients_redial_does_not_disturb_the_other() {
    let scene = Scene::start();
    let (mut one, one_worker) = scene.connect(PTY);
    let (mut two, mut two_worker) = scene.connect("/api/sandboxes/1/pty/two");
    one_worker.reset().unwrap();
    let call = scene.worker.call().unwrap();
    assert_eq!(call.head.target(), "/sandboxes/1/pty/one");
    two.exchange(&mut two_worker, "meanwhile").unwrap();
    let mut one_worker = call.accept().unwrap();
    assert_resumes(&mut one, &mut one_worker);
    two.exchange(&mut two_worker, "undisturbed").unwrap();
    assert!(two.is_silent().unwrap() && two_worker.is_silent().unwrap());
    scene.worker.expect_no_call().unwrap();
}
