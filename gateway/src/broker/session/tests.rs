//! Tables for each rule, and a simulator: a client, workers and a directory that do anything in any order, on a clock
//! of their own.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::broker::frame::{self, Event, Relay};

/// Histories of the simulator.
const HISTORIES: u64 = 10_000;

struct Scene {
    session: Session,
    config: BrokerConfig,
    now: Instant,
}

impl Scene {
    fn new(marks_exit: bool) -> Self {
        Self { session: Session::new(marks_exit), config: BrokerConfig::default(), now: Instant::now() }
    }

    fn on(&mut self, input: Input) -> Step {
        self.session.on(input, &self.config, self.now, 0.0)
    }

    fn lost(&mut self) -> Step {
        self.on(Input::UpstreamLost { amid_message: false })
    }

    /// Fails as often as it may, and returns the waits and the end.
    fn fails(&mut self, failed: Failed) -> (Vec<u128>, End, Close) {
        let mut waits = Vec::new();
        let mut step = self.lost();
        loop {
            match step {
                Step::Wait(wait) => {
                    waits.push(wait.as_millis());
                    self.now += wait;
                    assert_eq!(self.on(Input::Waited), Step::Dial);
                    step = self.on(Input::DialFailed(failed));
                }
                Step::End(end, close) => return (waits, end, close),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn told(step: &Step) -> (u16, &str) {
    let Step::End(_, close) = step else { panic!("{step:?}") };
    (close.code(), close.reason())
}

#[test]
fn an_upstream_that_never_comes_back_ends_it() {
    let (waits, end, close) = Scene::new(false).fails(Failed::Other);
    assert_eq!(waits, [250, 500, 1000, 2000, 4000, 4000, 4000, 4000, 4000, 4000]);
    assert_eq!((end, close.code(), close.reason()), (End::Unrecoverable, 1011, "upstream unrecoverable"));
}

#[test]
fn a_migration_is_waited_for_at_a_steady_pace() {
    let (waits, end, _) = Scene::new(false).fails(Failed::Migrating);
    assert_eq!((waits[0], &waits[1..], end), (250, &[2000; 30][..], End::Unrecoverable));
}

#[test]
fn what_will_not_come_back_is_not_waited_for() {
    let cases = [
        (Failed::NotFound, 1000, "sandbox not found"),
        (Failed::Stopped, 1000, "sandbox stopped"),
        (Failed::Subprotocol, 1011, "subprotocol changed"),
    ];
    for (failed, code, reason) in cases {
        let (waits, _, close) = Scene::new(false).fails(failed);
        assert_eq!((waits.len(), close.code(), close.reason()), (1, code, reason));
    }
}

#[test]
fn an_exit_makes_the_next_loss_the_end_but_never_of_a_terminal() {
    let mut scene = Scene::new(true);
    assert_eq!(scene.on(Input::Exited), Step::Continue);
    assert_eq!(told(&scene.lost()), (1000, "exec completed"));
    let mut scene = Scene::new(false);
    assert_eq!(scene.on(Input::Exited), Step::Continue);
    assert_eq!(scene.lost(), Step::Wait(Duration::from_millis(250)));
}

#[test]
fn the_fourth_cycle_in_a_minute_is_flapping() {
    let mut scene = Scene::new(false);
    for _ in 0..3 {
        assert_eq!(scene.lost(), Step::Wait(Duration::from_millis(250)));
        assert_eq!((scene.on(Input::Waited), scene.on(Input::Dialled)), (Step::Dial, Step::Resume));
    }
    assert_eq!(told(&scene.lost()), (1011, "upstream flapping"));
}

#[test]
fn a_message_that_the_client_has_a_part_of_cannot_be_mended() {
    assert_eq!(told(&Scene::new(false).on(Input::UpstreamLost { amid_message: true })), (1012, "upstream cut"));
}

#[test]
fn the_gateways_own_ends_have_the_contracts_words() {
    let cases = [
        (End::SandboxStopped, 1000, "sandbox stopped"),
        (End::Idle, 1001, "idle timeout exceeded"),
        (End::Lifetime, 1001, "max lifetime exceeded"),
        (End::Drain, 1012, "gateway restarting"),
    ];
    for (end, code, reason) in cases {
        assert_eq!(told(&Scene::new(false).on(Input::Told(end))), (code, reason));
    }
}

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

fn arrive(relay: &mut Relay, bytes: &[u8], last: &mut u32, masked: bool, gaps: bool) {
    let (mut at, mut out) = (0, Vec::new());
    while at < bytes.len() {
        at += relay.take(&bytes[at..], &mut || [1, 2, 3, 4], &mut out).unwrap().0;
    }
    for number in numbers(&out, masked) {
        assert!(number > *last && (gaps || number == *last + 1), "{number} after {last}");
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

struct World {
    seed: u64,
    lots: Lots,
    marks_exit: bool,
    scene: Scene,
    up: Relay,
    down: Relay,
    ledger: Ledger,
    observer: Observer,
    linked: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut lots = Lots::new(seed);
        let marks_exit = lots.below(2) == 0;
        Self {
            seed,
            lots,
            marks_exit,
            scene: Scene::new(marks_exit),
            up: Relay::new(true, 1 << 20),
            down: Relay::new(false, 1 << 20),
            ledger: Ledger::default(),
            observer: Observer::default(),
            linked: true,
        }
    }

    /// The client types, whether or not there is an upstream.
    fn types(&mut self) {
        self.ledger.typed += 1;
        arrive(&mut self.up, &message(self.ledger.typed, true), &mut self.ledger.seen, true, true);
    }

    fn writes(&mut self) {
        self.ledger.written += 1;
        arrive(&mut self.down, &message(self.ledger.written, false), &mut self.ledger.read, false, false);
    }

    /// The worker dies under a frame: the client must never get that one, and the next worker writes it again.
    fn dies(&mut self) -> Option<u16> {
        self.linked = false;
        let half = message(self.ledger.written + 1, false);
        let at = usize::try_from(self.lots.below(half.len() as u64)).unwrap();
        arrive(&mut self.down, &half[..at], &mut self.ledger.read, false, false);
        assert!(!self.down.is_amid_message());
        self.up.set_bound(false);
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
                    self.up.set_bound(true);
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

fn history(seed: u64) -> Ledger {
    let mut world = World::new(seed);
    if !(0..400).any(|_| world.turn()) {
        let step = world.scene.on(Input::ClientClosed(None));
        world.follow(step, Some(1000));
    }
    // Nothing comes of an ended session any more, least of all a dial.
    for input in [Input::Waited, Input::Dialled, Input::DialFailed(Failed::Other), Input::Told(End::Drain)] {
        assert_eq!(world.scene.on(input), Step::Continue, "seed {seed}");
    }
    assert_eq!(world.ledger.read, world.ledger.written, "seed {seed}: a whole frame was lost");
    world.ledger
}

#[test]
fn ten_thousand_histories_lose_reorder_and_leak_nothing() {
    let mut dropped = 0;
    for seed in 0..HISTORIES {
        let ledger = history(seed);
        assert_eq!(ledger.ends, 1, "seed {seed}");
        dropped += u64::from(ledger.typed - ledger.seen);
    }
    assert!(dropped > 0, "no history had a redial");
}
