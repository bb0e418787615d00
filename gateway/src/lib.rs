//! A gateway for Web VNC and sandbox traffic.

pub mod config;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz_entry;
pub mod http;
pub mod route;
pub mod sys;
pub mod tunnel;
pub mod upstream;
