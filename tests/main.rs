//! The list of stories.

#[cfg(test)]
mod cli;
#[cfg(test)]
mod directory;
#[cfg(test)]
mod engine_contract;
#[cfg(test)]
mod program;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod webvnc;
