//! How streams end: each direction once, after its last byte, a reset as a reset.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use gateway_tests::bridge::{Bridge, Ends, Path};
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::{PATIENCE, until};
use socket2::SockRef;

use super::{close_line, no_stream_left, on_every_path};

on_every_path!(
    half_close_leaves_the_other_direction,
    a_reset_becomes_a_reset,
    a_reset_behind_a_backlog_is_no_clean_end,
    a_close_with_a_backlog_delivers_all,
    an_operator_closes_a_stream,
    an_idle_stream_is_closed,
    a_lifetime_ends_a_stream,
    a_peer_that_keeps_sending_to_a_closed_one_does_not_cost_its_tail,
);

/// Both ways round.
fn either_way(bridge: &Bridge, story: impl Fn(Ends, &'static str)) {
    story(bridge.stream().unwrap(), "client");
    story(bridge.stream().unwrap().swapped(), "upstream");
}

/// An end that the gateway has decided. It has no connection of its own on `packet`, and a FIN in the name of an end
/// that lives would be one that nobody can answer for: that engine says it with a reset.
#[track_caller]
fn assert_ended_by_gateway(path: Path, end: &mut TcpStream) {
    let heard = end.read(&mut [0]);
    if path.engine == "packet" {
        assert_eq!(heard.expect_err("a reset is no end of stream").kind(), ErrorKind::ConnectionReset);
    } else {
        assert_eq!(heard.unwrap(), 0);
    }
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

mod stories {
    use super::*;

    pub(super) fn half_close_leaves_the_other_direction(path: Path) {
        const BYTES: usize = 1 << 20;
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        either_way(&bridge, |mut ends, _| {
            ends.client.write_all(b"last words").unwrap();
            ends.client.shutdown(Shutdown::Write).unwrap();
            let mut heard = Vec::new();
            ends.pod.read_to_end(&mut heard).unwrap();
            assert_eq!(heard, b"last words");
            // The end has arrived, and the way back is as good as ever.
            std::thread::scope(|scope| {
                let mut pod = ends.pod.try_clone().unwrap();
                scope.spawn(move || {
                    Pattern::new(5).write(&mut pod, BYTES, 9000, &mut Pattern::new(6)).unwrap();
                    pod.shutdown(Shutdown::Write).unwrap();
                });
                Pattern::new(5).read_to_end(&mut ends.client, BYTES).unwrap();
            });
        });
        no_stream_left(&bridge);
    }

    pub(super) fn a_reset_becomes_a_reset(path: Path) {
        for swap in [false, true] {
            let bridge = Bridge::start(path, |gateway| gateway).unwrap();
            let ends = bridge.stream().unwrap();
            let mut ends = if swap { ends.swapped() } else { ends };
            ends.client.write_all(b"x").unwrap();
            ends.pod.read_exact(&mut [0]).unwrap();
            reset(ends.client);
            let error = ends.pod.read(&mut [0]).expect_err("a reset is no end of stream");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let line = close_line(&bridge);
            let side = if swap { "upstream" } else { "client" };
            assert_eq!((&line["side"], &line["reason"]), (&side.into(), &"rst".into()), "{line}");
        }
    }

    /// What a reader that is slow had not got when the writer reset may be lost, but it must not take the rest for all.
    pub(super) fn a_reset_behind_a_backlog_is_no_clean_end(path: Path) {
        const BYTES_MAX: usize = 4 << 20;
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        for bytes in [1000, 100_000, BYTES_MAX] {
            either_way(&bridge, |mut ends, _| {
                ends.client.set_nonblocking(true).unwrap();
                let said = Pattern::new(15).take(bytes);
                let mut taken = 0;
                // As much as finds a place on the way to a reader that does not read.
                while let Ok(count) = ends.client.write(&said[taken..])
                    && count > 0
                {
                    taken += count;
                }
                reset(ends.client);
                let mut heard = Vec::new();
                let error = ends.pod.read_to_end(&mut heard).expect_err("a reset is no end of stream");
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                assert!(said[..taken].starts_with(&heard), "{} bytes that were not said", heard.len());
            });
        }
        no_stream_left(&bridge);
    }

    /// The writer has closed for good while most of its bytes are still on their way to a slow reader.
    pub(super) fn a_close_with_a_backlog_delivers_all(path: Path) {
        const BYTES: usize = 8 << 20;
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        either_way(&bridge, |mut ends, _| {
            let mut writer = ends.client;
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    Pattern::new(7).write(&mut writer, BYTES, 60_000, &mut Pattern::new(8)).unwrap();
                    drop(writer);
                });
                let mut pattern = Pattern::new(7);
                for _ in 0..16 {
                    pattern.read(&mut ends.pod, BYTES / 16).unwrap();
                    gateway_tests::wait::pause(Duration::from_millis(20));
                }
                assert_eq!(ends.pod.read(&mut [0]).unwrap(), 0, "a clean end after the last byte");
            });
        });
        no_stream_left(&bridge);
    }

    pub(super) fn an_operator_closes_a_stream(path: Path) {
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        let mut ends = bridge.stream().unwrap();
        let id = bridge.gateway.streams().unwrap()[0]["id"].clone();
        let status =
            gateway_tests::http::send(bridge.gateway.admin(), "DELETE", &format!("/streams/{id}")).unwrap().status;
        assert_eq!(status, 204);
        assert_ended_by_gateway(path, &mut ends.client);
        assert_ended_by_gateway(path, &mut ends.pod);
        let line = close_line(&bridge);
        assert_eq!((&line["side"], &line["reason"]), (&"gateway".into(), &"operator".into()), "{line}");
    }

    pub(super) fn an_idle_stream_is_closed(path: Path) {
        let bridge = Bridge::start(path, |gateway| gateway.args(["--stream-idle-timeout", "1s"])).unwrap();
        let mut ends = bridge.stream().unwrap();
        assert_ended_by_gateway(path, &mut ends.client);
        assert_eq!(close_line(&bridge)["reason"], "idle");
    }

    pub(super) fn a_lifetime_ends_a_stream(path: Path) {
        let bridge = Bridge::start(path, |gateway| gateway.args(["--stream-lifetime-max", "1s"])).unwrap();
        let mut ends = bridge.stream().unwrap();
        // A stream that is in use ends all the same.
        let mut writer = ends.pod.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while writer.write_all(b"tick").is_ok() {
                    gateway_tests::wait::pause(Duration::from_millis(20));
                }
            });
            let mut ticks = Vec::new();
            // Whether the end comes as one or as a reset depends on what the pod had on its way.
            let _ended = ends.client.read_to_end(&mut ticks);
            assert!(ticks.starts_with(b"tick"));
        });
        assert_eq!(close_line(&bridge)["reason"], "lifetime");
    }

    /// The pod has said everything and closed; the client has not read yet, and talks on. What it says cannot be
    /// delivered any more, and must not cost it what it was told.
    pub(super) fn a_peer_that_keeps_sending_to_a_closed_one_does_not_cost_its_tail(path: Path) {
        const BYTES: usize = 48 << 10;
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        let mut ends = bridge.stream().unwrap();
        Pattern::new(9).write(&mut ends.pod, BYTES, 3000, &mut Pattern::new(10)).unwrap();
        drop(ends.pod);
        // What had not left the pod when the reset comes would be lost on a direct connection, too.
        until("the gateway to have it all", PATIENCE, || {
            (bridge.gateway.streams().unwrap().first()?["bytes_down"] == BYTES).then_some(())
        })
        .unwrap();
        // The first words meet a closed socket, whose reset makes the gateway's later ones fail. Where the kernel takes
        // them there, the client may hear that reset itself, as from a pod without a gateway, and cannot say more; it
        // keeps what it has got. On `packet` it always does; on `sockmap`, where it comes before the worker has had its
        // turn to find the pod's end.
        for _ in 0..20 {
            let said = ends.client.write_all(&[0; 100]);
            assert!(said.is_ok() || path.is_kernel(), "{said:?}");
            gateway_tests::wait::pause(Duration::from_millis(5));
        }
        Pattern::new(9).read(&mut ends.client, BYTES).unwrap();
        match ends.client.read(&mut [0]) {
            Ok(0) => {}
            end => assert!(path.is_kernel() && end.is_err(), "{end:?}"),
        }
        drop(ends.client);
        let line = close_line(&bridge);
        if path.engine == "sockmap" && line["reason"] == "rst" {
            assert_eq!(line["side"], "upstream", "{line}");
            return;
        }
        assert_eq!((&line["side"], &line["reason"]), (&"upstream".into(), &"fin".into()), "{line}");
    }
}
