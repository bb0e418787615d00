//! A table for each rule.

use super::*;

/// A session on a clock of its own.
pub(super) struct Scene {
    session: Session,
    config: BrokerConfig,
    pub(super) now: Instant,
}

impl Scene {
    pub(super) fn new(marks_exit: bool) -> Self {
        Self { session: Session::new(marks_exit), config: BrokerConfig::default(), now: Instant::now() }
    }

    pub(super) fn on(&mut self, input: Input) -> Step {
        self.session.on(input, &self.config, self.now, 0.0)
    }

    pub(super) fn lost(&mut self) -> Step {
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
