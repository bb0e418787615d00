//! The options about established streams.

use crate::config::kind::{self, count};
use crate::config::option::{One, Setting};

pub(super) static STREAMS: &[Setting] = &[
    option!(
        "stream-idle-timeout",
        One(stream.idle_timeout, kind::DURATION),
        "How long a stream may carry nothing either way; 0 is for ever."
    ),
    option!(
        "stream-lifetime-max",
        One(stream.lifetime_max, kind::DURATION),
        "How long a stream may live; 0 is for ever."
    ),
    option!(
        "streams-per-client-max",
        One(stream.per_client_max, count::<u32, 0, 1_000_000>()),
        "Streams of one client address; 0 is without limit. Everybody behind one NAT is one address."
    ),
    option!(
        "streams-per-sandbox-max",
        One(stream.per_sandbox_max, count::<u32, 0, 1_000_000>()),
        "Streams into one sandbox; 0 is without limit."
    ),
    option!(
        "tcp-keepalive-idle",
        One(stream.keepalive.idle, kind::SECONDS),
        "Silence on a stream's sockets before TCP asks whether the peer is still there; whole seconds."
    ),
    option!(
        "tcp-keepalive-interval",
        One(stream.keepalive.interval, kind::SECONDS),
        "Time between two of those questions; whole seconds."
    ),
    option!(
        "tcp-keepalive-probes",
        One(stream.keepalive.probes, count::<u32, 1, 127>()),
        "How many of them may go unanswered before the stream ends."
    ),
    option!(
        "tcp-user-timeout",
        One(stream.user_timeout, kind::DURATION),
        "How long sent bytes may stay unacknowledged before the stream ends; 0 leaves it to the kernel."
    ),
];
