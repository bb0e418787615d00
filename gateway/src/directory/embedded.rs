//! A directory that needs no server: the table the program was started with.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;

use super::endpoint::{EndpointError, EndpointRules};
use super::{LocateError, Located};
use crate::route::SandboxId;

/// The table never changes, so one generation serves it.
const GENERATION: u64 = 1;

/// Sandboxes and their checked endpoints.
pub(super) struct Table {
    located: HashMap<SandboxId, Located>,
}

/// Endpoints of a table that no sandbox may have: all of them, so that one start of the program shows every mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct TableError {
    /// Each sandbox with its address and what is wrong with it, in the order of ids. Never empty.
    pub refused: Vec<(SandboxId, SocketAddr, EndpointError)>,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (id, address, error)) in self.refused.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}sandbox {id} cannot be at {address}: {error}")?;
        }
        Ok(())
    }
}

impl Table {
    /// Checks every endpoint.
    pub(super) fn new(table: &BTreeMap<SandboxId, SocketAddr>, rules: &EndpointRules) -> Result<Self, TableError> {
        let mut located = HashMap::with_capacity(table.len());
        let mut refused = Vec::new();
        for (id, address) in table {
            match rules.check(*address) {
                Ok(endpoint) => {
                    located.insert(id.clone(), Located { endpoint, generation: GENERATION });
                }
                Err(error) => refused.push((id.clone(), *address, error)),
            }
        }
        if refused.is_empty() { Ok(Self { located }) } else { Err(TableError { refused }) }
    }

    /// Where `id` listens.
    pub(super) fn locate(&self, id: &SandboxId) -> Result<Located, LocateError> {
        self.located.get(id).copied().ok_or(LocateError::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pairs: &[(&str, &str)]) -> BTreeMap<SandboxId, SocketAddr> {
        pairs.iter().map(|(id, address)| (id.parse().unwrap(), address.parse().unwrap())).collect()
    }

    #[test]
    fn what_was_given_is_found_and_nothing_else() {
        let table =
            Table::new(&table(&[("37579", "127.0.0.1:6080"), ("b", "[::1]:1")]), &EndpointRules::default()).unwrap();
        let located = table.locate(&"37579".parse().unwrap()).unwrap();
        assert_eq!(located.endpoint.to_string(), "127.0.0.1:6080");
        assert_eq!(table.locate(&"37580".parse().unwrap()), Err(LocateError::NotFound));
    }

    #[test]
    fn every_refused_endpoint_is_named() {
        let pairs = [("1", "127.0.0.1:6080"), ("2", "169.254.169.254:80"), ("3", "10.0.0.1:0")];
        let error = Table::new(&table(&pairs), &EndpointRules::default()).err().unwrap();
        assert_eq!(
            error.to_string(),
            "sandbox 2 cannot be at 169.254.169.254:80: its address is link-local; \
             sandbox 3 cannot be at 10.0.0.1:0: its port is 0"
        );
    }
}
