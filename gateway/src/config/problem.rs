//! What is wrong with a configuration, and where it stands.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Everything that is wrong, in the order in which an operator reads: file by line, then environment, then flags. Never
/// empty.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read, or is no UTF-8 text.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{}:{line}: {reason}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Which line, counted from 1.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// No option has this name.
    #[error("{origin}: unknown option{}", did_you_mean(suggestion.as_deref()))]
    Unknown {
        /// Where the name stands.
        origin: Origin,
        /// The option that was probably meant.
        suggestion: Option<String>,
    },
    /// A value that its option cannot have, by itself or beside the others.
    #[error("{origin}: {reason}")]
    BadValue {
        /// Where the value stands.
        origin: Origin,
        /// What would have been right.
        reason: String,
    },
    /// A host name without an address.
    #[error("{origin}: no address for host '{host}': {reason}")]
    Unresolved {
        /// Where the name stands.
        origin: Origin,
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// Two options that exclude each other.
    #[error("{origin}: conflicts with {other}: {reason}")]
    Conflict {
        /// Where the one stands.
        origin: Origin,
        /// Where the other stands.
        other: Origin,
        /// Why they exclude each other.
        reason: &'static str,
    },
}

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere: the program's own value.
    Default {
        /// The option's name.
        name: &'static str,
    },
    /// In the configuration file.
    File {
        /// Which file.
        path: PathBuf,
        /// Which line, counted from 1.
        line: usize,
        /// The key, with its table's name if it is in one.
        key: String,
    },
    /// In an environment variable.
    Variable {
        /// The variable's name.
        name: String,
    },
    /// On the command line.
    Flag {
        /// The option's name.
        name: &'static str,
    },
}

impl Problems {
    /// The problems in reading order, or nothing if there are none.
    pub fn found(mut problems: Vec<Problem>) -> Result<(), Self> {
        problems.sort_by_cached_key(Problem::origin);
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }
}

impl Problem {
    /// Where it stands; line 0 is the file as a whole.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self {
            Self::Unreadable { path, .. } => Origin::File { path: path.clone(), line: 0, key: String::new() },
            Self::Syntax { path, line, .. } => Origin::File { path: path.clone(), line: *line, key: String::new() },
            Self::Unknown { origin, .. }
            | Self::BadValue { origin, .. }
            | Self::Unresolved { origin, .. }
            | Self::Conflict { origin, .. } => origin.clone(),
        }
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(problems) = self;
        for (index, problem) in problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default { name } => write!(f, "default of --{name}"),
            Self::File { path, line, key } => write!(f, "{}:{line}: {key}", path.display()),
            Self::Variable { name } => f.write_str(name),
            Self::Flag { name } => write!(f, "--{name}"),
        }
    }
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!("; did you mean '{name}'?"))
}
