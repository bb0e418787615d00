//! The path source: `/vnc/37579/...`.
//!
//! Everything here looks at the raw bytes of the request target. Nothing is decoded: `%2F` is three bytes of a name, so
//! that what was matched is what the sandbox receives, and no second decoding can move a request to another sandbox.

use super::SandboxId;

/// The most digits that an id may have: what fits the widest integer a directory's writer would count in.
const ID_DIGITS_MAX: usize = 20;

/// What a path below the prefix says about its sandbox.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// `37579/...`: the id, and what stands behind it, with its slash.
    Inside(SandboxId, &'a [u8]),
    /// `37579` alone: a page there would resolve its relative URLs one level too high.
    Unslashed(SandboxId),
    /// Anything else.
    Nothing,
}

/// What stands below the prefix, with the prefix's last slash; `None` for a path beside it.
///
/// `prefix` begins and ends with a slash.
pub(super) fn below<'a>(path: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let parent = prefix.strip_suffix('/').expect("a path prefix ends with a slash");
    path.strip_prefix(parent.as_bytes()).filter(|rest| rest.starts_with(b"/"))
}

/// Whom a path names, given what stands below the prefix: `^/(\d{1,20})(/.*)?$`.
///
/// Leading zeros are kept: `/00037579` is another sandbox than `/37579`, because a directory compares text.
pub(super) fn named(below: &[u8]) -> Named<'_> {
    let Some(behind_slash) = below.strip_prefix(b"/") else { return Named::Nothing };
    let end = behind_slash.iter().position(|&byte| byte == b'/').unwrap_or(behind_slash.len());
    let (segment, rest) = behind_slash.split_at(end);
    match id(segment) {
        None => Named::Nothing,
        Some(id) if rest.is_empty() => Named::Unslashed(id),
        Some(id) => Named::Inside(id, rest),
    }
}

/// An id as the path source writes it: `^\d{1,20}$`, ASCII digits only.
pub(super) fn id(text: &[u8]) -> Option<SandboxId> {
    if text.len() > ID_DIGITS_MAX || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // An empty text is refused here, by the syntax of every sandbox id.
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_below_the_prefix_counts() {
        for (path, prefix, expected) in [
            ("/vnc/1/x", "/vnc/", Some("/1/x")),
            ("/vnc/", "/vnc/", Some("/")),
            ("/vnc//1", "/vnc/", Some("//1")),
            ("/vnc", "/vnc/", None),
            ("/vncs/1/", "/vnc/", None),
            ("//vnc/1/", "/vnc/", None),
            ("/VNC/1/", "/vnc/", None),
            ("/%76nc/1/", "/vnc/", None),
            ("/x/../vnc/1/", "/vnc/", None),
            ("*", "/vnc/", None),
            ("/1/x", "/", Some("/1/x")),
            ("*", "/", None),
            ("/a/b/1/x", "/a/b/", Some("/1/x")),
        ] {
            let found = below(path.as_bytes(), prefix).map(|rest| std::str::from_utf8(rest).unwrap());
            assert_eq!(found, expected, "{path} below {prefix}");
        }
    }

    #[test]
    fn an_id_is_one_to_twenty_ascii_digits_and_a_whole_segment() {
        let inside = |id: &str, rest: &'static str| Named::Inside(id.parse().unwrap(), rest.as_bytes());
        let digits = |count| "1234567890".repeat(3)[..count].to_owned();
        for (below, expected) in [
            ("/37579/".to_owned(), inside("37579", "/")),
            ("/37579".to_owned(), Named::Unslashed("37579".parse().unwrap())),
            ("/37579/app/ui.js".to_owned(), inside("37579", "/app/ui.js")),
            ("/37579//".to_owned(), inside("37579", "//")),
            ("/37579/%2F..%2F1/".to_owned(), inside("37579", "/%2F..%2F1/")),
            ("/37579/../1/".to_owned(), inside("37579", "/../1/")),
            ("/00037579/".to_owned(), inside("00037579", "/")),
            ("/0/".to_owned(), inside("0", "/")),
            (format!("/{}/", digits(20)), inside(&digits(20), "/")),
            (format!("/{}/", digits(21)), Named::Nothing),
            (format!("/{}/", digits(30)), Named::Nothing),
            ("/37579abc".to_owned(), Named::Nothing),
            ("/37579abc/".to_owned(), Named::Nothing),
            ("/37579;x/".to_owned(), Named::Nothing),
            ("/37579%2F..%2F1".to_owned(), Named::Nothing),
            ("/%33/".to_owned(), Named::Nothing),
            ("/+1/".to_owned(), Named::Nothing),
            ("/-1/".to_owned(), Named::Nothing),
            ("/1.0/".to_owned(), Named::Nothing),
            ("/\u{ff11}/".to_owned(), Named::Nothing),
            ("/%EF%BC%91/".to_owned(), Named::Nothing),
            ("//1".to_owned(), Named::Nothing),
            ("/".to_owned(), Named::Nothing),
            (String::new(), Named::Nothing),
        ] {
            assert_eq!(named(below.as_bytes()), expected, "{below}");
        }
    }
}
