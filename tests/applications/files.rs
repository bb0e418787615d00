//! `python -m http.server`: a directory without its slash is redirected to a path that knows no prefix, and pages name
//! what belongs to them relative to themselves.

use gateway_tests::application::Application;
use gateway_tests::browser::Browser;
use gateway_tests::wait::PATIENCE;

use super::{by_host, by_prefix, gateway, is_missing, two_hops, wait_at};

const FILES: [(&str, &str); 3] = [
    ("docs/index.html", "<title>docs</title><script src=\"page.js\"></script><a href=\"../more/deep\">deeper</a>"),
    ("docs/page.js", "document.title += ' and their script';"),
    ("more/deep/leaf.txt", "the leaf"),
];

#[test]
fn a_file_servers_directory_redirects_stay_inside() {
    if is_missing(&Application::needs_of_files()) {
        return;
    }
    let files = Application::files(&FILES).unwrap().ready().unwrap();
    let gateway = gateway(&[]);
    let (edge, agent) = two_hops(&[]);
    let browser = Browser::launch().unwrap();
    for start in [by_host(&gateway, &files), by_host(&edge, &files), by_prefix(&gateway, &files)] {
        // The directory's own page, by a path without its slash.
        let tab = browser.open(&format!("{start}/docs?x=1")).unwrap();
        wait_at(&tab, &format!("{start}/docs/?x=1"));
        tab.wait_for("document.title === 'docs and their script'", PATIENCE).unwrap();
        // A link that climbs, to another directory without its slash, and a listing, whose links are relative.
        tab.evaluate("document.querySelector('a').click()").unwrap();
        wait_at(&tab, &format!("{start}/more/deep/"));
        tab.evaluate("document.querySelector('a').click()").unwrap();
        wait_at(&tab, &format!("{start}/more/deep/leaf.txt"));
        assert_eq!(tab.evaluate("document.body.innerText").unwrap(), "the leaf");
        // What it refuses is its own page, not the gateway's.
        tab.navigate(&format!("{start}/nothing")).unwrap();
        tab.wait_for("document.body.innerText.includes('File not found')", PATIENCE).unwrap();
    }
    // One gateway's requests by each of its sources, and as many over both hops.
    let asked = |gateway: &gateway_tests::gateway::Gateway, source: &str| {
        gateway.metric("gateway_http_requests_total", &[("source", source), ("code", "301")]).unwrap()
    };
    assert_eq!((asked(&gateway, "host"), asked(&gateway, "prefix")), (2.0, 2.0));
    assert_eq!((asked(&edge, "host"), asked(&agent, "agent")), (2.0, 2.0));
}
