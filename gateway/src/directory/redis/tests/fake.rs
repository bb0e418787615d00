//! A scripted server: the order in which bytes arrive is the test's to choose.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

use super::scene::{Scene, id};
use crate::config::RedisConfig;
use crate::directory::LocateError;

const PUSH: &str = ">2\r\n+invalidate\r\n*1\r\n$13\r\nvnc_sandboxes\r\n";

/// The server's end of one connection.
struct Fake {
    _folder: TempDir,
    stream: BufReader<UnixStream>,
}

impl Fake {
    /// Accepts a directory's connection, answers its handshake, and says that the hash has one field.
    async fn meet() -> (Self, Scene) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let config = RedisConfig {
            response_timeout: Duration::from_secs(10),
            negative_ttl: Duration::from_secs(3600),
            ..RedisConfig::at(format!("unix:{}", path.display()))
        };
        let scene = Scene::begin(&config, Duration::ZERO);
        let (stream, _) = listener.accept().await.unwrap();
        let mut fake = Self { _folder: folder, stream: BufReader::new(stream) };
        loop {
            let command = fake.command().await;
            match command[0].as_str() {
                "HELLO" => fake.say("%1\r\n+proto\r\n:3\r\n").await,
                "HLEN" if command[1] == "vnc_sandboxes_state" => fake.say(":0\r\n").await,
                "HLEN" => break fake.say(":1\r\n").await,
                _ => fake.say("+OK\r\n").await,
            }
        }
        scene.said.until("it is up", |counts| counts.up).await;
        (fake, scene)
    }

    async fn say(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// The field of the next HGET; probes in between are answered.
    async fn question(&mut self) -> String {
        loop {
            let command = self.command().await;
            match command[0].as_str() {
                "HGET" => return command[2].clone(),
                "HLEN" => self.say(":1\r\n").await,
                other => panic!("unexpected {other}"),
            }
        }
    }

    async fn command(&mut self) -> Vec<String> {
        let words = self.number('*').await;
        let mut command = Vec::new();
        for _ in 0..words {
            let bytes = self.number('$').await;
            let mut word = vec![0; bytes + 2];
            self.stream.read_exact(&mut word).await.unwrap();
            word.truncate(bytes);
            command.push(String::from_utf8(word).unwrap());
        }
        command
    }

    async fn number(&mut self, kind: char) -> usize {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        line.strip_prefix(kind).unwrap().trim_end().parse().unwrap()
    }
}

#[tokio::test]
async fn who_asks_the_same_waits_for_one_answer() {
    let (mut fake, scene) = Fake::meet().await;
    let (first, second) = (id("1"), id("1"));
    let server = async {
        assert_eq!(fake.question().await, "Sandbox_ID_1");
        fake.say("$13\r\n10.0.0.1:6080\r\n").await;
        // The next question is another sandbox's: the second request caused none.
        assert_eq!(fake.question().await, "Sandbox_ID_2");
        fake.say("_\r\n").await;
    };
    let client = async {
        let (one, two) = tokio::join!(scene.directory.locate(&first), scene.directory.locate(&second));
        assert_eq!(one.unwrap(), two.unwrap());
        assert_eq!(scene.locate("2").await, Err(LocateError::NotFound));
    };
    tokio::join!(server, client);
}

#[tokio::test]
async fn who_asks_after_a_push_is_never_put_to_those_who_asked_before() {
    let (mut fake, scene) = Fake::meet().await;
    let (has_begun, begun) = oneshot::channel();
    let client = async {
        let sandbox = id("1");
        let early = scene.directory.locate(&sandbox);
        let late = async {
            scene.said.until("the push was read", |counts| counts.pushes == 1).await;
            let mut late = pin!(scene.directory.locate(&sandbox));
            assert!(is_pending(&mut late).await, "the first question is under way");
            has_begun.send(()).unwrap();
            late.await
        };
        let (early, late) = tokio::join!(early, late);
        assert_eq!(early.unwrap().endpoint.to_string(), "10.0.0.1:6080");
        assert_eq!(late.unwrap().endpoint.to_string(), "10.0.0.2:6080");
        assert_eq!(scene.locate("1").await, Ok("10.0.0.2:6080".to_owned()));
    };
    let server = async {
        assert_eq!(fake.question().await, "Sandbox_ID_1");
        fake.say(PUSH).await;
        begun.await.unwrap();
        fake.say("$13\r\n10.0.0.1:6080\r\n").await;
        assert_eq!(fake.question().await, "Sandbox_ID_1");
        fake.say("$13\r\n10.0.0.2:6080\r\n").await;
    };
    tokio::join!(client, server);
}

/// Nothing that is remembered will do, nor a question that was sent before.
#[tokio::test]
async fn who_asks_afresh_has_an_answer_to_a_question_of_after_it() {
    let (mut fake, scene) = Fake::meet().await;
    let (under_way, is_under_way) = oneshot::channel();
    let (has_begun, begun) = oneshot::channel();
    let server = async {
        assert_eq!(fake.question().await, "Sandbox_ID_1");
        fake.say("$13\r\n10.0.0.1:6080\r\n").await;
        assert_eq!(fake.question().await, "Sandbox_ID_1");
        under_way.send(()).unwrap();
        begun.await.unwrap();
        fake.say("$13\r\n10.0.0.1:6080\r\n").await;
        // One for both who came meanwhile.
        assert_eq!(fake.question().await, "Sandbox_ID_1");
        fake.say("$13\r\n10.0.0.2:6080\r\n").await;
        assert_eq!(fake.question().await, "Sandbox_ID_2");
        fake.say("_\r\n").await;
    };
    let client = async {
        let sandbox = id("1");
        assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));
        let first = scene.directory.locate_afresh(&sandbox);
        let later = async {
            is_under_way.await.unwrap();
            let mut one = pin!(scene.directory.locate_afresh(&sandbox));
            let mut two = pin!(scene.directory.locate_afresh(&sandbox));
            assert!(is_pending(&mut one).await && is_pending(&mut two).await);
            has_begun.send(()).unwrap();
            tokio::join!(one, two)
        };
        let (first, (one, two)) = tokio::join!(first, later);
        assert_eq!(first.unwrap().endpoint.to_string(), "10.0.0.1:6080");
        assert_eq!(one.unwrap().endpoint.to_string(), "10.0.0.2:6080");
        assert_eq!(two.unwrap().endpoint.to_string(), "10.0.0.2:6080");
        assert_eq!(scene.locate("2").await, Err(LocateError::NotFound));
        assert_eq!(scene.said.counts().questions, 4);
    };
    tokio::join!(server, client);
}

#[tokio::test]
async fn nobody_is_told_afresh_what_was_true_before_the_server_went_away() {
    let (mut fake, scene) = Fake::meet().await;
    let server = async {
        assert_eq!(fake.question().await, "Sandbox_ID_1");
        fake.say("$13\r\n10.0.0.1:6080\r\n").await;
        assert_eq!(fake.question().await, "Sandbox_ID_1");
        fake.say("?nonsense\r\n").await;
    };
    let client = async {
        assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));
        assert_eq!(scene.directory.locate_afresh(&id("1")).await, Err(LocateError::Unavailable));
        assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));
    };
    tokio::join!(server, client);
}

/// Redis may tell a writer `OK` before it writes this answer and the push behind it.
#[tokio::test]
async fn who_asks_while_a_question_is_under_way_sees_the_push_that_comes_with_its_answer() {
    let (mut fake, scene) = Fake::meet().await;
    let (under_way, is_under_way) = oneshot::channel();
    let (has_begun, begun) = oneshot::channel();
    let server = async {
        assert_eq!(fake.question().await, "Sandbox_ID_1");
        fake.say("$13\r\n10.0.0.1:6080\r\n").await;
        assert_eq!(fake.question().await, "Sandbox_ID_2");
        under_way.send(()).unwrap();
        begun.await.unwrap();
        fake.say(&format!("_\r\n{PUSH}")).await;
        let mut asked = [fake.question().await, fake.question().await];
        asked.sort();
        assert_eq!(asked, ["Sandbox_ID_1", "Sandbox_ID_2"]);
        fake.say("$13\r\n10.0.0.2:6080\r\n$13\r\n10.0.0.2:6080\r\n").await;
    };
    let client = async {
        assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));
        let (known, unknown) = (id("1"), id("2"));
        let first = scene.locate("2");
        let later = async {
            is_under_way.await.unwrap();
            // One has an answer in the cache, the other a question that it could be put to.
            let mut cached = pin!(scene.directory.locate(&known));
            let mut joining = pin!(scene.directory.locate(&unknown));
            assert!(is_pending(&mut cached).await && is_pending(&mut joining).await);
            has_begun.send(()).unwrap();
            tokio::join!(cached, joining)
        };
        let (first, (cached, joining)) = tokio::join!(first, later);
        assert_eq!(first, Err(LocateError::NotFound));
        assert_eq!(cached.unwrap().endpoint.to_string(), "10.0.0.2:6080");
        assert_eq!(joining.unwrap().endpoint.to_string(), "10.0.0.2:6080");
    };
    tokio::join!(server, client);
}

#[tokio::test]
async fn an_answer_that_a_push_overtook_is_asked_for_again() {
    let (mut fake, scene) = Fake::meet().await;
    let server = async {
        assert_eq!(fake.question().await, "Sandbox_ID_1");
        fake.say(&format!("{PUSH}$13\r\n10.0.0.1:6080\r\n")).await;
        assert_eq!(fake.question().await, "Sandbox_ID_1");
        fake.say("$13\r\n10.0.0.2:6080\r\n").await;
    };
    let client = async {
        assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));
        assert_eq!(scene.locate("1").await, Ok("10.0.0.2:6080".to_owned()));
        assert_eq!(scene.locate("1").await, Ok("10.0.0.2:6080".to_owned()));
    };
    tokio::join!(server, client);
}

#[tokio::test]
async fn a_push_without_keys_counts_too() {
    let (mut fake, scene) = Fake::meet().await;
    fake.say(">2\r\n+invalidate\r\n_\r\n").await;
    scene.said.until("the push was read", |counts| counts.pushes == 1).await;
}

#[tokio::test]
async fn bytes_that_are_no_answer_end_the_connection_and_nothing_else() {
    let (mut fake, scene) = Fake::meet().await;
    let server = async {
        assert_eq!(fake.question().await, "Sandbox_ID_1");
        fake.say("?nonsense\r\n").await;
    };
    let client = async { assert_eq!(scene.locate("1").await, Err(LocateError::Unavailable)) };
    tokio::join!(server, client);
    scene.said.until("it is down", |counts| !counts.up).await;
}

/// Polls once.
async fn is_pending(future: &mut Pin<&mut impl Future>) -> bool {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}
