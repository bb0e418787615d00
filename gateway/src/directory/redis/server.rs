//! The Redis server: how it is reached, and the few commands that the directory needs.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisError, ToRedisArgs,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use super::intake::{Arrivals, Intake, Watched};
use super::session::FLIGHTS_MAX;
use crate::config::RedisConfig;

/// A server that can be connected to, as often as needed. Neither this nor its errors ever show a password.
pub struct Server {
    info: ConnectionInfo,
    hash: String,
    state_hash: String,
    password_file: Option<PathBuf>,
    connect_timeout: Duration,
    response_timeout: Duration,
}

/// Why a configuration names no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Not a URL of a known form.
    #[error("the redis url is not usable: {0}")]
    Url(RedisError),
    /// `#insecure` would switch the check of the server's certificate off, which this build cannot and should not do.
    #[error("the redis url asks for unchecked certificates; use a trusted one (SSL_CERT_FILE names more roots)")]
    UncheckedTls,
    /// The connection could not be watched for what arrives.
    #[error("no descriptor is left to watch the redis connection with: {0}")]
    Unwatched(io::Error),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The password could not be read.
    #[error("cannot read the password from {path}: {source}", path = .path.display())]
    PasswordFile {
        /// Which file was to be read.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The server is not there, or not in time.
    #[error(transparent)]
    Unreachable(#[from] io::Error),
    /// The server said no, or the connection failed later.
    #[error(transparent)]
    Redis(#[from] RedisError),
}

/// One connection. Clones share it.
#[derive(Clone)]
pub struct Link {
    connection: MultiplexedConnection,
    hash: String,
    state_hash: String,
    /// Where questions and answers are counted, if the connection's incoming bytes are watched.
    intake: Option<Arc<Intake>>,
    /// Only where the connection was opened here.
    _driver: Option<Arc<Driver>>,
}

/// The task that moves the connection's bytes. It would wait for every outstanding answer, however long that takes.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// Understands `redis://[user][:password@]host[:port][/database]`, `rediss://` (TLS, checked against the system's
    /// roots), and `unix:` or `redis+unix://` with a path and `?db=` and `?pass=`. Nothing is connected yet.
    pub fn new(config: &RedisConfig) -> Result<Self, ServerError> {
        let info = config.url.as_str().into_connection_info().map_err(ServerError::Url)?;
        match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => return Err(ServerError::UncheckedTls),
            // Fails if there is a provider already, which is as good.
            ConnectionAddr::TcpTls { .. } => drop(rustls::crypto::ring::default_provider().install_default()),
            _ => {}
        }
        Ok(Self {
            info,
            hash: config.hash.clone(),
            state_hash: config.state_hash.clone(),
            password_file: config.password_file.clone(),
            connect_timeout: config.connect_timeout,
            response_timeout: config.response_timeout,
        })
    }

    /// Host and port, or path: what may be logged.
    #[must_use]
    pub fn address(&self) -> String {
        self.info.addr().to_string()
    }

    /// The name of the hash of states.
    pub(super) fn state_hash(&self) -> &str {
        &self.state_hash
    }

    /// A connection for a few commands. The server's name is resolved anew (it may have moved), and a password file
    /// read anew (mounted secrets rotate).
    pub async fn connect(&self) -> Result<Link, ConnectError> {
        let client = Client::open(self.info.clone().set_redis_settings(self.settings()?))?;
        let connection = client.get_multiplexed_async_connection_with_config(&self.options()).await?;
        Ok(self.link(connection, None, None))
    }

    fn link(
        &self,
        connection: MultiplexedConnection,
        intake: Option<Arc<Intake>>,
        driver: Option<Arc<Driver>>,
    ) -> Link {
        Link { connection, hash: self.hash.clone(), state_hash: self.state_hash.clone(), intake, _driver: driver }
    }

    /// A connection on which the server says when a hash changes, to `on_push`, from now on; and the view of its
    /// incoming bytes, which TLS does not have: there the socket's bytes are not the server's words.
    pub(super) async fn connect_tracking(
        &self,
        on_push: impl AsyncPushSender,
        arrivals: &Arc<Arrivals>,
    ) -> Result<(Link, Option<Arc<Intake>>), ConnectError> {
        let options = self.options().set_push_sender(on_push);
        let opened = tokio::time::timeout(self.connect_timeout, async {
            match self.info.addr() {
                ConnectionAddr::Tcp(host, port) => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    self.watched(stream, options, arrivals).await
                }
                ConnectionAddr::Unix(path) => self.watched(UnixStream::connect(path).await?, options, arrivals).await,
                _ => {
                    let client = Client::open(self.info.clone().set_redis_settings(self.settings()?))?;
                    let connection = client.get_multiplexed_async_connection_with_config(&options).await?;
                    Ok((self.link(connection, None, None), None))
                }
            }
        });
        let (mut link, intake) = opened.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let mut track = redis::cmd("CLIENT");
        track.arg("TRACKING").arg("ON").arg("BCAST");
        for prefix in prefixes(&self.hash, &self.state_hash) {
            track.arg("PREFIX").arg(prefix);
        }
        track.query_async::<()>(&mut link.connection).await?;
        Ok((link, intake))
    }

    async fn watched<S>(
        &self,
        stream: S,
        options: AsyncConnectionConfig,
        arrivals: &Arc<Arrivals>,
    ) -> Result<(Link, Option<Arc<Intake>>), ConnectError>
    where
        S: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
    {
        let stream = Watched::new(stream, arrivals)?;
        let intake = stream.intake();
        let settings = self.settings()?;
        let (connection, driver) = MultiplexedConnection::new_with_config(&settings, stream, options).await?;
        let driver = Arc::new(Driver(tokio::spawn(driver)));
        Ok((self.link(connection, Some(Arc::clone(&intake)), Some(driver)), Some(intake)))
    }

    fn settings(&self) -> Result<RedisConnectionInfo, ConnectError> {
        let settings = self.info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Ok(match self.password_from_file()? {
            Some(password) => settings.set_password(password),
            None => settings,
        })
    }

    fn options(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout))
            .set_pipeline_buffer_size(FLIGHTS_MAX)
    }

    /// The first line of the password file, if there is one.
    fn password_from_file(&self) -> Result<Option<String>, ConnectError> {
        let Some(path) = &self.password_file else { return Ok(None) };
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text.lines().next().unwrap_or_default().to_owned())),
            Err(source) => Err(ConnectError::PasswordFile { path: path.clone(), source }),
        }
    }
}

/// What is subscribed to: names that begin with another's would be refused beside it.
fn prefixes<'n>(hash: &'n str, states: &'n str) -> Vec<&'n str> {
    if states.starts_with(hash) {
        vec![hash]
    } else if hash.starts_with(states) {
        vec![states]
    } else {
        vec![hash, states]
    }
}

/// Values of one hash, in the order in which they were asked for.
type Values = Vec<Option<Vec<u8>>>;

/// What the hashes hold of a sandbox, not looked at yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// In the hash of endpoints.
    pub(super) endpoint: Option<Vec<u8>>,
    /// In the hash of states.
    pub(super) state: Option<Vec<u8>>,
}

impl Link {
    /// How many fields the hash has; 0 if there is no hash. Costs the server nothing, and fails with whatever would
    /// make a lookup fail: that makes it the probe.
    pub(super) async fn count(&mut self) -> Result<u64, RedisError> {
        let command = self.on_hash("HLEN");
        self.ask(&command).await
    }

    /// How many fields the hash of states has. An error may be about this hash alone.
    pub(super) async fn count_states(&mut self) -> Result<u64, RedisError> {
        let mut command = redis::cmd("HLEN");
        self.ask(command.arg(&self.state_hash)).await
    }

    /// What is held in a field; its state only `with_state`. Both questions leave in one write, which Redis handles in
    /// one go. Should the network part them, the state came first: an endpoint from before a migration is never paired
    /// with the "running" from after it.
    pub(super) async fn held(&mut self, field: &str, with_state: bool) -> Result<Held, RedisError> {
        if !with_state {
            return Ok(Held { endpoint: self.get(field).await?, state: None });
        }
        let (state, endpoint) = self.ask_both("HGET", std::slice::from_ref(&field)).await?;
        Ok(Held { endpoint, state })
    }

    /// The same for several fields, in their order.
    pub(super) async fn held_many(&mut self, fields: &[String], with_state: bool) -> Result<Vec<Held>, RedisError> {
        let (states, endpoints): (Values, Values) = if with_state {
            self.ask_both("HMGET", fields).await?
        } else {
            let mut command = self.on_hash("HMGET");
            (vec![None; fields.len()], self.ask(command.arg(fields)).await?)
        };
        Ok(endpoints.into_iter().zip(states).map(|(endpoint, state)| Held { endpoint, state }).collect())
    }

    /// The value of one field.
    pub async fn get(&mut self, field: &str) -> Result<Option<Vec<u8>>, RedisError> {
        let mut command = self.on_hash("HGET");
        self.ask(command.arg(field)).await
    }

    /// Every field with its value.
    pub async fn get_all(&mut self) -> Result<Vec<(Vec<u8>, Vec<u8>)>, RedisError> {
        let command = self.on_hash("HGETALL");
        self.ask(&command).await
    }

    /// Sets one field.
    pub async fn set(&mut self, field: &str, value: &str) -> Result<(), RedisError> {
        let mut command = self.on_hash("HSET");
        let _added: u64 = self.ask(command.arg(field).arg(value)).await?;
        Ok(())
    }

    /// Removes one field. Says whether it was there.
    pub async fn remove(&mut self, field: &str) -> Result<bool, RedisError> {
        let mut command = self.on_hash("HDEL");
        self.ask(command.arg(field)).await
    }

    /// The same command on the hash of states and on that of endpoints.
    async fn ask_both<T: FromRedisValue, F: ToRedisArgs>(
        &mut self,
        command: &str,
        fields: &[F],
    ) -> Result<(T, T), RedisError> {
        let mut both = redis::pipe();
        both.cmd(command).arg(&self.state_hash).arg(fields);
        both.cmd(command).arg(&self.hash).arg(fields);
        let asking = both.query_async(&mut self.connection);
        counted(self.intake.as_deref(), asking).await
    }

    async fn ask<T: FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<T, RedisError> {
        let asking = command.query_async(&mut self.connection);
        counted(self.intake.as_deref(), asking).await
    }

    fn on_hash(&self, command: &str) -> redis::Cmd {
        let mut command = redis::cmd(command);
        command.arg(&self.hash);
        command
    }
}

/// Counts a question and its answer. Whoever asks a tracking connection ends it if this fails or is given up: its
/// answers are not countable any more.
async fn counted<T>(
    intake: Option<&Intake>,
    asking: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    if let Some(intake) = intake {
        intake.questions().ask();
    }
    let answer = asking.await?;
    if let Some(intake) = intake {
        intake.questions().answer();
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_prefix_covers_another() {
        assert_eq!(prefixes("vnc_sandboxes", "vnc_sandboxes_state"), ["vnc_sandboxes"]);
        assert_eq!(prefixes("a:endpoints", "a"), ["a"]);
        assert_eq!(prefixes("a", "b"), ["a", "b"]);
        assert_eq!(prefixes("a", "a"), ["a"]);
    }

    fn address(url: &str) -> Result<String, String> {
        Server::new(&RedisConfig::at(url)).map(|server| server.address()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_of_url_names_its_server() {
        assert_eq!(address("redis://registry.example"), Ok("registry.example:6379".to_owned()));
        assert_eq!(address("redis://user:secret@10.0.0.1:7000/3"), Ok("10.0.0.1:7000".to_owned()));
        assert_eq!(address("redis://[::1]:7000"), Ok("::1:7000".to_owned()));
        assert_eq!(address("rediss://registry.example:7001"), Ok("registry.example:7001".to_owned()));
        assert_eq!(address("unix:/run/redis.sock?db=2&pass=secret"), Ok("/run/redis.sock".to_owned()));
        assert_eq!(address("redis+unix:///run/redis.sock"), Ok("/run/redis.sock".to_owned()));
    }

    #[test]
    fn an_unusable_url_is_refused_without_being_shown() {
        for url in ["", "http://:secret@host", "redis://", "redis://:secret@host/x", "rediss://:secret@host/#insecure"]
        {
            let error = address(url).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
