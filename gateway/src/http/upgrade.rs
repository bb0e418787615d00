//! The opening handshake of WebSocket, RFC 6455 section 4: what a client must ask, and what a sandbox must answer
//! before bytes pass unread.
//!
//! A gateway that lets through more than this becomes a tunnel by accident: the client's next bytes then reach the
//! sandbox as requests that nobody routed.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest as _, Sha1};

use super::field::Known;
use super::{BodyLength, RequestHead, ResponseHead, Version};

/// The one version of the protocol, RFC 6455 section 4.1.
pub const WEBSOCKET_VERSION: &str = "13";

/// A well-formed request to switch to WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The value of Sec-WebSocket-Key: 16 bytes in base64.
    key: [u8; KEY_BYTES],
}

/// Which rule of the handshake was broken. The first five blame the client, the others the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// Only GET can ask for it.
    #[error("a WebSocket upgrade must be a GET request")]
    Method,
    /// HTTP/1.0 cannot switch protocols, RFC 9110 section 7.8.
    #[error("a WebSocket upgrade needs HTTP/1.1")]
    HttpVersion,
    /// The request has a body, which the sandbox could take for the first bytes of the stream.
    #[error("a WebSocket upgrade must not have a body")]
    Body,
    /// Sec-WebSocket-Version is not 13. The client is told which version it is.
    #[error("the only WebSocket version is {WEBSOCKET_VERSION}")]
    WebsocketVersion,
    /// Sec-WebSocket-Key is not one value of 16 bytes in base64.
    #[error("Sec-WebSocket-Key is missing or malformed")]
    Key,
    /// The response is not a 101.
    #[error("the upstream answered {status} to an upgrade")]
    Status {
        /// What it was instead.
        status: u16,
    },
    /// The 101 does not say `Upgrade: websocket`.
    #[error("the upstream switched to something other than WebSocket")]
    ResponseUpgrade,
    /// The 101 does not say `Connection: Upgrade`.
    #[error("the upstream's 101 has no Connection: Upgrade")]
    ResponseConnection,
    /// The 101 does not prove that the sandbox understood the handshake.
    #[error("Sec-WebSocket-Accept is missing or wrong")]
    Accept,
}

impl UpgradeError {
    /// The rule's name: a label of bounded cardinality.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Method => "upgrade_method",
            Self::HttpVersion => "upgrade_http_version",
            Self::Body => "upgrade_body",
            Self::WebsocketVersion => "websocket_version",
            Self::Key => "websocket_key",
            Self::Status { .. } => "upgrade_status",
            Self::ResponseUpgrade => "upgrade_response_upgrade",
            Self::ResponseConnection => "upgrade_response_connection",
            Self::Accept => "websocket_accept",
        }
    }
}

/// What the client asks for: nothing, or an upgrade to other protocols, which is ignored as RFC 9110 section 7.8 allows
/// (`None`); or a well-formed upgrade to WebSocket.
pub fn requested(head: &RequestHead) -> Result<Option<Upgrade>, UpgradeError> {
    if !head.asks_websocket() {
        return Ok(None);
    }
    if head.method() != "GET" {
        return Err(UpgradeError::Method);
    }
    if head.version() != Version::Http11 {
        return Err(UpgradeError::HttpVersion);
    }
    if !matches!(head.body(), BodyLength::None | BodyLength::Fixed(0)) {
        return Err(UpgradeError::Body);
    }
    if only(head.values("sec-websocket-version")) != Some(WEBSOCKET_VERSION.as_bytes()) {
        return Err(UpgradeError::WebsocketVersion);
    }
    let key = only(head.values("sec-websocket-key")).and_then(|key| key.try_into().ok()).filter(is_key);
    let key = key.ok_or(UpgradeError::Key)?;
    Ok(Some(Upgrade { key }))
}

impl Upgrade {
    /// The upgrade that the gateway itself asks for, with 16 bytes of its own choice, and the field's value.
    #[must_use]
    pub fn own(nonce: [u8; 16]) -> (Self, String) {
        let value = STANDARD.encode(nonce);
        let key = value.as_bytes().try_into().expect("16 bytes are 24 in base64");
        (Self { key }, value)
    }

    /// Whether `response` opens the stream. Any other status than 101 is an ordinary response, to be relayed as such.
    pub fn accepted_by(&self, response: &ResponseHead) -> Result<(), UpgradeError> {
        if response.status() != 101 {
            return Err(UpgradeError::Status { status: response.status() });
        }
        if !response.fields.lists(Known::Upgrade, b"websocket") {
            return Err(UpgradeError::ResponseUpgrade);
        }
        if !response.connection.upgrade {
            return Err(UpgradeError::ResponseConnection);
        }
        let accept = self.accept();
        let proven = only(response.values("sec-websocket-accept")) == Some(accept.as_slice());
        if proven { Ok(()) } else { Err(UpgradeError::Accept) }
    }

    /// The Sec-WebSocket-Accept that belongs to the key, RFC 6455 section 4.2.2.
    #[must_use]
    pub fn accept(&self) -> [u8; 28] {
        let digest = Sha1::new().chain_update(self.key).chain_update(GUID).finalize();
        let mut accept = [0; 28];
        let written = STANDARD.encode_slice(digest, &mut accept).expect("20 bytes are 28 in base64");
        debug_assert_eq!(written, accept.len());
        accept
    }
}

/// 16 bytes in base64.
const KEY_BYTES: usize = 24;

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Clients are known to send keys whose last character has bits beyond the 16 bytes; websockets that check do not.
const KEY_BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

fn is_key(key: &[u8; KEY_BYTES]) -> bool {
    let mut decoded = [0; 18];
    KEY_BASE64.decode_slice(key, &mut decoded) == Ok(16)
}

/// The value, if there is exactly one.
fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests;
