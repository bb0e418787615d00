//! A real shell in a page, whose sandbox moves to another worker while it is used.

use gateway_tests::browser::Browser;
use gateway_tests::need::is_missing;
use gateway_tests::terminal::{Shells, TerminalWorker};
use gateway_tests::wait::PATIENCE;
use gateway_tests::xterm;

use super::Fleet;
use crate::users::until_metric;

#[test]
fn a_shell_in_a_browser_goes_through_a_migration() {
    if is_missing(&Browser::needs()) || is_missing(&[xterm::need()]) {
        return;
    }
    let Some(fleet) = Fleet::start(&["--websocket-hint", "off"]) else { return };
    let shells = Shells::default();
    let (first, second) = (TerminalWorker::start(&shells).unwrap(), TerminalWorker::start(&shells).unwrap());
    fleet.place("1", first.address());
    let browser = Browser::launch().unwrap();
    let page = "/vnc/1/terminal.html?socket=/api/sandboxes/1/pty/one";
    let tab = browser.open(&format!("http://{}{page}", fleet.gateway.addr())).unwrap();
    let shows = |text: &str| tab.wait_for(&format!("text().includes('{text}')"), PATIENCE).unwrap();
    shows("$");
    tab.type_text("kept=$((6 * 7)); echo before: $kept.\n").unwrap();
    shows("before: 42.");
    // Half a line stands on the screen, and in the shell, while the sandbox moves.
    tab.type_text("echo after: $ke").unwrap();
    shows("after: $ke");
    fleet.place("1", second.address());
    first.leave();
    until_metric(&fleet.gateway, "gateway_broker_redials_total", &[("outcome", "resumed")], 1.0);
    tab.type_text("pt.\n").unwrap();
    shows("after: 42.");
    assert_eq!(shells.count(), 1);
    assert_eq!(tab.evaluate("closed === null && socket.readyState === 1").unwrap(), true);
}
