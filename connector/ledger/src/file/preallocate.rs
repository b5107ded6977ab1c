//! Preallocates disk blocks for a growing file.
//!
//! If a file has no blocks at the position of a write, ext4 searches and accounts for space page by page. With preallocated blocks, a long
//! write takes two thirds of the time, including the time until the data is on the disk. So a writer that lengthens a file much allocates a
//! long run at once. The length of the file does not change. Unused blocks are released at close.

use crate::file::file_io::FileIo;

/// The growth of a file in bytes from which on it is likely to grow further.
const MIN_GROWTH_BYTES: u64 = 4 << 20;
/// The greatest number of bytes that are allocated at once. Below that, as many bytes are allocated as were written so far.
const MAX_PREALLOCATED_BYTES: u64 = 64 << 20;

/// The mode of preallocation. Unused blocks are released by truncating the file to its length, which would remove bytes that another writer
/// has appended meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Preallocation {
    /// Other processes may lengthen the file, too.
    #[default]
    Off,
    /// No other process lengthens the file.
    On,
}

/// The preallocated blocks of a file.
#[derive(Debug, Default)]
pub(crate) struct Preallocator {
    /// The end of the blocks that the file has; `None` until the length of the file is queried.
    end: Option<u64>,
    /// Bytes that were written before the length was queried, and from then on the bytes beyond `end` that were written or
    /// allocated.
    grown: u64,
    mode: Preallocation,
    /// True if the system refused to allocate blocks.
    refused: bool,
}

impl Preallocator {
    pub(crate) fn new(mode: Preallocation) -> Self {
        Self { mode, ..Self::default() }
    }

    /// Prepares for a write from `from` to `to`.
    pub(crate) fn before_write(&mut self, raw: &dyn FileIo, from: u64, to: u64) {
        if self.mode == Preallocation::Off || self.refused {
            return;
        }
        let Some(known) = self.end.or_else(|| self.look(raw, to - from)) else { return };
        let begin = known.max(from);
        let longer = to.saturating_sub(begin);
        self.grown += longer;
        let mut end = known.max(to);
        if longer > 0 && self.grown >= MIN_GROWTH_BYTES {
            end = to.saturating_add(self.grown.min(MAX_PREALLOCATED_BYTES));
            // On a nearly full disk there may still be enough space for the write itself.
            self.refused = raw.reserve(begin, end - begin).is_err();
            self.grown += end - to;
        }
        self.end = Some(end);
    }

    /// Queries the length of the file, once enough was written that preallocation may help.
    fn look(&mut self, raw: &dyn FileIo, written: u64) -> Option<u64> {
        self.grown += written;
        (self.grown >= MIN_GROWTH_BYTES).then(|| raw.len().unwrap_or(u64::MAX))
    }

    /// Forgets the known end after the file was truncated.
    pub(crate) fn forget(&mut self) {
        self.end = None;
    }

    /// Releases blocks beyond the end of the file, including those of a dead writer. A failure is harmless, because the next writer tries
    /// again.
    pub(crate) fn give_back(&mut self, raw: &dyn FileIo) {
        self.forget();
        if self.mode == Preallocation::On
            && raw.has_spare().unwrap_or(false)
            && let Ok(len) = raw.len()
        {
            let _harmless = raw.set_len(len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::sim_file::SimFile;
    use crate::file::write_buffer::WriteBuffer;
    use crate::work::data;

    #[test]
    fn large_writes_preallocate() {
        let (f, mut c) = (SimFile::of(vec![0; 5000]), WriteBuffer::new(Preallocation::On));
        let bytes = data(1, 1 << 20);
        let mut at = 5000 / 32 * 32;
        for n in 1..=200u64 {
            c.push(&f, at, &bytes, &mut |_| ()).unwrap();
            at += bytes.len() as u64;
            assert_eq!(f.reserved() > 0, n > 4, "{n}");
        }
        c.flush(&f).unwrap();
        assert!(f.reservations() < 12, "{}", f.reservations());
        assert!(f.reserved() > f.bytes().len() as u64 && f.reserved() <= at + (MAX_PREALLOCATED_BYTES << 1));
        c.give_back(&f);
        assert_eq!((f.reserved(), f.bytes().len() as u64), (0, at));
        // Overwriting existing blocks needs no allocation.
        let asked = f.reservations();
        (0..100).for_each(|n| c.push(&f, n << 20, &bytes, &mut |_| ()).unwrap());
        assert_eq!(f.reservations(), asked);
    }

    #[test]
    fn shared_files_never_preallocate_and_a_refusal_is_final() {
        let bytes = data(1, 1 << 20);
        for (mode, full) in [(Preallocation::Off, false), (Preallocation::On, true)] {
            let (f, mut c) = (SimFile::of(vec![0; 5000]), WriteBuffer::new(mode));
            f.refuse_to_reserve(full);
            (0..30).for_each(|n| c.push(&f, n << 20, &bytes, &mut |_| ()).unwrap());
            c.flush(&f).unwrap();
            assert_eq!((f.reserved(), f.reservations()), (0, u64::from(full)));
            assert_eq!(f.bytes().len(), 30 << 20);
        }
    }
}
