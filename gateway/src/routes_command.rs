//! `gateway routes`: reading and writing the hash of the Redis directory by hand.
//!
//! Nouns read, verbs change: `list` and `get` only look. What is written goes through the same codec and the same
//! endpoint check as what the gateway reads, so that it cannot write a record that it would refuse.

use std::io::{self, Write};
use std::net::SocketAddr;

use crate::config::RedisConfig;
use crate::directory::record::{self, FieldNames};
use crate::directory::redis::{ConnectError, Server};
use crate::directory::{EndpointError, EndpointRules, ServerError};
use crate::route::SandboxId;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum RoutesAction {
    /// Print every sandbox with its endpoint, one per line, in the order of ids
    List,
    /// Print the endpoint of one sandbox
    Get {
        /// Which sandbox
        id: SandboxId,
    },
    /// Add a sandbox, or move it
    Set {
        /// Which sandbox
        id: SandboxId,
        /// Where it listens: IP:PORT
        endpoint: SocketAddr,
    },
    /// Remove a sandbox; every gateway closes its streams within a second
    Remove {
        /// Which sandbox
        id: SandboxId,
    },
}

/// Why an action failed.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// The configuration names no server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The server cannot be reached, or refused a command.
    #[error("redis at {address}: {source}")]
    Redis {
        /// Which server.
        address: String,
        /// What went wrong.
        source: ConnectError,
    },
    /// The directory does not have the sandbox.
    #[error("sandbox {0} is not in the directory")]
    NotFound(SandboxId),
    /// The record of the sandbox is of no use to a gateway.
    #[error("sandbox {id} has the value \"{value}\": {source}")]
    Record {
        /// The sandbox.
        id: SandboxId,
        /// What stands in the hash, with everything but printable ASCII escaped.
        value: String,
        /// Why it is of no use.
        source: record::RecordError,
    },
    /// No gateway would accept this endpoint.
    #[error("{endpoint} cannot be an endpoint: {source}")]
    Endpoint {
        /// What was to be written.
        endpoint: SocketAddr,
        /// Why not.
        source: EndpointError,
    },
    /// The result could not be printed.
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
}

/// Does `action` on the hash that `redis` names, and prints what it found to `out`. Wants a tokio runtime with I/O and
/// time.
pub async fn run(action: RoutesAction, redis: &RedisConfig, out: &mut dyn Write) -> Result<(), RoutesError> {
    let server = Server::new(redis)?;
    let names = FieldNames::new(&*redis.field_prefix);
    let failed = |source: ConnectError| RoutesError::Redis { address: server.address(), source };
    let mut link = server.connect().await.map_err(failed)?;
    match action {
        RoutesAction::List => {
            let fields = link.get_all().await.map_err(|error| failed(error.into()))?;
            list(fields, &names, out)
        }
        RoutesAction::Get { id } => {
            let value = link.get(&names.encode(&id)).await.map_err(|error| failed(error.into()))?;
            get(id, value, out)
        }
        RoutesAction::Set { id, endpoint } => {
            let checked = EndpointRules::default().check(endpoint);
            let checked = checked.map_err(|source| RoutesError::Endpoint { endpoint, source })?;
            let value = record::encode_value(checked);
            link.set(&names.encode(&id), &value).await.map_err(|error| failed(error.into()))
        }
        RoutesAction::Remove { id } => {
            let removed = link.remove(&names.encode(&id)).await.map_err(|error| failed(error.into()))?;
            if removed { Ok(()) } else { Err(RoutesError::NotFound(id)) }
        }
    }
}

/// What is no route is printed too, as a comment: an operator who lists wants to see why a sandbox is not reached.
fn list(fields: Vec<(Vec<u8>, Vec<u8>)>, names: &FieldNames, out: &mut dyn Write) -> Result<(), RoutesError> {
    let mut routes = Vec::with_capacity(fields.len());
    let mut others = Vec::new();
    for (field, value) in fields {
        match (names.decode(&field), record::decode_value(&value, &EndpointRules::default())) {
            (Some(id), Ok(endpoint)) => routes.push((id, endpoint)),
            (Some(_), Err(error)) => others.push((field, value, error.to_string())),
            (None, _) => others.push((field, value, "the field does not name a sandbox".to_owned())),
        }
    }
    routes.sort_by(|(a, _), (b, _)| (a.as_str().len(), a).cmp(&(b.as_str().len(), b)));
    others.sort();
    for (id, endpoint) in routes {
        writeln!(out, "{id} {endpoint}")?;
    }
    for (field, value, reason) in others {
        writeln!(out, "# {} {}: {reason}", field.escape_ascii(), value.escape_ascii())?;
    }
    Ok(())
}

fn get(id: SandboxId, value: Option<Vec<u8>>, out: &mut dyn Write) -> Result<(), RoutesError> {
    let Some(value) = value else { return Err(RoutesError::NotFound(id)) };
    match record::decode_value(&value, &EndpointRules::default()) {
        Ok(endpoint) => Ok(writeln!(out, "{endpoint}")?),
        Err(source) => Err(RoutesError::Record { id, value: value.escape_ascii().to_string(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::redis::RedisServer;

    async fn printed(action: RoutesAction, redis: &RedisConfig) -> Result<String, String> {
        let mut out = Vec::new();
        match run(action, redis, &mut out).await {
            Ok(()) => Ok(String::from_utf8(out).unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn id(text: &str) -> SandboxId {
        text.parse().unwrap()
    }

    fn set(sandbox: &str, endpoint: &str) -> RoutesAction {
        RoutesAction::Set { id: id(sandbox), endpoint: endpoint.parse().unwrap() }
    }

    #[tokio::test]
    async fn what_is_set_is_listed_found_and_removed() {
        let Some(server) = RedisServer::start(&[]).await else { return };
        let redis = RedisConfig::at(server.url());
        for action in [set("100", "10.0.0.1:6080"), set("9", "[::1]:6080"), set("cl-a", "10.0.0.1:1")] {
            assert_eq!(printed(action, &redis).await, Ok(String::new()));
        }
        assert_eq!(printed(set("9", "10.0.0.9:6080"), &redis).await, Ok(String::new()));
        let listed = "9 10.0.0.9:6080\n100 10.0.0.1:6080\ncl-a 10.0.0.1:1\n";
        assert_eq!(printed(RoutesAction::List, &redis).await, Ok(listed.to_owned()));
        assert_eq!(printed(RoutesAction::Get { id: id("9") }, &redis).await, Ok("10.0.0.9:6080\n".to_owned()));

        assert_eq!(printed(RoutesAction::Remove { id: id("9") }, &redis).await, Ok(String::new()));
        let gone = Err("sandbox 9 is not in the directory".to_owned());
        assert_eq!(printed(RoutesAction::Get { id: id("9") }, &redis).await, gone);
        assert_eq!(printed(RoutesAction::Remove { id: id("9") }, &redis).await, gone);
    }

    #[tokio::test]
    async fn what_no_gateway_would_use_is_neither_written_nor_hidden() {
        let Some(server) = RedisServer::start(&[]).await else { return };
        let redis = RedisConfig::at(server.url());
        let refused = printed(set("1", "169.254.169.254:80"), &redis).await;
        assert_eq!(refused, Err("169.254.169.254:80 cannot be an endpoint: its address is link-local".to_owned()));

        let mut link = Server::new(&redis).unwrap().connect().await.unwrap();
        link.set("Sandbox_ID_1", "pod\n1:80").await.unwrap();
        link.set("other", "10.0.0.1:80").await.unwrap();
        let listed = "# Sandbox_ID_1 pod\\n1:80: the directory's value is not an ip:port\n\
                      # other 10.0.0.1:80: the field does not name a sandbox\n";
        assert_eq!(printed(RoutesAction::List, &redis).await, Ok(listed.to_owned()));
        let error = printed(RoutesAction::Get { id: id("1") }, &redis).await.unwrap_err();
        assert_eq!(error, "sandbox 1 has the value \"pod\\n1:80\": the directory's value is not an ip:port");
    }

    #[tokio::test]
    async fn a_server_that_cannot_be_used_is_named_without_its_password() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = RedisConfig::at(format!("unix:{}?pass=secret", folder.path().join("nothing").display()));
        let error = printed(RoutesAction::List, &nowhere).await.unwrap_err();
        assert!(error.starts_with("redis at ") && error.contains("nothing") && !error.contains("secret"), "{error}");

        let Some(server) = RedisServer::start(&["--requirepass", "right"]).await else { return };
        let wrong = RedisConfig::at(format!("{}?pass=secret", server.url()));
        let error = printed(RoutesAction::List, &wrong).await.unwrap_err();
        assert!(error.starts_with("redis at ") && !error.contains("secret"), "{error}");
        println!("{error}");
    }
}
