//! `unsafe` has an address. The compiler's lint can be lifted anywhere by an attribute; this table cannot.

use proc_macro2::{TokenStream, TokenTree};

use super::Finding;
use super::source::Source;

/// Where `unsafe` may be written.
const ALLOWED: &[&str] = &["gateway/src/sys/", "gateway/src/sys.rs", "gateway-common/", "gateway-ebpf/"];

/// Every `unsafe` outside of its places, whatever it stands before, macro arguments included.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    if !source.is_rust() || ALLOWED.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    let mut lines = Vec::new();
    find(source.text.parse().unwrap_or_default(), &mut lines);
    lines.into_iter().map(|line| source.finding(line, format!("unsafe is only for {}", ALLOWED.join(", ")))).collect()
}

fn find(tokens: TokenStream, lines: &mut Vec<usize>) {
    for token in tokens {
        match token {
            TokenTree::Ident(name) if name == "unsafe" => lines.push(name.span().start().line),
            TokenTree::Group(group) => find(group.stream(), lines),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&Source::new(path, text)).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn it_is_found_in_every_form() {
        let text = "fn f() {\n    vec![unsafe { g() }];\n}\nunsafe impl Send for A {}\nunsafe fn g() {}\n";
        assert_eq!(lines("gateway/src/tunnel.rs", text), [2, 4, 5]);
    }

    #[test]
    fn talking_about_it_is_fine() {
        assert!(lines("gateway/src/tunnel.rs", "// unsafe\nconst A: &str = \"unsafe\"; // unsafe_code\n").is_empty());
    }

    #[test]
    fn it_has_its_places() {
        for path in ["gateway/src/sys/ring.rs", "gateway-ebpf/src/main.rs", "gateway-common/src/lib.rs"] {
            assert!(lines(path, "unsafe fn g() {}").is_empty(), "{path}");
        }
        assert_eq!(lines("gateway/src/system.rs", "unsafe fn g() {}"), [1]);
    }
}
