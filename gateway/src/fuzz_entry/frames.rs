//! The broker's frames.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;

use crate::broker::frame::{Event, FrameError, Relay};

/// What came of one direction's bytes: the events, and what went out.
type Relayed = Result<(Vec<Event>, Vec<u8>), FrameError>;

/// Frames from a client or a worker. The first byte chooses the side, the longest message, and how the bytes are dealt
/// out.
///
/// How they are dealt out changes neither an event nor a message nor an error, only where long frames are divided. What
/// goes out is whole frames of data under the sender's mask, reads as itself, and is nothing where there is nobody to
/// get it.
pub fn frames(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let from_client = choice & 1 == 0;
    let message_bytes_max = if choice & 2 == 0 { 1 << 20 } else { 64 };
    let relay = || Relay::new(from_client, message_bytes_max);
    let whole = relayed(relay(), bytes, bytes.len().max(1));
    let dealt = relayed(relay(), bytes, usize::from(choice >> 2) + 1);
    let mut unbound = relay();
    unbound.unlink(false);
    let dropped = relayed(unbound, bytes, bytes.len().max(1));
    let mut holding = relay();
    holding.unlink(true);
    assert_eq!(relayed(holding, bytes, bytes.len().max(1)), whole, "what is held is what would be sent");
    let (events, out) = match whole {
        Ok(whole) => whole,
        Err(error) => {
            assert_eq!(dealt, Err(error), "dealt out differently");
            assert_eq!(dropped, Err(error), "a rule holds whether or not anybody listens");
            return;
        }
    };
    let (dealt_events, dealt_out) = dealt.expect("dealt out differently, the same bytes break no rule");
    assert_eq!(dealt_events, events, "dealt out differently");
    let messages = messages(&out, from_client);
    assert_eq!(self::messages(&dealt_out, from_client), messages, "dealt out differently");
    assert_eq!(dropped, Ok((events, Vec::new())), "nobody is there to get it");
    let (_, again) = relayed(relay(), &out, 1).expect("what goes out keeps to the rules");
    assert_eq!(self::messages(&again, from_client), messages, "what went out reads as itself");
}

pub(super) fn relayed(mut relay: Relay, bytes: &[u8], piece: usize) -> Relayed {
    let (mut events, mut out) = (Vec::new(), Vec::new());
    for mut rest in bytes.chunks(piece) {
        while !rest.is_empty() {
            let (taken, event) = relay.take(rest, &mut || [1, 2, 3, 4], &mut out)?;
            assert!(taken > 0, "no progress");
            assert!(event.is_some() || taken == rest.len(), "bytes were left without a reason");
            rest = &rest[taken..];
            events.extend(event);
        }
    }
    Ok((events, out))
}

/// The messages in `bytes`, which are whole frames: the opcode, the payload, and whether it is all of it.
fn messages(mut bytes: &[u8], masked: bool) -> Vec<(u8, Vec<u8>, bool)> {
    let mut found: Vec<(u8, Vec<u8>, bool)> = Vec::new();
    while !bytes.is_empty() {
        let mut cursor = Cursor::new(bytes);
        let (header, length) = FrameHeader::parse(&mut cursor).expect("a frame").expect("whole frames alone");
        assert_eq!(header.mask.is_some(), masked, "the mask is the client's side's");
        assert!(!header.rsv1 && !header.rsv2 && !header.rsv3);
        let start = usize::try_from(cursor.position()).expect("a header is short");
        let end = start + usize::try_from(length).expect("a payload that fits in memory");
        let mask = header.mask.unwrap_or_default().into_iter().cycle();
        let payload = bytes[start..end].iter().zip(mask).map(|(byte, key)| byte ^ key);
        match u8::from(header.opcode) {
            0 => {
                let (_, begun, whole) = found.last_mut().expect("a continuation of something");
                assert!(!*whole, "a continuation of something that has ended");
                begun.extend(payload);
                *whole = header.is_final;
            }
            opcode @ (1 | 2) => {
                assert!(found.last().is_none_or(|(_, _, whole)| *whole), "a message within a message");
                found.push((opcode, payload.collect(), header.is_final));
            }
            opcode => unreachable!("a control frame {opcode} is the gateway's own business"),
        }
        bytes = &bytes[end..];
    }
    found
}
