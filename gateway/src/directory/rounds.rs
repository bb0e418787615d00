//! Who waits for which question, where an answer must be to a question that was sent after its waiter came.
//!
//! Whoever asks for what has changed must not be put to a question from before the change. So who comes while a
//! question is under way waits for the next one, which is sent for all of them at once: however many ask at a time, a
//! sandbox costs two questions, and no answer is older than its waiter's wish.

use std::collections::HashMap;

use crate::route::SandboxId;

/// Questions under way, with those who wait for them and for the ones after them.
#[derive(Debug)]
pub(super) struct Rounds<W>(HashMap<SandboxId, Round<W>>);

#[derive(Debug)]
struct Round<W> {
    asked: Vec<W>,
    next: Vec<W>,
}

impl<W> Default for Rounds<W> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<W> Rounds<W> {
    /// Enters a waiter. Whether its question is to be sent now; otherwise [`Rounds::answered`] will say when.
    pub(super) fn join(&mut self, id: &SandboxId, waiter: W) -> bool {
        if let Some(round) = self.0.get_mut(id) {
            round.next.push(waiter);
            return false;
        }
        self.0.insert(id.clone(), Round { asked: vec![waiter], next: Vec::new() });
        true
    }

    /// The question under way has ended: who waited for it, and whether it is to be sent again now, for those who came
    /// meanwhile.
    pub(super) fn answered(&mut self, id: &SandboxId) -> (Vec<W>, bool) {
        let Some(Round { asked, next }) = self.0.remove(id) else { return (Vec::new(), false) };
        let again = !next.is_empty();
        if again {
            self.0.insert(id.clone(), Round { asked: next, next: Vec::new() });
        }
        (asked, again)
    }

    /// How many questions are under way.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets everybody: who waits learns it by being dropped.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_joins_a_question_that_was_sent_before() {
        let (mut rounds, id) = (Rounds::default(), "1".parse().unwrap());
        assert!(rounds.join(&id, 1));
        assert!(!rounds.join(&id, 2) && !rounds.join(&id, 3));
        assert_eq!(rounds.answered(&id), (vec![1], true));
        assert!(!rounds.join(&id, 4), "the second question is under way");
        assert_eq!(rounds.answered(&id), (vec![2, 3], true));
        assert_eq!(rounds.answered(&id), (vec![4], false));
        assert_eq!((rounds.len(), rounds.answered(&id)), (0, (vec![], false)));
    }

    #[test]
    fn sandboxes_have_nothing_to_do_with_each_other() {
        let mut rounds = Rounds::default();
        let (one, two) = ("1".parse().unwrap(), "2".parse().unwrap());
        assert!(rounds.join(&one, 1) && rounds.join(&two, 2));
        assert_eq!(rounds.answered(&two), (vec![2], false));
        assert_eq!(rounds.len(), 1);
        rounds.clear();
        assert_eq!(rounds.answered(&one), (vec![], false));
    }
}
