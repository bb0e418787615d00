//! Streams that are sent into the kernel and called back at random moments of random traffic.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use gateway_tests::bridge::{Bridge, Path};
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::{PATIENCE, until};

use super::talk::{Talk, breathe};
use super::{AUTO, SOCKMAP, demote, demotions, engine, id, is_unavailable, promote, promotions, start, until_engine};

/// What all randomness of these stories comes from.
const SEED: u64 = 20_261_122;

#[test]
fn hundreds_of_streams_lose_nothing_to_an_operator_who_keeps_switching_them() {
    if is_unavailable() {
        return;
    }
    for path in [SOCKMAP, AUTO] {
        switched_at_random(path);
    }
}

/// Enough of everything for the story.
struct Goal {
    is_reached: AtomicBool,
    /// Streams that were opened so far.
    opened: AtomicU32,
}

const STREAMS: u32 = 800;
const SWITCHES: f64 = 600.0;

fn switched_at_random(path: Path) {
    const DRIVERS: u64 = 4;
    let bridge = start(path);
    let goal = Goal { is_reached: AtomicBool::new(false), opened: AtomicU32::new(0) };
    let bytes: usize = thread::scope(|scope| {
        let drivers: Vec<_> = (0..DRIVERS)
            .map(|driver| {
                let (bridge, goal) = (&bridge, &goal);
                scope.spawn(move || drive(bridge, driver, goal))
            })
            .collect();
        operate(&bridge, &goal, &drivers);
        drivers.into_iter().map(|driver| driver.join().unwrap()).sum()
    });
    super::until_no_stream(&bridge);
    let (in_kernel, in_user_space) = (super::bytes_by(&bridge, "sockmap"), super::bytes_by(&bridge, "copy"));
    assert_eq!(in_kernel + in_user_space, bytes as f64);
    assert!(in_kernel > 0.0 && in_user_space > 0.0, "{in_kernel} bytes in the kernel, {in_user_space} outside");
    assert!(promotions(&bridge) >= SWITCHES && demotions(&bridge, "operator") >= SWITCHES);
}

/// Keeps some streams busy, each for a while, until the goal is reached; returns the bytes that were said.
fn drive(bridge: &Bridge, driver: u64, goal: &Goal) -> usize {
    const AT_ONCE: usize = 50;
    const BYTES_EACH: usize = 200_000;
    let mut dice = Pattern::new(SEED ^ driver);
    let mut buffer = vec![0; 64 << 10];
    let open = || {
        let number = goal.opened.fetch_add(1, Ordering::Relaxed);
        Talk::new(bridge.stream().unwrap(), SEED.wrapping_add(u64::from(number)))
    };
    let mut talks: Vec<Talk> = (0..AT_ONCE).map(|_| open()).collect();
    let mut bytes = 0;
    while !goal.is_reached.load(Ordering::Relaxed) {
        for _ in 0..AT_ONCE {
            let chosen = dice.below(AT_ONCE);
            talks[chosen].step(&mut dice, &mut buffer);
            if talks[chosen].sent() > BYTES_EACH {
                let talk = std::mem::replace(&mut talks[chosen], open());
                bytes += talk.sent();
                bytes += drop_at_its_end(talk, &mut buffer);
            }
        }
        breathe(&mut dice);
    }
    for talk in talks {
        bytes += talk.sent();
        bytes += drop_at_its_end(talk, &mut buffer);
    }
    bytes
}

/// What was still to be said, after it was heard.
fn drop_at_its_end(mut talk: Talk, buffer: &mut [u8]) -> usize {
    let before = talk.sent();
    talk.hear_out(buffer);
    let rest = talk.sent() - before;
    drop(talk.end(buffer));
    rest
}

/// Switches random streams until that was often enough and the drivers have opened enough streams.
fn operate<T>(bridge: &Bridge, goal: &Goal, drivers: &[thread::ScopedJoinHandle<'_, T>]) {
    const ORDERS_PER_LOOK: usize = 100;
    let mut dice = Pattern::new(!SEED);
    until("enough switches and streams", PATIENCE, || {
        let ids: Vec<u64> = bridge.gateway.streams().unwrap().iter().filter_map(|live| live["id"].as_u64()).collect();
        for _ in 0..if ids.is_empty() { 0 } else { ORDERS_PER_LOOK } {
            let id = ids[dice.below(ids.len())];
            let status = if dice.below(2) == 0 { demote(bridge, id) } else { promote(bridge, id) };
            // Some have ended since the list was made.
            assert!(status == 204 || status == 404, "{status}");
        }
        let switched = promotions(bridge) >= SWITCHES && demotions(bridge, "operator") >= SWITCHES;
        let enough = switched && goal.opened.load(Ordering::Relaxed) >= STREAMS;
        // A driver that has panicked never opens another stream.
        (enough || drivers.iter().any(thread::ScopedJoinHandle::is_finished)).then_some(())
    })
    .unwrap();
    goal.is_reached.store(true, Ordering::Relaxed);
}

/// The same stream over and over, while both ends talk.
#[test]
fn a_stream_goes_into_the_kernel_and_back_hundreds_of_times_under_traffic() {
    const ROUNDS: u32 = 200;
    if is_unavailable() {
        return;
    }
    for path in [SOCKMAP, AUTO] {
        let bridge = start(path);
        let ends = bridge.stream().unwrap();
        let id = id(&bridge, &ends);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let talking = scope.spawn(|| {
                let (mut dice, mut buffer) = (Pattern::new(SEED), vec![0; 64 << 10]);
                let mut talk = Talk::new(ends, SEED);
                while !is_over.load(Ordering::Relaxed) {
                    talk.step(&mut dice, &mut buffer);
                    breathe(&mut dice);
                }
                talk.hear_out(&mut buffer);
                talk.end(&mut buffer)
            });
            for _ in 0..ROUNDS {
                if talking.is_finished() {
                    break;
                }
                until("the stream to go into the kernel", PATIENCE, || {
                    // Again and again: an attempt that meets a message is made once a second otherwise.
                    assert_eq!(promote(&bridge, id), 204);
                    (engine(&bridge, id)? == "sockmap").then_some(())
                })
                .unwrap();
                assert_eq!(demote(&bridge, id), 204);
                until_engine(&bridge, id, "copy");
            }
            is_over.store(true, Ordering::Relaxed);
            drop(talking.join().unwrap());
        });
        let line = super::closing_line(&bridge, id);
        assert!(line["promotions"].as_u64() >= Some(u64::from(ROUNDS)), "{line}");
        // Now and then the operator's order finds a stream that has come back by itself.
        assert!(demotions(&bridge, "operator") >= f64::from(ROUNDS / 2));
        assert_eq!(line["reason"], "fin", "{line}");
    }
}

/// One order is enough, however much is said while it is carried out.
#[test]
fn an_order_outlives_the_moment_in_which_it_is_given() {
    if is_unavailable() {
        return;
    }
    let bridge = start(AUTO);
    let ends = bridge.stream().unwrap();
    let held = id(&bridge, &ends);
    // Nobody has asked it to go yet.
    assert_eq!(demote(&bridge, held), 204);
    let others: Vec<_> = (0..8).map(|_| bridge.stream().unwrap()).collect();
    for ends in &others {
        until_engine(&bridge, id(&bridge, ends), "sockmap");
    }
    // Both workers have swept since.
    assert_eq!(engine(&bridge, held).as_deref(), Some("copy"));

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let talking = scope.spawn(|| {
            let (mut talk, mut dice, mut buffer) = (Talk::small(ends, SEED), Pattern::new(SEED), vec![0; 64 << 10]);
            while !is_over.load(Ordering::Relaxed) {
                talk.step(&mut dice, &mut buffer);
            }
            drop(talk.end(&mut buffer));
        });
        assert_eq!(promote(&bridge, held), 204);
        until("the stream to go into the kernel", PATIENCE, || (promotions(&bridge) >= 9.0).then_some(())).unwrap();
        is_over.store(true, Ordering::Relaxed);
        talking.join().unwrap();
    });
}
