//! Vite: modules that the page imports by absolute paths, and a WebSocket by which the server tells it what changed.

use gateway_tests::application::{Application, vite};
use gateway_tests::browser::Browser;
use gateway_tests::gateway::Gateway;
use gateway_tests::wait::PATIENCE;

use super::{PREFIX, by_host, by_prefix, gateway, is_missing, two_hops, wait_at, wait_stream};

const FILES: [(&str, &str); 3] = [
    ("index.html", "<title>app</title><p></p><script type=\"module\" src=\"/main.js\"></script>"),
    (
        "main.js",
        "import { text } from './message.js';
        const show = text => { document.querySelector('p').textContent = text; };
        show(text);
        import.meta.hot.accept('./message.js', changed => show(changed.text));",
    ),
    ("message.js", "export const text = 'first';"),
];

#[test]
fn a_development_server_changes_the_page_without_a_reload() {
    if is_missing(&vite::needs()) {
        return;
    }
    let at_root = vite::start("", &FILES).unwrap();
    let below = vite::start(PREFIX, &FILES).unwrap();
    let (at_root, below) = (at_root.ready().unwrap(), below.ready().unwrap());
    let port = below.address().port().to_string();
    let gateway = gateway(&["--service-prefix-keep", &port]);
    let (edge, agent) = two_hops(&[]);
    let browser = Browser::launch().unwrap();
    edited_live(&browser, &by_host(&gateway, &at_root), &at_root, ["first", "second"]);
    wait_stream(&gateway, at_root.address());
    edited_live(&browser, &by_host(&edge, &at_root), &at_root, ["second", "third"]);
    wait_stream(&edge, agent.addr());
    wait_stream(&agent, at_root.address());
    edited_live(&browser, &by_prefix(&gateway, &below), &below, ["first", "second"]);
    wait_stream(&gateway, below.address());
    assert_eq!(opened(&gateway) + opened(&agent), 3.0, "one socket each, and no second attempt");
}

/// Opens the page at `start`, and edits a module of it behind its back.
fn edited_live(browser: &Browser, start: &str, application: &Application, [before, after]: [&str; 2]) {
    let tab = browser.open(&format!("{start}/")).unwrap();
    wait_at(&tab, &format!("{start}/"));
    let shows = |text: &str| {
        tab.wait_for(&format!("document.querySelector('p').textContent === '{text}'"), PATIENCE).unwrap();
    };
    shows(before);
    tab.evaluate("globalThis.kept = 42").unwrap();
    application.write(("message.js", &format!("export const text = '{after}';"))).unwrap();
    shows(after);
    assert_eq!(tab.evaluate("kept").unwrap(), 42, "the same page");
}

fn opened(gateway: &Gateway) -> f64 {
    gateway.metric("gateway_streams_opened_total", &[]).unwrap()
}
