//! Every path that a Rust file names outside of its tests, `use` trees flattened and macro arguments included.

use std::collections::HashSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// One path, such as `std::time::Instant::now`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedPath {
    /// Resolved as far as one file shows: what stands in the own crate begins with `crate`, with `self` and `super`
    /// replaced.
    pub(super) segments: Vec<String>,
    /// Where it stands.
    pub(super) line: usize,
}

impl NamedPath {
    /// Whether the path is `prefix` (`a::b`) or lies below it.
    pub(super) fn is_within(&self, prefix: &str) -> bool {
        let mut segments = self.segments.iter();
        prefix.split("::").all(|part| segments.next().is_some_and(|segment| segment == part))
    }

    /// Whether the path's last segments are `suffix` (`a::b`).
    pub(super) fn ends_with(&self, suffix: &str) -> bool {
        let mut segments = self.segments.iter().rev();
        suffix.rsplit("::").all(|part| segments.next().is_some_and(|segment| segment == part))
    }

    /// As it would be written.
    pub(super) fn text(&self) -> String {
        self.segments.join("::")
    }
}

/// The paths in a file of the crate `crate_name` that is the module `module` (`["http", "parse"]`; empty for a root).
pub(super) fn named(syntax: &syn::File, crate_name: &str, module: &[&str]) -> Vec<NamedPath> {
    let module = std::iter::once("crate").chain(module.iter().copied()).map(str::to_owned).collect();
    let mut collector =
        Collector { crate_name: crate_name.to_owned(), module, local_names: HashSet::new(), found: Vec::new() };
    collector.learn_local_names(&syntax.items);
    collector.visit_file(syntax);
    collector.found
}

struct Collector {
    crate_name: String,
    module: Vec<String>,
    /// Names that mean something of this crate although an external crate might be called the same: `redis`, `metrics`.
    local_names: HashSet<String>,
    found: Vec<NamedPath>,
}

impl Collector {
    fn learn_local_names(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Mod(module) => {
                    self.local_names.insert(module.ident.to_string());
                }
                Item::Use(import) if import.leading_colon.is_none() => {
                    for (segments, name) in flattened(&import.tree) {
                        if matches!(segments[0].0.as_str(), "crate" | "self" | "super") {
                            self.local_names.insert(name);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// A path in code. One name alone is a variable, a field or something imported, and counted there.
    fn add_in_code(&mut self, segments: Vec<String>, line: usize, is_global: bool) {
        if segments.len() > 1 {
            self.add(segments, line, is_global);
        }
    }

    fn add(&mut self, segments: Vec<String>, line: usize, is_global: bool) {
        let Some(first) = segments.first() else { return };
        let resolved = match first.as_str() {
            _ if is_global => segments,
            "self" => [self.module.as_slice(), &segments[1..]].concat(),
            "super" => {
                let ups = segments.iter().take_while(|segment| *segment == "super").count();
                let kept = self.module.len().saturating_sub(ups).max(1);
                [&self.module[..kept], &segments[ups..]].concat()
            }
            first if first == self.crate_name => [&["crate".to_owned()], &segments[1..]].concat(),
            first if self.local_names.contains(first) => [self.module.as_slice(), &segments].concat(),
            _ => segments,
        };
        self.found.push(NamedPath { segments: resolved, line });
    }

    /// Paths among a macro's arguments, which are not syntax yet: names joined by `::`.
    fn scan(&mut self, tokens: TokenStream) {
        let mut current: Vec<String> = Vec::new();
        let (mut line, mut colons, mut is_global) = (1, 0, false);
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.add_in_code(std::mem::take(&mut current), line, is_global);
                    }
                    if current.is_empty() {
                        line = name.span().start().line;
                        is_global = colons == 2;
                    }
                    current.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.add_in_code(std::mem::take(&mut current), line, is_global);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.scan(group.stream());
                    }
                }
            }
        }
        self.add_in_code(current, line, is_global);
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test_only(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        for (segments, _) in flattened(&import.tree) {
            let line = segments.last().map_or(1, |(_, line)| *line);
            let names = segments.into_iter().map(|(name, _)| name).filter(|name| name != "*");
            self.add(names.collect(), line, import.leading_colon.is_some());
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let line = path.segments.first().map_or(1, |segment| segment.ident.span().start().line);
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add_in_code(segments, line, path.leading_colon.is_some());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        visit::visit_macro(self, invocation);
        self.scan(invocation.tokens.clone());
    }

    /// A call of `elapsed` reads the clock without naming it.
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let line = call.method.span().start().line;
        self.found.push(NamedPath { segments: vec![METHOD.to_owned(), call.method.to_string()], line });
        visit::visit_expr_method_call(self, call);
    }
}

/// Stands in front of a called method's name, since its type is not known: `<method>::elapsed`.
pub(super) const METHOD: &str = "<method>";

/// The paths of a `use` tree, each segment with its line, and the name that each brings in.
fn flattened(tree: &UseTree) -> Vec<(Vec<(String, usize)>, String)> {
    let segment = |name: &syn::Ident| (name.to_string(), name.span().start().line);
    match tree {
        UseTree::Path(path) => {
            let mut below = flattened(&path.tree);
            for (segments, name) in &mut below {
                segments.insert(0, segment(&path.ident));
                // `use a::b::{self}` brings in `b`.
                if segments.len() == 2 && segments[1].0 == "self" {
                    segments.truncate(1);
                    *name = path.ident.to_string();
                }
            }
            below
        }
        UseTree::Name(name) => vec![(vec![segment(&name.ident)], name.ident.to_string())],
        UseTree::Rename(rename) => vec![(vec![segment(&rename.ident)], rename.rename.to_string())],
        UseTree::Glob(glob) => vec![(vec![("*".to_owned(), glob.star_token.spans[0].start().line)], "*".to_owned())],
        UseTree::Group(group) => group.items.iter().flat_map(flattened).collect(),
    }
}

fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(syn::ItemConst { attrs, .. })
        | Item::Enum(syn::ItemEnum { attrs, .. })
        | Item::Fn(syn::ItemFn { attrs, .. })
        | Item::Impl(syn::ItemImpl { attrs, .. })
        | Item::Macro(syn::ItemMacro { attrs, .. })
        | Item::Mod(syn::ItemMod { attrs, .. })
        | Item::Static(syn::ItemStatic { attrs, .. })
        | Item::Struct(syn::ItemStruct { attrs, .. })
        | Item::Trait(syn::ItemTrait { attrs, .. })
        | Item::Type(syn::ItemType { attrs, .. })
        | Item::Use(syn::ItemUse { attrs, .. }) => attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
