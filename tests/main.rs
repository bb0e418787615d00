//! The list of stories.

#[cfg(test)]
mod access;
#[cfg(test)]
mod admin;
#[cfg(test)]
mod applications;
#[cfg(test)]
mod broker;
#[cfg(test)]
mod capacity;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod control_plane;
#[cfg(test)]
mod directory;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod engine_contract;
#[cfg(test)]
mod exchange;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod header;
#[cfg(test)]
mod http_rules;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod kernel;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod logging;
#[cfg(test)]
mod many_streams;
#[cfg(test)]
mod network;
#[cfg(test)]
mod program;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod routing;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod smuggling;
#[cfg(test)]
mod terminal;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod upstream;
#[cfg(test)]
mod users;
#[cfg(test)]
mod ways;
#[cfg(test)]
mod websocket;
#[cfg(test)]
mod webvnc;
