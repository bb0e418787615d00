//! Whether the server still owes an answer to what it was asked before.
//!
//! Redis writes a change's pushes before it answers the writer, unless it answers a question of ours in the same turn
//! of its event loop: then we are in its list of those to write to (`handleClientsWithPendingWrites`, newest first)
//! before the writer is, and the writer has its `OK` some microseconds before our answer and the push behind it leave,
//! in one write. A lookup that began in between would find nothing unread. So it waits for the answers to all questions
//! that were asked before it began; the push has then arrived too, and [`super::intake`] sees to it.
//!
//! Later questions are no concern of a lookup, and it never waits for them. What is counted after the lookup has looked
//! was sent after it, so Redis read it in a turn whose answers were all written after the lookup began; a change whose
//! `OK` was known by then is of an earlier turn. That the count rises before the question is sent is what this rests
//! on: who knows the `OK` of a turn knows, through the sockets in between, the count of every question that Redis read
//! in that turn.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Counts questions and answers. The answers come in the order in which the questions were sent, so what is sent before
/// a moment is answered once there are as many answers as questions had been counted by then: who counts an answer late
/// or out of order only keeps others waiting.
#[derive(Default)]
pub(super) struct Questions {
    asked: AtomicU64,
    answered: AtomicU64,
    closed: AtomicBool,
    /// Who is woken, by the number of answers that it takes. To be dropped is to be woken.
    waiting: Mutex<BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
}

impl Questions {
    /// To be called before a question is handed to the connection.
    pub(super) fn ask(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// To be called once an answer was read. A question that is given up has none: the connection ends with it.
    pub(super) fn answer(&self) {
        let answered = self.answered.fetch_add(1, Ordering::SeqCst) + 1;
        let mut waiting = self.waiting();
        while let Some(first) = waiting.first_entry()
            && *first.key() <= answered
        {
            first.remove();
        }
    }

    /// No answer will come any more; nobody waits for one.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.waiting().clear();
    }

    /// How many questions may have been sent until now.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Whether the first `asked` questions have been answered, or the connection has ended.
    pub(super) fn are_answered(&self, asked: u64) -> bool {
        self.answered.load(Ordering::SeqCst) >= asked || self.closed.load(Ordering::SeqCst)
    }

    /// Returns once [`Questions::are_answered`].
    pub(super) async fn until_answered(&self, asked: u64) {
        let answered = {
            let mut waiting = self.waiting();
            // Under the lock: who counts an answer after this look finds the entry.
            if self.are_answered(asked) {
                return;
            }
            let (wake, woken) = oneshot::channel();
            waiting.entry(asked).or_default().push(wake);
            woken
        };
        // Nothing is ever sent.
        let _dropped = answered.await;
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<oneshot::Sender<()>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_woken(waiting: &mut Pin<&mut impl Future<Output = ()>>) -> bool {
        waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn nobody_waits_while_no_question_is_under_way() {
        let questions = Questions::default();
        assert!(questions.are_answered(questions.asked()));
        questions.ask();
        questions.answer();
        assert!(is_woken(&mut pin!(questions.until_answered(questions.asked()))));
    }

    #[test]
    fn a_wait_ends_with_the_last_answer_to_what_was_asked_before_it() {
        let questions = Questions::default();
        questions.ask();
        questions.ask();
        let mut early = pin!(questions.until_answered(1));
        let mut late = pin!(questions.until_answered(questions.asked()));
        assert!(!is_woken(&mut early) && !is_woken(&mut late));
        questions.answer();
        assert!(is_woken(&mut early) && !is_woken(&mut late));
        questions.answer();
        assert!(is_woken(&mut late));
    }

    #[test]
    fn questions_without_end_keep_nobody_waiting() {
        let questions = Questions::default();
        questions.ask();
        let mut waiting = pin!(questions.until_answered(questions.asked()));
        assert!(!is_woken(&mut waiting));
        questions.ask();
        questions.answer();
        assert!(is_woken(&mut waiting));
        assert!(!questions.are_answered(questions.asked()));
    }

    #[test]
    fn a_connection_that_ends_owes_nothing() {
        let questions = Questions::default();
        questions.ask();
        let mut waiting = pin!(questions.until_answered(1));
        assert!(!is_woken(&mut waiting));
        questions.close();
        assert!(is_woken(&mut waiting));
        assert!(questions.are_answered(1));
    }
}
