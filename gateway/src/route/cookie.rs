//! The cookie source: what remembers the sandbox for requests whose path does not name one.

use super::{SandboxId, path};

/// What the Cookie fields of a request say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Remembered {
    /// No cookie has the name.
    Nothing,
    /// Cookies have the name, but none of them holds an id.
    Malformed,
    /// The first one that holds an id.
    Sandbox(SandboxId),
}

/// The sandbox in the first cookie called `name` whose value is an id, in the order in which the client sent them.
///
/// A browser sends the cookie of the longer path first and may hold another one of that name, set by somebody else for
/// a parent domain or path (RFC 6265 section 5.4). A value that is no id is passed over rather than answered with an
/// error, since the client can neither see nor delete what a foreign site left there.
pub(super) fn remembered(fields: impl Iterator<Item: AsRef<[u8]>>, name: &str) -> Remembered {
    let mut found = Remembered::Nothing;
    for field in fields {
        for pair in field.as_ref().split(|&byte| byte == b';') {
            let Some(value) = value_of(pair.trim_ascii(), name) else { continue };
            match path::id(value) {
                Some(id) => return Remembered::Sandbox(id),
                None => found = Remembered::Malformed,
            }
        }
    }
    found
}

/// The cookie that makes a browser remember `sandbox` below `path`: the exact text is a contract with its readers.
pub(super) fn setting(name: &str, sandbox: &SandboxId, path: &str) -> String {
    format!("{name}={sandbox}; Path={path}; HttpOnly")
}

/// The value of one `name=value` pair, if it has this name. Cookie names are case-sensitive.
fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cookie_that_holds_an_id_counts() {
        let sandbox = |id: &str| Remembered::Sandbox(id.parse().unwrap());
        let long = format!("vnc_session_id={}", "1".repeat(30));
        for (fields, expected) in [
            (vec!["vnc_session_id=37579"], sandbox("37579")),
            (vec!["a=b; vnc_session_id=37579; c=d"], sandbox("37579")),
            (vec!["a=b;vnc_session_id=37579;c"], sandbox("37579")),
            (vec!["vnc_session_id=1; vnc_session_id=2"], sandbox("1")),
            (vec!["vnc_session_id=../2; vnc_session_id=1"], sandbox("1")),
            (vec!["vnc_session_id=", "vnc_session_id=1"], sandbox("1")),
            (vec!["a=b", "vnc_session_id=1"], sandbox("1")),
            (vec!["vnc_session_id=00037579"], sandbox("00037579")),
            (vec!["vnc_session_id=abc; vnc_session_id=\"1\""], Remembered::Malformed),
            (vec![long.as_str()], Remembered::Malformed),
            (vec!["vnc_session_id = 1"], Remembered::Nothing),
            (vec!["vnc_session_id"], Remembered::Nothing),
            (vec!["VNC_SESSION_ID=1"], Remembered::Nothing),
            (vec!["vnc_session_idx=1; xvnc_session_id=1"], Remembered::Nothing),
            (vec!["a=vnc_session_id=1"], Remembered::Nothing),
            (vec!["", ";;"], Remembered::Nothing),
            (vec![], Remembered::Nothing),
        ] {
            let found = remembered(fields.iter(), "vnc_session_id");
            assert_eq!(found, expected, "{fields:?}");
        }
    }
}
