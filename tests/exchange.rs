//! An ordinary exchange: what passes untouched, what is rewritten, and how bodies move.

mod bodies;
mod cut;
mod forwarded_for;
mod headers;
mod interim;
mod large;
mod methods;
mod public_urls;
