//! What fits on a screen can be held in a head.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::Finding;
use super::source::Source;

/// Lines of a file, tests included: they move to a file of their own before it gets this long.
const FILE_LINES_MAX: usize = 400;
/// Lines of a function, from its `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Characters of a line: rustfmt's width, which it does not enforce on comments and strings.
const LINE_CHARS_MAX: usize = 120;

/// Lengths of Rust files, their lines and their functions.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let count = source.text.lines().count();
    if count > FILE_LINES_MAX {
        findings.push(source.finding(1, format!("{count} lines; a file has at most {FILE_LINES_MAX}")));
    }
    for (number, line) in source.lines() {
        let chars = line.chars().count();
        if chars > LINE_CHARS_MAX {
            findings.push(source.finding(number, format!("{chars} characters; a line has at most {LINE_CHARS_MAX}")));
        }
    }
    if let Some(syntax) = &source.syntax {
        let mut functions = Functions { source, findings: &mut findings };
        functions.visit_file(syntax);
    }
    findings
}

struct Functions<'a> {
    source: &'a Source,
    findings: &'a mut Vec<Finding>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let (first, last) = (signature.fn_token.span().start().line, body.span().end().line);
        let lines = last - first + 1;
        if lines > FUNCTION_LINES_MAX {
            let message = format!("{} has {lines} lines; a function has at most {FUNCTION_LINES_MAX}", signature.ident);
            self.findings.push(self.source.finding(first, message));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.measure(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_found(text: &str) -> Vec<usize> {
        check(&Source::new("a.rs", text)).iter().map(|finding| finding.line).collect()
    }

    /// A function of exactly this many lines.
    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_is_measured_from_fn_to_brace_wherever_it_stands() {
        assert!(lines_found(&function(FUNCTION_LINES_MAX)).is_empty());
        let long = function(FUNCTION_LINES_MAX + 1);
        assert_eq!(lines_found(&format!("/// Doc.\n#[must_use]\n{long}")), [3]);
        assert_eq!(lines_found(&format!("impl A {{\n{long}}}\n")), [2]);
        assert_eq!(lines_found(&format!("trait A {{\n{long}}}\n")), [2]);
        assert_eq!(lines_found(&format!("mod inner {{\n{long}}}\n")), [2]);
        assert_eq!(lines_found(&format!("fn outer() {{\n{long}}}\n")), [1, 2]);
    }

    #[test]
    fn a_line_is_measured_in_characters() {
        let comment = |chars: usize| format!("// {}\n", "ü".repeat(chars - 3));
        assert!(lines_found(&comment(LINE_CHARS_MAX)).is_empty());
        assert_eq!(lines_found(&format!("\n{}", comment(LINE_CHARS_MAX + 1))), [2]);
    }

    #[test]
    fn a_file_has_an_end() {
        assert!(lines_found(&"\n".repeat(FILE_LINES_MAX)).is_empty());
        assert_eq!(lines_found(&"\n".repeat(FILE_LINES_MAX + 1)), [1]);
        assert!(check(&Source::new("a.md", "\n".repeat(FILE_LINES_MAX + 1))).is_empty());
    }
}
