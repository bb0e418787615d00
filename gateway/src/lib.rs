//! A gateway for Web VNC and sandbox traffic.

pub mod admin;
pub mod cli;
pub mod config;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod directory;
pub mod bpf;
pub mod config;
pub mod http;
pub mod probe;
pub mod route;
pub mod routes_command;
pub mod sys;
pub mod tunnel;
pub mod upstream;
