//! Tokens that are wrong, tokens in the wrong place, and what nobody is told.

use gateway_tests::wire::Client;
use tempfile::NamedTempFile;

use super::{BEARER, BEARER_IN_QUERY, Guarded, mint, secret, told};
use crate::scene::{builder, get, ok, until};

fn in_query(prefix: &str, token: &str) -> String {
    format!("{prefix}/x?gateway_token={token}")
}

#[test]
fn a_program_opens_its_sandbox_with_a_bearer() {
    let scene = Guarded::new();
    let target = format!("{}/x", scene.prefix("mine"));
    let old = mint(&scene.keys[1], &["mine", "--namespace", "team"]);
    for token in [scene.token(), old, BEARER.to_owned()] {
        assert_eq!(scene.ask(&target, &format!("Authorization: Bearer {token}\r\n")).text(), "mine");
        assert_eq!(scene.pod.requests().pop().unwrap().field("authorization"), None);
        scene.assert_kept(&[&token]);
    }
}

/// Row by row, in the query as in the field.
#[test]
fn a_token_that_is_no_good_opens_nothing() {
    let scene = Guarded::new();
    let prefix = scene.prefix("mine");
    let good = scene.token();
    let other: NamedTempFile = secret("other");
    let invalid = (401, "unauthorized".to_owned(), "Invalid token.".to_owned());
    let forbidden = (403, "forbidden".to_owned(), "The token is not for this sandbox.".to_owned());
    let rows = [
        ("another sandbox", mint(&scene.keys[0], &["theirs", "--namespace", "team"]), &forbidden),
        ("another namespace", mint(&scene.keys[0], &["mine"]), &forbidden),
        ("a key that is none", mint(&other, &["mine", "--namespace", "team"]), &invalid),
        ("cut", good[..good.len() - 1].to_owned(), &invalid),
        ("another version", good.replacen("v1.", "v2.", 1), &invalid),
        ("a word", "x".to_owned(), &invalid),
    ];
    for (what, token, expected) in rows {
        assert_eq!(&told(&scene.ask(&in_query(&prefix, &token), "")), expected, "{what}");
        let fields = format!("Authorization: Bearer {token}\r\n");
        assert_eq!(&told(&scene.ask(&format!("{prefix}/x"), &fields)), expected, "{what}");
    }
    // Rounded down to the second in which it was made.
    let ending = mint(&scene.keys[0], &["mine", "--namespace", "team", "--expires-in", "1ms"]);
    until("the token to expire", || told(&scene.ask(&in_query(&prefix, &ending), "")) == invalid);
    assert!(scene.pod.requests().is_empty());
}

#[test]
fn a_token_in_the_wrong_place_is_none() {
    let scene = Guarded::new();
    let (token, prefix) = (scene.token(), scene.prefix("mine"));
    let target = format!("{prefix}/x");
    for fields in [
        String::new(),
        format!("Authorization: Basic {token}\r\n"),
        format!("Authorization: {token}\r\n"),
        format!("X-Authorization: Bearer {token}\r\n"),
        format!("X-Sandbox-Token: {token}\r\n"),
        format!("Referer: http://gw.example{target}?gateway_token={token}\r\n"),
        format!("Cookie: gateway_token={token}\r\n"),
        format!("Authorization: Bearer {token}\r\n").repeat(2),
    ] {
        let answer = scene.ask(&target, &fields);
        let expected = "This sandbox wants a token: open it by the link that carries one.";
        assert_eq!(told(&answer), (401, "unauthorized".into(), expected.into()), "{fields}");
        assert_eq!(answer.field("www-authenticate"), Some("Bearer"));
    }
    for target in
        [format!("{prefix}/x?token={token}"), format!("{prefix}/x?gateway_token={token}&gateway_token={token}")]
    {
        assert_eq!(scene.ask(&target, "").status(), 401, "{target}");
    }
    let request = get(&in_query(&prefix, &token), "Content-Length: 0\r\n").replacen("GET", "POST", 1);
    assert_eq!(scene.client().ask(request).unwrap().status(), 401, "no redirect repeats what was posted");
    assert!(scene.pod.requests().is_empty());
    scene.assert_kept(&[&token, BEARER_IN_QUERY]);
}

/// A Referer with a token in it is what a browser sends from a page whose URL has kept one.
#[test]
fn a_referer_with_a_token_stays_behind() {
    let scene = Guarded::new();
    let (token, target) = (scene.token(), format!("{}/x", scene.prefix("mine")));
    let cookie = scene.cookie(&token);
    let referer = |query: &str| format!("{cookie}Referer: http://gw.example{target}{query}\r\n");
    assert_eq!(scene.ask(&target, &referer("?a=1")).text(), "mine");
    assert!(scene.pod.requests().pop().unwrap().field("referer").is_some());
    assert_eq!(scene.ask(&target, &referer(&format!("?gateway_token={token}"))).text(), "mine");
    assert_eq!(scene.pod.requests().pop().unwrap().field("referer"), None);
    scene.assert_kept(&[&token]);
}

/// Also where it opens nothing: for another sandbox, and at a source that asks for none.
#[test]
fn a_token_of_ours_reaches_no_sandbox_wherever_it_was_brought() {
    let scene = Guarded::with(&["--default-sandbox", "mine"]);
    let cookie = scene.cookie(&scene.token());
    let others = mint(&scene.keys[0], &["theirs", "--namespace", "team"]);
    let target = format!("{}/x", scene.prefix("mine"));
    assert_eq!(scene.ask(&target, &format!("{cookie}Authorization: Bearer {others}\r\n")).text(), "mine");
    for token in [BEARER, &others] {
        let fields = format!("Authorization: Bearer {token}\r\n");
        assert_eq!(scene.ask(&format!("/elsewhere?gateway_token={token}&a"), &fields).text(), "mine");
        assert_eq!(scene.pod.requests().pop().unwrap().target(), "/elsewhere?a");
    }
    assert_eq!(scene.ask("/elsewhere", "Authorization: Bearer theirs\r\n").text(), "mine");
    assert_eq!(scene.pod.requests().pop().unwrap().field("authorization"), Some("Bearer theirs"));
    scene.assert_kept(&[BEARER, &others]);
}

/// An application has tokens of its own, in the same field and in parameters of its own.
#[test]
fn what_is_the_applications_passes() {
    let scene = Guarded::new();
    let target = format!("{}/lab?token=abc", scene.prefix("mine"));
    let cookie = scene.cookie(&scene.token());
    assert_eq!(scene.ask(&target, &format!("{cookie}Authorization: Bearer theirs\r\n")).text(), "mine");
    let request = scene.pod.requests().pop().unwrap();
    assert_eq!((request.target(), request.field("authorization")), ("/lab?token=abc", Some("Bearer theirs")));
}

/// Whoever has no right to a sandbox does not learn whether it exists, whatever it brings.
#[test]
fn unknown_and_forbidden_sandboxes_answer_alike() {
    let scene = Guarded::new();
    let token = scene.token();
    let cookie = scene.cookie(&token);
    let before = lookups(&scene);
    for fields in
        [String::new(), cookie, format!("Authorization: Bearer {token}\r\n"), "Cookie: gateway_access=x\r\n".into()]
    {
        for query in [String::new(), format!("?gateway_token={token}"), "?gateway_token=x".to_owned()] {
            let [theirs, nobodys] = ["theirs", "nobodys"].map(|id| {
                let answer = scene.ask(&format!("/sandboxes/team/{id}/80/x{query}"), &fields);
                let fields = ["content-type", "content-length", "location", "set-cookie", "x-gateway-error"];
                (told(&answer), fields.map(|name| answer.field(name).map(str::to_owned)))
            });
            assert_eq!(theirs, nobodys, "{fields} {query}");
            assert!(matches!(theirs.0.0, 401 | 403));
        }
    }
    assert_eq!(lookups(&scene), before, "nobody was asked");
    assert!(scene.other.connections().is_empty());
}

fn lookups(scene: &Guarded) -> f64 {
    scene.gateway.metric("gateway_directory_lookups_total", &[]).unwrap()
}

/// Without tokens nothing is guarded and nothing is taken out of a URL but what is the gateway's by name.
#[test]
fn without_tokens_the_source_is_open() {
    let pod = gateway_tests::pod::Pod::answering(ok("", "open")).unwrap();
    let gateway = builder().args(["--source", "prefix"]).sandbox("a", pod.address()).start().unwrap();
    let target = format!("/sandboxes/default/a/{}/x?token=1", pod.address().port());
    let answer = Client::connect(gateway.addr()).unwrap().ask(get(&target, "Origin: http://x\r\n")).unwrap();
    assert_eq!(answer.text(), "open");
    assert_eq!(pod.requests().pop().unwrap().target(), "/x?token=1");
}
