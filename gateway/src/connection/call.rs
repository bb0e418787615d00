//! A request on its way to its sandbox: what both an exchange and an upgrade need.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::account::Account;
use super::context::{CLIENTS_SPEAK_TLS, Context};
use super::inbox::{Inbox, ReadHeadError};
use super::locate;
use crate::auth;
use crate::config::{AddressBook, DialConfig};
use crate::directory::{Endpoint, LocateError, Located};
use crate::error::Failure;
use crate::http::RequestHead;
use crate::http::rewrite::{self, Forwarding, ResponseRewrite};
use crate::metrics::UpstreamState;
use crate::route::Target;
use crate::sys::{Socket, tcp};
use crate::tunnel::Splicer;
use crate::upstream::{self, DialError, DialOutcome, Lease, PoolKey};

/// A request, its route and its account.
pub(super) struct Call<'a> {
    pub(super) context: &'a Context,
    pub(super) head: &'a RequestHead,
    pub(super) target: &'a Target,
    /// What the directory said.
    located: Located,
    /// Where this call goes: the directory's endpoint, or its neighbour at the port that the request names.
    endpoint: Endpoint,
    pub(super) account: &'a mut Account,
}

impl<'a> Call<'a> {
    /// A call to where the sandbox of `target` is now.
    pub(super) async fn new(
        context: &'a Context,
        head: &'a RequestHead,
        target: &'a Target,
        account: &'a mut Account,
    ) -> Result<Self, Failure> {
        let refused = |error| locate::failure(target, error);
        let located = locate::locate(target, context).await.map_err(refused)?;
        let endpoint = locate::endpoint(target, located, context).map_err(refused)?;
        Ok(Self { context, head, target, located, endpoint, account })
    }

    pub(super) fn endpoint(&self) -> SocketAddr {
        self.endpoint.address()
    }

    /// The endpoint, and who named it.
    pub(super) fn place(&self) -> (SocketAddr, Option<AddressBook>) {
        (self.endpoint(), self.target.lookup.book())
    }

    /// Gives `upstream` up, whose sandbox is no more, and says what the client is told.
    pub(super) async fn left(&self, upstream: &Inbox) -> Failure {
        self.context.shared.metrics.upstream_reset(UpstreamState::Busy, 1);
        upstream.socket.reset_on_close();
        match self.locate_again().await {
            Err(error) => locate::failure(self.target, error),
            // It came back under the same name, and what was asked of the one before is lost.
            Ok(_) => Failure::UpstreamEnded(io::Error::from(io::ErrorKind::ConnectionAborted)),
        }
    }

    /// Where the sandbox is now, whatever was said when the call began.
    pub(super) async fn locate_again(&self) -> Result<Located, LocateError> {
        locate::locate(self.target, self.context).await
    }

    /// Whose connection may carry this call.
    pub(super) fn pool_key(&self) -> PoolKey {
        PoolKey { sandbox: self.target.sandbox.clone(), endpoint: self.endpoint(), generation: self.located.generation }
    }

    /// Dials the sandbox. Where no descriptor is left for it, idle connections give theirs. Where its host is gone, the
    /// directory is asked once more: the sandbox may have moved. What becomes a stream of this client's may lose its
    /// sockets later: it comes from a port that is kept for that, and asks a pod on this machine for segments that get
    /// to the client.
    pub(super) async fn dial(&mut self, stream_of: Option<&Socket>) -> Result<(Inbox, Lease), Failure> {
        let first = match self.dial_once(stream_of).await {
            Ok(socket) => return Ok(self.dialled(socket)),
            Err(error) => error,
        };
        if first.lacks_descriptors() {
            self.context.pool.clear();
            let socket = self.dial_once(stream_of).await?;
            return Ok(self.dialled(socket));
        }
        if !first.host_is_gone() {
            return Err(first.into());
        }
        locate::distrust(self.target, self.located, self.context);
        let again = self.locate_again().await?;
        if again.endpoint == self.located.endpoint {
            return Err(first.into());
        }
        self.located = again;
        self.endpoint = locate::endpoint(self.target, again, self.context)?;
        let socket = self.dial_once(stream_of).await?;
        Ok(self.dialled(socket))
    }

    async fn dial_once(&self, stream_of: Option<&Socket>) -> Result<Socket, DialError> {
        let metrics = &self.context.shared.metrics;
        let configured = self.context.config().upstream.dial;
        let ladder = self.target.handling.dial.map(|ladder| DialConfig { timeout: configured.timeout, ..ladder });
        let splicer = self.context.shared.splicer.as_ref().zip(stream_of);
        let spliced =
            splicer.and_then(|(splicer, client)| Some((splicer, client, Splicer::local_address(self.endpoint())?)));
        let segment_max = spliced.and_then(|(splicer, client, local)| {
            // What cannot be asked has failed: whoever reads from it next will tell.
            let segment_max = tcp::segment_max(client).ok().flatten()?;
            // A pod on this machine sends longer ones than any other.
            splicer.is_here(local, self.endpoint()).then_some(segment_max)
        });
        let ports = spliced.map(|(splicer, _, local)| splicer.ports(local, self.endpoint()));
        let mut tries = 0;
        upstream::dial(
            &self.context.driver,
            self.endpoint(),
            ports.into_iter().flatten(),
            segment_max,
            &ladder.unwrap_or(configured),
            |outcome: DialOutcome, time| {
                if tries > 0 {
                    metrics.dial_retried();
                }
                tries += 1;
                metrics.dial(outcome.label(), time);
            },
        )
        .await
    }

    fn dialled(&mut self, socket: Socket) -> (Inbox, Lease) {
        self.account.dialled(self.endpoint());
        let register = &self.context.shared.register;
        let book = self.target.lookup.book();
        let lease = register.enter(self.context.index, &self.target.sandbox, book, self.located.generation);
        (Inbox::new(socket), lease)
    }

    /// Whose places a stream takes: the client's own address, also behind proxies that are trusted.
    pub(super) fn client_address(&self) -> IpAddr {
        rewrite::client_address(self.head, self.account.client().ip(), |address| self.context.trusts(address))
    }

    /// How long the response head may take. The client may ask for less than is configured.
    pub(super) fn response_timeout(&self) -> Duration {
        let configured = self.context.config().http.response_timeout;
        self.target.handling.response_timeout.map_or(configured, |asked| asked.min(configured))
    }

    /// The request head as the sandbox gets it.
    pub(super) fn request_bytes(&self, is_upgrade: bool) -> Vec<u8> {
        let mut out = Vec::new();
        rewrite::request(self.head, is_upgrade, &self.forwarding(), &mut out);
        out
    }

    /// How an ordinary response is written; `close` ends the client's connection with it.
    pub(super) fn rewriting(&self, close: bool) -> ResponseRewrite<'_> {
        ResponseRewrite { request: self.head, set_cookies: &self.target.set_cookies, close, upgrade: false }
    }

    /// How the 101 that opens a stream is written.
    pub(super) fn rewriting_upgrade(&self) -> ResponseRewrite<'_> {
        ResponseRewrite { upgrade: true, ..self.rewriting(false) }
    }

    pub(super) fn forwarding(&self) -> Forwarding<'_> {
        let config = self.context.config();
        let client = self.account.client().ip();
        Forwarding {
            client,
            client_trusted: self.context.trusts(client),
            tls: CLIENTS_SPEAK_TLS,
            endpoint: self.endpoint(),
            host_header: self.target.handling.host_header.as_ref().unwrap_or(&config.http.host_header),
            upstream_target: &self.target.upstream_target,
            public_prefix: &self.target.public_prefix,
            keeps_prefix: self.target.handling.keeps_prefix,
            agent_prefix: &self.target.agent_prefix,
            client_is_edge: self.target.handling.client_is_edge,
            origin: self.target.handling.origin,
            consumes_authorization: self.target.handling.consumes_authorization,
            own_cookies: [&config.routing.cookie_name, auth::cookie::NAME],
            upgrade_cookies: config.http.upgrade_cookies,
            token_parameter: auth::PARAMETER,
            hides_sandbox_headers: self.target.handling.strips_sandbox_headers,
            request_id: self.account.request_id(),
        }
    }
}

/// A response head that did not come.
pub(super) fn no_response(error: ReadHeadError) -> Failure {
    match error {
        ReadHeadError::Malformed(error) => Failure::ResponseHead(error),
        ReadHeadError::Ended { source, .. } => Failure::UpstreamEnded(source),
        ReadHeadError::Late => Failure::UpstreamTimeout,
    }
}
