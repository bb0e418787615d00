//! The Redis directory as the gateway's clients and its sandbox manager see it: a real server, written by another
//! client.

mod coherence;
mod descriptors;
mod endpoints;
mod moved;
mod outage;
mod server;
mod streams;

use std::fmt::Display;

use gateway_tests::gateway::{Gateway, GatewayBuilder};
use gateway_tests::need::{Need, is_missing};
use gateway_tests::redis::RedisServer;

use crate::users::until_ready;

/// A gateway on a Redis, both ready.
struct Scene {
    gateway: Gateway,
    redis: RedisServer,
}

impl Scene {
    /// `None` where the machine has no Redis.
    fn start() -> Option<Self> {
        Self::start_with(&[], |gateway| gateway)
    }

    /// The same with arguments of `redis-server` and of the gateway.
    fn start_with(arguments: &[&str], prepare: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Option<Self> {
        if is_missing(&[Need::Program("redis-server")]) {
            return None;
        }
        let redis = RedisServer::start_with(arguments).unwrap();
        let gateway = prepare(Gateway::builder().redis(redis.url())).start().unwrap();
        until_ready(&gateway, 200);
        Some(Self { gateway, redis })
    }

    fn set(&self, sandbox: &str, endpoint: impl Display) {
        set(&self.redis.url(), sandbox, endpoint);
    }

    fn remove(&self, sandbox: &str) {
        command(&self.redis.url(), &["HDEL", "vnc_sandboxes", &format!("Sandbox_ID_{sandbox}")]);
    }

    /// Any command, as `redis-cli` would send it.
    fn command(&self, words: &[&str]) -> String {
        command(&self.redis.url(), words)
    }

    fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.gateway.metric(name, labels).unwrap()
    }

    /// How often the server was asked for a field, by anybody.
    fn hgets(&self) -> u64 {
        let stats = self.command(&["INFO", "commandstats"]);
        let calls = stats.split("cmdstat_hget:calls=").nth(1).and_then(|rest| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse().unwrap())
    }
}

/// Adds or moves a sandbox, as a sandbox manager does.
fn set(url: &str, sandbox: &str, endpoint: impl Display) {
    command(url, &["HSET", "vnc_sandboxes", &format!("Sandbox_ID_{sandbox}"), &endpoint.to_string()]);
}

/// Sends one command on a connection of its own and returns its answer as text, lists line by line.
fn command(url: &str, words: &[&str]) -> String {
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    let answer: redis::Value = redis::cmd(words[0]).arg(&words[1..]).query(&mut connection).unwrap();
    match answer {
        redis::Value::Int(number) => number.to_string(),
        redis::Value::Okay => "OK".to_owned(),
        other => redis::from_redis_value::<Option<String>>(other).unwrap().unwrap_or_default(),
    }
}
