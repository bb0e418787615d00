//! A session of the broker, from the request to its end: the part that knows HTTP, the directory and the registry.
//!
//! The first upstream is dialled before the client gets its 101, so that what fails until then is an ordinary answer,
//! and the subprotocol that the client is told is the one that the worker chose.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::Next;
use super::call::{Call, no_response};
use super::close::{self, Close};
use super::context::{Context, Counted};
use super::exchange::{self, INTERIM_MAX, too_many_interim};
use super::inbox::Inbox;
use super::stream::millis;
use crate::broker::session::{End, Failed};
use crate::broker::{self, Frame, Host, Parts};
use crate::config::{BrokerConfig, DialConfig, HostHeader};
use crate::directory::LocateError;
use crate::drain::Phase;
use crate::error::Failure;
use crate::http::offer::Offer;
use crate::http::parse::ResponseContext;
use crate::http::upgrade::{Upgrade, UpgradeError};
use crate::http::{HeadLimits, RequestHead, ResponseHead};
use crate::route::Mode;
use crate::sys::{ChunkSize, Socket};
use crate::tunnel::live::{AdmitError, Caps, Direction};
use crate::tunnel::{Engine, Reason, StreamGuard};
use crate::upstream::{self, DialOutcome};

/// How much of a refusal's body is searched for the words that say why.
const REFUSAL_BYTES_MAX: usize = 4 << 10;

/// How often a session whose sandbox is on its way is looked after, before a drain ends it.
const MIGRATION_LOOK: Duration = Duration::from_millis(100);

/// The part of the drain's time over which sessions are ended; the rest is for their goodbyes.
const DRAIN_SHARE: f64 = 0.8;

/// An established session: everything but the client's socket.
pub(super) struct Opened {
    upstream: Inbox,
    stream: StreamGuard,
    offer: Offer,
    protocol: Option<Vec<u8>>,
    marks_exit: bool,
    route: Option<usize>,
    request_id: String,
}

/// Opens a session.
pub(super) async fn open(client: &mut Inbox, mut call: Call<'_>, upgrade: &Upgrade) -> Result<Next, Failure> {
    let (marks_exit, route) = match call.target.mode {
        Mode::Broker { marks_exit, route } => (marks_exit, route),
        Mode::Stream => unreachable!("a stream is no session"),
    };
    let config = call.context.config();
    let lives = config.broker_of(route);
    let live = &call.context.shared.live;
    let caps = Caps {
        per_client: lives.per_client_max,
        per_sandbox: config.stream.per_sandbox_max,
        counted_with: route.map_or(0, |index| index + 1),
    };
    let permit = match live.admit_session(call.client_address(), &call.target.sandbox, caps) {
        Ok(permit) => permit,
        Err(AdmitError::Client(limit)) => return turn_away(client, &mut call, upgrade, limit).await,
        Err(error @ AdmitError::Sandbox(_)) => return Err(error.into()),
    };
    let head = call.request_bytes(true);
    let offer = Offer::new(&head, config.http.host_header == HostHeader::Endpoint);
    let (mut upstream, lease) = call.dial(None).await?;
    let shaking = shake(&mut upstream, &offer, call.endpoint(), &call.context.limits);
    let timed = tokio::time::timeout(lives.handshake_timeout, shaking);
    let answer = tokio::select! {
        answer = timed => answer.unwrap_or(Err(Failure::UpstreamTimeout))?,
        () = lease.ended() => return Err(call.left(&upstream).await),
        () = client.socket.gone() => {
            call.account.cut(exchange::CLIENT_GONE);
            return Ok(Next::Close(Close::Now));
        }
    };
    if answer.status() != 101 {
        return exchange::relay_refusal(answer, upstream, &client.socket, &mut call).await;
    }
    let protocol = chosen(&answer);
    if !offers(call.head, protocol.as_deref()) {
        return Err(Failure::ResponseUpgrade(UpgradeError::Accept));
    }
    call.account.answered(101);
    let stream = live.open(permit, call.context.index, call.account.client(), call.place(), Engine::Copy);
    stream.limit(lives.idle_timeout, lives.lifetime_max);
    // A sandbox that left the directory during the handshake had no session yet that could be closed.
    if let Err(error) = call.locate_again().await
        && error.is_gone()
    {
        return Err(error.into());
    }
    let out = switching(upgrade, protocol.as_deref(), call.account.request_id());
    let sending = tokio::time::timeout(close::ANSWER_TIMEOUT, client.socket.send_bytes(out));
    if !matches!(sending.await, Ok(Ok(_))) {
        call.account.cut(exchange::CLIENT_GONE);
        return Ok(Next::Close(Close::Now));
    }
    let request_id = call.account.request_id().to_owned();
    Ok(Next::Session(Box::new(Opened { upstream, stream, offer, protocol, marks_exit, route, request_id })))
}

/// Accepts a session too many and closes it: a browser shows a close code, and not an answer's status.
async fn turn_away(client: &Inbox, call: &mut Call<'_>, upgrade: &Upgrade, limit: u32) -> Result<Next, Failure> {
    let mut out = switching(upgrade, None, call.account.request_id());
    let reason = format!("Too many concurrent WebSocket connections (limit: {limit}).");
    broker::frame::Close::with_reason(1008, reason).append(None, &mut out);
    call.account.answered(101);
    call.context.shared.metrics.failure("too_many_streams");
    let sending = tokio::time::timeout(close::ANSWER_TIMEOUT, client.socket.send_bytes(out));
    let sent = matches!(sending.await, Ok(Ok(_)));
    Ok(Next::Close(if sent { Close::Linger } else { Close::Now }))
}

/// Runs a session to its end and accounts for it.
pub(super) async fn run(client: Socket, from_client: Vec<u8>, opened: Opened, context: Rc<Context>, counted: Counted) {
    let Opened { upstream, stream, offer, protocol, marks_exit, route, request_id } = opened;
    let numbers = context.config().broker_of(route);
    let (upstream, from_upstream) = upstream.into_parts();
    tune(&client, &context, true);
    tune(&upstream, &context, false);
    let host = Around {
        context: &context,
        stream: &stream,
        offer,
        protocol,
        numbers,
        request_id: &request_id,
        endpoint: RefCell::new(stream.endpoint()),
        migrating: Cell::new(false),
    };
    let metrics = context.shared.metrics.broker();
    metrics.opened();
    let parts = Parts { client, from_client, upstream, from_upstream, marks_exit };
    let report = broker::run(parts, numbers, &host).await;
    metrics.closed(report.end.label());
    tracing::info!(
        target: "broker",
        request_id,
        session = stream.id(),
        sandbox = %stream.sandbox(),
        client = %stream.client(),
        endpoint = %stream.endpoint(),
        bytes_up = stream.bytes(Direction::Up),
        bytes_down = stream.bytes(Direction::Down),
        redials = report.redials,
        duration_ms = millis(stream.age()),
        end = report.end.label(),
        code = report.close.code(),
        reason = report.close.reason(),
        "session closed"
    );
    drop(stream);
    drop(counted);
}

fn tune(socket: &Socket, context: &Context, is_client: bool) {
    let tuning = if is_client { &context.client_tuning } else { &context.upstream_tuning };
    if let Err(error) = tuning.apply(socket) {
        tracing::debug!(%error, "could not tune a session's socket");
    }
}

/// What a session works with.
struct Around<'a> {
    context: &'a Context,
    stream: &'a StreamGuard,
    offer: Offer,
    protocol: Option<Vec<u8>>,
    numbers: &'a BrokerConfig,
    request_id: &'a str,
    endpoint: RefCell<SocketAddr>,
    migrating: Cell<bool>,
}

impl Host for Around<'_> {
    async fn told(&self) -> End {
        loop {
            tokio::select! {
                told = self.stream.told() => {
                    if let crate::tunnel::live::Told::Close(reason) = told {
                        return end_of(reason);
                    }
                }
                () = self.drained() => return End::Drain,
            }
        }
    }

    async fn dial(&self) -> Result<(Socket, Vec<u8>), Failed> {
        let shared = &self.context.shared;
        let metrics = shared.metrics.broker();
        let stage = metrics.redials("turn");
        let Ok(_turn) = self.context.dials.acquire().await else { return Err(Failed::Other) };
        drop(stage);
        // Behind the wait for a turn, which may have been long.
        let stage = metrics.redials("lookup");
        let located = shared.directory.locate_afresh(self.stream.sandbox()).await.map_err(|error| match error {
            LocateError::NotFound => Failed::NotFound,
            LocateError::Stopped | LocateError::NotRunning(_) => Failed::Stopped,
            LocateError::Migrating => Failed::Migrating,
            _ => Failed::Other,
        })?;
        drop(stage);
        let _stage = metrics.redials("handshake");
        let endpoint = located.endpoint.address();
        *self.endpoint.borrow_mut() = endpoint;
        let once = DialConfig { attempts: 1, ..self.context.config().upstream.dial };
        let observe = |outcome: DialOutcome, time| shared.metrics.dial(outcome.label(), time);
        let handshake = async {
            let any_port = std::iter::empty();
            let socket = match upstream::dial(&self.context.driver, endpoint, any_port, None, &once, observe).await {
                Ok(socket) => socket,
                Err(error) => {
                    if error.host_is_gone() {
                        shared.directory.evict(self.stream.sandbox(), located.endpoint);
                    }
                    return Err(Failed::Other);
                }
            };
            self.opened(Inbox::new(socket), endpoint).await
        };
        let handshake = tokio::time::timeout(self.numbers.handshake_timeout, handshake);
        let (socket, behind) = handshake.await.unwrap_or(Err(Failed::Other))?;
        tune(&socket, self.context, false);
        self.stream.set_endpoint(endpoint);
        Ok((socket, behind))
    }

    fn moved(&self, up: bool, bytes: usize) {
        self.stream.moved(if up { Direction::Up } else { Direction::Down }, bytes);
    }

    fn frame(&self, frame: Frame) {
        let metrics = self.context.shared.metrics.broker();
        match frame {
            Frame::Up => metrics.frame("up"),
            Frame::Down => metrics.frame("down"),
            Frame::Held => metrics.held(),
            Frame::Dropped => metrics.dropped(),
        }
    }

    fn kept_alive(&self) {
        self.context.shared.metrics.broker().kept_alive();
    }

    fn redialled(&self, outcome: Result<(), Failed>, attempts: u32, took: Duration) {
        let outcome = outcome.map_or_else(Failed::label, |()| "resumed");
        self.context.shared.metrics.broker().redialled(outcome, took);
        tracing::info!(
            target: "broker",
            request_id = self.request_id,
            session = self.stream.id(),
            sandbox = %self.stream.sandbox(),
            endpoint = %self.endpoint.borrow(),
            attempts,
            took_ms = millis(took),
            outcome,
            "redial"
        );
    }

    fn migrates(&self, migrates: bool) {
        self.migrating.set(migrates);
    }
}

impl Around<'_> {
    /// The worker's answer to the same offer as before.
    async fn opened(&self, mut upstream: Inbox, endpoint: SocketAddr) -> Result<(Socket, Vec<u8>), Failed> {
        let answer = shake(&mut upstream, &self.offer, endpoint, &self.context.limits).await;
        let answer = answer.map_err(|_| Failed::Other)?;
        match answer.status() {
            101 if chosen(&answer) == self.protocol => Ok(upstream.into_parts()),
            101 => Err(Failed::Subprotocol),
            410 => Err(Failed::Stopped),
            404 => Err(if says(&mut upstream, b"stopped").await { Failed::Stopped } else { Failed::NotFound }),
            503 if says(&mut upstream, b"migrating").await => Err(Failed::Migrating),
            _ => Err(Failed::Other),
        }
    }

    /// Waits for this session's turn in a drain: all of them at once would come back at once, to one instance. A
    /// sandbox on its way to another host is let arrive first.
    async fn drained(&self) {
        self.context.shared.drain.reached(Phase::Draining).await;
        let window = self.context.config().drain_timeout.mul_f64(DRAIN_SHARE);
        tokio::time::sleep(window.mul_f64(rand::random())).await;
        while self.migrating.get() || self.is_migrating().await {
            tokio::time::sleep(MIGRATION_LOOK).await;
        }
    }

    /// Whether the directory says that the sandbox is on its way.
    async fn is_migrating(&self) -> bool {
        let located = self.context.shared.directory.locate(self.stream.sandbox()).await;
        located == Err(LocateError::Migrating)
    }
}

fn end_of(reason: Reason) -> End {
    match reason {
        Reason::SandboxGone => End::SandboxStopped,
        Reason::Idle => End::Idle,
        Reason::Lifetime => End::Lifetime,
        Reason::Drain => End::Drain,
        _ => End::Operator,
    }
}

/// Sends the offer and reads the answer's head, which proves that it is one if it is a 101.
async fn shake(
    upstream: &mut Inbox,
    offer: &Offer,
    endpoint: SocketAddr,
    limits: &HeadLimits,
) -> Result<ResponseHead, Failure> {
    let (asked, key) = Upgrade::own(rand::random());
    upstream.socket.send_bytes(offer.request(endpoint, &key)).await.map_err(Failure::UpstreamEnded)?;
    let context = ResponseContext { head: false, upgrade: true };
    for _ in 0..INTERIM_MAX {
        let head = upstream.response_head(context, limits).await.map_err(no_response)?;
        if head.status() == 101 {
            asked.accepted_by(&head).map_err(Failure::ResponseUpgrade)?;
            // Nothing was offered (RFC 6455 section 4.1).
            if head.values("sec-websocket-extensions").next().is_some() {
                return Err(Failure::ResponseUpgrade(UpgradeError::Accept));
            }
            return Ok(head);
        }
        if !head.is_interim() {
            return Ok(head);
        }
    }
    Err(too_many_interim())
}

/// The subprotocol that a worker chose.
fn chosen(answer: &ResponseHead) -> Option<Vec<u8>> {
    answer.values("sec-websocket-protocol").next().map(<[u8]>::to_vec)
}

/// Whether the client has offered what was chosen.
fn offers(head: &RequestHead, protocol: Option<&[u8]>) -> bool {
    protocol.is_none_or(|protocol| {
        let offered = head.values("sec-websocket-protocol").flat_map(|list| list.split(|byte| *byte == b','));
        offered.map(<[u8]>::trim_ascii).any(|offered| offered == protocol)
    })
}

/// Whether a refusal's body has a word, in whatever case.
async fn says(upstream: &mut Inbox, word: &[u8]) -> bool {
    loop {
        if upstream.bytes().windows(word.len()).any(|window| window.eq_ignore_ascii_case(word)) {
            return true;
        }
        if upstream.bytes().len() > REFUSAL_BYTES_MAX {
            return false;
        }
        // The refusal is all that was asked for: its end is the connection's, or the handshake's time is over.
        match upstream.socket.recv(ChunkSize::Small).await {
            Ok(Some(chunk)) => upstream.keep(&chunk),
            Ok(None) | Err(_) => return false,
        }
    }
}

/// Our 101.
fn switching(upgrade: &Upgrade, protocol: Option<&[u8]>, request_id: &str) -> Vec<u8> {
    let mut out = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".to_vec();
    out.extend_from_slice(b"Sec-WebSocket-Accept: ");
    out.extend_from_slice(&upgrade.accept());
    if let Some(protocol) = protocol {
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(protocol);
    }
    out.extend_from_slice(b"\r\nX-Request-Id: ");
    out.extend_from_slice(request_id.as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    out
}
