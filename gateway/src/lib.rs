//! A gateway for Web VNC and sandbox traffic.

pub mod config;
pub mod directory;
pub mod route;
pub mod routes_command;
pub mod sys;
