//! What a visitor does, and what follows.

/// What a visitor waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Page,
    Asset(u64),
    Upgrade,
    FirstFrame,
}

impl Step {
    /// Its place in [`STAGES`](super::STAGES).
    pub(super) fn stage(self) -> usize {
        match self {
            Self::Page => 0,
            Self::Asset(_) => 1,
            Self::Upgrade => 2,
            Self::FirstFrame => 3,
        }
    }
}

/// What a connection had to read.
pub(super) enum Got {
    Bytes,
    Nothing,
    /// The end of a kept connection, where an answer had not begun.
    End,
}

/// What follows an answer.
pub(super) enum Next {
    Ask(Step),
    /// More of the same connection.
    Wait(Step),
    /// A second connection, for the stream.
    Stream,
    Done,
}
