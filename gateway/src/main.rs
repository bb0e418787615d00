//! The program: parse the command line, do what it says, say how it ended.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use gateway::cli::{self, Cli};

fn main() -> ExitCode {
    match cli::run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when stderr is closed, too.
            drop(writeln!(io::stderr(), "{error}"));
            error.exit_code()
        }
    }
}
