//! TLS, with a certificate of the test's own.
//!
//! Which roots are trusted is the system's business, and `SSL_CERT_FILE` the way to add one. A process reads its
//! environment once, so the part that connects runs in a second process of this test program.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use gateway_tests::need::{Need, is_missing};

use super::scene::{RedisServer, Scene, free_port, hset};
use crate::config::RedisConfig;
use crate::directory::LocateError;

const URL_VARIABLE: &str = "GATEWAY_TEST_TLS_URL";

#[tokio::test]
async fn a_tls_server_is_asked_if_its_certificate_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    if is_missing(&[Need::Program("openssl")]) {
        return;
    }
    certify(folder.path());
    let port = free_port();
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name).display().to_string());
    let options = [
        ["--tls-port", &port],
        ["--tls-cert-file", &certificate],
        ["--tls-key-file", &key],
        ["--tls-ca-cert-file", &certificate],
        ["--tls-auth-clients", "no"],
    ];
    let Some(server) = RedisServer::start(options.as_flattened()).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    let url = format!("rediss://127.0.0.1:{port}");

    // This process does not trust the certificate.
    let scene = Scene::begin(&RedisConfig::at(url.clone()), Duration::ZERO);
    assert_eq!(scene.locate("1").await, Err(LocateError::Unavailable));

    let trusting = tokio::task::spawn_blocking(move || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "directory::redis::tests::tls::ask", "--ignored", "--nocapture"])
            .env("SSL_CERT_FILE", certificate)
            .env(URL_VARIABLE, url)
            .output()
            .unwrap()
    });
    let output = trusting.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!scene.directory.ready());
}

#[tokio::test]
#[ignore = "the second process of a_tls_server_is_asked_if_its_certificate_is_trusted"]
async fn ask() {
    let url = std::env::var(URL_VARIABLE).unwrap();
    let scene = Scene::up(&url).await;
    assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));
}

/// Writes a certificate for 127.0.0.1, and its key, into `folder`.
fn certify(folder: &Path) {
    let status = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-subj", "/CN=splicegate-test", "-addext", "subjectAltName=IP:127.0.0.1"])
        // As a root of its own, and yet no authority: webpki refuses authorities as servers.
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-days", "2"])
        .args(["-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(folder)
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success(), "openssl makes no certificate");
}
