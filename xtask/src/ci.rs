//! What has to hold before a change lands: `cargo xtask ci`, on a developer's machine as in CI.
//!
//! Cheap steps come first. A step that fails does not stop the others: all findings at once. What one step compiles the
//! next ones use, for they share the folder, the profile and the features: lints, documentation and the fuzz targets
//! the checked crates, everything else those that [`cargo::build_all`] builds.

mod step;

use std::io;
use std::process::{Command, ExitCode};

use gateway_tests::need;
use gateway_tests::target;

use crate::cargo::{self, succeed};
use crate::test;
use step::{Outcome, Step};

/// Nothing to choose: CI is one thing.
#[derive(clap::Args)]
pub(crate) struct Options {}

const STEPS: &[Step] = &[
    Step { name: "format", run: format },
    Step { name: "dependencies", run: dependencies },
    Step { name: "lints", run: lints },
    Step { name: "documentation", run: documentation },
    Step { name: "fuzz targets", run: fuzz_targets },
    Step { name: "kernel side", run: kernel_side },
    Step { name: "tests", run: tests },
    Step { name: "demo", run: demo },
    Step { name: "bench", run: bench },
];

/// Takes all steps. The last line is the sum of the tests, in which every other step counts as one; the exit code is a
/// failure when something in it failed.
pub(crate) fn run(_: &Options) -> anyhow::Result<ExitCode> {
    let sum = step::take(STEPS, &mut io::stdout())?;
    Ok(if sum.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Workspaces of their own, because other compilers build them.
const OTHER_WORKSPACES: [&str; 2] = ["gateway-ebpf/Cargo.toml", "gateway/fuzz/Cargo.toml"];

fn format() -> anyhow::Result<Outcome> {
    for manifest in ["Cargo.toml"].into_iter().chain(OTHER_WORKSPACES) {
        let mut format = cargo::program();
        format.current_dir(cargo::checkout()).args(["fmt", "--all", "--check", "--manifest-path", manifest]);
        succeed(&mut format)?;
    }
    Ok(Outcome::Passed)
}

/// What deny.toml lists and a workspace does not use: a mistake in the main one, and expected in the others.
const UNNEEDED: [&str; 4] = ["license-not-encountered", "unmatched-skip", "unnecessary-skip", "unused-wrapper"];

/// Not `advisories`: their database is a repository that a machine behind a registry mirror does not reach.
fn dependencies() -> anyhow::Result<Outcome> {
    if need::find_program("cargo-deny").is_none() {
        // Building it takes longer than all the other steps together.
        return Ok(Outcome::Skipped("cargo-deny is not installed (cargo install cargo-deny --locked)"));
    }
    let deny = |manifest: &str, level: &str| {
        let mut deny = cargo::program();
        deny.current_dir(cargo::checkout()).args(["deny", "--manifest-path", manifest, "--all-features", "--locked"]);
        deny.args(["check", "--allow", "license-exception-not-encountered"]);
        succeed(deny.args(UNNEEDED.iter().flat_map(|lint| [level, lint])).args(["bans", "licenses", "sources"]))
    };
    deny("Cargo.toml", "--deny")?;
    for manifest in OTHER_WORKSPACES {
        deny(manifest, "--allow")?;
    }
    Ok(Outcome::Passed)
}

fn lints() -> anyhow::Result<Outcome> {
    succeed(cargo::command("clippy").args(["--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    Ok(Outcome::Passed)
}

fn documentation() -> anyhow::Result<Outcome> {
    succeed(
        cargo::command("doc")
            .args(["--workspace", "--no-deps", "--document-private-items"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )?;
    Ok(Outcome::Passed)
}

/// On the stable compiler, which can check but not run them. What they do is tested in `gateway/src/fuzz_entry`.
fn fuzz_targets() -> anyhow::Result<Outcome> {
    succeed(
        cargo::command("check")
            .current_dir(cargo::checkout().join("gateway/fuzz"))
            // The profile of the gateway's workspace, and its folder: what both depend on is checked once.
            .args(["--config", "profile.dev.debug='line-tables-only'"])
            .args(["--config", "profile.dev.package.'*'.opt-level=1"])
            .env("CARGO_TARGET_DIR", target::directory()?)
            // A check links nothing, so that libFuzzer, which is C++, need not be built; the name is all that is read.
            .env("CUSTOM_LIBFUZZER_PATH", "./libfuzzer.a"),
    )?;
    Ok(Outcome::Passed)
}

fn kernel_side() -> anyhow::Result<Outcome> {
    succeed(task()?.args(["build-ebpf", "--check"]))?;
    Ok(Outcome::Passed)
}

fn tests() -> anyhow::Result<Outcome> {
    // Not left to a test's own judgement: here it fails where something is missing.
    succeed(task()?.arg("setup"))?;
    Ok(Outcome::Tests(test::suite(None, &[("CI", "true")])?))
}

fn demo() -> anyhow::Result<Outcome> {
    // The one that the tests have used.
    succeed(task()?.args(["demo", "--check"]).env("GATEWAY_BIN", target::program("gateway")?))?;
    Ok(Outcome::Passed)
}

/// Far too short to measure anything: it shows that the suite runs, in a closed and in an open loop.
fn bench() -> anyhow::Result<Outcome> {
    succeed(Command::new(target::program("gateway-bench")?).args(["--smoke", "bulk", "noisy"]))?;
    Ok(Outcome::Passed)
}

/// This program again: a step that is also a command runs as its own process, as a developer runs it.
fn task() -> anyhow::Result<Command> {
    // Not by its file, which a build may have replaced since it was started.
    Ok(Command::new(target::program("xtask")?))
}
