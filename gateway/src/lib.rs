//! A gateway for Web VNC and sandbox traffic.

pub mod bpf;
pub mod config;
pub mod http;
pub mod probe;
pub mod route;
pub mod sys;
pub mod tunnel;
pub mod upstream;
