//! Hints for URLs of every kind, and the promise that a hint never leads to another one.

use proptest::prelude::*;

use super::*;

/// The hint for a page of sandbox 37579 below `/vnc/`.
fn hint(path: &str, query: Option<&str>) -> Option<String> {
    let sandbox = "37579".parse().unwrap();
    let location = location(path.as_bytes(), query.map(str::as_bytes), "/vnc/", &sandbox)?;
    Some(String::from_utf8(location).unwrap())
}

#[test]
fn the_parameter_leads_to_the_root_and_down_again() {
    for (path, expected) in [
        ("/vnc/37579/", "/vnc/37579/?path=../../vnc/37579/websockify"),
        ("/vnc/37579/vnc.html", "/vnc/37579/vnc.html?path=../../vnc/37579/websockify"),
        ("/vnc/37579/a/b/vnc.html", "/vnc/37579/a/b/vnc.html?path=../../../../vnc/37579/websockify"),
        // A browser counts the empty segment too.
        ("/vnc/37579//vnc.html", "/vnc/37579//vnc.html?path=../../../vnc/37579/websockify"),
    ] {
        assert_eq!(hint(path, None).as_deref(), Some(expected));
    }
    assert_eq!(hint(&format!("/vnc/37579{}", "/".repeat(100)), None), None, "no page is that deep");
    let deeper = location(b"/a/b/1/", None, "/a/b/", &"1".parse().unwrap()).unwrap();
    assert_eq!(deeper, b"/a/b/1/?path=../../../a/b/1/websockify");
    let at_root = location(b"/1/", None, "/", &"1".parse().unwrap()).unwrap();
    assert_eq!(at_root, b"/1/?path=../1/websockify");
}

#[test]
fn other_parameters_keep_their_bytes_and_their_order() {
    const OURS: &str = "path=../../vnc/37579/websockify";
    for (query, expected) in [
        ("", format!("?{OURS}")),
        ("autoconnect=1", format!("?autoconnect=1&{OURS}")),
        ("a=%2f&a=+;b&c", format!("?a=%2f&a=+;b&c&{OURS}")),
        ("a=1&", format!("?a=1&{OURS}")),
        ("path", format!("?path&{OURS}")),
        ("xpath=1", format!("?xpath=1&{OURS}")),
        ("path=websockify", format!("?{OURS}")),
        ("path=/websockify", format!("?{OURS}")),
        ("path=vnc/websockify", format!("?{OURS}")),
        ("path=/vnc/websockify", format!("?{OURS}")),
        ("path=vnc%2Fwebsockify", format!("?{OURS}")),
        ("path=%2fvnc%2fwebsockify", format!("?{OURS}")),
        ("a=1&path=websockify&b=2", format!("?a=1&{OURS}&b=2")),
        ("path=elsewhere&path=websockify", format!("?path=elsewhere&{OURS}")),
    ] {
        assert_eq!(hint("/vnc/37579/", Some(query)), Some(format!("/vnc/37579/{expected}")), "{query}");
    }
}

#[test]
fn a_path_of_the_pages_own_choice_is_left_alone() {
    for query in [
        "path=../../vnc/37579/websockify",
        "path=vnc/37579/websockify",
        "path=vnc%2F37579%2Fwebsockify",
        "path=vnc/1/websockify",
        "path=websockify?token=x",
        "path=websockify/",
        "path=%2F%2Fwebsockify",
        "path=",
        "path=websockify&path=elsewhere",
        "a=1&path=elsewhere&b=2",
        // noVNC looks for the parameter behind any question mark.
        "a?path=elsewhere",
    ] {
        assert_eq!(hint("/vnc/37579/", Some(query)), None, "{query}");
    }
}

proptest! {
    /// Whatever the query is, a browser that follows the hint is not sent on again.
    #[test]
    fn a_hint_never_leads_to_another_one(query in "([a-z=&?%2F./]|path=|websockify|vnc/){0,12}") {
        if let Some(first) = hint("/vnc/37579/vnc.html", Some(&query)) {
            let (path, query) = first.split_once('?').unwrap();
            prop_assert_eq!(hint(path, Some(query)), None);
        }
    }
}
