//! Waiting for a condition: the only place of the harness that sleeps, and no sleep decides a result.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a part of a story may take to come up or to settle before the story fails.
/// Long, because a machine may be busy with other things; only a story that fails waits for all of it.
pub const PATIENCE: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Asks `condition` until it answers `Some`, every 5 ms and at least once; fails after `limit`, naming `what` was
/// awaited.
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} for {what}");
        }
        pause(POLL_INTERVAL);
    }
}

/// Blocks this thread; for intervals that only pace a loop or fill a silence which a story is about.
#[expect(clippy::disallowed_methods, reason = "the harness has no runtime whose worker could be blocked")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
