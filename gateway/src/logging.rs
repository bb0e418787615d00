//! Log lines: one format for people, one for machines, both on stderr.
//!
//! A request's and a stream's closing line are ordinary events with the targets `access` and `stream`.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::LogFormat;

/// Why no log can be written.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is no filter. `Config` has been checked, so that only other callers see this.
    #[error("log filter '{filter}' cannot be read")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else receives this process's events already.
    #[error("a log is open already")]
    Opened(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// From now on this process's events are written to stderr.
///
/// # Errors
/// A bad filter, or a second call.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LoggingError> {
    let terminal = io::stderr().is_terminal();
    let subscriber = subscriber(Layout::of(format, terminal), filter, io::stderr)?;
    Ok(tracing::subscriber::set_global_default(subscriber)?)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Human { colours: bool },
    Json,
}

impl Layout {
    fn of(format: LogFormat, terminal: bool) -> Self {
        match (format, terminal) {
            (LogFormat::Human, _) | (LogFormat::Auto, true) => Self::Human { colours: terminal },
            (LogFormat::Json, _) | (LogFormat::Auto, false) => Self::Json,
        }
    }
}

fn subscriber<W>(layout: Layout, filter: &str, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let parsed = EnvFilter::try_new(filter);
    let filter = parsed.map_err(|source| LoggingError::Filter { filter: filter.to_owned(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_span_events(FmtSpan::NONE).with_writer(writer);
    Ok(match layout {
        Layout::Human { colours } => Box::new(builder.with_ansi(colours).finish()),
        Layout::Json => {
            Box::new(builder.json().flatten_event(true).with_current_span(false).with_span_list(false).finish())
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(layout: Layout, filter: &str) -> Vec<String> {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(layout, filter, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "access", status = 101, sandbox = "37579", "request");
            tracing::debug!("a detail");
        });
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_terminal_gets_lines_for_people_and_a_pipe_gets_json() {
        let cases = [
            (LogFormat::Auto, true, Layout::Human { colours: true }),
            (LogFormat::Auto, false, Layout::Json),
            (LogFormat::Human, false, Layout::Human { colours: false }),
            (LogFormat::Json, true, Layout::Json),
        ];
        for (format, terminal, layout) in cases {
            assert_eq!(Layout::of(format, terminal), layout);
        }
    }

    #[test]
    fn json_lines_have_their_fields_at_the_top() {
        let lines = lines(Layout::Json, "info");
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            (&line["target"], &line["level"], &line["message"]),
            (&"access".into(), &"INFO".into(), &"request".into())
        );
        assert_eq!((&line["status"], &line["sandbox"]), (&101.into(), &"37579".into()));
        assert!(line["timestamp"].is_string());
    }

    #[test]
    fn the_filter_selects_by_level_and_by_target() {
        let count = |filter| lines(Layout::Human { colours: false }, filter).len();
        assert_eq!((count("debug"), count("info"), count("info,access=off"), count("error")), (2, 1, 0, 0));
        assert!(subscriber(Layout::Json, "info,=", io::sink).is_err());
    }
}
