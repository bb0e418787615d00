//! A small DNS server on loopback that answers for the names it is told about, over UDP (RFC 1035 section 4).

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

/// How often the server looks whether it is to end.
const TICK: Duration = Duration::from_millis(50);

/// Header and question of a query are no longer than this where names are at most 255 bytes.
const QUERY_BYTES_MAX: usize = 512;

const TYPE_A: u16 = 1;
const RESPONSE: u16 = 0x8400;
const NAME_ERROR: u16 = 3;

/// A running server. Dropping it ends it.
pub struct Dns {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// By name in lower case without the last dot: the address and its time to live in seconds.
    names: Mutex<HashMap<String, (Ipv4Addr, u32)>>,
    asked: Mutex<Vec<String>>,
    ends: AtomicBool,
    silent: AtomicBool,
}

impl Dns {
    /// A server that knows no name yet.
    pub fn start() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").context("bind a DNS server")?;
        socket.set_read_timeout(Some(TICK)).context("set its tick")?;
        let address = socket.local_addr()?;
        let state = Arc::new(State::default());
        let served = Arc::clone(&state);
        let thread = std::thread::spawn(move || serve(&socket, &served));
        Ok(Self { address, state, thread: Some(thread) })
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `name` has this address, for `ttl` seconds each time it is asked for.
    pub fn set(&self, name: &str, address: Ipv4Addr, ttl: u32) {
        self.state.names.lock().expect("no thread panics with it").insert(name.to_owned(), (address, ttl));
    }

    /// From now on nobody has this name.
    pub fn remove(&self, name: &str) {
        self.state.names.lock().expect("no thread panics with it").remove(name);
    }

    /// From now on it answers nothing, or answers again.
    pub fn silence(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::SeqCst);
    }

    /// How often the address of `name` was asked for.
    pub fn asked(&self, name: &str) -> usize {
        self.state.asked.lock().expect("no thread panics with it").iter().filter(|asked| *asked == name).count()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.state.ends.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A server that panicked has failed its story already.
            let _ended = thread.join().is_ok();
        }
    }
}

fn serve(socket: &UdpSocket, state: &State) {
    let mut query = [0; QUERY_BYTES_MAX];
    while !state.ends.load(Ordering::SeqCst) {
        let Ok((length, client)) = socket.recv_from(&mut query) else { continue };
        if let Some(answer) = answer(&query[..length], state) {
            // A client that is gone needs no answer.
            let _sent = socket.send_to(&answer, client).is_ok();
        }
    }
}

/// The response to a query with one question.
fn answer(query: &[u8], state: &State) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let question = query.get(12..at + 4)?;
    let is_a = u16::from_be_bytes([query[at], query[at + 1]]) == TYPE_A;
    let name = labels.join(".");
    if is_a {
        state.asked.lock().expect("no thread panics with it").push(name.clone());
    }
    if state.silent.load(Ordering::SeqCst) {
        return None;
    }
    let found = state.names.lock().expect("no thread panics with it").get(&name).copied();
    let record = found.filter(|_| is_a);
    let flags = if found.is_some() { RESPONSE } else { RESPONSE | NAME_ERROR };
    let mut out = query[..2].to_vec();
    for word in [flags, 1, u16::from(record.is_some()), 0, 0] {
        out.extend(word.to_be_bytes());
    }
    out.extend(question);
    if let Some((address, ttl)) = record {
        // The name is the one at byte 12 of the question; class IN; four bytes of address.
        out.extend([0xc0, 12, 0, 1, 0, 1]);
        out.extend(ttl.to_be_bytes());
        out.extend([0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}
