//! What a story needs of the machine, and what happens where it is missing.

use std::io::Write;
use std::path::PathBuf;

use nix::unistd::Uid;

/// One thing without which a story cannot be told.
#[derive(Debug, Clone)]
pub enum Need {
    /// A program in one of the directories of `PATH`.
    Program(&'static str),
    /// A file or directory, and the command that provides it.
    Path(PathBuf, &'static str),
    /// The right to do what only root may, such as making network namespaces or loading programs into the kernel.
    Root,
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
        Need::Program(_) | Need::Path(..) | Need::Root => None,
    }
}
