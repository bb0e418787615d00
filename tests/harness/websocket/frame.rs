//! One frame, bit by bit.

use std::fmt;

use anyhow::{Context as _, Result, ensure};

use super::Role;
use crate::wire::Received;

/// A frame as RFC 6455 section 5.2 draws it, without its mask.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// The last frame of its message.
    pub fin: bool,
    /// RSV1, RSV2 and RSV3, as the bits 4, 2 and 1.
    pub reserved: u8,
    /// One of [`Opcode`], or one that nobody has defined.
    pub opcode: u8,
    /// Without the mask.
    pub payload: Vec<u8>,
}

/// The opcodes that mean something.
pub struct Opcode;

#[expect(missing_docs, reason = "named as in RFC 6455 section 11.8")]
impl Opcode {
    pub const CONTINUATION: u8 = 0x0;
    pub const TEXT: u8 = 0x1;
    pub const BINARY: u8 = 0x2;
    pub const CLOSE: u8 = 0x8;
    pub const PING: u8 = 0x9;
    pub const PONG: u8 = 0xA;
}

/// The largest frame that a story waits for, in bytes.
const PAYLOAD_BYTES_MAX: u64 = 64 << 20;

/// Any key masks; one with four different bytes shows a payload that was unmasked out of step.
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

impl Frame {
    /// A whole message, or a control frame.
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { fin: true, reserved: 0, opcode, payload: payload.into() }
    }

    /// A text message.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::new(Opcode::TEXT, text.as_ref())
    }

    /// A binary message.
    pub fn binary(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(Opcode::BINARY, payload)
    }

    /// The last frame of a message that has begun.
    pub fn continuation(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(Opcode::CONTINUATION, payload)
    }

    /// A ping.
    pub fn ping(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(Opcode::PING, payload)
    }

    /// A pong.
    pub fn pong(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(Opcode::PONG, payload)
    }

    /// A close frame with a code and a reason, whatever they are.
    pub fn close(code: u16, reason: &str) -> Self {
        Self::new(Opcode::CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    /// The same frame, and more of its message follows.
    #[must_use]
    pub fn and_more(self) -> Self {
        Self { fin: false, ..self }
    }

    /// The same frame with reserved bits.
    #[must_use]
    pub fn with_reserved(self, reserved: u8) -> Self {
        Self { reserved, ..self }
    }

    /// The frame's bytes, with the shortest length field that does.
    pub fn encode(&self, sender: Role) -> Vec<u8> {
        let mut bytes = self.header(sender);
        match sender {
            Role::Server => bytes.extend_from_slice(&self.payload),
            Role::Client => bytes.extend(masked(&self.payload, MASK)),
        }
        bytes
    }

    /// The bytes before the payload, the mask included.
    pub fn header(&self, sender: Role) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.fin) << 7 | self.reserved << 4 | self.opcode];
        let mask_bit = u8::from(sender == Role::Client) << 7;
        match self.payload.len() {
            short @ 0..126 => bytes.push(mask_bit | u8::try_from(short).expect("below 126")),
            medium @ 126..65_536 => {
                bytes.push(mask_bit | 126);
                bytes.extend(u16::try_from(medium).expect("below 65536").to_be_bytes());
            }
            long => {
                bytes.push(mask_bit | 127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        if sender == Role::Client {
            bytes.extend(MASK);
        }
        bytes
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_BYTES_MAX: usize = 100;
        let (opcode, length) = (self.opcode, self.payload.len());
        write!(formatter, "frame {opcode:#x}")?;
        if !self.fin {
            formatter.write_str(", more follows")?;
        }
        if self.reserved != 0 {
            write!(formatter, ", reserved {:03b}", self.reserved)?;
        }
        let payload = match self.opcode {
            Opcode::CLOSE if length >= 2 => {
                write!(formatter, ", code {}", u16::from_be_bytes([self.payload[0], self.payload[1]]))?;
                &self.payload[2..]
            }
            _ => &self.payload,
        };
        write!(formatter, ", {length} bytes \"{}\"", payload[..payload.len().min(SHOWN_BYTES_MAX)].escape_ascii())
    }
}

/// The next frame, which `sender` has sent; `None` where the connection ended before its first byte.
///
/// Fails where the sender breaks a rule of the frame itself: the mask on the wrong side, a length that is not written
/// in the shortest way, or a control frame that is long or in pieces.
pub(crate) fn read(received: &mut Received, sender: Role) -> Result<Option<Frame>> {
    if received.unread().is_empty() && !received.wait()? {
        return Ok(None);
    }
    let head = received.exactly(2).context("receive a frame's first bytes")?;
    let (first, second) = (head[0], head[1]);
    let is_masked = second & 0x80 != 0;
    ensure!(is_masked == (sender == Role::Client), "a frame whose mask bit is {is_masked} from the {sender:?}");
    let (length, shortest) = match second & 0x7F {
        126 => (u64::from(u16::from_be_bytes(array(received)?)), 126),
        127 => (u64::from_be_bytes(array(received)?), 65_536),
        short => (u64::from(short), 0),
    };
    ensure!(length >= shortest, "a length of {length} that is not written in the shortest way");
    ensure!(length <= PAYLOAD_BYTES_MAX, "a frame of {length} bytes");
    let mask = if is_masked { array(received)? } else { [0; 4] };
    let payload = received.exactly(usize::try_from(length)?).context("receive a frame's payload")?;
    let frame = Frame {
        fin: first & 0x80 != 0,
        reserved: first >> 4 & 0x7,
        opcode: first & 0xF,
        payload: masked(&payload, mask).collect(),
    };
    let is_control = frame.opcode & 0x8 != 0;
    ensure!(!is_control || frame.fin && length < 126, "a control frame against section 5.5: {frame:?}");
    Ok(Some(frame))
}

fn masked(payload: &[u8], mask: [u8; 4]) -> impl Iterator<Item = u8> {
    payload.iter().zip(mask.into_iter().cycle()).map(|(byte, key)| byte ^ key)
}

fn array<const N: usize>(received: &mut Received) -> Result<[u8; N]> {
    Ok(received.exactly(N)?.try_into().expect("as many bytes as were asked for"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 6455 section 5.7.
    #[test]
    fn frames_are_written_as_the_standard_shows() {
        assert_eq!(Frame::text("Hello").encode(Role::Server), b"\x81\x05Hello");
        assert_eq!(
            Frame::text("Hello").encode(Role::Client),
            [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
        );
        assert_eq!(Frame::text("Hel").and_more().encode(Role::Server), b"\x01\x03Hel");
        assert_eq!(Frame::continuation("lo").encode(Role::Server), b"\x80\x02lo");
        assert_eq!(Frame::ping("Hello").encode(Role::Server), b"\x89\x05Hello");
        assert_eq!(Frame::binary([0; 256]).header(Role::Server), [0x82, 0x7E, 0x01, 0x00]);
        assert_eq!(Frame::binary([0; 65_536]).header(Role::Server), [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
