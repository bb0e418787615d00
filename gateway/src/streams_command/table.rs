//! The table: its order, and its text.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Duration;

use super::ask::Told;
use super::screen::Line;

/// Lines of the screen that are no streams: the status, the heading, the keys.
const OTHER_LINES: usize = 3;

const KEYS: &str = "left/right: sort by  r: reverse  up/down, page, home/end: scroll  q: quit";

/// What can be told of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Column {
    /// Its number.
    Id,
    /// The sandbox.
    Sandbox,
    /// The client's address.
    Client,
    /// The pod's address.
    Endpoint,
    /// Who moves its bytes.
    Engine,
    /// Bytes from the client.
    Up,
    /// Bytes from the pod.
    Down,
    /// Bytes per second, both directions together.
    Rate,
    /// Since the 101.
    Age,
    /// Since the last byte.
    Idle,
}

impl Column {
    const ALL: [Self; 10] = [
        Self::Id,
        Self::Sandbox,
        Self::Client,
        Self::Endpoint,
        Self::Engine,
        Self::Up,
        Self::Down,
        Self::Rate,
        Self::Age,
        Self::Idle,
    ];

    const fn heading(self) -> &'static str {
        match self {
            Self::Id => "ID",
            Self::Sandbox => "SANDBOX",
            Self::Client => "CLIENT",
            Self::Endpoint => "ENDPOINT",
            Self::Engine => "ENGINE",
            Self::Up => "UP",
            Self::Down => "DOWN",
            Self::Rate => "RATE",
            Self::Age => "AGE",
            Self::Idle => "IDLE",
        }
    }

    /// Numbers stand below each other's ends.
    const fn is_number(self) -> bool {
        matches!(self, Self::Id | Self::Up | Self::Down | Self::Rate | Self::Age | Self::Idle)
    }
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) column: Column,
    pub(super) descending: bool,
}

/// Another view of the same streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    ColumnBefore,
    ColumnAfter,
    Reverse,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

struct Row {
    told: Told,
    /// Bytes per second since the gateway was asked before.
    rate: f64,
}

/// The streams in their order.
pub(super) struct Table {
    rows: Vec<Row>,
    order: Order,
    first: usize,
}

impl Table {
    pub(super) fn new(streams: Vec<Told>, order: Order) -> Self {
        let rows = streams.into_iter().map(|told| Row { told, rate: 0.0 }).collect();
        let mut table = Self { rows, order, first: 0 };
        table.sort();
        table
    }

    /// What is so now, some time after what was.
    pub(super) fn update(&mut self, streams: Vec<Told>, after: Duration) {
        let bytes = |told: &Told| told.bytes_up + told.bytes_down;
        let before: HashMap<u64, u64> = self.rows.iter().map(|row| (row.told.id, bytes(&row.told))).collect();
        #[expect(clippy::cast_precision_loss, reason = "the loss begins at 2^53")]
        let rate = |told: &Told| {
            let moved = before.get(&told.id).map_or(0, |&before| bytes(told).saturating_sub(before));
            moved as f64 / after.as_secs_f64().max(0.001)
        };
        self.rows = streams.into_iter().map(|told| Row { rate: rate(&told), told }).collect();
        self.sort();
    }

    pub(super) fn step(&mut self, step: Step, lines: usize) {
        let page = lines.saturating_sub(OTHER_LINES).max(1);
        let column = Column::ALL.iter().position(|&column| column == self.order.column).expect("ALL has every column");
        match step {
            Step::ColumnBefore => self.order.column = Column::ALL[column.saturating_sub(1)],
            Step::ColumnAfter => self.order.column = Column::ALL[(column + 1).min(Column::ALL.len() - 1)],
            Step::Reverse => self.order.descending = !self.order.descending,
            Step::Up => self.first = self.first.saturating_sub(1),
            Step::Down => self.first += 1,
            Step::PageUp => self.first = self.first.saturating_sub(page),
            Step::PageDown => self.first += page,
            Step::First => self.first = 0,
            Step::Last => self.first = self.rows.len(),
        }
        self.first = self.first.min(self.rows.len().saturating_sub(page));
        self.sort();
    }

    /// The same column, then the number: rows that are alike keep their places.
    fn sort(&mut self) {
        let Order { column, descending } = self.order;
        self.rows.sort_by(|a, b| {
            let order = compare(column, a, b);
            (if descending { order.reverse() } else { order }).then(a.told.id.cmp(&b.told.id))
        });
    }

    /// All of it, for a file or a pipe.
    pub(super) fn text(&self, total: usize) -> String {
        let columns: Vec<Column> = Column::ALL.into_iter().filter(|&column| column != Column::Rate).collect();
        let mut lines = Self::lines(&columns, &self.rows, |column| column.heading().to_owned());
        if total > self.rows.len() {
            lines.push(format!("{} of {total} streams", self.rows.len()));
        }
        lines.iter().flat_map(|line| [line.trim_end(), "\n"]).collect()
    }

    /// What fits on a screen.
    pub(super) fn screen(&self, status: &str, total: usize, columns: usize, lines: usize) -> Vec<Line> {
        let page = lines.saturating_sub(OTHER_LINES);
        let shown = self.rows.len().min(self.first + page);
        let heading = |column: Column| {
            let arrow = if self.order.descending { "v" } else { "^" };
            format!("{}{}", column.heading(), if column == self.order.column { arrow } else { "" })
        };
        let rows = &self.rows[self.first.min(shown)..shown];
        let status = format!("{total} streams at {status}, {} to {shown} here", (self.first + 1).min(shown));
        let line = |text: String, is_heading: bool| Line { text: text.chars().take(columns).collect(), is_heading };
        let mut table = Self::lines(&Column::ALL, rows, heading).into_iter();
        let head = table.next().unwrap_or_default();
        [line(status, false), line(format!("{head:columns$}"), true)]
            .into_iter()
            .chain(table.map(|text| line(text, false)))
            .chain([line(KEYS.to_owned(), false)])
            .take(lines)
            .collect()
    }

    /// The heading, and a line for each row.
    fn lines(columns: &[Column], rows: &[Row], heading: impl Fn(Column) -> String) -> Vec<String> {
        let cells: Vec<Vec<String>> = std::iter::once(columns.iter().map(|&column| heading(column)).collect())
            .chain(rows.iter().map(|row| columns.iter().map(|&column| cell(column, row)).collect()))
            .collect();
        let width = |at: usize| cells.iter().map(|line| line[at].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns.len()).map(width).collect();
        let padded = |(at, cell): (usize, &String)| {
            let width = widths[at];
            if columns[at].is_number() { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        };
        cells.iter().map(|line| line.iter().enumerate().map(padded).collect::<Vec<_>>().join("  ")).collect()
    }
}

fn compare(column: Column, a: &Row, b: &Row) -> Ordering {
    let (Row { told: one, rate }, Row { told: other, rate: other_rate }) = (a, b);
    match column {
        Column::Id => one.id.cmp(&other.id),
        Column::Sandbox => one.sandbox.cmp(&other.sandbox),
        Column::Client => one.client.cmp(&other.client),
        Column::Endpoint => one.endpoint.cmp(&other.endpoint),
        Column::Engine => one.engine.cmp(&other.engine),
        Column::Up => one.bytes_up.cmp(&other.bytes_up),
        Column::Down => one.bytes_down.cmp(&other.bytes_down),
        Column::Rate => rate.total_cmp(other_rate),
        Column::Age => one.age_seconds.total_cmp(&other.age_seconds),
        Column::Idle => one.idle_seconds.total_cmp(&other.idle_seconds),
    }
}

fn cell(column: Column, Row { told, rate }: &Row) -> String {
    match column {
        Column::Id => told.id.to_string(),
        Column::Sandbox => told.sandbox.clone(),
        Column::Client => told.client.to_string(),
        Column::Endpoint => told.endpoint.to_string(),
        Column::Engine => told.engine.clone(),
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        Column::Up => bytes(told.bytes_up as f64),
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        Column::Down => bytes(told.bytes_down as f64),
        Column::Rate => format!("{}/s", bytes(*rate)),
        Column::Age => time(told.age_seconds),
        Column::Idle => time(told.idle_seconds),
    }
}

/// Three digits and a unit.
fn bytes(count: f64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024.0 {
        return format!("{count:.0} B");
    }
    let mut count = count / 1024.0;
    let mut unit = 0;
    while count >= 1000.0 && unit + 1 < UNITS.len() {
        count /= 1024.0;
        unit += 1;
    }
    let digits = if count < 10.0 { 2 } else { usize::from(count < 100.0) };
    format!("{count:.digits$} {}", UNITS[unit])
}

/// The two units that say most.
fn time(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time since something")]
    let seconds = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m{:02}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h{minutes:02}m"),
        (days, hours, _) => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(id: u64, engine: &str, bytes_down: u64, age_seconds: f64) -> Told {
        Told {
            id,
            sandbox: format!("3757{id}"),
            client: "192.0.2.1:4000".parse().unwrap(),
            endpoint: "198.51.100.1:6080".parse().unwrap(),
            engine: engine.to_owned(),
            bytes_up: 12,
            bytes_down,
            age_seconds,
            idle_seconds: 0.4,
        }
    }

    fn table(column: Column, descending: bool) -> Table {
        let streams =
            vec![told(1, "packet", 5_000_000, 7300.0), told(2, "copy", 100, 59.0), told(3, "packet", 100, 61.0)];
        Table::new(streams, Order { column, descending })
    }

    fn ids(table: &Table) -> Vec<u64> {
        table.rows.iter().map(|row| row.told.id).collect()
    }

    #[test]
    fn the_text_has_a_line_for_each_stream_below_its_heading() {
        let text = table(Column::Id, false).text(3);
        assert_eq!(
            text,
            "ID  SANDBOX  CLIENT          ENDPOINT           ENGINE    UP      DOWN    AGE  IDLE\n \
             1  37571    192.0.2.1:4000  198.51.100.1:6080  packet  12 B  4.77 MiB  2h01m    0s\n \
             2  37572    192.0.2.1:4000  198.51.100.1:6080  copy    12 B     100 B    59s    0s\n \
             3  37573    192.0.2.1:4000  198.51.100.1:6080  packet  12 B     100 B  1m01s    0s\n"
        );
        assert!(table(Column::Id, false).text(4).ends_with("3 of 4 streams\n"));
    }

    #[test]
    fn every_column_sorts_either_way_and_what_is_alike_stays_in_its_place() {
        assert_eq!(ids(&table(Column::Down, false)), [2, 3, 1]);
        assert_eq!(ids(&table(Column::Down, true)), [1, 2, 3]);
        assert_eq!(ids(&table(Column::Engine, false)), [2, 1, 3]);
        assert_eq!(ids(&table(Column::Age, true)), [1, 3, 2]);
        for column in Column::ALL {
            assert_eq!(ids(&table(column, false)).len(), 3);
        }
    }

    #[test]
    fn a_rate_is_what_came_since() {
        let mut table = table(Column::Rate, true);
        table.update(
            vec![told(1, "packet", 5_000_000, 0.0), told(2, "copy", 4196, 0.0), told(4, "copy", 9, 0.0)],
            Duration::from_secs(2),
        );
        assert_eq!(ids(&table), [2, 1, 4]);
        assert_eq!(cell(Column::Rate, &table.rows[0]), "2.00 KiB/s");
    }

    #[test]
    fn a_small_screen_shows_a_part_and_can_be_scrolled() {
        let mut table = table(Column::Id, false);
        let shown = |table: &Table| table.screen("here", 3, 20, 5);
        let lines = shown(&table);
        assert_eq!(lines.len(), 5);
        assert!(lines.iter().all(|line| line.text.chars().count() <= 20));
        assert_eq!((lines[1].is_heading, &lines[1].text[..3]), (true, "ID^"));
        assert!(lines[2].text.trim_start().starts_with("1 "));
        table.step(Step::Last, 5);
        assert!(shown(&table)[2].text.trim_start().starts_with("2 "));
        table.step(Step::Down, 5);
        assert!(shown(&table)[2].text.trim_start().starts_with("2 "), "beyond the end");
        table.step(Step::First, 5);
        table.step(Step::Reverse, 5);
        assert!(shown(&table)[2].text.trim_start().starts_with("3 "));
        assert_eq!(table.screen("here", 3, 80, 2).len(), 2);
        assert!(table.screen("here", 3, 0, 0).is_empty());
    }

    #[test]
    fn numbers_have_three_digits_and_times_two_units() {
        let shown = [0.0, 1023.0, 1024.0, 1_048_576.0 * 12.34, 1.5e12, 1e18].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.00 KiB", "12.3 MiB", "1.36 TiB", "909495 TiB"]);
        assert_eq!([0.9, 61.0, 3660.0, 90_000.0, -1.0].map(time), ["0s", "1m01s", "1h01m", "1d01h", "0s"]);
    }
}
