//! A WebSocket through a stream, frame by frame: a gateway that only passes bytes on must not be noticed by either end.
//!
//! Every story holds both ends itself, and most hold in either direction.

mod closing;
mod frames;
mod opening;
mod worker;

use gateway_tests::gateway::Gateway;
use gateway_tests::websocket::Socket;
use gateway_tests::worker::Worker;

const TARGET: &str = "/vnc/1/websockify";

/// A gateway whose sandbox 1 is a worker that a story speaks for.
struct Scene {
    gateway: Gateway,
    worker: Worker,
}

impl Scene {
    fn start() -> Self {
        let worker = Worker::start().unwrap();
        let gateway = crate::scene::builder().sandbox("1", worker.address()).start().unwrap();
        Self { gateway, worker }
    }

    /// Both ends of a new connection: the client's and the worker's.
    fn connect(&self) -> (Socket, Socket) {
        // The worker answers while the client waits.
        std::thread::scope(|threads| {
            let client = threads.spawn(|| Socket::connect(self.gateway.addr(), TARGET).unwrap());
            let worker = self.worker.accept().unwrap();
            (client.join().unwrap(), worker)
        })
    }

    /// Tells a story twice, with the roles of sender and receiver swapped.
    fn both_ways(&self, story: impl Fn(&mut Socket, &mut Socket)) {
        let (mut client, mut worker) = self.connect();
        story(&mut client, &mut worker);
        let (mut client, mut worker) = self.connect();
        story(&mut worker, &mut client);
    }
}
