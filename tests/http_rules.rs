//! Framing: what is refused before a pod sees it, rule by rule, over a raw socket.

mod chunks;
mod framing;
mod start_line;
