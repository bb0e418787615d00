//! All processes of a program.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Result, ensure};
use nix::libc;
use nix::unistd::Pid;

/// The program and what it has started: all processes of its group.
pub(super) fn members(leader: Pid) -> Result<Vec<Pid>> {
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) if group(&stat) == Some(leader.as_raw()) => members.push(Pid::from_raw(pid)),
            Ok(_) => {}
            // A process that ended in between, ESRCH where its file was open already.
            Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(members.contains(&leader), "the program has ended");
    Ok(members)
}

/// The third field behind the name of proc_pid_stat(5); the name may hold anything, parentheses included.
fn group(stat: &str) -> Option<i32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_group_is_read_past_any_name() {
        assert_eq!(group("17 (a) b (c) S 1 4711 4711 0 -1"), Some(4711));
        assert_eq!(group("17 (a"), None);
    }
}
