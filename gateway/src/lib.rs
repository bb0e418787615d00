//! A gateway for Web VNC and sandbox traffic.
//!
//! The modules stand in the order a byte meets them: a [`worker`] accepts, the [`connection`] is the trunk, [`http`]
//! reads heads, [`route`] decides the sandbox, the [`directory`] knows its endpoint, [`upstream`] dials it, and a
//! [`tunnel`] carries the stream, or the [`broker`] a session. Everything unsafe lives in [`sys`]. `ARCHITECTURE.md`
//! follows one request and one stream through them.

pub mod cli;
pub mod config;
pub mod logging;
pub mod serve;
pub mod worker;
pub mod connection;
pub mod http;
pub mod route;
pub mod auth;
pub mod directory;
pub mod upstream;
pub mod tunnel;
pub mod broker;
pub mod bpf;
pub mod sys;
pub mod error;
pub mod metrics;
pub mod admin;
pub mod drain;
pub mod routes_command;
pub mod streams_command;
pub mod probe;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz_entry;
