//! A door between a story and its scripts.

use std::sync::{Arc, Condvar, Mutex};

use anyhow::{Result, ensure};

use crate::wait::PATIENCE;

/// Shut at first. Clones are the same door.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everybody through, from now on.
    pub fn open(&self) {
        let (is_open, opened) = &*self.0;
        *is_open.lock().expect("no thread panics while it holds the door") = true;
        opened.notify_all();
    }

    /// Waits until it is open; fails after [`PATIENCE`].
    pub fn pass(&self) -> Result<()> {
        let (is_open, opened) = &*self.0;
        let shut = is_open.lock().expect("no thread panics while it holds the door");
        let waited = opened.wait_timeout_while(shut, PATIENCE, |is_open| !*is_open);
        let (_open, result) = waited.expect("no thread panics while it holds the door");
        ensure!(!result.timed_out(), "waited {PATIENCE:?} for a gate to open");
        Ok(())
    }
}
