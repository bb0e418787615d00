//! Over a real socket, since most of what can go wrong here is what a peer does with one.

use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::tunnel::live::Told;
use crate::tunnel::live::{Caps, Direction};
use crate::tunnel::{Engine, StreamGuard};

/// Long enough for a slow machine; no test waits for it unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Reasons(Mutex<Vec<&'static str>>);

impl Readiness for Reasons {
    fn reasons(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

struct Admin {
    address: SocketAddr,
    reasons: Arc<Reasons>,
    streams: Arc<LiveStreams>,
}

async fn admin_within(limits: Limits) -> Admin {
    let (reasons, streams) = (Arc::new(Reasons::default()), LiveStreams::new(1, Caps::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state =
        AdminState { readiness: reasons.clone(), streams: Arc::clone(&streams), metrics: Arc::new(Metrics::default()) };
    drop(tokio::spawn(serve_within(limits, listener, state)));
    Admin { address, reasons, streams }
}

async fn admin() -> Admin {
    admin_within(LIMITS).await
}

impl Admin {
    /// A stream that lives until the guard is dropped. Their ids count from 1.
    fn stream(&self, sandbox: &str) -> StreamGuard {
        let client: SocketAddr = "192.0.2.7:50000".parse().unwrap();
        let endpoint = "10.0.0.1:6080".parse().unwrap();
        let permit = self.streams.admit(client.ip(), &sandbox.parse().unwrap()).unwrap();
        self.streams.open(permit, 0, client, (endpoint, None), Engine::Copy)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The whole answer to one request, as text.
    async fn ask(&self, method: &str, target: &str) -> String {
        let mut socket = self.connect().await;
        let request = format!("{method} {target} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        until_closed(&mut socket).await
    }

    async fn assert_answer(&self, method: &str, target: &str, status: u16, body: &str) {
        let answer = self.ask(method, target).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {target}: {answer}");
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, body, "{method} {target}");
    }
}

async fn until_closed(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    read.expect("the connection was not closed").expect("the connection was not closed in order");
    String::from_utf8(answer).unwrap()
}

fn limits() -> Limits {
    let never = PATIENCE * 10;
    Limits { connections_max: 2, head_timeout: never, connection_lifetime: never, answer_timeout: never }
}

#[tokio::test]
async fn a_scrape_gets_the_text_format() {
    let answer = admin().await.ask("GET", "/metrics").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("\n# TYPE gateway_connections_open gauge\n"), "{answer}");
}

#[tokio::test]
async fn health_does_not_depend_on_readiness() {
    let admin = admin().await;
    admin.assert_answer("GET", "/readyz", 200, "ready\n").await;
    *admin.reasons.0.lock().unwrap() = vec!["draining", "directory unavailable"];
    admin.assert_answer("GET", "/readyz", 503, "draining\ndirectory unavailable\n").await;
    admin.assert_answer("GET", "/healthz", 200, "ok\n").await;
}

#[tokio::test]
async fn streams_are_listed_filtered_and_limited() {
    let admin = admin().await;
    let _guards = ["37579", "cl-abc", "37579"].map(|sandbox| admin.stream(sandbox));
    let list = async |target: &str| {
        let answer = admin.ask("GET", target).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let total = head.lines().find_map(|line| line.strip_prefix("x-streams-total: ")).unwrap().to_owned();
        let streams: Vec<serde_json::Value> = serde_json::from_str(body).unwrap();
        (streams.iter().map(|stream| stream["id"].as_u64().unwrap()).collect::<Vec<_>>(), total)
    };
    assert_eq!(list("/streams").await, (vec![1, 2, 3], "3".to_owned()));
    assert_eq!(list("/streams?sandbox=37579").await, (vec![1, 3], "2".to_owned()));
    assert_eq!(list("/streams?sandbox=37579&limit=1").await, (vec![1], "2".to_owned()));
    assert_eq!(list("/streams?sandbox=none").await, (vec![], "0".to_owned()));
    admin.assert_answer("GET", "/streams?sandbx=1", 400, "only sandbox=ID and limit=N are known\n").await;
}

#[tokio::test]
async fn one_stream_carries_everything_that_is_known_of_it() {
    let admin = admin().await;
    let guard = admin.stream("cl-abc");
    guard.moved(Direction::Up, 10);
    guard.moved(Direction::Down, 2_000);
    let answer = admin.ask("GET", "/streams").await;
    assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let mut streams: Vec<serde_json::Map<_, _>> = serde_json::from_str(body).unwrap();
    let mut stream = streams.pop().unwrap();
    for seconds in ["age_seconds", "idle_seconds"] {
        assert!(stream.remove(seconds).unwrap().is_number(), "{body}");
    }
    let expected = serde_json::json!({
        "id": 1, "sandbox": "cl-abc", "client": "192.0.2.7:50000", "endpoint": "10.0.0.1:6080", "engine": "copy",
        "bytes_up": 10, "bytes_down": 2_000,
    });
    assert_eq!(serde_json::Value::Object(stream), expected);
}

#[tokio::test]
async fn a_stream_is_told_to_close() {
    let admin = admin().await;
    let kept = admin.stream("37579");
    let closed = admin.stream("37579");
    admin.assert_answer("DELETE", "/streams/2", 204, "").await;
    assert_eq!(timeout(PATIENCE, closed.told()).await.expect("it was not told"), Told::Close(Reason::Operator));
    drop(closed);
    for missing in ["/streams/2", "/streams/99999999999999999999999", "/streams/-1", "/streams/x"] {
        admin.assert_answer("DELETE", missing, 404, "").await;
    }
    let untouched = timeout(Duration::ZERO, kept.told()).await;
    assert!(untouched.is_err(), "the other stream was told to close: {untouched:?}");
}

#[tokio::test]
async fn a_stream_is_demoted_and_let_go_again() {
    let admin = admin().await;
    let stream = admin.stream("37579");
    for (method, told) in [("PUT", Told::Demote), ("DELETE", Told::Release)] {
        admin.assert_answer(method, "/streams/1/demoted", 204, "").await;
        assert_eq!(timeout(PATIENCE, stream.told()).await.expect("it was not told"), told);
    }
    admin.assert_answer("PUT", "/streams/2/demoted", 404, "").await;
    // A browser would send it without asking first.
    admin.assert_answer("POST", "/streams/1/demoted", 405, "").await;
}

#[tokio::test]
async fn what_does_not_exist_is_refused() {
    let admin = admin().await;
    admin.assert_answer("GET", "/", 404, "").await;
    admin.assert_answer("POST", "/drain", 404, "").await;
    admin.assert_answer("POST", "/streams", 405, "").await;
    admin.assert_answer("GET", "/streams/2", 405, "").await;
}

#[tokio::test]
async fn a_connection_that_never_finishes_its_head_is_closed() {
    let admin = admin_within(Limits { head_timeout: Duration::from_millis(50), ..limits() }).await;
    let mut silent = admin.connect().await;
    let mut slow = admin.connect().await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").await.unwrap();
    assert_eq!(until_closed(&mut slow).await, "");
    assert_eq!(until_closed(&mut silent).await, "");
    admin.assert_answer("GET", "/healthz", 200, "ok\n").await;
}

#[tokio::test]
async fn a_kept_connection_ends_with_its_lifetime() {
    let admin = admin_within(Limits { connection_lifetime: Duration::from_millis(50), ..limits() }).await;
    let mut kept = admin.connect().await;
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: admin\r\n\r\n").await.unwrap();
    assert!(until_closed(&mut kept).await.ends_with("\r\n\r\nok\n"));
}

#[tokio::test]
async fn a_reader_that_stalls_ends_with_its_answer_timeout() {
    let times = Duration::from_millis(50);
    let admin =
        admin_within(Limits { connections_max: 1, connection_lifetime: times, answer_timeout: times, ..limits() })
            .await;
    // 16 MB of answer: more than the socket buffers of both sides can take.
    let _guards: Vec<_> = (0..100_000).map(|_| admin.stream("37579")).collect();
    let mut stalled = admin.connect().await;
    stalled.write_all(b"GET /streams?limit=100000 HTTP/1.1\r\nHost: admin\r\n\r\n").await.unwrap();
    stalled.readable().await.unwrap();
    // The only place is taken; the next one is served because the stalled one was given up, although it never closed.
    admin.assert_answer("GET", "/healthz", 200, "ok\n").await;
    drop(stalled);
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_a_place() {
    let admin = admin_within(limits()).await;
    let first = admin.connect().await;
    let second = admin.connect().await;
    let mut waiting = pin!(admin.ask("GET", "/healthz"));
    let early = timeout(Duration::from_millis(100), waiting.as_mut()).await;
    assert!(early.is_err(), "a third connection was served: {early:?}");
    drop(first);
    let answer = timeout(PATIENCE, waiting).await.expect("no place became free");
    assert!(answer.ends_with("ok\n"), "{answer}");
    drop(second);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let admin = admin().await;
    let mut socket = admin.connect().await;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: admin\r\nPadding: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
}

#[test]
fn only_a_broken_listener_ends_the_service() {
    assert!(is_fatal(&io::Error::from_raw_os_error(libc::EBADF)));
    for transient in [libc::EMFILE, libc::ENFILE, libc::ECONNABORTED, libc::ENOBUFS, libc::EPROTO] {
        assert!(!is_fatal(&io::Error::from_raw_os_error(transient)));
    }
}
