//! A simulated file in memory that can tear a write, fail, die, and lose unsynced changes.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::address::PageRef;
use crate::error::Result;
use crate::file::counted::counted;
use crate::file::create::fresh;
use crate::file::file_io::FileIo;
use crate::file::free_space::ReclaimRule;
use crate::file::locks::Locks;
use crate::file::resync::resyncing;
use crate::file::superblock::{DATA, FIXED, Fixed, Slot, new_head};
use crate::file::{FileStorage, lock};
use crate::ledger::Ledger;
use crate::locks::{Mutex, MutexGuard};
use crate::options::{Access, LockPolicy, Options};
use crate::timekeeping::StorageClock;

/// The effect of a fault on the chosen change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The change is not made, and the process is dead from then on.
    Die,
    /// The first half of the change is made, and the process is dead from then on.
    DieTorn,
    /// The disk is full, once.
    Full,
    /// Half of the change is made, then the disk is full, once.
    FullTorn,
    /// The change is not made, and an error is returned, once.
    Fail,
    /// The first half of the change is made, and an error is returned, once.
    FailTorn,
    /// The whole change is made, but an error is returned, once.
    FailDone,
}

#[derive(Debug, Clone)]
enum SimChange {
    Write(u64, Vec<u8>),
    Len(u64),
}

/// Numbers of calls and of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CallCounts {
    pub(crate) reads: u64,
    pub(crate) read_bytes: u64,
    pub(crate) writes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) syncs: u64,
}

#[derive(Debug, Default)]
struct Disk {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<SimChange>,
    changes: u64,
    fault: Option<(u64, Fault)>,
    /// Further faults in order, each after a number of changes without a fault.
    later: Vec<(u64, Fault)>,
    /// One in this many reads fails, and another one returns wrong bytes; 0 means that no read fails.
    failing_reads: u64,
    /// The byte beyond which no write is possible.
    free_space: Option<u64>,
    /// The limit is a quota: the disk itself reports more free space.
    is_quota: bool,
    dead: bool,
    /// The number of syncs before the failing ones, the number of failing ones, and whether the system then drops the
    /// unwritten bytes.
    failing_syncs: (u64, u64, bool),
    counts: CallCounts,
    /// The end of the reserved blocks, the number of reservations, and whether reservations are refused.
    reserved: u64,
    reservations: u64,
    refuses: bool,
    /// Pages of zeros have no blocks.
    is_sparse: bool,
}

/// A page of the system's cache, in bytes.
const PAGE_BYTES: usize = 4096;

/// Returns the pages without blocks, if pages of zeros have none.
fn pages_of_zeros(bytes: &[u8]) -> Vec<(u64, u64)> {
    let pages = bytes.chunks(PAGE_BYTES).enumerate();
    let empty = pages.filter(|(_, page)| page.iter().all(|byte| *byte == 0));
    empty.map(|(n, page)| ((n * PAGE_BYTES) as u64, page.len() as u64)).collect()
}

fn apply(bytes: &mut Vec<u8>, c: &SimChange) {
    match c {
        SimChange::Write(at, data) => {
            let (at, end) = (*at as usize, *at as usize + data.len());
            bytes.resize(bytes.len().max(end), 0);
            bytes[at..end].copy_from_slice(data);
        }
        SimChange::Len(len) => bytes.resize(*len as usize, 0),
    }
}

/// Returns the changes of the length that a list of changes implies.
fn lengths(before: &[u8], changes: &[SimChange]) -> Vec<SimChange> {
    let mut length = before.len() as u64;
    let mut after = |change: &SimChange| {
        length = match change {
            SimChange::Write(at, data) => length.max(at + data.len() as u64),
            SimChange::Len(length) => *length,
        };
        SimChange::Len(length)
    };
    changes.iter().map(&mut after).collect()
}

/// A handle of the file; clones are handles of the same file.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimFile(Arc<Mutex<Disk>>);

impl SimFile {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        let f = Self::default();
        {
            let mut d = f.disk();
            d.synced = bytes.clone();
            d.now = bytes;
        }
        f
    }

    /// Returns a file with a new container.
    pub(crate) fn container() -> Self {
        let (fixed, slot) = fresh("fake", 0, false, StorageClock::default()).unwrap();
        Self::of(new_head(&fixed, &slot))
    }

    /// Returns a container with this root page in its checkpoint, and these bytes after its superblock.
    pub(crate) fn with_base(root: PageRef, pages: &[u8]) -> Self {
        let (fixed, slot) = fresh("fake", 0, false, StorageClock::default()).unwrap();
        let end = DATA + pages.len() as u64;
        let slot = Slot { version: 1, base_version: 1, end, base_end: end, root: Some(root), ..slot };
        let mut bytes = new_head(&fixed, &slot);
        bytes.extend(pages);
        Self::of(bytes)
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock()
    }

    /// Makes the change with number `n` from now on fail with a fault.
    pub(crate) fn fail_at(&self, n: u64, fault: Fault) {
        let mut d = self.disk();
        d.changes = 0;
        d.fault = Some((n, fault));
    }

    /// Makes changes fail with faults, each a number of changes after the one before.
    pub(crate) fn fail_often(&self, mut faults: Vec<(u64, Fault)>) {
        faults.reverse();
        let mut d = self.disk();
        d.fault = faults.pop();
        (d.changes, d.later) = (0, faults);
    }

    /// Makes one in `one_of` reads fail, and another one return a wrong bit; with 0, no read fails.
    pub(crate) fn fail_reads(&self, one_of: u64) {
        self.disk().failing_reads = one_of;
    }

    /// Revives the file for another process after one died. The bytes that the dead process wrote are in the cache.
    pub(crate) fn revive(&self) {
        let mut d = self.disk();
        (d.dead, d.fault) = (false, None);
    }

    /// Limits the disk to `bytes` bytes of the file from now on.
    pub(crate) fn leave_space(&self, bytes: u64) {
        self.disk().free_space = Some(bytes);
    }

    /// Makes pages of zeros have no blocks from now on, as on a file system.
    pub(crate) fn be_sparse(&self) {
        self.disk().is_sparse = true;
    }

    /// Makes writes beyond this byte fail from now on, although the disk reports enough free space.
    pub(crate) fn set_quota(&self, bytes: u64) {
        self.leave_space(bytes);
        self.disk().is_quota = true;
    }

    /// Makes `count` syncs fail, beginning with sync number `from` from now on. The bytes that they should have written
    /// count as written, as on Linux, so the next sync writes only the length. If the system `drops` the bytes, they are
    /// removed from the cache, too, and the length is the old one, as on a server that loses its memory.
    pub(crate) fn fail_syncs(&self, from: u64, count: u64, drops: bool) {
        self.disk().failing_syncs = (from, count, drops);
    }

    /// Returns the number of changes since the last `fail_at`.
    pub(crate) fn changes(&self) -> u64 {
        self.disk().changes
    }

    pub(crate) fn take_counts(&self) -> CallCounts {
        std::mem::take(&mut self.disk().counts)
    }

    /// Returns the end of the reserved blocks that have not been returned.
    pub(crate) fn reserved(&self) -> u64 {
        self.disk().reserved
    }

    pub(crate) fn reservations(&self) -> u64 {
        self.disk().reservations
    }

    pub(crate) fn refuse_to_reserve(&self, refuses: bool) {
        self.disk().refuses = refuses;
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.disk().now.clone()
    }

    /// Returns the bytes after a power loss. Each sector of an unsynced change was written or not, as `chance` decides.
    pub(crate) fn after_power_loss(&self, mut chance: impl FnMut() -> bool) -> Vec<u8> {
        let d = self.disk();
        let mut bytes = d.synced.clone();
        for c in &d.unsynced {
            match c {
                SimChange::Len(_) => {
                    if chance() {
                        apply(&mut bytes, c);
                    }
                }
                SimChange::Write(at, data) => {
                    let mut from = 0;
                    while from < data.len() {
                        let to = ((*at as usize + from) / 512 * 512 + 512 - *at as usize).min(data.len());
                        if chance() {
                            apply(&mut bytes, &SimChange::Write(*at + from as u64, data[from..to].to_vec()));
                        }
                        from = to;
                    }
                }
            }
        }
        bytes
    }

    fn change(&self, c: SimChange) -> io::Result<()> {
        let mut d = self.disk();
        if d.dead {
            return Err(io::Error::other("dead"));
        }
        d.changes += 1;
        if let (SimChange::Write(at, data), Some(free_space)) = (&c, d.free_space)
            && *at + data.len() as u64 > free_space
        {
            return Err(io::Error::from_raw_os_error(if d.is_quota { 122 } else { 28 }));
        }
        let fault = d.fault.filter(|(n, _)| *n == d.changes).map(|(_, f)| f);
        if fault.is_some()
            && let Some((after, next)) = d.later.pop()
        {
            d.fault = Some((d.changes + after, next));
        }
        if fault == Some(Fault::FailDone) {
            apply(&mut d.now, &c);
            d.unsynced.push(c.clone());
        }
        if matches!(fault, Some(Fault::DieTorn | Fault::FullTorn | Fault::FailTorn))
            && let SimChange::Write(at, data) = &c
        {
            let half = SimChange::Write(*at, data[..data.len() / 2].to_vec());
            apply(&mut d.now, &half);
            d.unsynced.push(half);
        }
        match fault {
            Some(Fault::Die | Fault::DieTorn) => {
                d.dead = true;
                Err(io::Error::other("died"))
            }
            Some(Fault::Full | Fault::FullTorn) => Err(io::Error::from_raw_os_error(28)),
            Some(Fault::Fail | Fault::FailTorn | Fault::FailDone) => Err(io::Error::from_raw_os_error(5)),
            None => {
                if let SimChange::Write(_, data) = &c {
                    d.counts.writes += 1;
                    d.counts.written_bytes += data.len() as u64;
                }
                apply(&mut d.now, &c);
                d.unsynced.push(c);
                Ok(())
            }
        }
    }

    pub(crate) fn open(&self, access: Access, opts: &Options) -> Result<Ledger> {
        // There are no readers in these tests unless a test says so: free space is reused at once.
        self.open_with_rule(access, opts, ReclaimRule { least: 0, courtesy: 0 })
    }

    /// Opens the file like [`open`](Self::open), with the quarantine of `rule`.
    pub(crate) fn open_with_rule(&self, access: Access, opts: &Options, rule: ReclaimRule) -> Result<Ledger> {
        let mut head = [0; FIXED];
        self.read_at(&mut head, 0).unwrap();
        let fixed = Fixed::decode(&head, "fake")?;
        let storage = FileStorage {
            target: "fake".into(),
            raw: resyncing(counted(Arc::new(self.clone()), &opts.statistics), opts.sync, opts.writers),
            fixed,
            file: None,
            locks: Mutex::new(Locks::none()),
            lock_policy: LockPolicy::Off,
            handle: Mutex::default(),
            opener: AtomicU32::new(std::process::id()),
            writer: (access == Access::ReadWrite).then(Mutex::default),
            rule,
            options: opts.clone(),
            seen: Mutex::default(),
            known: Mutex::default(),
            clock: StorageClock::default(),
            tagged: None,
            journal: Default::default(),
            earlier_end: None,
            gone: Default::default(),
        };
        assert!(lock(&storage.seen).is_none());
        Ledger::start(Box::new(storage), access, opts)
    }
}

impl FileIo for SimFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let mut d = self.disk();
        if d.dead {
            return Err(io::Error::other("dead"));
        }
        d.counts.reads += 1;
        if d.failing_reads > 0 && d.counts.reads.is_multiple_of(d.failing_reads) {
            return Err(io::Error::from_raw_os_error(5));
        }
        d.counts.read_bytes += buf.len() as u64;
        let part = d.now.get(at as usize..at as usize + buf.len());
        buf.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        let number = d.counts.reads;
        if d.failing_reads > 0 && number % d.failing_reads == d.failing_reads / 2 && !buf.is_empty() {
            let at = number.wrapping_mul(7919) as usize % buf.len();
            buf[at] ^= 4;
        }
        Ok(())
    }

    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()> {
        self.change(SimChange::Write(at, data.to_vec()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let shorter = len <= self.len()?;
        self.change(SimChange::Len(len))?;
        if shorter {
            self.disk().reserved = 0;
        }
        Ok(())
    }

    fn reserve(&self, at: u64, len: u64) -> io::Result<()> {
        let mut d = self.disk();
        d.reservations += 1;
        if d.refuses {
            return Err(io::Error::from_raw_os_error(28));
        }
        d.reserved = d.reserved.max(at + len);
        Ok(())
    }

    fn has_spare(&self) -> io::Result<bool> {
        let d = self.disk();
        Ok(d.reserved > d.now.len() as u64)
    }

    fn holes(&self) -> io::Result<Vec<(u64, u64)>> {
        let d = self.disk();
        if d.is_sparse {
            return Ok(pages_of_zeros(&d.now));
        }
        let (length, from) = (d.now.len() as u64, d.free_space.unwrap_or(u64::MAX));
        Ok(if from < length { vec![(from, length - from)] } else { Vec::new() })
    }

    fn modified(&self) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn exchange(&self, _: &Arc<File>) {}

    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    fn expect_length(&self, _: u64) {}

    fn reopened(&self) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn available(&self) -> io::Result<u64> {
        let d = self.disk();
        if d.is_quota {
            return Ok(u64::MAX);
        }
        Ok(d.free_space.map_or(u64::MAX, |free_space| free_space.saturating_sub(d.now.len() as u64)))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk().now.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let mut d = self.disk();
        if d.dead {
            return Err(io::Error::other("dead"));
        }
        d.counts.syncs += 1;
        d.changes += 1;
        if let Some((n, Fault::Die | Fault::DieTorn)) = d.fault
            && n == d.changes
        {
            d.dead = true;
            return Err(io::Error::other("died"));
        }
        let (from, count, drops) = &mut d.failing_syncs;
        *from = from.saturating_sub(1);
        if *from == 0 && *count > 0 {
            (*from, *count) = (1, *count - 1);
            if *drops {
                d.unsynced.clear();
                d.now = d.synced.clone();
            } else {
                d.unsynced = lengths(&d.synced, &d.unsynced);
            }
            return Err(io::Error::from_raw_os_error(5));
        }
        for change in std::mem::take(&mut d.unsynced) {
            apply(&mut d.synced, &change);
        }
        Ok(())
    }
}
