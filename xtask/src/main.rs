//! The project's own commands: `cargo xtask --help` is the developer's manual.

mod apt;
mod bench;
mod build_ebpf;
mod cargo;
mod ci;
mod demo;
mod jupyter;
mod novnc;
mod npm;
mod setup;
mod test;
mod tidy;
mod vite;
mod xterm;

use std::process::ExitCode;

use clap::Parser;

/// What a developer or CI does with this repository beside `cargo build` and `cargo test`.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Measure the gateway, side by side with the same traffic without it.
    Bench(bench::Options),
    /// Build the kernel side and write the object that the gateway embeds.
    BuildEbpf(build_ebpf::Options),
    /// Check everything that has to hold before a change lands.
    Ci(ci::Options),
    /// Show two real desktops through the gateway.
    Demo(demo::Options),
    /// Install what the tests need: Redis, desktops, a browser, several versions of noVNC, xterm.js, JupyterLab, Vite.
    Setup(setup::Options),
    /// Run all tests, after installing what they need.
    Test(test::Options),
    /// Check the repository's style, all findings at once.
    Tidy(tidy::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    match Task::parse() {
        Task::Ci(options) => return ci::run(&options),
        Task::Test(options) => return test::run(&options),
        Task::Bench(options) => bench::run(&options)?,
        Task::BuildEbpf(options) => build_ebpf::run(&options)?,
        Task::Demo(options) => demo::run(&options)?,
        Task::Setup(options) => setup::run(&options)?,
        Task::Tidy(options) => tidy::run(&options)?,
    }
    Ok(ExitCode::SUCCESS)
}
