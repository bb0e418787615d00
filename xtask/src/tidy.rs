//! Style is a test: what the repository promises about its own shape is checked here, all findings at once.
//!
//! `cargo xtask tidy` prints them; `cargo test -p xtask` fails on them. A check is a function from a source (or from
//! all of them) to findings, and has a small bad example in its own tests. To add a rule, add it to a table or to
//! [`check`].

mod imports;
mod length;
mod machine;
mod paths;
mod purity;
mod shape;
mod source;
mod tables;
mod traps;
mod unsafe_code;

use std::fmt;

use anyhow::bail;

use crate::cargo;
use machine::MachineWords;
use source::Source;

/// Checks the repository's style.
#[derive(clap::Args)]
pub(crate) struct Options {}

/// Prints every finding, and fails if there is one.
#[expect(clippy::print_stdout, reason = "the findings are this command's output")]
pub(crate) fn run(Options {}: &Options) -> anyhow::Result<()> {
    let findings = findings()?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("{count} findings"),
    }
}

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// Relative to the repository's root.
    path: String,
    /// From 1; 1 also for what concerns the whole file.
    line: usize,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, message } = self;
        write!(f, "{path}:{line}: {message}")
    }
}

/// Everything that is wrong in the repository, in order of path and line.
fn findings() -> anyhow::Result<Vec<Finding>> {
    let root = cargo::checkout();
    let sources = source::load(root)?;
    let words = MachineWords::of_this_machine(root);
    let mut findings: Vec<Finding> = sources.iter().flat_map(|source| check(source, &words)).collect();
    findings.extend(tables::check(&sources));
    findings.extend(traps::check(&sources));
    findings.sort();
    Ok(findings)
}

/// Everything that one file can show on its own.
fn check(source: &Source, words: &MachineWords) -> Vec<Finding> {
    let checks = [
        source::parse_errors,
        length::check,
        imports::modules,
        imports::crates,
        purity::check,
        unsafe_code::check,
        shape::module_doc,
        shape::module_name,
        shape::markdown_title,
        shape::leftovers,
        machine::lock_sources,
    ];
    let mut findings: Vec<Finding> = checks.iter().flat_map(|check| check(source)).collect();
    findings.extend(words.check(source));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let findings = findings().expect("the repository can be read");
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
    }

    #[test]
    fn one_file_can_break_several_rules_at_once() {
        let source = Source::new("gateway/src/http/util.rs", "fn f() { unsafe { std::fs::exists(\"\") } }\n");
        let found = check(&source, &MachineWords::default());
        let messages: Vec<&str> = found.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(messages.len(), 4, "{messages:#?}");
        assert!(found.iter().all(|finding| finding.to_string().starts_with("gateway/src/http/util.rs:1: ")));
    }
}
