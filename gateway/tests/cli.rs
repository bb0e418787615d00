//! The command line of the real program: what it prints, where, and what it ends with.

use std::io::Write;
use std::process::{Command, Output};

use tempfile::NamedTempFile;

#[test]
fn a_good_file_is_ok() {
    let file = file("listen = \"127.0.0.1:0\"\n[sandboxes]\n37579 = \"a-name-that-nobody-has.invalid:6080\"\n");
    let output = gateway(&["check-config", path(&file)]);
    assert_eq!((output.status.code(), stdout(&output), stderr(&output)), (Some(0), "configuration OK\n", ""));
}

#[test]
fn mistakes_in_a_file_go_to_stderr_with_their_lines_and_end_with_78() {
    let file = file("listen = 1\nworker = 2\n");
    let output = gateway(&["check-config", path(&file)]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(78), ""));
    let expected = format!(
        "{path}:1: listen: expected IP:PORT such as 0.0.0.0:8080 or [::1]:8080, not '1'\n\
         {path}:2: worker: unknown option; did you mean 'workers'?\n",
        path = path(&file)
    );
    assert_eq!(stderr(&output), expected);
}

#[test]
fn a_file_is_checked_without_the_environment() {
    let file = file("");
    let output = command(&["check-config", path(&file)]).env("GATEWAY_WORKERS", "none").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn serve_reports_flags_variables_and_file_at_once() {
    let file = file("admin = \"here\"\n");
    let output =
        command(&["serve", "--config", path(&file), "--log", "loud"]).env("GATEWAY_WORKRS", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let problems: Vec<_> = stderr(&output).lines().collect();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].starts_with(&format!("{}:1: admin: ", path(&file))), "{problems:?}");
    assert_eq!(problems[1], "GATEWAY_WORKRS: unknown option; did you mean 'GATEWAY_WORKERS'?");
    assert!(problems[2].starts_with("--log: "), "{problems:?}");
}

#[test]
fn a_host_name_without_an_address_is_a_mistake_of_the_configuration() {
    let output = gateway(&["serve", "--sandbox", "1=a-name-that-nobody-has.invalid:80"]);
    assert_eq!(output.status.code(), Some(78));
    let problem = "--sandbox: no address for host 'a-name-that-nobody-has.invalid': ";
    assert!(stderr(&output).starts_with(problem), "{}", stderr(&output));
}

#[test]
fn what_is_no_command_ends_with_2() {
    for arguments in
        [&["frob"][..], &["serve", "--frob"], &["serve", "--admin", "a", "--admin", "b"], &["check-config"], &[]]
    {
        let output = gateway(arguments);
        assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""), "{arguments:?}");
    }
}

#[test]
fn print_config_says_where_values_come_from() {
    let file = file("dial_attempts = 2\n");
    let output = command(&["print-config", "--drain-delay", "5s"])
        .env("GATEWAY_CONFIG", path(&file))
        .env("GATEWAY_REDIS", "redis://:secret@127.0.0.1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines: Vec<_> = stdout(&output).lines().collect();
    let from_file = format!("dial_attempts = 2 # {}:1: dial_attempts", path(&file));
    let expected =
        ["drain_delay = \"5s\" # --drain-delay", "redis = \"redis://***@127.0.0.1\" # GATEWAY_REDIS", &from_file];
    for line in expected {
        assert!(lines.contains(&line), "{line} is not in {lines:#?}");
    }
}

#[test]
fn routes_without_redis_says_what_is_missing() {
    let output = gateway(&["routes", "list"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("--redis URL"), "{}", stderr(&output));
}

#[test]
fn probe_knows_every_engine_and_copy_always_runs() {
    let table = gateway(&["probe"]);
    assert_eq!(table.status.code(), Some(0), "{}", stderr(&table));
    let output = gateway(&["probe", "--json"]);
    let report: serde_json::Value = serde_json::from_str(stdout(&output)).expect("--json prints JSON");
    let engines = report["engines"].as_array().expect("a list of engines");
    for name in ["copy", "splice", "sockmap", "packet"] {
        assert!(engines.iter().any(|engine| engine["engine"] == name), "{report:#}");
        assert!(stdout(&table).lines().any(|line| line.starts_with(name)), "{}", stdout(&table));
    }
    assert_eq!(engines[0]["available"], true);
}

#[test]
fn every_shell_gets_completions_that_know_the_options() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = gateway(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(stdout(&output).contains("drain-timeout"), "{shell}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let output = gateway(&["--version"]);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(0), concat!("gateway ", env!("CARGO_PKG_VERSION"), "\n"))
    );
}

#[test]
fn the_readme_tables_come_from_the_program() {
    assert_eq!(stdout(&gateway(&["docs", "config-table"])), gateway::config::table::markdown_table());
    assert_eq!(stdout(&gateway(&["docs", "metrics-table"])), gateway::metrics::markdown_table());
}

fn gateway(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the program was built for this test")
}

/// The program, without what the environment of this test says about it.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GATEWAY_") {
            command.env_remove(name);
        }
    }
    command
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("the machine has room for a small file");
    file.write_all(text.as_bytes()).expect("the file is new and small");
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("temporary names are ASCII")
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).expect("the program writes UTF-8")
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).expect("the program writes UTF-8")
}
