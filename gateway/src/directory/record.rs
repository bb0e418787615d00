//! What stands in the Redis hash: the contract with the programs that write it.
//!
//! ```text
//! HSET vnc_sandboxes       Sandbox_ID_37579 10.18.124.21:6080
//!      hash                prefix     id    endpoint; IPv6 as [::1]:6080
//! HSET vnc_sandboxes_state Sandbox_ID_37579 migrating
//!      states              the same field   running, migrating or stopped
//! ```
//!
//! The second hash need not be there, and a sandbox need not be in it. What it says wins over the first: a sandbox that
//! is stopped has no endpoint, whatever is left of its record.
//!
//! A field is matched byte for byte, since a sandbox has exactly one name. A value is trimmed first: `redis-cli -x` and
//! many a template leave a newline behind, and white space around an address cannot mean another address. Host names
//! are refused: they would put a resolver, its delays and its caches behind a lookup that is coherent without them.

use std::net::SocketAddr;

use super::endpoint::{Endpoint, EndpointError, EndpointRules};
use crate::route::SandboxId;

/// The longest value that can be an endpoint, in bytes: a full IPv6 address with scope, brackets and port, with room
/// for white space. What is longer is not even read as text.
pub const VALUE_BYTES_MAX: usize = 128;

/// The longest value that can be a state, in bytes, with room for white space.
const STATE_BYTES_MAX: usize = 32;

/// What stands before a sandbox's id in the names of the hash's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldNames {
    prefix: String,
}

/// Why a value of the directory is no endpoint. Small and without text of its own, because it is cached and shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RecordError {
    /// Not `ip:port` or `[ip]:port`.
    #[error("the directory's value is not an ip:port")]
    Malformed,
    /// An address that no sandbox may have.
    #[error("the directory's endpoint is refused: {0}")]
    Refused(#[from] EndpointError),
}

/// What the second hash says of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is where the first hash says, if it says anything.
    Running,
    /// It is on its way to another host.
    Migrating,
    /// It was stopped for good.
    Stopped,
}

/// Why a sandbox that the hashes know has no endpoint. Cached and shared, as [`RecordError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoEndpoint {
    /// Its record is none.
    #[error(transparent)]
    Unusable(#[from] RecordError),
    /// It was stopped for good.
    #[error("the sandbox was stopped")]
    Stopped,
    /// It is on its way to another host.
    #[error("the sandbox is migrating to another host")]
    Migrating,
}

impl FieldNames {
    /// Names that begin with `prefix`; the contract's is `Sandbox_ID_`.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The field of a sandbox.
    #[must_use]
    pub fn encode(&self, id: &SandboxId) -> String {
        let mut field = String::with_capacity(self.prefix.len() + id.as_str().len());
        field.push_str(&self.prefix);
        field.push_str(id.as_str());
        field
    }

    /// The sandbox of a field; `None` for a field that is none of ours.
    #[must_use]
    pub fn decode(&self, field: &[u8]) -> Option<SandboxId> {
        let id = field.strip_prefix(self.prefix.as_bytes())?;
        std::str::from_utf8(id).ok()?.parse().ok()
    }
}

/// The value of an endpoint.
#[must_use]
pub fn encode_value(endpoint: Endpoint) -> String {
    endpoint.to_string()
}

/// The endpoint of a value.
pub fn decode_value(value: &[u8], rules: &EndpointRules) -> Result<Endpoint, RecordError> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(RecordError::Malformed);
    }
    let text = std::str::from_utf8(value.trim_ascii()).map_err(|_| RecordError::Malformed)?;
    let address: SocketAddr = text.parse().map_err(|_| RecordError::Malformed)?;
    Ok(rules.check(address)?)
}

/// The state of a value of the second hash; `None` for a word that is none.
#[must_use]
pub fn decode_state(value: &[u8]) -> Option<State> {
    if value.len() > STATE_BYTES_MAX {
        return None;
    }
    let word = value.trim_ascii();
    let states = [("running", State::Running), ("migrating", State::Migrating), ("stopped", State::Stopped)];
    states.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, state)| state)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn ids() -> impl Strategy<Value = SandboxId> {
        proptest::string::string_regex("[A-Za-z0-9][A-Za-z0-9._-]{0,62}").unwrap().prop_map(|id| id.parse().unwrap())
    }

    fn endpoints() -> impl Strategy<Value = Endpoint> {
        (any::<IpAddr>(), any::<u16>()).prop_filter_map("only what can be an endpoint", |(ip, port)| {
            EndpointRules::default().check(SocketAddr::new(ip, port)).ok()
        })
    }

    proptest! {
        #[test]
        fn a_field_round_trips(id in ids(), prefix in "[A-Za-z_]{0,12}") {
            let names = FieldNames::new(prefix);
            prop_assert_eq!(names.decode(names.encode(&id).as_bytes()), Some(id));
        }

        #[test]
        fn a_value_round_trips_whatever_white_space_surrounds_it(
            endpoint in endpoints(), before in "[ \t\r\n]{0,3}", after in "[ \t\r\n]{0,3}",
        ) {
            let value = format!("{before}{}{after}", encode_value(endpoint));
            prop_assert_eq!(decode_value(value.as_bytes(), &EndpointRules::default()), Ok(endpoint));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic_or_lie(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let names = FieldNames::new("Sandbox_ID_");
            if let Some(id) = names.decode(&bytes) {
                prop_assert_eq!(names.encode(&id).into_bytes(), bytes.clone());
            }
            if let Ok(endpoint) = decode_value(&bytes, &EndpointRules::default()) {
                let text = encode_value(endpoint);
                prop_assert_eq!(decode_value(text.as_bytes(), &EndpointRules::default()), Ok(endpoint));
            }
        }
    }

    #[test]
    fn the_contracts_own_example() {
        let names = FieldNames::new("Sandbox_ID_");
        let id: SandboxId = "37579".parse().unwrap();
        assert_eq!(names.encode(&id), "Sandbox_ID_37579");
        assert_eq!(names.decode(b"Sandbox_ID_37579"), Some(id));
        let endpoint = decode_value(b"10.18.124.21:6080", &EndpointRules::default()).unwrap();
        assert_eq!(encode_value(endpoint), "10.18.124.21:6080");
        assert_eq!(encode_value(decode_value(b"[::1]:6080", &EndpointRules::default()).unwrap()), "[::1]:6080");
    }

    #[test]
    fn what_is_no_address_is_malformed() {
        let long = [b' '; VALUE_BYTES_MAX + 1];
        let values: [&[u8]; 12] = [
            b"",
            b"6080",
            b"10.0.0.1",
            b"10.0.0.1:",
            b"10.0.0.1:65536",
            b"10.0.0.1 :6080",
            b"::1:6080",
            b"pod-7.default.svc:6080",
            b"http://10.0.0.1:6080",
            b"10.0.0.1:6080,10.0.0.2:6080",
            b"\xff\xfe",
            &long,
        ];
        for value in values {
            assert_eq!(decode_value(value, &EndpointRules::default()), Err(RecordError::Malformed), "{value:?}");
        }
    }

    #[test]
    fn a_state_is_one_of_three_words_whatever_surrounds_it() {
        let states = [("running", State::Running), ("Migrating\n", State::Migrating), (" STOPPED", State::Stopped)];
        for (value, state) in states {
            assert_eq!(decode_state(value.as_bytes()), Some(state), "{value}");
        }
        for value in ["", "paused", "stopped now", "stoppe", "\u{e9}"] {
            assert_eq!(decode_state(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn a_refused_address_keeps_its_reason() {
        let refused = decode_value(b"169.254.169.254:80", &EndpointRules::default());
        assert_eq!(refused, Err(RecordError::Refused(EndpointError::LinkLocal)));
    }

    #[test]
    fn fields_of_others_are_not_ours() {
        let names = FieldNames::new("Sandbox_ID_");
        for field in ["", "Sandbox_ID_", "sandbox_id_1", "Sandbox_ID_ 1", "Sandbox_ID_1/2/3", "Other_1"] {
            assert_eq!(names.decode(field.as_bytes()), None, "{field}");
        }
    }
}
