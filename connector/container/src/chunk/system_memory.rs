//! How much memory the machine, or the process's control group, has and can spare (`proc(5)`; the kernel's
//! documentation of control groups, version 2: `memory.max`, `memory.current`, `memory.stat`).

use std::fs::read_to_string;
use std::path::Path;

/// Caches hold at most this part of all memory.
const PART_OF_ALL: u64 = 16;
/// They hold at most this part of what they hold already and what can be spared.
const PART_OF_FREE: u64 = 4;

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    all: u64,
    /// What could be had without writing anything out.
    free: u64,
}

/// How many bytes caches that hold `held` bytes may hold. Where the system does not tell, it sets no limit.
pub(crate) fn allowance(held: usize) -> usize {
    [machine(), group()].into_iter().flatten().map(|m| allowed(m, held)).min().unwrap_or(usize::MAX)
}

fn allowed(memory: Memory, held: usize) -> usize {
    let of_free = memory.free.saturating_add(held as u64) / PART_OF_FREE;
    usize::try_from((memory.all / PART_OF_ALL).min(of_free)).unwrap_or(usize::MAX)
}

fn machine() -> Option<Memory> {
    in_meminfo(&read_to_string("/proc/meminfo").ok()?)
}

fn in_meminfo(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory { all: field("MemTotal:")?, free: field("MemAvailable:")? })
}

/// The tightest limit of the process's control group and of those around it. A container sees its own as the outermost.
fn group() -> Option<Memory> {
    let groups = read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let folder = root.join(own);
    let inside = folder.ancestors().take_while(|folder| folder.starts_with(root));
    inside.filter_map(of_group).min_by_key(|m| m.free)
}

fn of_group(folder: &Path) -> Option<Memory> {
    let number = |name: &str| read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    // "max" is no number, and no limit.
    let (all, used) = (number("memory.max")?, number("memory.current")?);
    let pages = read_to_string(folder.join("memory.stat")).ok().and_then(|text| inactive_file(&text));
    Some(Memory { all, free: all.saturating_sub(used).saturating_add(pages.unwrap_or(0)).min(all) })
}

/// Pages of files that nobody has used for a while: the group counts them, and the kernel drops them first.
fn inactive_file(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?.trim().parse().ok()
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
    fn a_groups_limit_counts_without_pages_that_can_be_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(of_group(folder.path()), None);
        write("memory.max", "max\n");
        write("memory.current", "300\n");
        assert_eq!(of_group(folder.path()), None);
        write("memory.max", "1000\n");
        assert_eq!(of_group(folder.path()), Some(Memory { all: 1000, free: 700 }));
        write("memory.stat", "anon 100\ninactive_file 120\nactive_file 80\n");
        assert_eq!(of_group(folder.path()), Some(Memory { all: 1000, free: 820 }));
    }

    #[test]
    fn caches_get_a_part_and_less_where_memory_is_short() {
        assert_eq!(allowed(Memory { all: 16_000, free: 8_000 }, 0), 1000);
        assert_eq!(allowed(Memory { all: 16_000, free: 1_600 }, 400), 500);
        assert_eq!(allowed(Memory { all: 16_000, free: 0 }, 0), 0);
        assert!(allowance(0) > 0);
    }
}
