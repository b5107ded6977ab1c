//! Buffers consecutive writes to make fewer and longer ones.
//!
//! The system's cache stores the data of one call in folios that are as long as the call, if the offset is aligned. Calls
//! that end at arbitrary offsets lead to many short folios, and take a tenth to a half longer. So the bytes after the last
//! aligned boundary stay in the buffer until the next adjacent write.

use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Range;

use crate::file::file_io::FileIo;
use crate::file::free_space::ALLOC_UNIT;
use crate::file::preallocate::{Preallocation, Preallocator};

/// Long writes end at multiples of this many bytes; shorter remainders are buffered.
const WRITE_STRIDE_BYTES: u64 = 64 << 10;
/// A longer write is divided into parts. Each part is passed to the caller's function first: computing its checksum loads
/// it into the processor's cache, where the system then finds it.
const MAX_WRITE_BYTES: usize = 512 << 10;

/// The buffered bytes, which begin at offset `at`. A write to another offset flushes them first, so that writes reach the
/// file in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    at: u64,
    data: Vec<u8>,
    /// The greatest end of the writes to the file.
    reached: u64,
    ahead: Preallocator,
}

impl WriteBuffer {
    pub(crate) fn new(mode: Preallocation) -> Self {
        Self { ahead: Preallocator::new(mode), ..Self::default() }
    }

    fn end(&self) -> u64 {
        self.at + self.data.len() as u64
    }

    /// Accepts a write. Passes each part to `on_bytes` just before it is written or buffered. After an error, the bytes
    /// that were buffered before are still buffered, and no byte of this write is.
    pub(crate) fn push(
        &mut self,
        raw: &dyn FileIo,
        at: u64,
        bytes: &[u8],
        on_bytes: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut to = at;
        for part in bytes.chunks(MAX_WRITE_BYTES) {
            on_bytes(part);
            if let Err(e) = self.push_part(raw, to, part) {
                self.give_up(at, bytes.len() as u64);
                return Err(e);
            }
            to += part.len() as u64;
        }
        Ok(())
    }

    /// Drops a freed run from the beginning or the end of the buffer. On a full disk, writing these bytes could fail and
    /// make the next commit fail, although no version needs them.
    pub(crate) fn give_up(&mut self, offset: u64, length: u64) {
        let (from, to) = (offset.max(self.at), offset.saturating_add(length).min(self.end()));
        if from >= to {
            return;
        }
        if to == self.end() {
            self.data.truncate((from - self.at) as usize);
        } else if from == self.at {
            self.data.drain(..(to - from) as usize);
            self.at = to;
        }
    }

    fn push_part(&mut self, raw: &dyn FileIo, at: u64, part: &[u8]) -> io::Result<()> {
        match self.gap(at) {
            Some(gap) => self.data.resize(self.data.len() + gap, 0),
            None => {
                self.flush(raw)?;
                self.at = at;
            }
        }
        let end = at + part.len() as u64;
        if end - self.at <= WRITE_STRIDE_BYTES {
            self.data.extend_from_slice(part);
            return Ok(());
        }
        self.write_up_to(raw, end / WRITE_STRIDE_BYTES * WRITE_STRIDE_BYTES, part)
    }

    /// Returns the distance between the end of the buffer and a write, if the bytes between belong to no other extent: they
    /// are the unused end of an allocation unit.
    fn gap(&self, at: u64) -> Option<usize> {
        let end = self.end();
        let follows = at == end || at / ALLOC_UNIT * ALLOC_UNIT == end.next_multiple_of(ALLOC_UNIT);
        (follows && !self.data.is_empty()).then(|| (at - end) as usize)
    }

    /// Writes the buffered bytes, and the bytes of `part` after them, up to a boundary. Buffers the remaining bytes.
    fn write_up_to(&mut self, raw: &dyn FileIo, stop: u64, part: &[u8]) -> io::Result<()> {
        let kept = self.data.len().min((stop - self.at) as usize);
        let (now, later) = part.split_at((stop.saturating_sub(self.end())) as usize);
        self.ahead.before_write(raw, self.at, stop);
        raw.write_parts_at(&mut [IoSlice::new(&self.data[..kept]), IoSlice::new(now)], self.at)?;
        self.data.drain(..kept);
        self.data.extend_from_slice(later);
        (self.at, self.reached) = (stop, self.reached.max(stop));
        Ok(())
    }

    /// Writes the buffered bytes, padded to whole allocation units. After an error they are still buffered.
    pub(crate) fn flush(&mut self, raw: &dyn FileIo) -> io::Result<()> {
        if !self.data.is_empty() {
            let padded = self.end().next_multiple_of(ALLOC_UNIT) - self.at;
            self.data.resize(padded as usize, 0);
            self.ahead.before_write(raw, self.at, self.at + padded);
            raw.write_at(&self.data, self.at)?;
            self.at = self.end();
            self.reached = self.reached.max(self.at);
            self.data.clear();
        }
        Ok(())
    }

    /// Returns the greatest end of the writes since the last call; the file is at least as long.
    pub(crate) fn take_reached(&mut self) -> u64 {
        std::mem::take(&mut self.reached)
    }

    /// Forgets the known length after the file was truncated.
    pub(crate) fn forget_length(&mut self) {
        self.reached = 0;
        self.ahead.forget();
    }

    /// Releases preallocated blocks that were not used.
    pub(crate) fn give_back(&mut self, raw: &dyn FileIo) {
        self.ahead.give_back(raw);
    }

    /// Copies buffered bytes into the consecutive parts of a read that begins at `at`. Returns their range in the file; all
    /// other bytes are in the file.
    pub(crate) fn read(&self, parts: &mut [IoSliceMut<'_>], at: u64) -> Range<u64> {
        let mut filled = Range::default();
        let mut at = at;
        for part in parts {
            let end = at + part.len() as u64;
            let (from, to) = (self.at.max(at), self.end().min(end));
            if from < to {
                let kept = (from - self.at) as usize..(to - self.at) as usize;
                part[(from - at) as usize..(to - at) as usize].copy_from_slice(&self.data[kept]);
                filled = if filled.is_empty() { from..to } else { filled.start..to };
            }
            at = end;
        }
        filled
    }
}

/// Reads consecutive parts from `at` on, except the range `known`, which is already filled.
pub(crate) fn read_around(
    raw: &dyn FileIo,
    parts: &mut [IoSliceMut<'_>],
    at: u64,
    known: &Range<u64>,
) -> io::Result<()> {
    let mut at = at;
    for part in parts {
        let end = at + part.len() as u64;
        let (from, to) = (known.start.clamp(at, end), known.end.clamp(at, end));
        for range in [at..from, to..end].into_iter().filter(|r| !r.is_empty()) {
            raw.read_at(&mut part[(range.start - at) as usize..(range.end - at) as usize], range.start)?;
        }
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;

    use super::*;
    use crate::file::sim_file::{Fault, SimFile};
    use crate::locks::Mutex;
    use crate::work::data;

    fn read(c: &WriteBuffer, f: &SimFile, at: u64, lens: &[usize]) -> Vec<u8> {
        let mut all: Vec<Vec<u8>> = lens.iter().map(|n| vec![7; *n]).collect();
        let mut parts: Vec<_> = all.iter_mut().map(|part| IoSliceMut::new(part)).collect();
        let known = c.read(&mut parts, at);
        read_around(f, &mut parts, at, &known).unwrap();
        all.concat()
    }

    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![1..200usize, 1000..70_000usize, 60_000..70_000usize, 120_000..1_300_000usize]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn buffered_writes_reach_the_file_in_order(
            steps in prop::collection::vec((lengths(), 0..6u8, any::<u16>(), any::<bool>()), 1..24),
            fault in prop::option::of((1..30u64, any::<bool>())),
        ) {
            let f = SimFile::of(Vec::new());
            if let Some((n, torn)) = fault {
                f.fail_at(n, if torn { Fault::FullTorn } else { Fault::Full });
            }
            // Bytes that were never written may have any value, such as those between an end and the next allocation unit.
            let (mut c, mut model, mut last) = (WriteBuffer::default(), Vec::<Option<u8>>::new(), 0);
            let agree = |model: &[Option<u8>], bytes: &[u8]| {
                model.iter().zip(bytes).all(|(m, b)| m.is_none_or(|m| m == *b))
            };
            for (n, (length, what, place, shifted)) in steps.into_iter().enumerate() {
                // Sometimes existing bytes are overwritten, as when freed space is reused.
                let grain = if what == 0 { u64::from(place) * ALLOC_UNIT } else { last };
                let at = grain + if shifted { 16 } else { 0 };
                let bytes = data(n as u64, length as u64);
                let mut passed = Vec::new();
                let first = c.push(&f, at, &bytes, &mut |part| passed.extend_from_slice(part));
                if first.is_err() {
                    prop_assert!(fault.is_some());
                    passed.clear();
                    c.push(&f, at, &bytes, &mut |part| passed.extend_from_slice(part)).unwrap();
                }
                prop_assert!(passed == bytes, "each part is shown once, in order");
                let (from, to) = (at as usize, at as usize + length);
                last = (to as u64).next_multiple_of(ALLOC_UNIT);
                model.resize(model.len().max(last as usize), None);
                model[grain as usize..last as usize].fill(None);
                model[from..to].iter_mut().zip(&bytes).for_each(|(m, b)| *m = Some(*b));
                let third = length / 3;
                prop_assert!(read(&c, &f, at, &[third, 0, length - third]) == bytes);
                let around = from.saturating_sub(40_000);
                let wanted = from.min(f.bytes().len()).saturating_sub(around);
                prop_assert!(agree(&model[around..], &read(&c, &f, around as u64, &[wanted])));
                prop_assert!(c.data.len() as u64 <= WRITE_STRIDE_BYTES);
            }
            if c.flush(&f).is_err() {
                c.flush(&f).unwrap();
            }
            let file = f.bytes();
            prop_assert!(c.take_reached() <= file.len() as u64 && model.len() <= file.len());
            prop_assert!(agree(&model, &file));
        }
    }

    /// Records where calls begin and end.
    #[derive(Debug, Default)]
    struct Calls(Mutex<Vec<(u64, u64)>>);

    impl FileIo for Calls {
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn write_at(&self, data: &[u8], at: u64) -> io::Result<()> {
            self.0.lock().push((at, at + data.len() as u64));
            Ok(())
        }
        fn write_parts_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
            let len = parts.iter().map(|part| part.len() as u64).sum::<u64>();
            self.0.lock().push((at, at + len));
            Ok(())
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn available(&self) -> io::Result<u64> {
            Ok(u64::MAX)
        }

        crate::file::file_io::on_no_disk!();

        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }
        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn adjacent_writes_are_cut_at_stride_boundaries() {
        for length in [3000u64, 64 << 10, 400_000, 1 << 20] {
            let (mut c, calls) = (WriteBuffer::default(), Calls::default());
            let (bytes, mut at) = (data(1, length), 5168);
            for _ in 0..20 {
                c.push(&calls, at, &bytes, &mut |_| ()).unwrap();
                at = (at + length).next_multiple_of(ALLOC_UNIT) + 16;
            }
            c.flush(&calls).unwrap();
            let calls = calls.0.into_inner();
            let last = calls.len() - 1;
            for (n, (from, to)) in calls.iter().enumerate() {
                assert!(n == 0 || *from == calls[n - 1].1, "{calls:?}");
                assert!(n == last || to.is_multiple_of(WRITE_STRIDE_BYTES), "{calls:?}");
            }
        }
    }
}
