//! Disk blocks that a growing file is given before they are written.
//!
//! ext4 looks for room, and counts it, page by page when a write comes to where the file has no blocks; where it has them it does
//! not, and a long write takes two thirds of the time, that to the disk included. So who lengthens a file much asks for a long run at once. The
//! file's length stays as it is: what is not used is given back at the end.

use crate::file::file_io::FileIo;

/// A file that has become so much longer is likely to go on, bytes.
const MIN_GROWTH_BYTES: u64 = 4 << 20;
/// The most that is asked for at once. Before that, as much as was written so far.
const MAX_PREALLOCATED_BYTES: u64 = 64 << 20;

/// Whether a file is given blocks ahead. They are cut off at the file's length, and with them what another writer has
/// written since that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Preallocation {
    /// Others may lengthen the file, too.
    #[default]
    Off,
    /// No other process lengthens the file.
    On,
}

/// What the file has.
#[derive(Debug, Default)]
pub(crate) struct Preallocator {
    /// Up to here; `None` until somebody looks.
    end: Option<u64>,
    /// Bytes that were written before somebody looked, and since then those behind the end, written or asked for.
    grown: u64,
    mode: Preallocation,
    /// The system gave none.
    refused: bool,
}

impl Preallocator {
    pub(crate) fn new(mode: Preallocation) -> Self {
        Self { mode, ..Self::default() }
    }

    /// A write from `from` to `to` is to come.
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
            // On a disk that is nearly full there may be enough for the write all the same.
            self.refused = raw.reserve(begin, end - begin).is_err();
            self.grown += end - to;
        }
        self.end = Some(end);
    }

    /// Looks how long the file is, once so much was written that it may matter.
    fn look(&mut self, raw: &dyn FileIo, written: u64) -> Option<u64> {
        self.grown += written;
        (self.grown >= MIN_GROWTH_BYTES).then(|| raw.len().unwrap_or(u64::MAX))
    }

    /// The file was cut off.
    pub(crate) fn forget(&mut self) {
        self.end = None;
    }

    /// Gives back what lies behind the file's end, be it of a writer that died. Failing is harmless: the next one will.
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
        // Over what is there, nothing is needed.
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
