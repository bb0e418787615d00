//! The smoke: the fuzz targets' entry points on stable Rust, for seconds. Half of the inputs are near enough to what a peer
//! sends to get past the first check, since random bytes hardly ever are.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

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

const HEAD_WORDS: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /vnc/1/ HTTP/1.0\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "GET http://a/x?y HTTP/1.1\r\n",
    "GET http://a HTTP/1.1\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 101 \r\n",
    "HTTP/1.0 304\r\n",
    "Host: a\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 5, 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close, x\r\n",
    "x: y\r\n",
    "x:\r\n",
    "x : y\r\n",
    " y\r\n",
    "\r\n",
    "\n",
    "\r",
    "\0",
    ":",
    "Upgrade: websocket\r\n",
    "\r\n\r\n",
];

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn heads(noise in noise(), choice in any::<u8>(), words in near(HEAD_WORDS, 9)) {
        head(&noise);
        head(&[&[choice], &words[..]].concat());
    }

    #[test]
    fn routes(noise in noise(), near in routed_head()) {
        route(&noise);
        route(&near);
    }
}

/// The smoke is worth nothing if its inputs are all refused at the door.
#[test]
fn the_smoke_reaches_every_decision() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..CASES {
        let bytes = routed_head().new_tree(&mut runner).unwrap().current();
        let Ok(Progress::Complete { head, .. }) = parse::request(&bytes[1..], &HeadLimits::default()) else { continue };
        let outcome = match route::decide(&head, &RoutingConfig::default()) {
            Ok(Decision::Forward(target)) => target.source.label(),
            Ok(Decision::Redirect { status: 302, .. }) => "302",
            Ok(Decision::Redirect { .. }) => "308",
            Err(error) => error.rule(),
        };
        *seen.entry(outcome).or_insert(0_u32) += 1;
    }
    for outcome in ["path", "referer", "cookie", "302", "308", "no_route", "unnamed", "cookie_malformed"] {
        assert!(seen.contains_key(outcome), "{outcome} is missing in {seen:?}");
    }
}
