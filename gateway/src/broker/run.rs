//! A session's sockets, clocks and dials: what carries out the steps that `session` decides.
//!
//! Two directions run beside each other in one task. The one from the client lasts as long as the session; the other
//! belongs to an upstream, and between two of them there is a wait and a dial in its place. Neither holds a buffer
//! while it waits for bytes.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::frame::{self, Close, Event, Relay};
use super::outbox::Outbox;
use super::session::{End, Failed, Input, Session, Step};
use crate::config::{BrokerConfig, KeepaliveFrame};
use crate::sys::{ChunkSize, Socket};

/// How long the last words to a peer may take to leave, and how long its answer is waited for.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a session asks of the gateway around it.
pub trait Host {
    /// Waits until the gateway wants the session to end.
    fn told(&self) -> impl Future<Output = End>;

    /// Resolves the sandbox afresh and makes a WebSocket to it: the socket, and what it sent behind its 101.
    fn dial(&self) -> impl Future<Output = Result<(Socket, Vec<u8>), Failed>>;

    /// Data was passed on, in bytes.
    fn moved(&self, up: bool, bytes: usize);

    /// A frame of data came, which may have been dropped.
    fn frame(&self, up: bool, dropped: bool);

    /// A sign of life was asked for.
    fn kept_alive(&self);

    /// An attempt to redial came to this; `took` is the time since the upstream was lost.
    fn redialled(&self, outcome: Result<(), Failed>, attempts: u32, took: Duration);

    /// The directory or a worker says that the sandbox is on its way to another host, or not any more.
    fn migrates(&self, migrates: bool);
}

/// An established session.
pub struct Parts {
    /// The client's connection, behind our 101.
    pub client: Socket,
    /// What the client sent behind its request.
    pub from_client: Vec<u8>,
    /// The first upstream, behind its 101.
    pub upstream: Socket,
    /// What it sent behind its 101.
    pub from_upstream: Vec<u8>,
    /// The worker's frame of completion means something here.
    pub marks_exit: bool,
}

/// What a session came to.
#[derive(Debug)]
pub struct Report {
    /// Why it ended.
    pub end: End,
    /// What the client was told.
    pub close: Close,
    /// How many redial cycles it has had.
    pub redials: u32,
}

type Over = (End, Close);

/// What the directions share.
struct Shared<'a, H> {
    host: &'a H,
    config: &'a BrokerConfig,
    client: Outbox,
    upstream: RefCell<Option<Rc<Outbox>>>,
    up: RefCell<Relay>,
    session: RefCell<Session>,
    redials: Cell<u32>,
    /// Whether a side was heard since it was last asked: first the client, then the upstream.
    heard: [Cell<bool>; 2],
    /// The client has a part of a message from upstream.
    amid_message: Cell<bool>,
}

/// Runs a session to its end.
pub async fn run<H: Host>(parts: Parts, config: &BrokerConfig, host: &H) -> Report {
    let Parts { client, from_client, upstream, from_upstream, marks_exit } = parts;
    let shared = Shared {
        host,
        config,
        client: Outbox::new(client),
        upstream: RefCell::new(Some(Rc::new(Outbox::new(upstream)))),
        up: RefCell::new(Relay::new(true, config.message_bytes_max as u64)),
        session: RefCell::new(Session::new(marks_exit)),
        redials: Cell::new(0),
        heard: [Cell::new(true), Cell::new(true)],
        amid_message: Cell::new(false),
    };
    let (end, close) = {
        let mut from_client = pin!(shared.read_client(from_client));
        let mut link = pin!(shared.link(from_upstream));
        let mut keepalive = pin!(shared.keep_alive());
        tokio::select! {
            biased;
            end = host.told() => shared.ends(Input::Told(end)),
            over = &mut from_client => over,
            over = &mut link => over,
            over = &mut keepalive => over,
        }
    };
    shared.say_goodbye(&close).await;
    Report { end, close, redials: shared.redials.get() }
}

impl<H: Host> Shared<'_, H> {
    fn on(&self, input: Input) -> Step {
        self.session.borrow_mut().on(input, self.config, Instant::now(), rand::random())
    }

    /// The end that `input` makes, whatever the state.
    fn ends(&self, input: Input) -> Over {
        match self.on(input) {
            Step::End(end, close) => (end, close),
            step => unreachable!("{step:?} in place of an end"),
        }
    }

    /// Moves frames from the client to whatever upstream there is, until the client leaves.
    async fn read_client(&self, behind: Vec<u8>) -> Over {
        if let Some(over) = self.client_bytes(&behind).await {
            return over;
        }
        drop(behind);
        let mut size = ChunkSize::Small;
        loop {
            match self.client.socket.recv(size).await {
                Ok(Some(chunk)) => {
                    size = chunk.next_size();
                    if let Some(over) = self.client_bytes(&chunk).await {
                        return over;
                    }
                }
                Ok(None) | Err(_) => return self.ends(Input::ClientClosed(None)),
            }
        }
    }

    async fn client_bytes(&self, bytes: &[u8]) -> Option<Over> {
        self.heard[0].set(true);
        let mut rest = bytes;
        let mut out = Vec::new();
        while !rest.is_empty() {
            let taken = self.up.borrow_mut().take(rest, &mut rand::random, &mut out);
            let (used, event) = match taken {
                Ok(taken) => taken,
                Err(error) => return Some(self.ends(Input::Broken(error))),
            };
            rest = &rest[used..];
            match event {
                None | Some(Event::Pong) => {}
                Some(Event::Data(_)) => self.host.frame(true, self.upstream.borrow().is_none()),
                Some(Event::Ping(payload)) => {
                    let mut pong = Vec::new();
                    frame::append(OpCode::Control(Control::Pong), &payload, None, &mut pong);
                    if self.client.control(&pong).await.is_err() {
                        return Some(self.ends(Input::ClientClosed(None)));
                    }
                }
                Some(Event::Close(close)) => {
                    self.send_up(std::mem::take(&mut out)).await;
                    return Some(self.ends(Input::ClientClosed(Some(close))));
                }
            }
        }
        self.send_up(out).await;
        None
    }

    /// Sends frames to the upstream. One that is lost on the way is noticed where the upstream is read.
    async fn send_up(&self, frames: Vec<u8>) {
        let upstream = self.upstream.borrow().clone();
        let Some(upstream) = upstream.filter(|_| !frames.is_empty()) else { return };
        let bytes = frames.len();
        match upstream.data(frames).await {
            Ok(()) => self.host.moved(true, bytes),
            Err(_) => shut(&upstream.socket),
        }
    }

    /// Reads one upstream after another, until a loss is the end.
    async fn link(&self, mut behind: Vec<u8>) -> Over {
        loop {
            let upstream = self.upstream.borrow().clone().expect("an upstream is linked here");
            if let Some(over) = self.read_upstream(&upstream, std::mem::take(&mut behind)).await {
                return over;
            }
            // Whoever is still sending to it finds it closed.
            shut(&upstream.socket);
            drop(upstream);
            *self.upstream.borrow_mut() = None;
            self.up.borrow_mut().set_bound(false);
            let lost = Instant::now();
            let mut step = self.on(Input::UpstreamLost { amid_message: self.amid_message.get() });
            self.redials.set(self.redials.get() + u32::from(matches!(step, Step::Wait(_))));
            loop {
                step = match step {
                    Step::Wait(wait) => {
                        tokio::time::sleep(wait).await;
                        self.on(Input::Waited)
                    }
                    Step::Dial => self.redial(lost, &mut behind).await,
                    Step::End(end, close) => return (end, close),
                    Step::Resume | Step::Continue => break,
                };
            }
        }
    }

    async fn redial(&self, lost: Instant, behind: &mut Vec<u8>) -> Step {
        let dialled = self.host.dial().await;
        let attempts = self.session.borrow().attempts();
        self.host.redialled(dialled.as_ref().map(drop).map_err(|failed| *failed), attempts, lost.elapsed());
        match dialled {
            Ok((socket, bytes)) => {
                *behind = bytes;
                self.heard[1].set(true);
                self.amid_message.set(false);
                *self.upstream.borrow_mut() = Some(Rc::new(Outbox::new(socket)));
                self.up.borrow_mut().set_bound(true);
                self.host.migrates(false);
                self.on(Input::Dialled)
            }
            Err(failed) => {
                self.host.migrates(failed == Failed::Migrating);
                self.on(Input::DialFailed(failed))
            }
        }
    }

    /// Moves frames from an upstream to the client. `None` when the upstream is lost.
    async fn read_upstream(&self, upstream: &Outbox, behind: Vec<u8>) -> Option<Over> {
        let mut down = Relay::new(false, self.config.message_bytes_max as u64);
        match self.upstream_bytes(&mut down, upstream, &behind).await {
            Passed::On => {}
            Passed::Lost => return None,
            Passed::Over(over) => return Some(over),
        }
        drop(behind);
        let mut size = ChunkSize::Small;
        loop {
            let Ok(Some(chunk)) = upstream.socket.recv(size).await else { return None };
            size = chunk.next_size();
            match self.upstream_bytes(&mut down, upstream, &chunk).await {
                Passed::On => {}
                Passed::Lost => return None,
                Passed::Over(over) => return Some(over),
            }
        }
    }

    async fn upstream_bytes(&self, down: &mut Relay, upstream: &Outbox, bytes: &[u8]) -> Passed {
        self.heard[1].set(true);
        let mut rest = bytes;
        let mut out = Vec::new();
        let mut closed = false;
        while !rest.is_empty() && !closed {
            let (used, event) = match down.take(rest, &mut rand::random, &mut out) {
                Ok(taken) => taken,
                Err(error) => return Passed::Over(self.ends(Input::Broken(error))),
            };
            rest = &rest[used..];
            match event {
                None | Some(Event::Pong) => {}
                Some(Event::Data(exit)) => {
                    self.host.frame(false, false);
                    if exit.is_some() {
                        let step = self.on(Input::Exited);
                        debug_assert_eq!(step, Step::Continue);
                    }
                }
                Some(Event::Ping(payload)) => {
                    let mut pong = Vec::new();
                    frame::append(OpCode::Control(Control::Pong), &payload, Some(rand::random()), &mut pong);
                    if upstream.control(&pong).await.is_err() {
                        closed = true;
                    }
                }
                Some(Event::Close(close)) => {
                    let mut answer = Vec::new();
                    close.append(Some(rand::random()), &mut answer);
                    // It is going in any case.
                    let _gone = upstream.control(&answer).await.is_err();
                    closed = true;
                }
            }
        }
        self.amid_message.set(down.is_amid_message());
        let bytes = out.len();
        if bytes > 0 {
            if self.client.data(out).await.is_err() {
                return Passed::Over(self.ends(Input::ClientClosed(None)));
            }
            self.host.moved(false, bytes);
        }
        if closed { Passed::Lost } else { Passed::On }
    }

    /// Asks both sides for a sign of life, again and again. A side that has sent nothing since it was last asked is
    /// gone: the client's end ends the session, the upstream's is a loss like any other.
    async fn keep_alive(&self) -> Over {
        if self.config.keepalive.is_zero() {
            std::future::pending::<()>().await;
        }
        let pings = self.config.keepalive_frame == KeepaliveFrame::Ping;
        loop {
            tokio::time::sleep(self.config.keepalive).await;
            let upstream = self.upstream.borrow().clone();
            if pings && !self.heard[0].replace(false) {
                return self.ends(Input::Told(End::ClientSilent));
            }
            if let Some(upstream) = upstream {
                let silent = pings && !self.heard[1].replace(false);
                let amid = self.up.borrow().is_amid_message();
                if silent || self.ask(&upstream, true, amid).await.is_err() {
                    shut(&upstream.socket);
                }
            }
            if self.ask(&self.client, false, self.amid_message.get()).await.is_err() {
                return self.ends(Input::ClientClosed(None));
            }
        }
    }

    async fn ask(&self, peer: &Outbox, masked: bool, amid_message: bool) -> io::Result<()> {
        let opcode = match self.config.keepalive_frame {
            KeepaliveFrame::Ping => OpCode::Control(Control::Ping),
            // Between two fragments it would begin a message within a message; the fragments keep the way warm.
            KeepaliveFrame::Empty if amid_message => return Ok(()),
            KeepaliveFrame::Empty => OpCode::Data(Data::Binary),
        };
        let mut asked = Vec::new();
        frame::append(opcode, &[], masked.then(rand::random), &mut asked);
        self.host.kept_alive();
        peer.control(&asked).await
    }

    /// Tells both sides how the session ended, and lets the client read it.
    async fn say_goodbye(&self, close: &Close) {
        let client = async {
            if self.client.is_torn() {
                return self.client.socket.reset_on_close();
            }
            let mut out = Vec::new();
            close.append(None, &mut out);
            if self.client.data(out).await.is_err() || self.client.socket.shutdown_write().is_err() {
                return;
            }
            // A socket that is closed with unread bytes resets the connection, and the close is lost with it.
            while matches!(self.client.socket.recv(ChunkSize::Small).await, Ok(Some(_))) {}
        };
        let upstream = self.upstream.borrow().clone();
        let upstream = async {
            let Some(upstream) = upstream.filter(|upstream| !upstream.is_torn()) else { return };
            let mut out = Vec::new();
            close.append(Some(rand::random()), &mut out);
            if upstream.data(out).await.is_ok() {
                // The pod may have closed first.
                let _ended_already = upstream.socket.shutdown_write().is_err();
            }
        };
        let both = async { tokio::join!(client, upstream) };
        // Whoever takes longer has had its chance.
        let _in_time = tokio::time::timeout(GOODBYE_TIMEOUT, both).await.is_ok();
    }
}

/// What came of an upstream's bytes.
enum Passed {
    On,
    Lost,
    Over(Over),
}

/// Ends a connection under whoever uses it.
fn shut(socket: &Socket) {
    socket.shutdown_read();
    // It may have ended by itself.
    let _ended_already = socket.shutdown_write().is_err();
}
