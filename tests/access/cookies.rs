//! From the token in a link to the cookie of one sandbox.

use gateway_tests::wire::{Client, UPGRADE_FIELDS};

use super::{BEARER, BEARER_IN_QUERY, Guarded, cookie_of, mint, told};
use crate::scene::{get, until};

#[test]
fn a_token_in_a_link_becomes_a_cookie_of_its_sandbox_and_leaves_the_url() {
    let scene = Guarded::new();
    let (token, prefix) = (scene.token(), scene.prefix("mine"));
    let answer = scene.ask(&format!("{prefix}/lab%2Fx?a=1&gateway_token={token}&b=%20;c"), "");
    assert_eq!((answer.status(), answer.field("cache-control")), (302, Some("no-store")));
    assert_eq!(answer.field("location"), Some(&*format!("{prefix}/lab%2Fx?a=1&b=%20;c")));
    let set = answer.head.values("set-cookie");
    let [set] = set.as_slice() else { panic!("{set:?}") };
    let (pair, attributes) = set.split_once("; ").unwrap();
    let age: u32 = attributes
        .strip_prefix("Path=/sandboxes/team/mine/; Max-Age=")
        .and_then(|rest| rest.strip_suffix("; HttpOnly; SameSite=Lax"))
        .unwrap_or_else(|| panic!("{set}"))
        .parse()
        .unwrap();
    assert!((3590..=3600).contains(&age), "as long as the token: {set}");
    assert!(!set.contains(&token), "the cookie is not the token");
    assert!(scene.pod.requests().is_empty(), "nothing was forwarded");

    let fields = format!("Cookie: a=b; {pair}; c=d\r\n");
    assert_eq!(scene.ask(&format!("{prefix}/lab"), &fields).text(), "mine");
    let request = scene.pod.requests().pop().unwrap();
    assert_eq!((request.target(), request.field("cookie")), ("/lab", Some("a=b; c=d")));
    scene.assert_kept(&[&token, pair.split_once('=').unwrap().1]);
}

/// What a URL without its slash redirects to is the URL with one and without the token, at once.
#[test]
fn a_missing_slash_and_a_token_are_one_redirect() {
    let scene = Guarded::new();
    let (token, prefix) = (scene.token(), scene.prefix("mine"));
    let answer = scene.ask(&format!("{prefix}?gateway_token={token}"), "");
    assert_eq!((answer.status(), answer.field("location")), (302, Some(&*format!("{prefix}/"))));
    let cookie = cookie_of(&answer);
    let answer = scene.ask(&format!("{prefix}?a"), &cookie);
    assert_eq!((answer.status(), answer.field("location")), (308, Some(&*format!("{prefix}/?a"))));
    assert_eq!(scene.ask(&prefix, "").status(), 401, "who may not come in is not sent on, either");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let answer = scene.ask(&format!("{prefix}?gateway_token={token}"), &bearer);
    assert_eq!((answer.status(), answer.field("location")), (308, Some(&*format!("{prefix}/"))));
}

#[test]
fn over_tls_the_cookie_is_for_tls_alone() {
    let scene = Guarded::with(&["--trusted-proxy", "127.0.0.1"]);
    let target = format!("{}/?gateway_token={}", scene.prefix("mine"), scene.token());
    let answer = scene.ask(&target, "X-Forwarded-Proto: https\r\n");
    assert!(answer.field("set-cookie").unwrap().ends_with("; HttpOnly; SameSite=Lax; Secure"));
    let listed = Guarded::with(&["--trusted-proxy", "127.0.0.1", "--auth-origin", "https://app.example"]);
    let target = format!("{}/?gateway_token={}", listed.prefix("mine"), listed.token());
    let answer = listed.ask(&target, "X-Forwarded-Proto: https\r\n");
    assert!(answer.field("set-cookie").unwrap().ends_with("; HttpOnly; SameSite=None; Secure"));
}

/// Both keys of a rotation, and the token that opens every sandbox.
#[test]
fn every_token_that_opens_the_sandbox_is_good_for_a_cookie() {
    let scene = Guarded::new();
    let old = mint(&scene.keys[1], &["mine", "--namespace", "team"]);
    for token in [scene.token(), old, BEARER_IN_QUERY.to_owned()] {
        let cookie = scene.cookie(&token);
        assert_eq!(scene.ask(&format!("{}/x", scene.prefix("mine")), &cookie).text(), "mine");
        let theirs = scene.ask(&format!("{}/x", scene.prefix("theirs")), &cookie);
        assert_eq!(theirs.status(), 403, "the cookie is for the one sandbox, whatever the token");
    }
    scene.assert_kept(&[BEARER, BEARER_IN_QUERY]);
}

#[test]
fn a_cookie_ends_and_so_does_what_it_opens() {
    let scene = Guarded::with(&["--auth-cookie-lifetime", "1s"]);
    let target = format!("{}/x", scene.prefix("mine"));
    let cookie = scene.cookie(&scene.token());
    until("the cookie to end", || {
        let answer = scene.ask(&target, &cookie);
        answer.status() == 401 && told(&answer) == (401, "unauthorized".into(), "Invalid token.".into())
    });
}

#[test]
fn a_tampered_cookie_opens_nothing_and_one_of_another_path_hides_none() {
    let scene = Guarded::new();
    let target = format!("{}/x", scene.prefix("mine"));
    let cookie = scene.cookie(&scene.token());
    let value = cookie.trim_end().strip_prefix("Cookie: gateway_access=").unwrap();
    for bad in [&value[..value.len() - 1], &value.replacen("c1.", "v1.", 1), "", "x", scene.token().as_str()] {
        let answer = scene.ask(&target, &format!("Cookie: gateway_access={bad}\r\n"));
        assert_eq!(answer.status(), 401, "{bad}");
    }
    let hidden = format!("Cookie: gateway_access=x; gateway_access={value}; gateway_access=y\r\n");
    assert_eq!(scene.ask(&target, &hidden).text(), "mine");
    assert_eq!(scene.pod.requests().pop().unwrap().field("cookie"), None);
}

/// A browser that has its cookie follows the old link in its history, whose token has ended.
#[test]
fn an_old_link_with_a_live_cookie_is_cleaned_and_sets_nothing() {
    let scene = Guarded::new();
    let prefix = scene.prefix("mine");
    let cookie = scene.cookie(&scene.token());
    let answer = scene.ask(&format!("{prefix}/?gateway_token=ended&a"), &cookie);
    assert_eq!((answer.status(), answer.field("location")), (302, Some(&*format!("{prefix}/?a"))));
    assert_eq!(answer.field("set-cookie"), None);
    assert_eq!(scene.ask(&format!("{prefix}/?gateway_token=ended&a"), "").status(), 401);
}

/// Each host name is an origin of its own: the cookie is for all of it, and no redirect leads to another host.
#[test]
fn a_host_of_its_own_has_a_cookie_for_all_its_paths() {
    let scene = Guarded::new();
    let token = mint(&scene.keys[0], &["mine"]);
    let ask = |target: &str, fields: &str| {
        let host = format!("{}-mine.localhost", scene.pod.address().port());
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        Client::connect(scene.gateway.addr()).unwrap().ask(request).unwrap()
    };
    assert_eq!(ask("/x", "").status(), 401);
    for (target, location) in [("/x", "/x"), ("//evil.example/x", "/.//evil.example/x"), ("/\\evil", "/./\\evil")] {
        let answer = ask(&format!("{target}?gateway_token={token}"), "");
        assert_eq!((answer.status(), answer.field("location")), (302, Some(location)));
        let set = answer.field("set-cookie").unwrap();
        assert!(set.contains("; Path=/; Max-Age="), "{set}");
        assert_eq!(ask("/x", &cookie_of(&answer)).text(), "mine");
    }
}

#[test]
fn a_websocket_opens_by_the_cookie_and_never_by_the_query() {
    let scene = Guarded::new();
    let (token, prefix) = (scene.token(), scene.prefix("mine"));
    let own = "Origin: http://gw.example\r\n";
    let cookie = scene.cookie(&token);
    let in_query = scene.ask(&format!("{prefix}/ws?gateway_token={token}"), &format!("{UPGRADE_FIELDS}{own}"));
    assert_eq!(in_query.status(), 401);
    let mut client = scene.client();
    let request = get(&format!("{prefix}/ws?gateway_token={token}&a"), &format!("{UPGRADE_FIELDS}{own}{cookie}"));
    assert_eq!(client.ask(request).unwrap().status(), 101);
    client.send("hello\n").unwrap();
    assert_eq!(client.until("\n").unwrap(), b"hello\n");
    assert_eq!(scene.pod.requests().pop().unwrap().target(), "/ws?a", "a token in the wrong place goes no further");
    scene.assert_kept(&[&token]);
}
