//! Which sandbox a request belongs to.
//!
//! Every request is decided anew, from its own bytes alone: the path (`/vnc/37579/...`), else the Referer, else the
//! cookie. The gateway keeps no session, so that any instance can serve any request of any tab.
//!
//! Two tabs on two sandboxes share one cookie jar, and the cookie knows only the one opened last. A tab stays with its
//! sandbox because its URLs name it: the page's relative URLs do by themselves, `/vnc/app/ui.js` does through its
//! Referer, and the WebSocket does through the `path` parameter of `hint`. The cookie remains for clients that have
//! none of these.

mod agent;
mod broker;
mod cookie;
pub mod header;
mod hint;
mod host;
mod path;
pub mod prefix;
mod referer;
pub mod sandbox_id;
pub mod target;

pub use header::HeaderError;
pub use sandbox_id::SandboxId;
pub use target::{Handling, Lookup, Mode, Source, Target};

use crate::config::{RoutingConfig, WebsocketHint};
use crate::http::RequestHead;
use cookie::Remembered;
use path::Named;

/// Where noVNC up to 1.5 opens its WebSocket whatever the path of its page.
const ROOT_WEBSOCKET: &str = "/websockify";

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It goes to a sandbox.
    Forward(Target),
    /// The client is sent to another URL of the same sandbox. Only sources in the path redirect.
    Redirect {
        /// 308 for the missing slash, which holds for ever. 302 for the WebSocket hint, which must not be stored.
        status: u16,
        /// An absolute path with its query: printable ASCII, as the request target that it was made from.
        location: Vec<u8>,
        /// Values of Set-Cookie fields, one each.
        set_cookies: Vec<String>,
    },
}

/// Why a request has no sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The path lies beside everything that the sources cover, or its source is off.
    #[error("no source covers the path")]
    NoRoute,
    /// The path is covered, but nothing in the request names a sandbox.
    #[error("neither path nor Referer nor cookie names a sandbox")]
    Unnamed,
    /// As [`RouteError::Unnamed`], and there is a session cookie that holds no id.
    #[error("the session cookie holds no sandbox id")]
    CookieMalformed,
    /// A port is named that is none.
    #[error("invalid port")]
    Port,
    /// A sandbox is named in a way in which none can be called.
    #[error("invalid sandbox ID")]
    Id,
    /// The header source is the only one, or was meant, and its fields name no sandbox.
    #[error("{0}")]
    Header(#[from] HeaderError),
}

/// A source of its own: `None` for a request that is none of its.
type Decide = fn(&RequestHead, &RoutingConfig) -> Option<Result<Decision, RouteError>>;

/// Decides a request. The headers win over the Host, the Host over the path, the path over the Referer, and the
/// Referer over the cookie.
pub fn decide(head: &RequestHead, rules: &RoutingConfig) -> Result<Decision, RouteError> {
    let asked: [(bool, Decide); 5] = [
        (rules.sources.header, header::decide),
        (rules.sources.host, host::decide),
        (rules.sources.agent, agent::decide),
        (rules.sources.prefix, prefix::decide),
        (rules.sources.broker, broker::decide),
    ];
    let found = asked.into_iter().filter(|(is_on, _)| *is_on).find_map(|(_, decide)| decide(head, rules));
    match (found.unwrap_or_else(|| session(head, rules)), &rules.default_sandbox) {
        (Err(RouteError::NoRoute), Some(sandbox)) => {
            Ok(Decision::Forward(Target::new(sandbox.clone(), Source::Default, head.target().to_vec())))
        }
        (decided, _) => decided,
    }
}

/// Decides a request of a session that began below the path prefix.
fn session(head: &RequestHead, rules: &RoutingConfig) -> Result<Decision, RouteError> {
    let Some(below) = path::below(head.path(), &rules.path_prefix) else {
        return root_websocket(head, rules).map(Decision::Forward);
    };
    if rules.sources.path {
        match path::named(below) {
            Named::Inside(sandbox, rest) => return Ok(inside(head, rules, sandbox, rest)),
            Named::Unslashed(_) => {
                let (status, location) = with_slash(head);
                return Ok(Decision::Redirect { status, location, set_cookies: Vec::new() });
            }
            Named::Nothing => {}
        }
        let referer = head.field("referer").and_then(|url| referer::sandbox(url, head.host(), &rules.path_prefix));
        if let Some(sandbox) = referer {
            return Ok(Decision::Forward(below_prefix(head, rules, sandbox, Source::Referer, below)));
        }
    }
    let sandbox = remembered(head, rules)?;
    Ok(Decision::Forward(below_prefix(head, rules, sandbox, Source::Cookie, below)))
}

impl RouteError {
    /// The rule's name as a metric label.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::Unnamed => "unnamed",
            Self::CookieMalformed => "cookie_malformed",
            Self::Port => "port",
            Self::Id => "id",
            Self::Header(_) => "header",
        }
    }
}

/// A request that names its sandbox in its path.
fn inside(head: &RequestHead, rules: &RoutingConfig, sandbox: SandboxId, rest: &[u8]) -> Decision {
    let first = is_first_packet(head, rest);
    let set_cookies = if first { cookies(rules, &sandbox) } else { Vec::new() };
    let hinted = first && rules.websocket_hint == WebsocketHint::Redirect && is_page_path(rest) && head.navigates();
    if hinted && let Some(location) = hint::location(head.path(), head.query(), &rules.path_prefix, &sandbox) {
        return Decision::Redirect { status: 302, location, set_cookies };
    }
    Decision::Forward(Target { set_cookies, ..below_prefix(head, rules, sandbox, Source::Path, rest) })
}

/// The status and the URL that send a client to the slash which makes a page's relative URLs name the sandbox. 308
/// keeps method and body.
#[must_use]
pub fn with_slash(head: &RequestHead) -> (u16, Vec<u8>) {
    let query = &head.target()[head.path().len()..];
    (308, [head.path(), b"/", query].concat())
}

/// `/websockify` beside the prefix. Nothing else there has a route, and a WebSocket handshake has no Referer.
fn root_websocket(head: &RequestHead, rules: &RoutingConfig) -> Result<Target, RouteError> {
    if head.path() != ROOT_WEBSOCKET.as_bytes() || !rules.sources.cookie {
        return Err(RouteError::NoRoute);
    }
    Ok(Target::new(remembered(head, rules)?, Source::Cookie, head.target().to_vec()))
}

/// The target of a request below the prefix, whose path is `rest` behind what `strip` cuts off.
fn below_prefix(head: &RequestHead, rules: &RoutingConfig, sandbox: SandboxId, source: Source, rest: &[u8]) -> Target {
    let cut = if rules.strip { head.path().len() - rest.len() } else { 0 };
    let public_prefix = if rules.strip { format!("{}{sandbox}", rules.path_prefix) } else { String::new() };
    Target { public_prefix, ..Target::new(sandbox, source, head.target()[cut..].to_vec()) }
}

/// The sandbox in the session cookie.
fn remembered(head: &RequestHead, rules: &RoutingConfig) -> Result<SandboxId, RouteError> {
    if !rules.sources.cookie {
        return Err(RouteError::Unnamed);
    }
    match cookie::remembered(head.values("cookie"), &rules.cookie_name) {
        Remembered::Sandbox(sandbox) => Ok(sandbox),
        Remembered::Nothing => Err(RouteError::Unnamed),
        Remembered::Malformed => Err(RouteError::CookieMalformed),
    }
}

/// Whether a session begins here: a page is asked for, and the path names its sandbox. `rest` is the path behind the
/// id.
///
/// A browser says what a response is for (Sec-Fetch-Dest, from a secure origin only), and what is for anything but a
/// page is an asset, which must not move the cookie to its sandbox behind the back of a tab that was opened later.
fn is_first_packet(head: &RequestHead, rest: &[u8]) -> bool {
    let page = match head.field("sec-fetch-dest") {
        Some(purpose) => [&b"document"[..], b"iframe", b"frame"].contains(&purpose),
        None => is_page_path(rest),
    };
    page && head.method() == "GET" && !head.asks_websocket()
}

/// Whether a path inside a sandbox is one under which noVNC's pages are served.
fn is_page_path(rest: &[u8]) -> bool {
    rest == b"/" || rest.ends_with(b".html")
}

/// What a first packet's answer sets.
fn cookies(rules: &RoutingConfig, sandbox: &SandboxId) -> Vec<String> {
    if !rules.sources.cookie {
        return Vec::new();
    }
    let mut paths = vec![rules.path_prefix.as_str()];
    // A cookie for the prefix is not sent to the root, and one for the root would be sent to everything.
    if rules.websocket_hint == WebsocketHint::Cookie {
        paths.push(ROOT_WEBSOCKET);
    }
    paths.into_iter().map(|path| cookie::setting(&rules.cookie_name, sandbox, path)).collect()
}

#[cfg(test)]
mod tests;
