//! A gateway for Web VNC and sandbox traffic.

pub mod config;
pub mod route;
pub mod sys;
