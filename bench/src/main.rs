//! The bench suite.

fn main() {}
