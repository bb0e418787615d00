//! Machines that let nothing into the kernel: `auto` says so once and does without, `sockmap` does not start.

use std::collections::BTreeMap;

use gateway_tests::bridge::{Bridge, Path};
use gateway_tests::need::{Need, is_missing};
use gateway_tests::pattern::Pattern;
use gateway_tests::wait::{PATIENCE, until};
use nix::libc;
use seccompiler::{SeccompAction, SeccompFilter};
use serde_json::Value;

use super::{bytes_by, is_unavailable};
use crate::program;

/// The program is replaced by one with less, even where root starts it.
const WITHOUT_CAPABILITIES: [&str; 4] = ["setpriv", "--bounding-set", "-bpf,-sys_admin", "--"];
const CAPABILITIES_MISSING: &str = "CAP_BPF missing (or CAP_SYS_ADMIN)";

const FORBIDDEN: &str =
    "bpf(2) is forbidden in spite of the capabilities: by a seccomp profile, a user namespace or kernel lockdown";
const NO_IO_URING: &str = "io_uring: Operation not permitted (os error 1)";
const EPOLL: &str = "the workers wait with epoll, which would wake them for every message: io_uring is needed";

#[test]
fn without_the_capability() {
    if is_unavailable() || is_missing(&[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    does_without(&WITHOUT_CAPABILITIES, "auto", CAPABILITIES_MISSING);
    refuses(&WITHOUT_CAPABILITIES, "auto", CAPABILITIES_MISSING);
}

#[test]
fn where_the_workers_wait_with_epoll() {
    if is_unavailable() {
        return;
    }
    does_without(&[], "epoll", EPOLL);
    refuses(&[], "epoll", EPOLL);
}

#[test]
fn where_a_seccomp_profile_forbids_bpf() {
    if is_unavailable() {
        return;
    }
    forbidding(&[libc::SYS_bpf], || {
        does_without(&[], "auto", FORBIDDEN);
        refuses(&[], "auto", FORBIDDEN);
    });
}

#[test]
fn where_a_seccomp_profile_forbids_io_uring() {
    if is_unavailable() {
        return;
    }
    forbidding(&[libc::SYS_io_uring_setup], || {
        does_without(&[], "auto", NO_IO_URING);
        refuses(&[], "auto", NO_IO_URING);
    });
}

/// Everything that is missing is named.
#[test]
fn where_a_seccomp_profile_forbids_both() {
    if is_unavailable() {
        return;
    }
    forbidding(&[libc::SYS_bpf, libc::SYS_io_uring_setup], || {
        let missing = format!("{FORBIDDEN}; {NO_IO_URING}");
        does_without(&[], "auto", &missing);
        refuses(&[], "auto", &missing);
    });
}

/// Everything works with `--engine auto`, and what is missing is said once, in the log and in a metric.
fn does_without(through: &[&str], io: &'static str, missing: &str) {
    let path = Path::on_loopback("auto", io);
    let bridge = Bridge::start(path, |gateway| gateway.through(through.iter().copied())).unwrap();
    let mut ends = bridge.stream_with(&Pattern::new(1).take(3000), &Pattern::new(2).take(3000)).unwrap();
    Pattern::new(1).read(&mut ends.pod, 3000).unwrap();
    Pattern::new(2).read(&mut ends.client, 3000).unwrap();
    until("the bytes to be counted", PATIENCE, || (bytes_by(&bridge, "copy") == 6000.0).then_some(())).unwrap();
    assert_eq!(bytes_by(&bridge, "sockmap"), 0.0);
    let available = |engine| bridge.gateway.metric("gateway_engine_available", &[("engine", engine)]).unwrap();
    assert_eq!((available("copy"), available("sockmap")), (1.0, 0.0));
    let records: Vec<Value> = bridge.gateway.log().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told: Vec<&Value> = records.iter().filter(|record| record["message"] == "streams stay in user space").collect();
    assert_eq!(told.len(), 1, "{records:?}");
    assert_eq!((&told[0]["level"], &told[0]["missing"]), (&"WARN".into(), &missing.into()));
}

/// With `--engine sockmap` the start fails.
fn refuses(through: &[&str], io: &str, missing: &str) {
    let arguments = ["serve", "--engine", "sockmap", "--io", io, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let said = program::run_through(through, &arguments);
    let sentence = format!("engine 'sockmap' cannot run here: {missing} (`gateway probe` tells more)");
    assert_eq!((said.code, said.stderr.lines().last()), (Some(1), Some(&*sentence)), "{said:?}");
}

/// Tells a story on a thread that may not make these system calls, and so neither may what it starts.
fn forbidding(calls: &[i64], story: impl FnOnce() + Send) {
    let rules: BTreeMap<i64, _> = calls.iter().map(|&call| (call, Vec::new())).collect();
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let machine = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, machine).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    // Nothing takes a filter away again, so the thread ends with the story.
    std::thread::scope(|scope| {
        let telling = scope.spawn(|| {
            seccompiler::apply_filter(&program).unwrap();
            story();
        });
        if let Err(panic) = telling.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// `gateway probe` says the same as the start.
#[test]
fn the_probe_names_what_is_missing() {
    if is_unavailable() || is_missing(&[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let said = program::run_through(&WITHOUT_CAPABILITIES, &["probe", "--json"]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    let sockmap = report["engines"].as_array().unwrap().iter().find(|engine| engine["engine"] == "sockmap").unwrap();
    assert_eq!(
        (&sockmap["available"], &sockmap["missing"][0]["detail"]),
        (&false.into(), &CAPABILITIES_MISSING.into())
    );
}
