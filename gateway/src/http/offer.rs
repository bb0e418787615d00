//! The request by which the broker asks a worker for a WebSocket, once per upstream: the client's, but for what belongs
//! to one connection. Its key is fresh (RFC 6455 section 4.1), and no extension is offered, since the gateway speaks
//! none.

use std::net::SocketAddr;

/// Fields of the client's handshake that are not repeated.
const DROPPED: [&[u8]; 2] = [b"sec-websocket-key", b"sec-websocket-extensions"];

/// A request without its key.
#[derive(Debug)]
pub struct Offer {
    request_line: Box<[u8]>,
    /// The Host that stays whatever the upstream; `None` where it is the upstream's address.
    host: Option<Box<[u8]>>,
    fields: Box<[u8]>,
}

impl Offer {
    /// From a head as [`super::rewrite::request`] writes it: the request line, Host, and other fields.
    #[must_use]
    pub fn new(head: &[u8], host_is_endpoint: bool) -> Self {
        let mut lines = head.split_inclusive(|byte| *byte == b'\n');
        let request_line = lines.next().unwrap_or_default();
        let host = lines.next().unwrap_or_default();
        let kept = lines.filter(|line| {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            *line != b"\r\n" && !DROPPED.iter().any(|dropped| name.eq_ignore_ascii_case(dropped))
        });
        Self {
            request_line: request_line.into(),
            host: (!host_is_endpoint).then(|| host.into()),
            fields: kept.flatten().copied().collect(),
        }
    }

    /// The request to `endpoint` with this value of Sec-WebSocket-Key.
    #[must_use]
    pub fn request(&self, endpoint: SocketAddr, key: &str) -> Vec<u8> {
        let own = format!("Host: {endpoint}\r\n");
        let host = self.host.as_deref().unwrap_or(own.as_bytes());
        let key = format!("Sec-WebSocket-Key: {key}\r\n\r\n");
        [&self.request_line, host, &self.fields, key.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET /agent/1?api_key=k HTTP/1.1\r\nHost: 10.0.0.1:80\r\nsec-websocket-KEY: a\r\n\
        Sec-WebSocket-Protocol: tty\r\nSec-WebSocket-Extensions: permessage-deflate\r\nUpgrade: websocket\r\n\r\n";

    #[test]
    fn each_upstream_gets_its_own_host_and_key_and_the_same_offer() {
        let offer = Offer::new(HEAD, true);
        let expected = "GET /agent/1?api_key=k HTTP/1.1\r\nHost: 10.0.0.2:81\r\nSec-WebSocket-Protocol: tty\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Key: b\r\n\r\n";
        assert_eq!(String::from_utf8(offer.request("10.0.0.2:81".parse().unwrap(), "b")).unwrap(), expected);
    }

    #[test]
    fn a_host_that_is_configured_stays() {
        let offer = Offer::new(HEAD, false);
        let request = String::from_utf8(offer.request("10.0.0.2:81".parse().unwrap(), "b")).unwrap();
        assert!(request.contains("\r\nHost: 10.0.0.1:80\r\n"), "{request}");
    }
}
