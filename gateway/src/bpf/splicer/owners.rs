//! Which processes watch over streams: each has a number, and a directory that is locked for as long as it lives.
//!
//! The kernel drops a lock with the last descriptor of it (flock(2)), whatever has ended the process. So whoever can
//! lock another's directory knows that its streams are nobody's.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::locked;

/// Processes that may watch over streams at one time: a new one beside the old one is the usual case.
const OWNERS_MAX: u64 = 64;

/// This process among the owners.
pub(super) struct Owners {
    dir: PathBuf,
    number: u64,
    lock: Mutex<Option<Flock<File>>>,
}

/// A process that is gone. Nobody else finds it gone while this is there.
pub(super) struct Gone {
    pub(super) number: u64,
    path: PathBuf,
    _lock: Flock<File>,
}

impl Owners {
    /// Takes the first number that nobody has.
    pub(super) fn join(dir: PathBuf) -> io::Result<Self> {
        super::state::make_dir(&dir)?;
        for number in 1..=OWNERS_MAX {
            let path = dir.join(number.to_string());
            super::state::make_dir(&path)?;
            if let Some(lock) = try_lock(&path)? {
                return Ok(Self { dir, number, lock: Mutex::new(Some(lock)) });
            }
        }
        Err(io::Error::other(format!("{OWNERS_MAX} processes are there already")))
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Says that this process watches over nothing any more.
    pub(super) fn leave(&self) {
        drop(locked(&self.lock).take());
    }

    /// Whether this process has not left.
    pub(super) fn is_there(&self) -> bool {
        locked(&self.lock).is_some()
    }

    /// The numbers of the others that are alive.
    pub(super) fn others(&self) -> io::Result<Vec<u64>> {
        let numbers = self.numbers()?.into_iter();
        Ok(numbers.filter(|&number| matches!(try_lock(&self.dir.join(number.to_string())), Ok(None))).collect())
    }

    /// Those that have gone.
    pub(super) fn gone(&self) -> io::Result<Vec<Gone>> {
        let path = |number: u64| self.dir.join(number.to_string());
        let gone = |number| Some(Gone { number, path: path(number), _lock: try_lock(&path(number)).ok()?? });
        Ok(self.numbers()?.into_iter().filter_map(gone).collect())
    }

    fn numbers(&self) -> io::Result<Vec<u64>> {
        let names = fs::read_dir(&self.dir)?.map(|entry| entry.map(|entry| entry.file_name()));
        let names = names.collect::<io::Result<Vec<_>>>()?;
        let numbers = names.iter().filter_map(|name| name.to_str()?.parse().ok());
        Ok(numbers.filter(|&number| number != self.number).collect())
    }
}

impl Gone {
    /// Its streams are another's now.
    pub(super) fn forget(self) -> io::Result<()> {
        fs::remove_dir(&self.path)
    }
}

/// Locks a directory; `None` where somebody has.
pub(super) fn try_lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    match Flock::lock(File::open(path)?, FlockArg::LockExclusiveNonblock) {
        // Somebody may have removed it meanwhile, and another made it anew.
        Ok(lock) => Ok((lock.metadata()?.ino() == fs::metadata(path)?.ino()).then_some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_gone_is_found_once_and_his_number_is_given_again() {
        let dir = tempfile::tempdir().unwrap();
        let join = || Owners::join(dir.path().join("owners")).unwrap();
        let (first, second) = (join(), join());
        assert_eq!((first.number(), second.number()), (1, 2));
        assert_eq!((first.others().unwrap(), second.others().unwrap()), (vec![2], vec![1]));
        assert!(second.gone().unwrap().is_empty());
        first.leave();
        assert!(!first.is_there());
        let mut gone = second.gone().unwrap();
        assert_eq!(gone.iter().map(|gone| gone.number).collect::<Vec<_>>(), [1]);
        assert!(second.gone().unwrap().is_empty(), "he is being looked after");
        gone.pop().unwrap().forget().unwrap();
        assert!(second.gone().unwrap().is_empty() && second.others().unwrap().is_empty());
        assert_eq!(join().number(), 1);
    }
}
