//! The files of several noVNC versions, from package registries alone, under `target/novnc/`.
//!
//! Debian's packages carry the whole application; npm's carries only the library (`core/`, `vendor/`), and no package
//! on npm or PyPI carries the application of a version after 1.3.0. The packages are unpacked, not installed: a machine
//! has one noVNC at most, and here several serve side by side.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use gateway_tests::novnc::NoVnc;
use tempfile::TempDir;

use crate::npm::{self, run};

/// Makes sure that the files of `version` are in their place, and fetches them if they are not.
///
/// # Errors
///
/// When a registry cannot be reached, or the distribution is neither Debian nor Ubuntu.
pub(crate) fn ensure(version: NoVnc) -> anyhow::Result<PathBuf> {
    let place = version.directory()?;
    if place.join("index.html").is_file() {
        return Ok(place);
    }
    eprintln!("fetching the files of {version} into {}", place.display());
    let parent = place.parent().context("a directory below target")?;
    fs::create_dir_all(parent)?;
    // Beside the final place, so that publishing is one rename.
    let scratch = TempDir::new_in(parent)?;
    let files = match version {
        NoVnc::V1_3_0 | NoVnc::V1_6_0 => debian_package(scratch.path(), version)?,
        NoVnc::V1_7_0 => engine_from_npm(scratch.path(), version, &ensure(NoVnc::V1_6_0)?)?,
    };
    // A pod's start page: `GET /` must be the page and not a listing.
    fs::copy(files.join("vnc.html"), files.join("index.html")).context("the package has no vnc.html")?;
    fs::rename(&files, &place).with_context(|| format!("cannot publish {}", place.display()))?;
    Ok(place)
}

/// Where a distribution has a version: the suite and component that hold it, and who signs them.
struct Origin {
    suite: &'static str,
    component: &'static str,
    keyring: &'static str,
}

const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const UBUNTU_KEYRING: &str = "/usr/share/keyrings/ubuntu-archive-keyring.gpg";

fn origin(distribution: &str, version: NoVnc) -> anyhow::Result<Origin> {
    let (suite, component, keyring) = match (distribution, version) {
        ("debian", NoVnc::V1_3_0) => ("bookworm", "main", DEBIAN_KEYRING),
        ("debian", _) => ("trixie", "main", DEBIAN_KEYRING),
        ("ubuntu", NoVnc::V1_3_0) => ("noble", "universe", UBUNTU_KEYRING),
        ("ubuntu", _) => ("resolute", "universe", UBUNTU_KEYRING),
        _ => bail!("{version} is fetched from Debian or Ubuntu, and this is '{distribution}'"),
    };
    Ok(Origin { suite, component, keyring })
}

/// Downloads the package with an apt whose sources and lists are its own: the machine's are neither used up nor
/// changed.
fn debian_package(scratch: &Path, version: NoVnc) -> anyhow::Result<PathBuf> {
    let release = fs::read_to_string("/etc/os-release").context("cannot tell the distribution")?;
    let Origin { suite, component, keyring } = origin(os_release(&release, "ID")?, version)?;
    let mirror = mirror(os_release(&release, "VERSION_CODENAME")?)?;
    fs::create_dir_all(scratch.join("lists/partial"))?;
    fs::create_dir_all(scratch.join("cache/archives/partial"))?;
    fs::write(scratch.join("sources.list"), format!("deb [signed-by={keyring}] {mirror} {suite} {component}\n"))?;
    private_apt(scratch, &["update", "--quiet=2"])?;
    private_apt(scratch, &["download", "--quiet=2", "novnc"])?;
    let package = npm::only_file(scratch, "deb")?;
    let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
    ensure!(name.contains(version.version()), "{suite} has {name}, not {version}");
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(scratch.join("root")))?;
    Ok(scratch.join("root/usr/share/novnc"))
}

/// The application in `application` over the engine of the npm package, whose integrity npm checks.
fn engine_from_npm(scratch: &Path, version: NoVnc, application: &Path) -> anyhow::Result<PathBuf> {
    let package = npm::unpack(&format!("@novnc/novnc@{}", version.version()), &scratch.join("npm"))?;
    let files = scratch.join("files");
    run(Command::new("cp").arg("-R").arg(application).arg(&files))?;
    for part in ["core", "vendor"] {
        fs::remove_dir_all(files.join(part))?;
        fs::rename(package.join(part), files.join(part))?;
    }
    // The page shows the version that it finds there.
    fs::rename(package.join("package.json"), files.join("package.json"))?;
    Ok(files)
}

fn private_apt(scratch: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    let directory = scratch.display();
    for option in [
        format!("Dir::Etc::SourceList={directory}/sources.list"),
        "Dir::Etc::SourceParts=-".to_owned(),
        format!("Dir::State::Lists={directory}/lists"),
        format!("Dir::Cache={directory}/cache"),
        // Only the package index: software catalogues and translations are larger than it.
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        "Acquire::Languages=none".to_owned(),
        // The sandbox user may not write below a developer's checkout.
        "APT::Sandbox::User=root".to_owned(),
    ] {
        command.arg("-o").arg(option);
    }
    // `download` writes to the current directory.
    run(command.args(arguments).current_dir(scratch))
}

/// The archive from which this machine's apt takes the release it runs.
fn mirror(codename: &str) -> anyhow::Result<String> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"])
        .output()
        .context("cannot run apt-get")?;
    let listing = String::from_utf8_lossy(&output.stdout);
    let found = listing.lines().find_map(|line| line.strip_prefix(codename)?.strip_prefix(' '));
    Ok(found.with_context(|| format!("apt has no source for {codename}"))?.to_owned())
}

/// The value of `key` in the text of `/etc/os-release`, which may be quoted (os-release(5)).
fn os_release<'a>(text: &'a str, key: &str) -> anyhow::Result<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    Ok(line.with_context(|| format!("/etc/os-release has no {key}"))?.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_values_may_be_quoted() {
        let text =
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\nVERSION_CODENAME=bookworm\n";
        assert_eq!(os_release(text, "ID").unwrap(), "debian");
        assert_eq!(os_release(text, "VERSION_ID").unwrap(), "12");
        assert!(os_release(text, "ID_LIKE").is_err());
    }
}
