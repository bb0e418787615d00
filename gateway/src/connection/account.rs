//! What is known about a request, for its log line and the metrics.

use std::net::SocketAddr;
use std::time::Instant;

use super::context::Context;
use super::stream::millis;
use crate::error::Failure;
use crate::http::{RequestHead, rewrite};
use crate::route::{SandboxId, Target};

/// The longest path in a log line, in bytes. The rest is cut off.
const LOGGED_PATH_BYTES_MAX: usize = 256;

/// One request's account.
pub(super) struct Account {
    request_id: String,
    client: SocketAddr,
    begun: Instant,
    status: u16,
    source: &'static str,
    sandbox: Option<SandboxId>,
    endpoint: Option<SocketAddr>,
    /// Bytes of the request's body and of the response's.
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    /// Why the exchange was cut.
    cut: Option<&'static str>,
}

impl Account {
    pub(super) fn begin(client: SocketAddr, context: &Context, head: Option<&RequestHead>) -> Self {
        let inbound = head.and_then(rewrite::inbound_request_id);
        let request_id = inbound.map_or_else(|| context.next_request_id(), str::to_owned);
        Self {
            request_id,
            client,
            begun: Instant::now(),
            status: 0,
            source: "none",
            sandbox: None,
            endpoint: None,
            bytes_up: 0,
            bytes_down: 0,
            cut: None,
        }
    }

    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }

    pub(super) fn client(&self) -> SocketAddr {
        self.client
    }

    pub(super) fn routed(&mut self, target: &Target) {
        self.source = target.source.label();
        self.sandbox = Some(target.sandbox.clone());
    }

    pub(super) fn dialled(&mut self, endpoint: SocketAddr) {
        self.endpoint = Some(endpoint);
    }

    /// The exchange ended before its end. A client that left without any answer is accounted for as 499, as nginx does
    /// it.
    pub(super) fn cut(&mut self, why: &'static str) {
        self.cut = Some(why);
        if self.status == 0 {
            self.status = 499;
        }
    }

    pub(super) fn answered(&mut self, status: u16) {
        self.status = status;
    }

    /// Accounts for a request that was answered.
    pub(super) fn finish(&self, head: &RequestHead, context: &Context) {
        self.log(Some(head), None);
        self.count(Some(head), context);
    }

    /// Accounts for a request that failed.
    pub(super) fn failed(&mut self, failure: &Failure, head: Option<&RequestHead>, context: &Context) {
        self.status = failure.status();
        context.shared.metrics.failure(failure.code());
        if let Some(rule) = failure.rule() {
            context.shared.metrics.rejected(rule);
        }
        self.log(head, Some(failure));
        self.count(head, context);
    }

    fn count(&self, head: Option<&RequestHead>, context: &Context) {
        let method = head.map_or("", RequestHead::method);
        context.shared.metrics.request(self.source, method, self.status, self.begun.elapsed());
    }

    fn log(&self, head: Option<&RequestHead>, failure: Option<&Failure>) {
        let path = head.map_or(&b""[..], RequestHead::path);
        let path = String::from_utf8_lossy(&path[..path.len().min(LOGGED_PATH_BYTES_MAX)]);
        tracing::info!(
            target: "access",
            request_id = self.request_id,
            client = %self.client,
            method = head.map_or("", RequestHead::method),
            path = %path,
            status = self.status,
            source = self.source,
            sandbox = self.sandbox.as_ref().map(tracing::field::display),
            endpoint = self.endpoint.map(tracing::field::display),
            bytes_up = self.bytes_up,
            bytes_down = self.bytes_down,
            duration_ms = millis(self.begun.elapsed()),
            code = failure.map(Failure::code),
            error = failure.map(tracing::field::display),
            cut = self.cut,
            "request"
        );
    }
}
