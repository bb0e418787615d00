//! A session's sockets, clocks and dials: what carries out the steps that `session` decides.
//!
//! Two directions run beside each other in one task. The one from the client lasts as long as the session; the other
//! belongs to an upstream, and between two of them there is a wait and a dial in its place. Neither holds a buffer
//! while it waits for bytes.

mod client;
mod farewell;
mod keepalive;
mod upstream;

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::frame::{Close, Relay};
use super::held::Held;
use super::outbox::Outbox;
use super::session::{End, Failed, Input, Session, Step};
use crate::config::{BrokerConfig, OnRedial};
use crate::sys::Socket;

/// What a session asks of the gateway around it.
pub trait Host {
    /// Waits until the gateway wants the session to end.
    fn told(&self) -> impl Future<Output = End>;

    /// Resolves the sandbox afresh and makes a WebSocket to it: the socket, and what it sent behind its 101.
    fn dial(&self) -> impl Future<Output = Result<(Socket, Vec<u8>), Failed>>;

    /// Data was passed on, in bytes.
    fn moved(&self, up: bool, bytes: usize);

    /// A frame of data came.
    fn frame(&self, frame: Frame);

    /// A sign of life was asked for.
    fn kept_alive(&self);

    /// An attempt to redial came to this; `took` is the time since the upstream was lost.
    fn redialled(&self, outcome: Result<(), Failed>, attempts: u32, took: Duration);

    /// The directory or a worker says that the sandbox is on its way to another host, or not any more.
    fn migrates(&self, migrates: bool);
}

/// A frame of data, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// It goes from the client to the upstream.
    Up,
    /// It goes from the upstream to the client.
    Down,
    /// The client's, for an upstream that is not there yet.
    Held,
    /// The client's, for nobody.
    Dropped,
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
    /// Fires when there is an upstream again.
    linked: Notify,
    up: RefCell<Relay>,
    held: RefCell<Held>,
    session: RefCell<Session>,
    redials: Cell<u32>,
    sides: [Side; 2],
    /// The client has a part of a message from upstream.
    amid_message: Cell<bool>,
}

const CLIENT: usize = 0;
const UPSTREAM: usize = 1;

/// What is known of a side's life.
struct Side {
    /// It was heard since it was last asked.
    heard: Cell<bool>,
    /// What it has sent waits for the other side, and it is not read meanwhile: its silence says nothing.
    waits: Cell<bool>,
}

impl Default for Side {
    fn default() -> Self {
        Self { heard: Cell::new(true), waits: Cell::new(false) }
    }
}

/// Runs a session to its end.
pub async fn run<H: Host>(parts: Parts, config: &BrokerConfig, host: &H) -> Report {
    let Parts { client, from_client, upstream, from_upstream, marks_exit } = parts;
    let shared = Shared {
        host,
        config,
        client: Outbox::new(client, Vec::new()),
        upstream: RefCell::new(Some(Rc::new(Outbox::new(upstream, Vec::new())))),
        linked: Notify::new(),
        up: RefCell::new(Relay::new(true, config.message_bytes_max as u64)),
        held: RefCell::new(Held::new(config.redial_buffer_bytes_max)),
        session: RefCell::new(Session::new(marks_exit)),
        redials: Cell::new(0),
        sides: Default::default(),
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

    fn holds(&self) -> bool {
        self.config.on_redial == OnRedial::Buffer
    }

    /// Reads one upstream after another, until a loss is the end.
    async fn link(&self, mut behind: Vec<u8>) -> Over {
        loop {
            let upstream = self.upstream.borrow().clone().expect("an upstream is linked here");
            let first = async {
                // What was held for it goes beside the reading: a worker may want to speak before it listens.
                if upstream.data(Vec::new()).await.is_err() {
                    shut(&upstream.socket);
                }
                std::future::pending::<()>().await;
            };
            let over = tokio::select! {
                biased;
                over = self.read_upstream(&upstream, std::mem::take(&mut behind)) => over,
                () = first => unreachable!("it never ends"),
            };
            if let Some(over) = over {
                return over;
            }
            // Whoever is still sending to it finds it closed.
            shut(&upstream.socket);
            drop(upstream);
            *self.upstream.borrow_mut() = None;
            self.up.borrow_mut().unlink(self.holds());
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
                self.sides[UPSTREAM].heard.set(true);
                self.amid_message.set(false);
                let held = self.held.borrow_mut().release();
                self.host.moved(true, held.len());
                *self.upstream.borrow_mut() = Some(Rc::new(Outbox::new(socket, held)));
                self.up.borrow_mut().link();
                self.linked.notify_waiters();
                self.host.migrates(false);
                self.on(Input::Dialled)
            }
            Err(failed) => {
                self.host.migrates(failed == Failed::Migrating);
                self.on(Input::DialFailed(failed))
            }
        }
    }
}

/// Ends a connection under whoever uses it.
fn shut(socket: &Socket) {
    socket.shutdown_read();
    // It may have ended by itself.
    let _ended_already = socket.shutdown_write().is_err();
}
