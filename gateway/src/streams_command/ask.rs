//! One question to `/streams` of a gateway's admin port.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::route::SandboxId;

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes: as many streams as are listed at most.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A stream as the gateway tells it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Told {
    pub(super) id: u64,
    pub(super) sandbox: String,
    pub(super) client: SocketAddr,
    pub(super) endpoint: SocketAddr,
    pub(super) engine: String,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    pub(super) age_seconds: f64,
    pub(super) idle_seconds: f64,
}

/// What the gateway told.
pub(super) struct Asked {
    pub(super) streams: Vec<Told>,
    /// How many there are, listed or not.
    pub(super) total: usize,
}

/// Why it did not.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No connection, or none that lasted.
    #[error("{0}")]
    Connection(#[from] io::Error),
    /// No HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// No answer in time.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// An answer, but not this one.
    #[error("it answered {0}: is this the admin port of a gateway?")]
    Status(StatusCode),
    /// Something else than streams.
    #[error("its answer is not a list of streams: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// Asks for the streams of `sandbox`, or all.
pub(super) async fn ask(admin: SocketAddr, sandbox: Option<&SandboxId>) -> Result<Asked, AskError> {
    tokio::time::timeout(TIMEOUT, exchange(admin, sandbox)).await.unwrap_or(Err(AskError::Timeout))
}

async fn exchange(admin: SocketAddr, sandbox: Option<&SandboxId>) -> Result<Asked, AskError> {
    let io = TokioIo::new(TcpStream::connect(admin).await?);
    let (mut sender, connection) = http1::handshake(io).await?;
    let connection = tokio::spawn(connection);
    let target = sandbox.map_or_else(|| "/streams".to_owned(), |sandbox| format!("/streams?sandbox={sandbox}"));
    let request = Request::get(target).header("Host", admin.to_string()).body(Body::empty());
    let answer = sender.send_request(request.expect("an id is harmless in a URI")).await?;
    if answer.status() != StatusCode::OK {
        return Err(AskError::Status(answer.status()));
    }
    let total = answer.headers().get("x-streams-total").and_then(|total| total.to_str().ok()?.parse().ok());
    let body = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await;
    connection.abort();
    let body = body.map_err(|error| AskError::Body(error.into()))?;
    let streams: Vec<Told> = serde_json::from_slice(&body).map_err(|error| AskError::Body(error.into()))?;
    let total = total.unwrap_or(streams.len());
    Ok(Asked { streams, total })
}
