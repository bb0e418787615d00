//! How the first label of a host name is made of a sandbox and a port.

use std::fmt;

const PORT: &str = "{port}";
const SANDBOX: &str = "{sandbox}";

/// A label such as `{port}-{sandbox}`: both names once, with something between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    before: String,
    between: String,
    after: String,
    port_first: bool,
}

impl HostPattern {
    /// Reads a pattern, or says what would have been right.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a label such as {{port}}-{{sandbox}}, not '{}'", text.escape_debug());
        let (port, sandbox) = text.find(PORT).zip(text.find(SANDBOX)).ok_or_else(wrong)?;
        let port_first = port < sandbox;
        let (first, second) = if port_first { (PORT, SANDBOX) } else { (SANDBOX, PORT) };
        let (before, rest) = text.split_once(first).ok_or_else(wrong)?;
        let (between, after) = rest.split_once(second).ok_or_else(wrong)?;
        let is_label = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if between.is_empty() || ![before, between, after].into_iter().all(is_label) {
            return Err(wrong());
        }
        Ok(Self { before: before.into(), between: between.into(), after: after.into(), port_first })
    }

    /// The port's digits and the sandbox's name in a label in lower case; `None` for a label of another shape.
    ///
    /// A sandbox's name may contain what stands between the two: the port is all digits, so the shortest port from its
    /// side is meant.
    #[must_use]
    pub fn split<'a>(&self, label: &'a str) -> Option<(&'a str, &'a str)> {
        let inner = label.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?;
        let (port, sandbox) = if self.port_first {
            inner.split_once(&*self.between)?
        } else {
            let (sandbox, port) = inner.rsplit_once(&*self.between)?;
            (port, sandbox)
        };
        let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        (is_port && !sandbox.is_empty()).then_some((port, sandbox))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, between, after, port_first } = self;
        let (first, second) = if *port_first { (PORT, SANDBOX) } else { (SANDBOX, PORT) };
        write!(f, "{before}{first}{between}{second}{after}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_split_as_its_pattern_says() {
        for (pattern, label, split) in [
            ("{port}-{sandbox}", "49999-cl-abcd1234", Some(("49999", "cl-abcd1234"))),
            ("{port}-{sandbox}", "99999-x", Some(("99999", "x"))),
            ("{port}-{sandbox}", "cl-abc", None),
            ("{port}-{sandbox}", "80-", None),
            ("{port}-{sandbox}", "-x", None),
            ("{sandbox}-p{port}", "my-p2-p8080", Some(("8080", "my-p2"))),
            ("{sandbox}-p{port}", "my-p", None),
            ("s{port}--{sandbox}x", "s80--abx", Some(("80", "ab"))),
        ] {
            let parsed = HostPattern::parse(pattern).unwrap();
            assert_eq!(parsed.split(label), split, "{label} as {pattern}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_read_back_is_refused() {
        for text in ["", "{port}", "{port}{sandbox}", "{port}.{sandbox}", "{port}-{sandbox}-{port}", "{PORT}-{sandbox}"]
        {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }
}
