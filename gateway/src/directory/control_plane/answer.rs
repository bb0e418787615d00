//! One question to the control plane, and what its answer means.

use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::config::ControlPlaneConfig;
use crate::directory::endpoint::{Endpoint, EndpointRules};
use crate::directory::{LocateError, StateName, record};
use crate::route::SandboxId;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// The longest time to live that is believed: a day.
const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What the control plane says of a sandbox: where it listens and for how long that holds, or why it does not.
pub(super) type Said = Result<(Endpoint, Duration), LocateError>;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Asks for `id`. `None` if there was no answer, or none that means anything; the log has the reason.
pub(super) async fn ask(config: &ControlPlaneConfig, rules: &EndpointRules, id: &SandboxId) -> Option<Said> {
    let uri = config.url.replace("{id}", id.as_str());
    let said = match tokio::time::timeout(config.timeout, exchange(&uri)).await {
        Ok(Ok((status, body))) => {
            read(status, &body, rules, config.ttl).ok_or_else(|| format!("it answered {status}").into())
        }
        Ok(Err(error)) => Err(error),
        Err(late) => Err(late.into()),
    };
    said.inspect_err(|error: &Error| tracing::debug!(sandbox = %id, %error, "the control plane cannot be asked")).ok()
}

/// One connection per question: an answer holds for minutes, so there is little to save, and no kept connection that
/// has died meanwhile. The name is looked up each time, so that a control plane may move.
async fn exchange(uri: &str) -> Result<(StatusCode, Bytes), Error> {
    let uri: Uri = uri.parse()?;
    let host = uri.host().ok_or("the URL has no host")?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, uri.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(uri.path_and_query().map_or("/", |target| target.as_str()))
        .header("host", uri.authority().map_or("", |authority| authority.as_str()))
        .header("accept", "application/json")
        .header("connection", "close")
        .body(Body::empty())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok::<_, Error>((status, axum::body::to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX).await?))
    };
    let driven = async {
        // Its end is no error of its own: the answer that it was to bring says what came of it.
        let _ended = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answer => answer,
        () = driven => unreachable!("it never ends"),
    }
}

#[derive(Deserialize)]
struct Place {
    endpoint: Option<String>,
    /// Seconds.
    ttl: Option<u64>,
}

#[derive(Deserialize)]
struct State {
    state: String,
}

/// What an answer means; `None` for one that says nothing about the sandbox.
fn read(status: StatusCode, body: &[u8], rules: &EndpointRules, ttl: Duration) -> Option<Said> {
    Some(match status.as_u16() {
        200 => {
            let place: Place = serde_json::from_slice(body).ok()?;
            let ttl = place.ttl.map_or(ttl, Duration::from_secs).min(TTL_MAX);
            match place.endpoint {
                Some(endpoint) => match record::decode_value(endpoint.as_bytes(), rules) {
                    Ok(endpoint) => Ok((endpoint, ttl)),
                    Err(error) => Err(error.into()),
                },
                None => Err(LocateError::NoAddress),
            }
        }
        404 => Err(LocateError::NotFound),
        409 => {
            let state = serde_json::from_slice(body).map_or_else(|_| String::new(), |State { state }| state);
            Err(LocateError::NotRunning(StateName::new(&state)))
        }
        410 => Err(LocateError::Stopped),
        503 if String::from_utf8_lossy(body).to_ascii_lowercase().contains("migrating") => Err(LocateError::Migrating),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::RecordError;

    #[test]
    fn every_answer_of_the_contract_has_its_meaning() {
        let ttl = Duration::from_secs(120);
        let said = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            read(status, body.as_bytes(), &EndpointRules::default(), ttl)
                .map(|said| said.map(|(endpoint, ttl)| (endpoint.to_string(), ttl.as_secs())))
        };
        let found = |ttl| Some(Ok(("10.0.0.1:80".to_owned(), ttl)));
        assert_eq!(said(200, r#"{"endpoint":"10.0.0.1:80","ttl":5,"more":1}"#), found(5));
        assert_eq!(said(200, r#"{"endpoint":"10.0.0.1:80"}"#), found(120));
        assert_eq!(said(200, r#"{"endpoint":"10.0.0.1:80","ttl":99999999}"#), found(86_400));
        assert_eq!(said(200, r#"{"endpoint":null}"#), Some(Err(LocateError::NoAddress)));
        let malformed = LocateError::BadEndpoint(RecordError::Malformed);
        assert_eq!(said(200, r#"{"endpoint":"pod:80"}"#), Some(Err(malformed)));
        assert_eq!(said(404, ""), Some(Err(LocateError::NotFound)));
        assert_eq!(said(409, r#"{"state":"Paused"}"#), Some(Err(LocateError::NotRunning(StateName::new("paused")))));
        assert_eq!(said(409, "?"), Some(Err(LocateError::NotRunning(StateName::new("")))));
        assert_eq!(said(410, ""), Some(Err(LocateError::Stopped)));
        assert_eq!(said(503, "is Migrating to"), Some(Err(LocateError::Migrating)));
        for (status, body) in [(503, "overloaded"), (500, ""), (302, ""), (200, "<html>"), (200, "[]")] {
            assert_eq!(said(status, body), None, "{status} {body}");
        }
    }
}
