//! Tokens: who is let in, and that nobody but the gateway ever sees one.

use std::io::Write as _;

use gateway_tests::dns::Dns;
use gateway_tests::gateway::Gateway;
use gateway_tests::pod::Pod;
use gateway_tests::wire::{Client, UPGRADE_FIELDS};
use tempfile::NamedTempFile;

use super::{ask, asking, detail, named, pod};
use crate::program;
use crate::scene::{get, ok};

const BEARER: &str = "a-token-for-everything";

fn secret(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    writeln!(file, "{text:-<32}").unwrap();
    file
}

/// What `gateway token` prints.
fn mint(secret: &NamedTempFile, arguments: &[&str]) -> String {
    let path = secret.path().to_str().unwrap();
    let said = program::run(&[&["token", "--secret-file", path], arguments].concat());
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    said.stdout.trim_end().to_owned()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// The token stands in no line of the log, and in nothing that the pod was sent.
#[track_caller]
fn assert_kept(token: &str, gateway: &Gateway, pod: &Pod) {
    assert!(!gateway.log().iter().any(|line| line.contains(token)), "the log tells the token");
    let received = String::from_utf8_lossy(&pod.received()).into_owned();
    assert!(!received.contains(token) && !received.to_ascii_lowercase().contains("authorization"), "{received}");
}

#[test]
fn the_plain_token_opens_and_nothing_else_does() {
    let dns = Dns::start().unwrap();
    let pod = pod("here", 1, 0);
    let gateway = asking(&dns).env("GATEWAY_AUTH_TOKEN", BEARER).start().unwrap();
    let fields = format!("{}X-Sandbox-Pod-IP: 127.0.0.1\r\n", named(pod.address().port()));
    assert_eq!(ask(&gateway, &format!("{fields}{}", bearer(BEARER))).text(), "here");
    for (authorization, text) in [
        (String::new(), "Missing or invalid Authorization header."),
        (format!("Authorization: Basic {BEARER}\r\n"), "Missing or invalid Authorization header."),
        (format!("Authorization: {BEARER}\r\n"), "Missing or invalid Authorization header."),
        (bearer(BEARER).repeat(2), "Missing or invalid Authorization header."),
        (format!("X-Authorization: Bearer {BEARER}\r\n"), "Missing or invalid Authorization header."),
        (format!("Cookie: token={BEARER}\r\n"), "Missing or invalid Authorization header."),
        (bearer("another"), "Invalid token."),
    ] {
        let answer = ask(&gateway, &format!("{fields}{authorization}"));
        assert_eq!(detail(&answer), (401, text.to_owned()), "{authorization}");
        assert_eq!(answer.field("www-authenticate"), Some("Bearer"));
    }
    let mut client = Client::connect(gateway.addr()).unwrap();
    let in_query = client.ask(get(&format!("/x?token={BEARER}"), &fields)).unwrap();
    assert_eq!(in_query.status(), 401, "the wrong place");
    assert_eq!(ask(&gateway, &format!("{fields}{UPGRADE_FIELDS}")).status(), 401, "an upgrade as well");
    assert_eq!(pod.requests().len(), 1);
    assert_kept(BEARER, &gateway, &pod);
}

#[test]
fn a_scoped_token_opens_its_own_sandbox_with_either_key() {
    let dns = Dns::start().unwrap();
    let pod = Pod::answering(ok("", "here")).unwrap();
    dns.set("box.default.svc.cluster.local", std::net::Ipv4Addr::LOCALHOST, 600);
    dns.set("box.team.svc.cluster.local", std::net::Ipv4Addr::LOCALHOST, 600);
    let (new, old, other) = (secret("new"), secret("old"), secret("other"));
    let files = [&new, &old].map(|file| file.path().to_str().unwrap().to_owned());
    let gateway = asking(&dns).args(["--auth-secret-file", &files.join(",")]).start().unwrap();
    let port = pod.address().port();
    let asked = |token: &str, more: &str| detail(&ask(&gateway, &format!("{}{}{more}", named(port), bearer(token))));
    let open = |token: &str, more: &str| ask(&gateway, &format!("{}{}{more}", named(port), bearer(token))).status();

    assert_eq!(open(&mint(&new, &["box"]), ""), 200);
    assert_eq!(open(&mint(&old, &["box"]), ""), 200);
    assert_eq!(open(&mint(&new, &["box", "--namespace", "team"]), "X-Sandbox-Namespace: team\r\n"), 200);

    let invalid = (401, "Invalid token.".to_owned());
    let good = mint(&new, &["box"]);
    assert_eq!(asked(&mint(&other, &["box"]), ""), invalid);
    assert_eq!(asked(&format!("{}x", &good[..good.len() - 1]), ""), invalid, "tampered");
    assert_eq!(asked(&good.replacen("v1.", "v2.", 1), ""), invalid);

    let forbidden = (403, "The token is not for this sandbox.".to_owned());
    assert_eq!(asked(&good, "X-Sandbox-Namespace: team\r\n"), forbidden);
    assert_eq!(asked(&good, "X-Sandbox-Pod-IP: 127.0.0.1\r\n"), forbidden, "an address is no name");
    assert_eq!(asked(&good, "X-Sandbox-UID: 1-2\r\n"), forbidden);
    assert_eq!(pod.requests().len(), 3);
    assert_kept(&good, &gateway, &pod);
}

/// Whoever has no right to a sandbox does not learn whether it exists.
#[test]
fn unknown_and_forbidden_sandboxes_answer_alike() {
    let dns = Dns::start().unwrap();
    dns.set("theirs.default.svc.cluster.local", std::net::Ipv4Addr::LOCALHOST, 600);
    let secret = secret("key");
    let gateway = asking(&dns).args(["--auth-secret-file", secret.path().to_str().unwrap()]).start().unwrap();
    let token = mint(&secret, &["mine"]);
    let answers = ["theirs", "nobodys"].map(|id| ask(&gateway, &format!("X-Sandbox-ID: {id}\r\n{}", bearer(&token))));
    assert_eq!(detail(&answers[0]), detail(&answers[1]));
    assert_eq!(answers[0].status(), 403);
    for name in ["theirs.default.svc.cluster.local", "nobodys.default.svc.cluster.local"] {
        assert_eq!(dns.asked(name), 0, "nobody was asked");
    }
}

#[test]
fn an_expired_token_opens_nothing() {
    let dns = Dns::start().unwrap();
    let secret = secret("key");
    let gateway = asking(&dns).args(["--auth-secret-file", secret.path().to_str().unwrap()]).start().unwrap();
    // Rounded down to the second in which it was made.
    let token = mint(&secret, &["box", "--expires-in", "1ms"]);
    crate::scene::until("the token to expire", || {
        let answer = ask(&gateway, &format!("X-Sandbox-ID: box\r\n{}", bearer(&token)));
        detail(&answer) == (401, "Invalid token.".to_owned())
    });
}

/// Trap 9: without tokens of its own the field is the sandbox's.
#[test]
fn authorization_passes_where_the_gateway_asks_for_none() {
    let dns = Dns::start().unwrap();
    let pod = pod("here", 1, 0);
    let gateway = super::open(&dns).start().unwrap();
    let fields = format!("{}X-Sandbox-Pod-IP: 127.0.0.1\r\n", named(pod.address().port()));
    assert_eq!(ask(&gateway, &format!("{fields}{}", bearer("theirs"))).text(), "here");
    assert_eq!(pod.requests()[0].field("authorization"), Some("Bearer theirs"));
}

/// Trap 53.
#[test]
fn without_a_token_the_source_does_not_start_unless_that_is_allowed() {
    let said = program::run(&["serve", "--source", "header", "--listen", "127.0.0.1:0"]);
    assert_eq!(said.code, Some(78), "{}", said.stderr);
    assert!(said.stderr.contains("--allow-unauthenticated"), "{}", said.stderr);
    let short = NamedTempFile::new().unwrap();
    let path = short.path().to_str().unwrap();
    let arguments = ["serve", "--source", "header", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let said = program::run(&[&arguments[..], &["--auth-secret-file", path]].concat());
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("32 bytes at least, not 0"), "{}", said.stderr);
}
