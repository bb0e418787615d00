//! Streams without sockets, and gateways that come and go over them.

mod beside;
mod builds;
mod crash;
mod crowded;
mod leftovers;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use gateway_tests::bridge::{Ends, SANDBOX, establish};
use gateway_tests::gateway::{Gateway, GatewayBuilder};
use gateway_tests::need::{Need, is_missing};
use gateway_tests::pattern::Pattern;
use gateway_tests::state::StateDir;
use gateway_tests::wait::{PATIENCE, until};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Each direction of one exchange, in bytes.
const UP_BYTES: usize = 1000;
const DOWN_BYTES: usize = 3000;

/// A pod, and where its gateways keep what outlives them.
struct Site {
    pod: TcpListener,
    state: Arc<StateDir>,
}

impl Site {
    fn new() -> Self {
        Self { pod: TcpListener::bind("127.0.0.1:0").unwrap(), state: Arc::default() }
    }

    /// `None` on a machine without the engine; the story returns then.
    fn on_this_machine() -> Option<Self> {
        (!is_missing(&[Need::Engine("packet"), Need::Root])).then(Self::new)
    }

    fn gateway(&self, more: &[&str]) -> Gateway {
        self.builder(more).start().unwrap()
    }

    fn builder(&self, more: &[&str]) -> GatewayBuilder {
        let builder = Gateway::builder().sandbox(SANDBOX, self.pod.local_addr().unwrap()).state(&self.state);
        builder.args(["--engine", "packet", "--workers", "2"]).args(more.iter().copied())
    }

    /// A stream without sockets.
    fn stream(&self, gateway: &Gateway) -> Ends {
        let client = TcpStream::connect(gateway.addr()).unwrap();
        let ends = establish(client, &self.pod, gateway.addr(), SANDBOX, b"", b"").unwrap();
        until("the stream to be spliced", PATIENCE, || (listed(gateway, &ends)?["engine"] == "packet").then_some(()))
            .unwrap();
        ends
    }

    /// What a command of the program says to this state directory.
    fn command(&self, words: &[&str]) -> (bool, String) {
        let program = gateway_tests::gateway::program().unwrap();
        let mut command = std::process::Command::new(program);
        command.args(words).arg("--state-dir").arg(self.state.path());
        // The program takes every variable of its prefix for an option.
        let output = command.env_remove("GATEWAY_BIN").output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }
}

/// What `/streams` says of a stream.
fn listed(gateway: &Gateway, ends: &Ends) -> Option<Value> {
    let client = ends.client.local_addr().unwrap().to_string();
    gateway.streams().unwrap().into_iter().find(|stream| stream["client"] == client.as_str())
}

/// Both ends say something, and hear the other.
fn exchange(ends: &mut Ends, seed: u64) {
    let Ends { client, pod } = ends;
    client.write_all(&Pattern::new(seed).take(UP_BYTES)).unwrap();
    pod.write_all(&Pattern::new(!seed).take(DOWN_BYTES)).unwrap();
    Pattern::new(seed).read(pod, UP_BYTES).unwrap();
    Pattern::new(!seed).read(client, DOWN_BYTES).unwrap();
}

/// Both have said everything, the client first.
fn part(ends: Ends) {
    let Ends { mut client, mut pod } = ends;
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(pod.read(&mut [0]).unwrap(), 0);
    drop(pod);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

/// Neither end is told anything but that it is over.
fn both_are_reset(ends: &mut Ends) {
    for end in [&mut ends.client, &mut ends.pod] {
        assert_eq!(end.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

/// The line that ends the account of a stream.
fn close_line(gateway: &Gateway, id: &Value) -> Value {
    gateway
        .logged("the close line", PATIENCE, |line| line["message"] == "stream closed" && line["stream"] == *id)
        .unwrap()
}

fn kill(gateway: &mut Gateway) {
    gateway.signal(Signal::SIGKILL).unwrap();
    gateway.wait(PATIENCE).unwrap();
}

/// Ends a gateway that has nothing to wait for.
fn stop(gateway: &mut Gateway) {
    gateway.signal(Signal::SIGTERM).unwrap();
    assert_eq!(gateway.wait(PATIENCE).unwrap().code(), Some(0));
}
