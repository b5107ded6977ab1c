//! Containers in a byte source that can only be read, such as a file driver of libhdf5.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::file::FileStorage;
use crate::file::file_io::{FileIo, on_no_disk};
use crate::file::locks::Locks;
use crate::file::open::{FoundFile, found_container, reclaim_rule, recognise};
use crate::locks::Mutex;
use crate::options::{Options, Probe};
use crate::timekeeping::StorageClock;

/// Bytes that the caller's code reads, and that no program changes meanwhile. There are no locks: a change makes a reader's
/// snapshot inconsistent, which checksums detect.
pub trait ByteSource: Debug + Send + Sync {
    /// Returns the number of bytes.
    ///
    /// # Errors
    /// The errors of the source.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buf` with the bytes from `at` on.
    ///
    /// # Errors
    /// `UnexpectedEof` if the source ends earlier; the errors of the source.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()>;
}

/// Bytes in memory.
impl ByteSource for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let found = usize::try_from(at).ok().and_then(|at| self.get(at..)?.get(..buf.len()));
        buf.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A source, after a user block of `base` bytes.
#[derive(Debug)]
struct SourceFile {
    source: Arc<dyn ByteSource>,
    base: u64,
}

/// The device number of byte sources, which are no files. Their inode number is a count of opened sources.
pub(super) const SOURCE_DEVICE: u64 = u64::MAX;

static OPENED: AtomicU64 = AtomicU64::new(0);

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl FileIo for SourceFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let at = self.base.checked_add(at).ok_or(io::ErrorKind::InvalidInput)?;
        self.source.read_at(buf, at)
    }

    fn write_at(&self, _data: &[u8], _at: u64) -> io::Result<()> {
        read_only()
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        read_only()
    }

    fn available(&self) -> io::Result<u64> {
        read_only()
    }

    on_no_disk!();

    fn len(&self) -> io::Result<u64> {
        Ok(self.source.size()?.saturating_sub(self.base))
    }

    fn sync(&self) -> io::Result<()> {
        read_only()
    }
}

fn look(source: &dyn ByteSource, target: &str) -> Result<FoundFile> {
    let size = source.size().map_err(|e| Error::io(target, "asking for the length", &e))?;
    recognise(&|buf, at| source.read_at(buf, at), size, target)
}

/// Returns what a source contains, according to its first bytes.
pub(crate) fn probe(source: &dyn ByteSource, target: &str) -> Result<Probe> {
    FoundFile::probed(look(source, target))
}

/// Opens the container of a source for reading.
pub(crate) fn open(target: &str, source: Arc<dyn ByteSource>, opts: &Options) -> Result<FileStorage> {
    let fixed = found_container(look(source.as_ref(), target)?, target)?;
    let locks = Locks::none();
    Ok(FileStorage {
        rule: reclaim_rule(opts, &locks),
        target: target.to_owned(),
        raw: Arc::new(SourceFile { source, base: fixed.base }),
        fixed,
        file: Some((SOURCE_DEVICE, OPENED.fetch_add(1, Ordering::Relaxed))),
        locks: Mutex::new(locks),
        lock_policy: opts.lock,
        handle: Mutex::new(None),
        opener: AtomicU32::new(crate::process::id()),
        writer: None,
        clock: StorageClock::default(),
        journal: Mutex::default(),
        earlier_end: None,
        gone: Default::default(),
        options: opts.clone(),
        seen: Mutex::default(),
        known: Mutex::default(),
        tagged: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::ledger::Ledger;
    use crate::options::{At, LockPolicy, Replace};

    /// A container with two versions after a user block, as bytes.
    fn bytes(user_block: u64) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.h5");
        let options =
            Options { user_block, retention: Some(std::time::Duration::from_secs(60)), ..Options::default() };
        let ledger = Ledger::create_file(&path, Replace::Fail, options).unwrap();
        for n in 1..=2u8 {
            ledger.put(b"key", vec![n; 100]).unwrap();
            ledger.commit().unwrap();
        }
        ledger.close().unwrap();
        std::fs::read(path).unwrap()
    }

    fn opened(bytes: Vec<u8>, options: Options) -> Result<Ledger> {
        Ledger::open_source("bytes", Arc::new(bytes), options)
    }

    #[test]
    fn a_container_is_read_from_bytes() {
        for user_block in [0, 512, 4096] {
            let bytes = bytes(user_block);
            assert_eq!(Ledger::probe_source(&bytes, "bytes").unwrap(), Probe::Container);
            let ledger = opened(bytes, Options::default()).unwrap();
            assert_eq!(ledger.get(b"key").unwrap().unwrap(), [2; 100][..]);
            assert_eq!(ledger.offset_in_file(), Some(user_block));
            assert!(matches!(ledger.put(b"key", vec![3]).unwrap_err().kind(), ErrorKind::ReadOnly));
        }
    }

    #[test]
    fn an_old_version_is_read_from_bytes() {
        let old = Options { at: Some(At::Version(1)), lock: LockPolicy::Required, ..Options::default() };
        let ledger = opened(bytes(0), old).unwrap();
        assert_eq!(ledger.get(b"key").unwrap().unwrap(), [1; 100][..]);
    }

    #[test]
    fn other_bytes_are_named_and_damaged_ones_refused() {
        let native = [b"\x89HDF\r\n\x1a\n".to_vec(), vec![0; 4096]].concat();
        assert_eq!(Ledger::probe_source(&native, "bytes").unwrap(), Probe::NativeHdf5);
        assert_eq!(Ledger::probe_source(&Vec::new(), "bytes").unwrap(), Probe::Other);
        assert!(opened(native, Options::default()).unwrap_err().to_string().contains("a native HDF5 file"));
        let mut cut = bytes(0);
        cut.truncate(1000);
        assert!(opened(cut, Options::default()).is_err());
    }

    #[test]
    fn nothing_is_written_to_a_source() {
        let source: Arc<dyn ByteSource> = Arc::new(bytes(0));
        let raw = SourceFile { source, base: 0 };
        assert!(raw.write_at(&[1], 0).is_err() && raw.set_len(0).is_err() && raw.sync().is_err());
        assert!(raw.read_at(&mut [0; 8], u64::MAX).is_err());
    }
}
