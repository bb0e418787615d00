//! The list of stories.

#[cfg(test)]
mod webvnc;
