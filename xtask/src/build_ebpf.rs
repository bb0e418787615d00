//! Builds the kernel side, so that nobody else needs its toolchain: the object is committed, with a record of what
//! built it.

mod toolchain;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::cargo::{self, checkout, succeed};
use toolchain::Toolchain;

/// How to build.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write nothing, and fail if the committed object is not what this source gives.
    #[arg(long)]
    check: bool,
}

/// Builds the kernel side, after installing what that takes, and writes the object or compares it with the committed
/// one.
///
/// # Errors
///
/// When something cannot be installed or built, and with `--check` also when the committed object is out of date.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let toolchain = Toolchain::ensure()?;
    let checkout = checkout();
    let staging = staging(checkout)?;
    let object = build(checkout, staging.path())?;
    let fresh = Record { sha256: sha256(&object)?, toolchain };
    if options.check {
        return check(checkout, &object, &fresh);
    }
    let committed = checkout.join(OBJECT);
    fs::copy(&object, &committed).with_context(|| format!("cannot write {}", committed.display()))?;
    fresh.write(checkout)?;
    eprintln!("wrote {OBJECT} and {RECORD}; commit both");
    Ok(())
}

/// What the gateway embeds, relative to the checkout.
const OBJECT: &str = "gateway-ebpf/gateway.bpf.o";

/// Describes [`OBJECT`].
const RECORD: &str = "gateway-ebpf/gateway.bpf.toml";

const TARGET: &str = "bpfel-unknown-none";

/// A folder whose name has the same length on every machine, with the real target folder linked into it.
///
/// LLVM writes some types into the BTF in the order of their addresses in the linker's heap (`FixupDerivedTypes` in
/// BTFDebug.cpp), and the lengths of the paths on the linker's command line shift the heap. Two checkouts whose folders
/// differ in length would give two objects.
fn staging(checkout: &Path) -> anyhow::Result<tempfile::TempDir> {
    let target = checkout.join("gateway-ebpf/target");
    fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
    // Not the folder that TMPDIR names, for the same reason.
    let staging = tempfile::Builder::new().prefix("gateway-ebpf-").tempdir_in("/tmp")?;
    symlink(&target, staging.path().join("target")).context("cannot link the target folder into /tmp")?;
    Ok(staging)
}

/// Returns the path of the stripped object.
fn build(checkout: &Path, staging: &Path) -> anyhow::Result<PathBuf> {
    let cargo = |task: &str| {
        let mut cargo = cargo::command(task);
        cargo.current_dir(checkout.join("gateway-ebpf"));
        cargo
    };
    // The registry's folder has to be there before its name can be kept out of the object.
    succeed(&mut cargo("fetch"))?;
    let target = staging.join("target");
    succeed(
        cargo("build")
            .args(["--release", "--target", TARGET, "--target-dir"])
            .arg(&target)
            .env("RUSTC", toolchain::RUSTC)
            // Inline assembly for BPF is not stable; the compiler itself is.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTC_WRAPPER", "")
            .env("CARGO_ENCODED_RUSTFLAGS", rustflags(checkout)?)
            .env("PATH", toolchain::search_path()?)
            // The bindings would otherwise be those of the building machine. No program looks at registers, so any will
            // do.
            .env("AYA_BPF_TARGET_ARCH", "x86_64"),
    )?;
    let object = staging.join("gateway.bpf.o");
    // What stays is the BTF, which the kernel wants and the debug information was only there to give.
    succeed(
        Command::new(toolchain::LLVM_STRIP)
            .arg("--strip-debug")
            .arg("-o")
            .arg(&object)
            .arg(target.join(TARGET).join("release/gateway")),
    )?;
    Ok(object)
}

/// Flags in cargo's encoded form, where paths may hold spaces. No path of the building machine gets into the object.
fn rustflags(checkout: &Path) -> anyhow::Result<OsString> {
    let mut flags: Vec<OsString> = ["-Clinker=bpf-linker", "-Clink-arg=--btf", "-Cpanic=abort"].map(Into::into).into();
    flags.push(remap(checkout, "/splicegate"));
    let registries = toolchain::cargo_home()?.join("registry/src");
    for registry in fs::read_dir(&registries).with_context(|| format!("cannot read {}", registries.display()))? {
        flags.push(remap(&registry?.path(), "/registry"));
    }
    Ok(flags.join(OsStr::new("\x1f")))
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}

fn check(checkout: &Path, object: &Path, fresh: &Record) -> anyhow::Result<()> {
    let committed = Record::read(checkout)?;
    ensure!(
        committed.sha256 == sha256(&checkout.join(OBJECT))?,
        "{OBJECT} is not the object that {RECORD} describes; run `cargo xtask build-ebpf` and commit both"
    );
    if committed.toolchain != fresh.toolchain {
        eprintln!("another toolchain built {OBJECT}, so bytes cannot be compared; loading a fresh object instead");
        eprintln!("recorded: {:?}", committed.toolchain);
        eprintln!("present:  {:?}", fresh.toolchain);
        return load(object);
    }
    ensure!(
        committed.sha256 == fresh.sha256,
        "{OBJECT} is not what this source gives; run `cargo xtask build-ebpf` and commit both files"
    );
    eprintln!("{OBJECT} is what this source gives");
    Ok(())
}

/// Runs the gateway's own tests of the loaded programs on `object`. They say so when the capability to load is not
/// there.
fn load(object: &Path) -> anyhow::Result<()> {
    succeed(
        cargo::command("test")
            .args(["--package", "gateway", "--lib", "bpf::", "--", "--nocapture"])
            .env("GATEWAY_TEST_BPF_OBJECT", object)
            // Under CI the tests would insist on the capability, but this check may run in a build container.
            .env_remove("CI"),
    )
}

/// What is known about the committed object.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Record {
    sha256: String,
    toolchain: Toolchain,
}

impl Record {
    fn read(checkout: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(checkout.join(RECORD)).with_context(|| format!("cannot read {RECORD}"))?;
        toml::from_str(&text).with_context(|| format!("cannot understand {RECORD}"))
    }

    fn write(&self, checkout: &Path) -> anyhow::Result<()> {
        let text = format!("# What `cargo xtask build-ebpf` made gateway.bpf.o with.\n{}", toml::to_string(self)?);
        fs::write(checkout.join(RECORD), text).with_context(|| format!("cannot write {RECORD}"))
    }
}

/// In hexadecimal, by coreutils.
fn sha256(file: &Path) -> anyhow::Result<String> {
    let line = toolchain::output(Command::new("sha256sum").arg("--").arg(file))?;
    let (sum, _) = line.split_once(' ').context("sha256sum printed no sum")?;
    Ok(sum.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_describes_the_committed_object() {
        let record = Record::read(checkout()).unwrap();
        assert_eq!(record.sha256, sha256(&checkout().join(OBJECT)).unwrap());
    }

    #[test]
    fn the_committed_object_names_no_folder_of_a_machine() {
        let object = fs::read(checkout().join(OBJECT)).unwrap();
        for folder in ["/home/", "/root/", "/tmp/", "registry/src"] {
            assert!(!object.windows(folder.len()).any(|window| window == folder.as_bytes()), "{folder} is in {OBJECT}");
        }
    }

    #[test]
    fn the_staging_folder_has_a_name_of_fixed_length() {
        let checkout = tempfile::tempdir().unwrap();
        let staging = staging(checkout.path()).unwrap();
        assert_eq!(staging.path().as_os_str().len(), "/tmp/gateway-ebpf-123456".len());
    }
}
