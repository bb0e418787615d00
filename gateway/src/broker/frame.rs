//! One direction of a session: frames come in as bytes, whatever the chunking, and go out as the other side's frames.
//!
//! A frame is passed on as it is: fragments stay fragments, and nothing waits for the end of a message. Only the mask
//! changes, which belongs to one connection (RFC 6455 section 5.3). A frame of up to [`HELD_BYTES_MAX`] is held until
//! it is whole, so that its sender can die under it without the receiver seeing half of it. A longer one is passed on
//! while it arrives, each part as a fragment of its own (RFC 6455 section 5.4 lets intermediaries do so): what went out
//! always ends with a frame, so that a close fits in when the rest does not come.
//!
//! Headers and close codes are tungstenite's. Its reader is not used, nor is another library's: all of them collect a
//! frame before they give it away, or leave the rules of RFC 6455 to their caller.

mod close;
mod utf8;
#[cfg(test)]
mod tests;

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

pub use close::{Close, REASON_BYTES_MAX};
use utf8::Utf8;

/// The longest frame that is held until it is whole, in bytes of payload.
pub const HELD_BYTES_MAX: u64 = 16 << 10;

/// The longest header: two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a control frame, RFC 6455 section 5.5.
const CONTROL_BYTES_MAX: u64 = 125;

/// The frame by which a worker says that an exec or agent session is done: this byte and the exit code, big-endian.
const EXIT_TAG: u8 = 0x03;

/// A fresh mask for each frame, not to be guessed.
pub type Keys<'a> = &'a mut dyn FnMut() -> [u8; 4];

/// What its peer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A rule of framing.
    #[error("{0}")]
    Protocol(&'static str),
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A message longer than the configured limit.
    #[error("a message of more than {0} bytes")]
    TooBig(u64),
}

impl FrameError {
    /// What the peers are told.
    #[must_use]
    pub fn close(&self) -> Close {
        match self {
            Self::Protocol(rule) => Close::new(1002, rule),
            Self::Utf8 => Close::new(1007, "invalid UTF-8"),
            Self::TooBig(_) => Close::new(1009, "message too big"),
        }
    }
}

/// What stands between the data frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// To be answered with a pong of the same payload.
    Ping(Vec<u8>),
    /// A sign of life.
    Pong,
    /// The peer closes.
    Close(Close),
    /// A frame of data is whole, and this is the exit code if it says that the session is done.
    Data(Option<i32>),
}

/// Whether a message is passed on, decided when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    Drop,
}

/// Reads one side's frames and writes them for the other.
#[derive(Debug)]
pub struct Relay {
    from_client: bool,
    message_bytes_max: u64,
    /// The beginning of a frame that is not whole: its header, and its payload if that is short. Empty in between.
    held: Vec<u8>,
    /// The frame whose payload is being passed on as it comes.
    passing: Option<Passing>,
    /// The message whose last frame has not come, none between messages.
    message: Option<Message>,
    /// Whether messages that begin now have somebody to go to.
    bound: bool,
}

#[derive(Debug)]
struct Passing {
    remaining: u64,
    unmask: [u8; 4],
    /// How many bytes were passed, modulo 4.
    offset: usize,
    /// Of the next part.
    opcode: Data,
    /// It is its message's last.
    last: bool,
}

#[derive(Debug)]
struct Message {
    bytes: u64,
    text: Option<Utf8>,
    fate: Fate,
    /// Bytes of it have gone out.
    begun: bool,
}

impl Relay {
    /// The direction that begins at the client, whose frames are masked, or at the upstream, whose frames are not.
    #[must_use]
    pub fn new(from_client: bool, message_bytes_max: u64) -> Self {
        Self { from_client, message_bytes_max, held: Vec::new(), passing: None, message: None, bound: true }
    }

    /// Says that there is a receiver.
    pub fn link(&mut self) {
        self.bound = true;
    }

    /// Says that there is no receiver any more. A message that it has a part of is dropped to its end, since the next
    /// receiver has not seen its beginning. Other messages are read and dropped, unless they are held for that one:
    /// then they are written as ever.
    pub fn unlink(&mut self, held: bool) {
        self.bound = held;
        if let Some(message) = &mut self.message
            && (message.begun || !held)
        {
            message.fate = Fate::Drop;
        }
    }

    /// Whether the receiver has got a part of a message whose rest has not come.
    #[must_use]
    pub fn is_amid_message(&self) -> bool {
        self.message.as_ref().is_some_and(|message| message.begun)
    }

    /// Takes from `bytes` up to the next event, appends to `out` what goes to the other side, and returns how many
    /// bytes it took. Without an event it took all of them.
    ///
    /// # Errors
    /// When the sender broke a rule. The session is over then.
    pub fn take(
        &mut self,
        bytes: &[u8],
        keys: Keys<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Option<Event>), FrameError> {
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            let (used, event) = if self.passing.is_some() {
                self.pass(rest, keys, out)?
            } else if self.held.is_empty() {
                self.frame(rest, keys, out)?
            } else {
                self.resume(rest, keys, out)?
            };
            taken += used;
            if event.is_some() {
                return Ok((taken, event));
            }
        }
        Ok((taken, None))
    }

    /// Goes on with a held frame: as many bytes as it lacks, and no more.
    fn resume(
        &mut self,
        bytes: &[u8],
        keys: Keys<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Option<Event>), FrameError> {
        let before = self.held.len();
        let mut held = std::mem::take(&mut self.held);
        let wanted = match self.header(&held)? {
            Some((header, length, at)) => at + self.wanted_of(&header, length) - before,
            // A byte at a time, until the header says how long the frame is.
            None => 1,
        };
        let used = wanted.min(bytes.len());
        held.extend_from_slice(&bytes[..used]);
        let (consumed, event) = self.frame(&held, keys, out)?;
        debug_assert!(consumed == held.len(), "a held frame is taken whole or held on");
        Ok((used, event))
    }

    /// How many bytes of a payload have to be there at once.
    fn wanted_of(&self, header: &FrameHeader, length: u64) -> usize {
        let held = matches!(header.opcode, OpCode::Control(_)) || length <= HELD_BYTES_MAX;
        if held { usize::try_from(length).expect("a held frame is short") } else { 0 }
    }

    /// A frame from its first byte. What is not enough of it is held, all of it.
    fn frame(&mut self, bytes: &[u8], keys: Keys<'_>, out: &mut Vec<u8>) -> Result<(usize, Option<Event>), FrameError> {
        let Some((header, length, at)) = self.header(bytes)? else {
            self.held.extend_from_slice(bytes);
            return Ok((bytes.len(), None));
        };
        let wanted = self.wanted_of(&header, length);
        if bytes.len() < at + wanted {
            self.held.extend_from_slice(bytes);
            return Ok((bytes.len(), None));
        }
        let unmask = header.mask.unwrap_or_default();
        let payload = &bytes[at..at + wanted];
        match header.opcode {
            OpCode::Control(control) => Ok((at + wanted, Some(control_event(control, payload, unmask)?))),
            OpCode::Data(data) => {
                self.begin(data, length)?;
                let exit = (data == Data::Binary && header.is_final && length == 5)
                    .then(|| exit_code(payload, unmask))
                    .flatten();
                self.passing =
                    Some(Passing { remaining: length, unmask, offset: 0, opcode: data, last: header.is_final });
                let (used, event) = self.pass(payload, keys, out)?;
                debug_assert_eq!(used, payload.len());
                Ok((at + used, event.map(|_| Event::Data(exit))))
            }
        }
    }

    /// The header at the beginning of `bytes`, the payload's length, and where the payload begins.
    fn header(&self, bytes: &[u8]) -> Result<Option<(FrameHeader, u64, usize)>, FrameError> {
        let mut cursor = Cursor::new(&bytes[..bytes.len().min(HEADER_BYTES_MAX)]);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| FrameError::Protocol("reserved opcode"))?;
        let Some((header, length)) = parsed else { return Ok(None) };
        let at = usize::try_from(cursor.position()).expect("a header is short");
        let control = matches!(header.opcode, OpCode::Control(_));
        let broken = if header.rsv1 || header.rsv2 || header.rsv3 {
            Some("reserved bit set")
        } else if header.mask.is_some() != self.from_client {
            Some(if self.from_client { "client frame without a mask" } else { "server frame with a mask" })
        } else if control && !header.is_final {
            Some("fragmented control frame")
        } else if control && length > CONTROL_BYTES_MAX {
            Some("control frame too long")
        } else if length > i64::MAX.unsigned_abs() || header.len(length) != at {
            Some("malformed length")
        } else {
            None
        };
        broken.map_or(Ok(Some((header, length, at))), |rule| Err(FrameError::Protocol(rule)))
    }

    /// A data frame begins: it opens a message, or goes on with one.
    fn begin(&mut self, data: Data, length: u64) -> Result<(), FrameError> {
        let message = match (&mut self.message, data) {
            (Some(message), Data::Continue) => message,
            (None, Data::Continue) => return Err(FrameError::Protocol("continuation of nothing")),
            (Some(_), _) => return Err(FrameError::Protocol("message within a message")),
            (none, _) => {
                let text = (data == Data::Text).then(Utf8::default);
                let fate = if self.bound { Fate::Pass } else { Fate::Drop };
                none.insert(Message { bytes: 0, text, fate, begun: false })
            }
        };
        message.bytes = message.bytes.saturating_add(length);
        if message.bytes > self.message_bytes_max {
            return Err(FrameError::TooBig(self.message_bytes_max));
        }
        Ok(())
    }

    /// Passes payload on as it comes. The event is the end of the frame.
    fn pass(&mut self, bytes: &[u8], keys: Keys<'_>, out: &mut Vec<u8>) -> Result<(usize, Option<Event>), FrameError> {
        let (Some(passing), Some(message)) = (&mut self.passing, &mut self.message) else {
            unreachable!("a frame is passed within its message")
        };
        let used = usize::try_from(passing.remaining).unwrap_or(usize::MAX).min(bytes.len());
        let whole = passing.remaining == used as u64;
        if used == 0 && !whole {
            return Ok((0, None));
        }
        let ends = whole && passing.last;
        let before = out.len();
        let mask = self.from_client.then(keys);
        let opcode = OpCode::Data(passing.opcode);
        let header = FrameHeader { is_final: ends, opcode, mask, ..FrameHeader::default() };
        header.format(used as u64, out).expect("a Vec takes every byte");
        let start = out.len();
        out.extend_from_slice(&bytes[..used]);
        xor(&mut out[start..], passing.unmask, passing.offset);
        if let Some(text) = &mut message.text
            && !text.accepts(&out[start..], ends)
        {
            return Err(FrameError::Utf8);
        }
        match message.fate {
            Fate::Pass => {
                message.begun = true;
                xor(&mut out[start..], mask.unwrap_or_default(), 0);
            }
            Fate::Drop => out.truncate(before),
        }
        passing.opcode = Data::Continue;
        passing.offset = (passing.offset + used) % 4;
        passing.remaining -= used as u64;
        if !whole {
            return Ok((used, None));
        }
        self.passing = None;
        if ends {
            self.message = None;
        }
        Ok((used, Some(Event::Data(None))))
    }
}

/// Appends a control or data frame of our own.
pub fn append(opcode: OpCode, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let header = FrameHeader { opcode, mask, ..FrameHeader::default() };
    header.format(payload.len() as u64, out).expect("a Vec takes every byte");
    let start = out.len();
    out.extend_from_slice(payload);
    xor(&mut out[start..], mask.unwrap_or_default(), 0);
}

fn control_event(control: Control, payload: &[u8], unmask: [u8; 4]) -> Result<Event, FrameError> {
    let mut payload = payload.to_vec();
    xor(&mut payload, unmask, 0);
    match control {
        Control::Ping => Ok(Event::Ping(payload)),
        Control::Pong => Ok(Event::Pong),
        Control::Close => Close::parse(&payload).map(Event::Close),
        Control::Reserved(_) => Err(FrameError::Protocol("reserved opcode")),
    }
}

fn exit_code(payload: &[u8], unmask: [u8; 4]) -> Option<i32> {
    let mut payload: [u8; 5] = payload.try_into().ok()?;
    xor(&mut payload, unmask, 0);
    let [tag, code @ ..] = payload;
    (tag == EXIT_TAG).then(|| i32::from_be_bytes(code))
}

/// Masks or unmasks bytes that stand `offset` bytes behind the payload's beginning.
fn xor(bytes: &mut [u8], mut key: [u8; 4], offset: usize) {
    if key == [0; 4] {
        return;
    }
    key.rotate_left(offset % 4);
    let mut words = bytes.chunks_exact_mut(4);
    for word in &mut words {
        word.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
    }
    words.into_remainder().iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
}
