//! Many blocks read at once. What is read of a store is asked for together: what can, goes straight to the caller's buffer,
//! and while some blocks are decoded or taken apart the next are on their way.

use super::Dataset;
use super::parallel_filter::{MIN_BYTES_PER_THREAD, cores, likely_cores, side_by_side};
use crate::chunk::admission::Admission;
use crate::chunk::block_store::{read_pieces, several, stored};
use crate::chunk::fragments::{Direct, Fragments};
use crate::chunk::grid::{CopyRun, Part};
use crate::chunk::layout::MIN_DIRECT_BYTES;
use crate::filters::unlocked::without_locks;
use crate::record_conversion::zeros;
use crate::{Error, ErrorKind, Result, Selection};
use h5lake_ledger::buffers;
use h5lake_ledger::locks::Mutex;
use std::sync::Arc;
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// Bytes that are read side by side before the first are handed out. Of a store the next ones are on their way meanwhile,
/// so that with the stored form of both this is a third of the memory that a read takes.
const MAX_BATCH_BYTES: usize = 64 << 20;
const MAX_STORE_BATCH_BYTES: usize = 32 << 20;
/// Memory that a block takes which is read straight to the caller's buffer: its key, its runs, and four bytes of checksums
/// for 16 KiB.
const DIRECT_READ_COST_BYTES: usize = 512;

/// Bytes of blocks that are decoded before they are handed out, where that is not done in one go.
const MAX_REUSED_BYTES: usize = 8 << 20;
/// Runs of so many bytes on average are brought to their places by the threads that decode them.
const MIN_RUN_BYTES_TO_SCATTER: usize = 512;

/// A block to be read: its key, what of it is wanted, and a place for it.
struct ReadJob {
    key: Vec<u8>,
    /// The runs as the caller's buffer wants them.
    runs: Vec<CopyRun>,
    data: Vec<u8>,
    /// Read the whole block, and keep it in memory unless something was written since this epoch.
    keep: Option<u64>,
    /// Its stored state; of a store with the bytes.
    pieces: Option<Fragments>,
    /// Long runs of a block without filters in a store: they are read to where they are wanted.
    direct: bool,
}

impl ReadJob {
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

    /// What it takes of the memory for a batch.
    fn cost(&self, d: &Dataset) -> usize {
        match (self.direct, self.whole(d)) {
            (true, _) => DIRECT_READ_COST_BYTES + d.shape.len / 4096,
            (false, true) => d.shape.len.max(self.bytes()),
            (false, false) => self.bytes(),
        }
    }

    /// Reads the runs, packed one after the other, or the whole block.
    fn read(&mut self, d: &Dataset) -> Result<()> {
        if self.direct || self.is_here() {
            return Ok(());
        }
        let ledger = &d.container().ledger;
        let pieces = match self.pieces.take() {
            Some(pieces) => pieces,
            None => stored(ledger, &self.key, &d.shape)?,
        };
        if pieces.has_lost() {
            // What is not lost of it can still be read.
            self.keep = None;
        }
        if self.whole(d) {
            self.data = pieces.load(ledger, &d.shape)?;
            return Ok(());
        }
        self.data = zeros(self.bytes())?;
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

    /// Reads to where the runs are wanted, which are in the order of `places`.
    fn read_to(&mut self, d: &Dataset, places: &mut [&mut [u8]]) -> Result<()> {
        if self.direct {
            return Ok(());
        }
        let c = d.container();
        let pieces = match self.pieces.take() {
            Some(pieces) => pieces,
            None => stored(&c.ledger, &self.key, &d.shape)?,
        };
        if pieces.encoded.is_none() && self.keep.is_none() {
            let mut each = self.runs.iter().zip(places);
            return each.try_for_each(|(r, place)| pieces.read(&c.ledger, &d.shape, r.block, place));
        }
        if let ([r], [place]) = (&self.runs[..], &mut *places)
            && r.len == d.shape.len
            && self.keep.is_none()
        {
            return pieces.load_into(&c.ledger, &d.shape, place);
        }
        let block = pieces.load(&c.ledger, &d.shape)?;
        for (r, place) in self.runs.iter().zip(places) {
            place.copy_from_slice(&block[r.block..r.block + r.len]);
        }
        self.let_go(d, block)
    }

    /// A block whose bytes were handed out: kept in memory, or its room used again.
    fn let_go(&self, d: &Dataset, block: Vec<u8>) -> Result<()> {
        let c = d.container();
        match self.keep {
            Some(epoch) => c.blocks.lock().admit(&c.ledger, &self.key, &d.shape, block, epoch),
            None => {
                buffers::give(block);
                Ok(())
            }
        }
    }

    fn hand_out(mut self, d: &Dataset, out: &mut [u8]) -> Result<()> {
        if self.direct {
            return Ok(());
        }
        if let Some(pieces) = &self.pieces {
            return read_pieces(pieces, &d.container().ledger, &d.shape, &self.runs, out);
        }
        let (mut at, whole) = (0, self.whole(d));
        for r in &self.runs {
            let from = if whole { r.block } else { at };
            out[r.buffer..r.buffer + r.len].copy_from_slice(&self.data[from..from + r.len]);
            at += r.len;
        }
        let block = std::mem::take(&mut self.data);
        self.let_go(d, block)
    }
}

/// Where a batch is among those of a read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Middle,
    Last,
}

/// Jobs that are fetched by a thread of their own.
type PendingJobs<'s> = ScopedJoinHandle<'s, Result<Vec<ReadJob>>>;

fn came(coming: Option<PendingJobs<'_>>) -> Result<Vec<ReadJob>> {
    match coming.map(ScopedJoinHandle::join) {
        None => Ok(Vec::new()),
        Some(Ok(jobs)) => jobs,
        Some(Err(_)) => Err(Error::new(ErrorKind::Io, "a thread that read blocks panicked")),
    }
}

impl Dataset {
    /// How many threads a read may use: only filters take time of their own.
    pub(super) fn readers(&self) -> usize {
        if self.filters.is_empty() || self.needs_codec() { 1 } else { likely_cores() }
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
        let batch = if c.near() { MAX_BATCH_BYTES } else { MAX_STORE_BATCH_BYTES };
        std::thread::scope(|s| {
            let (mut jobs, mut cost, mut coming) = (Vec::new(), 0, None);
            self.grid.parts(dims, selection, size, &mut |p: Part<'_>| {
                let key = self.key(p.coords);
                let mut look = || c.blocks.lock().look(&c.ledger, &key, &self.shape, p.runs, out);
                let known = if self.needs_codec() { without_locks(look) } else { look() }?;
                let keep = match known {
                    Admission::Done => return Ok(()),
                    Admission::Stored => None,
                    Admission::Keep(epoch) => Some(epoch),
                };
                let direct = !c.near() && keep.is_none() && self.goes_straight(p.runs);
                let job =
                    ReadJob { key, runs: p.runs.to_vec(), data: Vec::new(), keep, pieces: None, direct };
                cost += job.cost(self);
                jobs.push(job);
                if cost >= batch {
                    cost = 0;
                    self.run(s, std::mem::take(&mut jobs), &mut coming, Position::Middle, (out, threads))?;
                }
                Ok(())
            })?;
            self.run(s, jobs, &mut coming, Position::Last, (out, threads))?;
            self.finish(came(coming)?, out, threads)
        })
    }

    fn goes_straight(&self, runs: &[CopyRun]) -> bool {
        self.filters.is_empty() && runs.iter().all(|r| r.len >= MIN_DIRECT_BYTES)
    }

    /// Reads some jobs; or has them fetched, and finishes those that were fetched meanwhile. Two batches are in memory at
    /// most: one that is coming, and one that is being finished.
    fn run<'s, 'e>(
        &'e self,
        s: &'s Scope<'s, 'e>,
        mut jobs: Vec<ReadJob>,
        coming: &mut Option<PendingJobs<'s>>,
        position: Position,
        (out, threads): (&mut [u8], usize),
    ) -> Result<()> {
        if self.container().near() {
            return self.finish(jobs, out, threads);
        }
        let is_straight = jobs.iter().any(|job| job.direct);
        // A short read needs no thread.
        let alone = position == Position::Last && coming.is_none();
        if !is_straight && !alone {
            let before = came(coming.take())?;
            match self.start(s, jobs) {
                Ok(started) => {
                    *coming = Some(started);
                    return self.finish(before, out, threads);
                }
                Err(back) => jobs = back,
            }
            self.finish(before, out, threads)?;
        }
        self.fetch(&mut jobs, out)?;
        self.finish(jobs, out, threads)
    }

    /// Has jobs fetched by a thread; gives them back if there is none to be had.
    fn start<'s, 'e>(
        &'e self,
        s: &'s Scope<'s, 'e>,
        jobs: Vec<ReadJob>,
    ) -> std::result::Result<PendingJobs<'s>, Vec<ReadJob>> {
        if !self.container().reads_in_threads() {
            return Err(jobs);
        }
        let jobs = Arc::new(Mutex::new(jobs));
        let theirs = jobs.clone();
        let fetch = move || {
            let mut jobs = std::mem::take(&mut *theirs.lock());
            self.fetch(&mut jobs, &mut [])?;
            Ok(jobs)
        };
        let started = Builder::new().name("h5lake-read".into()).spawn_scoped(s, fetch);
        started.map_err(|_| std::mem::take(&mut *jobs.lock()))
    }

    /// Finds the blocks, brings them into memory, and reads what is direct to where it is wanted.
    fn fetch(&self, jobs: &mut [ReadJob], out: &mut [u8]) -> Result<()> {
        let ledger = &self.container().ledger;
        let wanted: Vec<_> =
            jobs.iter().map(|j| (j.key.as_slice(), j.keep.is_none().then_some(&j.runs[..]))).collect();
        let mut all = several(ledger, &wanted, &self.shape)?;
        let (mut straight, mut others) = (Vec::new(), Vec::new());
        for (job, pieces) in jobs.iter_mut().zip(&mut all) {
            job.direct &= pieces.encoded.is_none();
            match job.direct {
                true => straight.extend(job.runs.iter().map(|r| (*r, &*pieces))),
                false => others.push(pieces),
            }
        }
        let shape = &self.shape;
        let direct = split(out, straight)?.into_iter();
        let direct = direct.map(|(r, pieces, out)| Direct { pieces, shape, from: r.block, out }).collect();
        Fragments::fetch(ledger, others.into_iter(), direct)?;
        for (job, pieces) in jobs.iter_mut().zip(all).filter(|(job, _)| !job.direct) {
            job.pieces = Some(pieces);
        }
        Ok(())
    }

    /// Decodes what has to be, and hands everything out.
    fn finish(&self, jobs: Vec<ReadJob>, out: &mut [u8], threads: usize) -> Result<()> {
        let bytes: usize = jobs.iter().map(ReadJob::bytes).sum();
        let runs: usize = jobs.iter().map(|job| job.runs.len()).sum();
        let threads = threads.min(jobs.len()).min(bytes.div_ceil(MIN_BYTES_PER_THREAD));
        if threads > 1 && bytes / runs.max(1) >= MIN_RUN_BYTES_TO_SCATTER {
            return self.finish_in_place(jobs, out, threads);
        }
        // A few at a time, whose memory the next ones use again.
        let group = (MAX_REUSED_BYTES / self.shape.len.max(1)).max(threads.max(1) * 2);
        let mut jobs = jobs.into_iter();
        loop {
            let mut some: Vec<_> = jobs.by_ref().take(group).collect();
            if some.is_empty() {
                return Ok(());
            }
            if threads <= 1 {
                some.iter_mut().try_for_each(|j| j.read(self))?;
            } else {
                side_by_side(&mut some, threads, cores, &|j: &mut ReadJob| j.read(self))?;
            }
            some.into_iter().try_for_each(|j| j.hand_out(self, out))?;
        }
    }

    /// Each thread decodes blocks and brings them to where they are wanted.
    fn finish_in_place(&self, mut jobs: Vec<ReadJob>, out: &mut [u8], threads: usize) -> Result<()> {
        let places = places(jobs.iter_mut().map(|job| &mut job.runs).collect(), out)?;
        let mut both: Vec<_> = jobs.into_iter().zip(places).collect();
        side_by_side(&mut both, threads, cores, &|(job, places)| job.read_to(self, places))
    }
}

/// Gives each run of each block its part of the buffer. The runs of a block come into the buffer's order, as their parts are.
pub(super) fn places<'a>(
    blocks: Vec<&mut Vec<CopyRun>>,
    out: &'a mut [u8],
) -> Result<Vec<Vec<&'a mut [u8]>>> {
    let mut places: Vec<Vec<_>> = blocks.iter().map(|runs| Vec::with_capacity(runs.len())).collect();
    let mut all = Vec::with_capacity(blocks.iter().map(|runs| runs.len()).sum());
    for (n, runs) in blocks.into_iter().enumerate() {
        runs.sort_unstable_by_key(|r| r.buffer);
        all.extend(runs.iter().map(|r| (*r, n)));
    }
    for (_, n, place) in split(out, all)? {
        places[n].push(place);
    }
    Ok(places)
}

/// Gives each run its part of the buffer, in the buffer's order.
fn split<T>(out: &mut [u8], mut runs: Vec<(CopyRun, T)>) -> Result<Vec<(CopyRun, T, &mut [u8])>> {
    runs.sort_unstable_by_key(|(r, _)| r.buffer);
    let (mut at, mut rest) = (0, out);
    let mut all = Vec::with_capacity(runs.len());
    for (r, whose) in runs {
        let skip = r.buffer.checked_sub(at);
        let parts = skip.and_then(|skip| std::mem::take(&mut rest).split_at_mut_checked(skip));
        let parts = parts.and_then(|(_, from)| from.split_at_mut_checked(r.len));
        let (now, later) = parts.ok_or_else(|| Error::invalid("runs of a selection overlap in memory"))?;
        all.push((r, whose, now));
        (at, rest) = (r.buffer + r.len, later);
    }
    Ok(all)
}
