//! A session: a client's WebSocket that outlives its upstreams.
//!
//! The worker behind a sandbox restarts, or the sandbox moves to another; the client's socket stays open, and a new
//! upstream takes the old one's place. `frame` reads and writes what passes, `session` decides what a loss means,
//! `backoff` when to dial again, `held` keeps what an upstream is to get first, and `run` does what they say.

pub mod backoff;
pub mod frame;
pub mod held;
mod outbox;
mod run;
pub mod session;

pub use run::{Frame, Host, Parts, Report, run};
