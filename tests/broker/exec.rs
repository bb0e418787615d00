//! The end of a command: the exit frame, and what follows it.

use gateway_tests::websocket::{Frame, Role};

use super::{EXEC, PTY, Scene, assert_resumes};

fn exit(code: i32) -> Frame {
    Frame::binary([&[3][..], &code.to_be_bytes()].concat())
}

#[test]
fn a_completed_command_closes_its_client_once_whatever_its_code() {
    for code in [0, 7, -1] {
        let scene = Scene::start();
        for target in [EXEC, "/api/sandboxes/1/agent/one"] {
            let (mut client, worker) = scene.connect(target);
            worker.send_all(&[Frame::binary("\u{1}output"), exit(code), Frame::close(1000, "")]).unwrap();
            client.expect_all(&[Frame::binary("\u{1}output"), exit(code)]).unwrap();
            client.expect_close(1000, "exec completed").unwrap();
        }
        scene.worker.expect_no_call().unwrap();
    }
}

#[test]
fn an_exit_frame_in_pieces_is_one_all_the_same() {
    let scene = Scene::start();
    let (mut client, worker) = scene.connect(EXEC);
    worker.send_slowly(&exit(7)).unwrap();
    client.expect(&exit(7)).unwrap();
    // Without a closing handshake, as a worker that is killed afterwards.
    worker.reset().unwrap();
    client.expect_close(1000, "exec completed").unwrap();
    scene.worker.expect_no_call().unwrap();
}

#[test]
fn what_only_looks_like_an_exit_is_redialled() {
    let scene = Scene::with(&["--broker-flap-cycles-max", "9"]);
    let look_alikes = [
        Frame::binary([3, 0, 0, 0]),
        Frame::binary([3, 0, 0, 0, 0, 0]),
        Frame::binary([1, 0, 0, 0, 0]),
        Frame::text("\u{3}0000"),
    ];
    let (mut client, mut worker) = scene.connect(EXEC);
    for frame in look_alikes {
        worker.send(&frame).unwrap();
        client.expect(&frame).unwrap();
        drop(worker);
        worker = scene.worker.accept().unwrap();
    }
    assert_resumes(&mut client, &mut worker);

    // Not on a terminal.
    let (mut client, worker) = scene.connect(PTY);
    worker.send(&exit(0)).unwrap();
    client.expect(&exit(0)).unwrap();
    drop(worker);
    let mut worker = scene.worker.accept().unwrap();
    assert_resumes(&mut client, &mut worker);
}

/// A part of a frame that was never finished is no exit.
#[test]
fn half_an_exit_frame_reaches_nobody() {
    let scene = Scene::start();
    let (mut client, worker) = scene.connect(EXEC);
    worker.send_raw(&exit(0).encode(Role::Server)[..5]).unwrap();
    drop(worker);
    let mut worker = scene.worker.accept().unwrap();
    assert_resumes(&mut client, &mut worker);
}
