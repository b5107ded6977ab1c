//! The file operations that the file storage uses. Tests replace them to inject failures.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statfs::{EXT4_SUPER_MAGIC, Statfs, fstatfs};
use nix::sys::uio::{preadv, pwritev};
use nix::unistd::{Whence, lseek64};

use crate::clock;
use crate::error::Tampering;
use crate::file::intrusion::{self, Identity};

/// A file with offsets relative to the container's first byte. A wrapper has to forward each method: only methods that are
/// composed of other methods have a default body.
pub(crate) trait FileIo: Debug + Send + Sync {
    /// Fills `buf`. Returns `UnexpectedEof` if the file ends earlier.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()>;
    /// Fills the buffers one after the other with consecutive bytes of the file.
    fn read_parts_at(&self, parts: &mut [IoSliceMut<'_>], at: u64) -> io::Result<()> {
        let mut at = at;
        for part in parts {
            self.read_at(part, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }
    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()>;
    /// Writes the buffers one after the other.
    fn write_parts_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        let mut at = at;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            self.write_at(part, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Allocates disk blocks for writes from `at` on, if that makes writing faster. The length of the file does not change. An error means
    /// that there are no blocks, or that allocating them has no use.
    fn reserve(&self, at: u64, len: u64) -> io::Result<()>;
    /// Returns whether the file has blocks beyond its end that [`set_len`](FileIo::set_len) to its present length would release.
    fn has_spare(&self) -> io::Result<bool>;
    /// Returns the runs of the file without disk blocks, ascending: a write there may fail for lack of space. Returns no
    /// runs if the file system cannot report them.
    fn holes(&self) -> io::Result<Vec<(u64, u64)>>;
    /// Returns the number of bytes that the disk has free for longer files.
    fn available(&self) -> io::Result<u64>;
    fn len(&self) -> io::Result<u64>;
    /// Returns the time of the file's last change, by the file system's clock, in microseconds since 1970.
    fn modified(&self) -> io::Result<u64>;
    /// When this returns, everything written survives a loss of power.
    fn sync(&self) -> io::Result<()>;
    /// Continues with the same file, opened again. After a fork, a child shares the open file and the locks of its parent.
    fn exchange(&self, file: &Arc<File>);
    /// Checks that the file is still the one that was opened, and as long as it is known to be. Each operation that changes the file
    /// checks this first.
    ///
    /// # Errors
    /// One that [`Tampering::of`](crate::error::Tampering::of) recognises.
    fn check(&self) -> io::Result<()>;
    /// Records a length that the file has at least, until this handle itself shortens it. If the file is shorter, another
    /// program truncated it.
    fn expect_length(&self, least: u64);
    /// Returns the same file, opened again for reading, even if it has been renamed.
    fn reopened(&self) -> io::Result<File>;
}

/// Default methods of a file that is not on a disk.
macro_rules! on_no_disk {
    () => {
        fn reserve(&self, _: u64, _: u64) -> std::io::Result<()> {
            Err(std::io::ErrorKind::Unsupported.into())
        }

        fn has_spare(&self) -> std::io::Result<bool> {
            Ok(false)
        }

        fn holes(&self) -> std::io::Result<Vec<(u64, u64)>> {
            Ok(Vec::new())
        }

        fn modified(&self) -> std::io::Result<u64> {
            Err(std::io::ErrorKind::Unsupported.into())
        }

        fn exchange(&self, _: &std::sync::Arc<std::fs::File>) {}

        fn check(&self) -> std::io::Result<()> {
            Ok(())
        }

        fn expect_length(&self, _: u64) {}

        fn reopened(&self) -> std::io::Result<std::fs::File> {
            Err(std::io::ErrorKind::Unsupported.into())
        }
    };
}
pub(crate) use on_no_disk;

/// The number of bytes of unused blocks beyond the end of a file, metadata blocks included, from which on releasing them is worthwhile.
const MIN_SPARE_BYTES: u64 = 1 << 20;
/// Preallocation takes at most this fraction of the disk's free space, because other programs cannot use the blocks until they are
/// released.
const MAX_SHARE_OF_FREE_DISK: u64 = 16;

/// The greatest number of holes that are reported.
const MAX_HOLES: usize = 1 << 12;

/// Returns the offset of the next hole or of the next data in a file, from `at` on.
fn next_place(file: &File, at: u64, what: Whence) -> io::Result<Option<u64>> {
    match lseek64(file, i64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?, what) {
        Ok(found) => Ok(u64::try_from(found).ok()),
        Err(Errno::ENXIO) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Returns the free space of a disk in bytes.
fn left_of(disk: &Statfs) -> u64 {
    disk.blocks_available().saturating_mul(disk.block_size() as u64)
}

/// A file of the operating system, after a user block of `base` bytes.
#[derive(Debug)]
pub(crate) struct OsFile {
    // Has no lock, because a fork could leave the child a lock that is never released.
    file: ArcSwap<File>,
    base: u64,
    id: Identity,
    /// The minimum length of the file in bytes, including the bytes in front of the container.
    least: AtomicU64,
}

impl OsFile {
    pub(crate) fn new(file: Arc<File>, base: u64) -> Self {
        Self { id: intrusion::identity(&file), file: ArcSwap::new(file), base, least: AtomicU64::new(0) }
    }

    /// Returns the file if it may be changed: its descriptor still leads to it, and the file has not been truncated.
    fn unharmed(&self) -> io::Result<Guard<Arc<File>>> {
        let file = self.file.load();
        intrusion::check(&file, &self.id, self.least.load(Ordering::Relaxed))?;
        Ok(file)
    }

    fn note_end(&self, end: u64) {
        self.least.fetch_max(end, Ordering::Relaxed);
    }

    fn position(&self, at: u64) -> io::Result<u64> {
        self.base.checked_add(at).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// Returns whether the file is on ext4. Other file systems do not need preallocation: xfs preallocates by itself, and
    /// on a network file system each query takes a round trip.
    fn is_on_ext4(&self) -> io::Result<bool> {
        Ok(fstatfs(&**self.file.load())?.filesystem_type() == EXT4_SUPER_MAGIC)
    }
}

impl FileIo for OsFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.file.load().read_exact_at(buf, self.position(at)?)
    }

    fn read_parts_at(&self, mut parts: &mut [IoSliceMut<'_>], at: u64) -> io::Result<()> {
        let mut at = self.position(at)?;
        while parts.iter().any(|part| !part.is_empty()) {
            let from = i64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
            match preadv(&**self.file.load(), parts, from) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    IoSliceMut::advance_slices(&mut parts, n);
                    at += n as u64;
                }
                Err(Errno::EINTR) => (),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()> {
        let at = self.position(at)?;
        self.unharmed()?.write_all_at(data, at)?;
        self.note_end(at + data.len() as u64);
        Ok(())
    }

    fn write_parts_at(&self, mut parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        let mut at = self.position(at)?;
        let file = self.unharmed()?;
        while parts.iter().any(|part| !part.is_empty()) {
            let to = i64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
            match pwritev(&**file, parts, to) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    IoSlice::advance_slices(&mut parts, n);
                    at += n as u64;
                    self.note_end(at);
                }
                Err(Errno::EINTR) => (),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let end = self.position(len)?;
        self.unharmed()?.set_len(end)?;
        self.least.store(end, Ordering::Relaxed);
        Ok(())
    }

    fn reserve(&self, at: u64, len: u64) -> io::Result<()> {
        let file = self.unharmed()?;
        let disk = fstatfs(&**file)?;
        if disk.filesystem_type() != EXT4_SUPER_MAGIC {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if len > left_of(&disk) / MAX_SHARE_OF_FREE_DISK {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let signed = |n: u64| i64::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
        let (at, len) = (signed(self.position(at)?)?, signed(len)?);
        Ok(fallocate(&**file, FallocateFlags::FALLOC_FL_KEEP_SIZE, at, len)?)
    }

    fn has_spare(&self) -> io::Result<bool> {
        let about = self.file.load().metadata()?;
        Ok(about.blocks().saturating_mul(512) > about.len() + MIN_SPARE_BYTES && self.is_on_ext4()?)
    }

    fn holes(&self) -> io::Result<Vec<(u64, u64)>> {
        let file = self.file.load();
        let (mut at, end, mut found) = (self.base, file.metadata()?.len(), Vec::new());
        while found.len() < MAX_HOLES
            && let Some(from) = next_place(&file, at, Whence::SeekHole)?.filter(|from| *from < end)
        {
            at = next_place(&file, from, Whence::SeekData)?.unwrap_or(end);
            found.push((from - self.base, at.saturating_sub(from)));
        }
        Ok(found)
    }

    fn available(&self) -> io::Result<u64> {
        Ok(left_of(&fstatfs(&**self.file.load())?))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.load().metadata()?.len().saturating_sub(self.base))
    }

    fn modified(&self) -> io::Result<u64> {
        Ok(clock::since_1970(self.file.load().metadata()?.modified()?))
    }

    fn sync(&self) -> io::Result<()> {
        self.unharmed()?.sync_data()
    }

    fn exchange(&self, file: &Arc<File>) {
        self.file.store(file.clone());
    }

    fn check(&self) -> io::Result<()> {
        self.unharmed().map(drop)
    }

    fn expect_length(&self, least: u64) {
        self.note_end(self.base.saturating_add(least));
    }

    fn reopened(&self) -> io::Result<File> {
        let old = self.file.load();
        let file = File::open(format!("/proc/self/fd/{}", old.as_raw_fd()))?;
        // The descriptor's number may belong to another file by then.
        match intrusion::identity(&file).matches(&self.id) {
            true => Ok(file),
            false => Err(Tampering::DescriptorClosed { descriptor: old.as_raw_fd() }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_leaves_disk_space_for_other_programs() {
        let file = tempfile::tempfile().unwrap();
        let raw = OsFile::new(Arc::new(file), 0);
        let about = fstatfs(&**raw.file.load()).unwrap();
        let free = about.blocks_available() * about.block_size() as u64;
        assert!(raw.reserve(0, free / 4).is_err());
        assert_eq!(raw.file.load().metadata().unwrap().blocks(), 0);
    }

    #[test]
    fn holes_are_where_nothing_was_written() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let raw = OsFile::new(file.clone(), 4096);
        assert_eq!(raw.holes().unwrap(), []);
        raw.write_at(&[1; 1 << 16], 0).unwrap();
        raw.write_at(&[1; 1 << 16], 1 << 20).unwrap();
        raw.set_len(1 << 21).unwrap();
        assert_eq!(raw.holes().unwrap(), [(1 << 16, 15 << 16), (17 << 16, 15 << 16)]);
    }

    #[test]
    fn vectored_reads_fill_the_parts_in_order() {
        let data: Vec<u8> = (0..100_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &data).unwrap();
        let raw = OsFile::new(Arc::new(file), 7);
        for lens in [[0usize, 0, 0], [1, 0, 5], [0, 70_000, 3], [16_384, 65_536, 10_000]] {
            let mut all = lens.map(|n| vec![0; n]);
            let mut parts = all.each_mut().map(|part| IoSliceMut::new(part));
            raw.read_parts_at(&mut parts, 11).unwrap();
            let read = all.concat();
            assert!(read == data[18..18 + read.len()], "{lens:?}");
        }
        let mut two = [vec![0; 50_000], vec![0; 50_000]];
        let mut parts = two.each_mut().map(|part| IoSliceMut::new(part));
        assert_eq!(raw.read_parts_at(&mut parts, 0).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
