//! Close codes and reasons: what may be on the wire, and nothing else.

use std::borrow::Cow;

use tungstenite::protocol::frame::coding::{CloseCode, Control, OpCode};

use super::{FrameError, append};

/// The longest reason, in bytes: a control frame's payload without the code.
pub const REASON_BYTES_MAX: usize = 123;

/// How a side closes: a code that may be sent, or none, and a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// `None` is a frame without a code, which a peer's program sees as 1005.
    code: Option<u16>,
    reason: Cow<'static, str>,
}

impl Close {
    /// A close frame without a code.
    pub const EMPTY: Self = Self { code: None, reason: Cow::Borrowed("") };

    /// One of ours. The code is one that may be sent.
    #[must_use]
    pub fn new(code: u16, reason: &'static str) -> Self {
        debug_assert!(CloseCode::from(code).is_allowed() && reason.len() <= REASON_BYTES_MAX);
        Self { code: Some(code), reason: Cow::Borrowed(reason) }
    }

    /// As [`Close::new`], with a reason that is made up at run time and cut where it is too long.
    #[must_use]
    pub fn with_reason(code: u16, mut reason: String) -> Self {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        Self { reason: Cow::Owned(reason), ..Self::new(code, "") }
    }

    /// Reads a close frame's payload, RFC 6455 sections 5.5.1 and 7.4.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, FrameError> {
        match payload {
            [] => Ok(Self::EMPTY),
            [_] => Err(FrameError::Protocol("half a close code")),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !CloseCode::from(code).is_allowed() {
                    return Err(FrameError::Protocol("invalid close code"));
                }
                let reason = std::str::from_utf8(reason).map_err(|_| FrameError::Utf8)?;
                Ok(Self { code: Some(code), reason: Cow::Owned(reason.to_owned()) })
            }
        }
    }

    /// The code, as programs see it: 1005 stands for none.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code.unwrap_or(1005)
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Appends the close frame.
    pub fn append(&self, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
        let mut payload = Vec::with_capacity(2 + self.reason.len());
        if let Some(code) = self.code {
            payload.extend_from_slice(&code.to_be_bytes());
            payload.extend_from_slice(self.reason.as_bytes());
        }
        append(OpCode::Control(Control::Close), &payload, mask, out);
    }
}
