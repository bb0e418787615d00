//! What waits for an operation of the ring.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::{Completed, Ring};

/// An operation on its way. Dropping it cancels. A watch may be awaited again until a completion is the last.
pub(in crate::sys) struct Submitted {
    pub(super) ring: Rc<Ring>,
    pub(super) index: usize,
    pub(super) finished: bool,
}

impl Submitted {
    /// Asks for the operation's end. Whoever waits for it gets what it had come to, or `ECANCELED`.
    pub(in crate::sys) fn cancel(&self) {
        if !self.finished {
            self.ring.cancel(self.index);
        }
    }
}

impl Future for Submitted {
    type Output = Completed;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Completed> {
        let index = self.index;
        let mut state = self.ring.state.borrow_mut();
        let operation = &mut state.operations[index];
        let Some(completed) = operation.completed.take() else {
            match &mut operation.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            return Poll::Pending;
        };
        if completed.last {
            state.operations.remove(index);
            drop(state);
            self.finished = true;
        }
        Poll::Ready(completed)
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        if !self.finished {
            self.ring.abandon(self.index);
        }
    }
}
