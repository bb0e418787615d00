//! Where a story's gateways keep their kernel side: nobody else's streams are in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of the BPF file system, made by the first gateway that needs it. Dropping it takes everything in it out
/// of the kernel.
#[derive(Debug)]
pub struct StateDir(PathBuf);

impl Default for StateDir {
    fn default() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("/sys/fs/bpf/stories-{}-{number}", std::process::id()).into())
    }
}

impl StateDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Every file in it, below it.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path.strip_prefix(&self.0).expect("found below it").to_owned());
                }
            }
        }
        files
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => eprintln!("{}: {error}", self.0.display()),
            _ => {}
        }
    }
}
