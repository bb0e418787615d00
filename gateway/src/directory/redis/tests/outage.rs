//! The server stops, dies, comes back, comes back as another one, or answers errors.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::scene::{RedisServer, Scene, command, hdel, hset, id};
use crate::config::RedisConfig;
use crate::directory::redis::EMPTY_GRACE;
use crate::directory::{LocateError, LookupOutcome, LookupSource};

/// What a client of an unknown sandbox waits at most, whatever the server does.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Far above what lookups take that ask nobody, and below every timeout.
const AT_ONCE: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_server_that_hangs_costs_nobody_more_than_its_timeout() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    let scene = Scene::up(&server.url()).await;
    assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));

    server.signal(Signal::SIGSTOP);
    let asked_at = Instant::now();
    assert_eq!(scene.locate("2").await, Err(LocateError::Unavailable));
    assert!(asked_at.elapsed() < ANSWER_WITHIN, "took {:?}", asked_at.elapsed());
    assert!(!scene.directory.ready());

    let asked_at = Instant::now();
    for _ in 0..100 {
        assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));
        assert_eq!(scene.locate("3").await, Err(LocateError::Unavailable));
    }
    assert!(asked_at.elapsed() < AT_ONCE, "took {:?}", asked_at.elapsed());
    assert_eq!(scene.said.counts().of(LookupSource::Stale, LookupOutcome::Hit), 100);

    server.signal(Signal::SIGCONT);
    scene.said.until("it is up again", |counts| counts.up && counts.reconnects == 1).await;
    assert!(scene.directory.ready());
    assert_eq!(scene.locate("2").await, Err(LocateError::NotFound));
    scene.pushed(hset(&mut writer, "2", "10.0.0.2:6080")).await;
    assert_eq!(scene.locate("2").await, Ok("10.0.0.2:6080".to_owned()));
}

#[tokio::test]
async fn a_server_that_hangs_unasked_is_noticed() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let scene = Scene::up(&server.url()).await;
    server.signal(Signal::SIGSTOP);
    scene.said.until("the probe has failed", |counts| !counts.up).await;
    assert!(!scene.directory.ready());
    server.signal(Signal::SIGCONT);
    scene.said.until("it is up again", |counts| counts.up).await;
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back_needs_no_restart_of_ours() {
    let Some(mut server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    hset(&mut writer, "2", "10.0.0.2:6080").await;
    command(&mut writer, "SAVE").await;
    let scene = Scene::up(&server.url()).await;
    let known = scene.directory.locate(&id("1")).await.unwrap();
    scene.streams.open([id("1"), id("2")]);

    server.kill();
    scene.said.until("the loss is noticed", |counts| !counts.up).await;
    assert_eq!(scene.directory.locate(&id("1")).await, Ok(known));
    assert_eq!(scene.locate("3").await, Err(LocateError::Unavailable));

    server.restart().await;
    scene.said.until("it is up again", |counts| counts.up).await;
    assert_eq!(scene.directory.locate(&id("1")).await, Ok(known), "same endpoint, same generation");
    assert_eq!(scene.locate("3").await, Err(LocateError::NotFound));
    let mut writer = RedisServer::client(&server.url()).await;
    hdel(&mut writer, "2").await;
    scene.streams.until_closed("2").await;
    assert_eq!(scene.streams.closed(), ["2"]);
}

#[tokio::test]
async fn a_server_with_other_data_in_the_same_place_is_believed() {
    let Some(mut server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    hset(&mut writer, "2", "10.0.0.2:6080").await;
    let scene = Scene::up(&server.url()).await;
    let moved_from = scene.directory.locate(&id("1")).await.unwrap();
    assert_eq!(scene.locate("2").await, Ok("10.0.0.2:6080".to_owned()));
    scene.streams.open([id("1"), id("2")]);

    let Some(replacement) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&replacement.url()).await;
    hset(&mut writer, "1", "10.9.9.9:6080").await;
    server.kill();
    std::fs::rename(replacement.socket(), server.socket()).unwrap();
    scene.said.until("it is up again", |counts| counts.up && counts.reconnects == 1).await;

    let moved_to = scene.directory.locate(&id("1")).await.unwrap();
    assert_eq!(moved_to.endpoint.to_string(), "10.9.9.9:6080");
    assert_ne!(moved_to.generation, moved_from.generation);
    assert_eq!(scene.locate("2").await, Err(LocateError::NotFound));
    scene.streams.until_closed("2").await;
    assert_eq!(scene.streams.closed(), ["2"]);
}

#[tokio::test]
async fn a_server_that_comes_back_empty_is_doubted_until_it_has_spoken() {
    let Some(mut server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    hset(&mut writer, "2", "10.0.0.2:6080").await;
    let scene = Scene::up(&server.url()).await;
    assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));
    assert_eq!(scene.locate("2").await, Ok("10.0.0.2:6080".to_owned()));
    scene.streams.open([id("1"), id("2")]);

    server.restart().await;
    scene.said.until("it is connected again", |counts| counts.reconnects == 1).await;
    assert!(!scene.directory.ready(), "an empty server is not ready");
    assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));
    assert_eq!(scene.locate("9").await, Err(LocateError::Unavailable));

    // Half of the routes are back: theirs are believed, absence is not.
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.9.9.9:6080").await;
    scene.said.until("it is ready again", |counts| counts.up).await;
    assert_eq!(scene.locate("1").await, Ok("10.9.9.9:6080".to_owned()));
    assert_eq!(scene.locate("2").await, Ok("10.0.0.2:6080".to_owned()));
    assert_eq!(scene.locate("9").await, Err(LocateError::Unavailable));

    // This server has spoken of 1, so it may also take it back.
    scene.pushed(hset(&mut writer, "3", "10.0.0.3:6080")).await;
    scene.pushed(hdel(&mut writer, "1")).await;
    assert_eq!(scene.locate("1").await, Err(LocateError::NotFound));
    scene.streams.until_closed("1").await;
    assert_eq!(scene.streams.closed(), ["1"]);
}

#[tokio::test]
async fn a_server_that_stays_empty_is_believed_in_the_end() {
    let Some(mut server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    let grace = Duration::from_millis(300);
    let scene = Scene::begin(&RedisConfig::at(server.url()), grace);
    scene.said.until("it is up", |counts| counts.up).await;
    assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));
    scene.streams.open([id("1")]);

    server.restart().await;
    scene.said.until("it is connected again", |counts| counts.reconnects == 1).await;
    let connected_at = Instant::now();
    scene.streams.until_closed("1").await;
    assert!(connected_at.elapsed() > grace / 2, "took {:?}", connected_at.elapsed());
    assert!(scene.directory.ready());
    assert_eq!(scene.locate("1").await, Err(LocateError::NotFound));
    const { assert!(EMPTY_GRACE.as_secs() == 30) };
}

#[tokio::test]
async fn a_server_that_answers_errors_is_down_until_it_does_not() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    let scene = Scene::up(&server.url()).await;
    assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));
    scene.streams.open([id("1")]);

    scene.pushed(command(&mut writer, "SET vnc_sandboxes not-a-hash")).await;
    assert_eq!(scene.locate("2").await, Err(LocateError::Unavailable));
    assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));
    assert!(!scene.directory.ready());

    command(&mut writer, "DEL vnc_sandboxes").await;
    hset(&mut writer, "1", "10.9.9.9:6080").await;
    scene.said.until("it is up again", |counts| counts.up).await;
    assert_eq!(scene.locate("1").await, Ok("10.9.9.9:6080".to_owned()));
    assert_eq!(scene.locate("2").await, Err(LocateError::NotFound));
    assert!(scene.streams.closed().is_empty());
}

#[tokio::test]
async fn a_server_that_is_not_there_at_the_start_is_waited_for() {
    let Some(mut server) = RedisServer::start(&[]).await else { return };
    server.kill();
    let scene = Scene::begin(&RedisConfig::at(server.url()), EMPTY_GRACE);
    assert_eq!(scene.locate("1").await, Err(LocateError::Unavailable));
    server.restart().await;
    scene.said.until("it is up", |counts| counts.up).await;
    assert_eq!(scene.locate("1").await, Err(LocateError::NotFound), "nothing was known, so empty is believed");
}

#[tokio::test]
async fn a_connection_that_the_server_drops_is_made_again() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    let scene = Scene::up(&server.url()).await;
    for round in 1..=3 {
        command(&mut writer, "CLIENT KILL TYPE normal SKIPME yes").await;
        scene.said.until("it is up again", |counts| counts.up && counts.reconnects == round).await;
        scene.pushed(hset(&mut writer, "1", &format!("10.0.0.1:{round}"))).await;
        assert_eq!(scene.locate("1").await, Ok(format!("10.0.0.1:{round}")));
    }
}
