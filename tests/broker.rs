//! Sessions that outlive their upstream: the client's WebSocket stays open while workers restart, move and fail.
//!
//! The story is both the client and the workers. Waits are short here; that the defaults are those of the contract is
//! shown beside the code.

mod account;
mod apart;
mod before;
mod crowd;
mod drain;
mod ends;
mod exec;
mod frames;
mod held;
mod lookups;
mod redial;
mod routes;
mod shell;
mod states;
mod subprotocol;

use gateway_tests::gateway::{Gateway, GatewayBuilder};
use gateway_tests::need::{Need, is_missing};
use gateway_tests::redis::RedisServer;
use gateway_tests::websocket::{Frame, Socket};
use gateway_tests::worker::Worker;

use crate::users::until_ready;

const PTY: &str = "/api/sandboxes/1/pty/one";
const EXEC: &str = "/api/sandboxes/1/exec/one";

/// Waits that a story can go through many times.
const SHORT: [(&str, &str); 3] = [
    ("GATEWAY_BROKER_REDIAL_WAIT", "10ms"),
    ("GATEWAY_BROKER_REDIAL_WAIT_MAX", "40ms"),
    ("GATEWAY_BROKER_MIGRATING_WAIT", "10ms"),
];

/// A gateway whose sandbox 1 is a worker that a story speaks for.
struct Scene {
    gateway: Gateway,
    worker: Worker,
}

impl Scene {
    fn start() -> Self {
        Self::with(&[])
    }

    /// With further arguments of `gateway serve`.
    fn with(arguments: &[&str]) -> Self {
        let worker = Worker::start().unwrap();
        let gateway = broker().args(arguments).sandbox("1", worker.address()).start().unwrap();
        Self { gateway, worker }
    }

    /// Both ends of a new session: the client's and the worker's.
    fn connect(&self, target: &str) -> (Socket, Socket) {
        connect(&self.gateway, &self.worker, target)
    }

    /// A metric's sum over all its labels but these.
    fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.gateway.metric(name, labels).unwrap()
    }
}

/// A gateway on a Redis whose sandboxes move.
struct Fleet {
    gateway: Gateway,
    redis: RedisServer,
}

impl Fleet {
    /// `None` where the machine has no Redis.
    fn start(arguments: &[&str]) -> Option<Self> {
        if is_missing(&[Need::Program("redis-server")]) {
            return None;
        }
        let redis = RedisServer::start().unwrap();
        let gateway = broker().args(arguments).redis(redis.url()).start().unwrap();
        until_ready(&gateway, 200);
        Some(Self { gateway, redis })
    }

    /// Says where a sandbox is from now on.
    fn place(&self, sandbox: &str, worker: std::net::SocketAddr) {
        self.command(&["HSET", "vnc_sandboxes", &format!("Sandbox_ID_{sandbox}"), &worker.to_string()]);
    }

    /// Says that a sandbox is nowhere from now on.
    fn remove(&self, sandbox: &str) {
        self.command(&["HDEL", "vnc_sandboxes", &format!("Sandbox_ID_{sandbox}")]);
    }

    /// Says in which state a sandbox is from now on.
    fn state(&self, sandbox: &str, state: &str) {
        self.command(&["HSET", "vnc_sandboxes_state", &format!("Sandbox_ID_{sandbox}"), state]);
    }

    fn command(&self, words: &[&str]) {
        let mut connection = redis::Client::open(self.redis.url()).unwrap().get_connection().unwrap();
        let () = redis::cmd(words[0]).arg(&words[1..]).query(&mut connection).unwrap();
    }
}

fn broker() -> GatewayBuilder {
    let builder = crate::scene::builder().args(["--source", "path,cookie,broker"]);
    SHORT.into_iter().fold(builder, |builder, (name, value)| builder.env(name, value))
}

/// The session has come to `worker`: what it sends is read by the client first, since what the client types before the
/// gateway has seen the worker's answer is dropped.
#[track_caller]
fn assert_resumes(client: &mut Socket, worker: &mut Socket) {
    worker.send(&Frame::text("resumed")).unwrap();
    client.expect(&Frame::text("resumed")).unwrap();
    client.exchange(worker, "typed").unwrap();
}

fn connect(gateway: &Gateway, worker: &Worker, target: &str) -> (Socket, Socket) {
    // The worker answers while the client waits.
    std::thread::scope(|threads| {
        let client = threads.spawn(|| Socket::connect(gateway.addr(), target).unwrap());
        let worker = worker.accept().unwrap();
        (client.join().unwrap(), worker)
    })
}
