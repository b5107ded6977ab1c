//! Many blocks at once: what is read of a store is asked for together, and filters run side by side.

use super::Dataset;
use crate::block::Answer;
use crate::grid::{CopyRun, Part};
use crate::pieces::Pieces;
use crate::stored::{change_stored, fetched, read_pieces, stored};
use crate::{Result, Selection};
use h5lake_ledger::buffers;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that are read side by side before the first are handed out.
const BATCH: usize = 64 << 20;
/// Less than this is not worth a thread.
const WORTH: usize = 128 << 10;

/// A block to be read: its key, what of it is wanted, and a place for it.
struct Job {
    key: Vec<u8>,
    /// The runs as the caller's buffer wants them.
    runs: Vec<CopyRun>,
    data: Vec<u8>,
    /// Read the whole block, and keep it in memory unless something was written since this epoch.
    keep: Option<u64>,
    /// What was fetched of it from a store.
    pieces: Option<Pieces>,
}

impl Job {
    fn bytes(&self) -> usize {
        self.runs.iter().map(|r| r.len).sum()
    }

    /// Whether its bytes are in memory as they are wanted: then they go straight to the caller's buffer.
    fn is_here(&self) -> bool {
        self.keep.is_none() && self.pieces.as_ref().is_some_and(|pieces| pieces.encoded.is_none())
    }

    /// Whether the whole block is read: to be kept, or because it has to be decoded anyway.
    fn whole(&self, d: &Dataset) -> bool {
        self.keep.is_some() || !d.shape.filters.is_empty()
    }

    /// Reads the runs, packed one after the other, or the whole block.
    fn read(&mut self, d: &Dataset) -> Result<()> {
        if self.is_here() {
            return Ok(());
        }
        let ledger = &d.container().ledger;
        let pieces = match self.pieces.take() {
            Some(pieces) => pieces,
            None => stored(ledger, &self.key, &d.shape)?,
        };
        if self.whole(d) {
            self.data = pieces.load(ledger, &d.shape)?;
            return Ok(());
        }
        self.data = vec![0; self.bytes()];
        let mut at = 0;
        let packed: Vec<_> = self
            .runs
            .iter()
            .map(|r| {
                at += r.len;
                CopyRun { buffer: at - r.len, ..*r }
            })
            .collect();
        read_pieces(&pieces, ledger, &d.shape, &packed, &mut self.data)
    }

    fn hand_out(self, d: &Dataset, out: &mut [u8]) -> Result<()> {
        if let Some(pieces) = &self.pieces {
            return read_pieces(pieces, &d.container().ledger, &d.shape, &self.runs, out);
        }
        let (mut at, whole) = (0, self.whole(d));
        for r in &self.runs {
            let from = if whole { r.block } else { at };
            out[r.buffer..r.buffer + r.len].copy_from_slice(&self.data[from..from + r.len]);
            at += r.len;
        }
        let c = d.container();
        match self.keep {
            Some(epoch) => c.blocks.lock().admit(&c.ledger, &self.key, &d.shape, self.data, epoch),
            None => {
                buffers::give(self.data);
                Ok(())
            }
        }
    }
}

/// A chunk to be encoded: its key, where its bytes are in the caller's buffer, and what became of them.
struct Encode {
    key: Vec<u8>,
    runs: Vec<CopyRun>,
    mask: u32,
    encoded: Vec<u8>,
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

impl Dataset {
    /// How many threads a write may use: only filters take time of their own, and a lent codec is for the caller's
    /// thread alone.
    pub(super) fn encoders(&self) -> usize {
        if self.filters.is_empty() || self.needs_codec() { 1 } else { cores() }
    }

    /// Like a plain write, with whole chunks going through the filters side by side.
    pub(super) fn write_parallel(
        &self,
        dims: &[u64],
        selection: &Selection,
        size: usize,
        data: &[u8],
        threads: usize,
    ) -> Result<()> {
        let c = self.container();
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        self.grid.parts(dims, selection, size, &mut |p: Part<'_>| {
            let key = self.key(p.coords);
            let wanted: usize = p.runs.iter().map(|r| r.len).sum();
            if !p.covered || wanted < self.shape.len / 2 || !self.shape.is_filtered(&key) {
                return c.blocks.lock().write(&c.ledger, &key, &self.shape, p.runs, data, p.covered);
            }
            jobs.push(Encode { key, runs: p.runs.to_vec(), mask: 0, encoded: Vec::new() });
            bytes += wanted;
            if bytes >= BATCH {
                self.encode(&mut jobs, data, threads)?;
                bytes = 0;
            }
            Ok(())
        })?;
        self.encode(&mut jobs, data, threads)
    }

    fn encode(&self, jobs: &mut Vec<Encode>, data: &[u8], threads: usize) -> Result<()> {
        let bytes = jobs.len() * self.shape.len;
        let threads = threads.min(jobs.len()).min(bytes.div_ceil(WORTH)).max(1);
        side_by_side(jobs, threads, &|j: &mut Encode| {
            // With all of it given there is nothing to fill.
            let given: usize = j.runs.iter().map(|r| r.len).sum();
            let whole = given == self.shape.len;
            let mut block = if whole { buffers::take(given) } else { self.shape.filled() };
            for r in &j.runs {
                block[r.block..r.block + r.len].copy_from_slice(&data[r.buffer..r.buffer + r.len]);
            }
            (j.mask, j.encoded) = self.shape.filters.encode(block)?;
            Ok(())
        })?;
        let c = self.container();
        let mut blocks = c.blocks.lock();
        for j in jobs.drain(..) {
            blocks.supersede(&j.key);
            blocks.touch(&j.key, j.runs.iter().map(|r| r.block..r.block + r.len));
            change_stored(&c.ledger, &j.key, &self.shape, |p| {
                p.put_encoded(&c.ledger, &self.shape, j.mask, &j.encoded)
            })?;
            buffers::give(j.encoded);
        }
        Ok(())
    }

    /// How many threads a read may use: only filters take time of their own.
    pub(super) fn readers(&self) -> usize {
        if self.filters.is_empty() || self.needs_codec() { 1 } else { cores() }
    }

    /// Like a plain read, with many blocks at once, and up to `threads` threads for what filters them.
    pub(super) fn read_parallel(
        &self,
        dims: &[u64],
        selection: &Selection,
        size: usize,
        out: &mut [u8],
        threads: usize,
    ) -> Result<()> {
        let c = self.container();
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        self.grid.parts(dims, selection, size, &mut |p: Part<'_>| {
            let key = self.key(p.coords);
            let wanted: usize = p.runs.iter().map(|r| r.len).sum();
            let known = c.blocks.lock().look(&c.ledger, &key, &self.shape, p.runs, out)?;
            let keep = match known {
                Answer::Done => return Ok(()),
                Answer::Stored => None,
                Answer::Keep(epoch) => Some(epoch),
            };
            // What is decoded or kept is in memory whole.
            let is_whole = keep.is_some() || !self.filters.is_empty();
            bytes += if is_whole { self.shape.len.max(wanted) } else { wanted };
            jobs.push(Job { key, runs: p.runs.to_vec(), data: Vec::new(), keep, pieces: None });
            if bytes >= BATCH {
                self.run(&mut jobs, out, threads)?;
                bytes = 0;
            }
            Ok(())
        })?;
        self.run(&mut jobs, out, threads)
    }

    fn run(&self, jobs: &mut Vec<Job>, out: &mut [u8], threads: usize) -> Result<()> {
        let c = self.container();
        if !c.near() {
            let wanted: Vec<_> =
                jobs.iter().map(|j| (j.key.as_slice(), j.keep.is_none().then_some(&j.runs[..]))).collect();
            let all = fetched(&c.ledger, &wanted, &self.shape)?;
            jobs.iter_mut().zip(all).for_each(|(job, pieces)| job.pieces = Some(pieces));
        }
        let bytes: usize = jobs.iter().map(Job::bytes).sum();
        let threads = threads.min(jobs.len()).min(bytes.div_ceil(WORTH));
        if threads <= 1 {
            jobs.iter_mut().try_for_each(|j| j.read(self))?;
        } else {
            side_by_side(jobs, threads, &|j: &mut Job| j.read(self))?;
        }
        jobs.drain(..).try_for_each(|j| j.hand_out(self, out))
    }
}

/// Does `work` for every item, up to `threads` at once; the first error is returned.
pub(super) fn side_by_side<T: Send>(
    items: &mut [T],
    threads: usize,
    work: &(dyn Fn(&mut T) -> Result<()> + Sync),
) -> Result<()> {
    let total = items.len();
    let next = AtomicUsize::new(0);
    let items: Vec<_> = items.iter_mut().map(parking_lot::Mutex::new).collect();
    let failed = parking_lot::Mutex::new(None);
    let one = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= total || failed.lock().is_some() {
                return;
            }
            if let Err(e) = work(&mut items[n].lock()) {
                failed.lock().get_or_insert(e);
            }
        }
    };
    std::thread::scope(|s| {
        // The caller works too; where no thread can be had, it works alone.
        for _ in 1..threads {
            if std::thread::Builder::new().spawn_scoped(s, one).is_err() {
                break;
            }
        }
        one();
    });
    failed.into_inner().map_or(Ok(()), Err)
}
