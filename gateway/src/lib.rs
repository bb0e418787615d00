//! A gateway for Web VNC and sandbox traffic.

pub mod admin;
pub mod cli;
pub mod config;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz_entry;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod route;
pub mod sys;
pub mod tunnel;
pub mod upstream;
