//! A shell in a sandbox, seen through a WebSocket: by a story that types frames, and by xterm.js in a browser.

use gateway_tests::browser::Browser;
use gateway_tests::need::is_missing;
use gateway_tests::terminal::{Shells, TerminalWorker};
use gateway_tests::wait::PATIENCE;
use gateway_tests::websocket::{Frame, Opcode, Socket};
use gateway_tests::xterm;

/// Types `command` and reads until the terminal shows `wanted`; all that it showed.
fn type_until(socket: &mut Socket, command: &str, wanted: &str) -> String {
    socket.send(&Frame::binary(format!("{command}\n"))).unwrap();
    let mut shown = String::new();
    while !shown.contains(wanted) {
        let frame = socket.frame().unwrap();
        assert_eq!(frame.opcode, Opcode::BINARY, "{frame:?} after {shown}");
        shown.push_str(std::str::from_utf8(&frame.payload).unwrap());
    }
    shown
}

/// The shell is the same if it has the variable that it was given.
#[test]
fn a_shell_outlives_connections_and_workers() {
    let shells = Shells::default();
    let first = TerminalWorker::start(&shells).unwrap();
    let mut socket = Socket::connect(first.address(), "/pty/one").unwrap();
    type_until(&mut socket, "kept=$((6 * 7)); test -t 0 && echo on a $(tty | tr a-z A-Z)", "on a /DEV/PTS/");
    // The command's output comes while nobody is attached.
    type_until(&mut socket, "echo read''y; read -r; echo mean''while", "ready");
    first.leave();
    socket.expect_close(1012, "migrating").unwrap();
    drop(first);

    let second = TerminalWorker::start(&shells).unwrap();
    let mut other = Socket::connect(second.address(), "/pty/two").unwrap();
    type_until(&mut other, "echo kept=${kept:-not''hing}.", "kept=nothing.");
    let mut socket = Socket::connect(second.address(), "/pty/one").unwrap();
    type_until(&mut socket, "", "meanwhile");
    type_until(&mut socket, "echo kept=$kept.", "kept=42.");
    assert_eq!(shells.count(), 2);
    type_until(&mut socket, "exit", "exit");
    let last = std::iter::from_fn(|| socket.frame().ok()).find(|frame| frame.opcode == Opcode::CLOSE);
    assert_eq!(last, Some(Frame::close(1000, "shell ended")));
}

#[test]
fn a_shell_is_used_from_a_browser_and_is_there_when_the_page_comes_back() {
    if is_missing(&Browser::needs()) || is_missing(&[xterm::need()]) {
        return;
    }
    let shells = Shells::default();
    let worker = TerminalWorker::start(&shells).unwrap();
    let gateway = crate::scene::builder().sandbox("1", worker.address()).start().unwrap();
    let browser = Browser::launch().unwrap();
    let url = format!("http://{}/vnc/1/terminal.html?socket=/vnc/1/pty/one", gateway.addr());
    let tab = browser.open(&url).unwrap();
    let shows = |text: &str| tab.wait_for(&format!("text().includes('{text}')"), PATIENCE).unwrap();
    shows("$");
    tab.type_text("kept=$((6 * 7)); echo the answer is $kept.\n").unwrap();
    shows("the answer is 42.");

    tab.reload().unwrap();
    tab.wait_for("socket.readyState === 1 && !text().includes('42')", PATIENCE).unwrap();
    tab.type_text("echo still $kept.\n").unwrap();
    shows("still 42.");
    assert_eq!(shells.count(), 1);

    tab.type_text("exit\n").unwrap();
    tab.wait_for("closed === '1000 shell ended'", PATIENCE).unwrap();
}
