//! The compiler and the linker for the kernel side: Debian's, because it ships a `core` for BPF and a matching LLVM.

use std::env;
use std::ffi::OsString;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::{apt, cargo};

/// By its path, since the one that comes first in `PATH` is usually rustup's and has no `core` for BPF.
pub(super) const RUSTC: &str = "/usr/bin/rustc";

pub(super) const LLVM_STRIP: &str = "/usr/lib/llvm-22/bin/llvm-strip";

const LLVM_CONFIG: &str = "/usr/lib/llvm-22/bin/llvm-config";

/// The same LLVM release as the compiler's: the linker reads what the compiler writes.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

const BPF_LINKER_VERSION: &str = "0.13.0";

const PACKAGES: &[&str] = &[
    "rustc-web",
    "libstd-rust-web-dev-bpf",
    // What bpf-linker is built against.
    "llvm-22-dev",
    "libpolly-22-dev",
    "libzstd-dev",
    "zlib1g-dev",
    "libxml2-dev",
];

/// Everything that the bytes of the object depend on beside the source.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Toolchain {
    rustc: String,
    bpf_linker: String,
    llvm: String,
    /// Its allocator decides in which order LLVM writes some types; see `staging`.
    libc: String,
    machine: String,
}

impl Toolchain {
    /// Installs what is missing and says what is there.
    pub(super) fn ensure() -> anyhow::Result<Self> {
        apt::ensure(PACKAGES)?;
        Ok(Self {
            rustc: output(Command::new(RUSTC).arg("--version"))?,
            bpf_linker: ensure_bpf_linker()?,
            llvm: output(Command::new(LLVM_CONFIG).arg("--version"))?,
            libc: output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?,
            machine: env::consts::ARCH.to_owned(),
        })
    }
}

/// Where cargo keeps the registry and the programs that it installs.
pub(super) fn cargo_home() -> anyhow::Result<PathBuf> {
    match env::var_os("CARGO_HOME") {
        Some(home) => Ok(home.into()),
        None => Ok(env::home_dir().context("neither CARGO_HOME nor HOME is set")?.join(".cargo")),
    }
}

/// The caller's `PATH` with bpf-linker in front. The compiler has to find it by its bare name: see `staging` on path
/// lengths.
pub(super) fn search_path() -> anyhow::Result<OsString> {
    path_with(&cargo_home()?.join("bin"))
}

/// What a command prints, without the line's end.
pub(super) fn output(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(String::from_utf8(output.stdout).with_context(|| format!("{program} printed no text"))?.trim_end().to_owned())
}

/// Returns the version of the bpf-linker that is there in the end.
fn ensure_bpf_linker() -> anyhow::Result<String> {
    let linker = cargo_home()?.join("bin/bpf-linker");
    let wanted = format!("bpf-linker {BPF_LINKER_VERSION}");
    if output(Command::new(&linker).arg("--version")).is_ok_and(|version| version == wanted) {
        return Ok(wanted);
    }
    eprintln!("installing {wanted} into {}; that takes some minutes", linker.display());
    let status = cargo::program()
        .args(["install", "bpf-linker", "--version", BPF_LINKER_VERSION, "--locked", "--force"])
        .args(["--no-default-features", "--features", "llvm-22"])
        .env("LLVM_PREFIX", LLVM_PREFIX)
        .env("PATH", path_with(&Path::new(LLVM_PREFIX).join("bin"))?)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo could not install {wanted} ({status})");
    output(Command::new(&linker).arg("--version"))
}

fn path_with(first: &Path) -> anyhow::Result<OsString> {
    let rest = env::var_os("PATH").unwrap_or_default();
    env::join_paths(iter::once(first.to_owned()).chain(env::split_paths(&rest))).context("cannot extend PATH")
}
