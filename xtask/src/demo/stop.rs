//! Ctrl-C and SIGTERM as something to wait for, so that what the demo started is dropped, and thereby ended, in order.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};

/// The wish of the user, or of whoever supervises, to end the demo.
pub(crate) struct Stop {
    signals: Receiver<Signal>,
}

impl Stop {
    /// Takes SIGINT, SIGTERM and SIGHUP away from their default. Called before other threads are started, which inherit
    /// the mask; programs that are started do not, the standard library clears it for them.
    pub(crate) fn on_signals() -> anyhow::Result<Self> {
        let set: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        set.thread_block().context("cannot block signals")?;
        let (sender, signals) = mpsc::channel();
        std::thread::spawn(move || {
            while let Ok(signal) = set.wait() {
                if sender.send(signal).is_err() {
                    return;
                }
            }
        });
        Ok(Self { signals })
    }

    /// Waits for `duration`, or shorter when a signal arrives; then it answers true.
    pub(crate) fn within(&self, duration: Duration) -> bool {
        match self.signals.recv_timeout(duration) {
            Ok(_) | Err(RecvTimeoutError::Disconnected) => true,
            Err(RecvTimeoutError::Timeout) => false,
        }
    }
}
