//! A pod that does as it is told: it answers by a script, and keeps every byte that it was sent.

mod connection;
mod gate;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};

use crate::wire::{Head, Received};

pub use connection::{Connection, switching};
pub use gate::Gate;

/// What a pod does with a request. An error ends the connection, as a peer that left does.
type Script = dyn Fn(&Head, &mut Connection) -> Result<()> + Send + Sync;

/// A server on a loopback port. Dropping it ends its connections.
#[derive(Debug)]
pub struct Pod {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// The address of a pod that refuses connections until it listens.
#[derive(Debug)]
pub struct Absent {
    socket: Socket,
    address: SocketAddr,
}

/// What one connection has brought so far.
#[derive(Debug, Clone, Default)]
pub struct Record {
    bytes: Arc<Mutex<Vec<u8>>>,
    requests: Arc<Mutex<Vec<Head>>>,
    is_over: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Shared {
    records: Mutex<Vec<Record>>,
    /// Not owned here, so that a connection ends as soon as its own thread lets go of it.
    streams: Mutex<Vec<Weak<TcpStream>>>,
    is_stopping: AtomicBool,
}

impl Pod {
    /// A pod that runs `script` for each request. What the script leaves of the request's body is read and dropped.
    pub fn start(script: impl Fn(&Head, &mut Connection) -> Result<()> + Send + Sync + 'static) -> Result<Self> {
        Absent::new()?.listen(script)
    }

    /// A pod that reads each request whole and answers with the same bytes.
    pub fn answering(response: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self> {
        Self::start(move |request, connection| {
            connection.body(request)?;
            connection.send(response.as_ref())
        })
    }

    /// A pod that accepts every upgrade and sends back what the stream brings; other requests get a 404.
    pub fn echoing() -> Result<Self> {
        Self::start(|request, connection| {
            if request.field("upgrade").is_none() {
                return connection.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            }
            connection.switch(request)?;
            connection.echo()
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its connections in the order in which they were accepted.
    pub fn connections(&self) -> Vec<Record> {
        locked(&self.shared.records).clone()
    }

    /// How many of its connections have not ended yet.
    pub fn open(&self) -> usize {
        self.connections().iter().filter(|record| !record.is_over()).count()
    }

    /// The heads of all requests, connection by connection.
    pub fn requests(&self) -> Vec<Head> {
        self.connections().iter().flat_map(Record::requests).collect()
    }

    /// All bytes of all connections, one behind the other.
    pub fn received(&self) -> Vec<u8> {
        self.connections().iter().flat_map(Record::bytes).collect()
    }
}

impl Absent {
    /// Takes a port without listening on it: the kernel refuses connections to it, and gives it to nobody else.
    pub fn new() -> Result<Self> {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// The same at a given address of this machine.
    pub fn at(address: SocketAddr) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&address.into())?;
        let address = socket.local_addr()?.as_socket().context("an address of IP")?;
        Ok(Self { socket, address })
    }

    /// Where the pod will listen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to listen.
    pub fn listen(self, script: impl Fn(&Head, &mut Connection) -> Result<()> + Send + Sync + 'static) -> Result<Pod> {
        const BACKLOG: i32 = 128;
        self.socket.listen(BACKLOG)?;
        let shared = Arc::new(Shared::default());
        let accepting = {
            let shared = Arc::clone(&shared);
            let listener = TcpListener::from(self.socket);
            let script: Arc<Script> = Arc::new(script);
            std::thread::spawn(move || accept(&listener, &shared, &script))
        };
        Ok(Pod { address: self.address, shared, accepting: Some(accepting) })
    }
}

impl Record {
    /// Every byte that came, up to 1 MiB.
    pub fn bytes(&self) -> Vec<u8> {
        locked(&self.bytes).clone()
    }

    /// The heads of the requests that began on it.
    pub fn requests(&self) -> Vec<Head> {
        locked(&self.requests).clone()
    }

    /// Whether it has ended, and its script with it.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        for stream in locked(&self.shared.streams).drain(..).filter_map(|stream| stream.upgrade()) {
            // One that has ended by itself is what is wanted.
            let _over = stream.shutdown(std::net::Shutdown::Both).is_err();
        }
        // Wakes the thread that waits in accept(2).
        let _listening = TcpStream::connect(self.address).is_ok();
        if let Some(Err(_)) = self.accepting.take().map(JoinHandle::join) {
            eprintln!("the pod at {} panicked", self.address);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Shared, script: &Arc<Script>) {
    for stream in listener.incoming().map_while(Result::ok) {
        if shared.is_stopping.load(Ordering::Acquire) {
            return;
        }
        let stream = Arc::new(stream);
        locked(&shared.streams).push(Arc::downgrade(&stream));
        let record = Record::default();
        locked(&shared.records).push(record.clone());
        let script = Arc::clone(script);
        std::thread::spawn(move || {
            // An error is how a script learns that its peer left, so a story judges by what was recorded.
            if let Err(error) = serve(stream, &record, &*script) {
                eprintln!("a pod's connection ended: {error:#}");
            }
            record.is_over.store(true, Ordering::Release);
        });
    }
}

fn serve(stream: Arc<TcpStream>, record: &Record, script: &Script) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = Connection::new(Received::new(stream)?.record(Arc::clone(&record.bytes)));
    while let Some(request) = connection.request()? {
        locked(&record.requests).push(request.clone());
        script(&request, &mut connection)?;
        if connection.is_closing() {
            break;
        }
        connection.body(&request)?;
    }
    Ok(())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics while it holds what a pod records")
}
