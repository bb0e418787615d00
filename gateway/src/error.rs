//! What a client is told when something fails: the one place where an error becomes a status.
//!
//! Each stage has an error of its own; here they meet. Details name what the client can act on and never an address
//! inside the cluster.

use std::borrow::Cow;

use crate::auth::AuthError;
use crate::directory::LocateError;
use crate::http::HeadError;
use crate::http::body::BodyError;
use crate::http::upgrade::UpgradeError;
use crate::route::RouteError;
use crate::tunnel::live::AdmitError;
use crate::upstream::DialError;

/// Seconds after which a client may try again what failed for lack of room or of a directory.
const RETRY_AFTER_SECONDS: u32 = 1;

/// A request that gets an answer of ours.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The request's head broke a rule.
    #[error("the request was refused: {0}")]
    Head(HeadError),
    /// The head did not arrive in time.
    #[error("the request head did not arrive in time")]
    HeaderTimeout,
    /// The body made no progress.
    #[error("the request body did not arrive in time")]
    BodyTimeout,
    /// The request's body broke a framing rule.
    #[error("the request body was refused: {0}")]
    Body(BodyError),
    /// The request for an upgrade broke a rule.
    #[error("the upgrade was refused: {0}")]
    Upgrade(UpgradeError),
    /// No source names a sandbox.
    #[error("{0}")]
    Route(#[from] RouteError),
    /// A token is missing, or not good enough.
    #[error("{0}")]
    Auth(#[from] AuthError),
    /// A sandbox of the header source could not be reached: the contract has a text of its own for it.
    #[error("{cause}")]
    BackendUnreachable {
        /// The sandbox's name, as the client wrote it.
        name: String,
        /// What happened, for the log.
        cause: String,
    },
    /// A sandbox of the header source did not answer in time.
    #[error("the sandbox did not answer in time")]
    BackendTimeout {
        /// The sandbox's name, as the client wrote it.
        name: String,
    },
    /// The directory had no endpoint.
    #[error("{0}")]
    Locate(#[from] LocateError),
    /// A stream too many.
    #[error("{0}")]
    Admit(#[from] AdmitError),
    /// The pod could not be reached.
    #[error("{0}")]
    Dial(#[from] DialError),
    /// The pod's response head was malformed.
    #[error("the sandbox answered with a malformed head: {0}")]
    ResponseHead(HeadError),
    /// The pod's 101 does not fit the request.
    #[error("the sandbox answered the upgrade wrongly: {0}")]
    ResponseUpgrade(UpgradeError),
    /// The pod closed or reset the connection before its response head was complete.
    #[error("the sandbox closed the connection before it answered: {0}")]
    UpstreamEnded(std::io::Error),
    /// The pod's response head did not arrive in time.
    #[error("the sandbox did not answer in time")]
    UpstreamTimeout,
    /// The process, or the worker that got the connection, is at its limit.
    #[error("the gateway is at its limit of {0} connections")]
    Overloaded(usize),
}

/// Everything outward about a failure.
struct Outward {
    status: u16,
    code: &'static str,
    retry_after: Option<u32>,
    closes: bool,
}

const fn outward(status: u16, code: &'static str) -> Outward {
    Outward { status, code, retry_after: None, closes: false }
}

impl Outward {
    const fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    const fn retrying(mut self) -> Self {
        self.retry_after = Some(RETRY_AFTER_SECONDS);
        self
    }
}

impl Failure {
    /// The README's failure table. After a framing error nobody can say where the next request would begin, so those
    /// close.
    fn outward(&self) -> Outward {
        match self {
            Self::Head(error) => head(error),
            Self::HeaderTimeout => outward(408, "header_timeout").closing(),
            Self::BodyTimeout => outward(408, "body_timeout").closing(),
            Self::Upgrade(UpgradeError::WebsocketVersion) => outward(426, "upgrade_required").closing(),
            Self::Upgrade(_) | Self::Body(_) => outward(400, "bad_request").closing(),
            Self::Route(RouteError::Header(_)) => outward(400, "bad_request"),
            Self::Route(RouteError::Port | RouteError::Id) => outward(400, "invalid_name"),
            Self::Route(_) => outward(404, "no_route"),
            Self::Auth(AuthError::Missing | AuthError::Nowhere | AuthError::Invalid) => outward(401, "unauthorized"),
            Self::Auth(AuthError::Forbidden) => outward(403, "forbidden"),
            Self::Auth(AuthError::Origin) => outward(403, "foreign_origin"),
            Self::Locate(LocateError::NotFound) => outward(404, "sandbox_not_found"),
            Self::Locate(LocateError::NotRunning(_)) => outward(409, "sandbox_not_running"),
            Self::Locate(LocateError::Stopped) => outward(410, "sandbox_stopped"),
            Self::Locate(LocateError::Migrating) => outward(503, "sandbox_migrating").retrying(),
            Self::Locate(LocateError::NoAddress) => outward(503, "sandbox_no_address").retrying(),
            Self::Locate(LocateError::Unavailable) => outward(503, "directory_unavailable").retrying(),
            // The directory has answered, and what it said cannot be dialled: another try in a second will not help.
            Self::Dial(_) | Self::BackendUnreachable { .. } | Self::Locate(LocateError::BadEndpoint(_)) => {
                outward(502, "upstream_unreachable")
            }
            Self::Admit(_) => outward(429, "too_many_streams").retrying(),
            Self::ResponseHead(_) | Self::ResponseUpgrade(_) | Self::UpstreamEnded(_) => {
                outward(502, "bad_upstream_response")
            }
            Self::UpstreamTimeout | Self::BackendTimeout { .. } => outward(504, "upstream_timeout"),
            Self::Overloaded(_) => outward(503, "overloaded").closing().retrying(),
        }
    }

    /// The same as the contract of the header source tells it, where that has words of its own. To it a name without an
    /// address is a sandbox that cannot be reached, which its clients try again.
    #[must_use]
    pub fn in_header_contract(self, name: &str) -> Self {
        let name = name.to_owned();
        match self {
            Self::Locate(LocateError::NotFound) | Self::Dial(_) => {
                Self::BackendUnreachable { name, cause: self.to_string() }
            }
            Self::UpstreamTimeout => Self::BackendTimeout { name },
            other => other,
        }
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.outward().status
    }

    /// The machine-readable code, also the label in metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.outward().code
    }

    /// Seconds for `Retry-After`.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        self.outward().retry_after
    }

    /// Whether the client's connection ends with the answer.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.outward().closes
    }

    /// What the client reads. Errors that carry addresses are told in general words.
    #[must_use]
    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::Dial(_) => "the sandbox could not be reached".into(),
            Self::Auth(AuthError::Missing) => "Missing or invalid Authorization header.".into(),
            Self::Auth(AuthError::Nowhere) => {
                "This sandbox wants a token: open it by the link that carries one.".into()
            }
            Self::Auth(AuthError::Invalid) => "Invalid token.".into(),
            Self::Auth(AuthError::Origin) => "Pages of this origin may not use the sandbox.".into(),
            Self::Auth(AuthError::Forbidden) => "The token is not for this sandbox.".into(),
            Self::BackendUnreachable { name, .. } => format!("Could not connect to the backend sandbox: {name}").into(),
            Self::BackendTimeout { name } => format!("Timed out waiting for the backend sandbox: {name}").into(),
            Self::UpstreamEnded(_) => "the sandbox closed the connection before it answered".into(),
            Self::Locate(LocateError::NotFound) => "the directory does not know this sandbox".into(),
            Self::Locate(LocateError::NotRunning(_)) => "the sandbox is not running".into(),
            Self::Locate(LocateError::Migrating) => "the sandbox is migrating to a new host, retry shortly".into(),
            Self::Locate(LocateError::Unavailable) => "the directory of sandboxes is not available".into(),
            Self::Locate(LocateError::BadEndpoint(_)) => "the directory's entry for this sandbox cannot be used".into(),
            told => told.to_string().into(),
        }
    }

    /// The strictness rule that was broken, as a metric label.
    #[must_use]
    pub fn rule(&self) -> Option<&'static str> {
        match self {
            Self::Head(error) | Self::ResponseHead(error) => Some(error.rule()),
            Self::Body(error) => Some(error.rule()),
            Self::Upgrade(error) | Self::ResponseUpgrade(error) => Some(error.rule()),
            _ => None,
        }
    }
}

fn head(error: &HeadError) -> Outward {
    match error {
        HeadError::LineTooLong { .. } => outward(414, "uri_too_long"),
        HeadError::HeadTooLarge { .. } | HeadError::TooManyFields { .. } => outward(431, "header_too_large"),
        HeadError::Connect => outward(405, "bad_request"),
        _ => outward(400, "bad_request"),
    }
    .closing()
}
