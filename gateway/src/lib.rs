//! A gateway for Web VNC and sandbox traffic.
//!
//! The modules stand in the order a byte meets them: a [`worker`] accepts, the [`connection`] is the trunk, [`http`] reads
//! heads, [`route`] decides the sandbox, the [`directory`] knows its endpoint, [`upstream`] dials it, and a [`tunnel`]
//! carries the stream. Everything unsafe lives in [`sys`].

pub mod admin;
pub mod bpf;
pub mod cli;
pub mod config;
pub mod connection;
pub mod directory;
pub mod drain;
pub mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz_entry;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod route;
pub mod routes_command;
pub mod serve;
pub mod sys;
pub mod tunnel;
pub mod upstream;
pub mod worker;
