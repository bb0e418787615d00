//! The query of `/streams`, parsed strictly: a filter that was misspelt must not look like one that matched everything.

use std::num::ParseIntError;
use std::str::FromStr;

use crate::route::SandboxId;
use crate::route::sandbox_id::SandboxIdError;

/// How many streams are listed when the query does not say.
const LIMIT_DEFAULT: usize = 10_000;
/// How many streams one answer lists at most: about 25 MB of JSON.
const LIMIT_MAX: usize = 100_000;

/// Which streams to list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StreamsQuery {
    /// Only those of this sandbox.
    pub(super) sandbox: Option<SandboxId>,
    /// At most this many.
    pub(super) limit: usize,
}

/// Why a query is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    #[error("sandbox: {0}")]
    Sandbox(#[from] SandboxIdError),
    #[error("limit: {0}")]
    Limit(#[from] ParseIntError),
    #[error("limit: at most {LIMIT_MAX}")]
    LimitTooLarge,
    #[error("only sandbox=ID and limit=N are known")]
    UnknownKey,
}

impl FromStr for StreamsQuery {
    type Err = QueryError;

    /// Parses `sandbox=37579&limit=10`. Neither value needs percent-encoding, so none is undone.
    fn from_str(query: &str) -> Result<Self, Self::Err> {
        let mut parsed = Self { sandbox: None, limit: LIMIT_DEFAULT };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sandbox", id)) => parsed.sandbox = Some(id.parse()?),
                Some(("limit", limit)) => parsed.limit = limit.parse()?,
                _ => return Err(QueryError::UnknownKey),
            }
        }
        if parsed.limit > LIMIT_MAX { Err(QueryError::LimitTooLarge) } else { Ok(parsed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_keys_are_optional() {
        let parse = |text: &str| text.parse::<StreamsQuery>();
        let sandbox = Some("37579".parse().unwrap());
        assert_eq!(parse(""), Ok(StreamsQuery { sandbox: None, limit: LIMIT_DEFAULT }));
        assert_eq!(parse("limit=2&sandbox=37579"), Ok(StreamsQuery { sandbox, limit: 2 }));
        assert_eq!(parse("limit=0").map(|query| query.limit), Ok(0));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for query in ["sandbx=1", "sandbox", "sandbox=", "sandbox=a/b/c", "limit=-1", "limit=", "limit=100001", "limit"]
        {
            assert!(query.parse::<StreamsQuery>().is_err(), "{query}");
        }
    }
}
