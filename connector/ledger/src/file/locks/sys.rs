//! Calls of the kernel for locks of an open file description (`F_OFD_SETLK`, Linux).

use std::fs::File;

use nix::errno::Errno;

#[cfg(target_os = "linux")]
pub(super) use self::linux::{EXCLUSIVE, NONE, SHARED, find, set_range};
#[cfg(not(target_os = "linux"))]
pub(super) use self::without::{EXCLUSIVE, NONE, SHARED, find, set_range};

/// Locks or unlocks one byte.
pub(super) fn set(file: &File, kind: i32, at: u64) -> Result<(), Errno> {
    set_range(file, kind, at, 1)
}

/// Returns whether another description holds a conflicting lock.
pub(super) fn is_taken(e: Errno) -> bool {
    matches!(e, Errno::EAGAIN | Errno::EACCES)
}

/// Returns whether the file system has no such locks, or its lock server does not answer.
pub(super) fn is_unsupported(e: Errno) -> bool {
    matches!(e, Errno::ENOLCK | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EINVAL)
}

/// The number of times that a call is repeated after it was interrupted by a signal.
const MAX_INTERRUPTIONS: u32 = 100;

pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    let mut done = call();
    for _ in 0..MAX_INTERRUPTIONS {
        if !matches!(done, Err(Errno::EINTR)) {
            break;
        }
        done = call();
    }
    done
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;

    use nix::errno::Errno;
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

    pub(in super::super) const SHARED: i32 = libc::F_RDLCK;
    pub(in super::super) const EXCLUSIVE: i32 = libc::F_WRLCK;
    pub(in super::super) const NONE: i32 = libc::F_UNLCK;

    pub(in super::super) fn set_range(file: &File, kind: i32, at: u64, len: u64) -> Result<(), Errno> {
        #[cfg(test)]
        super::failing::take()?;
        fcntl(file, FcntlArg::F_OFD_SETLK(&range(kind, at, len))).map(drop)
    }

    /// Returns the start and length of a lock of another description that overlaps a range, if there is one. A length of 0
    /// means a lock up to the greatest offset.
    pub(in super::super) fn find(file: &File, start: u64, len: u64) -> Result<Option<(u64, u64)>, Errno> {
        let mut asked = range(EXCLUSIVE, start, len);
        fcntl(file, FcntlArg::F_OFD_GETLK(&mut asked))?;
        Ok((i32::from(asked.l_type) != NONE).then_some((asked.l_start as u64, asked.l_len as u64)))
    }
}

#[cfg(not(target_os = "linux"))]
mod without {
    use std::fs::File;

    use nix::errno::Errno;

    pub(in super::super) const SHARED: i32 = 0;
    pub(in super::super) const EXCLUSIVE: i32 = 1;
    pub(in super::super) const NONE: i32 = 2;

    pub(in super::super) fn set_range(_: &File, _: i32, _: u64, _: u64) -> Result<(), Errno> {
        Err(Errno::ENOLCK)
    }

    pub(in super::super) fn find(_: &File, _: u64, _: u64) -> Result<Option<(u64, u64)>, Errno> {
        Err(Errno::ENOLCK)
    }
}

/// Makes lock calls of a thread fail in tests.
#[cfg(test)]
pub(super) mod failing {
    use std::cell::Cell;

    use super::Errno;

    thread_local! {
        /// The error, and the number of calls that fail.
        pub(in super::super) static WITH: Cell<(Errno, u32)> = const { Cell::new((Errno::EIO, 0)) };
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
