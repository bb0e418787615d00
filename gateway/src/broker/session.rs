//! One session: what a client's socket lives through while upstreams come and go. Events come in, steps go out; there
//! is no socket and no clock here.

use std::time::{Duration, Instant};

use super::backoff::{Breaker, Ladder};
use super::frame::{Close, FrameError};
use crate::config::BrokerConfig;

/// Why a session ended: a closed set for log and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client closed, or its connection ended.
    Client,
    /// Nothing was heard of the client for longer than a keepalive takes.
    ClientSilent,
    /// A side broke a rule of WebSocket, or a limit.
    Refused,
    /// The process behind the session has exited.
    ExecCompleted,
    /// The sandbox is stopped.
    SandboxStopped,
    /// The sandbox does not exist.
    SandboxNotFound,
    /// Every attempt to redial failed.
    Unrecoverable,
    /// Too many redial cycles.
    Flapping,
    /// The upstream died within a message that the client has a part of.
    Cut,
    /// Another upstream chose another subprotocol.
    Subprotocol,
    /// Idle for too long.
    Idle,
    /// Alive for too long.
    Lifetime,
    /// The gateway shuts down.
    Drain,
    /// An operator closed it.
    Operator,
}

impl End {
    /// Every end.
    pub const ALL: [Self; 14] = [
        Self::Client,
        Self::ClientSilent,
        Self::Refused,
        Self::ExecCompleted,
        Self::SandboxStopped,
        Self::SandboxNotFound,
        Self::Unrecoverable,
        Self::Flapping,
        Self::Cut,
        Self::Subprotocol,
        Self::Idle,
        Self::Lifetime,
        Self::Drain,
        Self::Operator,
    ];

    /// The name in log and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::ClientSilent => "client_silent",
            Self::Refused => "refused",
            Self::ExecCompleted => "exec_completed",
            Self::SandboxStopped => "sandbox_stopped",
            Self::SandboxNotFound => "sandbox_not_found",
            Self::Unrecoverable => "unrecoverable",
            Self::Flapping => "flapping",
            Self::Cut => "cut",
            Self::Subprotocol => "subprotocol",
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::Drain => "drain",
            Self::Operator => "operator",
        }
    }

    /// What the client is told: the contract's codes and texts. An end with a close of its own brings it along
    /// ([`Step::End`]).
    fn close(self) -> Close {
        match self {
            Self::Client | Self::ClientSilent | Self::Refused => Close::new(1000, "client closed"),
            Self::ExecCompleted => Close::new(1000, "exec completed"),
            Self::SandboxStopped => Close::new(1000, "sandbox stopped"),
            Self::SandboxNotFound => Close::new(1000, "sandbox not found"),
            Self::Unrecoverable => Close::new(1011, "upstream unrecoverable"),
            Self::Flapping => Close::new(1011, "upstream flapping"),
            Self::Cut => Close::new(1012, "upstream cut"),
            Self::Subprotocol => Close::new(1011, "subprotocol changed"),
            Self::Idle => Close::new(1001, "idle timeout exceeded"),
            Self::Lifetime => Close::new(1001, "max lifetime exceeded"),
            Self::Drain => Close::new(1012, "gateway restarting"),
            Self::Operator => Close::new(1001, "closed by operator"),
        }
    }
}

/// Why an attempt to redial failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// The directory or the worker says 404.
    NotFound,
    /// One of them says 410, or that the sandbox is stopped.
    Stopped,
    /// One of them says that the sandbox is on its way to another host.
    Migrating,
    /// A worker answered with another subprotocol.
    Subprotocol,
    /// Anything else, which another attempt may mend.
    Other,
}

impl Failed {
    /// The name in log and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Stopped => "stopped",
            Self::Migrating => "migrating",
            Self::Subprotocol => "subprotocol",
            Self::Other => "failed",
        }
    }
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The upstream closed or its connection failed. `amid_message` says that the client has a part of a message.
    UpstreamLost {
        /// The client has got no more than that.
        amid_message: bool,
    },
    /// The upstream said that its process has exited.
    Exited,
    /// The wait before an attempt is over.
    Waited,
    /// An attempt succeeded.
    Dialled,
    /// An attempt failed.
    DialFailed(Failed),
    /// The client closed. `None` where its connection ended without a close frame.
    ClientClosed(Option<Close>),
    /// A side broke a rule.
    Broken(FrameError),
    /// The gateway ends it.
    Told(End),
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: go on.
    Continue,
    /// Let go of the upstream if there is one, wait, and say [`Input::Waited`].
    Wait(Duration),
    /// Resolve afresh and dial.
    Dial,
    /// Frames pass again.
    Resume,
    /// It is over. Both sides are told this.
    End(End, Close),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Linked,
    Waiting,
    Dialling,
    Ended,
}

/// The state of a session.
#[derive(Debug)]
pub struct Session {
    state: State,
    exited: bool,
    /// Whether the frame that marks completion means anything on this route: a PTY's output may look like it.
    marks_exit: bool,
    ladder: Ladder,
    breaker: Breaker,
}

impl Session {
    /// A session whose first upstream is there.
    #[must_use]
    pub fn new(marks_exit: bool) -> Self {
        Self { state: State::Linked, exited: false, marks_exit, ladder: Ladder::default(), breaker: Breaker::default() }
    }

    /// How many attempts the present or last cycle has made.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.ladder.attempts()
    }

    /// Takes an event. `luck` is from 0 up to 1, for the jitter.
    pub fn on(&mut self, input: Input, config: &BrokerConfig, now: Instant, luck: f64) -> Step {
        match (self.state, input) {
            (State::Ended, _) => Step::Continue,
            (_, Input::ClientClosed(close)) => self.end(End::Client, close),
            (_, Input::Broken(error)) => self.end(End::Refused, Some(error.close())),
            (_, Input::Told(end)) => self.end(end, None),
            (State::Linked, Input::Exited) => {
                self.exited = self.marks_exit;
                Step::Continue
            }
            (State::Linked, Input::UpstreamLost { amid_message }) => {
                if self.exited {
                    self.end(End::ExecCompleted, None)
                } else if amid_message {
                    self.end(End::Cut, None)
                } else if self.breaker.permits(config, now) {
                    self.ladder = Ladder::default();
                    self.wait(config, luck)
                } else {
                    self.end(End::Flapping, None)
                }
            }
            (State::Waiting, Input::Waited) => {
                self.state = State::Dialling;
                Step::Dial
            }
            (State::Dialling, Input::Dialled) => {
                self.state = State::Linked;
                Step::Resume
            }
            (State::Dialling, Input::DialFailed(failed)) => match failed {
                Failed::NotFound => self.end(End::SandboxNotFound, None),
                Failed::Stopped => self.end(End::SandboxStopped, None),
                Failed::Subprotocol => self.end(End::Subprotocol, None),
                Failed::Migrating => {
                    self.ladder.migrates();
                    self.wait(config, luck)
                }
                Failed::Other => self.wait(config, luck),
            },
            // What comes too late for its state changes nothing.
            (_, Input::Exited | Input::UpstreamLost { .. } | Input::Waited | Input::Dialled | Input::DialFailed(_)) => {
                Step::Continue
            }
        }
    }

    fn wait(&mut self, config: &BrokerConfig, luck: f64) -> Step {
        match self.ladder.next(config, luck) {
            Some(wait) => {
                self.state = State::Waiting;
                Step::Wait(wait)
            }
            None => self.end(End::Unrecoverable, None),
        }
    }

    fn end(&mut self, end: End, close: Option<Close>) -> Step {
        self.state = State::Ended;
        Step::End(end, close.unwrap_or_else(|| end.close()))
    }
}

#[cfg(test)]
mod simulator;
#[cfg(test)]
mod tests;
