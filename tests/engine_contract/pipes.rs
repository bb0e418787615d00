//! The pipes of the `splice` engine: who has one when, and what happens where there is none.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use gateway_tests::bridge::{Bridge, Ends, Path};
use gateway_tests::memory;
use gateway_tests::need::{Need, is_missing};
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::{PATIENCE, pause, until};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, SockRef, Socket, Type};

/// The paths that use pipes.
fn paths() -> impl Iterator<Item = Path> {
    super::PATHS.into_iter().filter(|path| path.engine == "splice" && !path.is_missing())
}

fn pipes(bridge: &Bridge) -> usize {
    memory::pipes(bridge.gateway.pid()).unwrap().len()
}

fn no_pipe_left(bridge: &Bridge) {
    until("the pipes to be gone", PATIENCE, || (pipes(bridge) == 0).then_some(())).unwrap();
}

/// Sends a pattern from the pod to the client, and checks it there.
fn carry(ends: &mut Ends, seed: u64, bytes: usize) {
    let mut writer = ends.pod.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            Pattern::new(seed).write(&mut writer, bytes, 200_000, &mut Pattern::new(!seed)).unwrap();
        });
        Pattern::new(seed).read(&mut ends.client, bytes).unwrap();
    });
}

/// A client for which little is held on its way: its receive buffer is small, and so are its segments, after which the
/// gateway's kernel sizes the send buffer.
fn narrow_client(bridge: &Bridge) -> TcpStream {
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    client.set_recv_buffer_size(16 << 10).unwrap();
    client.set_tcp_mss(536).unwrap();
    client.connect(&bridge.gateway.addr().into()).unwrap();
    client.into()
}

/// All of them have carried something large, and are alive.
#[test]
fn idle_streams_hold_no_pipe_and_no_buffer() {
    const STREAMS: usize = 2_000;
    /// A stream's task, its record and its sockets' bookkeeping, in a development build; the smallest buffers for both
    /// directions, 8 KiB, would not fit in.
    const STREAM_BYTES_MAX: u64 = 12 << 10;
    memory::raise_descriptor_limit().unwrap();
    for path in paths() {
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        let pid = bridge.gateway.pid();
        // What is allocated once, the pool of chunks above all, does not count.
        carry(&mut bridge.stream().unwrap(), 1, 8 << 20);
        let before = memory::resident(pid).unwrap();
        let mut streams: Vec<Ends> = (0..STREAMS).map(|_| bridge.stream().unwrap()).collect();
        for (seed, ends) in streams.iter_mut().enumerate() {
            carry(ends, seed as u64, 20_000);
        }
        no_pipe_left(&bridge);
        assert_eq!(bridge.gateway.streams().unwrap().len(), STREAMS);
        let each = memory::resident(pid).unwrap().saturating_sub(before) / STREAMS as u64;
        println!("{path:?}: {each} bytes each");
        assert!(each < STREAM_BYTES_MAX, "{path:?}: an idle stream costs {each} bytes");
        // They still work.
        for (seed, ends) in streams.iter_mut().enumerate().step_by(100) {
            carry(ends, seed as u64, 20_000);
        }
    }
}

/// The bytes of a reader that is slower than its writer lie in a pipe; once it has stalled for good, they do not.
#[test]
fn a_stalled_reader_gives_its_pipe_up_and_loses_nothing() {
    const BYTES: usize = 32 << 20;
    for path in paths() {
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        let mut ends = bridge.stream().unwrap();
        let mut writer = ends.pod.try_clone().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                Pattern::new(3).write(&mut writer, BYTES, 100_000, &mut Pattern::new(4)).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut read = 0;
            let mut pattern = Pattern::new(3);
            until("bytes in a pipe", PATIENCE, || {
                if read < BYTES / 2 {
                    pattern.read(&mut ends.client, 32 << 10).unwrap();
                    read += 32 << 10;
                }
                has_bytes_in_a_pipe(&bridge).then_some(())
            })
            .unwrap();
            no_pipe_left(&bridge);
            pattern.read(&mut ends.client, BYTES - read).unwrap();
            assert_eq!(ends.client.read(&mut [0]).unwrap(), 0);
        });
        let counted = [("engine", "splice"), ("direction", "down")];
        assert_eq!(bridge.gateway.metric("gateway_stream_bytes_total", &counted).unwrap(), BYTES as f64);
    }
}

/// More streams stall than there are pipes. The others go on as before, and so do those when their readers come back.
#[test]
fn stalled_streams_leave_pipes_for_the_others() {
    const STALLED: u64 = 300;
    const BYTES: usize = 512 << 10;
    /// Of both workers: `PIPES_MAX` of `gateway/src/sys/pipe.rs`.
    const PIPES_MAX: usize = 2 * 64;
    for path in paths() {
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        let stalled: Vec<Ends> =
            (0..STALLED).map(|_| bridge.stream_from(narrow_client(&bridge), b"", b"").unwrap()).collect();
        thread::scope(|scope| {
            for (ends, seed) in stalled.iter().zip(0..) {
                let mut pod = ends.pod.try_clone().unwrap();
                SockRef::from(&pod).set_send_buffer_size(4096).unwrap();
                scope.spawn(move || {
                    Pattern::new(seed).write(&mut pod, BYTES, 65_536, &mut Pattern::new(!seed)).unwrap();
                });
            }
            let most = until("the pipes to run out", PATIENCE, || {
                let most = pipes(&bridge);
                (most + 8 > PIPES_MAX).then_some(most)
            })
            .unwrap();
            assert!(most <= PIPES_MAX, "{most} pipes");
            for seed in 0..8 {
                carry(&mut bridge.stream().unwrap(), seed, 1 << 20);
            }
            let most = pipes(&bridge);
            assert!(most <= PIPES_MAX, "{most} pipes");
            // Given up by those that have stalled for good.
            no_pipe_left(&bridge);
            for (mut ends, seed) in stalled.into_iter().zip(0..) {
                scope.spawn(move || Pattern::new(seed).read(&mut ends.client, BYTES).unwrap());
            }
        });
    }
}

/// Without a descriptor there is no pipe. What would have gone through it is copied.
#[test]
fn bytes_are_copied_where_no_pipe_can_be_made() {
    if is_missing(&[Need::Program("prlimit")]) {
        return;
    }
    for path in paths() {
        let bridge = Bridge::start(path, |gateway| gateway).unwrap();
        let mut ends = bridge.stream().unwrap();
        let limit = |descriptors: &str| {
            let pid = bridge.gateway.pid().to_string();
            let status = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={descriptors}:")]).status();
            assert!(status.unwrap().success());
        };
        limit("3");
        carry(&mut ends, 5, 16 << 20);
        let mut ends = ends.swapped();
        carry(&mut ends, 6, 16 << 20);
        assert_eq!(pipes(&bridge), 0);
        limit("1000");
        // From then on it has pipes again.
        let mut writer = ends.pod.try_clone().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || Pattern::new(7).write(&mut writer, 8 << 20, 65_536, &mut Pattern::new(8)).unwrap());
            until("a pipe", PATIENCE, || (pipes(&bridge) > 0).then_some(())).unwrap();
            Pattern::new(7).read(&mut ends.client, 8 << 20).unwrap();
        });
    }
}

fn has_bytes_in_a_pipe(bridge: &Bridge) -> bool {
    // Room for what a pump does between two looks.
    pause(Duration::from_millis(2));
    memory::pipes(bridge.gateway.pid()).unwrap().values().any(|path| {
        let mut options = OpenOptions::new();
        let opened = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
        opened.is_ok_and(|pipe| {
            let mut readable = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
            poll(&mut readable, PollTimeout::ZERO) == Ok(1)
        })
    })
}
