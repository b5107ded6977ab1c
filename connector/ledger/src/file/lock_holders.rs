//! The processes of this machine that hold a lock on a container's file.
//!
//! The system does not report which process holds a lock of an open file description, because a forked child shares the
//! description. But `/proc` shows which descriptors of a process have which locks (proc_pid_fdinfo(5)). Processes of other users
//! and of other machines are not visible.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

/// The maximum number of processes that are checked, and of descriptors of each process.
const MAX_LOOKS: usize = 65_536;
/// The maximum number of processes that are named.
const MAX_NAMED: usize = 8;

/// Returns the processes that hold a lock on a byte of a file, as far as they are visible.
pub(super) fn of(file: &File, at: u64) -> Vec<u32> {
    let Ok(meta) = file.metadata() else { return Vec::new() };
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.take(MAX_LOOKS).filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| has_lock(*pid, (meta.dev(), meta.ino()), at)).take(MAX_NAMED).collect()
}

fn has_lock(pid: u32, inode: (u64, u64), at: u64) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors.take(MAX_LOOKS).flatten().any(|descriptor| {
        let is_it = fs::metadata(descriptor.path()).is_ok_and(|meta| (meta.dev(), meta.ino()) == inode);
        let info = |number: &str| fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok();
        is_it
            && descriptor.file_name().to_str().and_then(info).is_some_and(|info| {
                info.lines().filter_map(|line| line.strip_prefix("lock:")).any(|lock| covers(lock, at))
            })
    })
}

/// Returns whether a line describes a lock of an open file description that covers a byte:
/// `1: OFDLCK  ADVISORY  WRITE -1 08:01:1234 0 EOF`.
fn covers(lock: &str, at: u64) -> bool {
    let mut words = lock.split_whitespace().rev();
    let (end, start) = (words.next(), words.next().and_then(|word| word.parse::<u64>().ok()));
    let reaches = end.is_some_and(|end| end == "EOF" || end.parse().is_ok_and(|end: u64| end >= at));
    lock.contains("OFDLCK") && reaches && start.is_some_and(|start| start <= at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::locks::{Locks, WRITER};
    use crate::options::{LockPolicy, Writers};
    use std::sync::Arc;

    #[test]
    fn a_lock_is_found_by_the_process_that_holds_it() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let file = Arc::new(named.reopen().unwrap());
        assert!(of(&file, WRITER).is_empty());
        let locks = Locks::writer(&file, LockPolicy::Required, Writers::One, "x").unwrap().unwrap();
        assert_eq!(of(named.as_file(), WRITER), [std::process::id()]);
        assert!(of(named.as_file(), WRITER - 1).is_empty());
        locks.release_writer();
        assert!(of(named.as_file(), WRITER).is_empty());
    }

    #[test]
    fn lines_about_locks_are_read() {
        for (line, at, expected) in [
            ("\t1: OFDLCK  ADVISORY  WRITE -1 08:01:1234 5 7", 6, true),
            ("\t1: OFDLCK  ADVISORY  WRITE -1 08:01:1234 5 7", 8, false),
            ("\t1: OFDLCK  ADVISORY  READ -1 08:01:1234 0 EOF", 8, true),
            ("\t1: POSIX  ADVISORY  READ 12 08:01:1234 0 EOF", 8, false),
            ("\t", 8, false),
        ] {
            assert_eq!(covers(line, at), expected, "{line} {at}");
        }
    }
}
