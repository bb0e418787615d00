//! The upgrade to a stream: what counts as one, what opens it, and which bytes pass when.

mod lasting;
mod opening;
mod refused;
mod stream;
