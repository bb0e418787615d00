//! The suite as a person runs it: far too short to measure anything, but with every part in its place.
#![cfg(test)]

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use gateway_tests::need::{Need, is_missing};
use gateway_tests::process::Process;
use gateway_tests::{gateway, target, wait};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// For everything that is started and ended again on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What cargo built, in a target directory of its own, where nothing was ever installed.
struct Fresh {
    target: TempDir,
}

impl Fresh {
    fn new() -> Self {
        // Beside what cargo built: a copy may not be run while a process that another story forks has it open.
        let target = TempDir::with_prefix_in("gateway-bench-target-", target::directory().unwrap()).unwrap();
        fs::write(target.path().join("CACHEDIR.TAG"), "").unwrap();
        fs::create_dir(target.path().join("debug")).unwrap();
        let fresh = Self { target };
        fs::hard_link(env!("CARGO_BIN_EXE_gateway-bench"), fresh.program()).unwrap();
        fresh
    }

    fn program(&self) -> PathBuf {
        self.target.path().join("debug/gateway-bench")
    }

    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(self.program());
        command.args(arguments).env("GATEWAY_BIN", gateway::program().unwrap());
        command.envs(environment.iter().copied()).output().unwrap()
    }

    /// The results of the one run.
    fn results(&self) -> Value {
        let runs: Vec<_> = fs::read_dir(self.target.path().join("bench")).unwrap().collect();
        assert_eq!(runs.len(), 1);
        let folder = runs[0].as_ref().unwrap().path();
        assert!(folder.join("results.md").is_file() && folder.join("report.html").is_file());
        serde_json::from_str(&fs::read_to_string(folder.join("results.json")).unwrap()).unwrap()
    }
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// Subjects that did something in every round of a case.
fn measured(case: &Value) -> HashSet<&str> {
    let series = case["series"].as_array().unwrap();
    let works =
        |series: &&Value| series["closed"].as_array().unwrap().iter().all(|s| s["per_second"].as_f64() > Some(0.0));
    series.iter().filter(works).map(|series| series["subject"].as_str().unwrap()).collect()
}

#[test]
fn peers_that_cannot_be_had_are_skipped_by_name() {
    const PEERS: [&str; 3] = ["caddy", "traefik", "configurable-http-proxy"];
    let fresh = Fresh::new();
    // Neither pip nor npm is there.
    let installed = fresh.run(&["install-peers"], &[("PATH", &fresh.target.path().to_string_lossy())]);
    succeeded(&installed);
    let said = String::from_utf8(installed.stderr).unwrap();
    let mut arguments = vec!["--smoke", "bulk"];
    for peer in PEERS {
        assert!(said.contains(&format!("{peer} stays away: cannot run ")), "{said}");
        arguments.extend(["--subject", peer]);
    }
    succeeded(&fresh.run(&arguments, &[]));
    let results = fresh.results();
    let skipped = results["skipped"].as_array().unwrap();
    for peer in PEERS {
        let why = skipped.iter().find(|skipped| skipped[0] == peer).unwrap()[1].as_str().unwrap();
        assert!(why.ends_with(" is not installed"), "{why}");
    }
    for case in results["cases"].as_array().unwrap() {
        assert_eq!(measured(case), HashSet::from(["direct"]));
    }
}

#[test]
fn three_hosts_carry_the_load_and_nothing_of_them_is_left() {
    if is_missing(&[Need::Root, Need::Program("ip"), Need::Program("nsenter")]) {
        return;
    }
    let fresh = Fresh::new();
    let directory = TempDir::new().unwrap();
    let arguments = ["--smoke", "--topology", "namespaces", "--subject", "copy epoll", "bulk", "http"];
    let before = namespaces();
    succeeded(&fresh.run(&arguments, &[("TMPDIR", &directory.path().to_string_lossy())]));
    let results = fresh.results();
    assert!(results["machine"].as_str().unwrap().contains("three hosts"), "{}", results["machine"]);
    let cases = results["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        assert_eq!(measured(case), HashSet::from(["direct", "copy epoll"]), "{case}");
    }
    assert!(fs::read_dir(&directory).unwrap().next().is_none(), "a file is left");
    assert_eq!(namespaces().difference(&before).filter(|name| is_nobodys(name)).count(), 0, "a host is left");
}

#[test]
fn what_packet_is_measured_by_it_has_carried() {
    if is_missing(&[Need::Root, Need::Program("ip"), Need::Program("nsenter"), Need::Engine("packet")]) {
        return;
    }
    let before = namespaces();
    for topology in ["loopback", "namespaces"] {
        let fresh = Fresh::new();
        succeeded(&fresh.run(&["--smoke", "--topology", topology, "--subject", "packet", "limit"], &[]));
        let results = fresh.results();
        let cases = results["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 4);
        for case in cases {
            assert_eq!(measured(case), HashSet::from(["direct", "packet"]), "{case}");
            for series in case["series"].as_array().unwrap() {
                let parts: Vec<Option<f64>> =
                    series["closed"].as_array().unwrap().iter().map(|sample| sample["by_packet"].as_f64()).collect();
                let is_packet = series["subject"] == "packet";
                assert!(parts.iter().all(|part| part.is_some() == is_packet), "{topology}: {series}");
                assert!(parts.iter().flatten().all(|part| *part > 0.99), "{topology}: {series}");
            }
        }
    }
    assert_eq!(namespaces().difference(&before).filter(|name| is_nobodys(name)).count(), 0, "a host is left");
}

#[test]
fn ctrl_c_leaves_nothing() {
    if is_missing(&[Need::Root, Need::Program("ip"), Need::Program("nsenter"), Need::Program("redis-server")]) {
        return;
    }
    let fresh = Fresh::new();
    let directory = TempDir::new().unwrap();
    let before = namespaces();
    // Redis among it: a program with a directory of its own, and one that nobody would end but the keeper.
    let arguments = ["--topology", "namespaces", "--subject", "copy epoll", "--subject", "packet", "session"];
    let mut suite = Process::spawn(&fresh.program().to_string_lossy(), |command| {
        command.args(arguments).env("GATEWAY_BIN", gateway::program().unwrap()).env("TMPDIR", directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    })
    .unwrap();
    let mut said = BufReader::new(suite.child().stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("session ")), "the suite ended before it began");
    // Whoever showed what the suite says may have gone by then.
    drop(said);
    let host = fs::metadata(format!("/run/netns/sgbench-{}-gateway", suite.pid())).unwrap().ino();
    wait::until("Redis and the gateway to run", LIMIT, || (inhabitants(host) >= 3).then_some(())).unwrap();
    suite.signal(Signal::SIGINT).unwrap();
    assert_eq!(suite.wait(LIMIT).unwrap().code(), Some(130));
    assert_eq!(inhabitants(host), 0, "a program is left");
    assert!(fs::read_dir(&directory).unwrap().next().is_none(), "a file is left");
    for role in ["client", "gateway", "pod"] {
        let name = format!("/run/netns/sgbench-{}-{role}", suite.pid());
        assert!(!Path::new(&name).exists(), "{name} is left");
    }
    assert_eq!(namespaces().difference(&before).filter(|name| is_nobodys(name)).count(), 0, "a host is left");
    assert!(!fresh.target.path().join("bench").exists(), "half a run is written");
}

/// Names of network namespaces.
fn namespaces() -> HashSet<String> {
    let names = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    names.map(|name| name.file_name().to_string_lossy().into_owned()).collect()
}

/// Whether it is a suite's, and that suite has ended; other tests have suites of their own at the same time.
fn is_nobodys(name: &str) -> bool {
    let owner = name.strip_prefix("sgbench-").and_then(|rest| rest.split('-').next());
    owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
}

/// Processes in the network namespace of this number.
fn inhabitants(host: u64) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let is_there = |process: &PathBuf| fs::metadata(process.join("ns/net")).is_ok_and(|network| network.ino() == host);
    processes.map(|process| process.path()).filter(is_there).count()
}
