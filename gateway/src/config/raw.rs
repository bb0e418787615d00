//! What the operator wrote: every option's value before names are resolved and a directory is chosen.
//!
//! Five layers, the higher one wins option by option (a list replaces the lower list as a whole): command-line flags,
//! `GATEWAY_*` environment variables, the configuration file, the agent-sandbox router's variables, the defaults. All
//! layers are read and checked to the end, also where a higher one overrules them, so that one run reports every
//! mistake.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::choice::Source;
use super::option::{Assignment, Setting};
use super::peer::{RedisUrl, SandboxEntry};
use super::problem::{Origin, Problem, Problems};
use super::route::RouteLines;
use super::{
    AuthConfig, BrokerConfig, Config, ControlPlaneConfig, DnsConfig, EngineChoice, HttpConfig, IoChoice, LogFormat,
    PacketConfig, RedisConfig, RoutingConfig, StreamConfig, UpstreamConfig,
};
use super::{check, environment, file, options};

/// The value of every option. One field per option, filled through the table in `options`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// `--listen`
    pub listen: Vec<SocketAddr>,
    /// `--admin`
    pub admin: SocketAddr,
    /// `--workers`; none is one per core.
    pub workers: Option<NonZeroUsize>,
    /// `--engine`
    pub engine: EngineChoice,
    /// `--io`
    pub io: IoChoice,
    /// `--source`
    pub sources: Vec<Source>,
    /// The other options about routing; its `sources` are not looked at.
    pub routing: RoutingConfig,
    /// `--sandbox`
    pub sandboxes: Vec<SandboxEntry>,
    /// `--redis`
    pub redis_url: Option<RedisUrl>,
    /// The other options about Redis; its `url` is not looked at.
    pub redis: RedisConfig,
    /// The options about the cluster's names.
    pub dns: DnsConfig,
    /// The options about tokens.
    pub auth: AuthConfig,
    /// `--directory-url`
    pub directory_url: Option<String>,
    /// The other options about the control plane; its `url` is not looked at.
    pub control_plane: ControlPlaneConfig,
    /// The options about HTTP.
    pub http: HttpConfig,
    /// The options about dialling.
    pub upstream: UpstreamConfig,
    /// The options about streams.
    pub stream: StreamConfig,
    /// The options about the packet engine.
    pub packet: PacketConfig,
    /// The options about the broker.
    pub broker: BrokerConfig,
    /// `--drain-timeout`
    pub drain_timeout: Duration,
    /// `--drain-delay`
    pub drain_delay: Duration,
    /// `--log`
    pub log: LogFormat,
    /// `--log-level`
    pub log_level: String,
    /// `--trusted-proxy`
    pub trusted_proxies: Vec<IpNet>,
}

/// Where to read from.
#[derive(Default)]
pub struct Layers {
    /// What the command line says.
    pub flags: Vec<Assignment>,
    /// The process's environment, or the part of it that counts.
    pub environment: Vec<(OsString, OsString)>,
    /// The configuration file, if the command line names one. `GATEWAY_CONFIG` names one otherwise.
    pub file: Option<PathBuf>,
}

/// A configuration whose every value is right by itself and beside the others, and who said so.
#[derive(Debug)]
pub struct Draft {
    /// The values.
    pub raw: Raw,
    /// Where the values of an option stand, for options that any layer names.
    pub origins: Origins,
    /// The file's routes, as they stand there.
    pub(super) routes: Vec<RouteLines>,
}

/// Where the values of each option stand, by the option's name.
#[derive(Debug, Default)]
pub struct Origins(BTreeMap<&'static str, Vec<Origin>>);

/// Reads and checks all layers.
///
/// # Errors
/// Everything that is wrong in any of them.
pub fn read(layers: Layers) -> Result<Draft, Problems> {
    let mut problems = Vec::new();
    let environment = environment::read(layers.environment, &mut problems);
    let in_file = match layers.file.or(environment.config_file) {
        Some(path) => file::read(&path, &mut problems),
        None => file::Lines::default(),
    };
    let mut draft = Draft { raw: Raw::default(), origins: Origins::default(), routes: in_file.routes };
    let in_file = in_file.assignments;
    for assignment in environment.router.iter().chain(&in_file).chain(&environment.assignments).chain(&layers.flags) {
        draft.apply(assignment, &mut problems);
    }
    // Behind all layers, since what a route does not say is said by any of them.
    let read = |route: &RouteLines| route.read(&draft.raw, &mut problems);
    draft.raw.routing.routes = draft.routes.iter().filter_map(read).collect();
    check::check(&draft, &mut problems);
    Problems::found(problems).map(|()| draft)
}

/// Leaves out the environment, which is full of other programs' secrets.
impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flags, environment: _, file } = self;
        f.debug_struct("Layers").field("flags", flags).field("file", file).finish_non_exhaustive()
    }
}

impl Default for Raw {
    fn default() -> Self {
        let Config {
            listen,
            admin,
            workers: _,
            engine,
            io,
            routing,
            directory: _,
            dns,
            auth,
            http,
            upstream,
            stream,
            packet,
            broker,
            drain_timeout,
            drain_delay,
            log,
            log_level,
            trusted_proxies,
        } = Config::default();
        Self {
            listen,
            admin,
            workers: None,
            engine,
            io,
            sources: routing.sources.names(),
            routing,
            sandboxes: Vec::new(),
            redis_url: None,
            redis: RedisConfig::at(""),
            dns,
            auth,
            directory_url: None,
            control_plane: ControlPlaneConfig::at(""),
            http,
            upstream,
            stream,
            packet,
            broker,
            drain_timeout,
            drain_delay,
            log,
            log_level,
            trusted_proxies,
        }
    }
}

impl Draft {
    /// The configuration as a file that says the same, each line with the place that its value comes from. Without the
    /// credentials of the Redis URL.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text: String = options::all().map(|setting| self.toml_line(setting)).collect();
        for route in &self.routes {
            text.push_str("\n[[route]]\n");
            for (key, written) in &route.lines {
                text.push_str(&format!("{key} = {} # {}\n", toml_value(&written.text), written.origin));
            }
        }
        text
    }

    fn toml_line(&self, setting: &'static Setting) -> String {
        let values: Vec<_> = setting.field.show(&self.raw).iter().map(|text| toml_value(text)).collect();
        let value = match (setting.field.repeats(), values.first()) {
            (true, _) => format!("[{}]", values.join(", ")),
            (false, Some(value)) => value.clone(),
            (false, None) => return format!("# {} is not set\n", setting.key()),
        };
        let origin = match self.origins.first(setting.name) {
            Origin::Default { .. } => "default".to_owned(),
            origin => origin.to_string(),
        };
        format!("{} = {value} # {origin}\n", setting.key())
    }

    fn apply(&mut self, assignment: &Assignment, problems: &mut Vec<Problem>) {
        let Assignment { setting, values, complete } = assignment;
        let mut raw = self.raw.clone();
        match setting.field.write(&mut raw, values) {
            Ok(origins) if *complete => {
                self.raw = raw;
                self.origins.replace(setting.name, origins);
            }
            Ok(_) => {}
            Err(found) => problems.extend(found),
        }
    }
}

/// A text as TOML's number or boolean if it is one, as its string otherwise.
fn toml_value(text: &str) -> String {
    let plain = text.parse::<bool>().is_ok() || text.parse::<i64>().is_ok_and(|number| number.to_string() == text);
    if plain { text.to_owned() } else { toml::Value::from(text).to_string() }
}

impl Origins {
    /// Where the option's first value stands.
    #[must_use]
    pub fn first(&self, name: &'static str) -> Origin {
        self.at(name, 0)
    }

    /// Where the option's value number `index` stands.
    #[must_use]
    pub fn at(&self, name: &'static str, index: usize) -> Origin {
        let Self(origins) = self;
        origins.get(name).and_then(|found| found.get(index)).cloned().unwrap_or(Origin::Default { name })
    }

    fn replace(&mut self, name: &'static str, origins: Vec<Origin>) {
        self.0.insert(name, origins);
    }
}

#[cfg(test)]
mod tests;
