//! The search for an instant at which both pumps of a stream wait, so that the stream can go another way.
//!
//! The pumps and the loop around them are one task, so flags are enough: whoever changes one has the task polled again.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::live::Direction;

/// What the pumps and the loop around them share.
pub(super) struct Pause {
    phase: Cell<Phase>,
    waiting: [Cell<bool>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nobody wants the pumps to rest.
    Off,
    /// They are asked to as soon as both wait.
    Wanted,
    /// Both waited. Each now rests, or finds that bytes came in that very instant; then it calls the attempt off.
    Asked,
}

impl Pause {
    pub(super) fn new(wanted: bool) -> Self {
        let phase = if wanted { Phase::Wanted } else { Phase::Off };
        Self { phase: Cell::new(phase), waiting: Default::default() }
    }

    /// Asks the pumps to rest as soon as both wait.
    pub(super) fn want(&self) {
        if self.phase.get() == Phase::Off {
            self.phase.set(Phase::Wanted);
        }
    }

    /// Lets the pumps go on. One that rests already is to be started again.
    pub(super) fn give_up(&self) {
        self.phase.set(Phase::Off);
    }

    /// Begins a pump's wait, which lasts as long as the result lives. It becomes ready when the pump is to rest.
    pub(super) fn waiting(&self, direction: Direction) -> Waiting<'_> {
        self.waiting[direction as usize].set(true);
        Waiting { pause: self, direction }
    }

    /// Says that a wait brought bytes: an attempt that is under way is off.
    pub(super) async fn call_off(&self) {
        if self.phase.get() == Phase::Asked {
            self.phase.set(Phase::Off);
            poll_fn(|context| {
                context.waker().wake_by_ref();
                Poll::Ready(())
            })
            .await;
        }
    }

    /// Waits until an attempt is off.
    pub(super) async fn off(&self) {
        poll_fn(|_| if self.phase.get() == Phase::Off { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// A pump's wait.
pub(super) struct Waiting<'a> {
    pause: &'a Pause,
    direction: Direction,
}

impl Future for Waiting<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Pause { phase, waiting } = self.pause;
        match phase.get() {
            Phase::Asked => Poll::Ready(()),
            Phase::Wanted if waiting.iter().all(Cell::get) => {
                phase.set(Phase::Asked);
                // The other pump may have had its turn in this poll of the task already.
                context.waker().wake_by_ref();
                Poll::Ready(())
            }
            Phase::Off | Phase::Wanted => Poll::Pending,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pause.waiting[self.direction as usize].set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(waiting: &mut Waiting<'_>) -> Poll<()> {
        Pin::new(waiting).poll(&mut Context::from_waker(std::task::Waker::noop()))
    }

    #[test]
    fn both_must_wait_at_the_same_time() {
        let pause = Pause::new(true);
        let mut up = pause.waiting(Direction::Up);
        assert_eq!(poll(&mut up), Poll::Pending);
        drop(up);
        let mut down = pause.waiting(Direction::Down);
        assert_eq!(poll(&mut down), Poll::Pending);
        let mut up = pause.waiting(Direction::Up);
        assert_eq!((poll(&mut up), poll(&mut down)), (Poll::Ready(()), Poll::Ready(())));
    }

    #[test]
    fn nobody_rests_unasked() {
        let pause = Pause::new(false);
        let (mut up, mut down) = (pause.waiting(Direction::Up), pause.waiting(Direction::Down));
        assert_eq!((poll(&mut up), poll(&mut down)), (Poll::Pending, Poll::Pending));
        pause.want();
        assert_eq!((poll(&mut up), poll(&mut down)), (Poll::Ready(()), Poll::Ready(())));
        pause.give_up();
        assert_eq!((poll(&mut up), poll(&mut down)), (Poll::Pending, Poll::Pending));
    }

    #[test]
    fn bytes_call_an_attempt_off_once() {
        let pause = Pause::new(true);
        let (mut up, down) = (pause.waiting(Direction::Up), pause.waiting(Direction::Down));
        assert_eq!(poll(&mut up), Poll::Ready(()));
        drop(down);
        let called_off = std::pin::pin!(pause.call_off()).poll(&mut Context::from_waker(std::task::Waker::noop()));
        assert_eq!(called_off, Poll::Ready(()));
        assert_eq!(pause.phase.get(), Phase::Off);
    }
}
