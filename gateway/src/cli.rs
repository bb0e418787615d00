//! The command line: what can be asked of the program, and what each request does.
//!
//! Exit codes: 0 done, 1 failed while running, 2 no such command or flag (clap), 78 wrong configuration (`EX_CONFIG` of
//! sysexits.h).

mod flags;

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{CommandFactory, Parser, Subcommand};

use crate::auth::Scope;
use crate::bpf::splicer::flush::{self, Flushed};
use crate::config::kind;
use crate::config::problem::Problems;
use crate::config::raw::{self, Layers};
use crate::config::resolve::system_lookup;
use crate::config::{Config, DirectoryConfig, RedisConfig, table};
use crate::metrics;
use crate::probe;
use crate::route::SandboxId;
use crate::routes_command::{self, RoutesAction};
use crate::serve;
use crate::streams_command::{self, StreamsArguments};

pub use flags::{AdminFlags, DirectoryFlags, EveryFlag, StateFlags};

const EXIT_RUNTIME: u8 = 1;
/// `EX_CONFIG` of sysexits.h.
const EXIT_CONFIG: u8 = 78;

/// A gateway for Web VNC and sandbox traffic.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked of the program. Nouns read, verbs change.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway until SIGTERM
    Serve(EveryFlag),
    /// Say what is wrong with a configuration file; host names are not looked up
    CheckConfig {
        /// The file
        file: PathBuf,
    },
    /// Print the configuration that `serve` would run with, as a file, and where each value comes from
    PrintConfig(EveryFlag),
    /// Read and change the Redis directory
    Routes(Routes),
    /// Make a token that opens one sandbox of the header source until it expires
    Token(TokenArguments),
    /// Say for each engine whether this machine can run it, and if not, what is missing
    Probe {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the live streams of a running gateway, on the screen or, without a terminal, once
    Streams {
        /// What to show
        #[command(flatten)]
        arguments: StreamsArguments,
        /// Whose streams
        #[command(flatten)]
        flags: AdminFlags,
    },
    /// Take everything out of the kernel that gateways of the packet engine left there; their streams end
    Flush {
        /// Also under gateways that run
        #[arg(long)]
        force: bool,
        /// Where that is
        #[command(flatten)]
        flags: StateFlags,
    },
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print a table of the README
    #[command(hide = true)]
    Docs {
        /// Which table
        #[command(subcommand)]
        table: DocsTable,
    },
}

/// `gateway routes`
#[derive(Debug, clap::Args)]
pub struct Routes {
    /// What to do with the directory.
    #[command(subcommand)]
    pub action: RoutesAction,
    /// Where the directory is.
    #[command(flatten)]
    pub flags: DirectoryFlags,
}

/// `gateway token`
#[derive(Debug, clap::Args)]
pub struct TokenArguments {
    /// The sandbox's name
    pub sandbox: String,
    /// The sandbox's namespace
    #[arg(long, default_value = SandboxId::DEFAULT_NAMESPACE)]
    pub namespace: String,
    /// A file with the secret that the gateway was given as --auth-secret-file
    #[arg(long, value_name = "FILE")]
    pub secret_file: PathBuf,
    /// After how long the token opens nothing any more
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = kind::DURATION_POSITIVE.parse)]
    pub expires_in: Duration,
}

/// The tables that the README takes from the code.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum DocsTable {
    /// Every option
    ConfigTable,
    /// Every metric
    MetricsTable,
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Problems),
    /// A command that needs Redis was given none.
    #[error("the directory is not in Redis: name the server with --redis URL, GATEWAY_REDIS or the file's key redis")]
    NoRedis,
    /// Something failed while running.
    #[error("{}", causes(&**.0))]
    Runtime(#[source] Box<dyn Error + Send + Sync>),
}

/// Does what was asked.
///
/// # Errors
/// Why it could not be done.
pub fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Serve(flags) => serve(configure(flags.layers())?),
        Command::CheckConfig { file } => {
            let _draft = raw::read(Layers { file: Some(file), ..Layers::default() })?;
            print("configuration OK\n")
        }
        Command::PrintConfig(flags) => print(&raw::read(flags.layers())?.to_toml()),
        Command::Routes(Routes { action, flags }) => match configure(flags.layers())?.directory {
            DirectoryConfig::Redis(redis) => routes(action, &redis),
            DirectoryConfig::Embedded(_) | DirectoryConfig::ControlPlane(_) => Err(CliError::NoRedis),
        },
        Command::Token(arguments) => token(&arguments),
        Command::Probe { json } => probe(json),
        Command::Streams { arguments, flags } => {
            let admin = raw::read(flags.layers())?.raw.admin;
            streams_command::run(&arguments, admin).map_err(CliError::runtime)
        }
        Command::Flush { force, flags } => flush(&raw::read(flags.layers())?.raw.packet.state_dir, force),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "gateway", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Command::Docs { table: DocsTable::ConfigTable } => print(&table::markdown_table()),
        Command::Docs { table: DocsTable::MetricsTable } => print(&metrics::markdown_table()),
    }
}

impl CliError {
    /// What the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::NoRedis => EXIT_CONFIG.into(),
            Self::Runtime(_) => EXIT_RUNTIME.into(),
        }
    }

    fn runtime(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Runtime(error.into())
    }
}

fn serve(config: Config) -> Result<(), CliError> {
    crate::logging::init(config.log, &config.log_level).map_err(CliError::runtime)?;
    serve::run(config).map_err(CliError::runtime)
}

fn routes(action: RoutesAction, redis: &RedisConfig) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::runtime)?;
    let mut out = Vec::new();
    let done = runtime.block_on(routes_command::run(action, redis, &mut out));
    print(&String::from_utf8_lossy(&out))?;
    done.map_err(CliError::runtime)
}

fn token(arguments: &TokenArguments) -> Result<(), CliError> {
    let TokenArguments { sandbox, namespace, secret_file, expires_in } = arguments;
    let id = SandboxId::in_namespace(namespace, sandbox).map_err(CliError::runtime)?;
    let secret = serve::secret(secret_file).map_err(CliError::runtime)?;
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + *expires_in;
    let expires = i64::try_from(expires.as_secs()).unwrap_or(i64::MAX);
    let token = secret.mint(Scope { namespace: id.namespace(), name: id.name() }, expires);
    print(&format!("{token}\n"))
}

fn probe(json: bool) -> Result<(), CliError> {
    let report = probe::probe();
    if json {
        let mut text = serde_json::to_string_pretty(&report).map_err(CliError::runtime)?;
        text.push('\n');
        print(&text)
    } else {
        print(&report.to_string())
    }
}

fn flush(state: &Path, force: bool) -> Result<(), CliError> {
    let Flushed { files, streams } = flush::flush(state, force).map_err(CliError::runtime)?;
    let removed = files.iter().map(|(kind, path)| format!("removed {kind} {}\n", path.display())).collect::<String>();
    let summary = match (files.len(), streams) {
        (0, _) => format!("nothing to remove in {}\n", state.display()),
        (files, streams) => format!("{files} files, {streams} streams\n"),
    };
    print(&(removed + &summary))
}

fn configure(layers: Layers) -> Result<Config, CliError> {
    Ok(raw::read(layers)?.resolve(&system_lookup)?)
}

/// Writes a command's result. A reader that has seen enough (`gateway routes list | head`) is no failure.
fn print(text: &str) -> Result<(), CliError> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::runtime(error)),
        _ => Ok(()),
    }
}

/// An error and what caused it, on one line. Many errors end with their cause already: it is not said twice.
fn causes(error: &(dyn Error + Send + Sync + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}
