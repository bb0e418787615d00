//! Tokens where clients are browsers: brought once in a URL, kept as a cookie of one sandbox, and seen by nobody else.

mod cookies;
mod origins;
mod places;

use std::io::Write as _;

use gateway_tests::gateway::Gateway;
use gateway_tests::pod::Pod;
use gateway_tests::wire::{Answer, Client};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::program;
use crate::scene::{builder, get, ok};

const BEARER: &str = "a-token/for+everything";
const BEARER_IN_QUERY: &str = "a-token%2Ffor%2Beverything";

/// Two sandboxes behind a gateway of the prefix and host sources that asks for tokens.
struct Guarded {
    gateway: Gateway,
    pod: Pod,
    other: Pod,
    /// The two keys in use, the newer one first.
    keys: [NamedTempFile; 2],
}

impl Guarded {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(arguments: &[&str]) -> Self {
        let respond = |text: &'static str| {
            Pod::start(move |request, connection| {
                if request.field("upgrade").is_some() {
                    connection.switch(request)?;
                    return connection.echo();
                }
                connection.body(request)?;
                connection.send(ok("Set-Cookie: own=1; Path=/\r\n", text))
            })
            .unwrap()
        };
        let (pod, other) = (respond("mine"), respond("theirs"));
        let keys = [secret("new"), secret("old")];
        let files = [path(&keys[0]), path(&keys[1])].join(",");
        let gateway = builder()
            .args(["--source", "host,prefix", "--log-level", "trace", "--auth-secret-file", &files])
            .args(arguments)
            .env("GATEWAY_AUTH_TOKEN", BEARER)
            .sandbox("team/mine", pod.address())
            .sandbox("mine", pod.address())
            .sandbox("team/theirs", other.address())
            .start()
            .unwrap();
        Self { gateway, pod, other, keys }
    }

    /// What the paths of a sandbox begin with.
    fn prefix(&self, sandbox: &str) -> String {
        let pod = if sandbox == "mine" { &self.pod } else { &self.other };
        format!("/sandboxes/team/{sandbox}/{}", pod.address().port())
    }

    fn client(&self) -> Client {
        Client::connect(self.gateway.addr()).unwrap()
    }

    #[track_caller]
    fn ask(&self, target: &str, fields: &str) -> Answer {
        self.client().ask(get(target, fields)).unwrap()
    }

    /// The token of `team/mine` that the newer key signs.
    fn token(&self) -> String {
        mint(&self.keys[0], &["mine", "--namespace", "team"])
    }

    /// The Cookie field that a browser has after it brought `token` to `mine`.
    #[track_caller]
    fn cookie(&self, token: &str) -> String {
        let answer = self.ask(&format!("{}/?gateway_token={token}", self.prefix("mine")), "");
        assert_eq!(answer.status(), 302, "{}", answer.text());
        cookie_of(&answer)
    }

    /// None of `secrets` is in the log or in what the pods were sent.
    #[track_caller]
    fn assert_kept(&self, secrets: &[&str]) {
        let log = self.gateway.log().join("\n");
        let received = [self.pod.received(), self.other.received()].concat();
        let received = String::from_utf8_lossy(&received).into_owned();
        for secret in secrets {
            assert!(!log.contains(secret), "the log tells {secret}:\n{log}");
            assert!(!received.contains(secret), "a pod was told {secret}:\n{received}");
        }
    }
}

/// The Cookie field for what an answer has set.
#[track_caller]
fn cookie_of(answer: &Answer) -> String {
    let set = answer.field("set-cookie").expect("a cookie was set");
    format!("Cookie: {}\r\n", set.split(';').next().unwrap())
}

fn secret(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    writeln!(file, "{text:-<32}").unwrap();
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

/// What `gateway token` prints.
fn mint(secret: &NamedTempFile, arguments: &[&str]) -> String {
    let said = program::run(&[&["token", "--secret-file", path(secret)], arguments].concat());
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    said.stdout.trim_end().to_owned()
}

/// The status, the code and the text of a refusal.
fn told(answer: &Answer) -> (u16, String, String) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("no JSON: {}", answer.text()));
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (answer.status(), text("code"), text("detail"))
}
