//! Reads how much memory the machine, or the process's control group, has and can spare (`proc(5)`; the kernel's
//! documentation of control groups, version 2: `memory.max`, `memory.current`, `memory.stat`; version 1:
//! `memory.limit_in_bytes`, `memory.usage_in_bytes`, `memory.stat`).

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Caches hold at most this fraction of all memory.
const PART_OF_ALL: u64 = 16;
/// Caches hold at most this fraction of the memory that they hold already plus the free memory.
const PART_OF_FREE: u64 = 4;

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    all: u64,
    /// Memory that is available without writing anything out.
    free: u64,
}

/// Returns how many bytes the caches may hold, given that they hold `held` bytes. Without information from the system
/// there is no limit.
pub(crate) fn allowance(held: usize) -> usize {
    [machine(), group()].into_iter().flatten().map(|m| allowed(m, held)).min().unwrap_or(usize::MAX)
}

fn allowed(memory: Memory, held: usize) -> usize {
    let of_free = memory.free.saturating_add(held as u64) / PART_OF_FREE;
    usize::try_from((memory.all / PART_OF_ALL).min(of_free)).unwrap_or(usize::MAX)
}

fn machine() -> Option<Memory> {
    in_meminfo(&read("/proc/meminfo")?)
}

fn in_meminfo(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory { all: field("MemTotal:")?, free: field("MemAvailable:")? })
}

/// A limit of this many bytes counts as no limit, because no machine has so much memory.
const MAX_LIMIT: u64 = 1 << 60;

/// The file names of a version of control groups, and their location.
struct Files {
    root: &'static str,
    /// The beginning of its line in `/proc/self/cgroup`, after the number.
    line: &'static str,
    limit: &'static str,
    used: &'static str,
    inactive: &'static str,
}

const VERSION_2: Files = Files {
    root: "/sys/fs/cgroup",
    line: ":",
    limit: "memory.max",
    used: "memory.current",
    inactive: "inactive_file ",
};
const VERSION_1: Files = Files {
    root: "/sys/fs/cgroup/memory",
    line: "memory:",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    inactive: "total_inactive_file ",
};

/// Reads a short file of the kernel in one read, because the kernel generates it for each reader.
fn read(path: impl AsRef<Path>) -> Option<String> {
    let mut text = String::with_capacity(4096);
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Returns the tightest limit of the process's control groups.
fn group() -> Option<Memory> {
    let groups = read("/proc/self/cgroup")?;
    let limits = [VERSION_2, VERSION_1].into_iter().filter_map(|files| files.tightest(files.own(&groups)?));
    limits.min_by_key(|m| m.free)
}

impl Files {
    /// Returns the process's group among those that `/proc/self/cgroup` lists.
    fn own<'a>(&self, groups: &'a str) -> Option<&'a str> {
        groups.lines().find_map(|line| line.split_once(':')?.1.strip_prefix(self.line))
    }

    /// Returns the tightest limit of a group and of the groups that contain it. A process in a container sees its own
    /// group as the outermost.
    fn tightest(&self, group: &str) -> Option<Memory> {
        let root = Path::new(self.root);
        let folder = root.join(group.trim_start_matches('/'));
        let inside = folder.ancestors().take_while(|folder| folder.starts_with(root));
        inside.filter_map(|folder| self.of_group(folder)).min_by_key(|m| m.free)
    }

    fn of_group(&self, folder: &Path) -> Option<Memory> {
        let number = |name: &str| read(folder.join(name))?.trim().parse::<u64>().ok();
        // "max" means no limit. In version 1 a number beyond all memory means the same.
        let all = number(self.limit).filter(|all| *all < MAX_LIMIT)?;
        let used = number(self.used)?;
        let pages = read(folder.join("memory.stat")).and_then(|text| self.inactive_file(&text));
        Some(Memory { all, free: all.saturating_sub(used).saturating_add(pages.unwrap_or(0)).min(all) })
    }

    /// Returns the bytes of file pages that were not used for a while: the group counts them, and the kernel drops them
    /// first.
    fn inactive_file(&self, stat: &str) -> Option<u64> {
        stat.lines().find_map(|line| line.strip_prefix(self.inactive))?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_by_its_names() {
        let text = "MemTotal:       24000000 kB\nMemFree:         100 kB\nMemAvailable:   8000000 kB\n";
        assert_eq!(in_meminfo(text), Some(Memory { all: 24_576_000_000, free: 8_192_000_000 }));
        assert_eq!(in_meminfo("MemTotal: 5 kB\n"), None);
        assert_eq!(in_meminfo("MemTotal: five kB\nMemAvailable: 1 kB"), None);
    }

    #[test]
    fn a_group_limit_excludes_droppable_pages() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(VERSION_2.of_group(folder.path()), None);
        write("memory.max", "max\n");
        write("memory.current", "300\n");
        assert_eq!(VERSION_2.of_group(folder.path()), None);
        write("memory.max", "1000\n");
        assert_eq!(VERSION_2.of_group(folder.path()), Some(Memory { all: 1000, free: 700 }));
        write("memory.stat", "anon 100\ninactive_file 120\nactive_file 80\n");
        assert_eq!(VERSION_2.of_group(folder.path()), Some(Memory { all: 1000, free: 820 }));
        assert_eq!(VERSION_1.of_group(folder.path()), None);
        write("memory.limit_in_bytes", "2000\n");
        write("memory.usage_in_bytes", "500\n");
        write("memory.stat", "inactive_file 1\ntotal_inactive_file 50\n");
        assert_eq!(VERSION_1.of_group(folder.path()), Some(Memory { all: 2000, free: 1550 }));
    }

    #[test]
    fn the_groups_of_both_versions_are_found() {
        let groups = "5:cpu,cpuacct:/a\n4:memory:/slurm/job_7\n1:name=systemd:/\n0::/user.slice\n";
        assert_eq!(VERSION_1.own(groups), Some("/slurm/job_7"));
        assert_eq!(VERSION_2.own(groups), Some("/user.slice"));
        assert_eq!(VERSION_1.own("0::/\n"), None);
    }

    #[test]
    fn caches_get_a_part_and_less_where_memory_is_short() {
        assert_eq!(allowed(Memory { all: 16_000, free: 8_000 }, 0), 1000);
        assert_eq!(allowed(Memory { all: 16_000, free: 1_600 }, 400), 500);
        assert_eq!(allowed(Memory { all: 16_000, free: 0 }, 0), 0);
        assert!(allowance(0) > 0);
    }
}
