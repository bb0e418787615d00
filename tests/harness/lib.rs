//! Builders that let a story read as sentences: the real gateway, real Redis, real desktops, a real browser.
//!
//! Everything here blocks and returns [`anyhow::Result`]: a story unwraps, `cargo xtask demo` reports.
//! Each value owns the processes it started and ends exactly those when it is dropped.

pub mod application;
pub mod bridge;
pub mod browser;
pub mod capture;
pub mod crowd;
pub mod desktop;
pub mod dns;
pub mod forger;
pub mod gateway;
pub mod hosts;
pub mod http;
mod interfaces;
pub mod memory;
pub mod need;
pub mod netns;
pub mod novnc;
pub mod pattern;
pub mod pod;
pub mod process;
pub mod redis;
pub mod shuffler;
pub mod state;
pub mod target;
pub mod terminal;
pub mod viewer;
pub mod wait;
pub mod websocket;
pub mod wire;
pub mod worker;
pub mod xterm;
