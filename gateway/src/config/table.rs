//! The README's configuration table.

use super::option::Setting;
use super::options;

/// One row per option, as GitHub-flavoured Markdown.
#[must_use]
pub fn markdown_table() -> String {
    let head = "| Flag | Variable | File key | Default | Meaning |\n|---|---|---|---|---|\n";
    options::all().fold(head.to_owned(), |table, setting| table + &row(setting))
}

fn row(setting: &Setting) -> String {
    let Setting { name, field, help } = setting;
    let cells = [
        code(&format!("--{name} {}", field.placeholder())),
        code(&setting.variable()),
        code(&setting.key()),
        code(&setting.default_text()),
        // A list can be given several times; the scheme is explained once, beside the table.
        format!("{help}{}", if field.repeats() { " Repeatable." } else { "" }),
    ];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_has_a_row_of_five_cells_for_every_option() {
        let table = markdown_table();
        assert_eq!(table.lines().count(), 2 + options::all().count());
        for line in table.lines() {
            assert_eq!(line.replace("\\|", "").matches('|').count(), 6, "{line}");
        }
        assert!(
            table.contains("| `--drain-timeout DURATION` | `GATEWAY_DRAIN_TIMEOUT` | `drain_timeout` | `30s` |"),
            "{table}"
        );
    }

    #[test]
    fn names_are_unique_and_keep_the_scheme_and_helps_are_sentences() {
        let names: BTreeSet<_> = options::all().map(|setting| setting.name).collect();
        assert_eq!(names.len(), options::all().count());
        for Setting { name, help, .. } in options::all() {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{name}");
            assert!(help.ends_with('.') && help.starts_with(char::is_uppercase), "{name}: {help}");
        }
    }
}
