//! Who made the browser ask: what a cookie alone does not tell.
//!
//! Browsers name the page behind a request in Origin wherever it could do harm: in every WebSocket handshake, in every
//! request that is not GET or HEAD, and in whatever scripts read across origins. Where they leave it out,
//! Sec-Fetch-Site (W3C Fetch Metadata) says whether the page is of this origin. A link from elsewhere is followed:
//! what it answers is shown to its reader and not told to the page that has the link.

use super::{AuthError, Guard};

/// What a request says about who made it.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The gateway's own origin as the browser sees it, `https://gw.example`.
    pub own: &'a [u8],
    /// The Origin field; of two of them nobody can tell which counts, so that they count as a foreign one.
    pub origin: Option<&'a [u8]>,
    /// The Sec-Fetch-Site field.
    pub fetch_site: Option<&'a [u8]>,
    /// The browser goes to another page.
    pub navigates: bool,
    /// The method is one that changes nothing (RFC 9110 section 9.2.1).
    pub is_safe: bool,
    /// It asks for a WebSocket.
    pub is_upgrade: bool,
}

impl Guard {
    /// Whether a request that comes by a cookie was made by a page that may.
    ///
    /// # Errors
    /// [`AuthError::Origin`] if it was not, or does not say so where every browser does.
    pub fn check_origin(&self, asker: &Asker<'_>) -> Result<(), AuthError> {
        let allowed = match (asker.origin, asker.fetch_site) {
            (Some(origin), _) => {
                let listed = self.origins.iter().any(|listed| listed.as_bytes() == origin);
                listed || origin.eq_ignore_ascii_case(asker.own)
            }
            (None, _) if asker.is_upgrade || !asker.is_safe => false,
            // Browsers send no Sec-Fetch-Site where there is no TLS, and old ones nowhere. There SameSite has to do.
            (None, None | Some(b"same-origin" | b"none")) => true,
            (None, Some(_)) => asker.navigates,
        };
        if allowed { Ok(()) } else { Err(AuthError::Origin) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READS: Asker<'static> = Asker {
        own: b"https://gw.example",
        origin: None,
        fetch_site: None,
        navigates: false,
        is_safe: true,
        is_upgrade: false,
    };

    #[test]
    fn an_origin_is_the_gateways_own_or_a_listed_one() {
        let guard = Guard { origins: vec!["https://app.example".to_owned()], ..Guard::default() };
        for (origin, allowed) in [
            ("https://gw.example", true),
            ("https://app.example", true),
            ("http://gw.example", false),
            ("https://gw.example:8443", false),
            ("https://gw.example.evil.example", false),
            ("https://evil.example", false),
            ("null", false),
            ("", false),
        ] {
            for (is_safe, is_upgrade) in [(true, false), (false, false), (true, true)] {
                let asker = Asker { origin: Some(origin.as_bytes()), is_safe, is_upgrade, ..READS };
                assert_eq!(guard.check_origin(&asker).is_ok(), allowed, "{asker:?}");
            }
        }
    }

    #[test]
    fn without_one_only_what_is_read_passes_and_not_for_a_foreign_page() {
        let guard = Guard::default();
        for (asker, allowed) in [
            (READS, true),
            (Asker { is_safe: false, ..READS }, false),
            (Asker { is_upgrade: true, ..READS }, false),
            (Asker { fetch_site: Some(b"same-origin"), ..READS }, true),
            (Asker { fetch_site: Some(b"none"), navigates: true, ..READS }, true),
            (Asker { fetch_site: Some(b"cross-site"), ..READS }, false),
            (Asker { fetch_site: Some(b"same-site"), ..READS }, false),
            (Asker { fetch_site: Some(b"cross-site"), navigates: true, ..READS }, true),
            (Asker { fetch_site: Some(b"same-origin"), is_upgrade: true, ..READS }, false),
        ] {
            assert_eq!(guard.check_origin(&asker).is_ok(), allowed, "{asker:?}");
        }
    }
}
