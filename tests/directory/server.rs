//! How a server is reached: passwords, databases, sockets, TLS, and names of the operator's choice.

use std::path::Path;
use std::process::{Command, Stdio};

use gateway_tests::gateway::{Gateway, GatewayBuilder};
use gateway_tests::need::{Need, is_missing};
use gateway_tests::process::free_address;
use gateway_tests::redis::RedisServer;
use gateway_tests::wait::{self, PATIENCE};
use tempfile::TempDir;

use super::{command, set};
use crate::users::{named, until_metric, until_ready, who};

#[test]
fn a_password_in_the_url() {
    let Some(redis) = start(&["--requirepass", "p@ss/word?"]) else { return };
    let url = format!("redis://:p%40ss%2Fword%3F@{}/", redis.address());
    assert_coherent(&ready(Gateway::builder().env("GATEWAY_REDIS", &url)), &url);
}

#[test]
fn a_user_of_the_access_list_who_may_do_no_more_than_the_gateway_needs() {
    let Some(redis) = start(&[]) else { return };
    let rights = ["~vnc_sandboxes", "+hello", "+auth", "+client", "+hget", "+hmget", "+hlen", "+select"];
    command(&redis.url(), &[&["ACL", "SETUSER", "gateway", "on", ">secret"][..], &rights].concat());
    let url = format!("redis://gateway:secret@{}/", redis.address());
    assert_coherent(&ready(Gateway::builder().env("GATEWAY_REDIS", url)), &redis.url());
}

#[test]
fn a_password_in_a_file_that_is_rotated() {
    let Some(redis) = start(&["--requirepass", "first"]) else { return };
    let with = |password: &str| format!("redis://:{password}@{}/", redis.address());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first\n").unwrap();
    let path = file.path().to_str().unwrap();
    let gateway = ready(Gateway::builder().redis(redis.url()).args(["--redis-password-file", path]));
    assert_coherent(&gateway, &with("first"));

    std::fs::write(file.path(), "second\n").unwrap();
    command(&with("first"), &["CONFIG", "SET", "requirepass", "second"]);
    command(&with("second"), &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    until_metric(&gateway, "gateway_redis_reconnects_total", &[], 1.0);
    until_ready(&gateway, 200);
    assert_coherent(&gateway, &with("second"));
}

#[test]
fn a_wrong_password_is_complained_about_and_not_shown() {
    let Some(redis) = start(&["--requirepass", "correct"]) else { return };
    let wrong = format!("redis://:incorrect@{}/", redis.address());
    for (url, complaint) in [(wrong, "WRONGPASS"), (redis.url(), "NOAUTH")] {
        let gateway = Gateway::builder().env("GATEWAY_REDIS", url).start().unwrap();
        let warning = gateway.logged("a complaint", PATIENCE, |record| record["level"] == "WARN").unwrap();
        assert!(warning["error"].as_str().unwrap().contains(complaint), "{warning}");
        assert_eq!((gateway.readiness().unwrap(), who(&gateway, "1").as_str()), (503, "503 directory_unavailable"));
        assert!(!gateway.log().iter().any(|line| line.contains("incorrect")), "{:?}", gateway.log());
    }
}

#[test]
fn a_database_by_its_number() {
    let Some(redis) = start(&[]) else { return };
    let gateway = ready(Gateway::builder().redis(format!("{}5", redis.url())));
    set(&redis.url(), "37579", "127.0.0.1:1");
    assert_eq!(who(&gateway, "37579"), "404 sandbox_not_found", "database 0 is another one");
    assert_coherent(&gateway, &format!("{}5", redis.url()));
}

#[test]
fn a_unix_socket_with_a_database_and_a_password() {
    let directory = TempDir::with_prefix("gateway-redis-").unwrap();
    let path = directory.path().join("redis.sock");
    let path = path.to_str().unwrap();
    let Some(redis) = start(&["--unixsocket", path, "--requirepass", "secret"]) else { return };
    let writer = format!("redis://:secret@{}/2", redis.address());
    for url in [format!("unix:{path}?db=2&pass=secret"), format!("redis+unix://{path}?db=2&pass=secret")] {
        let gateway = ready(Gateway::builder().env("GATEWAY_REDIS", url));
        assert_coherent(&gateway, &writer);
    }
}

#[test]
fn other_names_of_hash_and_fields() {
    let Some(redis) = start(&[]) else { return };
    let names = ["--redis-hash", "desktops", "--redis-field-prefix", "d:"];
    let gateway = ready(Gateway::builder().redis(redis.url()).args(names));
    let blue = named("blue");
    command(&redis.url(), &["HSET", "desktops", "d:37579", &blue.address().to_string()]);
    assert_eq!(who(&gateway, "37579"), "200 blue");
}

/// Which authorities are trusted is the system's business; `SSL_CERT_FILE` is the way to name others.
#[test]
fn tls_to_a_server_whose_authority_is_trusted_and_to_no_other() {
    let directory = TempDir::with_prefix("gateway-redis-").unwrap();
    if is_missing(&[Need::Program("openssl")]) {
        return;
    }
    certify(directory.path());
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (authority, certificate, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
    let port = free_address().unwrap().port().to_string();
    let mut arguments = vec!["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    arguments.extend(["--tls-ca-cert-file", &authority, "--tls-auth-clients", "no"]);
    let Some(redis) = start(&arguments) else { return };

    let url = format!("rediss://localhost:{port}/");
    let gateway = ready(Gateway::builder().redis(&url).env("SSL_CERT_FILE", &authority));
    let blue = named("blue");
    let pushes = || gateway.metric("gateway_directory_invalidations_total", &[("cause", "push")]).unwrap();
    for (change, expected) in
        [(Some(blue.address()), "200 blue"), (None, "404 sandbox_not_found"), (Some(blue.address()), "200 blue")]
    {
        let before = pushes();
        match change {
            Some(endpoint) => set(&redis.url(), "37579", endpoint),
            None => drop(command(&redis.url(), &["DEL", "vnc_sandboxes"])),
        }
        // Behind TLS nobody can tell from outside whether a push has arrived.
        wait::until("the push", PATIENCE, || (pushes() > before).then_some(())).unwrap();
        assert_eq!(who(&gateway, "37579"), expected);
    }

    let distrusting = Gateway::builder().redis(&url).env("SSL_CERT_FILE", file("other.pem")).start().unwrap();
    let complaint = distrusting.logged("a complaint", PATIENCE, |record| record["level"] == "WARN").unwrap();
    assert!(complaint["error"].as_str().unwrap().contains("certificate"), "{complaint}");
    assert_eq!(who(&distrusting, "37579"), "503 directory_unavailable");
    let elsewhere = Gateway::builder().redis(format!("rediss://127.0.0.2:{port}/")).env("SSL_CERT_FILE", &authority);
    let elsewhere = elsewhere.start().unwrap();
    let complaint = elsewhere.logged("a complaint", PATIENCE, |record| record["level"] == "WARN").unwrap();
    assert!(complaint["error"].is_string() && elsewhere.readiness().unwrap() == 503, "{complaint}");
}

fn start(arguments: &[&str]) -> Option<RedisServer> {
    let missing = is_missing(&[Need::Program("redis-server")]);
    (!missing).then(|| RedisServer::start_with(arguments).unwrap())
}

fn ready(gateway: GatewayBuilder) -> Gateway {
    let gateway = gateway.start().unwrap();
    until_ready(&gateway, 200);
    gateway
}

/// A sandbox that is written through `writer` is found, moved and lost with the next request.
fn assert_coherent(gateway: &Gateway, writer: &str) {
    let (blue, green) = (named("blue"), named("green"));
    set(writer, "37579", blue.address());
    assert_eq!(who(gateway, "37579"), "200 blue");
    set(writer, "37579", green.address());
    assert_eq!(who(gateway, "37579"), "200 green");
    command(writer, &["HDEL", "vnc_sandboxes", "Sandbox_ID_37579"]);
    assert_eq!(who(gateway, "37579"), "404 sandbox_not_found");
}

/// Writes an authority, a server's certificate for `localhost` and 127.0.0.1 under it, and another authority into
/// `directory`.
fn certify(directory: &Path) {
    let openssl = |arguments: &[&str]| {
        let status = Command::new("openssl").args(arguments).current_dir(directory).stderr(Stdio::null()).status();
        assert!(status.unwrap().success(), "openssl {arguments:?}");
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    for name in ["ca", "other"] {
        let (key_file, file, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
        let authority = ["req", "-x509", "-days", "2", "-subj", &subject, "-keyout", &key_file, "-out", &file];
        openssl(&[&authority[..], &key].concat());
    }
    let names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    let request = ["req", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"];
    openssl(&[&request[..], &key, &names].concat());
    let signing = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl(&[&signing[..], &["-days", "2", "-copy_extensions", "copy", "-out", "server.pem"]].concat());
}
