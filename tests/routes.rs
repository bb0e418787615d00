//! `gateway routes` as an operator uses it: the real program, a real Redis, what is printed and what it ends with.

use gateway_tests::need::{Need, is_missing};
use gateway_tests::redis::RedisServer;
use redis::Commands;

use crate::program::{self, Said, failed, printed};

#[test]
fn a_route_is_set_found_listed_moved_and_removed() {
    if is_missing(&[Need::Program("redis-server")]) {
        return;
    }
    let redis = RedisServer::start().unwrap();
    let routes = |arguments: &[&str]| routes(&redis.url(), arguments);
    assert_eq!(routes(&["list"]), printed(""));
    assert_eq!(routes(&["set", "37579", "10.18.124.21:6080"]), printed(""));
    assert_eq!(routes(&["set", "9", "[::1]:6080"]), printed(""));
    assert_eq!(routes(&["set", "37579", "10.18.124.22:6080"]), printed(""));
    assert_eq!(routes(&["get", "37579"]), printed("10.18.124.22:6080\n"));
    assert_eq!(routes(&["list"]), printed("9 [::1]:6080\n37579 10.18.124.22:6080\n"));

    // What other programs rely on is the hash, not this command.
    let mut manager = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let value: String = manager.hget("vnc_sandboxes", "Sandbox_ID_37579").unwrap();
    assert_eq!(value, "10.18.124.22:6080");

    assert_eq!(routes(&["remove", "9"]), printed(""));
    assert_eq!(routes(&["list"]), printed("37579 10.18.124.22:6080\n"));
    let fields: Vec<String> = manager.hkeys("vnc_sandboxes").unwrap();
    assert_eq!(fields, ["Sandbox_ID_37579"]);
}

#[test]
fn what_cannot_be_done_ends_with_1_and_a_sentence() {
    if is_missing(&[Need::Program("redis-server")]) {
        return;
    }
    let mut redis = RedisServer::start().unwrap();
    let url = redis.url();
    let complaint = |arguments: &[&str]| routes(&url, arguments);
    let unknown = failed("sandbox 5 is not in the directory\n");
    assert_eq!(complaint(&["get", "5"]), unknown);
    assert_eq!(complaint(&["remove", "5"]), unknown);
    let metadata = failed("169.254.169.254:80 cannot be an endpoint: its address is link-local\n");
    assert_eq!(complaint(&["set", "5", "169.254.169.254:80"]), metadata);

    let mut manager = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let () = manager.hset("vnc_sandboxes", "Sandbox_ID_5", "pod-5.default.svc:6080").unwrap();
    let useless = "sandbox 5 has the value \"pod-5.default.svc:6080\": the directory's value is not an ip:port\n";
    assert_eq!(complaint(&["get", "5"]), failed(useless));
    let listed = "# Sandbox_ID_5 pod-5.default.svc:6080: the directory's value is not an ip:port\n";
    assert_eq!(complaint(&["list"]), printed(listed));

    let () = manager.del("vnc_sandboxes").unwrap();
    let () = manager.set("vnc_sandboxes", "not a hash").unwrap();
    let Said { code, stdout, stderr } = complaint(&["list"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.starts_with(&format!("redis at {}: ", redis.address())) && stderr.contains("WRONGTYPE"), "{stderr}");

    redis.kill().unwrap();
    let Said { code, stdout, stderr } = complaint(&["list"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.starts_with(&format!("redis at {}: ", redis.address())) && stderr.contains("refused"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn a_server_that_hangs_does_not_hang_the_command() {
    if is_missing(&[Need::Program("redis-server")]) {
        return;
    }
    let redis = RedisServer::start().unwrap();
    redis.stop().unwrap();
    let Said { code, stderr, .. } = routes(&redis.url(), &["list"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.starts_with("redis at ") && stderr.contains("timed out"), "{stderr}");
}

#[test]
fn a_password_is_taken_from_wherever_it_stands_and_never_shown() {
    if is_missing(&[Need::Program("redis-server")]) {
        return;
    }
    let redis = RedisServer::start_with(&["--requirepass", "correct"]).unwrap();
    let with = |password: &str| format!("redis://:{password}@{}/", redis.address());
    assert_eq!(routes(&with("correct"), &["set", "1", "10.0.0.1:80"]), printed(""));
    let by_variable = program::run_with(&["routes", "get", "1"], &[("GATEWAY_REDIS", &with("correct"))]);
    assert_eq!(by_variable, printed("10.0.0.1:80\n"));

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "correct\n").unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(routes(&redis.url(), &["get", "1", "--redis-password-file", path]), printed("10.0.0.1:80\n"));

    let none = routes(&redis.url(), &["list"]);
    let wrong = routes(&with("incorrect"), &["list"]);
    for Said { code, stdout, stderr } in [none, wrong] {
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        assert!(stderr.starts_with("redis at ") && !stderr.contains("incorrect"), "{stderr}");
    }
}

#[test]
fn other_names_and_another_database_are_options_here_too() {
    if is_missing(&[Need::Program("redis-server")]) {
        return;
    }
    let redis = RedisServer::start().unwrap();
    let url = format!("{}3", redis.url());
    let names = ["--redis-hash", "desktops", "--redis-field-prefix", "d:"];
    let set = [&["set", "cl-a", "10.0.0.1:80"][..], &names].concat();
    assert_eq!(routes(&url, &set), printed(""));
    let mut manager = redis::Client::open(url).unwrap().get_connection().unwrap();
    let value: String = manager.hget("desktops", "d:cl-a").unwrap();
    assert_eq!(value, "10.0.0.1:80");
}

#[test]
fn what_is_no_sandbox_no_endpoint_or_no_url_never_reaches_the_server() {
    let unreachable = "redis://127.0.0.1:1/";
    for arguments in
        [&["set", "a/b/c", "10.0.0.1:80"][..], &["set", "1", "10.0.0.1"], &["set", "1"], &["get"], &["frob"]]
    {
        let Said { code, stdout, stderr } = routes(unreachable, arguments);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
    }
    let Said { code, stderr, .. } = routes("http://:secret@127.0.0.1/", &["list"]);
    assert_eq!(code, Some(78), "{stderr}");
    assert!(stderr.starts_with("--redis: ") && !stderr.contains("secret"), "{stderr}");
}

fn routes(url: &str, arguments: &[&str]) -> Said {
    program::run(&[&["routes"], arguments, &["--redis", url]].concat())
}
