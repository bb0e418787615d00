//! The live streams as a small table in the terminal.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use gateway_tests::gateway::Gateway;
use serde_json::Value;

/// Into a file or a pipe the table is written this seldom, and never over itself.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Draws the table over itself on a terminal.
pub(crate) struct Counters {
    out: io::Stdout,
    on_terminal: bool,
    lines_drawn: usize,
    drawn_at: Option<Instant>,
    /// Bytes from the pod, by stream, at the last drawing.
    down_before: HashMap<u64, u64>,
}

impl Counters {
    pub(crate) fn new(out: io::Stdout) -> Self {
        let on_terminal = out.is_terminal();
        Self { out, on_terminal, lines_drawn: 0, drawn_at: None, down_before: HashMap::new() }
    }

    /// Asks the gateway's admin port and draws what it says.
    pub(crate) fn show(&mut self, gateway: &Gateway) -> anyhow::Result<()> {
        let elapsed = self.drawn_at.map(|at| at.elapsed());
        if !self.on_terminal && elapsed.is_some_and(|elapsed| elapsed < PLAIN_INTERVAL) {
            return Ok(());
        }
        let streams = gateway.streams()?;
        let connections = gateway.metric("gateway_connections_open", &[])?;
        let requests = gateway.metric("gateway_http_requests_total", &[])?;
        let mut table = format!("connections {connections}, requests {requests}, streams {}\n", streams.len());
        if !streams.is_empty() {
            writeln!(
                table,
                "{:>8} {:>8} {:>12} {:>12} {:>12} {:>7}",
                "sandbox", "engine", "bytes up", "bytes down", "down/s", "age"
            )?;
        }
        for stream in &streams {
            writeln!(table, "{}", self.row(stream, elapsed))?;
        }
        self.draw(&table)?;
        self.down_before = streams.iter().map(|stream| (number(stream, "id"), number(stream, "bytes_down"))).collect();
        self.drawn_at = Some(Instant::now());
        Ok(())
    }

    fn row(&self, stream: &Value, elapsed: Option<Duration>) -> String {
        let text = |field: &str| stream[field].as_str().unwrap_or("?").to_owned();
        let down = number(stream, "bytes_down");
        let before = self.down_before.get(&number(stream, "id")).copied().unwrap_or(down);
        let millis = elapsed.map_or(0, |elapsed| elapsed.as_millis()).max(1);
        let rate = u128::from(down.saturating_sub(before)) * 1000 / millis;
        let age = stream["age_seconds"].as_f64().unwrap_or_default();
        format!(
            "{:>8} {:>8} {:>12} {down:>12} {rate:>12} {age:>6.0}s",
            text("sandbox"),
            text("engine"),
            number(stream, "bytes_up"),
        )
    }

    fn draw(&mut self, table: &str) -> io::Result<()> {
        let Self { out, on_terminal, lines_drawn, .. } = self;
        if *on_terminal && *lines_drawn > 0 {
            // Up to the first line of the table, and erase from there (ECMA-48: CUU, ED).
            write!(out, "\x1b[{lines_drawn}A\x1b[J")?;
        }
        *lines_drawn = table.lines().count();
        out.write_all(table.as_bytes())?;
        out.flush()
    }
}

fn number(stream: &Value, field: &str) -> u64 {
    stream[field].as_u64().unwrap_or_default()
}
