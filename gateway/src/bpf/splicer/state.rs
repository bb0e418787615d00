//! Where the kernel side lives on while no gateway runs: a directory of a BPF file system.
//!
//! ```text
//! /sys/fs/bpf/splicegate           --state-dir
//!   net-1                          a network namespace, by its cookie: interfaces and addresses are its own
//!     abi-5                        all that agrees on one layout
//!       WAYS LABELS ...            the maps
//!       packet_ingress             the program
//!       links/7                    its link to the interface with this number
//!       owners/1                   a process; locked while it lives
//!       events                     locked by the process that reads the events
//! ```
//!
//! A file in it holds what it stands for, and nothing else does: without it the program leaves the interface, and the
//! maps are gone. A gateway that ends in order and leaves no stream removes all of its directory.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use gateway_common::ABI_VERSION;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{PACKET_INGRESS, owners};
use crate::sys::netns;

/// Where BPF file systems are mounted everywhere.
const BPFFS: &str = "/sys/fs/bpf";

/// Why there is no place for it.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is none, and this process may not mount one.
    #[error(
        "no BPF file system at {path}, and it cannot be mounted ({source}); as root: mount -t bpf bpf {path}",
        path = .path.display()
    )]
    Mount {
        /// Where it should be.
        path: PathBuf,
        /// What mount(2) said.
        source: io::Error,
    },
    /// A file or directory in it.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The number of this network namespace is not known.
    #[error("this network namespace cannot be told from others (SO_NETNS_COOKIE): {0}")]
    Namespace(io::Error),
}

/// The directory of this network and this layout.
pub(super) struct StateDir {
    net: PathBuf,
    dir: PathBuf,
}

impl StateDir {
    /// The one below `root`. What is missing of it is made; a BPF file system is mounted where there is none.
    pub(super) fn open(root: &Path) -> Result<Self, StateError> {
        mount_for(root)?;
        let net = root.join(format!("net-{}", netns::cookie().map_err(StateError::Namespace)?));
        let dir = net.join(format!("abi-{ABI_VERSION}"));
        let file = |source| StateError::File { path: root.to_owned(), source };
        DirBuilder::new().mode(0o700).recursive(true).create(root).map_err(file)?;
        for path in [&net, &dir, &dir.join("links"), &dir.join("events")] {
            make_dir(path).map_err(|source| StateError::File { path: path.clone(), source })?;
        }
        Ok(Self { net, dir })
    }

    /// Keeps others from setting up or tearing down meanwhile.
    pub(super) fn lock(&self) -> io::Result<Flock<File>> {
        Flock::lock(File::open(&self.net)?, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
    }

    /// The same without waiting; `None` while another process has it.
    pub(super) fn try_lock(&self) -> io::Result<Option<Flock<File>>> {
        owners::try_lock(&self.net)
    }

    /// Where a map is.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where the program is.
    pub(super) fn program(&self) -> PathBuf {
        self.dir.join(PACKET_INGRESS)
    }

    /// Where the links are, each under its interface's number.
    pub(super) fn links(&self) -> PathBuf {
        self.dir.join("links")
    }

    /// Where the processes are.
    pub(super) fn owners(&self) -> PathBuf {
        self.dir.join("owners")
    }

    /// What the process locks that reads the events.
    pub(super) fn events(&self) -> PathBuf {
        self.dir.join("events")
    }

    /// Directories of the same network in other layouts: gateways of other versions have, or had, streams there.
    pub(super) fn other_layouts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.net).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| *path != self.dir).collect()
    }

    /// Removes maps, links and program; who is there keeps his number.
    pub(super) fn empty(&self) -> io::Result<()> {
        // The links first: a program whose maps are being taken away has nothing to do on an interface.
        remove_tree(&self.links(), &mut Vec::new())?;
        make_dir(&self.links())?;
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if !path.is_dir() {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Removes everything of this layout, and what is empty above it.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.empty()?;
        remove_tree(&self.dir, &mut Vec::new())?;
        // Another layout or another network may be there.
        let root = self.net.parent();
        let _in_use = fs::remove_dir(&self.net).and_then(|()| root.map_or(Ok(()), fs::remove_dir)).is_err();
        Ok(())
    }
}

/// Makes a directory that nobody else may look into, unless it is there.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Removes a directory and what is in it, links before everything else. The files are noted in `removed`.
pub(super) fn remove_tree(path: &Path, removed: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(|path| (!path.is_dir(), path.clone()));
    for entry in entries {
        if entry.is_dir() {
            remove_tree(&entry, removed)?;
        } else {
            fs::remove_file(&entry)?;
            removed.push(entry);
        }
    }
    fs::remove_dir(path)
}

/// Whether a path is on a BPF file system; the nearest directory above it decides where it does not exist.
pub(super) fn is_on_bpffs(path: &Path) -> bool {
    let there = path.ancestors().find(|path| path.exists());
    there.is_some_and(|path| statfs(path).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC))
}

fn mount_for(root: &Path) -> Result<(), StateError> {
    if is_on_bpffs(root) {
        return Ok(());
    }
    let point = if root.starts_with(BPFFS) { Path::new(BPFFS) } else { root };
    let mounted = || -> io::Result<()> {
        fs::create_dir_all(point)?;
        // Of two that come at once, the second finds the first one's. Theirs is the directory underneath.
        let _lock = Flock::lock(File::open(point)?, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        if is_on_bpffs(root) {
            return Ok(());
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RELATIME;
        mount(Some("bpf"), point, Some("bpf"), flags, Some("mode=700"))?;
        tracing::info!(path = %point.display(), "mounted a BPF file system");
        Ok(())
    };
    mounted().map_err(|source| StateError::Mount { path: point.to_owned(), source })
}
