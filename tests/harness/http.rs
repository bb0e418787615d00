//! One plain GET, for the admin port and for readiness. What a story asks of the gateway's data port it writes itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A complete answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Everything up to the empty line, as it was received.
    pub head: String,
    /// What followed it.
    pub body: String,
}

/// Gets `target` from `address`.
pub fn get(address: SocketAddr, target: &str) -> Result<Response> {
    send(address, "GET", target)
}

/// Sends a request without a body over HTTP/1.0, whose answers end with the connection and are never chunked (RFC 9112,
/// section 6.1).
pub fn send(address: SocketAddr, method: &str, target: &str) -> Result<Response> {
    let context = || format!("{method} {target} from {address}");
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).with_context(context)?;
    stream.set_read_timeout(Some(READ_TIMEOUT)).with_context(context)?;
    write!(stream, "{method} {target} HTTP/1.0\r\nHost: {address}\r\n\r\n").with_context(context)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).with_context(context)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("an answer without an empty line").with_context(context)?;
    let status =
        head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status").with_context(context)?;
    Ok(Response { status, head: head.to_owned(), body: body.to_owned() })
}
