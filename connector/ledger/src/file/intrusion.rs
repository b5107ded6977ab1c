//! Detects that the descriptor of an open container leads to another file, or that the file was truncated.
//!
//! A descriptor is a number. Other code in the program may close it by mistake, and the system gives the number to the next file that
//! is opened: writes through it would change that file. So the descriptor is compared with the container's file before each operation
//! that changes the file or its locks. This is one system call, which reads no disk and, on a network, asks no server.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;

use crate::error::Tampering;

/// Device and inode of a file.
pub(crate) type FileId = (u64, u64);

/// The identity of a file. Device and inode alone are not enough: once a file is deleted, the system may give its inode to a new file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    /// Device and inode.
    pub(crate) numbers: FileId,
    /// The time of birth in seconds and nanoseconds, if the file system provides it.
    born: Option<(i64, u32)>,
}

impl Identity {
    /// Returns the identity of a file of which only device and inode are known.
    pub(crate) fn of(numbers: FileId) -> Self {
        Self { numbers, born: None }
    }

    /// Returns whether two identities can be those of one file.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        let is_born_with = self.born.zip(other.born).is_none_or(|(one, other)| one == other);
        self.numbers == other.numbers && is_born_with
    }
}

/// A device and an inode that no file has. This pair is used if the identity of a file cannot be read.
const NO_FILE: FileId = (u64::MAX, 0);

/// Returns the identity and length of an open file. Times of changes are not requested, because a network file system would first send all
/// written data.
fn status(file: &File, sync: AtFlags) -> io::Result<(Identity, u64)> {
    #[cfg(test)]
    counting::note();
    let wanted = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::SIZE | StatxFlags::BTIME;
    match rustix::fs::statx(file, "", AtFlags::EMPTY_PATH | sync, wanted) {
        Ok(found) => {
            let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
            let has_birth = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
            let born = has_birth.then_some((found.stx_btime.tv_sec, found.stx_btime.tv_nsec));
            Ok((Identity { numbers: (device, found.stx_ino), born }, found.stx_size))
        }
        // Old kernels and some container runtimes do not know this call.
        Err(Errno::NOSYS | Errno::PERM) => {
            let found = rustix::fs::fstat(file)?;
            let length = u64::try_from(found.st_size).unwrap_or(0);
            Ok((Identity::of((found.st_dev, found.st_ino)), length))
        }
        Err(e) => Err(e.into()),
    }
}

/// Returns the identity of an open file.
pub(crate) fn identity(file: &File) -> Identity {
    status(file, AtFlags::STATX_DONT_SYNC).map_or(Identity::of(NO_FILE), |(id, _)| id)
}

/// Checks that a descriptor still leads to the file with this identity, and that the file has at least `least` bytes.
///
/// # Errors
/// An error that [`Tampering::of`] recognises; the errors of the call.
pub(crate) fn check(file: &File, id: &Identity, least: u64) -> io::Result<()> {
    let closed = || Tampering::DescriptorClosed { descriptor: file.as_raw_fd() }.into();
    let length = match status(file, AtFlags::STATX_DONT_SYNC) {
        Ok((found, _)) if !found.matches(id) => return Err(closed()),
        Ok((_, length)) => length,
        Err(e) if e.raw_os_error() == Some(libc::EBADF) => return Err(closed()),
        Err(e) => return Err(e),
    };
    if length >= least {
        return Ok(());
    }
    // Another machine may have lengthened the file since this one last asked the server.
    let (_, length) = status(file, AtFlags::STATX_FORCE_SYNC)?;
    if length >= least { Ok(()) } else { Err(Tampering::Truncated { length, least }.into()) }
}

/// An open file that is closed when dropped, unless other code closed its descriptor: the number may belong to a file of that
/// code by then.
#[derive(Debug)]
pub(crate) struct OwnFile {
    pub(crate) file: Arc<File>,
    id: Identity,
}

impl OwnFile {
    pub(crate) fn new(file: File) -> Self {
        let id = identity(&file);
        Self { file: Arc::new(file), id }
    }

    /// Checks that the descriptor still leads to this file.
    ///
    /// # Errors
    /// The errors of [`check`].
    pub(crate) fn check(&self) -> io::Result<()> {
        check(&self.file, &self.id, 0)
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if self.check().is_err() {
            std::mem::forget(self.file.clone());
        }
    }
}

/// Counts the system calls of a thread.
#[cfg(test)]
pub(crate) mod counting {
    use std::cell::Cell;

    thread_local! {
        static CALLS: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn note() {
        CALLS.set(CALLS.get() + 1);
    }

    /// Returns the number of calls that `body` made in this thread.
    pub(crate) fn calls_of(body: impl FnOnce()) -> u64 {
        let before = CALLS.get();
        body();
        CALLS.get() - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::options::{Access, Options, Replace};

    #[test]
    fn a_commit_asks_about_the_file_once_for_each_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let options = Options::default();
        let statistics = options.statistics.clone();
        let l = Ledger::create_file(&path, Replace::Fail, options).unwrap();
        let writes = || statistics.writes.read().calls;
        for bytes in [10, 100_000, 3_000_000] {
            let before = writes();
            let calls = counting::calls_of(|| {
                l.put(b"key", l.write_payload(&vec![1; bytes]).unwrap().to_bytes()).unwrap();
                l.commit().unwrap();
            });
            let written = writes() - before;
            assert!(
                (1..=written + 1).contains(&calls),
                "{calls} calls for {written} writes of {bytes} bytes"
            );
        }
        l.put(b"key", "value").unwrap();
        let calls = counting::calls_of(|| assert_eq!(l.commit().unwrap(), 4));
        assert_eq!(calls, 2, "one for the record, one for the head");
        let reader = Ledger::open_file(&path, Access::ReadOnly, Options::default()).unwrap();
        let calls = counting::calls_of(|| drop(reader.get(b"key").unwrap()));
        assert_eq!(calls, 0, "reads are checked by their checksums");
    }
}
