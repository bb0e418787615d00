//! Debian packages that a task needs: found missing, named aloud, installed.

use std::io::ErrorKind;
use std::process::Command;

use anyhow::{Context as _, bail};

/// Makes sure that every one of `packages` is installed, and installs those that are not.
///
/// Prints what is missing before it touches the machine. `sudo` is asked for only when the caller is not root, so that
/// a container needs none. Nothing is downloaded when nothing is missing.
///
/// # Errors
///
/// On a machine without `apt-get`, and when `apt-get` fails; both name the packages that are still to be installed.
pub(crate) fn ensure(packages: &[&str]) -> anyhow::Result<()> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing Debian packages that this task needs: {}", missing.join(" "));
    // The package lists of a fresh container or cloud image are empty or months old.
    apt_get(&["update", "--quiet"], &missing)?;
    apt_get(&[&INSTALL[..], &missing].concat(), &missing)
}

/// Makes sure that as many of `packages` are installed as can be had, and says why the others are not.
pub(crate) fn ensure_most(packages: &[&str]) -> Vec<anyhow::Error> {
    let Err(all) = ensure(packages) else { return Vec::new() };
    let Ok(missing) = missing(packages) else { return vec![all] };
    // apt-get installs none of them where it does not know one.
    let alone = |package: &&str| apt_get(&[&INSTALL[..], &[package]].concat(), &[package]);
    missing.iter().filter_map(|package| alone(package).err()).collect()
}

const INSTALL: [&str; 4] = ["install", "--yes", "--no-install-recommends", "--quiet"];

/// Those of `packages` that dpkg does not know as installed, in the given order.
fn missing<'a>(packages: &[&'a str]) -> anyhow::Result<Vec<&'a str>> {
    // dpkg-query exits with 1 as soon as one name is unknown, and still prints the others, so only its output counts.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${db:Status-Status} ${Package}\n", "--"])
        .args(packages)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(
                "this machine has no dpkg, so xtask cannot install packages; install the equivalents of {} yourself",
                packages.join(" ")
            )
        }
        Err(error) => return Err(error).context("cannot run dpkg-query"),
    };
    Ok(not_installed(packages, &String::from_utf8_lossy(&output.stdout)))
}

/// `listing` has one `STATUS PACKAGE` per line. A package that was removed but not purged is listed as `config-files`.
fn not_installed<'a>(packages: &[&'a str], listing: &str) -> Vec<&'a str> {
    let installed: Vec<&str> = listing.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
    packages.iter().copied().filter(|package| !installed.contains(package)).collect()
}

fn apt_get(arguments: &[&str], missing: &[&str]) -> anyhow::Result<()> {
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    } else {
        // sudo drops the environment, so the variable goes on its command line.
        let mut command = Command::new("sudo");
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command
    };
    // A fresh cloud machine spends its first minutes on upgrades of its own.
    command.args(["-o", "DPkg::Lock::Timeout=120"]);
    let status = command.args(arguments).status().with_context(|| {
        format!("cannot run {}; install {} yourself", command.get_program().to_string_lossy(), missing.join(" "))
    })?;
    if !status.success() {
        bail!("apt-get {} failed ({status}); these packages are missing: {}", arguments[0], missing.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_dpkg_calls_installed_counts() {
        let listing = "installed llvm-22-dev\nconfig-files redis-server\nnot-installed socat\n";
        assert_eq!(
            not_installed(&["llvm-22-dev", "redis-server", "socat", "tigervnc"], listing),
            ["redis-server", "socat", "tigervnc"]
        );
    }

    #[test]
    fn a_name_that_is_the_start_of_another_is_missing() {
        assert_eq!(not_installed(&["llvm-22"], "installed llvm-22-dev\n"), ["llvm-22"]);
    }
}
