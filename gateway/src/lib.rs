//! A gateway for Web VNC and sandbox traffic.

pub mod cli;
pub mod config;
pub mod http;
pub mod logging;
pub mod route;
pub mod sys;
pub mod tunnel;
pub mod upstream;
