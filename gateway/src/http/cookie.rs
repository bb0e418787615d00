//! The gateway's own cookies are between the browser and the gateway: they are cut out of what the sandbox sees.

use super::field::trim;

/// Appends the Cookie value without the cookies whose name is one of `own`. The others keep their bytes, their order
/// and the blanks between them. Returns whether anything was left to append.
pub(super) fn append_without(value: &[u8], own: &[&str], out: &mut Vec<u8>) -> bool {
    let is_own = |pair: &[u8]| {
        let name = memchr::memchr(b'=', pair).map(|equals| trim(&pair[..equals]));
        name.is_some_and(|name| own.iter().any(|own| own.as_bytes() == name))
    };
    let start = out.len();
    let mut first = true;
    for pair in value.split(|&byte| byte == b';').filter(|pair| !is_own(pair)) {
        if first {
            let leading = pair.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            out.extend_from_slice(&pair[leading..]);
        } else {
            out.push(b';');
            out.extend_from_slice(pair);
        }
        first = false;
    }
    out.len() > start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(value: &str) -> String {
        let mut out = Vec::new();
        append_without(value.as_bytes(), &["own", "mine"], &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_own_cookie_is_cut_out_wherever_it_stands() {
        for (value, left) in [
            ("own=1", ""),
            ("own=1; a=2", "a=2"),
            ("a=2; own=1", "a=2"),
            ("a=2; own=1; b=3", "a=2; b=3"),
            ("own=1; own=2; a=3", "a=3"),
            ("mine=1; a=3; own=2", "a=3"),
            (" own =1;a=2", "a=2"),
            ("own=a=b", ""),
        ] {
            assert_eq!(without(value), left, "{value}");
        }
    }

    #[test]
    fn other_cookies_keep_every_byte() {
        for value in [
            "a=1;b=2;  c=3",
            "Own=1",
            "owner=1; xown=2",
            "a=own=1",
            "own",
            "a=\"x; y\"",
            "=x;;",
            "a=1; ",
            "\u{e9}=\u{fc}",
        ] {
            assert_eq!(without(value), value);
        }
    }
}
