//! When a stream is over, and what each side is told: the part of a tunnel that is the same whoever moves the bytes.
//!
//! A TCP stream is two directions. One that ends is progress, not an end: the other may carry bytes for as long as it
//! likes. A reset ends both. Events come in, actions go out; there is no socket and no clock here.

/// A party of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The browser or SDK.
    Client,
    /// The pod.
    Upstream,
    /// This program.
    Gateway,
}

impl Side {
    /// The name in logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
        }
    }
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// An ordinary end of stream.
    Fin,
    /// The connection was reset.
    Reset,
    /// The peer vanished: keepalive probes or sent data went unanswered.
    Vanished,
    /// Another socket error.
    Failed,
    /// No byte in either direction for the configured time.
    Idle,
    /// The configured lifetime is over.
    Lifetime,
    /// The sandbox left the directory.
    SandboxGone,
    /// The drain deadline came.
    Drain,
    /// An operator closed it.
    Operator,
}

impl Reason {
    /// Every reason, for the places that number them.
    pub const ALL: [Self; 9] = [
        Self::Fin,
        Self::Reset,
        Self::Vanished,
        Self::Failed,
        Self::Idle,
        Self::Lifetime,
        Self::SandboxGone,
        Self::Drain,
        Self::Operator,
    ];

    /// Whether the pod is told by a reset: its sandbox is no more, and whoever has its address next must not find the
    /// connection half open.
    #[must_use]
    pub(super) const fn resets_upstream(self) -> bool {
        matches!(self, Self::SandboxGone)
    }

    /// The name in logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Reset => "rst",
            Self::Vanished => "vanished",
            Self::Failed => "error",
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::SandboxGone => "sandbox_gone",
            Self::Drain => "drain",
            Self::Operator => "operator",
        }
    }
}

/// Who ended a stream first, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Who.
    pub side: Side,
    /// Why.
    pub reason: Reason,
}

/// How the direction that begins at a peer came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectionEnd {
    /// The peer ended it, and every byte before was delivered.
    Fin,
    /// The peer's connection failed.
    Broken(Reason),
    /// The other side stopped taking bytes; what the peer still sent was discarded.
    Undeliverable,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The direction that begins at this peer ended.
    Ended(Peer, DirectionEnd),
    /// The gateway closes the stream.
    Close(Reason),
}

/// One of the two ends of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The browser or SDK.
    Client,
    /// The pod.
    Upstream,
}

impl Peer {
    /// The opposite end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }

    const fn side(self) -> Side {
        match self {
            Self::Client => Side::Client,
            Self::Upstream => Side::Upstream,
        }
    }
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing: the other direction goes on.
    Continue,
    /// Tell this peer that no more bytes will come.
    PassEnd(Peer),
    /// The stream is over. `reset` names the peer that must learn it by a reset.
    Finish {
        /// Who is reset; nobody where both directions ended in order.
        reset: Option<Peer>,
    },
}

/// The state of both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HalfClose {
    client_ended: bool,
    upstream_ended: bool,
    first: Option<Ended>,
}

impl HalfClose {
    /// Takes an event, each peer's end at most once.
    pub fn on(&mut self, event: Event) -> Action {
        match event {
            Event::Close(reason) => {
                self.note(Side::Gateway, reason);
                Action::Finish { reset: reason.resets_upstream().then_some(Peer::Upstream) }
            }
            Event::Ended(peer, end) => {
                match peer {
                    Peer::Client => self.client_ended = true,
                    Peer::Upstream => self.upstream_ended = true,
                }
                match end {
                    DirectionEnd::Fin => self.note(peer.side(), Reason::Fin),
                    DirectionEnd::Broken(reason) => {
                        self.note(peer.side(), reason);
                        return Action::Finish { reset: Some(peer.other()) };
                    }
                    // A direction that cannot be delivered ended because of the side that no longer takes it.
                    DirectionEnd::Undeliverable => self.note(peer.other().side(), Reason::Reset),
                }
                if self.client_ended && self.upstream_ended {
                    Action::Finish { reset: None }
                } else if end == DirectionEnd::Fin {
                    Action::PassEnd(peer.other())
                } else {
                    Action::Continue
                }
            }
        }
    }

    /// Whether the direction that begins at `peer` is over.
    #[must_use]
    pub const fn has_ended(&self, peer: Peer) -> bool {
        match peer {
            Peer::Client => self.client_ended,
            Peer::Upstream => self.upstream_ended,
        }
    }

    /// Who ended the stream first; `None` while nobody has.
    #[must_use]
    pub const fn first(&self) -> Option<Ended> {
        self.first
    }

    fn note(&mut self, side: Side, reason: Reason) {
        self.first.get_or_insert(Ended { side, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_direction_ending_is_progress() {
        let mut state = HalfClose::default();
        assert_eq!(state.on(Event::Ended(Peer::Client, DirectionEnd::Fin)), Action::PassEnd(Peer::Upstream));
        assert!(state.has_ended(Peer::Client) && !state.has_ended(Peer::Upstream));
        assert_eq!(state.on(Event::Ended(Peer::Upstream, DirectionEnd::Fin)), Action::Finish { reset: None });
        assert_eq!(state.first(), Some(Ended { side: Side::Client, reason: Reason::Fin }));
    }

    #[test]
    fn a_reset_becomes_a_reset() {
        let mut state = HalfClose::default();
        let reset = Event::Ended(Peer::Upstream, DirectionEnd::Broken(Reason::Reset));
        assert_eq!(state.on(reset), Action::Finish { reset: Some(Peer::Client) });
        assert_eq!(state.first(), Some(Ended { side: Side::Upstream, reason: Reason::Reset }));
    }

    #[test]
    fn the_first_end_keeps_the_blame() {
        let mut state = HalfClose::default();
        state.on(Event::Ended(Peer::Upstream, DirectionEnd::Fin));
        assert_eq!(state.on(Event::Ended(Peer::Client, DirectionEnd::Undeliverable)), Action::Finish { reset: None });
        assert_eq!(state.first(), Some(Ended { side: Side::Upstream, reason: Reason::Fin }));
    }

    #[test]
    fn the_gateway_can_close_at_any_time() {
        let mut state = HalfClose::default();
        state.on(Event::Ended(Peer::Client, DirectionEnd::Fin));
        assert_eq!(state.on(Event::Close(Reason::Idle)), Action::Finish { reset: None });
        let gone = HalfClose::default().on(Event::Close(Reason::SandboxGone));
        assert_eq!(gone, Action::Finish { reset: Some(Peer::Upstream) }, "its address may be another's by now");
    }

    fn end() -> impl Strategy<Value = DirectionEnd> {
        prop_oneof![
            Just(DirectionEnd::Fin),
            Just(DirectionEnd::Undeliverable),
            Just(DirectionEnd::Broken(Reason::Reset)),
            Just(DirectionEnd::Broken(Reason::Vanished)),
        ]
    }

    proptest! {
        /// Whatever comes first, an end is passed on at most once to each peer and the second end finishes the stream.
        #[test]
        fn two_ends_always_finish(client_first: bool, first in end(), second in end()) {
            let peer = if client_first { Peer::Client } else { Peer::Upstream };
            let mut state = HalfClose::default();
            let after_first = state.on(Event::Ended(peer, first));
            match first {
                DirectionEnd::Broken(_) => prop_assert_eq!(after_first, Action::Finish { reset: Some(peer.other()) }),
                DirectionEnd::Fin => prop_assert_eq!(after_first, Action::PassEnd(peer.other())),
                DirectionEnd::Undeliverable => prop_assert_eq!(after_first, Action::Continue),
            }
            if !matches!(first, DirectionEnd::Broken(_)) {
                let finished = matches!(state.on(Event::Ended(peer.other(), second)), Action::Finish { .. });
                prop_assert!(finished);
            }
            prop_assert!(state.first().is_some());
        }
    }
}
