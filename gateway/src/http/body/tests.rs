//! Bodies in every chunking, good and broken.

use proptest::prelude::*;

use super::*;

/// Feeds `input` in pieces of `step` bytes. Returns what went out and how much was the body's.
fn feed(mut reader: BodyReader, input: &[u8], step: usize) -> Result<(Vec<u8>, usize, BodyReader), BodyError> {
    let (mut out, mut consumed) = (Vec::new(), 0);
    for piece in input.chunks(step) {
        let taken = reader.advance(piece, &mut out)?;
        consumed += taken;
        if taken < piece.len() {
            break;
        }
    }
    Ok((out, consumed, reader))
}

fn chunked(input: &str) -> Result<(String, usize, bool), BodyError> {
    let (out, consumed, reader) = feed(BodyReader::new(BodyLength::Chunked), input.as_bytes(), usize::MAX)?;
    Ok((String::from_utf8(out).unwrap(), consumed, reader.is_done()))
}

#[test]
fn chunks_come_out_in_their_plainest_form() {
    for (input, output) in [
        ("0\r\n\r\n", "0\r\n\r\n"),
        ("5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("0005\r\nhello\r\n000\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "a\r\n0123456789\r\n0\r\n\r\n"),
        ("2;x=\"y z\"\r\n\r\n\r\n0;last\r\n\r\n", "2\r\n\r\n\r\n0\r\n\r\n"),
        ("1\r\na\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n", "1\r\na\r\n0\r\n\r\n"),
        ("0000000000000001\r\na\r\n0\r\n\r\n", "1\r\na\r\n0\r\n\r\n"),
    ] {
        assert_eq!(chunked(input), Ok((output.to_owned(), input.len(), true)));
        let next = format!("{input}GET /");
        assert_eq!(chunked(&next), Ok((output.to_owned(), input.len(), true)), "the next request is not touched");
    }
}

#[test]
fn chunks_that_are_refused() {
    let extension = "x".repeat(usize::from(CHUNK_EXTENSION_BYTES_MAX) + 1);
    let trailer = "x".repeat(usize::from(TRAILER_BYTES_MAX) + 1);
    for (input, error) in [
        ("\r\n".to_owned(), BodyError::ChunkSize),
        (";x\r\n".to_owned(), BodyError::ChunkSize),
        ("+5\r\n".to_owned(), BodyError::ChunkSize),
        ("-1\r\n".to_owned(), BodyError::ChunkSize),
        ("0x5\r\n".to_owned(), BodyError::ChunkSize),
        ("5 \r\n".to_owned(), BodyError::ChunkSize),
        (" 5\r\n".to_owned(), BodyError::ChunkSize),
        ("g\r\n".to_owned(), BodyError::ChunkSize),
        ("5\nhello\n".to_owned(), BodyError::ChunkSize),
        ("00000000000000001\r\n".to_owned(), BodyError::ChunkSizeTooLong),
        ("10000000000000005\r\n".to_owned(), BodyError::ChunkSizeTooLong),
        ("5;a\nhello".to_owned(), BodyError::ChunkExtension),
        ("5;a\0\r\n".to_owned(), BodyError::ChunkExtension),
        ("5\rhello".to_owned(), BodyError::ChunkExtension),
        (format!("5;{extension}"), BodyError::ChunkExtensionTooLong),
        ("5\r\nhello!\r\n".to_owned(), BodyError::ChunkEnd),
        ("5\r\nhello\n0".to_owned(), BodyError::ChunkEnd),
        ("5\r\nhello\rx".to_owned(), BodyError::ChunkEnd),
        ("0\r\nA: 1\n".to_owned(), BodyError::Trailers),
        ("0\r\nA: 1\rx".to_owned(), BodyError::Trailers),
        ("0\r\n\n".to_owned(), BodyError::Trailers),
        ("0\r\n\rx".to_owned(), BodyError::Trailers),
        ("0\r\nA: \0".to_owned(), BodyError::Trailers),
        (format!("0\r\n{trailer}"), BodyError::TrailersTooLong),
        (format!("0\r\n{}", "ab\r\n".repeat(usize::from(TRAILER_BYTES_MAX))), BodyError::TrailersTooLong),
    ] {
        assert_eq!(chunked(&input), Err(error), "{input:.40}");
        let bytewise = feed(BodyReader::new(BodyLength::Chunked), input.as_bytes(), 1);
        assert_eq!(bytewise.err(), Some(error), "{input:.40}");
    }
}

#[test]
fn the_largest_sizes_do_not_overflow() {
    let mut reader = BodyReader::new(BodyLength::Chunked);
    assert_eq!(reader.advance(b"FFFFFFFFFFFFFFFF\r\n", &mut Vec::new()), Ok(18));
    assert_eq!(reader.plain(), u64::MAX);
    reader.advance_plain(u64::MAX);
    assert_eq!(reader.plain(), 0);
    assert_eq!(reader.advance(b"\r\n0\r\n\r\n", &mut Vec::new()), Ok(7));
    assert!(reader.is_done());
}

#[test]
fn data_may_pass_unseen() {
    let mut reader = BodyReader::new(BodyLength::Chunked);
    let mut out = Vec::new();
    assert_eq!(reader.plain(), 0);
    assert_eq!(reader.advance(b"5\r\nhe", &mut out), Ok(5));
    assert_eq!(reader.plain(), 3);
    reader.advance_plain(2);
    assert_eq!(reader.plain(), 1);
    reader.advance_plain(1);
    assert_eq!(reader.plain(), 0);
    assert_eq!(reader.advance(b"\r\n0\r\n\r\n", &mut out), Ok(7));
    assert_eq!(out, b"5\r\nhe\r\n0\r\n\r\n");

    let mut fixed = BodyReader::new(BodyLength::Fixed(5));
    assert_eq!(fixed.plain(), 5);
    fixed.advance_plain(5);
    assert!(fixed.is_done());
}

#[test]
fn bodies_end_where_their_length_says() {
    for (length, consumed, done) in [
        (BodyLength::None, 0, true),
        (BodyLength::Fixed(0), 0, true),
        (BodyLength::Fixed(3), 3, true),
        (BodyLength::Fixed(9), 6, false),
        (BodyLength::UntilClose, 6, false),
    ] {
        let (out, got, mut reader) = feed(BodyReader::new(length), b"abcdef", 2).unwrap();
        assert_eq!((got, reader.is_done()), (consumed, done), "{length:?}");
        assert_eq!(out, b"abcdef"[..consumed]);
        let finished = if length == BodyLength::Fixed(9) { Err(BodyError::Truncated) } else { Ok(()) };
        assert_eq!(reader.finish(), finished, "{length:?}");
    }
    for cut in ["", "5", "5\r\nhel", "5\r\nhello\r\n", "0\r\n", "0\r\n\r"] {
        let (_, _, mut reader) = feed(BodyReader::new(BodyLength::Chunked), cut.as_bytes(), 1).unwrap();
        assert_eq!(reader.finish(), Err(BodyError::Truncated), "{cut:?}");
    }
}

#[test]
fn decoding_leaves_the_data() {
    let input = b"5;x\r\nhello\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\nrest";
    let (out, consumed, reader) = feed(BodyReader::decoding(BodyLength::Chunked), input, 3).unwrap();
    assert_eq!((&out[..], consumed, reader.is_done()), (&b"hello!"[..], input.len() - 4, true));
    let (out, ..) = feed(BodyReader::decoding(BodyLength::Fixed(2)), b"abc", 1).unwrap();
    assert_eq!(out, b"ab");
}

/// Bodies of chunks as a peer may send them, with what belongs to nobody behind.
fn bodies() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Vec<u8>)> {
    let chunk = (proptest::collection::vec(any::<u8>(), 1..40), 0..4usize, "(;[a-z=]{0,9})?");
    let rest = proptest::collection::vec(any::<u8>(), 0..9);
    (proptest::collection::vec(chunk, 0..5), "([A-Z]{1,3}: [a-z]{0,4}\r\n){0,3}", rest).prop_map(
        |(chunks, trailers, rest)| {
            let (mut wire, mut plain) = (Vec::new(), Vec::new());
            for (data, zeros, extension) in chunks {
                wire.extend(format!("{}{:X}{extension}\r\n", "0".repeat(zeros), data.len()).bytes());
                plain.extend(format!("{:x}\r\n", data.len()).bytes());
                for out in [&mut wire, &mut plain] {
                    out.extend(&data);
                    out.extend(b"\r\n");
                }
            }
            wire.extend(format!("0\r\n{trailers}\r\n").bytes());
            plain.extend(b"0\r\n\r\n");
            (wire, plain, rest)
        },
    )
}

proptest! {
    #[test]
    fn any_split_gives_the_same((wire, plain, rest) in bodies(), step in 1..30usize) {
        let input = [wire.clone(), rest].concat();
        let (out, consumed, reader) = feed(BodyReader::new(BodyLength::Chunked), &input, step).unwrap();
        prop_assert_eq!(out, plain);
        prop_assert_eq!(consumed, wire.len());
        prop_assert!(reader.is_done());
    }

    #[test]
    fn any_bytes_give_the_same_verdict_however_split(
        input in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'1'),
            Just(b';'), any::<u8>()], 0..60),
        step in 1..9usize,
    ) {
        let whole = feed(BodyReader::new(BodyLength::Chunked), &input, usize::MAX).map(|(out, consumed,
            reader)| (out, consumed, reader.state));
        let split = feed(BodyReader::new(BodyLength::Chunked), &input, step).map(|(out, consumed,
            reader)| (out, consumed, reader.state));
        prop_assert_eq!(whole, split);
    }
}
