//! Small messages that come back: how many round trips streams make, and what each costs the machine.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use gateway_tests::bridge::{Bridge, Path};

use crate::cpu::{Meter, Spent};

/// Streams that make round trips at the same time.
pub(crate) const STREAMS: usize = 16;

/// Bytes of a message: about one pointer event and what it sets moving on an idle desktop.
pub(crate) const MESSAGE_BYTES: usize = 64;

/// Established streams from clients to pods that send back what they get.
pub(crate) struct Way {
    name: String,
    clients: Vec<TcpStream>,
    /// Ends with the way.
    _bridge: Option<Bridge>,
}

/// What a round gave.
pub(crate) struct Sample {
    pub(crate) round_trips: u64,
    pub(crate) spent: Spent,
}

impl Way {
    /// Without a gateway.
    pub(crate) fn direct() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut clients = Vec::with_capacity(STREAMS);
        for _ in 0..STREAMS {
            let client = TcpStream::connect(listener.local_addr()?)?;
            client.set_nodelay(true)?;
            let (pod, _) = listener.accept()?;
            pod.set_nodelay(true)?;
            send_back(pod);
            clients.push(client);
        }
        Ok(Self { name: "direct".to_owned(), clients, _bridge: None })
    }

    /// Through a gateway that moves bytes along `path`.
    pub(crate) fn through(path: Path) -> anyhow::Result<Self> {
        let bridge = Bridge::start(path, |gateway| gateway)?;
        let mut clients = Vec::with_capacity(STREAMS);
        for _ in 0..STREAMS {
            let ends = bridge.stream()?;
            send_back(ends.pod);
            clients.push(ends.client);
        }
        Ok(Self { name: format!("{} {}", path.engine, path.io), clients, _bridge: Some(bridge) })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Lets all streams make round trips for `time`.
    pub(crate) fn round(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let meter = Meter::start()?;
        let end = Instant::now() + time;
        let round_trips = thread::scope(|scope| {
            let clients: Vec<_> =
                self.clients.iter_mut().map(|client| scope.spawn(move || exchange(client, end))).collect();
            clients.into_iter().map(|client| client.join().expect("a client does not panic")).sum::<io::Result<u64>>()
        })?;
        Ok(Sample { round_trips, spent: meter.stop()? })
    }
}

impl Sample {
    /// Round trips per second.
    pub(crate) fn rate(&self) -> f64 {
        self.round_trips as f64 / self.spent.wall.as_secs_f64()
    }

    /// Microseconds of processor time per round trip: of the clients, the pods, the gateway and the kernel together.
    pub(crate) fn cost_micros(&self) -> f64 {
        self.spent.cpu.as_secs_f64() * 1e6 / self.round_trips as f64
    }
}

/// Sends a message and waits for it, until `end`; returns how often.
fn exchange(client: &mut TcpStream, end: Instant) -> io::Result<u64> {
    let mut message = [0x55; MESSAGE_BYTES];
    let mut round_trips = 0;
    while Instant::now() < end {
        client.write_all(&message)?;
        client.read_exact(&mut message)?;
        round_trips += 1;
    }
    Ok(round_trips)
}

/// On a thread of its own, which ends with the stream.
fn send_back(mut pod: TcpStream) {
    thread::spawn(move || {
        let mut message = [0; MESSAGE_BYTES];
        while pod.read_exact(&mut message).is_ok() && pod.write_all(&message).is_ok() {}
    });
}
