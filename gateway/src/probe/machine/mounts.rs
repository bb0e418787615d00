//! What `proc_pid_mountinfo(5)` tells: where BPF objects can be pinned, and which memory limit this process lives
//! under.

use std::fs;
use std::path::Path;

/// Where a BPF file system is mounted.
pub(super) fn bpffs(mountinfo: &str) -> Option<&str> {
    find(mountinfo, |mount| mount.kind == "bpf")
}

/// The limit of the group that `cgroup`, `/proc/self/cgroup`, names. None where there is no limit or it cannot be seen.
pub(super) fn cgroup_memory_bytes(mountinfo: &str, cgroup: &str) -> Option<u64> {
    // Where the memory controller is mounted in the manner of version 1, version 2 has no say in memory.
    let version_1 = find(mountinfo, |mount| mount.kind == "cgroup" && listed(mount.options, "memory"));
    let (root, group, file) = match version_1 {
        Some(root) => (root, group(cgroup, |controllers| listed(controllers, "memory"))?, "memory.limit_in_bytes"),
        None => (find(mountinfo, |mount| mount.kind == "cgroup2")?, group(cgroup, str::is_empty)?, "memory.max"),
    };
    let root = Path::new(root);
    let own = root.join(group.trim_start_matches('/')).join(file);
    // In a container the path may be the host's, while the root that is mounted is the container's own group.
    let limit = fs::read_to_string(own).or_else(|_| fs::read_to_string(root.join(file))).ok()?;
    limit_bytes(&limit)
}

struct Mount<'a> {
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

/// The mount point of the first mount that is wanted.
fn find<'a>(mountinfo: &'a str, wanted: impl Fn(&Mount<'a>) -> bool) -> Option<&'a str> {
    mountinfo.lines().filter_map(parse).find(wanted).map(|mount| mount.point)
}

fn parse(line: &str) -> Option<Mount<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let (kind, _source, options) = (right.next()?, right.next()?, right.next()?);
    Some(Mount { point: left.split(' ').nth(4)?, kind, options })
}

fn listed(list: &str, name: &str) -> bool {
    list.split(',').any(|item| item == name)
}

/// A path out of the list that `cgroups(7)` describes: `N:CONTROLLERS:PATH`, without controllers for version 2.
fn group(cgroup: &str, wanted: impl Fn(&str) -> bool) -> Option<&str> {
    cgroup.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        wanted(controllers).then_some(path)
    })
}

/// Version 2 writes `max` for no limit, version 1 a number that no machine has.
fn limit_bytes(text: &str) -> Option<u64> {
    text.trim_end().parse().ok().filter(|&bytes| bytes < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
        36 31 0:33 / /sys/fs/bpf rw,nosuid - bpf bpf rw,mode=700\n";

    #[test]
    fn mounts_are_found_by_kind_and_option() {
        assert_eq!(bpffs(MOUNTS), Some("/sys/fs/bpf"));
        assert_eq!(find(MOUNTS, |mount| listed(mount.options, "memory")), Some("/sys/fs/cgroup/memory"));
        assert_eq!(find(MOUNTS, |mount| mount.kind == "btrfs"), None);
        assert_eq!(find("not a mount\n36 31\na - b\n", |_| true), None);
    }

    #[test]
    fn the_group_is_that_of_the_memory_controller() {
        let list = "9:name=systemd:/\n4:cpu,memory:/service/gateway\n0::/unified\n";
        assert_eq!(group(list, |controllers| listed(controllers, "memory")), Some("/service/gateway"));
        assert_eq!(group(list, str::is_empty), Some("/unified"));
        assert_eq!(group("", str::is_empty), None);
    }

    #[test]
    fn no_limit_is_written_in_two_ways() {
        assert_eq!(limit_bytes("536870912\n"), Some(536_870_912));
        assert_eq!(limit_bytes("max\n"), None);
        assert_eq!(limit_bytes("9223372036854771712\n"), None);
    }

    #[test]
    fn the_limit_is_the_groups_own_or_else_the_roots() {
        let root = tempfile::tempdir().unwrap();
        let mounts = format!("41 31 0:38 / {} rw - cgroup2 cgroup2 rw\n", root.path().display());
        fs::write(root.path().join("memory.max"), "2000\n").unwrap();
        assert_eq!(cgroup_memory_bytes(&mounts, "0::/service\n"), Some(2000));
        fs::create_dir(root.path().join("service")).unwrap();
        fs::write(root.path().join("service/memory.max"), "1000\n").unwrap();
        assert_eq!(cgroup_memory_bytes(&mounts, "0::/service\n"), Some(1000));
    }
}
