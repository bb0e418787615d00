//! Builds the kernel side of the gateway.

/// How to build.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Change nothing; fail if the committed object is not what this source gives.
    #[arg(long)]
    check: bool,
}

/// Installs what is missing, builds, and writes or compares.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    crate::apt::ensure(PACKAGES)?;
    anyhow::ensure!(!options.check, "nothing to compare with yet");
    Ok(())
}

const PACKAGES: &[&str] = &[
    "rustc-web",
    "libstd-rust-web-dev-bpf",
    "llvm-22-dev",
    "libpolly-22-dev",
    "libzstd-dev",
    "zlib1g-dev",
    "libxml2-dev",
];
