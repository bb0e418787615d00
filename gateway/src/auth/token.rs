//! Scoped tokens: `v1.<payload>.<signature>`.
//!
//! The payload is the base64url of `{"ns":"default","name":"box","exp":1764068400}`: for which sandbox, and until when.
//! The signature is the base64url of HMAC-SHA256 over a context and the payload as it is written; the context keeps a
//! signature that something else made with the same secret from being a token. Both are without padding. The format is
//! that of the agent-sandbox router, so that whoever makes tokens for that one makes them for this one.
//!
//! The signature is checked before a byte of the payload is read.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};

/// The shortest secret, in bytes: as long as the signature. Every token lets its holder guess the secret at leisure.
pub const SECRET_BYTES_MIN: usize = 32;

/// How many secrets may be in use at one time: the one that new tokens are made with, and the one before it.
pub const KEYS_MAX: usize = 2;

/// The longest token that is looked at, in bytes. A namespace and a name of 63 bytes each make one of 280.
pub const TOKEN_BYTES_MAX: usize = 1024;

/// What is signed: each kind has a beginning and a context of its own, so that one never passes for another.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// What stands before the payload.
    pub(super) prefix: &'static str,
    /// What is signed before it.
    pub(super) context: &'static [u8],
}

pub(super) const TOKEN: Kind = Kind { prefix: "v1.", context: b"agent-sandbox/scoped-token/v1." };

/// A secret that tokens are made and checked with.
#[derive(Clone)]
pub struct Secret(hmac::Key);

/// Why a text is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token secret has {SECRET_BYTES_MIN} bytes at least, not {bytes}")]
pub struct SecretError {
    /// How many it has, without the white space around it.
    pub bytes: usize,
}

/// The secrets that tokens are checked with: [`KEYS_MAX`] at most, so that one can take the other's place while tokens
/// of both are out.
#[derive(Debug, Clone)]
pub struct Keys(Vec<Secret>);

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The sandbox's namespace; `default` where a way in has none.
    pub namespace: &'a str,
    /// The sandbox's name in it.
    pub name: &'a str,
}

/// Why a token opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not written as a token is, or none of the keys has signed it.
    #[error("the token is not signed by a key of this gateway")]
    Unsigned,
    /// It was good until now.
    #[error("the token has expired")]
    Expired,
    /// It is good, but for another sandbox.
    #[error("the token is for another sandbox")]
    WrongScope,
}

#[derive(Serialize, Deserialize)]
struct Claims<'a> {
    #[serde(rename = "ns", borrow)]
    namespace: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
    /// Seconds since 1970: the first one in which the token opens nothing.
    exp: i64,
}

impl Secret {
    /// The secret in a file or variable, without the white space around it.
    pub fn new(text: &[u8]) -> Result<Self, SecretError> {
        let secret = text.trim_ascii();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(SecretError { bytes: secret.len() });
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// Makes a token that opens `scope` until `expires`, in seconds since 1970.
    #[must_use]
    pub fn mint(&self, scope: Scope<'_>, expires: i64) -> String {
        self.seal(TOKEN, scope, expires)
    }

    /// A secret of its own, made from a shorter one: whoever has what it signs guesses at `from`, and not at this.
    pub(super) fn derived(from: &hmac::Key, purpose: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(from, purpose).as_ref()))
    }

    pub(super) fn seal(&self, kind: Kind, scope: Scope<'_>, expires: i64) -> String {
        let claims = Claims { namespace: scope.namespace.into(), name: scope.name.into(), exp: expires };
        let payload = serde_json::to_vec(&claims).expect("two strings and a number are JSON");
        let payload = URL_SAFE_NO_PAD.encode(payload);
        let signature = hmac::sign(&self.0, &[kind.context, payload.as_bytes()].concat());
        format!("{}{payload}.{}", kind.prefix, URL_SAFE_NO_PAD.encode(signature))
    }

    /// Whether `given` was signed with this secret and opens `scope` at `now`; returns when it ends. The signature is
    /// compared in constant time: `hmac::verify` computes it itself and tells nothing but the result.
    pub(super) fn check(&self, kind: Kind, given: &[u8], scope: Scope<'_>, now: i64) -> Result<i64, TokenError> {
        let (payload, signature) = parts(kind, given).ok_or(TokenError::Unsigned)?;
        hmac::verify(&self.0, &[kind.context, payload].concat(), &signature).map_err(|_| TokenError::Unsigned)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Unsigned)?;
        let claims: Claims<'_> = serde_json::from_slice(&payload).map_err(|_| TokenError::Unsigned)?;
        if now >= claims.exp {
            return Err(TokenError::Expired);
        }
        if claims.namespace != scope.namespace || claims.name != scope.name {
            return Err(TokenError::WrongScope);
        }
        Ok(claims.exp)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secret").finish_non_exhaustive()
    }
}

impl Keys {
    /// `None` without a secret, or with more than [`KEYS_MAX`].
    #[must_use]
    pub fn new(secrets: Vec<Secret>) -> Option<Self> {
        (1..=KEYS_MAX).contains(&secrets.len()).then_some(Self(secrets))
    }

    /// The secret that tokens are made with.
    #[must_use]
    pub fn first(&self) -> &Secret {
        let Self(secrets) = self;
        secrets.first().expect("a set of keys has one at least")
    }

    /// The secret that has signed `given`, if that opens `scope` at `now`, and when it ends.
    pub(super) fn signer(
        &self,
        kind: Kind,
        given: &[u8],
        scope: Scope<'_>,
        now: i64,
    ) -> Result<(&Secret, i64), TokenError> {
        let Self(secrets) = self;
        let mut checked = secrets.iter().map(|secret| secret.check(kind, given, scope, now).map(|end| (secret, end)));
        checked.find(|checked| !matches!(checked, Err(TokenError::Unsigned))).unwrap_or(Err(TokenError::Unsigned))
    }
}

impl From<TokenError> for super::AuthError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Unsigned | TokenError::Expired => Self::Invalid,
            TokenError::WrongScope => Self::Forbidden,
        }
    }
}

/// The payload as it is written, and the signature.
fn parts(kind: Kind, token: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let rest = token.strip_prefix(kind.prefix.as_bytes())?;
    let dot = rest.iter().position(|&byte| byte == b'.')?;
    let signature = URL_SAFE_NO_PAD.decode(&rest[dot + 1..]).ok()?;
    Some((&rest[..dot], signature))
}

#[cfg(test)]
mod tests;
