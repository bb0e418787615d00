//! This machine's interfaces, which browsers watch: when one comes or goes, Chromium gives up what it is loading, with
//! ERR_NETWORK_CHANGED. So they stay as they are while a browser of this process runs.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

static BROWSERS: Mutex<usize> = Mutex::new(0);
static CLOSED: Condvar = Condvar::new();

/// Keeps the interfaces as they are until it is dropped.
#[derive(Debug)]
pub(crate) struct Unchanged;

impl Unchanged {
    /// Waits for a change that is under way.
    pub(crate) fn hold() -> Self {
        *browsers() += 1;
        Self
    }
}

impl Drop for Unchanged {
    fn drop(&mut self) {
        *browsers() -= 1;
        CLOSED.notify_all();
    }
}

/// Waits until no browser runs; none starts before the guard is dropped. Whoever has a browser waits for ever.
pub(crate) fn change() -> MutexGuard<'static, usize> {
    CLOSED.wait_while(browsers(), |browsers| *browsers > 0).unwrap_or_else(PoisonError::into_inner)
}

fn browsers() -> MutexGuard<'static, usize> {
    BROWSERS.lock().unwrap_or_else(PoisonError::into_inner)
}
