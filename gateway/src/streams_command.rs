//! `gateway streams`: the live streams of a running gateway, as a table that stays on the screen, or once.

mod ask;
mod screen;
mod table;

use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::route::SandboxId;
use ask::Asked;
use screen::{Key, Screen};
use table::{Order, Table};

pub use ask::AskError;
pub use table::Column;

/// How often the gateway is asked while the table is on the screen.
const REFRESH: Duration = Duration::from_secs(1);

/// What to show.
#[derive(Debug, clap::Args)]
pub struct StreamsArguments {
    /// Print the streams once instead of keeping them on the screen
    #[arg(long)]
    pub once: bool,
    /// The column to sort by
    #[arg(long, value_enum, default_value_t = Column::Id)]
    pub sort: Column,
    /// The largest first
    #[arg(long)]
    pub reverse: bool,
    /// Only the streams of this sandbox
    #[arg(long, value_name = "ID")]
    pub sandbox: Option<SandboxId>,
}

/// Why the streams are not shown.
#[derive(Debug, thiserror::Error)]
pub enum StreamsError {
    /// The gateway did not tell.
    #[error("{admin}: {source}")]
    Ask {
        /// Its admin address.
        admin: SocketAddr,
        /// What it said.
        source: AskError,
    },
    /// The terminal.
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// Shows the streams of the gateway whose admin port is `admin`: on the screen until somebody has seen enough, or once
/// where there is no terminal. A reader that has seen enough is no failure.
///
/// # Errors
/// When the gateway cannot be asked at the start, or the terminal fails.
pub fn run(arguments: &StreamsArguments, admin: SocketAddr) -> Result<(), StreamsError> {
    let admin = reachable(admin);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ask = || runtime.block_on(ask::ask(admin, arguments.sandbox.as_ref()));
    let first = ask().map_err(|source| StreamsError::Ask { admin, source })?;
    let order = Order { column: arguments.sort, descending: arguments.reverse };
    let mut table = Table::new(first.streams, order);
    let (input, output) = (io::stdin(), io::stdout());
    if arguments.once || !output.is_terminal() || !input.is_terminal() {
        return match output.lock().write_all(table.text(first.total).as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        };
    }
    watch(admin, &mut table, first.total, ask)
}

/// Keeps the table on the screen. A gateway that goes away stays there with what it said last: it may come back.
fn watch(
    admin: SocketAddr,
    table: &mut Table,
    mut total: usize,
    ask: impl Fn() -> Result<Asked, AskError>,
) -> Result<(), StreamsError> {
    let mut screen = Screen::open()?;
    let mut trouble = None;
    let mut asked = Instant::now();
    loop {
        let (columns, lines) = screen.size()?;
        let status =
            trouble.as_ref().map_or_else(|| format!("{admin}"), |error: &AskError| format!("{admin}: {error}"));
        screen.draw(&table.screen(&status, total, columns, lines))?;
        match screen.key(REFRESH.saturating_sub(asked.elapsed()))? {
            Some(Key::Leave) => return Ok(()),
            Some(Key::Table(step)) => {
                table.step(step, lines);
                continue;
            }
            // Another size is another picture.
            Some(Key::Redraw) => continue,
            None => {}
        }
        match ask() {
            Ok(said) => {
                total = said.total;
                table.update(said.streams, asked.elapsed());
                trouble = None;
            }
            Err(error) => trouble = Some(error),
        }
        asked = Instant::now();
    }
}

/// Where an address to listen on is reached from this machine.
fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, admin.port())
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().expect("no column is hidden").get_name())
    }
}
