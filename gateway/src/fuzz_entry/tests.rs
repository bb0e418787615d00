//! The smoke: the fuzz targets' entry points on stable Rust, for seconds. Half of the inputs are near enough to what a
//! peer sends to get past the first check, since random bytes hardly ever are.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::*;
use crate::broker::frame::{Event, Relay};

/// Inputs per target and kind.
const CASES: u32 = 2000;

fn noise() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..400)
}

/// Strings of `words` with a stray byte here and there.
fn near(words: &'static [&'static str], count: usize) -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![30 => select(words).prop_map(|word| word.as_bytes().to_vec()), 1 => vec(any::<u8>(), 1)];
    vec(word, 0..count).prop_map(|words| words.concat())
}

/// A byte of choice, and a head of one side or the other. One part in twenty is a stray byte.
fn any_head() -> impl Strategy<Value = Vec<u8>> {
    const START: &[&str] = &[
        "GET / HTTP/1.1\r\n",
        "POST /vnc/1/?x HTTP/1.0\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "GET http://a/x?y HTTP/1.1\r\n",
        "GET http://a HTTP/1.1\r\n",
        "\r\nGET //?? HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 101 \r\n",
        "HTTP/1.0 304 \r\n",
        "HTTP/1.1 204 \r\n",
        "HTTP/1.1 100 Continue\r\n",
        "HTTP/1.1 302 Found\r\n",
    ];
    const FIELD: &[&str] = &[
        "Host: a\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Connection: close, x\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\n",
        "Connection: content-length, transfer-encoding, host\r\n",
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "x: y\r\n",
        "x:\r\n",
        "x : y\r\n",
        " y\r\n",
        "\n",
        "X-Request-Id: a b\r\n",
        "X-Forwarded-For: b\r\n",
        "Cookie: vnc_session_id=1\r\n",
        "Cookie: a=b; vnc_session_id=1;vnc_session_id=2\r\n",
        "Set-Cookie: a=b; Path=/\r\n",
        "Set-Cookie: c=d\r\n",
        "Location: /x\r\n",
        "Location: http://10.18.124.21:6080/x\r\n",
        "Expect: 100-continue\r\n",
        "TE: trailers\r\n",
    ];
    let start = prop_oneof![19 => select(START).prop_map(str::to_owned), 1 => "[ -~\r\n]{0,9}"];
    let host = prop_oneof![9 => Just("Host: gw.example\r\n"), 1 => Just("")];
    let end = prop_oneof![19 => Just("\r\nGET /next"), 1 => Just("\n\n")];
    (any::<u8>(), start, host, near(FIELD, 5), end).prop_map(|(choice, start, host, fields, end)| {
        [&[choice], start.as_bytes(), host.as_bytes(), &fields, end.as_bytes()].concat()
    })
}

/// A byte of choice, and chunks, most of them good ones.
fn chunks() -> impl Strategy<Value = Vec<u8>> {
    const CHUNK: &[&str] = &[
        "5\r\nhello\r\n",
        "0A;ext=\"x\"\r\n0123456789\r\n",
        "000001 \r\n",
        "1\r\n\r\r\n",
        "2\r\n0\r\r\n",
        "a\n",
        "-1\r\n",
        "5;x\n",
        "5\r\nhello \n",
        "+5\r\nhello\r\n",
        "10000000000000000\r\n",
        "ffffffffffffffff\r\n",
        "5\r\nhello!\r\n",
    ];
    const GOOD: usize = 5;
    const END: &[&str] = &["0\r\n\r\n", "000\r\n\r\nGET /", "0;x\r\nTrailer: y\r\n\r\n5\r\n", "0\r\nx\n", "0\r\n", ""];
    let chunks = prop_oneof![3 => near(&CHUNK[..2], GOOD), 1 => near(CHUNK, 4)];
    (any::<u8>(), chunks, select(END))
        .prop_map(|(choice, chunks, end)| [&[choice], &chunks[..], end.as_bytes()].concat())
}

/// A field, or a value with or without white space around it.
fn any_record() -> impl Strategy<Value = Vec<u8>> {
    const PART: &[&str] =
        &["Sandbox_ID_", "37579", "a.b-c_d", ".", "::", "ffff:", "127.0.0.1:", "[", "]:", "%1", "6080", "-", " "];
    let address = (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port).to_string());
    let special = select(
        &[
            "127.0.0.1:8080",
            "[::ffff:127.0.0.1]:8080",
            "0.0.0.0:1",
            "[::]:1",
            "169.254.169.254:80",
            "[fe80::1%1]:1",
            "[::1]:6080",
        ][..],
    );
    let value = prop_oneof![address, special.prop_map(str::to_owned)];
    let padded =
        ("[ \t\r\n]{0,2}", value, "[ \t\r\n\0]{0,2}").prop_map(|(before, value, after)| before + &value + &after);
    prop_oneof![padded.prop_map(String::into_bytes), near(PART, 6)]
}

/// A byte of choice, and a head whose parts each are likely to be good.
fn routed_head() -> impl Strategy<Value = Vec<u8>> {
    const PREFIX: &[&str] = &["/vnc/", "/vnc/", "/vnc/", "/vnc", "/", "//vnc/", "/websockify"];
    const ID: &[&str] = &["", "", "1", "37579", "00037579", "123456789012345678901", "37579abc", "%2F..%2F1", "/1"];
    const REST: &[&str] = &["", "/", "/", "/vnc.html", "/app/ui.js", "//", "/%2F..%2F1/", "/../2/", "/websockify"];
    const QUERY: &[&str] =
        &["?", "&", "a=b", "path=", "path=", "websockify", "vnc/", "vnc%2F", "../../", "1/websockify", ";", "%zz"];
    const FIELD: &[&str] = &[
        "Referer: http://a/vnc/7/vnc.html?x",
        "Referer: https://a/vnc/7",
        "Referer: http://b/vnc/7/",
        "Referer: http://a/",
        "Cookie: vnc_session_id=8",
        "Cookie: a=b; vnc_session_id=x; vnc_session_id=9",
        "Cookie: vnc_session_id=",
        "Sec-Fetch-Dest: document",
        "Sec-Fetch-Dest: script",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Mode: cors",
        "Accept: text/html",
        "Accept: */*",
        "Connection: Upgrade\r\nUpgrade: websocket",
        "Content-Length: 0",
    ];
    const STRAY: &[&str] = &["vnc_session_id=", ";", "=", "/vnc/", "7", "http://", "a", "?", " "];
    let target = (select(PREFIX), select(ID), select(REST), near(QUERY, 5));
    let field = (select(FIELD), prop_oneof![4 => Just(Vec::new()), 1 => near(STRAY, 3)]);
    (any::<u8>(), select(&["GET", "GET", "POST"][..]), target, vec(field, 0..4)).prop_map(
        |(choice, method, (prefix, id, rest, query), fields)| {
            let mut head = format!("{}{method} {prefix}{id}{rest}", char::from(choice % 128)).into_bytes();
            if !query.is_empty() {
                head.push(b'?');
            }
            head.extend([&query[..], b" HTTP/1.1\r\nHost: a\r\n"].concat());
            for (field, stray) in fields {
                head.extend([field.as_bytes(), &stray[..], b"\r\n"].concat());
            }
            [&head[..], b"\r\n"].concat()
        },
    )
}

/// A byte of choice, and frames of the side that it chooses, most of which keep to the rules.
fn any_frames() -> impl Strategy<Value = Vec<u8>> {
    const PAYLOAD: &[&[u8]] = &[b"", b"a", "\u{e9}".as_bytes(), b"\xc3", b"\xa9", b"\x03\xe8", b"\x03\0\0\0\x07"];
    let payload = prop_oneof![
        8 => select(PAYLOAD).prop_map(<[u8]>::to_vec),
        4 => (0..200_usize).prop_map(|length| vec![b'x'; length]),
        1 => (16_000..40_000_usize).prop_map(|length| vec![b'y'; length]),
    ];
    let frame = (select(&[0, 0, 1, 2, 2, 8, 9, 10, 0x3, 0x41][..]), any::<bool>(), payload);
    (any::<u8>(), vec(frame, 0..6), vec(any::<u8>(), 0..3)).prop_map(|(choice, frames, stray)| {
        let mut bytes = vec![choice];
        let mut open = false;
        for (opcode, last, payload) in frames {
            let control = opcode & 0x8 != 0;
            // What stands within a message is most often meant to.
            let opcode = if control || open == (opcode == 0) { opcode } else { u8::from(!open) };
            open = if control { open } else { !last };
            bytes.push(opcode | u8::from(last || control) << 7);
            let mask_bit = u8::from(choice & 1 == 0) << 7;
            match u16::try_from(payload.len()).expect("a short payload") {
                short @ 0..126 => bytes.push(mask_bit | u8::try_from(short).expect("below 126")),
                length => bytes.extend([&[mask_bit | 126][..], &length.to_be_bytes()].concat()),
            }
            if mask_bit != 0 {
                // Nothing is masked with it, so that text stays text.
                bytes.extend([0; 4]);
            }
            bytes.extend(payload);
        }
        [&bytes[..], &stray].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn heads(noise in noise(), near in any_head()) {
        head(&noise);
        head(&near);
    }

    #[test]
    fn chunked_bodies(noise in noise(), near in chunks()) {
        chunked(&noise);
        chunked(&near);
    }

    #[test]
    fn records(noise in noise(), near in any_record()) {
        record(&noise);
        record(&near);
    }

    #[test]
    fn frames_of_a_websocket(noise in noise(), near in any_frames()) {
        frames(&noise);
        frames(&near);
    }

    #[test]
    fn routes(noise in noise(), near in routed_head()) {
        route(&noise);
        route(&near);
    }
}

/// The smoke is worth nothing if its inputs are all refused at the door.
#[test]
fn the_smoke_reaches_every_outcome() {
    let decisions = outcomes_of(routed_head(), |bytes| {
        let (head, _) = complete(parse::request(bytes, &HeadLimits::default()))?;
        Some(match route::decide(&head, &RoutingConfig::default()) {
            Ok(Decision::Forward(target)) => target.source.label().to_owned(),
            Ok(Decision::Redirect { status, .. }) => status.to_string(),
            Err(error) => error.rule().to_owned(),
        })
    });
    reaches(&decisions, &["path", "referer", "cookie", "302", "308", "no_route", "unnamed", "cookie_malformed"]);

    let requests = outcomes_of(any_head(), |bytes| {
        let (head, _) = complete(parse::request(bytes, &LIMITS))?;
        Some(format!("{:?}", head.body()))
    });
    reaches(&requests, &["None", "Fixed(5)", "Chunked"]);
    let context = ResponseContext { head: false, upgrade: true };
    let responses = outcomes_of(any_head(), |bytes| {
        let (head, _) = complete(parse::response(bytes, context, &LIMITS))?;
        Some(format!("{:?}", head.body()))
    });
    reaches(&responses, &["None", "Fixed(5)", "Chunked", "UntilClose"]);

    // Every byte counts in a record, so one is put in front that `outcomes_of` can leave out.
    let inputs = any_record().prop_map(|record| [&b"-"[..], &record].concat());
    let records = outcomes_of(inputs, |bytes| {
        let field = FieldNames::new("Sandbox_ID_").decode(bytes).map(|_| "field".to_owned());
        let value = record::decode_value(bytes, &EndpointRules::default());
        field.or_else(|| Some(value.map_or_else(|error| error.to_string(), |_| "endpoint".to_owned())))
    });
    reaches(&records, &["field", "endpoint", "the directory's value is not an ip:port"]);

    let bodies = outcomes_of(chunks(), |bytes| match read(BodyReader::new(BodyLength::Chunked), bytes, 1).0 {
        Ok((_, ended)) => Some(if ended { "ended" } else { "goes on" }.to_owned()),
        Err(error) => Some(error.rule().to_owned()),
    });
    reaches(
        &bodies,
        &["ended", "goes on", "chunk_size", "chunk_size_too_long", "chunk_extension", "chunk_end", "trailers"],
    );

    for from_client in [true, false] {
        let inputs = any_frames().prop_filter("of this side", move |bytes| (bytes[0] & 1 == 0) == from_client);
        let relayed = outcomes_of(inputs, |bytes| {
            Some(match frames::relayed(Relay::new(from_client, 1 << 20), bytes, 1) {
                Ok((events, _)) => match events.last()? {
                    Event::Ping(_) => "ping".to_owned(),
                    Event::Pong => "pong".to_owned(),
                    Event::Close(close) => close.code().to_string(),
                    Event::Data(exit) => exit.map_or("data", |_| "exit").to_owned(),
                },
                Err(error) => error.to_string(),
            })
        });
        reaches(&relayed, &["ping", "pong", "1000", "1005", "data", "exit"]);
        reaches(&relayed, &["reserved bit set", "reserved opcode", "half a close code", "text is not UTF-8"]);
    }
}

fn reaches(outcomes: &BTreeMap<String, u32>, expected: &[&str]) {
    for outcome in expected {
        assert!(outcomes.contains_key(*outcome), "{outcome} is missing in {outcomes:?}");
    }
}

/// How often each outcome comes about over [`CASES`] inputs of a strategy, whose first byte is left out.
fn outcomes_of(
    inputs: impl Strategy<Value = Vec<u8>>,
    outcome: impl Fn(&[u8]) -> Option<String>,
) -> BTreeMap<String, u32> {
    let mut runner = TestRunner::deterministic();
    let mut counts = BTreeMap::new();
    for _ in 0..CASES {
        let input = inputs.new_tree(&mut runner).expect("no strategy here refuses").current();
        if let Some(outcome) = outcome(&input[1..]) {
            *counts.entry(outcome).or_insert(0) += 1;
        }
    }
    counts
}
