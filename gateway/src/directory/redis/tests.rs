//! Stories with a real redis-server, and two with a scripted one where the order of bytes on the wire is the point.

mod fake;
mod outage;
mod scene;
mod states;
mod tls;

use std::io::Write;
use std::time::{Duration, Instant};

pub(crate) use self::scene::RedisServer;
use self::scene::{Scene, command, free_port, hdel, hgets, hset, id};
use crate::config::RedisConfig;
use crate::directory::{EndpointError, LocateError, LookupOutcome, LookupSource, RecordError};

#[tokio::test]
async fn a_change_by_another_client_is_seen_by_the_next_lookup() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let scene = Scene::up(&server.url()).await;
    let mut writer = RedisServer::client(&server.url()).await;
    assert_eq!(scene.locate("37579").await, Err(LocateError::NotFound));

    scene.pushed(hset(&mut writer, "37579", "10.18.124.21:6080")).await;
    assert_eq!(scene.locate("37579").await, Ok("10.18.124.21:6080".to_owned()));
    let first = scene.directory.locate(&id("37579")).await.unwrap();

    scene.pushed(hset(&mut writer, "37579", "[2001:db8::1]:6080")).await;
    let moved = scene.directory.locate(&id("37579")).await.unwrap();
    assert_eq!(moved.endpoint.to_string(), "[2001:db8::1]:6080");
    assert_ne!(moved.generation, first.generation);

    scene.pushed(hdel(&mut writer, "37579")).await;
    assert_eq!(scene.locate("37579").await, Err(LocateError::NotFound));

    scene.pushed(hset(&mut writer, "37579", "[2001:db8::1]:6080")).await;
    let back = scene.directory.locate(&id("37579")).await.unwrap();
    assert_eq!(back.endpoint, moved.endpoint);
    assert_ne!(back.generation, moved.generation);
}

#[tokio::test]
async fn a_quiet_hash_is_asked_once_per_sandbox() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    for sandbox in 0..100 {
        hset(&mut writer, &sandbox.to_string(), "10.0.0.1:6080").await;
    }
    let scene = Scene::up(&server.url()).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let directory = scene.directory.clone();
        clients.spawn(async move {
            for lookup in 0..500 {
                let sandbox = (lookup % 100).to_string();
                assert_eq!(directory.locate(&id(&sandbox)).await.unwrap().endpoint.to_string(), "10.0.0.1:6080");
            }
        });
    }
    clients.join_all().await;
    assert_eq!(hgets(&mut writer).await, 100);
    let counts = scene.said.counts();
    let hits = [LookupSource::Cache, LookupSource::Redis].map(|source| counts.of(source, LookupOutcome::Hit));
    assert_eq!(hits.iter().sum::<u64>(), 10_000);
}

#[tokio::test]
async fn an_unknown_sandbox_is_asked_for_once_until_something_changes() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let config = RedisConfig { negative_ttl: Duration::from_secs(3600), ..RedisConfig::at(server.url()) };
    let scene = Scene::up_with(&config).await;
    let mut writer = RedisServer::client(&server.url()).await;
    for _ in 0..100 {
        assert_eq!(scene.locate("nobody").await, Err(LocateError::NotFound));
    }
    assert_eq!(hgets(&mut writer).await, 1);
    scene.pushed(hset(&mut writer, "nobody", "10.0.0.1:6080")).await;
    assert_eq!(scene.locate("nobody").await, Ok("10.0.0.1:6080".to_owned()));
}

#[tokio::test]
async fn a_record_that_is_no_endpoint_is_an_error_of_its_own() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "pod-1.default.svc:6080").await;
    hset(&mut writer, "2", "169.254.169.254:80").await;
    hset(&mut writer, "3", " 10.0.0.3:6080\n").await;
    let scene = Scene::up(&server.url()).await;
    for _ in 0..2 {
        assert_eq!(scene.locate("1").await, Err(LocateError::BadEndpoint(RecordError::Malformed)));
        let refused = RecordError::Refused(EndpointError::LinkLocal);
        assert_eq!(scene.locate("2").await, Err(LocateError::BadEndpoint(refused)));
        assert_eq!(scene.locate("3").await, Ok("10.0.0.3:6080".to_owned()));
    }
    assert_eq!(hgets(&mut writer).await, 3);
    scene.pushed(hset(&mut writer, "1", "10.0.0.1:6080")).await;
    assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));
}

#[tokio::test]
async fn a_dead_host_is_asked_about_again() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    hset(&mut writer, "2", "10.0.0.2:6080").await;
    let scene = Scene::up(&server.url()).await;
    let first = scene.directory.locate(&id("1")).await.unwrap();
    let other = scene.directory.locate(&id("2")).await.unwrap();

    scene.directory.evict(&id("1"), other.endpoint);
    assert_eq!(scene.directory.locate(&id("1")).await, Ok(first));
    assert_eq!((scene.said.counts().dial_failures, hgets(&mut writer).await), (0, 2));

    scene.directory.evict(&id("1"), first.endpoint);
    let again = scene.directory.locate(&id("1")).await.unwrap();
    assert_eq!(again.endpoint, first.endpoint);
    assert_ne!(again.generation, first.generation);
    assert_eq!((scene.said.counts().dial_failures, hgets(&mut writer).await), (1, 3));
}

#[tokio::test]
async fn streams_of_a_sandbox_that_left_are_closed_and_no_others() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    // More than one HMGET's worth.
    let sandboxes: Vec<String> = (0..1200).map(|number| number.to_string()).collect();
    for sandbox in &sandboxes {
        hset(&mut writer, sandbox, "10.0.0.1:6080").await;
    }
    let scene = Scene::up(&server.url()).await;
    scene.streams.open(sandboxes.iter().map(|sandbox| id(sandbox)));
    hset(&mut writer, "7", "10.0.0.2:6080").await;

    let left_at = Instant::now();
    hdel(&mut writer, "1100").await;
    scene.streams.until_closed("1100").await;
    assert!(left_at.elapsed() < Duration::from_secs(1), "took {:?}", left_at.elapsed());
    assert_eq!(scene.streams.closed(), ["1100"]);

    hdel(&mut writer, "3").await;
    scene.streams.until_closed("3").await;
    assert_eq!(scene.streams.closed(), ["1100", "3"]);
}

#[tokio::test]
async fn a_hash_that_is_emptied_under_our_eyes_is_believed() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    let scene = Scene::up(&server.url()).await;
    assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));
    scene.streams.open([id("1")]);
    scene.pushed(command(&mut writer, "FLUSHALL")).await;
    assert_eq!(scene.locate("1").await, Err(LocateError::NotFound));
    scene.streams.until_closed("1").await;
    assert!(scene.directory.ready());
}

#[tokio::test]
async fn names_and_database_are_configuration() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let url = format!("{}?db=3", server.url());
    let config =
        RedisConfig { hash: "routes".to_owned(), field_prefix: "cl-".to_owned(), ..RedisConfig::at(url.clone()) };
    let scene = Scene::up_with(&config).await;
    let mut writer = RedisServer::client(&url).await;
    scene.pushed(command(&mut writer, "HSET routes cl-abc 10.0.0.1:6080")).await;
    assert_eq!(scene.locate("abc").await, Ok("10.0.0.1:6080".to_owned()));
    scene.pushed(command(&mut writer, "DEL routes")).await;
    assert_eq!(scene.locate("abc").await, Err(LocateError::NotFound));
}

#[tokio::test]
async fn a_password_is_read_from_the_url_or_from_a_file_that_may_change() {
    let Some(server) = RedisServer::start(&["--requirepass", "p@ss/word?"]).await else { return };
    let with_password = format!("{}?pass=p%40ss%2Fword%3F", server.url());
    let mut writer = RedisServer::client(&with_password).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    let scene = Scene::up(&with_password).await;
    assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));

    let mut file = tempfile::NamedTempFile::new().unwrap();
    let config = RedisConfig { password_file: Some(file.path().to_owned()), ..RedisConfig::at(server.url()) };
    let scene = Scene::begin(&config, Duration::ZERO);
    assert_eq!(scene.locate("1").await, Err(LocateError::Unavailable));
    assert!(!scene.directory.ready());
    file.write_all(b"p@ss/word?\n").unwrap();
    scene.said.until("the new password is used", |counts| counts.up).await;
    assert_eq!(scene.locate("1").await, Ok("10.0.0.1:6080".to_owned()));
}

#[tokio::test]
async fn any_runtime_may_ask() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    let scene = Scene::up(&server.url()).await;
    let directory = scene.directory.clone();
    let worker = std::thread::spawn(move || {
        // Neither I/O nor time: what a worker's runtime has of these is its own.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { directory.locate(&id("1")).await })
    });
    let located = tokio::task::spawn_blocking(|| worker.join().unwrap()).await.unwrap();
    assert_eq!(located.unwrap().endpoint.to_string(), "10.0.0.1:6080");
}

#[tokio::test]
async fn the_task_ends_with_its_last_directory() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let Scene { directory, task, .. } = Scene::up(&server.url()).await;
    let another = directory.clone();
    drop(directory);
    assert_eq!(another.locate(&id("1")).await, Err(LocateError::NotFound));
    drop(another);
    tokio::time::timeout(Duration::from_secs(10), task).await.expect("the task ends").unwrap();
}

#[tokio::test]
async fn without_its_task_a_directory_says_what_it_knew() {
    let Some(server) = RedisServer::start(&[]).await else { return };
    let mut writer = RedisServer::client(&server.url()).await;
    hset(&mut writer, "1", "10.0.0.1:6080").await;
    let Scene { directory, task, said, .. } = Scene::up(&server.url()).await;
    let known = directory.locate(&id("1")).await.unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert!(!directory.ready());
    assert_eq!(directory.locate(&id("1")).await, Ok(known));
    assert_eq!(said.counts().of(LookupSource::Stale, LookupOutcome::Hit), 1);
    assert_eq!(directory.locate(&id("2")).await, Err(LocateError::Unavailable));
}

#[test]
fn a_lookup_right_after_a_change_sees_it() {
    let (send_scene, receive_scene) = std::sync::mpsc::channel();
    // Threads as in the program: the control thread has to be scheduled before it can read a push.
    let control = Joined::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let port = free_port();
            let Some(_server) = RedisServer::start(&["--port", &port]).await else { return };
            let url = format!("redis://127.0.0.1:{port}");
            let config = RedisConfig { response_timeout: Duration::from_secs(10), ..RedisConfig::at(url.clone()) };
            let Scene { directory, task, .. } = Scene::up_with(&config).await;
            send_scene.send((directory, url)).unwrap();
            task.await.unwrap();
        });
    });
    let Ok((directory, url)) = receive_scene.recv() else { return };
    let mut writer = redis::Client::open(url).unwrap().get_connection().unwrap();
    let worker = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for port in 1..=5000 {
        let value = format!("10.0.0.1:{port}");
        let mut change = redis::cmd("HSET");
        change.arg("vnc_sandboxes").arg("Sandbox_ID_1").arg(&value).exec(&mut writer).unwrap();
        let located = worker.block_on(directory.locate(&id("1"))).unwrap();
        assert_eq!(located.endpoint.to_string(), value);
    }
    drop((directory, control));
}

/// A thread that is waited for however the test ends: the server that lives in it must not outlive the process.
struct Joined(Option<std::thread::JoinHandle<()>>);

impl Joined {
    fn spawn(body: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(std::thread::spawn(body)))
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let thread = self.0.take().expect("joined once");
        assert!(thread.join().is_ok() || std::thread::panicking());
    }
}
