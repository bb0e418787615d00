//! Who may reach a sandbox: tokens of the gateway's own. Pure: bytes and the time come in, a verdict goes out.
//!
//! A [`Bearer`] token is one secret for every sandbox. A scoped token ([`token`]) opens one sandbox until it expires,
//! and is made by whoever has one of the gateway's [`Keys`].
//!
//! A browser cannot send a field of its choice. It brings a token once, in a URL, and gets a [`cookie`] for it; since a
//! browser sends cookies whoever asks it to, every request that comes by one is judged by who asks ([`origin`]), too.
//!
//! A verdict never depends on whether the sandbox exists: it is reached before the directory is asked, so that a client
//! learns nothing about sandboxes that are not its own.

mod bearer;
pub mod cookie;
pub mod origin;
pub mod token;

pub use bearer::{Bearer, credentials};
pub use origin::Asker;
pub use token::{Keys, Scope, Secret, SecretError, TokenError};

/// The query parameter in which a browser brings a token.
pub const PARAMETER: &str = "gateway_token";

/// Which tokens open sandboxes. Without any, everybody may.
#[derive(Debug, Default)]
pub struct Guard {
    /// The token that opens every sandbox.
    pub bearer: Option<Bearer>,
    /// The keys of scoped tokens.
    pub keys: Option<Keys>,
    /// Origins of pages elsewhere that may use sandboxes by a cookie, such as `https://app.example`.
    pub origins: Vec<String>,
    /// How long a cookie is good for at most, in seconds.
    pub cookie_lifetime: i64,
}

/// What a good token gives: as much as a cookie in its place may.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    /// What the cookie is signed with.
    secret: &'a Secret,
    /// The first second, counted from 1970, in which the token opens nothing.
    expires: i64,
}

impl Guard {
    /// Whether tokens are asked for at all.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.bearer.is_some() || self.keys.is_some()
    }

    /// Whether a request with the token `given` may reach `scope` at `now`, in seconds since 1970. A scoped token opens
    /// a name: it is no good for a request that `chooses_address`, since that may lie anywhere. `None` where everybody
    /// may.
    pub fn check(
        &self,
        given: Option<&[u8]>,
        scope: Scope<'_>,
        chooses_address: bool,
        now: i64,
    ) -> Result<Option<Grant<'_>>, AuthError> {
        if !self.is_closed() {
            return Ok(None);
        }
        let given = given.ok_or(AuthError::Missing)?;
        if let Some(bearer) = self.bearer.as_ref().filter(|bearer| bearer.accepts(given)) {
            return Ok(Some(Grant { secret: bearer.cookies(), expires: i64::MAX }));
        }
        let keys = self.keys.as_ref().ok_or(AuthError::Invalid)?;
        let (secret, expires) = keys.signer(token::TOKEN, given, scope, now)?;
        if chooses_address { Err(AuthError::Forbidden) } else { Ok(Some(Grant { secret, expires })) }
    }
}

/// Why a request may not reach its sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no `Authorization: Bearer`, or more than one.
    #[error("the request has no bearer token")]
    Missing,
    /// There is no token in any of the places in which a browser may have one.
    #[error("the request has no token: neither a bearer nor one in its query nor a cookie in its place")]
    Nowhere,
    /// The token is not one of ours, or has expired. One variant for all of these: more would help who guesses.
    #[error("the token is not valid")]
    Invalid,
    /// The token is good for another sandbox, or for no address of the client's choice.
    #[error("the token is not for this sandbox")]
    Forbidden,
    /// The cookie is good, but the browser was made to send it by a page that may not.
    #[error("a page of another origin asks by the cookie of this one")]
    Origin,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Scope<'static> = Scope { namespace: "default", name: "box" };

    #[test]
    fn without_tokens_everybody_may() {
        assert!(matches!(Guard::default().check(None, BOX, true, 0), Ok(None)));
    }

    #[test]
    fn either_kind_of_token_opens_and_a_scoped_one_opens_no_address() {
        let secret = Secret::new(&[b'k'; 32]).unwrap();
        let keys = Keys::new(vec![secret.clone()]);
        let guard = Guard { bearer: Bearer::new("all"), keys, ..Guard::default() };
        let scoped = secret.mint(BOX, 10);
        let check = |token: Option<&str>, chooses_address, now| {
            guard.check(token.map(str::as_bytes), BOX, chooses_address, now).map(|grant| grant.unwrap().expires)
        };
        assert_eq!((check(Some("all"), true, 9), check(Some(&scoped), false, 9)), (Ok(i64::MAX), Ok(10)));
        assert_eq!(check(Some(&scoped), true, 9), Err(AuthError::Forbidden));
        assert_eq!(check(Some("other"), false, 9), Err(AuthError::Invalid));
        assert_eq!(check(None, false, 9), Err(AuthError::Missing));
        assert_eq!(check(Some(&scoped), false, 10), Err(AuthError::Invalid), "it has expired");
    }
}
