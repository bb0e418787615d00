//! What operators, probes and Prometheus ask: metrics, health, and the live streams.
//!
//! | request | answer |
//! |---|---|
//! | `GET /metrics` | Prometheus text format 0.0.4 |
//! | `GET /healthz` | 200 while the process runs: a lost Redis must not restart the pod |
//! | `GET /readyz` | 200, or 503 with one reason per line |
//! | `GET /streams?sandbox=ID&limit=N` | JSON array of live streams; `X-Streams-Total` counts them before the limit |
//! | `DELETE /streams/ID` | closes one stream: 204, or 404 when there is none |
//! | `PUT /streams/ID/demoted` | brings one stream back to user space, to stay there: 204, or 404 when there is none |
//! | `DELETE /streams/ID/demoted` | lets it go into the kernel again: 204, or 404 when there is none |
//!
//! It has no authentication: the listener belongs on loopback, or behind a network policy. For the same reason nothing
//! that a browser sends without asking first (a simple request in the sense of CORS) changes anything: there is no
//! `POST /drain`, SIGTERM does that.
//!
//! It runs on the control thread, beside the directory. A client of it can take neither memory nor file descriptors
//! without bound (`Limits`).

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, put};
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::metrics::Metrics;
use crate::tunnel::{LiveStreams, Reason};
use query::StreamsQuery;

mod query;

/// What the endpoints show.
#[derive(Clone)]
pub struct AdminState {
    /// Behind `/readyz`.
    pub readiness: Arc<dyn Readiness>,
    /// Behind `/streams`.
    pub streams: Arc<LiveStreams>,
    /// Behind `/metrics`.
    pub metrics: Arc<Metrics>,
}

/// Whether new clients should be sent here.
pub trait Readiness: Send + Sync {
    /// Why not, one short text per reason: `draining`, `directory unavailable`. Empty: ready.
    fn reasons(&self) -> Vec<&'static str>;
}

/// How much a client of the admin listener may cost.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections served at once. Further ones wait in the listen backlog.
    connections_max: usize,
    /// How long a connection may take to send a head, the wait for it included.
    head_timeout: Duration,
    /// How long a connection is kept. What it is being answered then may still finish, for as long as `answer_timeout`.
    connection_lifetime: Duration,
    /// How long an answer may take to leave once its connection's time is over.
    answer_timeout: Duration,
}

const LIMITS: Limits = Limits {
    connections_max: 64,
    head_timeout: Duration::from_secs(10),
    connection_lifetime: Duration::from_secs(60),
    answer_timeout: Duration::from_secs(10),
};

/// The longest request head, in bytes: hyper's smallest possible read buffer.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// How often recorded durations are moved into their buckets. At 100,000 requests per second 4 MB wait for it.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// The pause after a failed accept(2), so that a process out of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Counts the streams that `/streams` would list without its limit.
const STREAMS_TOTAL: HeaderName = HeaderName::from_static("x-streams-total");
/// The media type of the Prometheus text format; scrapers negotiate by its version.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves the admin endpoints, and keeps the metrics' memory bounded, until the future is dropped; that ends its
/// connections too.
///
/// # Errors
///
/// When the listener itself is unusable. A connection that fails, or a lack of file descriptors, ends nothing.
pub async fn serve(listener: TcpListener, state: AdminState) -> io::Result<()> {
    serve_within(LIMITS, listener, state).await
}

async fn serve_within(limits: Limits, listener: TcpListener, state: AdminState) -> io::Result<()> {
    let metrics = Arc::clone(&state.metrics);
    let router = router(state);
    let mut connections = JoinSet::new();
    let mut upkeep = interval(UPKEEP_INTERVAL);
    upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = upkeep.tick() => metrics.upkeep(),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < limits.connections_max => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(serve_connection(limits, socket, router.clone()));
                }
                Err(error) if is_fatal(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "the admin listener could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn serve_connection(limits: Limits, socket: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = match timeout(limits.connection_lifetime, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_lifetime_over) => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.answer_timeout, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended early");
    }
}

/// Whether no later accept(2) on the same listener can succeed; accept(2) lists the rest as errors of one connection,
/// or of resources that may come back.
fn is_fatal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP))
}

fn router(state: AdminState) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/streams", get(list_streams))
        .route("/streams/{id}", delete(close_stream))
        .route("/streams/{id}/demoted", put(demote_stream).delete(promote_stream))
        .with_state(state)
}

async fn metrics(State(state): State<AdminState>) -> Response {
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], state.metrics.render()).into_response()
}

async fn ready(State(state): State<AdminState>) -> Response {
    let reasons = state.readiness.reasons();
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    let body: String = reasons.iter().flat_map(|reason| [reason, "\n"]).collect();
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

async fn list_streams(State(state): State<AdminState>, RawQuery(query): RawQuery) -> Response {
    let query: StreamsQuery = match query.unwrap_or_default().parse() {
        Ok(query) => query,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let mut streams = state.streams.snapshot();
    if let Some(sandbox) = query.sandbox {
        streams.retain(|stream| stream.sandbox == sandbox);
    }
    let total = streams.len().to_string();
    streams.truncate(query.limit);
    ([(STREAMS_TOTAL, total)], Json(streams)).into_response()
}

async fn close_stream(State(state): State<AdminState>, Path(id): Path<String>) -> StatusCode {
    told(&id, |id| state.streams.close(id, Reason::Operator))
}

async fn demote_stream(State(state): State<AdminState>, Path(id): Path<String>) -> StatusCode {
    told(&id, |id| state.streams.switch(id, false))
}

async fn promote_stream(State(state): State<AdminState>, Path(id): Path<String>) -> StatusCode {
    told(&id, |id| state.streams.switch(id, true))
}

/// `tell` is false where there is no such stream.
fn told(id: &str, tell: impl FnOnce(u64) -> bool) -> StatusCode {
    if id.parse().is_ok_and(tell) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

#[cfg(test)]
mod tests;
