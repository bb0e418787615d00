//! The second hash: what it says of a sandbox, and that it need not be there.

use crate::config::RedisConfig;
use crate::directory::LocateError;

use super::scene::{RedisServer, Scene, command, hdel, hgets, hset, id};

const RUNS: Result<(), LocateError> = Ok(());

impl Scene {
    async fn state(&self, sandbox: &str) -> Result<(), LocateError> {
        self.locate(sandbox).await.map(drop)
    }
}

#[tokio::test]
async fn a_state_is_seen_by_the_next_lookup_the_first_one_included() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let scene = Scene::up(&server.url()).await;
    let mut writer = RedisServer::client(&server.url()).await;
    for sandbox in ["1", "2"] {
        scene.pushed(hset(&mut writer, sandbox, "10.0.0.1:6080")).await;
        assert_eq!(scene.state(sandbox).await, RUNS);
    }
    for (state, expected) in [
        ("stopped", Err(LocateError::Stopped)),
        ("migrating", Err(LocateError::Migrating)),
        ("running", RUNS),
        ("hibernated", RUNS),
        ("Stopped", Err(LocateError::Stopped)),
    ] {
        scene.pushed(command(&mut writer, &format!("HSET vnc_sandboxes_state Sandbox_ID_1 {state}"))).await;
        assert_eq!(scene.state("1").await, expected, "{state}");
        assert_eq!(scene.state("2").await, RUNS);
    }
    scene.pushed(hdel(&mut writer, "1")).await;
    assert_eq!(scene.state("1").await, Err(LocateError::Stopped), "whatever is left of its record");
    scene.pushed(command(&mut writer, "DEL vnc_sandboxes_state")).await;
    assert_eq!(scene.state("1").await, Err(LocateError::NotFound));
}

#[tokio::test]
async fn a_sandbox_that_is_stopped_loses_its_streams_and_one_that_moves_keeps_them() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    for sandbox in ["1", "2", "3"] {
        hset(&mut writer, sandbox, "10.0.0.1:6080").await;
    }
    let scene = Scene::up(&server.url()).await;
    scene.streams.open(["1", "2", "3"].map(id));
    command(&mut writer, "HSET vnc_sandboxes_state Sandbox_ID_2 migrating").await;
    command(&mut writer, "HSET vnc_sandboxes_state Sandbox_ID_1 stopped").await;
    scene.streams.until_closed("1").await;
    command(&mut writer, "HSET vnc_sandboxes_state Sandbox_ID_3 stopped").await;
    scene.streams.until_closed("3").await;
    assert_eq!(scene.streams.closed(), ["1", "3"]);
}

#[tokio::test]
async fn a_registry_without_states_does_not_pay_for_them() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    let scene = Scene::up(&server.url()).await;
    assert_eq!(scene.state("1").await, RUNS);
    assert_eq!(hgets(&mut writer).await, 1);
    scene.pushed(command(&mut writer, "HSET vnc_sandboxes_state Sandbox_ID_1 running")).await;
    assert_eq!(scene.state("1").await, RUNS);
    assert_eq!(hgets(&mut writer).await, 3);
}

#[tokio::test]
async fn a_hash_of_states_with_a_name_of_its_own_is_tracked_too() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    let config = RedisConfig { state_hash: "states".to_owned(), ..RedisConfig::at(server.url()) };
    let scene = Scene::up_with(&config).await;
    assert_eq!(scene.state("1").await, RUNS);
    scene.pushed(command(&mut writer, "HSET states Sandbox_ID_1 stopped")).await;
    assert_eq!(scene.state("1").await, Err(LocateError::Stopped));
    scene.pushed(hset(&mut writer, "2", "10.0.0.1:6080")).await;
    assert_eq!(scene.state("2").await, RUNS);
}

#[tokio::test]
async fn states_that_may_not_be_read_or_are_none_are_ignored() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    command(&mut writer, "HSET vnc_sandboxes_state Sandbox_ID_1 stopped").await;
    command(&mut writer, "ACL SETUSER reader on >secret ~vnc_sandboxes +@all").await;
    let scene = Scene::up(&format!("{}?user=reader&pass=secret", server.url())).await;
    assert_eq!(scene.state("1").await, RUNS);
    command(&mut writer, "HSET vnc_sandboxes_state Sandbox_ID_1 migrating").await;
    assert_eq!(scene.state("1").await, RUNS);

    command(&mut writer, "DEL vnc_sandboxes_state").await;
    command(&mut writer, "SET vnc_sandboxes_state text").await;
    let scene = Scene::up(&server.url()).await;
    assert_eq!(scene.state("1").await, RUNS);
}
