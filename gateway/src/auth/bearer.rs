//! The plain token, and the field that carries tokens (RFC 6750 section 2.1).

use std::fmt;

use ring::hmac;

use super::Secret;

/// The one token that opens every sandbox.
///
/// It is not kept: what is kept is a MAC of it under itself. A given token is compared through its MAC, whose
/// computation and comparison do not depend on where two tokens of one length differ.
#[derive(Clone)]
pub struct Bearer {
    key: hmac::Key,
    tag: hmac::Tag,
    cookies: Secret,
}

impl Bearer {
    /// `None` for a token without a character: white space around it does not count, since files and templates end
    /// with a newline.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let token = text.trim_ascii();
        if token.is_empty() {
            return None;
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
        let tag = hmac::sign(&key, token.as_bytes());
        let cookies = Secret::derived(&key, b"splicegate/cookies/v1");
        Some(Self { key, tag, cookies })
    }

    /// What the cookies that stand for this token are signed with: they end when the token is replaced.
    pub(super) fn cookies(&self) -> &Secret {
        &self.cookies
    }

    /// Whether `given` is the token.
    #[must_use]
    pub fn accepts(&self, given: &[u8]) -> bool {
        hmac::verify(&self.key, given, self.tag.as_ref()).is_ok()
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").finish_non_exhaustive()
    }
}

/// The token in a request's Authorization fields, `Bearer` in any case of letters. `None` if there is not exactly one
/// field: of two, the sandbox and the gateway might each believe another one.
pub fn credentials<'a>(mut fields: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let (Some(only), None) = (fields.next(), fields.next()) else { return None };
    let (scheme, token) = only.split_at_checked("Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_accepted_and_nothing_else_is() {
        let bearer = Bearer::new(" s3cret\n").unwrap();
        assert!(bearer.accepts(b"s3cret"));
        for other in [&b""[..], b"s3cre", b"s3cret ", b"s3crets", b"S3cret", b"\0"] {
            assert!(!bearer.accepts(other), "{other:?}");
        }
        assert!(Bearer::new(" \n").is_none(), "white space would open every sandbox to whoever sends none");
    }

    #[test]
    fn it_does_not_show_in_logs() {
        let bearer = Bearer::new("s3cret").unwrap();
        assert_eq!(format!("{bearer:?}"), "Bearer { .. }");
    }

    #[test]
    fn only_one_authorization_field_with_the_scheme_has_a_token() {
        let token = |fields: &[&'static str]| credentials(fields.iter().map(|field| field.as_bytes()));
        assert_eq!(token(&["Bearer abc"]), Some(&b"abc"[..]));
        assert_eq!(token(&["bEARER   abc "]), Some(&b"abc"[..]));
        for none in [&[][..], &["Bearer"], &["Bearer "], &["Basic abc"], &["Bearerabc"], &["abc"], &[""]] {
            assert_eq!(token(none), None, "{none:?}");
        }
        assert_eq!(token(&["Bearer abc", "Bearer abc"]), None);
    }
}
