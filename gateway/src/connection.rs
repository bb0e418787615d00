//! The trunk: what happens to a client's connection, from its first byte to its last.
//!
//! Read a head, decide the sandbox, look up its endpoint, then either an ordinary exchange, after which the next head
//! is read and decided anew, or an upgrade, after which the two sockets are handed to an engine and HTTP is over.

mod account;
mod call;
mod close;
mod context;
mod exchange;
mod entrance;
mod handshake;
mod inbox;
mod locate;
mod places;
mod relay;
mod session;
mod stream;

use std::net::SocketAddr;
use std::rc::Rc;

use crate::drain::Phase;
use crate::error::Failure;
use crate::http::answer::{self, Answer, Form};
use crate::http::upgrade::Upgrade;
use crate::http::{RequestHead, upgrade};
use crate::route::{self, Decision, Mode, Source, Target};
use crate::sys::Socket;
use account::Account;
use call::Call;
use close::Close;
pub use context::{Context, Counted, Shared, tuning};
use inbox::{Inbox, ReadHeadError};
pub use places::{Place, Places, Table};
use session::Opened;
use stream::Accepted;

/// What comes after a request.
enum Next {
    /// Another request.
    Request,
    /// The end of the connection.
    Close(Close),
    /// A stream.
    Stream(Box<Accepted>),
    /// A session of the broker.
    Session(Box<Opened>),
}

/// Serves a client's connection to its end.
pub async fn serve(client: Socket, address: SocketAddr, context: Rc<Context>, counted: Counted) {
    if client.set_nodelay().is_err() {
        // The client is gone already.
        return;
    }
    let mut inbox = Inbox::new(client);
    let mut is_first = true;
    loop {
        match turn(&mut inbox, address, &context, is_first).await {
            Next::Request => is_first = false,
            Next::Close(how) => return close::close(inbox, how).await,
            Next::Stream(accepted) => {
                let (client, to_upstream) = inbox.into_parts();
                // A task of its own: this one's state, sized for HTTP, need not outlive HTTP.
                let streaming = stream::run(client, to_upstream, *accepted, context, counted);
                return drop(tokio::task::spawn_local(streaming));
            }
            Next::Session(opened) => {
                let (client, from_client) = inbox.into_parts();
                let running = session::run(client, from_client, *opened, context, counted);
                return drop(tokio::task::spawn_local(running));
            }
        }
    }
}

/// Tells a client that it cannot be served, before it has sent anything. It has its `place` until it has heard.
pub async fn refuse(client: Socket, failure: Failure, context: Rc<Context>, place: Place) {
    context.shared.metrics.failure(failure.code());
    let out = answer_bytes(&failure, None, &context.next_request_id(), false);
    let inbox = Inbox::new(client);
    if inbox.socket.send_bytes(out).await.is_ok() {
        close::close(inbox, Close::Linger).await;
    }
    drop(place);
}

/// One request.
async fn turn(inbox: &mut Inbox, address: SocketAddr, context: &Context, is_first: bool) -> Next {
    let http = &context.config().http;
    // A client that was just accepted is expected to speak; one that has been served may stay silent for longer, unless
    // the gateway is shutting down.
    let idle = if is_first { http.head_timeout } else { http.keepalive_timeout };
    let given_up = async {
        if is_first {
            std::future::pending::<()>().await;
        }
        context.shared.drain.reached(Phase::Draining).await;
    };
    let head = match inbox.request_head(&context.limits, idle, http.head_timeout, given_up).await {
        Ok(Some(head)) => head,
        Ok(None) => return Next::Close(Close::Now),
        Err(error) => {
            let failure = match error {
                ReadHeadError::Malformed(error) => Failure::Head(error),
                ReadHeadError::Late => Failure::HeaderTimeout,
                ReadHeadError::Ended { .. } => return Next::Close(Close::Now),
            };
            let mut account = Account::begin(address, context, None);
            return fail(inbox, None, &failure, &mut account, context).await;
        }
    };
    let mut account = Account::begin(address, context, Some(&head));
    match respond(inbox, &head, &mut account, context).await {
        Ok(next) => {
            account.finish(&head, context);
            next
        }
        Err(failure) => fail(inbox, Some(&head), &failure, &mut account, context).await,
    }
}

/// Answers a request, from the sandbox or with a redirect of ours.
async fn respond(
    inbox: &mut Inbox,
    head: &RequestHead,
    account: &mut Account,
    context: &Context,
) -> Result<Next, Failure> {
    let upgrade = upgrade::requested(head).map_err(Failure::Upgrade)?;
    if entrance::asks_health(head, context) {
        let keeps = keeps_alive(head, context);
        let mut out = Vec::new();
        answer::healthy(head.is_head(), account.request_id(), keeps, &mut out);
        account.answered(200);
        return Ok(send_answer(inbox, out, keeps).await);
    }
    let decided = match route::decide(head, &context.config().routing)? {
        Decision::Forward(target) => {
            account.routed(&target);
            entrance::admit(head, target, account.client().ip(), context)?
        }
        redirect @ Decision::Redirect { .. } => redirect,
    };
    let target = match decided {
        Decision::Forward(target) => target,
        Decision::Redirect { status, location, set_cookies } => {
            let keeps = keeps_alive(head, context);
            let mut out = Vec::new();
            answer::redirect(status, &location, &set_cookies, account.request_id(), keeps, &mut out);
            account.answered(status);
            return Ok(send_answer(inbox, out, keeps).await);
        }
    };
    let forwarded = forward(inbox, head, &target, upgrade, account, context).await;
    match target.source {
        Source::Header => forwarded.map_err(|failure| failure.in_header_contract(target.sandbox.name())),
        _ => forwarded,
    }
}

/// Answers a request from its sandbox.
async fn forward(
    inbox: &mut Inbox,
    head: &RequestHead,
    target: &Target,
    upgrade: Option<Upgrade>,
    account: &mut Account,
    context: &Context,
) -> Result<Next, Failure> {
    let call = Call::new(context, head, target, account).await?;
    match (upgrade, &target.mode) {
        (None, _) => exchange::exchange(inbox, call).await,
        (Some(upgrade), Mode::Stream) => handshake::handshake(inbox, call, &upgrade).await,
        (Some(upgrade), Mode::Broker { .. }) => session::open(inbox, call, &upgrade).await,
    }
}

/// Answers a failure.
async fn fail(
    inbox: &mut Inbox,
    head: Option<&RequestHead>,
    failure: &Failure,
    account: &mut Account,
    context: &Context,
) -> Next {
    account.failed(failure, head, context);
    let keeps = !failure.closes() && head.is_some_and(|head| keeps_alive(head, context));
    let out = answer_bytes(failure, head, account.request_id(), keeps);
    send_answer(inbox, out, keeps).await
}

fn answer_bytes(failure: &Failure, head: Option<&RequestHead>, request_id: &str, keeps: bool) -> Vec<u8> {
    let detail = failure.detail();
    let answer = Answer {
        status: failure.status(),
        code: failure.code(),
        detail: &detail,
        retry_after: failure.retry_after(),
        close: !keeps,
    };
    let mut out = Vec::new();
    let form = match head.filter(|head| head.navigates()) {
        Some(head) if matches!(head.method(), "GET" | "HEAD") => Form::Page,
        Some(_) => Form::PageOnce,
        None => Form::Json,
    };
    answer::failure(&answer, form, head.is_some_and(RequestHead::is_head), request_id, &mut out);
    out
}

async fn send_answer(inbox: &Inbox, out: Vec<u8>, keeps: bool) -> Next {
    let sending = inbox.socket.send_bytes(out);
    match tokio::time::timeout(close::ANSWER_TIMEOUT, sending).await {
        Ok(Ok(_)) if keeps => Next::Request,
        Ok(Ok(_)) => Next::Close(Close::Linger),
        _ => Next::Close(Close::Now),
    }
}

/// Whether another request may follow an answer that was written without reading the request's body.
fn keeps_alive(head: &RequestHead, context: &Context) -> bool {
    head.wants_keep_alive() && head.body().is_empty() && context.shared.drain.phase() < Phase::Draining
}
