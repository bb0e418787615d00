//! Who may come in, and by what.

use crate::config::kind;
use crate::config::option::{Many, Maybe, One, Setting};
use crate::config::web_origin::WEB_ORIGIN;

/// The options about tokens.
pub(super) static TOKENS: &[Setting] = &[
    option!(
        "auth-token",
        Maybe(auth.token, kind::SECRET),
        "The token that opens every sandbox of the header, host and prefix sources. Arguments are public on a machine: \
         give it by variable or file."
    ),
    option!(
        "auth-secret-file",
        Many(auth.secret_files, kind::FILE),
        "A file with the secret that scoped tokens are signed with, 32 bytes at least. Two at most, so that one can \
         take the other's place."
    ),
    option!(
        "allow-unauthenticated",
        One(auth.allow_unauthenticated, kind::SWITCH),
        "Whether the header source may run without --auth-token and --auth-secret-file."
    ),
    option!(
        "auth-cookie-lifetime",
        One(auth.cookie_lifetime, kind::DURATION_POSITIVE),
        "How long the cookie that a browser gets for a token is good for at most; it ends with its token in any case."
    ),
    option!(
        "auth-origin",
        Many(auth.origins, WEB_ORIGIN),
        "The origin of pages elsewhere that may use sandboxes by that cookie, such as https://app.example; those of \
         the gateway's own origin always may."
    ),
];
