//! What is asked of a request before its sandbox is looked for.
//!
//! Where the gateway has tokens, they guard the sources whose clients can bring one. Programs do in the Authorization
//! field. Browsers do once, in the query of a page (`gateway_token`): they are sent to the same URL without it, with a
//! cookie for the sandbox, and whatever comes by that cookie is asked for its origin.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use super::context::{CLIENTS_SPEAK_TLS, Context};
use crate::auth::{self, Asker, AuthError, Grant, Guard, Scope};
use crate::http::{RequestHead, query, rewrite};
use crate::route::{self, Decision, Source, Target, header, prefix};

/// Where the router of agent-sandbox answers health checks, beside its clients' requests.
const HEALTH_PATH: &[u8] = b"/healthz";

/// Whether a request is a health check of the gateway. There is one here only for deployments that were made for that
/// router; the admin port has better ones.
pub(super) fn asks_health(head: &RequestHead, context: &Context) -> bool {
    context.config().routing.sources.header && head.path() == HEALTH_PATH && matches!(head.method(), "GET" | "HEAD")
}

/// Lets a request of the client at `client` in, about whose sandbox nothing has been asked yet: as it is to be
/// forwarded, or to another URL first.
pub(super) fn admit(
    head: &RequestHead,
    mut target: Target,
    client: IpAddr,
    context: &Context,
) -> Result<Decision, AuthError> {
    let guard = &context.shared.guard;
    if guard.is_closed() {
        let door = Door { guard, head, client_trusted: context.trusts(client), now: now() };
        let elsewhere = match target.source {
            Source::Header => door.admit_program(&mut target).map(|()| None)?,
            Source::Host | Source::Prefix => door.admit(&mut target)?,
            // The session paths are one page's URLs with and without an id, which no cookie's Path can follow; an edge
            // has asked already; and a portal has to be reached by whoever has no token yet.
            _ => {
                target.handling.consumes_authorization = door.has_brought_token(&target);
                None
            }
        };
        if let Some(grant) = elsewhere {
            let path = cookie_path(&target, context);
            return Ok(without_token(head, &target, grant.map(|grant| door.cookie(grant, &target, &path))));
        }
        // A token that was brought to the wrong place goes no further, either.
        if let Some(hidden) = query::without(&target.upstream_target, auth::PARAMETER) {
            target.upstream_target = hidden;
        }
    }
    if target.misses_slash { Ok(with_slash(head)) } else { Ok(Decision::Forward(target)) }
}

/// What a request is judged by where its client may be a browser.
struct Door<'a> {
    guard: &'a Guard,
    head: &'a RequestHead,
    client_trusted: bool,
    now: i64,
}

impl<'a> Door<'a> {
    /// Where the Authorization field is the gateway's alone.
    fn admit_program(&self, target: &mut Target) -> Result<(), AuthError> {
        let chooses_address = header::chooses_address(self.head);
        self.guard.check(self.bearer(), scope(target), chooses_address, self.now)?;
        target.handling.consumes_authorization = true;
        Ok(())
    }

    /// `None` for a request that goes on; otherwise what its next URL's cookie is given for, if it gets one.
    ///
    /// An Authorization field that is no token of ours is the sandbox's: applications have their own.
    fn admit(&self, target: &mut Target) -> Result<Option<Option<Grant<'a>>>, AuthError> {
        let by_field = self.check(self.bearer(), target);
        target.handling.consumes_authorization = self.has_brought_token(target);
        if by_field.is_ok() {
            return Ok(None);
        }
        let by_cookie = self.by_cookie(target);
        let is_page = matches!(self.head.method(), "GET" | "HEAD") && !self.head.asks_websocket();
        let (tokens, _) = query::take(self.head.query().unwrap_or_default(), auth::PARAMETER);
        if is_page && !tokens.is_empty() {
            // Of two tokens nobody can tell which was meant.
            let token = if let [only] = tokens.as_slice() { Some(only.as_slice()) } else { None };
            return match (self.check(token, target), by_cookie) {
                (Ok(grant), _) => Ok(Some(Some(grant))),
                // A link that was good once, and a browser that has used it: its page must not keep it in its URL.
                (Err(_), Ok(())) => Ok(Some(None)),
                (Err(AuthError::Missing), Err(_)) => Err(AuthError::Nowhere),
                (Err(error), Err(_)) => Err(error),
            };
        }
        match (by_cookie, by_field) {
            (Ok(()), _) => Ok(None),
            (Err(AuthError::Nowhere), Err(error)) if error != AuthError::Missing => Err(error),
            (Err(error), _) => Err(error),
        }
    }

    fn bearer(&self) -> Option<&'a [u8]> {
        auth::credentials(self.head.values("authorization"))
    }

    /// Whether the Authorization field has a token of ours, be it for another sandbox: no sandbox may see it.
    fn has_brought_token(&self, target: &Target) -> bool {
        matches!(self.check(self.bearer(), target), Ok(_) | Err(AuthError::Forbidden))
    }

    fn check(&self, token: Option<&[u8]>, target: &Target) -> Result<Grant<'a>, AuthError> {
        self.guard.check(token, scope(target), false, self.now)?.ok_or(AuthError::Missing)
    }

    fn by_cookie(&self, target: &Target) -> Result<(), AuthError> {
        self.guard.check_cookies(self.head.values("cookie"), scope(target), self.now)?;
        let (scheme, host) = rewrite::public_origin(self.head, self.client_trusted, CLIENTS_SPEAK_TLS);
        let mut origins = self.head.values("origin");
        let origin = origins.next().map(|first| if origins.next().is_some() { b"" } else { first });
        self.guard.check_origin(&Asker {
            own: &[scheme, b"://", host].concat(),
            origin,
            fetch_site: self.head.field("sec-fetch-site"),
            navigates: self.head.navigates(),
            is_safe: matches!(self.head.method(), "GET" | "HEAD"),
            is_upgrade: self.head.asks_websocket(),
        })
    }

    fn cookie(&self, grant: Grant<'_>, target: &Target, path: &str) -> String {
        let (scheme, _) = rewrite::public_origin(self.head, self.client_trusted, CLIENTS_SPEAK_TLS);
        self.guard.cookie(grant, scope(target), path, scheme.eq_ignore_ascii_case(b"https"), self.now)
    }
}

fn scope(target: &Target) -> Scope<'_> {
    Scope { namespace: target.sandbox.namespace(), name: target.sandbox.name() }
}

/// Where a browser may send the cookie of a sandbox. A host of its own has no other sandbox.
fn cookie_path(target: &Target, context: &Context) -> String {
    match target.source {
        Source::Prefix => prefix::root(&target.sandbox, &context.config().routing),
        _ => "/".to_owned(),
    }
}

/// The same page without the token in its URL. 302 and not stored: the next one who has the link wants the cookie, too.
fn without_token(head: &RequestHead, target: &Target, set_cookie: Option<String>) -> Decision {
    let path = head.path();
    let slash: &[u8] = if target.misses_slash { b"/" } else { b"" };
    let (_, rest) = query::take(head.query().unwrap_or_default(), auth::PARAMETER);
    let mark: &[u8] = if rest.is_empty() { b"" } else { b"?" };
    // `//host` and `/\host` would name another server (WHATWG URL, relative slash state).
    let start: &[u8] = if matches!(path.get(1), Some(b'/' | b'\\')) { b"/." } else { b"" };
    let location = [start, path, slash, mark, &rest].concat();
    Decision::Redirect { status: 302, location, set_cookies: set_cookie.into_iter().collect() }
}

/// The same URL with the slash that its sandbox's relative URLs need.
fn with_slash(head: &RequestHead) -> Decision {
    let (status, location) = route::with_slash(head);
    let location = query::without(&location, auth::PARAMETER).unwrap_or(location);
    Decision::Redirect { status, location, set_cookies: Vec::new() }
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
