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

/// Which tokens open sandboxes. Without any, everybody may.
#[derive(Debug, Default)]
pub struct Guard {
    /// The token that opens every sandbox.
    pub bearer: Option<Bearer>,
    /// The keys of scoped tokens.
    pub keys: Option<Keys>,
}

impl Guard {
    /// Whether tokens are asked for at all: the Authorization field is the gateway's then, and no sandbox's.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.bearer.is_some() || self.keys.is_some()
    }

    /// Whether a request with the token `given` may reach `scope` at `now`, in seconds since 1970. A scoped token opens
    /// a name: it is no good for a request that `chooses_address`, since that may lie anywhere.
    pub fn check(
        &self,
        given: Option<&[u8]>,
        scope: Scope<'_>,
        chooses_address: bool,
        now: i64,
    ) -> Result<(), AuthError> {
        if !self.is_closed() {
            return Ok(());
        }
        let given = given.ok_or(AuthError::Missing)?;
        if self.bearer.as_ref().is_some_and(|bearer| bearer.accepts(given)) {
            return Ok(());
        }
        let keys = self.keys.as_ref().ok_or(AuthError::Invalid)?;
        keys.check(given, scope, now)?;
        if chooses_address { Err(AuthError::Forbidden) } else { Ok(()) }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Scope<'static> = Scope { namespace: "default", name: "box" };

    #[test]
    fn without_tokens_everybody_may() {
        assert_eq!(Guard::default().check(None, BOX, true, 0), Ok(()));
    }

    #[test]
    fn either_kind_of_token_opens_and_a_scoped_one_opens_no_address() {
        let secret = Secret::new(&[b'k'; 32]).unwrap();
        let guard = Guard { bearer: Bearer::new("all"), keys: Keys::new(vec![secret.clone()]) };
        let scoped = secret.mint(BOX, 10);
        let check = |token: &str, chooses_address| guard.check(Some(token.as_bytes()), BOX, chooses_address, 9);
        assert_eq!((check("all", true), check(&scoped, false)), (Ok(()), Ok(())));
        assert_eq!(check(&scoped, true), Err(AuthError::Forbidden));
        assert_eq!(check("other", false), Err(AuthError::Invalid));
        assert_eq!(guard.check(None, BOX, false, 9), Err(AuthError::Missing));
        assert_eq!(guard.check(Some(scoped.as_bytes()), BOX, false, 10), Err(AuthError::Invalid), "it has expired");
    }
}
