//! The list of stories.

#[cfg(test)]
mod engine_contract;
#[cfg(test)]
mod webvnc;
