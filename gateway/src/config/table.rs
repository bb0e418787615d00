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
