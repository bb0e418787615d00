//! One congestion control for every socket of every subject.
//!
//! How fast a stream may send is no property of what carries it, yet a subject could set it, and the machine's own
//! choice differs from machine to machine. So the suite runs in a network namespace of its own, where sockets of
//! clients, subjects and pods begin with the same one, and which goes with the suite, however that ends: nothing of the
//! machine's is changed, and nothing has to be put back.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

/// Every kernel has it built in, and lets every namespace choose it (`tcp_set_default_congestion_control()` of
/// net/ipv4/tcp_cong.c).
const CHOICE: &str = "reno";

const SETTING: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Takes this thread, and all that it starts from now on, into a network that has a loopback and nothing else.
///
/// # Errors
///
/// Without ip(8), and where a new namespace cannot be set up.
pub(crate) fn settle() -> Result<()> {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Err(Errno::EPERM) => return Ok(()),
        done => done.context("make a network namespace")?,
    }
    furnish()
}

/// Gives a network that has just been made its loopback and the choice.
pub(crate) fn furnish() -> Result<()> {
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("run ip")?;
    ensure!(up.success(), "ip cannot set up the loopback");
    fs::write(SETTING, CHOICE).with_context(|| format!("write {SETTING}"))
}

/// For the head of a report.
pub(crate) fn describe() -> String {
    let whose = if is_settled() { "for every socket of the run" } else { "as the machine has it" };
    format!("congestion control {} {whose}", setting().trim())
}

/// Looks at all sockets of this network that are established, and how many they are.
///
/// # Errors
///
/// When one of them has another congestion control: a subject has chosen one.
pub(crate) fn verify() -> Result<usize> {
    if !is_settled() {
        return Ok(0);
    }
    let output = Command::new("ss").args(["-HtinO", "state", "established"]).output().context("run ss")?;
    ensure!(output.status.success(), "ss: {}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(socket) = other(&text, CHOICE) {
        bail!("a socket has another congestion control than {CHOICE}: {socket}");
    }
    Ok(text.lines().count())
}

/// Whether this network has the choice: without the right to leave the machine's, a run has what that has.
fn is_settled() -> bool {
    setting().trim() == CHOICE
}

fn setting() -> String {
    fs::read_to_string(SETTING).unwrap_or_default()
}

/// The first socket, a line each, among whose properties `wanted` is not.
fn other<'a>(sockets: &'a str, wanted: &str) -> Option<&'a str> {
    sockets.lines().find(|socket| !socket.split_whitespace().any(|word| word == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_with_another_congestion_control_is_found() {
        let reno = "0 0 127.0.0.1:40 127.0.0.1:80 ts sack reno wscale:7,7 rto:201\n";
        let bbr = "0 0 127.0.0.1:41 127.0.0.1:80 ts sack bbr wscale:7,7 rto:201 bbr:(bw:1bps)\n";
        assert_eq!(other(reno, CHOICE), None);
        assert_eq!(other(&format!("{reno}{bbr}"), CHOICE), bbr.lines().next());
    }

    #[test]
    fn sockets_of_a_run_have_the_choice_and_the_machine_keeps_its_own() {
        if gateway_tests::need::is_missing(&[gateway_tests::need::Need::Root]) {
            return;
        }
        let machine = fs::read_to_string(SETTING).unwrap();
        // Only this thread goes there.
        let found = std::thread::spawn(|| {
            settle().unwrap();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let _accepted = listener.accept().unwrap();
            (verify().unwrap(), describe())
        });
        let (sockets, description) = found.join().unwrap();
        assert_eq!((sockets, description.as_str()), (2, "congestion control reno for every socket of the run"));
        assert_eq!(fs::read_to_string(SETTING).unwrap(), machine);
    }
}
