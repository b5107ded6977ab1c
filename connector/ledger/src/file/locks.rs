//! Locks on a container's file: writer locks, and pins of readers.
//!
//! Locks are locks of the open file description (`F_OFD_SETLK`, Linux): they conflict within one process as they do between
//! processes, closing another descriptor of the file does not release them, and they end with their process. The processes
//! of an MPI program can use [lock files](crate::lock_files) on a file system that has no such locks.

mod probe;
mod sys;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::file::intrusion::{self, Identity};
use crate::file::lock_holders;
use crate::file::own_pins::{self, OwnPins};
use crate::lock_files::{self, HeldFiles};
use crate::options::{LockPolicy, Options, Writers};
use crate::process;

pub use self::probe::{HeldProbe, ProbeLock, SeenLock};
use self::sys::{is_taken, is_unsupported, uninterrupted};

/// Byte of the writer lock: exclusive for an exclusive writer, shared for concurrent writers.
pub(super) const WRITER: u64 = (1 << 62) - 1;
/// Byte of the commit lock: held by the concurrent writer that reserves space or commits.
const COMMIT: u64 = WRITER - 1;
/// Byte of the checkpoint lock: held by the concurrent writer that writes a checkpoint.
const CHECKPOINT: u64 = COMMIT - 1;
/// The time for which a writer waits for [`COMMIT`]. Other writers hold it for microseconds, unless they are stopped while
/// they hold it.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(60);
/// The time for which a checkpoint waits for [`COMMIT`]. No process waits for a checkpoint, and the next writer can write
/// it.
const MAX_TIDY_WAIT: Duration = Duration::from_secs(1);
const PINS: u64 = 1 << 62;
/// The greatest sequence that fits into the bytes after `PINS`.
const MAX_PINNED_SEQUENCE: u64 = i64::MAX as u64 - PINS;

/// The action if the file system has no locks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Opening fails.
    Required,
    /// Opening continues without locks.
    Optional,
}

/// How a handle locks.
#[derive(Debug)]
enum Means {
    /// It does not lock.
    Nothing,
    /// By locks on bytes of the file. Other code may close the descriptor. The file that then gets the descriptor's number
    /// is not this container's file, and locks on it are not locks on this container. The identity tells them apart.
    Bytes(Arc<File>, Identity),
    /// By lock files, which only processes of the same program see.
    Files(Box<HeldFiles>),
}

/// The locks of one open file.
#[derive(Debug)]
pub(crate) struct Locks {
    means: Means,
    /// The substitute for pins on file systems without locks.
    own: OwnPins,
    /// The number of forks of this process before the locks were taken.
    forks: u64,
    /// True while a checkpoint is being written.
    is_tidying: AtomicBool,
}

fn failed(target: &str, e: Errno) -> Error {
    match is_unsupported(e) {
        true => Error::new(target, ErrorKind::LocksUnsupported { errno: e as i32 }),
        false => Error::io(target, "locking", &e.into()),
    }
}

/// The number of attempts to release a lock if the call fails for another reason.
const MAX_RELEASE_ATTEMPTS: u32 = 3;

impl Locks {
    pub(crate) fn none() -> Self {
        Self {
            means: Means::Nothing,
            own: OwnPins::default(),
            forks: process::forks(),
            is_tidying: AtomicBool::new(false),
        }
    }

    /// Returns the locks of a file that is used without locking.
    fn unlocked(file: &File) -> Self {
        Self { own: OwnPins::of(intrusion::identity(file).numbers), ..Self::none() }
    }

    /// Takes the lock of the writer that the options describe. `Ok(None)` means that another process holds it.
    ///
    /// # Errors
    /// As for [`writer`](Self::writer), and if the lock files cannot be written.
    pub(crate) fn of_writer(file: &Arc<File>, opts: &Options, target: &str) -> Result<Option<Self>> {
        match (&opts.lock_files, opts.writers) {
            (Some(files), Writers::Many) => {
                let held = HeldFiles::enter(files)?;
                Ok(Some(Self { means: Means::Files(Box::new(held)), ..Self::unlocked(file) }))
            }
            _ => Self::writer(file, opts.lock, opts.writers, target),
        }
    }

    /// Takes the lock of an exclusive writer, or of a concurrent writer. `Ok(None)` means that another process holds it.
    ///
    /// # Errors
    /// `LocksUnsupported` if the file system has no locks and the policy requires them; concurrent writers always require
    /// them. `Io` for any other failure of the call.
    pub(crate) fn writer(
        file: &Arc<File>,
        policy: LockPolicy,
        writers: Writers,
        target: &str,
    ) -> Result<Option<Self>> {
        match writers {
            Writers::One => {
                let need = match policy {
                    LockPolicy::Required | LockPolicy::RequiredToWrite => Need::Required,
                    LockPolicy::BestEffort | LockPolicy::Off => Need::Optional,
                };
                Self::take(file, policy, need, target, sys::EXCLUSIVE, WRITER)
            }
            Writers::Many => {
                if policy == LockPolicy::Off {
                    let why = "writers=many needs file locks; do not turn them off, or let one process write";
                    return Err(Error::invalid(target, why));
                }
                Self::take(file, policy, Need::Required, target, sys::SHARED, WRITER)
            }
        }
    }

    /// Pins a sequence as a reader.
    pub(crate) fn reader(file: &Arc<File>, policy: LockPolicy, target: &str, sequence: u64) -> Result<Self> {
        let need = if policy == LockPolicy::Required { Need::Required } else { Need::Optional };
        let got =
            Self::take(file, policy, need, target, sys::SHARED, PINS + sequence.min(MAX_PINNED_SEQUENCE))?;
        let locks = got.unwrap_or_else(|| Self::unlocked(file));
        if !locks.work() {
            locks.own.pin(sequence);
        }
        Ok(locks)
    }

    fn take(
        file: &Arc<File>,
        policy: LockPolicy,
        need: Need,
        target: &str,
        kind: i32,
        at: u64,
    ) -> Result<Option<Self>> {
        if policy == LockPolicy::Off {
            return Ok(Some(Self::unlocked(file)));
        }
        // Forks are counted before the lock is taken.
        let none = Self::none();
        match uninterrupted(|| sys::set(file, kind, at)) {
            Ok(()) => Ok(Some(Self { means: Means::Bytes(file.clone(), intrusion::identity(file)), ..none })),
            Err(e) if is_taken(e) => Ok(None),
            Err(e) if is_unsupported(e) && need == Need::Optional => Ok(Some(Self::unlocked(file))),
            Err(e) => Err(failed(target, e)),
        }
    }

    /// Returns whether all programs see these locks.
    pub(crate) fn work(&self) -> bool {
        matches!(self.means, Means::Bytes(..))
    }

    /// Returns the locked file, if its descriptor still leads to it.
    fn checked<'a>(file: &'a File, id: &Identity, target: &str) -> Result<&'a File> {
        intrusion::check(file, id, 0).map_err(|e| Error::io(target, "locking", &e))?;
        Ok(file)
    }

    /// Pins one more sequence. Without the pin, a writer may reuse the space of that version.
    ///
    /// # Errors
    /// The errors of the call.
    pub(crate) fn pin(&self, sequence: u64, target: &str) -> Result<()> {
        match &self.means {
            Means::Nothing => self.own.pin(sequence),
            Means::Bytes(file, id) => {
                let file = Self::checked(file, id, target)?;
                self.lock_range(file, sys::SHARED, PINS + sequence.min(MAX_PINNED_SEQUENCE), 1, target)?;
            }
            Means::Files(held) => {
                let pinned = held.change(|list| _ = list.pins.insert(sequence));
                pinned.map_err(|e| Error::io(target, "pinning", &e))?;
                self.own.pin(sequence);
            }
        }
        Ok(())
    }

    /// Locks a range. Returns false if another description has locked a part of it.
    fn lock_range(&self, file: &File, kind: i32, at: u64, length: u64, target: &str) -> Result<bool> {
        match uninterrupted(|| sys::set_range(file, kind, at, length)) {
            Ok(()) => Ok(true),
            Err(e) if is_taken(e) => Ok(false),
            Err(e) => Err(failed(target, e)),
        }
    }

    pub(crate) fn unpin(&self, sequence: u64) {
        self.own.unpin(sequence);
        match &self.means {
            Means::Files(held) => {
                let _it_stays_pinned = held.change(|list| _ = list.pins.remove(&sequence));
            }
            _ => self.unlock(PINS + sequence.min(MAX_PINNED_SEQUENCE), 1),
        }
    }

    /// Returns whether a child that was forked since the locks were taken may share the open file, and so these locks.
    pub(crate) fn may_be_a_childs(&self) -> bool {
        self.forks != process::forks()
    }

    /// Releases a reader's pin, unless a forked child may share it, because no other pin protects the version that the
    /// child reads. In that case the pin ends when both processes have closed the file.
    pub(crate) fn unpin_own(&self, sequence: u64) {
        if !self.may_be_a_childs() {
            self.unpin(sequence);
        }
    }

    pub(crate) fn release_writer(&self) {
        self.unlock(WRITER, 1);
    }

    /// Unlocks bytes explicitly instead of by closing the file, because a forked child may still have the description open. A
    /// failed call is repeated, because other processes wait for as long as the file is open. If other code closed the
    /// descriptor, the system has released all locks.
    fn unlock(&self, offset: u64, length: u64) {
        let Means::Bytes(file, id) = &self.means else { return };
        let Ok(file) = Self::checked(file, id, "") else { return };
        let unlock = || uninterrupted(|| sys::set_range(file, sys::NONE, offset, length));
        let _closing_unlocks_too = (0..MAX_RELEASE_ATTEMPTS).find_map(|_| unlock().ok());
    }

    /// Returns the lowest sequence below `end` that a reader has pinned. Returns 0 (all versions are needed) if locks fail.
    pub(crate) fn lowest_pin(&self, end: u64) -> Option<u64> {
        let id = match &self.means {
            Means::Bytes(_, id) => Some(id.numbers),
            _ => self.own.file(),
        };
        let own = id.and_then(|id| own_pins::lowest(id, end));
        let other_pins = match &self.means {
            Means::Nothing => None,
            Means::Bytes(file, id) => match Self::checked(file, id, "") {
                Ok(file) => Self::lowest_locked(file, end),
                Err(_) => Some(0),
            },
            Means::Files(held) => match held.other_lists() {
                Ok(lists) => lists.iter().filter_map(|list| list.pins.range(..end).next().copied()).min(),
                Err(_) => Some(0),
            },
        };
        own.into_iter().chain(other_pins).min()
    }

    fn lowest_locked(file: &File, end: u64) -> Option<u64> {
        let mut end = end.min(MAX_PINNED_SEQUENCE);
        let mut lowest = None;
        while end > 0 {
            match uninterrupted(|| sys::find(file, PINS, end)) {
                Ok(None) => break,
                // The system may report any one of several adjacent locks, so search again below this one.
                Ok(Some((at, _))) => {
                    end = at.saturating_sub(PINS).min(end - 1);
                    lowest = Some(end);
                }
                Err(_) => return Some(0),
            }
        }
        lowest
    }
}

/// The locks of concurrent writers.
impl Locks {
    /// Waits until no other writer reserves or commits. Polls, so that a writer that was stopped while it held the lock
    /// does not block other writers for ever.
    pub(crate) fn enter(&self, target: &str) -> Result<()> {
        let start = Instant::now();
        let patience = if self.is_tidying.load(Ordering::Relaxed) { MAX_TIDY_WAIT } else { MAX_LOCK_WAIT };
        let mut pause = Duration::from_micros(20);
        while !self.try_lock(COMMIT, lock_files::COMMIT, target)? {
            if start.elapsed() >= patience {
                let processes = self.holders(COMMIT);
                let seconds = start.elapsed().as_secs();
                return Err(Error::new(target, ErrorKind::CommitsLocked { processes, seconds }));
            }
            std::thread::sleep(pause);
            pause = (pause * 3 / 2).min(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Takes the lock of a byte, or the lock file in its place. Returns false if another writer holds it.
    fn try_lock(&self, byte: u64, file_name: &str, target: &str) -> Result<bool> {
        match &self.means {
            Means::Nothing => Ok(true),
            Means::Bytes(file, id) => {
                self.lock_range(Self::checked(file, id, target)?, sys::EXCLUSIVE, byte, 1, target)
            }
            Means::Files(held) => held.take(file_name).map_err(|e| Error::io(target, "locking", &e)),
        }
    }

    /// Releases what [`try_lock`](Self::try_lock) has taken.
    fn release_lock(&self, byte: u64, file_name: &str) {
        match &self.means {
            Means::Files(held) => held.release(file_name),
            _ => self.unlock(byte, 1),
        }
    }

    /// Returns the processes of this machine that hold a lock on a byte.
    fn holders(&self, at: u64) -> Vec<u32> {
        match &self.means {
            Means::Bytes(file, _) => lock_holders::of(file, at),
            Means::Nothing | Means::Files(_) => Vec::new(),
        }
    }

    pub(crate) fn leave(&self) {
        self.release_lock(COMMIT, lock_files::COMMIT);
    }

    /// Returns whether this writer may write a checkpoint now. Does not wait for the lock.
    pub(crate) fn begin_checkpoint(&self) -> bool {
        let may = self.try_lock(CHECKPOINT, lock_files::CHECKPOINT, "").unwrap_or(false);
        self.is_tidying.store(may, Ordering::Relaxed);
        may
    }

    pub(crate) fn end_checkpoint(&self) {
        self.is_tidying.store(false, Ordering::Relaxed);
        self.release_lock(CHECKPOINT, lock_files::CHECKPOINT);
    }

    /// Returns the error for bytes that are locked by a process that is not a writer of this container.
    pub(crate) fn locked_by_foreign_process(&self, target: &str, at: u64) -> Error {
        let processes = self.holders(at);
        Error::new(target, ErrorKind::Locked { holder: None, is_gone: false, processes })
    }

    /// Locks a range of the file, in which this writer will write. Returns false if another writer has locked a part of it.
    ///
    /// # Errors
    /// The errors of the call.
    pub(crate) fn reserve(&self, offset: u64, length: u64, target: &str) -> Result<bool> {
        match &self.means {
            Means::Nothing => Ok(true),
            Means::Bytes(file, id) => {
                let file = Self::checked(file, id, target)?;
                self.lock_range(file, sys::EXCLUSIVE, offset, length, target)
            }
            Means::Files(held) => {
                let listed = held.change(|list| _ = list.regions.insert((offset, length)));
                listed.map(|()| true).map_err(|e| Error::io(target, "reserving", &e))
            }
        }
    }

    /// Releases a range that this writer has reserved.
    pub(crate) fn release(&self, offset: u64, length: u64) {
        self.narrow((offset, length), &[]);
    }

    /// Releases a range that this writer has reserved, except for these parts of it (ascending).
    pub(crate) fn narrow(&self, range: (u64, u64), parts: &[(u64, u64)]) {
        if let Means::Files(held) = &self.means {
            let _it_stays_reserved = held.change(|list| {
                list.regions.remove(&range);
                list.regions.extend(parts);
            });
            return;
        }
        let mut at = range.0;
        for &(offset, length) in parts.iter().chain(&[(range.0 + range.1, 0)]) {
            if at < offset {
                self.unlock(at, offset - at);
            }
            at = offset + length;
        }
    }

    /// Returns the ranges that other writers have reserved, ascending.
    pub(crate) fn reserved(&self, target: &str) -> Result<Vec<(u64, u64)>> {
        let mut found = match &self.means {
            Means::Nothing => Vec::new(),
            Means::Bytes(file, id) => Self::locked_ranges(Self::checked(file, id, target)?, target)?,
            Means::Files(held) => {
                let lists = held.other_lists().map_err(|e| Error::io(target, "reserving", &e))?;
                lists.iter().flat_map(|list| &list.regions).copied().collect()
            }
        };
        found.sort_unstable();
        Ok(found)
    }

    fn locked_ranges(file: &File, target: &str) -> Result<Vec<(u64, u64)>> {
        let mut found = Vec::new();
        // The system may report any one of several locks, so the ranges on both sides of it are queried again.
        let mut asked = vec![(0, CHECKPOINT)];
        while let Some((from, to)) = asked.pop() {
            if from >= to {
                continue;
            }
            let answer = uninterrupted(|| sys::find(file, from, to - from));
            match answer.map_err(|e| failed(target, e))? {
                None => (),
                Some((at, len)) => {
                    let end = if len == 0 { to } else { at.saturating_add(len).min(to) };
                    let at = at.max(from);
                    found.push((at, end - at));
                    asked.push((from, at));
                    asked.push((end, to));
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::sys::failing;
    use super::*;

    const ALL: [LockPolicy; 4] =
        [LockPolicy::Required, LockPolicy::RequiredToWrite, LockPolicy::BestEffort, LockPolicy::Off];

    fn file() -> Arc<File> {
        Arc::new(tempfile::tempfile().unwrap())
    }

    fn with<T>(errno: Errno, times: u32, call: impl FnOnce() -> T) -> T {
        failing::WITH.set((errno, times));
        let done = call();
        failing::WITH.set((errno, 0));
        done
    }

    #[test]
    fn a_file_system_without_locks_is_reported_according_to_the_policy() {
        for errno in [Errno::ENOLCK, Errno::ENOSYS, Errno::EOPNOTSUPP, Errno::EINVAL] {
            let writer =
                |p| with(errno, 1, || Locks::writer(&file(), p, Writers::One, "x").map(|l| l.is_some()));
            let reader = |p| with(errno, 1, || Locks::reader(&file(), p, "x", 7).map(|l| l.work()));
            let allowed = ALL.map(|p| (writer(p).is_ok(), reader(p).is_ok()));
            assert_eq!(allowed, [(false, false), (false, true), (true, true), (true, true)], "{errno}");
            let e = writer(LockPolicy::default()).unwrap_err();
            assert_eq!(*e.kind(), ErrorKind::LocksUnsupported { errno: errno as i32 });
            assert!(e.to_string().contains("HDF5_USE_FILE_LOCKING=BEST_EFFORT"), "{e}");
            let many = with(errno, 1, || Locks::writer(&file(), LockPolicy::BestEffort, Writers::Many, "x"));
            assert!(many.is_err(), "many writers cannot do without");
        }
    }

    #[test]
    fn a_writer_sees_readers_of_its_own_process_that_have_no_locks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "bytes").unwrap();
        let open = || Arc::new(File::options().read(true).write(true).open(&path).unwrap());
        for policy in [LockPolicy::default(), LockPolicy::Off] {
            let writer = Locks::writer(&open(), policy, Writers::One, "x").unwrap().unwrap();
            let reader = Locks::reader(&open(), LockPolicy::Off, "x", 7).unwrap();
            assert_eq!(writer.lowest_pin(100), Some(7));
            reader.pin(9, "x").unwrap();
            assert_eq!(writer.lowest_pin(100), Some(7));
            reader.unpin(7);
            assert_eq!((writer.lowest_pin(100), writer.lowest_pin(9)), (Some(9), None));
            drop(reader);
            assert_eq!(writer.lowest_pin(100), None);
        }
    }

    #[test]
    fn other_lock_failures_are_reported_unchanged() {
        for policy in &ALL[..3] {
            let e = with(Errno::EIO, 1, || Locks::writer(&file(), *policy, Writers::One, "x")).unwrap_err();
            assert_eq!(e.errno(), Some(5), "{e}");
            assert!(!e.to_string().contains("copy") && !e.to_string().contains("no locks"), "{e}");
        }
        let locks = Locks::writer(&file(), LockPolicy::Required, Writers::Many, "x").unwrap().unwrap();
        let failed = [
            with(Errno::EIO, 1, || locks.reserve(64, 64, "x").map(drop)),
            with(Errno::EIO, 1, || locks.pin(3, "x")),
            with(Errno::EIO, 1, || locks.enter("x")),
        ];
        for e in failed {
            assert_eq!(e.unwrap_err().errno(), Some(5));
        }
    }

    #[test]
    fn an_interrupted_call_is_made_again() {
        let locks = with(Errno::EINTR, 3, || Locks::writer(&file(), LockPolicy::Required, Writers::One, "x"));
        assert!(locks.unwrap().unwrap().work());
    }

    #[test]
    fn a_lock_is_released_although_a_call_fails() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let open = || Arc::new(named.reopen().unwrap());
        let locks = Locks::writer(&open(), LockPolicy::Required, Writers::Many, "x").unwrap().unwrap();
        let other = open();
        for (errno, times) in [(Errno::EINTR, 3), (Errno::EIO, 1), (Errno::ENOLCK, 1)] {
            locks.enter("x").unwrap();
            assert!(locks.begin_checkpoint() && locks.reserve(64, 64, "x").unwrap());
            locks.pin(3, "x").unwrap();
            let calls: [&dyn Fn(); 5] = [
                &|| locks.leave(),
                &|| locks.end_checkpoint(),
                &|| locks.release(64, 64),
                &|| locks.unpin(3),
                &|| locks.release_writer(),
            ];
            for call in calls {
                with(errno, times, call);
            }
            assert_eq!(sys::find(&other, 0, 0), Ok(None), "{errno}");
        }
    }
}
