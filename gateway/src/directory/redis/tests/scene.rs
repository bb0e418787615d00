//! A real Redis server, a directory on it, and everything the directory says.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_tests::need::{Need, is_missing};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::config::RedisConfig;
use crate::directory::{
    Directory, DirectoryEvents, EndpointRules, InvalidationCause, LiveSandboxes, LocateError, LookupOutcome,
    LookupSource,
};
use crate::route::SandboxId;

/// How long a test waits for something that has to happen. It decides when a test fails, never whether it passes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A redis-server of its own, on a Unix socket in a folder of its own. Killed when dropped.
pub(crate) struct RedisServer {
    folder: TempDir,
    options: Vec<String>,
    child: Child,
}

impl RedisServer {
    /// Starts one, with further options. `None`, said aloud, if the program is not installed; CI must have it.
    pub(crate) async fn start(options: &[&str]) -> Option<Self> {
        if is_missing(&[Need::Program("redis-server")]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let child = Self::spawn(&folder, &options);
        let server = Self { folder, options, child };
        server.answers().await;
        Some(server)
    }

    fn spawn(folder: &TempDir, options: &[String]) -> Child {
        Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", "socket", "--save", "", "--appendonly", "no"])
            .args(options)
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Where its socket lies.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub(crate) fn url(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// Starts the process anew, on the same socket; what was not saved is lost.
    pub(super) async fn restart(&mut self) {
        self.kill();
        self.child = Self::spawn(&self.folder, &self.options);
        self.answers().await;
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Another client's connection, with the credentials of `url`.
    pub(super) async fn client(url: &str) -> MultiplexedConnection {
        let client = redis::Client::open(url).unwrap();
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
    }

    async fn answers(&self) {
        let until_it_does = async {
            // An error answer (NOAUTH) is an answer too.
            while tokio::net::UnixStream::connect(self.socket()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, until_it_does).await.expect("redis-server starts");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Best effort: the test may have killed it.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A directory on a server, with another client that writes.
pub(super) struct Scene {
    pub(super) directory: Directory,
    pub(super) said: Arc<Recorder>,
    pub(super) streams: Arc<Streams>,
    pub(super) task: tokio::task::JoinHandle<()>,
}

impl Scene {
    /// A directory that is not up yet. `grace` stands in for `EMPTY_GRACE`.
    pub(super) fn begin(config: &RedisConfig, grace: Duration) -> Self {
        let said = Arc::new(Recorder::default());
        let streams = Arc::new(Streams::default());
        let (events, live) = (said.clone(), streams.clone());
        let (directory, mut task) = Directory::redis(config, EndpointRules::default(), events, live).unwrap();
        task.empty_grace = grace;
        Self { directory, said, streams, task: tokio::spawn(task.run()) }
    }

    /// A directory that is up, with the defaults.
    pub(super) async fn up(url: &str) -> Self {
        Self::up_with(&RedisConfig::at(url)).await
    }

    pub(super) async fn up_with(config: &RedisConfig) -> Self {
        let scene = Self::begin(config, super::super::EMPTY_GRACE);
        scene.said.until("it is up", |counts| counts.up).await;
        scene
    }

    /// Where a sandbox is, as text.
    pub(super) async fn locate(&self, sandbox: &str) -> Result<String, LocateError> {
        let located = self.directory.locate(&id(sandbox)).await?;
        Ok(located.endpoint.to_string())
    }

    /// Does `change`, then waits until a push about it was read.
    pub(super) async fn pushed(&self, change: impl Future<Output = ()>) {
        let before = self.said.counts().pushes;
        change.await;
        self.said.until("the change was pushed", |counts| counts.pushes > before).await;
    }
}

/// A TCP port that was free a moment ago, for a server that cannot say which one it got.
pub(super) fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

pub(super) fn id(text: &str) -> SandboxId {
    text.parse().unwrap()
}

/// `HSET` of one route.
pub(super) async fn hset(client: &mut MultiplexedConnection, sandbox: &str, value: &str) {
    let mut command = redis::cmd("HSET");
    command.arg("vnc_sandboxes").arg(format!("Sandbox_ID_{sandbox}")).arg(value);
    command.exec_async(client).await.unwrap();
}

/// `HDEL` of one route.
pub(super) async fn hdel(client: &mut MultiplexedConnection, sandbox: &str) {
    redis::cmd("HDEL").arg("vnc_sandboxes").arg(format!("Sandbox_ID_{sandbox}")).exec_async(client).await.unwrap();
}

/// Any command whose answer does not matter.
pub(super) async fn command(client: &mut MultiplexedConnection, words: &str) {
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    command.exec_async(client).await.unwrap();
}

/// How many HGETs the server has answered.
pub(super) async fn hgets(client: &mut MultiplexedConnection) -> u64 {
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(client).await.unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_hget:calls="));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

/// What a directory reported.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) up: bool,
    pub(super) pushes: u64,
    pub(super) reconnects: u64,
    pub(super) dial_failures: u64,
    pub(super) questions: u64,
    pub(super) lookups: HashMap<(LookupSource, LookupOutcome), u64>,
}

impl Counts {
    pub(super) fn of(&self, source: LookupSource, outcome: LookupOutcome) -> u64 {
        self.lookups.get(&(source, outcome)).copied().unwrap_or_default()
    }
}

/// Counts, and wakes who waits for a count.
#[derive(Default)]
pub(super) struct Recorder(watch::Sender<Counts>);

impl Recorder {
    pub(super) fn counts(&self) -> Counts {
        self.0.borrow().clone()
    }

    pub(super) async fn until(&self, what: &str, holds: impl FnMut(&Counts) -> bool) {
        wait_for(&self.0, what, holds).await;
    }
}

impl DirectoryEvents for Recorder {
    fn lookup(&self, source: LookupSource, outcome: LookupOutcome, _: Duration) {
        self.0.send_modify(|counts| *counts.lookups.entry((source, outcome)).or_default() += 1);
    }

    fn question(&self, _: LookupSource) {
        self.0.send_modify(|counts| counts.questions += 1);
    }

    fn invalidation(&self, cause: InvalidationCause) {
        self.0.send_modify(|counts| match cause {
            InvalidationCause::Push => counts.pushes += 1,
            InvalidationCause::Reconnect => counts.reconnects += 1,
            InvalidationCause::DialFailure => counts.dial_failures += 1,
        });
    }

    fn redis_up(&self, up: bool) {
        self.0.send_modify(|counts| counts.up = up);
    }

    fn redis_reconnected(&self) {}
}

/// Streams that exist only here.
#[derive(Default)]
pub(super) struct Streams {
    live: Mutex<Vec<SandboxId>>,
    closed: watch::Sender<Vec<String>>,
}

impl Streams {
    pub(super) fn open(&self, sandboxes: impl IntoIterator<Item = SandboxId>) {
        self.live.lock().unwrap().extend(sandboxes);
    }

    pub(super) fn closed(&self) -> Vec<String> {
        self.closed.borrow().clone()
    }

    pub(super) async fn until_closed(&self, sandbox: &str) {
        wait_for(&self.closed, "the stream is closed", |closed| closed.iter().any(|id| id == sandbox)).await;
    }
}

impl LiveSandboxes for Streams {
    fn live(&self) -> Vec<SandboxId> {
        self.live.lock().unwrap().clone()
    }

    fn close(&self, id: &SandboxId) {
        self.live.lock().unwrap().retain(|live| live != id);
        self.closed.send_modify(|closed| closed.push(id.to_string()));
    }

    fn located(&self, _: &SandboxId, _: u64) {}
}

async fn wait_for<T>(sender: &watch::Sender<T>, what: &str, holds: impl FnMut(&T) -> bool) {
    let mut receiver = sender.subscribe();
    let waited = tokio::time::timeout(PATIENCE, receiver.wait_for(holds)).await;
    drop(waited.unwrap_or_else(|_| panic!("waited in vain until {what}")).unwrap());
}
