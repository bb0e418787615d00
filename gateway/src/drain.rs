//! Shutting down without cutting anybody off: readiness red, stop accepting, finish exchanges, give streams their time.

use std::time::Duration;

use tokio::sync::watch;

/// How far a shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Running,
    /// Readiness is red; connections are still accepted, while load balancers take notice.
    Announced,
    /// Nothing new is accepted; exchanges finish, streams go on.
    Draining,
    /// The deadline is over: what is left is closed.
    Expired,
}

/// The switch, held by whoever hears the signal.
pub struct DrainSwitch(watch::Sender<Phase>);

/// What everybody else watches.
#[derive(Clone)]
pub struct Drain(watch::Receiver<Phase>);

/// A switch that says `Running`, and its observers' end.
#[must_use]
pub fn switch() -> (DrainSwitch, Drain) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (DrainSwitch(sender), Drain(receiver))
}

impl DrainSwitch {
    /// Goes through the phases: `delay` in the first, then at most `timeout` in the second. `emptied` says when nothing
    /// is left to wait for.
    pub async fn run(&self, delay: Duration, timeout: Duration, emptied: impl Future<Output = ()>) {
        self.0.send_replace(Phase::Announced);
        tokio::time::sleep(delay).await;
        self.0.send_replace(Phase::Draining);
        // Emptied or not, what is left is the caller's to close.
        let _emptied_in_time = tokio::time::timeout(timeout, emptied).await.is_ok();
    }

    /// Says that nothing is waited for any longer.
    pub fn expire(&self) {
        self.0.send_replace(Phase::Expired);
    }
}

impl Drain {
    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until `phase` is reached.
    pub async fn reached(&self, phase: Phase) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|&now| now >= phase).await.is_err() {
            // The switch is gone with the process's end; nothing is left to announce it.
            std::future::pending::<()>().await;
        }
    }
}
