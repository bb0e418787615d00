//! The cookie that a browser gets in place of a token: `c1.<payload>.<signature>`, written as a scoped token is, and
//! no token anywhere else.
//!
//! It opens one sandbox, is sent to the paths of that sandbox alone, and ends with the token that it was given for, or
//! when its lifetime is over. What the plain token was exchanged for is signed with a secret of that token, so that it
//! ends when the token is replaced.

use super::token::{Kind, TokenError};
use super::{AuthError, Grant, Guard, Scope};

/// The cookie's name. It is between browsers and the gateway: no sandbox sees it.
pub const NAME: &str = "gateway_access";

const COOKIE: Kind = Kind { prefix: "c1.", context: b"splicegate/cookie/c1." };

impl Guard {
    /// The value of the Set-Cookie field that gives a browser what `grant` gives for `scope`, below `path`. `secure` is
    /// whether the browser came by TLS.
    ///
    /// `Lax` keeps the cookie out of what other sites embed or post. Where pages of other origins are let in they must
    /// be able to send it, which browsers allow over TLS only.
    #[must_use]
    pub fn cookie(&self, grant: Grant<'_>, scope: Scope<'_>, path: &str, secure: bool, now: i64) -> String {
        let expires = grant.expires.min(now.saturating_add(self.cookie_lifetime));
        let value = grant.secret.seal(COOKIE, scope, expires);
        let age = expires.saturating_sub(now);
        let site = if secure && !self.origins.is_empty() { "None" } else { "Lax" };
        let secure = if secure { "; Secure" } else { "" };
        format!("{NAME}={value}; Path={path}; Max-Age={age}; HttpOnly; SameSite={site}{secure}")
    }

    /// Whether one of the cookies in the Cookie fields opens `scope` at `now`. A page of another sandbox on the same
    /// origin can set cookies for any path, so that one that is no good must not hide one that is.
    ///
    /// # Errors
    /// What is wrong with those of [`NAME`]; [`AuthError::Nowhere`] if there is none.
    pub fn check_cookies(
        &self,
        fields: impl Iterator<Item: AsRef<[u8]>>,
        scope: Scope<'_>,
        now: i64,
    ) -> Result<(), AuthError> {
        let mut verdict = Err(AuthError::Nowhere);
        for field in fields {
            for value in field.as_ref().split(|&byte| byte == b';').filter_map(value_of) {
                match self.check_cookie(value, scope, now) {
                    Ok(_) => return Ok(()),
                    Err(TokenError::WrongScope) => verdict = Err(AuthError::Forbidden),
                    Err(_) if verdict == Err(AuthError::Nowhere) => verdict = Err(AuthError::Invalid),
                    Err(_) => {}
                }
            }
        }
        verdict
    }

    fn check_cookie(&self, value: &[u8], scope: Scope<'_>, now: i64) -> Result<i64, TokenError> {
        let bearer = self.bearer.as_ref().map(|bearer| bearer.cookies().check(COOKIE, value, scope, now));
        match (bearer, &self.keys) {
            (Some(checked), _) if checked != Err(TokenError::Unsigned) => checked,
            (_, Some(keys)) => keys.signer(COOKIE, value, scope, now).map(|(_, expires)| expires),
            (_, None) => Err(TokenError::Unsigned),
        }
    }
}

/// The value of one `name=value` pair of this name.
fn value_of(pair: &[u8]) -> Option<&[u8]> {
    pair.trim_ascii().strip_prefix(NAME.as_bytes())?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::{Bearer, Keys, Secret};

    const BOX: Scope<'static> = Scope { namespace: "default", name: "box" };
    const OTHER: Scope<'static> = Scope { namespace: "team", name: "box" };

    fn guard(bearer: &str, keys: &[u8]) -> Guard {
        let keys = Keys::new(keys.iter().map(|&key| Secret::new(&[key; 32]).unwrap()).collect());
        Guard { bearer: Bearer::new(bearer), keys, cookie_lifetime: 100, ..Guard::default() }
    }

    fn cookie(guard: &Guard, token: &str, now: i64) -> String {
        let grant = guard.check(Some(token.as_bytes()), BOX, false, now).unwrap().unwrap();
        guard.cookie(grant, BOX, "/b/", false, now)
    }

    fn check(guard: &Guard, field: &str, scope: Scope<'_>, now: i64) -> Result<(), AuthError> {
        guard.check_cookies([field].into_iter(), scope, now)
    }

    proptest! {
        #[test]
        fn no_bytes_open_but_those_that_were_given(noise in proptest::collection::vec(any::<u8>(), 0..80), at: u8) {
            let guard = guard("all", b"k");
            prop_assert!(guard.check_cookies([&noise].into_iter(), BOX, 0).is_err());
            let set = cookie(&guard, "all", 0);
            let mut pair = set.split_once(';').expect("attributes follow").0.to_owned().into_bytes();
            let place = NAME.len() + 1 + usize::from(at) % (pair.len() - NAME.len() - 1);
            pair[place] = if pair[place] == b'x' { b'y' } else { b'x' };
            prop_assert!(guard.check_cookies([&pair].into_iter(), BOX, 0).is_err(), "one byte is another");
        }
    }

    #[test]
    fn a_cookie_opens_its_sandbox_until_it_or_its_token_ends() {
        let guard = guard("all", b"k");
        let scoped = Secret::new(&[b'k'; 32]).unwrap().mint(BOX, 1050);
        for (token, age) in [("all", 100), (scoped.as_str(), 50)] {
            let set = cookie(&guard, token, 1000);
            let (pair, attributes) = set.split_once("; ").unwrap();
            assert_eq!(attributes, format!("Path=/b/; Max-Age={age}; HttpOnly; SameSite=Lax"));
            assert_eq!(check(&guard, pair, BOX, 1000 + age - 1), Ok(()));
            assert_eq!(check(&guard, pair, BOX, 1000 + age), Err(AuthError::Invalid));
            assert_eq!(check(&guard, pair, OTHER, 1000), Err(AuthError::Forbidden));
            assert_eq!(check(&guard, &format!("{pair}x"), BOX, 1000), Err(AuthError::Invalid));
            let value = pair.split_once('=').unwrap().1;
            let as_token = guard.check(Some(value.as_bytes()), BOX, false, 1000);
            assert_eq!(as_token.map(|_| ()), Err(AuthError::Invalid), "a cookie is no token");
        }
        assert_eq!(check(&guard, &format!("{NAME}={scoped}"), BOX, 1000), Err(AuthError::Invalid), "nor the reverse");
    }

    #[test]
    fn it_ends_with_what_it_was_given_for() {
        let both = guard("all", b"k");
        let by_bearer = cookie(&both, "all", 0);
        assert_eq!(check(&both, &by_bearer, BOX, 0), Ok(()));
        assert_eq!(check(&guard("new", b"k"), &by_bearer, BOX, 0), Err(AuthError::Invalid));
        let by_key = cookie(&both, &Secret::new(&[b'k'; 32]).unwrap().mint(BOX, 9), 0);
        assert_eq!(check(&guard("new", b"nk"), &by_key, BOX, 0), Ok(()), "its key is the older one");
        assert_eq!(check(&guard("", b"n"), &by_key, BOX, 0), Err(AuthError::Invalid));
    }

    #[test]
    fn one_that_is_no_good_hides_none_that_is() {
        let guard = guard("all", b"");
        let set = cookie(&guard, "all", 0);
        let good = set.split_once(';').unwrap().0;
        assert_eq!(check(&guard, &format!("{NAME}=x; a=b;{good}; {NAME}="), BOX, 0), Ok(()));
        assert_eq!(check(&guard, "a=b", BOX, 0), Err(AuthError::Nowhere));
        assert_eq!(check(&guard, &format!("x{good}"), BOX, 0), Err(AuthError::Nowhere));
    }

    #[test]
    fn other_sites_can_send_it_over_tls_where_one_of_them_may() {
        let guard = Guard { origins: vec!["https://app.example".to_owned()], ..guard("all", b"") };
        let grant = guard.check(Some(b"all"), BOX, false, 0).unwrap().unwrap();
        assert!(guard.cookie(grant, BOX, "/", true, 0).ends_with("; HttpOnly; SameSite=None; Secure"));
        assert!(guard.cookie(grant, BOX, "/", false, 0).ends_with("; HttpOnly; SameSite=Lax"));
    }
}
