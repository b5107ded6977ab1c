//! Entries that exceed the limit of memory: sorted parts of a temporary file, which are merged when they are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// A value that can be spilled, in `N` bytes of the file.
pub(super) trait SpillRecord<const N: usize>: Copy + Ord {
    fn encode(&self) -> [u8; N];
    fn decode(bytes: &[u8; N]) -> Self;
}

/// Returns the little-endian number at an offset of encoded bytes.
pub(super) fn number_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

/// The temporary file, which is created by the first spill.
#[derive(Debug, Default)]
pub(super) struct SpillFile {
    file: Option<File>,
    /// The start and end offsets of the sorted parts of the file.
    parts: Vec<(u64, u64)>,
}

impl SpillFile {
    pub(super) fn is_empty(&self) -> bool {
        self.file.is_none()
    }

    /// Moves sorted entries from memory to the file.
    pub(super) fn take<const N: usize, T: SpillRecord<N>>(&mut self, sorted: &mut Vec<T>) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        let from = file.seek(SeekFrom::End(0))?;
        let mut out = BufWriter::new(&*file);
        sorted.iter().try_for_each(|entry| out.write_all(&entry.encode()))?;
        out.flush()?;
        self.parts.push((from, from + (sorted.len() * N) as u64));
        sorted.clear();
        Ok(())
    }

    /// Returns all entries, ascending.
    pub(super) fn merged<const N: usize, T: SpillRecord<N>>(&self) -> io::Result<Merged<'_, N, T>> {
        let parts = self.file.iter().flat_map(|file| {
            self.parts.iter().map(move |&(at, end)| BufReader::new(SpillPart { file, at, end }))
        });
        let mut merged = Merged { parts: parts.collect(), first: BinaryHeap::new() };
        (0..merged.parts.len()).try_for_each(|n| merged.refill(n))?;
        Ok(merged)
    }
}

/// The parts of the file, merged into one ascending sequence.
pub(super) struct Merged<'f, const N: usize, T> {
    parts: Vec<BufReader<SpillPart<'f>>>,
    /// The next entry of each part, and the part's number.
    first: BinaryHeap<Reverse<(T, usize)>>,
}

impl<const N: usize, T: SpillRecord<N>> Merged<'_, N, T> {
    pub(super) fn next(&mut self) -> io::Result<Option<T>> {
        let Some(Reverse((entry, n))) = self.first.pop() else { return Ok(None) };
        self.refill(n)?;
        Ok(Some(entry))
    }

    fn refill(&mut self, n: usize) -> io::Result<()> {
        let mut bytes = [0; N];
        match self.parts[n].read_exact(&mut bytes) {
            Ok(()) => self.first.push(Reverse((T::decode(&bytes), n))),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => (),
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

/// One sorted part of the file.
struct SpillPart<'f> {
    file: &'f File,
    at: u64,
    end: u64,
}

impl Read for SpillPart<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buf.len());
        let n = self.file.read_at(&mut buf[..most], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
