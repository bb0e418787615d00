//! WebSocket frames (RFC 6455 section 5.2), for subjects that end WebSocket themselves and pass on what is in them.
//!
//! A message is one binary frame of the client. Its mask is four zero bytes, which changes nothing, but is as much work
//! for whoever takes it off. Answers are whatever frames the subject makes of what it gets.

use anyhow::{Result, ensure};

/// FIN and the opcode of binary data.
const BINARY: u8 = 0x82;
const MASKED: u8 = 0x80;

/// Lengths that say that the length is in the next two or eight bytes.
const IN_TWO: u8 = 126;
const IN_EIGHT: u8 = 127;

/// Bytes of the longest head that a client sends, and of the longest one that a server sends.
const CLIENT_HEAD_MAX: usize = 14;
const SERVER_HEAD_MAX: usize = 10;

/// What a client sends before a message.
pub(super) struct Head {
    bytes: [u8; CLIENT_HEAD_MAX],
    len: usize,
}

impl Head {
    /// Of a message that is sent without a frame.
    pub(super) const NONE: Self = Self { bytes: [0; CLIENT_HEAD_MAX], len: 0 };

    pub(super) fn of(message_bytes: u32) -> Self {
        let mut head = Self { bytes: [0; CLIENT_HEAD_MAX], len: 0 };
        head.push(&[BINARY]);
        match (u8::try_from(message_bytes), u16::try_from(message_bytes)) {
            (Ok(short), _) if short < IN_TWO => head.push(&[MASKED | short]),
            (_, Ok(middle)) => {
                head.push(&[MASKED | IN_TWO]);
                head.push(&middle.to_be_bytes());
            }
            _ => {
                head.push(&[MASKED | IN_EIGHT]);
                head.push(&u64::from(message_bytes).to_be_bytes());
            }
        }
        // The mask.
        head.push(&[0; 4]);
        head
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The frames of a server, as they come in pieces.
#[derive(Default)]
pub(super) struct Frames {
    head: [u8; SERVER_HEAD_MAX],
    head_filled: usize,
    /// Bytes of the current frame that are still to come.
    left: u64,
}

impl Frames {
    /// Moves what is in the frames to the front of `bytes`, and says how much it is.
    ///
    /// # Errors
    ///
    /// When it is a control frame, which ends a stream here, or masked, which no server's is.
    pub(super) fn strip(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() {
            if self.left == 0 {
                self.head[self.head_filled] = bytes[at];
                self.head_filled += 1;
                at += 1;
                if let Some(length) = length(&self.head[..self.head_filled])? {
                    (self.left, self.head_filled) = (length, 0);
                }
                continue;
            }
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let count = left.min(bytes.len() - at);
            bytes.copy_within(at..at + count, kept);
            kept += count;
            at += count;
            self.left -= count as u64;
        }
        Ok(kept)
    }
}

/// How long the frame is, once its head says so.
fn length(head: &[u8]) -> Result<Option<u64>> {
    let [first, second, rest @ ..] = head else { return Ok(None) };
    ensure!(first & 0x0f <= 2, "a stream has ended with the frame {first:#04x}");
    ensure!(second & MASKED == 0, "a masked frame of a server");
    Ok(match (*second, rest) {
        (IN_TWO, [a, b]) => Some(u16::from_be_bytes([*a, *b]).into()),
        (IN_EIGHT, rest) => rest.try_into().ok().map(u64::from_be_bytes),
        (IN_TWO, _) => None,
        (short, _) => Some(short.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_long_the_message_is() {
        assert_eq!(Head::of(125).as_slice(), [0x82, 0x80 | 125, 0, 0, 0, 0]);
        assert_eq!(Head::of(126).as_slice(), [0x82, 0x80 | 126, 0, 126, 0, 0, 0, 0]);
        assert_eq!(Head::of(65_536).as_slice(), [0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert!(Head::NONE.as_slice().is_empty());
    }

    #[test]
    fn frames_are_stripped_wherever_they_are_cut() {
        let mut wire = vec![0x82, 2, b'a', b'b', 0x82, 126, 1, 0];
        wire.extend([b'c'; 256]);
        wire.extend([0x02, 0, 0x80, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        wire.extend([b'd'; 65_536]);
        let whole = [&b"ab"[..], &[b'c'; 256], &[b'd'; 65_536]].concat();
        for pieces in [1, 3, 7, 1000, wire.len()] {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for piece in wire.chunks(pieces) {
                let mut piece = piece.to_vec();
                let kept = frames.strip(&mut piece).unwrap();
                found.extend_from_slice(&piece[..kept]);
            }
            assert!(found == whole, "in pieces of {pieces}");
        }
    }

    #[test]
    fn a_close_ends_the_stream_and_a_mask_is_refused() {
        assert!(Frames::default().strip(&mut [0x88, 0]).unwrap_err().to_string().contains("has ended"));
        assert!(Frames::default().strip(&mut [0x82, 0x81]).unwrap_err().to_string().contains("masked"));
    }
}
