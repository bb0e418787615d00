//! `gateway-bench keep RUN`: a run whose numbers are worth keeping goes into the repository, beside the others.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use gateway_tests::target;

/// What a kept run consists of: raw numbers, tables, and the page.
const FILES: [&str; 3] = ["results.json", "results.md", "report.html"];

/// Copies a run's folder to `bench/results/`, under its own name.
///
/// # Errors
///
/// When a run of that name is kept already: none is ever overwritten.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [folder] = arguments else { bail!("keep RUN: the folder of a run") };
    let place =
        target::directory()?.parent().context("the target directory is in the workspace")?.join("bench/results");
    let kept = keep(Path::new(folder), &place)?;
    Ok(writeln!(io::stdout(), "{}", kept.display())?)
}

fn keep(folder: &Path, place: &Path) -> Result<PathBuf> {
    let name = folder.file_name().context("a run's folder has a name")?;
    for file in FILES {
        ensure!(folder.join(file).is_file(), "{} is no run: {file} is missing", folder.display());
    }
    let kept = place.join(name);
    fs::create_dir_all(place)?;
    fs::create_dir(&kept).with_context(|| format!("{} is kept, and not overwritten", kept.display()))?;
    for file in FILES {
        fs::copy(folder.join(file), kept.join(file)).with_context(|| file.to_owned())?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_kept_whole_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let (run, place) = (directory.path().join("2026-11-25T100000Z"), directory.path().join("results"));
        fs::create_dir(&run).unwrap();
        for file in FILES {
            assert!(keep(&run, &place).is_err(), "without {file}");
            fs::write(run.join(file), file).unwrap();
        }
        let kept = keep(&run, &place).unwrap();
        assert_eq!(fs::read_to_string(kept.join("results.md")).unwrap(), "results.md");
        fs::write(run.join("results.md"), "other numbers").unwrap();
        assert!(keep(&run, &place).unwrap_err().to_string().ends_with("is kept, and not overwritten"));
        assert_eq!(fs::read_to_string(kept.join("results.md")).unwrap(), "results.md");
    }
}
