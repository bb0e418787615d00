//! What is handed to operators is accepted by the program that it is written for.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gateway::config::Config;
use gateway::config::option::Setting;
use gateway::config::options;

#[test]
fn the_configurations_are_accepted() {
    for name in ["gateway.toml", "kubernetes/gateway.toml"] {
        assert_accepted(&check_config(&deploy(name)));
    }
}

#[test]
fn every_line_of_the_example_is_accepted_once_it_is_taken_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    fs::write(&path, taken_in()).unwrap();
    assert_accepted(&check_config(&path));
}

#[test]
fn the_example_shows_every_option_at_its_default() {
    let shown: toml::Table = toml::from_str(&taken_in()).unwrap();
    let expected: BTreeSet<String> = options::all()
        .map(Setting::key)
        // Described, but not at a default: these have none, and the embedded directory has a table.
        .filter(|key| {
            !matches!(
                key.as_str(),
                "auth_token"
                    | "default_sandbox"
                    | "directory_url"
                    | "dns_server"
                    | "redis"
                    | "redis_password_file"
                    | "sandbox"
            )
        })
        .chain(["sandboxes".to_owned()])
        .collect();
    assert_eq!(shown.keys().cloned().collect::<BTreeSet<_>>(), expected);
    let defaults = default_configuration();
    for (key, value) in shown.iter().filter(|(key, _)| *key != "sandboxes") {
        assert_eq!(Some(value), defaults.get(key), "{key}");
    }
}

#[test]
fn the_dashboard_is_json_and_its_panels_have_distinct_places() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana/splicegate.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    let places: BTreeSet<_> = panels.iter().map(|panel| panel["gridPos"].to_string()).collect();
    assert!(panels.len() > 10);
    assert_eq!((ids.len(), places.len()), (panels.len(), panels.len()));
}

#[test]
fn the_seccomp_profile_allows_what_the_engines_need() {
    let profile: serde_json::Value = serde_json::from_str(&read("kubernetes/seccomp-splicegate.json")).unwrap();
    let allowed: BTreeSet<&str> = profile["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW")
        .flat_map(|rule| rule["names"].as_array().unwrap())
        .map(|name| name.as_str().unwrap())
        .collect();
    let rings = ["io_uring_setup", "io_uring_enter", "io_uring_register"];
    // close_range gives each worker a descriptor table of its own.
    for needed in rings.into_iter().chain(["bpf", "splice", "accept4", "epoll_pwait2", "close_range"]) {
        assert!(allowed.contains(needed), "{needed}");
    }
    // The packet engine's: waiting for packets, who is alive, and what outlives the process.
    for needed in ["membarrier", "flock", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "statfs"] {
        assert!(allowed.contains(needed), "{needed}");
    }
    for refused in ["ptrace", "mount", "init_module", "kexec_load", "setns", "unshare"] {
        assert!(!allowed.contains(refused), "{refused}");
    }
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
}

#[test]
fn the_kernel_engines_get_what_they_need_in_the_cluster() {
    let patch = read("kubernetes/kernel-engines.yaml");
    assert!(patch.contains("add: [BPF, NET_ADMIN, NET_RAW]"));
    let state = Config::default().packet.state_dir;
    let mounted = patch.lines().find_map(|line| line.trim().strip_prefix("mountPath: ")).unwrap();
    assert!(state.starts_with(mounted), "{mounted}");
    assert!(read("kubernetes/kustomization.yaml").contains("path: kernel-engines.yaml"));
}

/// The example with all its defaults taken in.
fn taken_in() -> String {
    let is_option =
        |line: &str| line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_alphabetic()));
    let example = read("gateway.toml");
    example.lines().map(|line| if is_option(line) { &line[1..] } else { line }).flat_map(|line| [line, "\n"]).collect()
}

fn default_configuration() -> toml::Table {
    let output = gateway(["print-config"]);
    assert_accepted(&output);
    let text = String::from_utf8(output.stdout).expect("a configuration is text");
    toml::from_str(&text).expect("a printed configuration is a file")
}

fn check_config(path: &Path) -> Output {
    gateway([OsStr::new("check-config"), path.as_os_str()])
}

fn gateway<Argument: AsRef<OsStr>>(arguments: impl IntoIterator<Item = Argument>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(arguments).env_clear().output().expect("the gateway can be run")
}

#[track_caller]
fn assert_accepted(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn read(name: &str) -> String {
    fs::read_to_string(deploy(name)).expect("a text file of deploy/")
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}
