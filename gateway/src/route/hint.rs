//! The WebSocket hint: what keeps two tabs on two sandboxes apart when they connect, and when they connect again.
//!
//! noVNC opens the WebSocket that its `path` setting names, `websockify` by default. Since 1.6 it resolves the setting
//! against the URL of its page, and all is well below `/vnc/37579/`. Up to 1.5 it appends the setting to
//! `ws://host:port/`, so that every tab asks for `/websockify`; a WebSocket handshake has no Referer, and a cookie
//! remembers one sandbox only.
//!
//! The setting can be given in the page's URL, where it wins over what the browser stored (a `path` that the pod itself
//! declares mandatory wins over it, since 1.6). So the first navigation is redirected once, to the same URL with a
//! `path` that names the sandbox. It has to be right for both ways of resolving it, and is:
//! `../../vnc/37579/websockify` leads from `/vnc/37579/vnc.html` up to the root and down again, and appended to
//! `ws://host:port/` its `..` have nowhere to go and fall away (WHATWG URL, path state). A leading slash instead would
//! be right for the new way and give `//vnc/...` in the old one.
//!
//! What it does not reach: a `path` in the URL's fragment, which noVNC prefers and no server sees; and a page that
//! takes its parameters out of its own URL by another redirect, which would meet this one again: such a pod needs the
//! hint switched off.

use super::SandboxId;

/// The deepest page that gets a hint, in directories: far beyond any real page, and it keeps a path of nothing but
/// slashes from growing into a Location of three times its length.
const PAGE_DEPTH_MAX: usize = 32;

/// What the query's `path` parameter begins with.
const PARAMETER: &[u8] = b"path=";

/// Where the page at `path?query` finds its own WebSocket: the same URL with a `path` parameter that names the sandbox.
///
/// `None` if the page's URL already gives a path of its own choice, which is the case from the second request on: a
/// redirect to this location never leads to another one. All other parameters keep their bytes and their order.
pub(super) fn location(path: &[u8], query: Option<&[u8]>, prefix: &str, sandbox: &SandboxId) -> Option<Vec<u8>> {
    let depth = path.iter().filter(|&&byte| byte == b'/').count().checked_sub(1)?;
    if depth > PAGE_DEPTH_MAX {
        return None;
    }
    let query = query.unwrap_or_default();
    let (before, behind) = match own_path(query) {
        None => (query, &query[query.len()..]),
        Some((start, end)) if is_default(&query[start..end], prefix) => {
            (&query[..start - PARAMETER.len()], &query[end..])
        }
        Some(_) => return None,
    };
    let mut location = [path, b"?", before].concat();
    if !before.is_empty() && !before.ends_with(b"&") {
        location.push(b'&');
    }
    location.extend_from_slice(PARAMETER);
    location.extend_from_slice("../".repeat(depth).as_bytes());
    location.extend_from_slice(format!("{}{sandbox}/websockify", &prefix[1..]).as_bytes());
    location.extend_from_slice(behind);
    Some(location)
}

/// Where in the query the value of the `path` parameter stands that noVNC would use: the last one, and behind any `?`
/// or `&`.
fn own_path(query: &[u8]) -> Option<(usize, usize)> {
    let start = (0..query.len())
        .rev()
        .find(|&at| query[at..].starts_with(PARAMETER) && query[..at].last().is_none_or(|byte| b"?&".contains(byte)))?
        + PARAMETER.len();
    let length = query[start..].iter().position(|&byte| byte == b'&').unwrap_or(query.len() - start);
    Some((start, start + length))
}

/// Whether a `path` value is one that embedders write to reach noVNC's default endpoint, and that names no sandbox.
fn is_default(value: &[u8], prefix: &str) -> bool {
    let value = String::from_utf8_lossy(value).replace("%2F", "/").replace("%2f", "/");
    let value = value.strip_prefix('/').unwrap_or(&value);
    value == "websockify" || value.strip_prefix(&prefix[1..]) == Some("websockify")
}

#[cfg(test)]
mod tests;
