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
