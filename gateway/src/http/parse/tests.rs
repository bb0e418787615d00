//! Every rule of a head, kept and broken.

use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { line_bytes_max: 100, head_bytes_max: 1000, fields_max: 10 };

fn request_of(text: &str) -> Result<Progress<RequestHead>, HeadError> {
    request(text.as_bytes(), &LIMITS)
}

fn complete(text: &str) -> RequestHead {
    match request_of(text) {
        Ok(Progress::Complete { head, .. }) => head,
        other => panic!("{text:?} gives {other:?}"),
    }
}

fn response_of(text: &str, context: ResponseContext) -> Result<ResponseHead, HeadError> {
    match response(text.as_bytes(), context, &LIMITS)? {
        Progress::Complete { head, consumed } => {
            assert_eq!(consumed, text.find("\r\n\r\n").unwrap() + 4);
            Ok(head)
        }
        Progress::Partial => panic!("{text:?} is partial"),
    }
}

fn plain_response(text: &str) -> Result<ResponseHead, HeadError> {
    response_of(text, ResponseContext::default())
}

#[test]
fn a_request_is_split_into_its_parts() {
    let text = "GET /a%2Fb//c;d?x=%&y? HTTP/1.1\r\nHost: desk.example:8080\r\nA:  1 \t\r\nb:\r\na: 2\r\n\r\nbody";
    let Ok(Progress::Complete { head, consumed }) = request_of(text) else { panic!("not complete") };
    assert_eq!(&text[consumed..], "body");
    assert_eq!((head.method(), head.version()), ("GET", Version::Http11));
    assert_eq!(head.target(), b"/a%2Fb//c;d?x=%&y?");
    assert_eq!((head.path(), head.query()), (&b"/a%2Fb//c;d"[..], Some(&b"x=%&y?"[..])));
    assert_eq!(head.host(), b"desk.example:8080");
    assert_eq!((head.field("a"), head.field("B")), (Some(&b"1"[..]), Some(&b""[..])));
    assert_eq!(head.values("A").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(head.field("c"), None);
    assert_eq!(head.fields().map(|(name, _)| name).collect::<Vec<_>>(), ["Host", "A", "b", "a"]);
    assert_eq!(head.body(), BodyLength::None);
}

#[test]
fn targets_become_origin_form() {
    for (line, target, path, query) in [
        ("GET / HTTP/1.1", "/", "/", None),
        ("GET /? HTTP/1.1", "/?", "/", Some("")),
        ("GET //h/x HTTP/1.1", "//h/x", "//h/x", None),
        ("GET /:80 HTTP/1.1", "/:80", "/:80", None),
        ("OPTIONS * HTTP/1.1", "*", "*", None),
        ("GET http://h HTTP/1.1", "/", "/", None),
        ("GET HTTP://H/ HTTP/1.1", "/", "/", None),
        ("POST http://h/a?b HTTP/1.1", "/a?b", "/a", Some("b")),
        ("GET https://h?b HTTP/1.1", "/?b", "/", Some("b")),
        ("OPTIONS http://h HTTP/1.1", "*", "*", None),
        ("OPTIONS http://h/ HTTP/1.1", "/", "/", None),
    ] {
        let head = complete(&format!("{line}\r\nHost: h\r\n\r\n"));
        assert_eq!(head.target(), target.as_bytes(), "{line}");
        assert_eq!(head.path(), path.as_bytes(), "{line}");
        assert_eq!(head.query(), query.map(str::as_bytes), "{line}");
        assert_eq!(head.host(), b"h", "{line}");
    }
}

#[test]
fn hosts_that_are_allowed() {
    for host in ["h", "a.b-c_d", "10.0.0.1:80", "[::1]", "[::1]:8080", "h:", "37579.vnc.example:443"] {
        assert_eq!(complete(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).host(), host.as_bytes());
    }
    assert_eq!(complete("GET / HTTP/1.0\r\n\r\n").host(), b"");
    assert_eq!(complete("GET http://h/ HTTP/1.0\r\n\r\n").host(), b"h");
}

#[test]
fn request_lines_that_are_refused() {
    for (line, error) in [
        ("GET /", HeadError::Version),
        ("GET / HTTP/0.9", HeadError::Version),
        ("GET / HTTP/1.32", HeadError::Version),
        ("GET / HTTP/2.0", HeadError::Version),
        ("PRI * HTTP/2.0", HeadError::Version),
        ("GET / http/1.1", HeadError::Version),
        ("GET / HTTP/1.1 ", HeadError::Version),
        ("GET /\tHTTP/1.1", HeadError::Version),
        ("CONNECT h:80 HTTP/1.1", HeadError::Connect),
        ("CONNECT / HTTP/1.1", HeadError::Connect),
        (" GET / HTTP/1.1", HeadError::Method),
        ("G@T / HTTP/1.1", HeadError::Method),
        ("G\u{e9}T / HTTP/1.1", HeadError::Method),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1", HeadError::Method),
        ("GET  / HTTP/1.1", HeadError::Target),
        ("GET /  HTTP/1.1", HeadError::Target),
        ("GET /a b HTTP/1.1", HeadError::Target),
        ("GET /a\tb HTTP/1.1", HeadError::Target),
        ("GET /\u{e9} HTTP/1.1", HeadError::Target),
        ("GET /a#b HTTP/1.1", HeadError::Target),
        ("GET * HTTP/1.1", HeadError::Target),
        ("GET h:80 HTTP/1.1", HeadError::Target),
        ("GET a/b HTTP/1.1", HeadError::Target),
        ("GET ftp://h/ HTTP/1.1", HeadError::Target),
        ("GET http:// HTTP/1.1", HeadError::Target),
        ("GET http:/// HTTP/1.1", HeadError::Target),
        ("GET http://u@h/ HTTP/1.1", HeadError::Target),
        ("GET http://h:x/ HTTP/1.1", HeadError::Target),
        ("GET http://other/ HTTP/1.1", HeadError::HostMismatch),
        ("GET http://h:80/ HTTP/1.1", HeadError::HostMismatch),
        ("GET /\u{1} HTTP/1.1", HeadError::ControlByte),
        ("GET /\u{7f} HTTP/1.1", HeadError::ControlByte),
        ("GET /\0 HTTP/1.1", HeadError::ControlByte),
        ("GET /\r HTTP/1.1", HeadError::BareCr),
    ] {
        let text = format!("{line}\r\nHost: h\r\n\r\n");
        assert_eq!(request_of(&text).err(), Some(error), "{line:?}");
    }
}

#[test]
fn field_lines_that_are_refused() {
    for (lines, error) in [
        ("", HeadError::HostMissing),
        ("A: h\r\n", HeadError::HostMissing),
        ("Host: h\r\nhost: h\r\n", HeadError::HostRepeated),
        ("Host:\r\n", HeadError::HostMalformed),
        ("Host: a b\r\n", HeadError::HostMalformed),
        ("Host: a/b\r\n", HeadError::HostMalformed),
        ("Host: u@h\r\n", HeadError::HostMalformed),
        ("Host: a,b\r\n", HeadError::HostMalformed),
        ("Host: h\"x\r\n", HeadError::HostMalformed),
        ("Host: h:80:80\r\n", HeadError::HostMalformed),
        ("Host: h:123456\r\n", HeadError::HostMalformed),
        ("Host: :80\r\n", HeadError::HostMalformed),
        ("Host: [::1\r\n", HeadError::HostMalformed),
        ("Host: [::1]x\r\n", HeadError::HostMalformed),
        ("Host: \u{e9}\r\n", HeadError::HostMalformed),
        ("Host : h\r\n", HeadError::SpaceBeforeColon),
        ("Host: h\r\nA\t: 1\r\n", HeadError::SpaceBeforeColon),
        (" Host: h\r\n", HeadError::Folded),
        ("Host: h\r\nA: 1\r\n 2\r\n", HeadError::Folded),
        ("Host: h\r\nA: 1\r\n\t\r\n", HeadError::Folded),
        ("Host: h\r\nA\r\n", HeadError::FieldColon),
        ("Host: h\r\n: 1\r\n", HeadError::FieldName),
        ("Host: h\r\nA B: 1\r\n", HeadError::FieldName),
        ("Host: h\r\nA\u{e9}: 1\r\n", HeadError::FieldName),
        ("Host: h\r\n(A): 1\r\n", HeadError::FieldName),
        ("Host: h\r\nA: \0\r\n", HeadError::ControlByte),
        ("Host: h\r\nA: \u{b}\r\n", HeadError::ControlByte),
        ("Host: h\r\nA: \u{1b}[1m\r\n", HeadError::ControlByte),
        ("Host: h\r\nA: \u{7f}\r\n", HeadError::ControlByte),
        ("Host: h\r\nA: 1\r2\r\n", HeadError::BareCr),
        ("Host: h\r\nA: 1\r\r\n", HeadError::BareCr),
        ("Host: h\nA: 1\r\n", HeadError::BareLf),
        ("Host: h\r\n\n", HeadError::BareLf),
    ] {
        let text = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        assert_eq!(request_of(&text).err(), Some(error), "{lines:?}");
    }
}

#[test]
fn lengths_are_read_strictly() {
    for (lines, body) in [
        ("", Ok(BodyLength::None)),
        ("Content-Length: 0\r\n", Ok(BodyLength::Fixed(0))),
        ("content-length: 007\r\n", Ok(BodyLength::Fixed(7))),
        ("Content-Length: 18446744073709551615\r\n", Ok(BodyLength::Fixed(u64::MAX))),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Ok(BodyLength::Fixed(5))),
        ("Content-Length: 5, 5\r\n", Ok(BodyLength::Fixed(5))),
        ("Transfer-Encoding: chunked\r\n", Ok(BodyLength::Chunked)),
        ("transfer-encoding: \tCHUNKED \r\n", Ok(BodyLength::Chunked)),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", Err(HeadError::ContentLengthDiffers)),
        ("Content-Length: 5,6\r\n", Err(HeadError::ContentLengthDiffers)),
        ("Content-Length:\r\n", Err(HeadError::ContentLengthMalformed)),
        ("Content-Length: +5\r\n", Err(HeadError::ContentLengthMalformed)),
        ("Content-Length: -0\r\n", Err(HeadError::ContentLengthMalformed)),
        ("Content-Length: 0x5\r\n", Err(HeadError::ContentLengthMalformed)),
        ("Content-Length: 5a\r\n", Err(HeadError::ContentLengthMalformed)),
        ("Content-Length: 5 5\r\n", Err(HeadError::ContentLengthMalformed)),
        ("Content-Length: 1_0\r\n", Err(HeadError::ContentLengthMalformed)),
        ("Content-Length: 5,\r\n", Err(HeadError::ContentLengthMalformed)),
        ("Content-Length: 18446744073709551616\r\n", Err(HeadError::ContentLengthMalformed)),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(HeadError::LengthAndEncoding)),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", Err(HeadError::LengthAndEncoding)),
        ("Transfer-Encoding: xchunked\r\n", Err(HeadError::TransferEncoding)),
        ("Transfer-Encoding: chunked, chunked\r\n", Err(HeadError::TransferEncoding)),
        ("Transfer-Encoding: gzip, chunked\r\n", Err(HeadError::TransferEncoding)),
        ("Transfer-Encoding: chunked, identity\r\n", Err(HeadError::TransferEncoding)),
        ("Transfer-Encoding: identity\r\n", Err(HeadError::TransferEncoding)),
        ("Transfer-Encoding: chunked;x=1\r\n", Err(HeadError::TransferEncoding)),
        ("Transfer-Encoding: chunked,\r\n", Err(HeadError::TransferEncoding)),
        ("Transfer-Encoding:\r\n", Err(HeadError::TransferEncoding)),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(HeadError::TransferEncoding)),
        ("Transfer-Encoding: \"chunked\"\r\n", Err(HeadError::TransferEncoding)),
        ("Transfer-Encoding: \u{b}chunked\r\n", Err(HeadError::ControlByte)),
    ] {
        let got = request_of(&format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n"));
        let got = got.map(|progress| match progress {
            Progress::Complete { head, .. } => head.body(),
            Progress::Partial => panic!("{lines:?} is partial"),
        });
        assert_eq!(got, body, "{lines:?}");
    }
    let old = request_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(old.err(), Some(HeadError::TransferEncodingIn10));
}

#[test]
fn empty_lines_before_a_request_are_counted() {
    let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    for (before, good) in [("", true), ("\r\n", true), ("\r\n\r\n", true), ("\r\n\r\n\r\n", false), ("\n", false)] {
        let text = format!("{before}{get}");
        match request_of(&text) {
            Ok(Progress::Complete { consumed, .. }) => assert_eq!((good, consumed), (true, text.len())),
            Ok(Progress::Partial) => panic!("{before:?}"),
            Err(_) => assert!(!good, "{before:?}"),
        }
    }
    assert_eq!(plain_response("\r\nHTTP/1.1 200 OK\r\n\r\n").err(), Some(HeadError::EmptyLines));
}

#[test]
fn limits_hold_for_whole_heads() {
    let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(bytes - 14));
    assert!(request_of(&line(LIMITS.line_bytes_max)).is_ok());
    assert_eq!(request_of(&line(LIMITS.line_bytes_max + 1)).err(), Some(HeadError::LineTooLong { limit: 100 }));

    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(count - 1));
    assert_eq!(complete(&fields(LIMITS.fields_max)).fields().count(), LIMITS.fields_max);
    assert_eq!(request_of(&fields(LIMITS.fields_max + 1)).err(), Some(HeadError::TooManyFields { limit: 10 }));

    let head = |bytes: usize| {
        let start = "GET / HTTP/1.1\r\nHost: h\r\na: ";
        format!("{start}{}\r\n\r\n", "b".repeat(bytes - start.len() - 4))
    };
    assert_eq!(head(LIMITS.head_bytes_max).len(), LIMITS.head_bytes_max);
    assert!(request_of(&head(LIMITS.head_bytes_max)).is_ok());
    assert_eq!(request_of(&head(LIMITS.head_bytes_max + 1)).err(), Some(HeadError::HeadTooLarge { limit: 1000 }));
}

#[test]
fn limits_hold_while_a_head_is_incomplete() {
    let long = "a".repeat(LIMITS.head_bytes_max);
    for (text, error) in [
        (format!("GET /{}", &long[..96]), HeadError::LineTooLong { limit: 100 }),
        (format!("GET / HTTP/1.1\r\n{}", &long[..984]), HeadError::HeadTooLarge { limit: 1000 }),
        (format!("GET / HTTP/1.1\r\n{}b", "a: b\r\n".repeat(10)), HeadError::TooManyFields { limit: 10 }),
    ] {
        assert_eq!(request_of(&text).err(), Some(error));
        assert!(matches!(request_of(&text[..text.len() - 1]), Ok(Progress::Partial)), "one byte less is fine");
    }
}

#[test]
fn a_wrong_byte_is_refused_before_the_head_ends() {
    for (text, error) in [
        ("\u{16}\u{3}\u{1}", HeadError::ControlByte),
        ("GET /\r\n", HeadError::Version),
        ("GET /\n", HeadError::BareLf),
        ("GET / HTTP/1.1\rH", HeadError::BareCr),
        ("GET / HTTP/1.1\r\nHost: h\0", HeadError::ControlByte),
    ] {
        assert_eq!(request_of(text).err(), Some(error), "{text:?}");
    }
    assert_eq!(response(b"RFB 003.008\n", ResponseContext::default(), &LIMITS).err(), Some(HeadError::BareLf));
    assert_eq!(response(b"SSH-2.0-x\r\n", ResponseContext::default(), &LIMITS).err(), Some(HeadError::Version));
}

#[test]
fn responses_end_where_their_context_says() {
    let head = ResponseContext { head: true, upgrade: false };
    let upgrade = ResponseContext { head: false, upgrade: true };
    let plain = ResponseContext::default();
    for (text, context, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", plain, BodyLength::Fixed(5)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", plain, BodyLength::Chunked),
        ("HTTP/1.1 200 OK\r\n", plain, BodyLength::UntilClose),
        ("HTTP/1.0 200 OK\r\n", plain, BodyLength::UntilClose),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", head, BodyLength::None),
        ("HTTP/1.1 200 OK\r\n", head, BodyLength::None),
        ("HTTP/1.1 204 No Content\r\n", plain, BodyLength::None),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n", plain, BodyLength::None),
        ("HTTP/1.1 100 Continue\r\n", plain, BodyLength::None),
        ("HTTP/1.1 103 Early Hints\r\n", plain, BodyLength::None),
        ("HTTP/1.1 101 Switching Protocols\r\nContent-Length: 5\r\n", upgrade, BodyLength::None),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n", upgrade, BodyLength::Fixed(5)),
    ] {
        assert_eq!(response_of(&format!("{text}\r\n"), context).unwrap().body(), body, "{text} {context:?}");
    }
}

#[test]
fn responses_that_are_refused() {
    for (text, error) in [
        ("HTTP/1.1 101 Switching Protocols\r\n", HeadError::SwitchUnasked),
        ("HTTP/2.0 200 OK\r\n", HeadError::Version),
        ("HTTP/1.1  200 OK\r\n", HeadError::StatusLine),
        ("HTTP/1.1 20 OK\r\n", HeadError::StatusLine),
        ("HTTP/1.1 099 OK\r\n", HeadError::StatusLine),
        ("HTTP/1.1 2000 OK\r\n", HeadError::StatusLine),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", HeadError::LengthAndEncoding),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n", HeadError::ContentLengthDiffers),
        ("HTTP/1.1 204 No Content\r\nContent-Length: x\r\n", HeadError::ContentLengthMalformed),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", HeadError::TransferEncodingIn10),
        ("HTTP/1.1 200 OK\r\nA : 1\r\n", HeadError::SpaceBeforeColon),
        ("HTTP/1.1 200 OK\r\nA: 1\r\n 2\r\n", HeadError::Folded),
        ("HTTP/1.1 200 OK\nA: 1\r\n", HeadError::BareLf),
    ] {
        assert_eq!(plain_response(&format!("{text}\r\n")).err(), Some(error), "{text}");
    }
}

#[test]
fn reasons_are_kept() {
    for (line, reason) in [
        ("HTTP/1.1 200 OK", "OK"),
        ("HTTP/1.1 200 ", ""),
        ("HTTP/1.1 200", ""),
        ("HTTP/1.0 404 \u{e9}\ta", "\u{e9}\ta"),
    ] {
        assert_eq!(plain_response(&format!("{line}\r\n\r\n")).unwrap().reason(), reason.as_bytes());
    }
}

/// What peers send when they mean harm: pieces of heads in any order, some of them broken.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"GET / HTTP/1.1\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(b"POST http://h?x HTTP/1.0\r\n".to_vec()),
        Just(b"Host: h\r\n".to_vec()),
        Just(b"Content-Length: 3\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Connection: a, upgrade\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b" ".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop_oneof![pieces(), proptest::collection::vec(any::<u8>(), 0..200)]) {
        if let Ok(Progress::Complete { head, consumed }) = request(&bytes, &LIMITS) {
            prop_assert!(consumed <= bytes.len());
            prop_assert!(head.fields().count() <= LIMITS.fields_max);
            prop_assert!(head.target().starts_with(head.path()));
            let _ = (head.method(), head.query(), head.navigates(), head.wants_keep_alive());
        }
        for context in [(false, false), (true, false), (false, true)].map(|(head,
            upgrade)| ResponseContext { head, upgrade }) {
            if let Ok(Progress::Complete { head, consumed }) = response(&bytes, context, &LIMITS) {
                prop_assert!(consumed <= bytes.len());
                let _ = (head.reason(), head.keep_alive());
            }
        }
    }

    #[test]
    fn a_verdict_does_not_change_with_what_follows(bytes in pieces(),
        more in proptest::collection::vec(any::<u8>(), 0..20)) {
        let longer = [bytes.clone(), more].concat();
        match request(&bytes, &LIMITS) {
            Ok(Progress::Partial) => {}
            Ok(Progress::Complete { consumed, .. }) => match request(&longer, &LIMITS) {
                Ok(Progress::Complete { consumed: again, .. }) => prop_assert_eq!(consumed, again),
                other => prop_assert!(false, "{other:?}"),
            },
            Err(_) => prop_assert!(request(&longer, &LIMITS).is_err()),
        }
    }

    #[test]
    fn every_prefix_of_a_good_head_is_partial(
        path in "/[a-z/%;]{0,20}",
        fields in proptest::collection::vec(("[A-Za-z-]{1,12}x", "[ -~]{0,20}"), 0..6),
    ) {
        let mut text = format!("GET {path} HTTP/1.1\r\nHost: h\r\n");
        for (name, value) in &fields {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        for end in 0..text.len() {
            prop_assert!(matches!(request_of(&text[..end]), Ok(Progress::Partial)), "{:?}", &text[..end]);
        }
        let head = complete(&text);
        let got: Vec<_> = head.fields().skip(1).map(|(name, value)| (name.as_bytes(), value)).collect();
        let sent: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(),
            super::super::field::trim(value.as_bytes()))).collect();
        prop_assert_eq!(got, sent);
    }
}
