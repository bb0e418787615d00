//! The options about sessions of the broker.

use crate::config::kind::{self, bytes, count};
use crate::config::option::{Many, One, Setting};

pub(super) static BROKER: &[Setting] = &[
    option!(
        "broker-route",
        Many(routing.broker_routes, kind::BROKER_PATTERN),
        "Paths whose WebSockets outlive their upstream, where the source broker is on: {id} is the sandbox, {a|b} one \
         of a few, any other {name} one segment."
    ),
    option!(
        "broker-prefix",
        One(routing.broker_prefix, kind::PATH_PREFIX),
        "What is cut off those paths for the worker, if they begin with it; its last slash stays."
    ),
    option!(
        "broker-redial-wait",
        One(broker.redial_wait, kind::DURATION_POSITIVE),
        "The wait before the first attempt to redial a lost upstream; it doubles from there."
    ),
    option!("broker-redial-wait-max", One(broker.redial_wait_max, kind::DURATION_POSITIVE), "The longest such wait."),
    option!(
        "broker-redial-attempts",
        One(broker.redial_attempts, count::<u32, 1, 1000>()),
        "How often a lost upstream is dialled again in all, before the session ends with 1011."
    ),
    option!(
        "broker-redial-jitter",
        One(broker.redial_jitter_percent, count::<u32, 0, 100>()),
        "By how many percent a wait is lengthened at most, by chance."
    ),
    option!(
        "broker-migrating-wait",
        One(broker.migrating_wait, kind::DURATION_POSITIVE),
        "The wait before each attempt while the sandbox is on its way to another host."
    ),
    option!(
        "broker-migrating-attempts",
        One(broker.migrating_attempts, count::<u32, 1, 1000>()),
        "How many of those attempts there are."
    ),
    option!(
        "broker-handshake-timeout",
        One(broker.handshake_timeout, kind::DURATION_POSITIVE),
        "How long a worker may take from the dial to its 101."
    ),
    option!(
        "broker-flap-cycles-max",
        One(broker.flap_cycles_max, count::<u32, 1, 1000>()),
        "How many redial cycles a session may begin within the flap window; one more ends it with 1011."
    ),
    option!("broker-flap-window", One(broker.flap_window, kind::DURATION_POSITIVE), "The flap window."),
    option!(
        "broker-on-redial",
        One(broker.on_redial, kind::ON_REDIAL),
        "What becomes of a client's messages while there is no upstream: dropped, or held for the next one."
    ),
    option!(
        "broker-redial-buffer-bytes-max",
        One(broker.redial_buffer_bytes_max, bytes::<1024, { 16 << 20 }>()),
        "How much of them a session holds; with more the client is not read until there is an upstream."
    ),
    option!(
        "broker-keepalive",
        One(broker.keepalive, kind::DURATION),
        "How often both sides of a session are asked for a sign of life; 0 is never."
    ),
    option!(
        "broker-keepalive-frame",
        One(broker.keepalive_frame, kind::KEEPALIVE_FRAME),
        "By a ping, whose missing pong ends a side, or by an empty binary frame, which nobody answers."
    ),
    option!(
        "broker-idle-timeout",
        One(broker.idle_timeout, kind::DURATION),
        "How long a session may carry no data either way; 0 is for ever."
    ),
    option!(
        "broker-lifetime-max",
        One(broker.lifetime_max, kind::DURATION),
        "How long a session may live; 0 is for ever."
    ),
    option!(
        "broker-message-bytes-max",
        One(broker.message_bytes_max, bytes::<1024, { 1 << 30 }>()),
        "The longest message either way; a longer one ends the session with 1009."
    ),
    option!(
        "broker-per-client-max",
        One(broker.per_client_max, count::<u32, 0, 1_000_000>()),
        "Sessions of one client address; one more is closed with 1008, 0 is without limit."
    ),
    option!(
        "broker-dials-max",
        One(broker.dials_max, count::<usize, 1, 10_000>()),
        "Redials that one worker thread has under way at a time; others wait for their turn."
    ),
];
