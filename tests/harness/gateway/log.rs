//! The gateway's log, read line by line from its standard error as long as it runs.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::ChildStderr;
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// All lines so far. The thread behind it ends with the pipe, that is with the program.
#[derive(Debug, Clone)]
pub(super) struct Log {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Log {
    pub(super) fn follow(stderr: ChildStderr) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = Self { lines: Arc::clone(&lines) };
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().expect("no thread panics while it holds the lines").push(line);
            }
        });
        log
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no thread panics while it holds the lines").clone()
    }

    /// The lines that are JSON, which is every line but a panic's.
    pub(super) fn records(&self) -> Vec<Value> {
        self.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The addresses that were reported as listening in `role`, in the order of the log.
    pub(super) fn listening(&self, role: &str) -> Vec<SocketAddr> {
        let records = self.records();
        let matching = records.iter().filter(|record| is_listening(record, role));
        matching.filter_map(|record| field(record, "address")?.as_str()?.parse().ok()).collect()
    }
}

/// A field of a JSON log record, whether the record is flat or has its fields under `fields`.
pub fn field<'a>(record: &'a Value, name: &str) -> Option<&'a Value> {
    record.get(name).or_else(|| record.get("fields")?.get(name))
}

fn is_listening(record: &Value, role: &str) -> bool {
    let text = |name| field(record, name).and_then(Value::as_str);
    text("message") == Some("listening") && text("role") == Some(role)
}
