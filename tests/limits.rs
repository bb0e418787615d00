//! Limits: how much a peer may send, and how long it may take.

mod sizes;
mod times;
mod counts;
