//! Whether the second hash, that of the states, is looked into.
//!
//! Most registries have none, and must not pay for it. So it is asked only once it was seen: when a connection is made,
//! or by a push that names it. That push raises the epoch, too, and is handled before whatever was sent behind it, so
//! the first state is seen as soon as any other.

use std::sync::atomic::{AtomicU8, Ordering};

use redis::{PushInfo, Value};

const UNSEEN: u8 = 0;
const SEEN: u8 = 1;
const REFUSED: u8 = 2;

/// What is known of the hash of states on the present connection.
#[derive(Debug, Default)]
pub(super) struct States(AtomicU8);

impl States {
    /// A connection is about to be made: nothing has been seen on it.
    pub(super) fn forget(&self) {
        self.0.store(UNSEEN, Ordering::Release);
    }

    /// A key has changed, and if it is this hash's, there is something in it.
    pub(super) fn pushed(&self, push: &PushInfo, state_hash: &str) {
        if push.data.iter().any(|key| names(key, state_hash)) {
            self.appear();
        }
    }

    /// There is something in it.
    pub(super) fn appear(&self) {
        // What the server does not let us read, we need not ask for either.
        let _refused = self.0.compare_exchange(UNSEEN, SEEN, Ordering::AcqRel, Ordering::Acquire).is_err();
    }

    /// This server does not let us look into it, or has something else of its name.
    pub(super) fn refuse(&self) {
        self.0.store(REFUSED, Ordering::Release);
    }

    /// Whether questions are to include it.
    pub(super) fn are_there(&self) -> bool {
        self.0.load(Ordering::Acquire) == SEEN
    }
}

/// Whether a key of a push, or one of several, is this.
fn names(pushed: &Value, key: &str) -> bool {
    match pushed {
        Value::BulkString(name) => name == key.as_bytes(),
        Value::SimpleString(name) => name == key,
        Value::Array(names_of) => names_of.iter().any(|pushed| names(pushed, key)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_asked_for_once_they_were_seen_and_where_they_may_be_read() {
        let states = States::default();
        assert!(!states.are_there());
        states.appear();
        assert!(states.are_there());
        states.forget();
        assert!(!states.are_there());
        states.refuse();
        states.appear();
        assert!(!states.are_there());
    }
}
