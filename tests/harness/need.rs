//! What a story needs of the machine, and what happens where it is missing.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use nix::unistd::Uid;
use serde_json::Value;

use crate::gateway;

/// One thing without which a story cannot be told.
#[derive(Debug, Clone)]
pub enum Need {
    /// A program in one of the directories of `PATH`.
    Program(&'static str),
    /// A file or directory, and the command that provides it.
    Path(PathBuf, &'static str),
    /// The right to do what only root may, such as making network namespaces or loading programs into the kernel.
    Root,
    /// An engine that `gateway probe` says can run here.
    Engine(&'static str),
}

/// Whether something is missing; the story is then skipped, and returns at once.
pub fn is_missing(needs: &[Need]) -> bool {
    let missing: Vec<String> = needs.iter().filter_map(lacking).collect();
    if missing.is_empty() {
        return false;
    }
    skip(&missing.join(", "));
    true
}

/// Says that the test on this thread does not run for want of `missing`; it then returns.
///
/// The line `skipped: TEST: WHAT` goes past the capture of the test runner, and `cargo xtask test` counts these lines.
/// With `CI=true` in the environment the test fails instead, because there everything was installed on purpose.
pub fn skip(missing: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI lacks {missing}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("unnamed");
    writeln!(std::io::stderr(), "skipped: {test}: {missing}").expect("standard error takes a line");
}

/// The directory of `PATH` that holds `program`, joined with it.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let directories = std::env::var_os("PATH")?;
    std::env::split_paths(&directories).map(|directory| directory.join(program)).find(|candidate| candidate.is_file())
}

fn lacking(need: &Need) -> Option<String> {
    match need {
        Need::Program(program) if find_program(program).is_none() => Some(format!("program {program}")),
        Need::Path(path, provider) if !path.exists() => Some(format!("{} (run `{provider}`)", path.display())),
        Need::Root if !Uid::effective().is_root() => Some("root".to_owned()),
        Need::Engine(engine) => engine_lacks(engine),
        Need::Program(_) | Need::Path(..) | Need::Root => None,
    }
}

/// What `gateway probe` says is missing for `engine`.
fn engine_lacks(engine: &str) -> Option<String> {
    static PROBED: OnceLock<Result<Value, String>> = OnceLock::new();
    let probe = || -> anyhow::Result<Value> {
        let output = Command::new(gateway::program()?).args(["probe", "--json"]).output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let report = match PROBED.get_or_init(|| probe().map_err(|error| format!("{error:#}"))) {
        Ok(report) => report,
        Err(error) => return Some(format!("gateway probe: {error}")),
    };
    let engines = report["engines"].as_array().into_iter().flatten();
    match engines.into_iter().find(|report| report["engine"] == engine) {
        None => Some(format!("engine {engine}")),
        Some(report) if report["available"] == true => None,
        Some(report) => Some(format!("engine {engine}: {}", report["missing"])),
    }
}
