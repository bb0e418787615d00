//! A page that is opened before its application listens.

use gateway_tests::browser::Browser;
use gateway_tests::gateway::Gateway;
use gateway_tests::pod::{Absent, Pod};
use gateway_tests::wait::PATIENCE;
use gateway_tests::wire::Head;

use super::{PREFIX, gateway, is_missing, two_hops};
use crate::scene::ok;

/// Trap 52: each tab sees the gateway's page, which loads itself again until there is something to show.
#[test]
fn a_page_waits_for_its_port_to_listen() {
    if is_missing(&[]) {
        return;
    }
    let absent = Absent::new().unwrap();
    let port = absent.address().port();
    let gateway = gateway(&[]);
    let (edge, _agent) = two_hops(&[]);
    let browser = Browser::launch().unwrap();
    let host = |gateway: &Gateway| format!("http://{port}-a.localhost:{}/start?x#y", gateway.addr().port());
    let urls = [host(&gateway), host(&edge), format!("http://{}{PREFIX}/{port}/start?x#y", gateway.addr())];
    let tabs: Vec<_> = urls.iter().map(|url| browser.open(url).unwrap()).collect();
    for tab in &tabs {
        tab.wait_for("document.title === '502 Bad Gateway'", PATIENCE).unwrap();
        // It has come back by itself at least once.
        tab.wait_for("performance.getEntriesByType('navigation')[0]?.type === 'reload'", PATIENCE).unwrap();
        assert_eq!(tab.evaluate("document.title").unwrap(), "502 Bad Gateway");
    }
    let pod: Pod = absent
        .listen(|request, connection| {
            connection.body(request)?;
            connection.send(ok("Content-Type: text/html\r\n", "<title>here</title>"))
        })
        .unwrap();
    for (tab, url) in tabs.iter().zip(&urls) {
        tab.wait_for("document.title === 'here'", PATIENCE).unwrap();
        assert_eq!(tab.evaluate("location.href").unwrap(), **url);
    }
    let requests = pod.requests();
    let pages = requests.iter().filter(|request| request.field("sec-fetch-dest") == Some("document"));
    assert!(pages.map(Head::target).eq(["/start?x"; 3]), "one each, and the same page");
}
