//! The table of traps names stories that exist, and misses no trap.

use std::ops::RangeInclusive;

use super::Finding;
use super::source::Source;

/// Where the table stands.
const TABLE: &str = "tests/TRAPS.md";

/// The traps that it has to name.
const TRAPS: [RangeInclusive<u32>; 2] = [1..=17, 31..=54];

/// Rows without a story, names of stories that are not there, and traps without a row.
pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let Some(table) = sources.iter().find(|source| source.path == TABLE) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let mut seen = Vec::new();
    for (line, text) in table.lines() {
        let Some((number, stories)) = row(text) else { continue };
        seen.push(number);
        if stories.is_empty() {
            findings.push(table.finding(line, format!("trap {number} has no story")));
        }
        let missing = stories.into_iter().filter(|story| !exists(story, sources));
        findings.extend(missing.map(|story| table.finding(line, format!("there is no story `{story}`"))));
    }
    let missing = TRAPS.into_iter().flatten().filter(|trap| !seen.contains(trap));
    findings.extend(missing.map(|trap| table.finding(1, format!("trap {trap} has no row"))));
    findings
}

/// A row's number and the names in its last cell.
fn row(text: &str) -> Option<(u32, Vec<&str>)> {
    let mut cells = text.strip_prefix('|')?.strip_suffix('|')?.split('|');
    let number = cells.next()?.trim().parse().ok()?;
    let stories = cells.next_back()?.split('`').skip(1).step_by(2).collect();
    Some((number, stories))
}

/// Whether the file that a name's modules lead to has a function of its last part.
fn exists(story: &str, sources: &[Source]) -> bool {
    let Some((module, name)) = story.rsplit_once("::") else { return false };
    let path = match module.strip_prefix("gateway::") {
        Some(module) => format!("gateway/tests/{}.rs", module.replace("::", "/")),
        None => format!("tests/{}.rs", module.replace("::", "/")),
    };
    let function = format!("fn {name}(");
    sources.iter().any(|source| source.path == path && source.text.contains(&function))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(table: &str) -> Vec<String> {
        let stories = Source::new("tests/a/b.rs", "//! Doc.\n\n#[test]\nfn it_holds() {}\n");
        let command = Source::new("gateway/tests/cli.rs", "//! Doc.\n\n#[test]\nfn it_ends() {}\n");
        let mut found = check(&[Source::new(TABLE, table), stories, command]);
        found.retain(|finding| !finding.message.ends_with("has no row"));
        found.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn stories_are_looked_up_where_their_names_lead() {
        assert!(messages("| 1 | x | `a::b::it_holds`, `gateway::cli::it_ends` |\n").is_empty());
        let found = messages("# T\n| 1 | `x` | `a::b::it_hold`, `it_holds` |\n");
        let expected = ["`a::b::it_hold`", "`it_holds`"].map(|name| format!("{TABLE}:2: there is no story {name}"));
        assert_eq!(found, expected);
        assert_eq!(messages("| 1 | x | not yet |\n"), [format!("{TABLE}:1: trap 1 has no story")]);
    }

    #[test]
    fn every_trap_has_a_row() {
        let rows: String = TRAPS.into_iter().flatten().map(|trap| format!("| {trap} | x | `a::y` |\n")).collect();
        let story = Source::new("tests/a.rs", "fn y() {}\n");
        let whole = Source::new(TABLE, rows.clone());
        assert!(check(&[whole, story]).is_empty());
        let without = rows.replace("| 40 | x | `a::y` |\n", "");
        let found = check(&[Source::new(TABLE, without), Source::new("tests/a.rs", "fn y() {}\n")]);
        assert_eq!(found[0].to_string(), format!("{TABLE}:1: trap 40 has no row"));
    }
}
