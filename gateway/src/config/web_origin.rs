//! An origin as browsers write it (RFC 6454 section 6.2).

use super::kind::Kind;

/// An origin, exactly as a browser's Origin field has it: it is compared byte by byte.
pub(super) const WEB_ORIGIN: Kind<String> = Kind { placeholder: "ORIGIN", parse, show: String::clone };

/// Schemes, with the port that browsers leave out.
const SCHEMES: [(&str, &str); 2] = [("https://", "443"), ("http://", "80")];

fn parse(text: &str) -> Result<String, String> {
    let wrong = || format!("expected an origin such as https://app.example or http://localhost:3000, not '{text}'");
    let found = SCHEMES.iter().find_map(|(scheme, port)| Some((text.strip_prefix(scheme)?, *port)));
    let (authority, left_out) = found.ok_or_else(wrong)?;
    // An IPv6 address has colons of its own, inside its brackets.
    let split = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
    let (host, port) = split.map_or((authority, None), |(host, port)| (host, Some(port)));
    let is_host = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.[]:".contains(&b);
    let good_host = !host.is_empty() && host.bytes().all(is_host);
    let good_port = port.is_none_or(|port| {
        let plain = port.parse::<u16>().is_ok_and(|number| number != 0 && number.to_string() == port);
        plain && port != left_out
    });
    if good_host && good_port { Ok(text.to_owned()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for good in ["https://app.example", "http://localhost:3000", "https://[::1]:8443", "https://[::1]"] {
            assert_eq!(parse(good), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "*",
            "null",
            "app.example",
            "https://",
            "https://app.example/",
            "https://App.example",
            "https://app.example:443",
            "http://app.example:80",
            "https://app.example:0",
            "https://app.example:x",
            "https://user@app.example",
            "ftp://app.example",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
