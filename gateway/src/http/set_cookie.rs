//! A sandbox believes to live at `/`. The paths of its cookies are moved below its public prefix, so that they come
//! back to it and to no other sandbox of the same origin.

use super::field::trim;

/// Appends the Set-Cookie value with every absolute `Path` moved from below `agent_prefix` to below `prefix`; neither
/// has a slash at its end, and a Path that is not below the former is the sandbox's already. Without
/// a Path the browser takes it from the public URL, which is right already. Everything else keeps its bytes.
///
/// A `__Host-` cookie, whose Path must be `/`, is refused by browsers after this: on a shared origin no sandbox can
/// own one.
pub(super) fn append(value: &[u8], prefix: &[u8], agent_prefix: &[u8], out: &mut Vec<u8>) {
    let mut attributes = value.split(|&byte| byte == b';');
    out.extend_from_slice(attributes.next().unwrap_or_default());
    for attribute in attributes {
        out.push(b';');
        let absolute = path_start(attribute).filter(|&start| attribute[start..].starts_with(b"/"));
        let Some(start) = absolute else {
            out.extend_from_slice(attribute);
            continue;
        };
        let (before, path) = attribute.split_at(start);
        let path = without_prefix(path, agent_prefix);
        out.extend_from_slice(before);
        if !is_below(path, prefix) {
            out.extend_from_slice(prefix);
        }
        if !path.starts_with(b"/") {
            out.push(b'/');
        }
        out.extend_from_slice(path);
    }
}

/// `path` without `prefix`, if it lies below it. What is left may lack its slash.
pub(super) fn without_prefix<'a>(path: &'a [u8], prefix: &[u8]) -> &'a [u8] {
    if is_below(path, prefix) { &path[prefix.len()..] } else { path }
}

/// Whether `path` is `prefix` or lies below it: `/a/80/x` is below `/a/80`, `/a/8080` is not.
pub(super) fn is_below(path: &[u8], prefix: &[u8]) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || matches!(rest[0], b'/' | b'?' | b'#' | b' ' | b'\t'),
        None => false,
    }
}

/// Where the value of a Path attribute begins.
fn path_start(attribute: &[u8]) -> Option<usize> {
    let equals = memchr::memchr(b'=', attribute)?;
    if !trim(&attribute[..equals]).eq_ignore_ascii_case(b"path") {
        return None;
    }
    let blanks = attribute[equals + 1..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    Some(equals + 1 + blanks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(value: &str, prefix: &str) -> String {
        let mut out = Vec::new();
        append(value.as_bytes(), prefix.as_bytes(), b"", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn absolute_paths_move_below_the_prefix() {
        for (value, expected) in [
            ("a=1; Path=/", "a=1; Path=/vnc/7/"),
            ("a=1; path=/x; HttpOnly", "a=1; path=/vnc/7/x; HttpOnly"),
            ("a=1;PATH = /x/", "a=1;PATH = /vnc/7/x/"),
            ("a=1; Path=/vnc/70", "a=1; Path=/vnc/7/vnc/70"),
            ("a=1; Path=/x; Path=/", "a=1; Path=/vnc/7/x; Path=/vnc/7/"),
        ] {
            assert_eq!(rewritten(value, "/vnc/7"), expected);
        }
    }

    #[test]
    fn everything_else_keeps_every_byte() {
        for value in [
            "a=1",
            "a=1; Path=/vnc/7",
            "a=1; Path=/vnc/7/x",
            "a=1; Path=",
            "a=1; Path",
            "a=1; Path=x",
            "Path=/x",
            "a=Path=/; Secure",
            "a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT;; ",
        ] {
            assert_eq!(rewritten(value, "/vnc/7"), value);
        }
    }

    #[test]
    fn the_prefix_of_a_host_agent_is_taken_off_at_its_boundary() {
        for (value, expected) in [
            ("a=1; Path=/proxy/a/80/x", "a=1; Path=/x"),
            ("a=1; Path=/proxy/a/80", "a=1; Path=/"),
            ("a=1; Path=/proxy/a/8080/x", "a=1; Path=/proxy/a/8080/x"),
            ("a=1; Path=/x", "a=1; Path=/x"),
        ] {
            let mut out = Vec::new();
            append(value.as_bytes(), b"", b"/proxy/a/80", &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn without_a_prefix_nothing_changes() {
        assert_eq!(rewritten("a=1; Path=/x", ""), "a=1; Path=/x");
    }
}
