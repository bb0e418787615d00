//! What the kernel has in its slabs on behalf of streams, read so that other programs are seen in it as little as
//! can be.

use std::fs;

use anyhow::{Context as _, Result};
use nix::unistd::{SysconfVar, sysconf};

/// Caches of the page cache and of file systems, by the ends of their names: a compiler at work elsewhere moves them by
/// more than ten thousand streams do. Dentries are counted by sockets instead, which have one each.
const OF_FILES: [&str; 5] = ["inode_cache", "inode_slab", "buffer_head", "radix_tree_node", DENTRY];

const DENTRY: &str = "dentry";
const SOCKET_INODE: &str = "sock_inode_cache";

/// Bytes in the kernel's slabs: sockets, their inodes and dentries, files, polls and what else belongs to a stream.
///
/// Objects in use count, with their share of their slab, and not slabs: one in which a single object of an earlier
/// subject is left would hide what the next one takes. Only root may read that (slabinfo(5)); for others it is the sum
/// of all slabs.
pub(super) fn bytes() -> Result<u64> {
    let page = sysconf(SysconfVar::PAGE_SIZE)?.context("the kernel has a page size")?;
    match fs::read_to_string("/proc/slabinfo") {
        Ok(text) => in_use(&text, u64::try_from(page)?).context("/proc/slabinfo has another format"),
        Err(_) => total(&fs::read_to_string("/proc/meminfo")?).context("no Slab in /proc/meminfo"),
    }
}

struct Cache<'a> {
    name: &'a str,
    objects: u64,
    /// Of one object, with its share of what is left over in a slab.
    bytes: u64,
}

impl<'a> Cache<'a> {
    /// Name, objects in use, all objects, bytes of one, objects of a slab, and pages of a slab.
    fn parse(line: &'a str, page: u64) -> Option<Self> {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let mut numbers = words.map(str::parse::<u64>);
        let [objects, _, _, of_slab, pages] = std::array::from_fn(|_| numbers.next()?.ok());
        let bytes = (pages? * page).checked_div(of_slab?)?;
        Some(Self { name, objects: objects?, bytes })
    }
}

fn in_use(slabinfo: &str, page: u64) -> Option<u64> {
    let caches: Vec<Cache> = slabinfo.lines().filter_map(|line| Cache::parse(line, page)).collect();
    let find = |name: &str| caches.iter().find(|cache| cache.name == name);
    let sockets = find(SOCKET_INODE)?;
    let is_counted =
        |cache: &&Cache| cache.name == SOCKET_INODE || !OF_FILES.iter().any(|end| cache.name.ends_with(end));
    let counted: u64 = caches.iter().filter(is_counted).map(|cache| cache.objects * cache.bytes).sum();
    Some(counted + sockets.objects * find(DENTRY)?.bytes)
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("Slab:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLABINFO: &str = "slabinfo - version: 2.1\n\
        # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit>\n\
        ext4_inode_cache  256142 256200   1128   14    4 : tunables    0    0    0 : slabdata  18300  18300      0\n\
        TCP                 1000  20007   2368   16    8 : tunables    0    0    0 : slabdata   1539   1539      0\n\
        sock_inode_cache    2000  24795    832   16    4 : tunables    0    0    0 : slabdata   1305   1305      0\n\
        dentry            477543 503853    192   16    1 : tunables    0    0    0 : slabdata  23993  23993      0\n";

    #[test]
    fn objects_in_use_count_and_those_of_file_systems_do_not() {
        assert_eq!(in_use(SLABINFO, 4096), Some(1000 * 2048 + 2000 * 1024 + 2000 * 256));
        assert_eq!(in_use("slabinfo - version: 3\n", 4096), None);
    }

    #[test]
    fn without_a_look_at_objects_all_slabs_count() {
        assert_eq!(total("MemFree: 7 kB\nSlab:             841964 kB\n"), Some(841_964 << 10));
    }

    #[test]
    fn this_machine_can_be_measured() {
        assert!(bytes().unwrap() > 0);
    }
}
