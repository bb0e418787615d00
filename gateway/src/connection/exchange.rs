//! An ordinary exchange: a request and its response, both streamed, in both directions at once.

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

use super::Next;
use super::call::{Call, no_response};
use super::close::Close;
use super::inbox::{Inbox, ReadHeadError};
use super::relay::{Patience, RelayError, relay};
use crate::drain::Phase;
use crate::error::Failure;
use crate::http::body::BodyReader;
use crate::http::parse::ResponseContext;
use crate::http::rewrite;
use crate::http::{ResponseHead, Version};
use crate::sys::Socket;
use crate::upstream::Lease;

/// Why an exchange was cut whose client left.
pub(super) const CLIENT_GONE: &str = "client gone";

/// Why an exchange was cut whose sandbox is no more.
const SANDBOX_GONE: &str = "sandbox gone";

/// A client is watched only once its response is this late: most responses come sooner, and the watch costs a poll.
/// From then on its end of stream counts as leaving, since a closed tab says no more than that and must not hold its
/// pod; a client that only finished sending has this long to get its answer.
const WATCH_DELAY: Duration = Duration::from_secs(1);

/// How long an idle upstream connection is trusted with a request that cannot be sent twice. Servers close idle
/// connections after five seconds and more; a request that crosses such a close is lost.
const UNREPEATABLE_IDLE_MAX: Duration = Duration::from_secs(2);

/// Interim responses per request. More is a sandbox that never answers.
pub(super) const INTERIM_MAX: u32 = 16;

/// Why an exchange did not come to its end.
enum Broken {
    /// Nothing was sent to the client yet, so it can be told.
    Early(Failure),
    /// A kept connection turned out to be closed, before any byte of the response: the request may go out again.
    Stale(Failure),
    /// The response had begun. The client's connection ends, with what says that the response is not whole.
    Midway(&'static str, Close),
}

/// Carries out an exchange.
pub(super) async fn exchange(client: &mut Inbox, mut call: Call<'_>) -> Result<Next, Failure> {
    let repeatable = call.head.body().is_empty() && matches!(call.head.method(), "GET" | "HEAD" | "OPTIONS");
    let idle_max = if repeatable { Duration::MAX } else { UNREPEATABLE_IDLE_MAX };
    let key = call.pool_key();
    if let Some((kept, lease)) = call.context.pool.take(&key, idle_max) {
        call.account.dialled(key.endpoint);
        match converse(client, (Inbox::new(kept), lease), &mut call).await {
            Err(Broken::Stale(_)) if repeatable => {}
            done => return conclude(done, &mut call),
        }
    }
    let upstream = call.dial(None).await?;
    let done = converse(client, upstream, &mut call).await;
    conclude(done, &mut call)
}

fn conclude(done: Result<Next, Broken>, call: &mut Call<'_>) -> Result<Next, Failure> {
    match done {
        Ok(next) => Ok(next),
        Err(Broken::Early(failure) | Broken::Stale(failure)) => Err(failure),
        Err(Broken::Midway(cut, close)) => {
            call.account.cut(cut);
            Ok(Next::Close(close))
        }
    }
}

/// Sends the request and relays the response. Both bodies move at once: a sandbox may answer while it still reads.
async fn converse(
    client: &mut Inbox,
    (mut upstream, lease): (Inbox, Lease),
    call: &mut Call<'_>,
) -> Result<Next, Broken> {
    let http = &call.context.config().http;
    let patience = Patience { sender: http.body_timeout, receiver: http.body_timeout };
    let (to_client, to_upstream) = (client.socket.clone(), upstream.socket.clone());
    let response_timeout = call.response_timeout();
    let begun = Cell::new(false);
    let mut request_body = BodyReader::new(call.head.body());
    let request = call.request_bytes(false);
    let downloaded = {
        let mut upload = pin!(relay(request, client, &mut request_body, &to_upstream, patience));
        let mut download = pin!(download(&mut upstream, &to_client, call, &begun));
        let mut deadline = pin!(tokio::time::sleep(Duration::MAX));
        let mut watch = pin!(watch(&to_client));
        let mut uploaded = None;
        let downloaded = loop {
            tokio::select! {
                biased;
                downloaded = &mut download => break Some(downloaded?),
                sent = &mut upload, if uploaded.is_none() => {
                    uploaded = Some(after_upload(&sent, &begun)?);
                    deadline.as_mut().reset(Instant::now() + response_timeout);
                }
                () = &mut deadline, if uploaded.is_some() && !begun.get() => {
                    // Asked once more: the conditions of a select are looked at when it begins, and the response may
                    // have begun since.
                    if !begun.get() {
                        return Err(Broken::Early(Failure::UpstreamTimeout));
                    }
                }
                () = lease.ended() => break None,
                () = &mut watch, if uploaded.is_some() => return Err(Broken::Midway(CLIENT_GONE, Close::Now)),
            }
        };
        downloaded.map(|downloaded| downloaded.with_upload(uploaded.flatten()))
    };
    let Some(downloaded) = downloaded else {
        let failure = call.left(&upstream).await;
        return Err(if begun.get() { Broken::Midway(SANDBOX_GONE, Close::Reset) } else { Broken::Early(failure) });
    };
    call.account.answered(downloaded.status);
    call.account.bytes_up = downloaded.bytes_up.unwrap_or(0);
    call.account.bytes_down = downloaded.bytes_down;
    if downloaded.bytes_up.is_some() && downloaded.upstream_keeps && upstream.bytes().is_empty() {
        let socket = upstream.into_parts().0;
        call.context.pool.put(call.pool_key(), socket, lease, call.context.idle_max());
    }
    if downloaded.bytes_up.is_some() && downloaded.client_keeps {
        Ok(Next::Request)
    } else {
        Ok(Next::Close(Close::Linger))
    }
}

async fn watch(client: &Socket) {
    tokio::time::sleep(WATCH_DELAY).await;
    client.gone().await;
}

/// What the end of the upload means: the bytes sent, or `None` where the sandbox stopped reading and its answer is
/// waited for.
fn after_upload(sent: &Result<u64, RelayError>, begun: &Cell<bool>) -> Result<Option<u64>, Broken> {
    let failure = match sent {
        Ok(bytes) => return Ok(Some(*bytes)),
        Err(RelayError::Receiver | RelayError::ReceiverLate) => return Ok(None),
        Err(RelayError::Body(error)) => Failure::Body(*error),
        Err(RelayError::SenderLate) => Failure::BodyTimeout,
        Err(RelayError::Sender) => return Err(Broken::Midway(CLIENT_GONE, Close::Now)),
    };
    Err(if begun.get() { Broken::Midway("request body", Close::Linger) } else { Broken::Early(failure) })
}

/// A response that arrived whole.
struct Downloaded {
    status: u16,
    bytes_up: Option<u64>,
    bytes_down: u64,
    upstream_keeps: bool,
    client_keeps: bool,
}

impl Downloaded {
    fn with_upload(self, bytes_up: Option<u64>) -> Self {
        Self { bytes_up, ..self }
    }
}

/// Reads the response and relays it.
async fn download(
    upstream: &mut Inbox,
    client: &Socket,
    call: &Call<'_>,
    begun: &Cell<bool>,
) -> Result<Downloaded, Broken> {
    let head = final_head(upstream, client, call).await?;
    begun.set(true);
    let closes = !call.head.wants_keep_alive() || call.context.shared.drain.phase() >= Phase::Draining;
    relay_response(&head, upstream, client, call, closes).await
}

/// The response head, after the interim ones, which are passed on (RFC 9110 section 15.2).
async fn final_head(upstream: &mut Inbox, client: &Socket, call: &Call<'_>) -> Result<ResponseHead, Broken> {
    let context = ResponseContext { head: call.head.is_head(), upgrade: false };
    for _ in 0..INTERIM_MAX {
        let head = upstream.response_head(context, &call.context.limits).await.map_err(early)?;
        if !head.is_interim() {
            return Ok(head);
        }
        pass_interim(&head, client, call).await.map_err(|_| Broken::Midway(CLIENT_GONE, Close::Now))?;
    }
    Err(Broken::Early(too_many_interim()))
}

fn early(error: ReadHeadError) -> Broken {
    let stale = matches!(error, ReadHeadError::Ended { received: false, .. });
    let failure = no_response(error);
    if stale { Broken::Stale(failure) } else { Broken::Early(failure) }
}

/// The answer to a sandbox that sends [`INTERIM_MAX`] interim responses and no final one.
pub(super) fn too_many_interim() -> Failure {
    Failure::UpstreamEnded(io::Error::new(io::ErrorKind::InvalidData, "too many interim responses"))
}

/// Passes an interim response on to a client that knows them.
pub(super) async fn pass_interim(head: &ResponseHead, client: &Socket, call: &Call<'_>) -> io::Result<()> {
    if call.head.version() == Version::Http10 {
        return Ok(());
    }
    let mut out = Vec::new();
    rewrite::response(head, &call.forwarding(), &call.rewriting(false), &mut out);
    client.send_bytes(out).await.map(drop)
}

/// Relays the ordinary response that an upgrade got instead of a 101. Both connections end with it.
pub(super) async fn relay_refusal(
    head: ResponseHead,
    mut upstream: Inbox,
    client: &Socket,
    call: &mut Call<'_>,
) -> Result<Next, Failure> {
    let relayed = relay_response(&head, &mut upstream, client, call, true).await;
    let next = relayed.map(|downloaded| {
        call.account.answered(downloaded.status);
        call.account.bytes_down = downloaded.bytes_down;
        Next::Close(Close::Linger)
    });
    conclude(next, call)
}

/// Relays a response whose head has been read. `closes` says that the client's connection ends with it in any case.
async fn relay_response(
    head: &ResponseHead,
    upstream: &mut Inbox,
    client: &Socket,
    call: &Call<'_>,
    closes: bool,
) -> Result<Downloaded, Broken> {
    let config = call.context.config();
    let mut out = Vec::new();
    let mut outgoing = rewrite::response(head, &call.forwarding(), &call.rewriting(closes), &mut out);
    // A response may be silent for as long as a stream may: server-sent events wait for something to happen.
    let patience = Patience { sender: config.stream.idle_timeout, receiver: config.http.body_timeout };
    let relayed = relay(out, upstream, &mut outgoing.body, client, patience).await;
    let bytes_down = relayed.map_err(|error| cut(&error, outgoing.close))?;
    Ok(Downloaded {
        status: head.status(),
        bytes_up: None,
        bytes_down,
        upstream_keeps: head.keep_alive(),
        client_keeps: !outgoing.close,
    })
}

/// How the client learns that its response is not whole. Where the end of the connection is the end of the body, only a
/// reset says so.
fn cut(error: &RelayError, ends_with_connection: bool) -> Broken {
    let how = if ends_with_connection { Close::Reset } else { Close::Now };
    match error {
        RelayError::Body(_) => Broken::Midway("response body", how),
        RelayError::Sender => Broken::Midway("upstream reset", how),
        RelayError::SenderLate => Broken::Midway("upstream silent", how),
        RelayError::Receiver => Broken::Midway(CLIENT_GONE, Close::Now),
        RelayError::ReceiverLate => Broken::Midway("client stalled", Close::Reset),
    }
}
