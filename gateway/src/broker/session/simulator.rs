//! A client, workers and a directory that do anything in any order, on a clock of their own.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::tests::Scene;
use super::*;
use crate::broker::frame::{self, Event, Relay};
use crate::broker::held::Held;

/// Histories of the simulator.
const HISTORIES: u64 = 10_000;

/// What a session of the simulator holds: a few of its messages, so that there are often more.
const HELD_BYTES_MAX: usize = 40;

/// Draws lots, the same ones for the same seed.
struct Lots(StdRng);

impl Lots {
    fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }
}

/// A history: workers number what they write, clients what they type; what arrives is checked against both.
#[derive(Default)]
struct Ledger {
    written: u32,
    read: u32,
    typed: u32,
    seen: u32,
    links: u32,
    ends: u32,
}

fn message(number: u32, masked: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mask = masked.then_some([9, 8, 7, 6]);
    frame::append(tungstenite::protocol::frame::coding::OpCode::from(2), &number.to_be_bytes(), mask, &mut out);
    out
}

/// The numbers of the messages in `bytes`, which are whole frames of four bytes.
fn numbers(bytes: &[u8], masked: bool) -> Vec<u32> {
    let mut relay = Relay::new(masked, 1 << 20);
    let (mut at, mut found) = (0, Vec::new());
    while at < bytes.len() {
        let mut out = Vec::new();
        let (used, event) = relay.take(&bytes[at..], &mut || [0; 4], &mut out).expect("what goes out is well-formed");
        assert_eq!(event, Some(Event::Data(None)), "a part of a frame went out");
        at += used;
        let number = out[out.len() - 4..].try_into().unwrap();
        found.push(u32::from_be_bytes(number));
    }
    found
}

fn arrive(relay: &mut Relay, bytes: &[u8], last: &mut u32) {
    let (mut at, mut out) = (0, Vec::new());
    while at < bytes.len() {
        at += relay.take(&bytes[at..], &mut || [1, 2, 3, 4], &mut out).unwrap().0;
    }
    for number in numbers(&out, false) {
        assert_eq!(number, *last + 1);
        *last = number;
    }
}

/// What a session must come to, as an outside observer would say it: kept apart from the machine on purpose.
#[derive(Default)]
struct Observer {
    exited: bool,
    cycles: Vec<Instant>,
    attempts: u32,
    migrating: bool,
}

impl Observer {
    fn expects_at_loss(&mut self, now: Instant) -> Option<u16> {
        if self.exited {
            return Some(1000);
        }
        self.cycles.retain(|begun| now - *begun < Duration::from_secs(60));
        if self.cycles.len() == 3 {
            return Some(1011);
        }
        self.cycles.push(now);
        (self.attempts, self.migrating) = (1, false);
        None
    }

    fn expects_at_failure(&mut self, failed: Failed) -> Option<u16> {
        match failed {
            Failed::NotFound | Failed::Stopped => return Some(1000),
            Failed::Subprotocol => return Some(1011),
            Failed::Migrating if !self.migrating => (self.attempts, self.migrating) = (0, true),
            Failed::Migrating | Failed::Other => {}
        }
        if self.attempts == if self.migrating { 30 } else { 10 } {
            return Some(1011);
        }
        self.attempts += 1;
        None
    }
}

/// A client's bytes on their way: read or not, held or not, seen or not.
struct Typing {
    relay: Relay,
    /// `None` where what nobody is there for is dropped.
    held: Option<Held>,
    /// Sent by the client, and not read yet.
    unread: Vec<u8>,
    /// Read, and neither sent on nor held.
    refused: Vec<u8>,
}

impl Typing {
    fn new(holds: bool) -> Self {
        let held = holds.then(|| Held::new(HELD_BYTES_MAX));
        Self { relay: Relay::new(true, 1 << 20), held, unread: Vec::new(), refused: Vec::new() }
    }

    /// Reads up to `bytes` of what the client has sent, as the session does: not while something waits.
    fn read(&mut self, bytes: usize, linked: bool, ledger: &mut Ledger) {
        if !self.refused.is_empty() {
            return;
        }
        let chunk: Vec<u8> = self.unread.drain(..bytes.min(self.unread.len())).collect();
        let (mut at, mut out) = (0, Vec::new());
        while at < chunk.len() {
            at += self.relay.take(&chunk[at..], &mut || [1, 2, 3, 4], &mut out).unwrap().0;
        }
        if linked {
            return ledger.see(&out, self.held.is_none());
        }
        match &mut self.held {
            Some(held) => {
                if !held.takes(&mut out) {
                    self.refused = out;
                }
            }
            None => assert!(out.is_empty(), "a frame for nobody was written"),
        }
    }

    fn unlink(&mut self) {
        self.relay.unlink(self.held.is_some());
    }

    /// What was held goes first, and then what had to wait with it.
    fn link(&mut self, ledger: &mut Ledger) {
        ledger.links += 1;
        self.relay.link();
        let held = self.held.as_mut().map(Held::release).unwrap_or_default();
        // A read of 24 bytes ends three messages at most.
        assert!(held.len() <= HELD_BYTES_MAX + 2 * message(0, true).len(), "more is held than may be");
        for frames in [held, std::mem::take(&mut self.refused)] {
            ledger.see(&frames, self.held.is_none());
        }
    }
}

impl Ledger {
    /// The upstream gets these frames.
    fn see(&mut self, frames: &[u8], gaps: bool) {
        for number in numbers(frames, true) {
            assert!(number > self.seen && (gaps || number == self.seen + 1), "{number} after {}", self.seen);
            self.seen = number;
        }
    }
}

struct World {
    seed: u64,
    lots: Lots,
    marks_exit: bool,
    scene: Scene,
    up: Typing,
    down: Relay,
    ledger: Ledger,
    observer: Observer,
    linked: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut lots = Lots::new(seed);
        let (marks_exit, holds) = (lots.below(2) == 0, lots.below(2) == 0);
        Self {
            seed,
            lots,
            marks_exit,
            scene: Scene::new(marks_exit),
            up: Typing::new(holds),
            down: Relay::new(false, 1 << 20),
            ledger: Ledger::default(),
            observer: Observer::default(),
            linked: true,
        }
    }

    /// The client types, whether or not there is an upstream.
    fn types(&mut self) {
        self.ledger.typed += 1;
        self.up.unread.extend(message(self.ledger.typed, true));
        self.reads();
    }

    /// Whole messages, or the pieces that TCP makes of them.
    fn reads(&mut self) {
        let bytes = usize::try_from(self.lots.below(25)).unwrap();
        self.up.read(bytes, self.linked, &mut self.ledger);
    }

    fn writes(&mut self) {
        self.ledger.written += 1;
        arrive(&mut self.down, &message(self.ledger.written, false), &mut self.ledger.read);
    }

    /// The worker dies under a frame: the client must never get that one, and the next worker writes it again.
    fn dies(&mut self) -> Option<u16> {
        self.linked = false;
        let half = message(self.ledger.written + 1, false);
        let at = usize::try_from(self.lots.below(half.len() as u64)).unwrap();
        arrive(&mut self.down, &half[..at], &mut self.ledger.read);
        assert!(!self.down.is_amid_message());
        self.up.unlink();
        self.observer.expects_at_loss(self.scene.now)
    }

    /// Something happens; whether it was the end.
    fn turn(&mut self) -> bool {
        self.scene.now += Duration::from_millis(self.lots.below(9000));
        self.types();
        let (step, expected) = match self.lots.below(12) {
            0 if self.linked => {
                self.observer.exited |= self.marks_exit;
                (self.scene.on(Input::Exited), None)
            }
            1..=3 if self.linked => {
                let expected = self.dies();
                (self.scene.lost(), expected)
            }
            4 if self.lots.below(8) == 0 => {
                let ends = [(End::Idle, 1001), (End::Drain, 1012), (End::SandboxStopped, 1000)];
                let (end, code) = ends[usize::try_from(self.lots.below(3)).unwrap()];
                (self.scene.on(Input::Told(end)), Some(code))
            }
            _ => {
                if self.linked {
                    self.writes();
                }
                (Step::Continue, None)
            }
        };
        self.follow(step, expected)
    }

    /// Does what the session says until it rests; whether that was the end.
    fn follow(&mut self, mut step: Step, mut expected: Option<u16>) -> bool {
        while let Step::Wait(wait) = step {
            assert_eq!(expected, None, "seed {}", self.seed);
            self.scene.now += wait;
            self.types();
            assert_eq!(self.scene.on(Input::Waited), Step::Dial);
            let failed = match self.lots.below(40) {
                0 => Failed::NotFound,
                1 => Failed::Stopped,
                2 => Failed::Subprotocol,
                3..=9 => Failed::Migrating,
                10..=24 => Failed::Other,
                _ => {
                    (self.linked, self.down) = (true, Relay::new(false, 1 << 20));
                    self.up.link(&mut self.ledger);
                    step = self.scene.on(Input::Dialled);
                    continue;
                }
            };
            expected = self.observer.expects_at_failure(failed);
            step = self.scene.on(Input::DialFailed(failed));
        }
        let code = if let Step::End(_, close) = &step { Some(close.code()) } else { None };
        assert_eq!(code, expected, "seed {}: {step:?}", self.seed);
        self.ledger.ends += u32::from(code.is_some());
        code.is_some()
    }
}

/// What came of a history, and whether its session held what was typed.
fn history(seed: u64) -> (Ledger, bool) {
    let mut world = World::new(seed);
    if !(0..400).any(|_| world.turn()) {
        // Everything that was typed is read in the end; where it is held, nothing of it is lost.
        while !world.up.unread.is_empty() {
            world.reads();
        }
        assert!(world.up.held.is_none() || world.ledger.seen == world.ledger.typed, "seed {seed}: a message was lost");
        let step = world.scene.on(Input::ClientClosed(None));
        world.follow(step, Some(1000));
    }
    // Nothing comes of an ended session any more, least of all a dial.
    for input in [Input::Waited, Input::Dialled, Input::DialFailed(Failed::Other), Input::Told(End::Drain)] {
        assert_eq!(world.scene.on(input), Step::Continue, "seed {seed}");
    }
    assert_eq!(world.ledger.read, world.ledger.written, "seed {seed}: a whole frame was lost");
    let holds = world.up.held.is_some();
    (world.ledger, holds)
}

#[test]
fn ten_thousand_histories_lose_reorder_and_leak_nothing() {
    let (mut dropped, mut redials) = (0, 0);
    for seed in 0..HISTORIES {
        let (ledger, holds) = history(seed);
        assert_eq!(ledger.ends, 1, "seed {seed}");
        dropped += u64::from(!holds) * u64::from(ledger.typed - ledger.seen);
        redials += u64::from(ledger.links);
    }
    assert!(dropped > 0 && redials > 0, "no history had a redial");
}
