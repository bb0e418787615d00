//! An upgrade, up to the 101: nothing of what the client sends behind its head goes to the sandbox before that.
//!
//! The sandbox's connection is dialled for this upgrade alone and never pooled. Any other answer than a valid 101 is an
//! ordinary response, and both connections end with it.

use std::pin::pin;

use super::Next;
use super::call::{Call, no_response};
use super::close::{self, Close};
use super::exchange::{self, INTERIM_MAX};
use super::inbox::Inbox;
use super::stream::Accepted;
use crate::error::Failure;
use crate::http::ResponseHead;
use crate::http::parse::ResponseContext;
use crate::http::rewrite;
use crate::http::upgrade::Upgrade;
use crate::sys::Socket;

/// Who has left before there was an answer.
enum Left {
    Client,
    Sandbox,
}

/// Carries out an upgrade.
pub(super) async fn handshake(client: &mut Inbox, mut call: Call<'_>, upgrade: &Upgrade) -> Result<Next, Failure> {
    let permit = call.context.shared.live.admit(call.client_address(), &call.target.sandbox)?;
    let (mut upstream, lease) = call.dial(Some(&client.socket)).await?;
    let limit = call.response_timeout();
    let answer = {
        let mut answer = pin!(tokio::time::timeout(limit, answer(&mut upstream, &client.socket, &call)));
        tokio::select! {
            answer = &mut answer => Ok(answer.unwrap_or(Err(Failure::UpstreamTimeout))?),
            () = lease.ended() => Err(Left::Sandbox),
            () = client.socket.gone() => Err(Left::Client),
        }
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(Left::Sandbox) => return Err(call.left(&upstream).await),
        Err(Left::Client) => {
            // Nobody is left to tell; the dialled connection closes with this call.
            call.account.cut(exchange::CLIENT_GONE);
            return Ok(Next::Close(Close::Now));
        }
    };
    if answer.status() != 101 {
        return exchange::relay_refusal(answer, upstream, &client.socket, &mut call).await;
    }
    upgrade.accepted_by(&answer).map_err(Failure::ResponseUpgrade)?;
    let mut out = Vec::new();
    rewrite::response(&answer, &call.forwarding(), &call.rewriting_upgrade(), &mut out);
    call.account.answered(answer.status());
    // Entered before the client knows: whoever sees the 101 sees the stream, and a sandbox that goes away closes it.
    let live = &call.context.shared.live;
    let engine = call.context.plan.user.engine();
    let mut stream = live.open(permit, call.context.index, call.account.client(), call.place(), engine);
    // A sandbox that left the directory during the handshake had no stream yet that could be closed.
    if let Err(error) = call.locate_again().await
        && error.is_gone()
    {
        return Err(error.into());
    }
    let sending = tokio::time::timeout(close::ANSWER_TIMEOUT, client.socket.send_bytes(out));
    if !matches!(sending.await, Ok(Ok(_))) {
        call.account.cut(exchange::CLIENT_GONE);
        return Ok(Next::Close(Close::Now));
    }
    let (upstream, to_client) = upstream.into_parts();
    stream.set_request_id(call.account.request_id().to_owned());
    Ok(Next::Stream(Box::new(Accepted { upstream, to_client, stream })))
}

/// Sends the request and reads the answer's head.
async fn answer(upstream: &mut Inbox, client: &Socket, call: &Call<'_>) -> Result<ResponseHead, Failure> {
    upstream.socket.send_bytes(call.request_bytes(true)).await.map_err(Failure::UpstreamEnded)?;
    let context = ResponseContext { head: false, upgrade: true };
    for _ in 0..INTERIM_MAX {
        let head = upstream.response_head(context, &call.context.limits).await.map_err(no_response)?;
        if !head.is_interim() {
            return Ok(head);
        }
        // A client that is gone is noticed where its connection is watched.
        let _gone = exchange::pass_interim(&head, client, call).await.is_err();
    }
    Err(exchange::too_many_interim())
}
