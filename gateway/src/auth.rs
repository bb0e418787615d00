//! Who may reach a sandbox: tokens of the gateway's own. Pure: bytes and the time come in, a verdict goes out.
//!
//! A [`Bearer`] token is one secret for every sandbox. A scoped token ([`token`]) opens one sandbox until it expires,
//! and is made by whoever has one of the gateway's [`Keys`].
//!
//! A verdict never depends on whether the sandbox exists: it is reached before the directory is asked, so that a client
//! learns nothing about sandboxes that are not its own.

mod bearer;
pub mod token;

pub use bearer::{Bearer, credentials};
pub use token::{Keys, Scope, Secret, SecretError, TokenError};

/// Why a request may not reach its sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no `Authorization: Bearer`, or more than one.
    #[error("the request has no bearer token")]
    Missing,
    /// The token is not one of ours, or has expired. One variant for all of these: more would help who guesses.
    #[error("the token is not valid")]
    Invalid,
    /// The token is good for another sandbox, or for no address of the client's choice.
    #[error("the token is not for this sandbox")]
    Forbidden,
}

impl AuthError {
    /// The verdict's name as a metric label.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Invalid => "token_invalid",
            Self::Forbidden => "token_forbidden",
        }
    }
}
