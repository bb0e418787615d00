//! Tokens that open, and all the ways in which they do not.

use proptest::prelude::*;

use super::*;

const BOX: Scope<'static> = Scope { namespace: "default", name: "box" };
const NOW: i64 = 1_764_068_400;

fn secret(text: &str) -> Secret {
    Secret::new(format!("{text:-<32}").as_bytes()).unwrap()
}

fn keys(secrets: &[&Secret]) -> Keys {
    Keys::new(secrets.iter().copied().cloned().collect()).unwrap()
}

impl Keys {
    fn check(&self, token: &[u8], scope: Scope<'_>, now: i64) -> Result<i64, TokenError> {
        self.signer(TOKEN, token, scope, now).map(|(_, expires)| expires)
    }
}

fn signature(secret: &Secret, payload: &str) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(&secret.0, &[TOKEN.context, payload.as_bytes()].concat()))
}

/// Made outside this program: HMAC-SHA256 by Python's hmac over the format's description.
#[test]
fn a_token_of_another_maker_is_read() {
    let secret = Secret::new(b"0123456789abcdef0123456789abcdef\n").unwrap();
    let token = concat!(
        "v1.eyJucyI6ImRlZmF1bHQiLCJuYW1lIjoiYm94IiwiZXhwIjoxNzY0MDY4NDAwfQ.",
        "0Xqg0jfVfW3SVI-SJQD6Bn2mCbjwxd17p8IGB0Myz-s"
    );
    assert_eq!(secret.mint(BOX, NOW), token);
    assert_eq!(keys(&[&secret]).check(token.as_bytes(), BOX, NOW - 1), Ok(NOW));
}

#[test]
fn a_token_opens_its_own_sandbox_until_its_last_second() {
    let secret = secret("a");
    let token = secret.mint(BOX, NOW + 60);
    let keys = keys(&[&secret]);
    assert_eq!(keys.check(token.as_bytes(), BOX, NOW), Ok(NOW + 60));
    assert_eq!(keys.check(token.as_bytes(), BOX, NOW + 59), Ok(NOW + 60));
    assert_eq!(keys.check(token.as_bytes(), BOX, NOW + 60), Err(TokenError::Expired));
    for other in [Scope { name: "box2", ..BOX }, Scope { namespace: "other", ..BOX }, Scope { name: "", ..BOX }] {
        assert_eq!(keys.check(token.as_bytes(), other, NOW), Err(TokenError::WrongScope), "{other:?}");
    }
}

#[test]
fn both_keys_of_a_rotation_are_good_and_a_third_is_not() {
    let (new, old, other) = (secret("new"), secret("old"), secret("other"));
    let keys = keys(&[&new, &old]);
    let check = |secret: &Secret| keys.check(secret.mint(BOX, NOW + 1).as_bytes(), BOX, NOW);
    assert_eq!((check(&new), check(&old), check(&other)), (Ok(NOW + 1), Ok(NOW + 1), Err(TokenError::Unsigned)));
    assert!(Keys::new(vec![new.clone(), old, other]).is_none() && Keys::new(Vec::new()).is_none());
    assert_eq!(keys.first().mint(BOX, NOW), new.mint(BOX, NOW));
}

#[test]
fn a_signature_of_something_else_is_none() {
    let secret = secret("a");
    let token = secret.mint(BOX, NOW + 60);
    let payload = token.split('.').nth(1).unwrap();
    let plain = URL_SAFE_NO_PAD.encode(hmac::sign(&secret.0, payload.as_bytes()));
    let forged = format!("v1.{payload}.{plain}");
    assert_eq!(keys(&[&secret]).check(forged.as_bytes(), BOX, NOW), Err(TokenError::Unsigned));
}

#[test]
fn a_signed_payload_that_is_none_of_ours_opens_nothing() {
    let secret = secret("a");
    for payload in ["", "{}", "null", r#"{"ns":"default","name":"box"}"#, r#"{"ns":"default","name":"box","exp":"9"}"#]
    {
        let payload = URL_SAFE_NO_PAD.encode(payload);
        let token = format!("v1.{payload}.{}", signature(&secret, &payload));
        assert_eq!(keys(&[&secret]).check(token.as_bytes(), BOX, NOW), Err(TokenError::Unsigned), "{token}");
    }
}

#[test]
fn a_short_secret_is_refused_and_none_shows_in_logs() {
    assert_eq!(Secret::new(b" too short \n").unwrap_err(), SecretError { bytes: 9 });
    assert_eq!(Secret::new(&[b' '; 64]).unwrap_err(), SecretError { bytes: 0 });
    assert_eq!(format!("{:?}", keys(&[&secret("hush")])), "Keys([Secret(..)])");
}

proptest! {
    #[test]
    fn every_token_that_is_made_is_read_again(
        namespace in "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name in "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
        expires in 1..i64::MAX,
    ) {
        let secret = secret("a");
        let scope = Scope { namespace: &namespace, name: &name };
        let token = secret.mint(scope, expires);
        prop_assert!(token.len() <= TOKEN_BYTES_MAX);
        prop_assert_eq!(keys(&[&secret]).check(token.as_bytes(), scope, expires - 1), Ok(expires));
    }

    #[test]
    fn a_token_with_any_byte_changed_opens_nothing(at: prop::sample::Index, byte: u8) {
        let secret = secret("a");
        let mut token = secret.mint(BOX, NOW + 60).into_bytes();
        let at = at.index(token.len());
        prop_assume!(token[at] != byte);
        token[at] = byte;
        prop_assert_eq!(keys(&[&secret]).check(&token, BOX, NOW), Err(TokenError::Unsigned));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), prefixed: bool) {
        let token = if prefixed { [b"v1.", &bytes[..]].concat() } else { bytes };
        prop_assert_eq!(keys(&[&secret("a")]).check(&token, BOX, NOW), Err(TokenError::Unsigned));
    }
}
