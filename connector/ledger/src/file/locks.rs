//! Locks on a container's file: the one writer's, and the readers' pins.
//!
//! They are locks of the open file description (`F_OFD_SETLK`, Linux): they conflict within one process as they do between
//! processes, closing another descriptor of the file does not drop them, and they die with their process.

use std::fs::File;
use std::sync::Arc;

use nix::errno::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::options::LockPolicy;

const WRITER: u64 = (1 << 62) - 1;
const PINS: u64 = 1 << 62;
/// Sequences that fit into the bytes behind `PINS`.
const LAST: u64 = i64::MAX as u64 - PINS;

/// The locks of one open file. Without a file, nothing is locked.
#[derive(Debug)]
pub(crate) struct Locks {
    file: Option<Arc<File>>,
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
        fcntl(file, FcntlArg::F_OFD_SETLK(&range(kind, at, 1))).map(drop)
    }

    /// The start of a lock of another description in a range, if there is one.
    pub(super) fn find(file: &File, start: u64, len: u64) -> Result<Option<u64>, Errno> {
        let mut asked = range(EXCLUSIVE, start, len);
        fcntl(file, FcntlArg::F_OFD_GETLK(&mut asked))?;
        Ok((i32::from(asked.l_type) != NONE).then_some(asked.l_start as u64))
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

    pub(super) fn find(_: &File, _: u64, _: u64) -> Result<Option<u64>, Errno> {
        Err(Errno::ENOLCK)
    }
}

impl Locks {
    pub(crate) fn none() -> Self {
        Self { file: None }
    }

    /// Takes the writer's lock. `Ok(None)`: somebody else has it.
    pub(crate) fn writer(file: &Arc<File>, policy: LockPolicy, target: &str) -> Result<Option<Self>> {
        Self::take(file, policy, target, sys::EXCLUSIVE, WRITER)
    }

    /// Pins a sequence as a reader.
    pub(crate) fn reader(file: &Arc<File>, policy: LockPolicy, target: &str, sequence: u64) -> Result<Self> {
        let got = Self::take(file, policy, target, sys::SHARED, PINS + sequence.min(LAST))?;
        Ok(got.unwrap_or_else(Self::none))
    }

    fn take(file: &Arc<File>, policy: LockPolicy, target: &str, kind: i32, at: u64) -> Result<Option<Self>> {
        if policy == LockPolicy::Off {
            return Ok(Some(Self::none()));
        }
        match sys::set(file, kind, at) {
            Ok(()) => Ok(Some(Self { file: Some(file.clone()) })),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(_) if policy == LockPolicy::BestEffort => Ok(Some(Self::none())),
            Err(e) => Err(Error::new(target, ErrorKind::LocksUnsupported { errno: e as i32 })),
        }
    }

    /// Whether locks are in use.
    pub(crate) fn work(&self) -> bool {
        self.file.is_some()
    }

    /// Pins one more sequence.
    pub(crate) fn pin(&self, sequence: u64) {
        if let Some(f) = &self.file {
            // Shared locks of readers conflict with nothing; where one worked, the next one does.
            let _ = sys::set(f, sys::SHARED, PINS + sequence.min(LAST));
        }
    }

    pub(crate) fn unpin(&self, sequence: u64) {
        self.unlock(PINS + sequence.min(LAST));
    }

    pub(crate) fn release_writer(&self) {
        self.unlock(WRITER);
    }

    /// Unlocked by hand rather than by closing, because a forked child may still have the description open.
    fn unlock(&self, at: u64) {
        if let Some(f) = &self.file {
            let _closing_unlocks_too = sys::set(f, sys::NONE, at);
        }
    }

    /// The lowest sequence below `end` that a reader has pinned. Answers 0 (all are needed) when locks fail.
    pub(crate) fn lowest_pin(&self, end: u64) -> Option<u64> {
        let f = self.file.as_ref()?;
        let mut end = end.min(LAST);
        let mut lowest = None;
        while end > 0 {
            match sys::find(f, PINS, end) {
                Ok(None) => break,
                // Locks next to one another may be reported as they come; look again below this one.
                Ok(Some(at)) => {
                    end = at.saturating_sub(PINS).min(end - 1);
                    lowest = Some(end);
                }
                Err(_) => return Some(0),
            }
        }
        lowest
    }
}
