//! Frames of every shape, in every chunking, against what tungstenite reads and writes.

use proptest::prelude::*;
use tungstenite::protocol::frame::Frame;

use super::*;

const MAX: u64 = 1 << 20;

/// A frame as its sender writes it.
fn frame(opcode: u8, payload: &[u8], last: bool, masked: bool) -> Vec<u8> {
    let mask = masked.then_some([7, 1, 9, 200]);
    let header = FrameHeader { is_final: last, opcode: OpCode::from(opcode), mask, ..FrameHeader::default() };
    let mut out = Vec::new();
    header.format(payload.len() as u64, &mut out).unwrap();
    let start = out.len();
    out.extend_from_slice(payload);
    xor(&mut out[start..], mask.unwrap_or_default(), 0);
    out
}

/// Everything that comes of `bytes`, dealt out in pieces of `piece`.
fn take(relay: &mut Relay, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<Event>), FrameError> {
    let (mut out, mut events) = (Vec::new(), Vec::new());
    for mut piece in bytes.chunks(piece.max(1)) {
        while !piece.is_empty() {
            let (used, event) = relay.take(piece, &mut || [5, 6, 7, 8], &mut out)?;
            assert!(used > 0, "no progress");
            piece = &piece[used..];
            events.extend(event);
        }
    }
    Ok((out, events))
}

/// The data messages in `bytes`, each with its opcode.
fn messages(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut amid = false;
    for (opcode, last, payload) in frames(bytes) {
        assert_eq!(opcode == 0, amid, "a continuation is within a message, and nothing else is");
        if amid {
            found.last_mut().unwrap().1.extend(payload);
        } else {
            found.push((opcode, payload));
        }
        amid = !last;
    }
    assert!(!amid);
    found
}

fn frames(mut bytes: &[u8]) -> Vec<(u8, bool, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let mut cursor = Cursor::new(bytes);
        let (header, length) = FrameHeader::parse(&mut cursor).unwrap().expect("whole frames alone");
        let start = usize::try_from(cursor.position()).unwrap();
        let end = start + usize::try_from(length).unwrap();
        let mut payload = bytes[start..end].to_vec();
        xor(&mut payload, header.mask.unwrap_or_default(), 0);
        found.push((u8::from(header.opcode), header.is_final, payload));
        bytes = &bytes[end..];
    }
    found
}

#[test]
fn every_length_passes_both_ways_in_every_chunking() {
    for length in [0, 1, 124, 125, 126, 127, 65_535, 65_536, 100_000] {
        let payload: Vec<u8> = (0..length).map(|i: u32| u8::try_from(i % 251).unwrap()).collect();
        for from_client in [true, false] {
            for piece in [1, 3, 4096, 1 << 20] {
                let mut relay = Relay::new(from_client, MAX);
                let (out, events) = take(&mut relay, &frame(2, &payload, true, from_client), piece).unwrap();
                assert_eq!(messages(&out), [(2, payload.clone())], "{length} by {piece}");
                assert_eq!(events, [Event::Data(None)]);
                let masked = out[1] & 0x80 != 0;
                assert_eq!(masked, from_client, "the mask is the sender's side's");
            }
        }
    }
}

#[test]
fn fragments_stay_fragments_with_control_frames_between_them() {
    let bytes = [
        frame(1, b"a", false, true),
        frame(9, b"ping", true, true),
        frame(0, b"", false, true),
        frame(10, b"", true, true),
        frame(0, "\u{e9}".as_bytes(), true, true),
    ]
    .concat();
    let (out, events) = take(&mut Relay::new(true, MAX), &bytes, 1).unwrap();
    let expected = [(1, false, b"a".to_vec()), (0, false, Vec::new()), (0, true, "\u{e9}".into())];
    assert_eq!(frames(&out), expected);
    assert!(events.contains(&Event::Ping(b"ping".to_vec())) && events.contains(&Event::Pong), "{events:?}");
}

#[test]
fn what_rfc_6455_forbids_is_refused_with_its_code() {
    let masked = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[1] |= 0x80;
        bytes.splice(2..2, [0; 4]);
        bytes
    };
    let cases: &[(&str, Vec<u8>, u16)] = &[
        ("rsv1", masked(&[0xc2, 0]), 1002),
        ("rsv2", masked(&[0xa2, 0]), 1002),
        ("rsv3", masked(&[0x92, 0]), 1002),
        ("opcode 3", masked(&[0x83, 0]), 1002),
        ("opcode 11", masked(&[0x8b, 0]), 1002),
        ("no mask", frame(2, b"x", true, false), 1002),
        ("fragmented ping", frame(9, b"x", false, true), 1002),
        ("long ping", frame(9, &[0; 126], true, true), 1002),
        ("continuation of nothing", frame(0, b"x", true, true), 1002),
        ("message within one", [frame(1, b"x", false, true), frame(1, b"x", true, true)].concat(), 1002),
        ("padded length", vec![0x82, 0xfe, 0, 1, 0, 0, 0, 0, 1], 1002),
        ("length of 2^63", vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1002),
        ("half a close code", frame(8, &[3], true, true), 1002),
        ("close 1005", frame(8, &1005_u16.to_be_bytes(), true, true), 1002),
        ("close 1006", frame(8, &1006_u16.to_be_bytes(), true, true), 1002),
        ("close 999", frame(8, &999_u16.to_be_bytes(), true, true), 1002),
        ("close reason", frame(8, b"\x03\xe8\xff", true, true), 1007),
        ("text", frame(1, b"a\xffb", true, true), 1007),
        ("cut text", frame(1, b"\xc3", true, true), 1007),
        ("surrogate", frame(1, b"\xed\xa0\x80", true, true), 1007),
        ("too big", frame(2, &vec![0; 1 << 20 | 1], true, true), 1009),
    ];
    for (name, bytes, code) in cases {
        for piece in [1, 1 << 20] {
            let refused = take(&mut Relay::new(true, MAX), bytes, piece).unwrap_err();
            assert_eq!(refused.close().code(), *code, "{name}");
        }
    }
    assert!(take(&mut Relay::new(false, MAX), &frame(2, b"x", true, true), 9).is_err(), "a masked server frame");
}

#[test]
fn close_codes_and_reasons_pass() {
    for code in [1000, 1001, 1003, 1007, 1011, 1012, 3000, 4001, 4999] {
        let mut payload = u16::to_be_bytes(code).to_vec();
        payload.extend_from_slice(b"why");
        let (_, events) = take(&mut Relay::new(false, MAX), &frame(8, &payload, true, false), 1).unwrap();
        let [Event::Close(close)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((close.code(), close.reason()), (code, "why"));
    }
    let (_, events) = take(&mut Relay::new(false, MAX), &frame(8, b"", true, false), 1).unwrap();
    assert_eq!(events, [Event::Close(Close::EMPTY)]);
}

#[test]
fn only_a_whole_binary_frame_of_five_bytes_marks_an_exit() {
    let mark =
        |opcode, payload: &[u8]| take(&mut Relay::new(false, MAX), &frame(opcode, payload, true, false), 1).unwrap().1;
    assert_eq!(mark(2, &[3, 0, 0, 0, 7]), [Event::Data(Some(7))]);
    assert_eq!(mark(2, &[3, 255, 255, 255, 255]), [Event::Data(Some(-1))]);
    for (opcode, payload) in [(1, &[3, 0, 0, 0, 7][..]), (2, &[3, 0, 0, 7]), (2, &[2, 0, 0, 0, 7])] {
        assert_eq!(mark(opcode, payload), [Event::Data(None)]);
    }
}

#[test]
fn a_cut_frame_is_whole_frames_or_nothing() {
    let long = frame(2, &vec![1; 40_000], true, false);
    let mut relay = Relay::new(false, MAX);
    let (out, _) = take(&mut relay, &long[..30_000], 4096).unwrap();
    assert!(relay.is_amid_message());
    assert!(frames(&out).iter().all(|(_, last, _)| !last), "its message is open, its fragments are whole");
    let short = frame(2, &[1; 4000], true, false);
    let mut relay = Relay::new(false, MAX);
    let (out, _) = take(&mut relay, &short[..3999], 100).unwrap();
    assert!(out.is_empty() && !relay.is_amid_message());
}

#[test]
fn a_message_whose_beginning_was_dropped_is_dropped_to_its_end() {
    let mut relay = Relay::new(true, MAX);
    let passed = take(&mut relay, &frame(2, b"1", false, true), 9).unwrap().0;
    assert_eq!(frames(&passed).len(), 1);
    relay.unlink(false);
    assert!(take(&mut relay, &frame(0, b"2", false, true), 9).unwrap().0.is_empty());
    relay.link();
    assert!(take(&mut relay, &frame(0, b"3", true, true), 9).unwrap().0.is_empty());
    assert_eq!(messages(&take(&mut relay, &frame(2, b"4", true, true), 9).unwrap().0), [(2, b"4".to_vec())]);
}

#[test]
fn a_frame_of_ours_is_what_tungstenite_writes() {
    let mut ours = Vec::new();
    append(OpCode::Control(Control::Ping), b"x", None, &mut ours);
    let mut theirs = Vec::new();
    Frame::ping(b"x".to_vec()).format(&mut theirs).unwrap();
    assert_eq!(ours, theirs);
}

proptest! {
    #[test]
    fn messages_arrive_once_in_order_and_unchanged(
        sent in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..40_000), 0..4_usize), 0..5),
        piece in 1..70_000_usize, from_client: bool,
    ) {
        let mut bytes = Vec::new();
        for (payload, cuts) in &sent {
            let part = payload.len() / (cuts + 1) + 1;
            let parts: Vec<_> = if payload.is_empty() { vec![&payload[..]] } else { payload.chunks(part).collect() };
            for (index, part) in parts.iter().enumerate() {
                bytes.extend(frame(if index == 0 { 2 } else { 0 }, part, index + 1 == parts.len(), from_client));
            }
        }
        let (out, _) = take(&mut Relay::new(from_client, MAX), &bytes, piece).unwrap();
        let sent: Vec<_> = sent.into_iter().map(|(payload, _)| (2, payload)).collect();
        prop_assert_eq!(messages(&out), sent);
    }

    #[test]
    fn utf8_in_pieces_is_utf8_in_one(bytes in proptest::collection::vec(any::<u8>(), 0..24), text in "\\PC{0,12}",
        piece in 1..5_usize) {
        for bytes in [bytes, text.into_bytes()] {
            let mut utf8 = Utf8::default();
            let pieces: Vec<_> = bytes.chunks(piece).collect();
            let said = pieces.iter().enumerate().all(|(index, part)| utf8.accepts(part, index + 1 == pieces.len()));
            prop_assert_eq!(said, std::str::from_utf8(&bytes).is_ok());
        }
    }
}
