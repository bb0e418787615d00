//! Tables in the documentation are what the program prints about itself.
//!
//! Between `<!-- table:NAME -->` and `<!-- /table -->` a Markdown file carries the output of `gateway docs NAME-table`,
//! and nothing else.

use std::process::Command;

use anyhow::{Context, ensure};

use super::Finding;
use super::source::Source;
use crate::cargo;

/// Tables that differ from what the program prints. Says so on stderr when the README has none yet.
#[expect(clippy::print_stderr, reason = "a check that is skipped must say so")]
pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let readme = sources.iter().find(|source| source.path == "README.md");
    if readme.is_none_or(|readme| tables(readme).next().is_none()) {
        eprintln!("tidy: README.md has no `{BEGIN}NAME{BEGIN_END}` yet; its tables are not compared with the program");
    }
    sources.iter().flat_map(|source| compare(source, print)).collect()
}

/// Lets the gateway print a table.
fn print(name: &str) -> anyhow::Result<String> {
    let mut program = Command::new(cargo::gateway()?);
    let output = program.args(["docs", &format!("{name}-table")]).output().context("cannot run the gateway")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim_end());
    String::from_utf8(output.stdout).context("the table is not UTF-8")
}

const BEGIN: &str = "<!-- table:";
const BEGIN_END: &str = " -->";
const END: &str = "<!-- /table -->";

/// A table as a document shows it.
struct Table<'a> {
    name: &'a str,
    line: usize,
    /// What stands between the markers, or nothing when the second one is missing.
    shown: Option<String>,
}

fn compare(source: &Source, print: impl Fn(&str) -> anyhow::Result<String>) -> Vec<Finding> {
    let compared = tables(source).filter_map(|Table { name, line, shown }| {
        let message = match (shown, print(name)) {
            (None, _) => format!("no `{END}` follows"),
            (_, Err(error)) => format!("`gateway docs {name}-table` failed: {error:#}"),
            (Some(shown), Ok(printed)) if shown.trim() == printed.trim() => return None,
            _ => format!("the table differs from what `gateway docs {name}-table` prints"),
        };
        Some(source.finding(line, message))
    });
    compared.collect()
}

fn tables(source: &Source) -> impl Iterator<Item = Table<'_>> {
    let markdown = source.is_markdown().then(|| source.lines()).into_iter().flatten();
    markdown.filter_map(|(line, text)| {
        let name = text.strip_prefix(BEGIN)?.strip_suffix(BEGIN_END)?;
        let below: Vec<&str> = source.text.lines().skip(line).collect();
        let shown = below.iter().position(|text| *text == END).map(|end| below[..end].join("\n"));
        Some(Table { name, line, shown })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let print = |name: &str| match name {
            "metrics" => Ok("| a |\n|---|\n| b |\n".to_owned()),
            _ => anyhow::bail!("no such table"),
        };
        compare(&Source::new("README.md", text), print).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_table_equals_what_is_printed() {
        let fine = "# A\n\n<!-- table:metrics -->\n\n| a |\n|---|\n| b |\n\n<!-- /table -->\n";
        assert!(messages(fine).is_empty());
        let differs = messages(&fine.replace("| b |", "| c |"));
        assert_eq!(differs, ["README.md:3: the table differs from what `gateway docs metrics-table` prints"]);
    }

    #[test]
    fn a_table_that_cannot_be_compared_is_not_tidy() {
        assert_eq!(messages("<!-- table:metrics -->\n| a |\n"), ["README.md:1: no `<!-- /table -->` follows"]);
        let unknown = messages("\n<!-- table:colours -->\n<!-- /table -->\n");
        assert_eq!(unknown, ["README.md:2: `gateway docs colours-table` failed: no such table"]);
    }

    #[test]
    fn only_markdown_has_tables() {
        assert_eq!(tables(&Source::new("a.rs", "<!-- table:metrics -->\n")).count(), 0);
    }
}
