//! Locks on a container's file: writer locks, and pins of readers.
//!
//! All locks are locks of the open file description (`F_OFD_SETLK`, Linux): they conflict within one process as they do between processes,
//! closing another descriptor of the file does not release them, and they end with their process.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::file::intrusion::{self, Identity};
use crate::file::lock_holders;
use crate::file::own_pins::{self, OwnPins};
use crate::options::{LockPolicy, Writers};
use crate::process;

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

/// The locks of one open file. Without a file, nothing is locked.
#[derive(Debug)]
pub(crate) struct Locks {
    /// The locked file with its identity. Other code may close the descriptor. The file that then gets the descriptor's
    /// number is not this container's file, and locks on it are not locks on this container.
    file: Option<(Arc<File>, Identity)>,
    /// The substitute for pins on file systems without locks.
    own: OwnPins,
    /// The number of forks of this process before the locks were taken.
    forks: u64,
    /// True while a checkpoint is being written.
    is_tidying: AtomicBool,
}

#[cfg(target_os = "linux")]
mod sys {
    use super::{Errno, File};
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    fn range(kind: i32, start: u64, len: u64) -> libc::flock {
        libc::flock {
            l_type: kind as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: start as i64,
            l_len: len as i64,
            l_pid: 0,
        }
    }

    pub(super) const SHARED: i32 = libc::F_RDLCK;
    pub(super) const EXCLUSIVE: i32 = libc::F_WRLCK;
    pub(super) const NONE: i32 = libc::F_UNLCK;

    pub(super) fn set(file: &File, kind: i32, at: u64) -> Result<(), Errno> {
        set_range(file, kind, at, 1)
    }

    pub(super) fn set_range(file: &File, kind: i32, at: u64, len: u64) -> Result<(), Errno> {
        #[cfg(test)]
        super::failing::take()?;
        fcntl(file, FcntlArg::F_OFD_SETLK(&range(kind, at, len))).map(drop)
    }

    /// Returns the start and length of a lock of another description that overlaps a range, if there is one. A length of 0
    /// means a lock up to the greatest offset.
    pub(super) fn find(file: &File, start: u64, len: u64) -> Result<Option<(u64, u64)>, Errno> {
        let mut asked = range(EXCLUSIVE, start, len);
        fcntl(file, FcntlArg::F_OFD_GETLK(&mut asked))?;
        Ok((i32::from(asked.l_type) != NONE).then_some((asked.l_start as u64, asked.l_len as u64)))
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use super::{Errno, File};
    pub(super) const SHARED: i32 = 0;
    pub(super) const EXCLUSIVE: i32 = 1;
    pub(super) const NONE: i32 = 2;

    pub(super) fn set(_: &File, _: i32, _: u64) -> Result<(), Errno> {
        Err(Errno::ENOLCK)
    }

    pub(super) fn set_range(_: &File, _: i32, _: u64, _: u64) -> Result<(), Errno> {
        Err(Errno::ENOLCK)
    }

    pub(super) fn find(_: &File, _: u64, _: u64) -> Result<Option<(u64, u64)>, Errno> {
        Err(Errno::ENOLCK)
    }
}

/// Returns whether another description holds a conflicting lock.
fn is_taken(e: Errno) -> bool {
    matches!(e, Errno::EAGAIN | Errno::EACCES)
}

/// Returns whether the file system has no such locks, or its lock server does not answer.
fn is_unsupported(e: Errno) -> bool {
    matches!(e, Errno::ENOLCK | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EINVAL)
}

fn failed(target: &str, e: Errno) -> Error {
    match is_unsupported(e) {
        true => Error::new(target, ErrorKind::LocksUnsupported { errno: e as i32 }),
        false => Error::io(target, "locking", &e.into()),
    }
}

/// The number of times that a call is repeated after it was interrupted by a signal.
const MAX_INTERRUPTIONS: u32 = 100;
/// The number of attempts to release a lock if the call fails for another reason.
const MAX_RELEASE_ATTEMPTS: u32 = 3;

fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    let mut done = call();
    for _ in 0..MAX_INTERRUPTIONS {
        if !matches!(done, Err(Errno::EINTR)) {
            break;
        }
        done = call();
    }
    done
}

impl Locks {
    pub(crate) fn none() -> Self {
        Self {
            file: None,
            own: OwnPins::default(),
            forks: process::forks(),
            is_tidying: AtomicBool::new(false),
        }
    }

    /// Returns the locks of a file that is used without locking.
    fn unlocked(file: &File) -> Self {
        Self { own: OwnPins::of(intrusion::identity(file).numbers), ..Self::none() }
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
            Ok(()) => Ok(Some(Self { file: Some((file.clone(), intrusion::identity(file))), ..none })),
            Err(e) if is_taken(e) => Ok(None),
            Err(e) if is_unsupported(e) && need == Need::Optional => Ok(Some(Self::unlocked(file))),
            Err(e) => Err(failed(target, e)),
        }
    }

    /// Returns whether locks are in use.
    pub(crate) fn work(&self) -> bool {
        self.file.is_some()
    }

    /// Returns the locked file, if there is one and its descriptor still leads to it.
    fn file(&self) -> io::Result<Option<&File>> {
        let Some((file, id)) = &self.file else { return Ok(None) };
        intrusion::check(file, id, 0)?;
        Ok(Some(file))
    }

    /// Returns the locked file as [`file`](Self::file) does, for an operation that has a target.
    fn file_of(&self, target: &str) -> Result<Option<&File>> {
        self.file().map_err(|e| Error::io(target, "locking", &e))
    }

    /// Pins one more sequence. Without the pin, a writer may reuse the space of that version.
    ///
    /// # Errors
    /// The errors of the call.
    pub(crate) fn pin(&self, sequence: u64, target: &str) -> Result<()> {
        match self.file_of(target)? {
            Some(f) => {
                self.lock_range(f, sys::SHARED, PINS + sequence.min(MAX_PINNED_SEQUENCE), 1, target).map(drop)
            }
            None => {
                self.own.pin(sequence);
                Ok(())
            }
        }
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
        self.release(PINS + sequence.min(MAX_PINNED_SEQUENCE), 1);
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
        self.release(WRITER, 1);
    }

    /// Unlocks explicitly instead of by closing the file, because a forked child may still have the description open. A failed
    /// call is repeated, because other processes wait for as long as the file is open. If other code closed the descriptor, the
    /// system has released all locks.
    pub(crate) fn release(&self, offset: u64, length: u64) {
        let Ok(Some(f)) = self.file() else { return };
        let unlock = || uninterrupted(|| sys::set_range(f, sys::NONE, offset, length));
        let _closing_unlocks_too = (0..MAX_RELEASE_ATTEMPTS).find_map(|_| unlock().ok());
    }

    /// Returns the lowest sequence below `end` that a reader has pinned. Returns 0 (all versions are needed) if locks fail.
    pub(crate) fn lowest_pin(&self, end: u64) -> Option<u64> {
        let id = self.file.as_ref().map(|(_, id)| id.numbers).or(self.own.file());
        let own = id.and_then(|id| own_pins::lowest(id, end));
        own.into_iter().chain(self.lowest_locked(end)).min()
    }

    fn lowest_locked(&self, end: u64) -> Option<u64> {
        let f = match self.file() {
            Ok(file) => file?,
            Err(_) => return Some(0),
        };
        let mut end = end.min(MAX_PINNED_SEQUENCE);
        let mut lowest = None;
        while end > 0 {
            match uninterrupted(|| sys::find(f, PINS, end)) {
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
        let Some(f) = self.file_of(target)? else { return Ok(()) };
        let start = Instant::now();
        let patience = if self.is_tidying.load(Ordering::Relaxed) { MAX_TIDY_WAIT } else { MAX_LOCK_WAIT };
        let mut pause = Duration::from_micros(20);
        loop {
            match sys::set(f, sys::EXCLUSIVE, COMMIT) {
                Ok(()) => return Ok(()),
                Err(Errno::EAGAIN | Errno::EACCES | Errno::EINTR) if start.elapsed() < patience => {
                    std::thread::sleep(pause);
                    pause = (pause * 3 / 2).min(Duration::from_millis(1));
                }
                Err(Errno::EAGAIN | Errno::EACCES | Errno::EINTR) => {
                    let (processes, seconds) = (lock_holders::of(f, COMMIT), start.elapsed().as_secs());
                    return Err(Error::new(target, ErrorKind::CommitsLocked { processes, seconds }));
                }
                Err(e) => return Err(failed(target, e)),
            }
        }
    }

    pub(crate) fn leave(&self) {
        self.release(COMMIT, 1);
    }

    /// Returns whether this writer may write a checkpoint now. Does not wait for the lock.
    pub(crate) fn begin_checkpoint(&self) -> bool {
        let take = |f| uninterrupted(|| sys::set(f, sys::EXCLUSIVE, CHECKPOINT)).is_ok();
        let may = self.file().is_ok_and(|file| file.is_none_or(take));
        self.is_tidying.store(may, Ordering::Relaxed);
        may
    }

    pub(crate) fn end_checkpoint(&self) {
        self.is_tidying.store(false, Ordering::Relaxed);
        self.release(CHECKPOINT, 1);
    }

    /// Returns the error for bytes that are locked by a process that is not a writer of this container.
    pub(crate) fn locked_by_others(&self, target: &str, at: u64) -> Error {
        let processes = self.file.as_ref().map_or_else(Vec::new, |(f, _)| lock_holders::of(f, at));
        Error::new(target, ErrorKind::Locked { holder: None, is_gone: false, processes })
    }

    /// Locks a range of the file, in which this writer will write. Returns false if another writer has locked a part of it.
    ///
    /// # Errors
    /// The errors of the call.
    pub(crate) fn reserve(&self, offset: u64, length: u64, target: &str) -> Result<bool> {
        match self.file_of(target)? {
            Some(f) => self.lock_range(f, sys::EXCLUSIVE, offset, length, target),
            None => Ok(true),
        }
    }

    /// Returns the ranges that other writers have reserved, ascending.
    pub(crate) fn reserved(&self, target: &str) -> Result<Vec<(u64, u64)>> {
        let Some(f) = self.file_of(target)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        // The system may report any one of several locks, so the ranges on both sides of it are queried again.
        let mut asked = vec![(0, CHECKPOINT)];
        while let Some((from, to)) = asked.pop() {
            if from >= to {
                continue;
            }
            let answer = uninterrupted(|| sys::find(f, from, to - from));
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
        found.sort_unstable();
        Ok(found)
    }
}

/// Makes lock calls of a thread fail in tests.
#[cfg(test)]
mod failing {
    use std::cell::Cell;

    use super::Errno;

    thread_local! {
        /// The error, and the number of calls that fail.
        pub(super) static WITH: Cell<(Errno, u32)> = const { Cell::new((Errno::EIO, 0)) };
    }

    pub(super) fn take() -> nix::Result<()> {
        match WITH.get() {
            (_, 0) => Ok(()),
            (errno, left) => {
                WITH.set((errno, left - 1));
                Err(errno)
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
    fn a_file_system_without_locks_is_told_as_the_policy_says() {
        for errno in [Errno::ENOLCK, Errno::ENOSYS, Errno::EOPNOTSUPP, Errno::EINVAL] {
            let writer =
                |p| with(errno, 1, || Locks::writer(&file(), p, Writers::One, "x").map(|l| l.is_some()));
            let reader = |p| with(errno, 1, || Locks::reader(&file(), p, "x", 7).map(|l| l.work()));
            let told = ALL.map(|p| (writer(p).is_ok(), reader(p).is_ok()));
            assert_eq!(told, [(false, false), (false, true), (true, true), (true, true)], "{errno}");
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
    fn other_failures_are_told_as_they_are() {
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
