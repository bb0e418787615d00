//! The project's own commands: `cargo xtask --help` is the developer's manual.

fn main() {}
