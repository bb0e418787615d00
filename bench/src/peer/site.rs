//! Where one run of a peer has its files, and how they are written.

use std::any::Any;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use gateway_tests::process;
use tempfile::TempDir;

use crate::subject::Scene;

/// A directory, an address to listen on, and what is to be served.
pub(super) struct Site<'a> {
    pub(super) directory: TempDir,
    pub(super) listen: SocketAddr,
    pub(super) scene: &'a Scene<'a>,
}

/// How a program is started.
pub(super) struct Launch {
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    /// What it needs while it runs, such as a Redis.
    pub(super) parts: Box<dyn Any>,
}

impl Launch {
    pub(super) fn new(arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { arguments, environment: Vec::new(), parts: Box::new(()) }
    }
}

impl<'a> Site<'a> {
    /// An empty directory and a port that is free on loopback, and so in a namespace of its own on every address.
    pub(super) fn new(scene: &'a Scene<'a>) -> Result<Self> {
        let directory = TempDir::with_prefix("gateway-bench-")?;
        let listen = SocketAddr::new(scene.listen, process::free_address()?.port());
        Ok(Self { directory, listen, scene })
    }

    /// A file's full name in the directory of this run.
    pub(super) fn path(&self, file: &str) -> String {
        self.directory.path().join(file).display().to_string()
    }

    /// Writes `template` as `file`, with the values of this run and those of `more` in the places of `{{name}}`.
    pub(super) fn write(&self, file: &str, template: &str, more: &[(&str, String)]) -> Result<()> {
        let mut values = vec![
            ("dir", self.directory.path().display().to_string()),
            ("listen", self.listen.to_string()),
            ("workers", self.scene.workers.to_string()),
        ];
        values.extend(more.iter().cloned());
        let text = fill(template, &values).with_context(|| format!("fill in {file}"))?;
        fs::write(self.directory.path().join(file), text).with_context(|| format!("write {file}"))
    }

    /// One piece of text for each sandbox: of its pod's number, its name, and its pod's address.
    pub(super) fn lines(&self, line: impl Fn(usize, &str, SocketAddr) -> String) -> String {
        let directory = self.scene.directory().enumerate();
        directory.map(|(index, (sandbox, pod))| line(index % self.scene.pods.len(), &sandbox, pod)).collect()
    }
}

/// Whether there is a file of this full name.
pub(super) fn exists(file: &str) -> bool {
    Path::new(file).is_absolute() && Path::new(file).exists()
}

fn fill(template: &str, values: &[(&str, String)]) -> Result<String> {
    let mut filled = String::with_capacity(template.len());
    let mut pieces = template.split("{{");
    filled.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (name, text) = piece.split_once("}}").context("`{{` without `}}`")?;
        // The word for all of them in the comments of the templates.
        let value = values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        ensure!(value.is_some() || name == "names", "nobody has said what {{{{{name}}}}} is");
        write!(filled, "{}{text}", value.unwrap_or("Names in braces"))?;
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_values_and_unknown_ones_are_refused() {
        let values = [("port", "80".to_owned()), ("dir", "/d".to_owned())];
        assert_eq!(fill("a {{port}} b {{dir}}/x { y }", &values).unwrap(), "a 80 b /d/x { y }");
        assert!(fill("{{host}}", &values).is_err());
        assert!(fill("{{port", &values).is_err());
    }
}
