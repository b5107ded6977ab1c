//! The few operations on a file that the file space is made of, so that tests can let them fail.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::uio::preadv;

/// A file, with positions that count from the container's first byte.
pub(crate) trait RawFile: Debug + Send + Sync {
    /// Fills `buf`; a file that ends before gives `UnexpectedEof`.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()>;
    /// Fills one buffer after the other with what follows one another in the file.
    fn read_parts_at(&self, parts: &mut [IoSliceMut<'_>], at: u64) -> io::Result<()> {
        let mut at = at;
        for part in parts {
            self.read_at(part, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }
    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    /// When this returns, everything written survives a loss of power.
    fn sync(&self) -> io::Result<()>;
}

/// A file of the operating system, behind a user block of `base` bytes.
#[derive(Debug)]
pub(crate) struct OsFile {
    pub(crate) file: Arc<File>,
    pub(crate) base: u64,
}

impl OsFile {
    fn position(&self, at: u64) -> io::Result<u64> {
        self.base.checked_add(at).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl RawFile for OsFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, self.position(at)?)
    }

    fn read_parts_at(&self, mut parts: &mut [IoSliceMut<'_>], at: u64) -> io::Result<()> {
        let mut at = self.position(at)?;
        while parts.iter().any(|part| !part.is_empty()) {
            let from = i64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
            match preadv(&*self.file, parts, from) {
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
        self.file.write_all_at(data, self.position(at)?)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(self.position(len)?)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len().saturating_sub(self.base))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Small writes that follow one another, kept back to become one.
#[derive(Debug, Default)]
pub(crate) struct Combined {
    at: u64,
    data: Vec<u8>,
    /// Where the last of what was flushed ends.
    reached: u64,
}

/// Writes from this length on are not kept back.
pub(crate) const LARGE: usize = 32 << 10;

impl Combined {
    /// Keeps a write back, padded to a multiple of `grain`. What cannot be joined to it is written first, so that
    /// writes reach the file in the order in which they came.
    pub(crate) fn push(&mut self, raw: &dyn RawFile, at: u64, bytes: &[u8], grain: u64) -> io::Result<()> {
        if at != self.at + self.data.len() as u64 || self.data.len() + bytes.len() > 2 * LARGE {
            self.flush(raw)?;
            self.at = at;
        }
        self.data.extend_from_slice(bytes);
        let padded = (self.data.len() as u64).next_multiple_of(grain);
        self.data.resize(padded as usize, 0);
        Ok(())
    }

    /// Writes what was kept back. After an error it still is.
    pub(crate) fn flush(&mut self, raw: &dyn RawFile) -> io::Result<()> {
        if !self.data.is_empty() {
            raw.write_at(&self.data, self.at)?;
            self.at += self.data.len() as u64;
            self.reached = self.reached.max(self.at);
            self.data.clear();
        }
        Ok(())
    }

    /// Where the file ends at least, for what was flushed since the last call.
    pub(crate) fn take_reached(&mut self) -> u64 {
        std::mem::take(&mut self.reached)
    }

    pub(crate) fn overlaps(&self, at: u64, len: u64) -> bool {
        at < self.at + self.data.len() as u64 && self.at < at + len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_filled_one_after_the_other() {
        let data: Vec<u8> = (0..100_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &data).unwrap();
        let raw = OsFile { file: Arc::new(file), base: 7 };
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
