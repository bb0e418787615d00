//! The one parameter of a query that is the gateway's own.

use percent_encoding::percent_decode;

/// The values of the parameter `name` in a query, decoded, and the query without it. The other parameters keep their
/// bytes and their order.
#[must_use]
pub fn take(query: &[u8], name: &str) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (mut values, mut rest) = (Vec::new(), Vec::new());
    let mut first = true;
    for pair in query.split(|&byte| byte == b'&') {
        let (key, value) = memchr::memchr(b'=', pair).map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
        if percent_decode(key).eq(name.bytes()) {
            values.push(percent_decode(value).collect());
            continue;
        }
        if !first {
            rest.push(b'&');
        }
        rest.extend_from_slice(pair);
        first = false;
    }
    (values, rest)
}

/// The request target or URL without the parameter `name`; `None` if it has none. A query of which nothing is left
/// loses its question mark.
#[must_use]
pub fn without(target: &[u8], name: &str) -> Option<Vec<u8>> {
    let at = memchr::memchr(b'?', target)?;
    let (values, rest) = take(&target[at + 1..], name);
    if values.is_empty() {
        return None;
    }
    let mark: &[u8] = if rest.is_empty() { b"" } else { b"?" };
    Some([&target[..at], mark, &rest].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_left_has_it_no_more_and_is_untouched_otherwise(query in "[at=&%74;?+]{0,40}") {
            let (values, rest) = take(query.as_bytes(), "t");
            let (none, same) = take(&rest, "t");
            prop_assert_eq!((none, &same), (Vec::new(), &rest));
            prop_assert_eq!(values.is_empty(), rest == query.as_bytes());
        }

        #[test]
        fn no_target_panics(target in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(left) = without(&target, "t") {
                prop_assert!(left.len() < target.len());
            }
        }
    }

    #[test]
    fn the_parameter_is_taken_wherever_it_stands_and_the_rest_keeps_its_bytes() {
        for (query, values, rest) in [
            ("t=a", vec!["a"], ""),
            ("a=1&t=b.c&&d", vec!["b.c"], "a=1&&d"),
            ("t=a&t=b", vec!["a", "b"], ""),
            ("%74=a%2Bb+c", vec!["a+b+c"], ""),
            ("t", vec![""], ""),
            ("tt=1&xt=2;t=3&%zz", vec![], "tt=1&xt=2;t=3&%zz"),
            ("", vec![], ""),
        ] {
            let (found, left) = take(query.as_bytes(), "t");
            let found: Vec<_> = found.iter().map(|value| String::from_utf8_lossy(value)).collect();
            assert_eq!(
                (found, String::from_utf8_lossy(&left).as_ref()),
                (values.iter().map(|v| (*v).into()).collect(), rest)
            );
        }
    }

    #[test]
    fn a_target_without_it_stays_as_it_is() {
        for (target, left) in [
            ("/x", None),
            ("/x?", None),
            ("/x?a", None),
            ("/t=1?a", None),
            ("/x?t=1", Some("/x")),
            ("/x??t=1&a", None),
            ("/x?t=1&a?b", Some("/x?a?b")),
        ] {
            assert_eq!(
                without(target.as_bytes(), "t").map(|left| String::from_utf8(left).unwrap()),
                left.map(str::to_owned)
            );
        }
    }
}
