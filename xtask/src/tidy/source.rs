//! The files under check, read and parsed once.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use super::Finding;

/// One text file of the repository.
pub(super) struct Source {
    /// Relative to the root, with slashes.
    pub(super) path: String,
    pub(super) text: String,
    /// What the text means, for Rust that parses.
    pub(super) syntax: Option<syn::File>,
}

impl Source {
    pub(super) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let syntax = is_rust(&path).then(|| syn::parse_file(&text).ok()).flatten();
        Self { path, text, syntax }
    }

    pub(super) fn is_rust(&self) -> bool {
        is_rust(&self.path)
    }

    pub(super) fn is_markdown(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "md")
    }

    /// Whether the whole file is test code, which may import what it likes.
    pub(super) fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    /// The path below `gateway/src/`, for files of the program.
    pub(super) fn in_gateway(&self) -> Option<&str> {
        self.path.strip_prefix("gateway/src/")
    }

    pub(super) fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, message: message.into() }
    }

    /// Lines with their numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// Every text file that git tracks, or would track: a file must be tidy before it is added, not after.
pub(super) fn load(root: &Path) -> anyhow::Result<Vec<Source>> {
    let listing = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("cannot run git to list the repository's files")?;
    ensure!(listing.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listing.stderr));
    let names = String::from_utf8(listing.stdout).context("a file name is not UTF-8")?;
    let mut sources = Vec::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        // A tracked file may be deleted in the working tree; a binary one (the built object) has no style.
        if let Some(text) = std::fs::read(root.join(name)).ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
            sources.push(Source::new(name, text));
        }
    }
    ensure!(!sources.is_empty(), "git lists no files in {}", root.display());
    Ok(sources)
}

/// Rust that does not parse cannot be checked, and must not pass for tidy.
pub(super) fn parse_errors(source: &Source) -> Vec<Finding> {
    if !source.is_rust() || source.syntax.is_some() {
        return Vec::new();
    }
    let error = syn::parse_file(&source.text).err();
    error
        .map(|error| source.finding(error.span().start().line, format!("does not parse: {error}")))
        .into_iter()
        .collect()
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_parse_is_reported_where_it_breaks() {
        let source = Source::new("a.rs", "//! Doc.\n\nfn f( {}\n");
        let lines: Vec<usize> = parse_errors(&source).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [3]);
        assert!(parse_errors(&Source::new("a.rs", "fn f() {}\n")).is_empty());
        assert!(parse_errors(&Source::new("a.md", "fn f( {}\n")).is_empty());
    }

    #[test]
    fn test_code_is_recognised_by_its_place() {
        let is_test = |path| Source::new(path, "").is_test();
        assert!(is_test("tests/routing.rs") && is_test("gateway/src/http/parse/tests.rs"));
        assert!(!is_test("gateway/src/http/parse.rs"));
    }
}
