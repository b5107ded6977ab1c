//! Cached snapshots of containers that readers of this process have closed. A program that opens a file again and again
//! while another process writes it then reads only new records, and not the whole log and the same pages each time.

use std::collections::VecDeque;

use crate::file::lock;
use crate::file::superblock::Slot;
use crate::locks::Mutex;
use crate::storage::Snapshot;

/// The number of cached containers.
const MAX_CONTAINERS: usize = 4;
/// Snapshots with shorter logs, in records, are cached only if they have pages, because such a log is read as fast as the
/// cache is searched.
const MIN_LOG_RECORDS: u64 = 4;
/// Longer logs, in bytes, are not cached.
const MAX_LOG_BYTES: u64 = 256 << 10;

/// A container's id, and the file that contained it.
type CacheKey = ([u8; 16], Option<(u64, u64)>);

struct CachedSnapshot {
    key: CacheKey,
    slot: Slot,
    snapshot: Snapshot,
}

/// The most recently closed container is the last one.
static REMEMBERED: Mutex<VecDeque<CachedSnapshot>> = Mutex::new(VecDeque::new());

/// Caches the snapshot of a reader at `slot`.
pub(crate) fn keep(key: CacheKey, slot: Slot, snapshot: Snapshot) {
    let worth = snapshot.log_records >= MIN_LOG_RECORDS || !snapshot.pages.is_empty();
    if !worth || snapshot.log_bytes > MAX_LOG_BYTES {
        return;
    }
    let mut all = lock(&REMEMBERED);
    all.retain(|r| r.key != key);
    if all.len() >= MAX_CONTAINERS {
        all.pop_front();
    }
    all.push_back(CachedSnapshot { key, slot, snapshot });
}

/// Removes the snapshot of a container from the cache, and returns it.
pub(crate) fn take(key: CacheKey) -> Option<(Slot, Snapshot)> {
    let mut all = lock(&REMEMBERED);
    let at = all.iter().position(|r| r.key == key)?;
    all.remove(at).map(|r| (r.slot, r.snapshot))
}

#[cfg(test)]
mod tests {
    use crate::file::sim_file::SimFile;
    use crate::ledger::Ledger;
    use crate::options::{Access, Options};

    fn key(n: u64) -> Vec<u8> {
        format!("key-{n:06}").into_bytes()
    }

    fn fill(l: &Ledger, range: std::ops::Range<u64>, value: &str) {
        for n in range {
            l.put(&key(n), format!("{value}-{n}")).unwrap();
        }
        l.commit().unwrap();
    }

    fn reads_of_a_look(f: &SimFile, n: u64, value: &str) -> u64 {
        let r = f.open(Access::ReadOnly, &Options::default()).unwrap();
        f.take_counts();
        assert_eq!(r.get(&key(n)).unwrap().unwrap(), format!("{value}-{n}"));
        f.take_counts().reads
    }

    #[test]
    fn pages_are_read_once_and_never_of_another_base() {
        let f = SimFile::container();
        let w = f.open(Access::ReadWrite, &Options::default()).unwrap();
        fill(&w, 0..20_000, "first");
        assert!(reads_of_a_look(&f, 5000, "first") > 1);
        assert_eq!(reads_of_a_look(&f, 5000, "first"), 0);
        assert_eq!(reads_of_a_look(&f, 5001, "first"), 0, "it lies in the same pages");
        assert!(reads_of_a_look(&f, 15_000, "first") > 0);
        // A further record does not change the pages.
        fill(&w, 7000..7001, "second");
        assert_eq!(reads_of_a_look(&f, 5000, "first"), 0);
        assert_eq!(reads_of_a_look(&f, 7000, "second"), 0);
        fill(&w, 0..20_000, "third");
        w.close().unwrap();
        assert!(reads_of_a_look(&f, 5000, "third") > 1, "there are other pages now");
        assert_eq!(reads_of_a_look(&f, 5000, "third"), 0);
    }

    /// A copy that was restored in a container's place has the same id, and then another history.
    #[test]
    fn diverged_copies_are_distinguished() {
        for first in [20, 20_000] {
            let f = SimFile::container();
            let w = f.open(Access::ReadWrite, &Options::default()).unwrap();
            fill(&w, 0..first, "first");
            (0..6).for_each(|n| fill(&w, n..n + 1, "log"));
            drop(w);
            let copies = [(f.clone(), "one"), (SimFile::of(f.bytes()), "two")];
            for n in 0..40 {
                for (f, value) in &copies {
                    assert!(f.open(Access::ReadOnly, &Options::default()).unwrap().get(&key(3)).is_ok());
                    let w = f.open(Access::ReadWrite, &Options::default()).unwrap();
                    let range = if n % 10 == 9 { 0..first } else { n % 4..n % 4 + 2 };
                    fill(&w, range, &format!("{value} {n}"));
                }
                for (f, value) in copies.iter().rev() {
                    let r = f.open(Access::ReadOnly, &Options::default()).unwrap();
                    let last = format!("{value} {n}-{}", n % 4 + 1);
                    assert_eq!(r.get(&key(n % 4 + 1)).unwrap().unwrap(), last);
                    let none = Options { cache_bytes: 0, ..Options::default() };
                    let w = f.open(Access::ReadWrite, &none).unwrap();
                    let all = |l: &Ledger| l.scan_prefix(b"", None, usize::MAX).unwrap();
                    assert!(all(&r) == all(&w), "{value} {n}");
                }
            }
        }
    }

    #[test]
    fn the_cache_keeps_only_short_logs() {
        let f = SimFile::container();
        let w = f.open(Access::ReadWrite, &Options::default()).unwrap();
        fill(&w, 0..150_000, "a value of some length, so that there are more pages than are kept");
        let r = f.open(Access::ReadOnly, &Options::default()).unwrap();
        assert_eq!(r.scan_prefix(b"key", None, usize::MAX).unwrap().len(), 150_000);
        drop(r);
        let r = f.open(Access::ReadOnly, &Options::default()).unwrap();
        f.take_counts();
        assert_eq!(r.scan_prefix(b"key", None, usize::MAX).unwrap().len(), 150_000);
        let counts = f.take_counts();
        assert!(counts.read_bytes > 8 << 20, "{counts:?}");
        let none = Options { cache_bytes: 0, ..Options::default() };
        let r = f.open(Access::ReadOnly, &none).unwrap();
        f.take_counts();
        assert!(r.get(&key(149_999)).unwrap().is_some());
        assert!(f.take_counts().reads > 1, "who wants no cache has none");
    }
}
