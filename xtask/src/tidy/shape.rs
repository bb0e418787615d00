//! Names, headings and leftovers.

use super::Finding;
use super::source::Source;

/// Module names that say nothing about what is inside, so that everything ends up inside.
const EMPTY_NAMES: &[&str] = &["common", "helper", "helpers", "misc", "util", "utils"];

/// Marks of unfinished work, spelt in halves so that this file does not carry them.
const LEFTOVERS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("to", "do!")];

/// Every Rust file begins by saying what it is for.
pub(super) fn module_doc(source: &Source) -> Vec<Finding> {
    let is_documented = source.text.starts_with("//! ") || source.text.starts_with("#![doc = include_str!(");
    if !source.is_rust() || is_documented {
        return Vec::new();
    }
    vec![source.finding(1, "the first line is a `//!` sentence that says what the module is for")]
}

/// `foo.rs` beside `foo/`, and names that mean something.
pub(super) fn module_name(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let path = source.path.strip_suffix(".rs").unwrap_or(&source.path);
    if path.rsplit('/').next() == Some("mod") {
        findings.push(source.finding(1, "a module with children is `foo.rs` beside `foo/`, not `foo/mod.rs`"));
    }
    if let Some(name) = path.split('/').find(|part| EMPTY_NAMES.contains(part)) {
        findings.push(source.finding(1, format!("`{name}` says nothing about what is inside")));
    }
    findings
}

/// A Markdown file has one title.
pub(super) fn markdown_title(source: &Source) -> Vec<Finding> {
    if !source.is_markdown() {
        return Vec::new();
    }
    let mut in_code = false;
    let mut titles = Vec::new();
    for (number, line) in source.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code && line.starts_with("# ") {
            titles.push(number);
        }
    }
    match titles.as_slice() {
        [_] => Vec::new(),
        [] => vec![source.finding(1, "no title: exactly one line begins with `# `")],
        [_, more @ ..] => more.iter().map(|line| source.finding(*line, "a second title")).collect(),
    }
}

/// Unfinished work is an issue, not a comment.
pub(super) fn leftovers(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in source.lines() {
        for mark in LEFTOVERS.iter().filter(|mark| has_word(line, mark)) {
            findings.push(source.finding(number, format!("{mark} left behind")));
        }
    }
    findings
}

fn has_word(line: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let (before, after) = (line[..start].chars().next_back(), line[start + word.len()..].chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(check: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        check(&Source::new(path, text)).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_file_says_what_it_is_for() {
        assert!(lines(module_doc, "a.rs", "//! Heads.\n").is_empty());
        assert_eq!(lines(module_doc, "a.rs", "use std::fmt;\n//! Late.\n"), [1]);
        assert_eq!(lines(module_doc, "a.rs", "/// Of the next item.\nfn f() {}\n"), [1]);
    }

    #[test]
    fn names_say_something() {
        for path in
            ["gateway/src/util.rs", "gateway/src/http/helpers.rs", "tests/common/a.rs", "gateway/src/http/mod.rs"]
        {
            assert_eq!(lines(module_name, path, ""), [1], "{path}");
        }
        for path in ["gateway-common/src/lib.rs", "gateway/src/http.rs", "gateway/src/model.rs", "deploy/util.md"] {
            assert!(lines(module_name, path, "").is_empty(), "{path}");
        }
    }

    #[test]
    fn one_title() {
        assert!(lines(markdown_title, "a.md", "# A\n\n## B\n\n```\n# not a title\n```\n").is_empty());
        assert_eq!(lines(markdown_title, "a.md", "## A\n"), [1]);
        assert_eq!(lines(markdown_title, "a.md", "# A\n# B\n\n# C\n"), [2, 4]);
    }

    #[test]
    fn leftovers_are_found_as_words() {
        let bad = format!("a\n// {}: later\n    {}()\n{}(b)\n", LEFTOVERS[0], LEFTOVERS[3], LEFTOVERS[1]);
        assert_eq!(lines(leftovers, "a.rs", &bad), [2, 3, 4]);
        let fine = format!("mktemp a.{0}{0}\n{0}_A\nautodoc\n", LEFTOVERS[2]);
        assert!(lines(leftovers, "a.sh", &fine).is_empty());
    }
}
