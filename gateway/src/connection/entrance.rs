//! What the header source asks of a request before its sandbox is looked for.

use std::time::{SystemTime, UNIX_EPOCH};

use super::context::Context;
use crate::auth::{self, AuthError, Scope};
use crate::http::RequestHead;
use crate::route::{Source, Target, header};

/// Where the router of agent-sandbox answers health checks, beside its clients' requests.
const HEALTH_PATH: &[u8] = b"/healthz";

/// Whether a request is a health check of the gateway. There is one here only for deployments that were made for that
/// router; the admin port has better ones.
pub(super) fn asks_health(head: &RequestHead, context: &Context) -> bool {
    context.config().routing.sources.header && head.path() == HEALTH_PATH && matches!(head.method(), "GET" | "HEAD")
}

/// Whether a request may reach its sandbox, about which nothing has been asked yet. Returns whether the Authorization
/// field was the gateway's.
pub(super) fn check(head: &RequestHead, target: &Target, context: &Context) -> Result<bool, AuthError> {
    if target.source != Source::Header {
        return Ok(false);
    }
    let given = auth::credentials(head.values("authorization"));
    let scope = Scope { namespace: target.sandbox.namespace(), name: target.sandbox.name() };
    let guard = &context.shared.guard;
    guard.check(given, scope, header::chooses_address(head), now())?;
    Ok(guard.is_closed())
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
