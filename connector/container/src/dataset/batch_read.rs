//! Reads many blocks at once. Blocks in a store are requested together and, if possible, read directly into the
//! caller's buffer. While some blocks are decoded or copied to the buffer, the next ones are being fetched.

use super::Dataset;
use super::parallel_filter::{MIN_BYTES_PER_THREAD, cores, likely_cores, side_by_side};
use crate::chunk::admission::Admission;
use crate::chunk::block_store::{read_pieces, several, stored};
use crate::chunk::fragments::{Direct, Fragments};
use crate::chunk::grid::{CopyRun, Part};
use crate::chunk::layout::MIN_DIRECT_BYTES;
use crate::{Error, ErrorKind, Result, Selection};
use h5lake_filters::unlocked::without_locks;
use h5lake_ledger::buffers;
use h5lake_ledger::locks::Mutex;
use h5lake_records::memory::zeros;
use std::sync::Arc;
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// Bytes that are read in parallel before the first blocks are copied to the caller's buffer. From a store the next
/// batch is fetched meanwhile, so that, with the stored form of both batches, this is a third of the memory that a read
/// takes.
const MAX_BATCH_BYTES: usize = 64 << 20;
const MAX_STORE_BATCH_BYTES: usize = 32 << 20;
/// Memory of a block that is read directly into the caller's buffer: its key, its runs, and four bytes of checksums per
/// 16 KiB.
const DIRECT_READ_COST_BYTES: usize = 512;

/// Bytes of blocks that are decoded before they are copied to the caller's buffer, if that is not done in one step.
const MAX_REUSED_BYTES: usize = 8 << 20;
/// If runs have at least this many bytes on average, the threads that decode blocks also copy them to the caller's
/// buffer.
const MIN_RUN_BYTES_TO_SCATTER: usize = 512;

/// A block to be read: its key, the wanted runs, and a buffer for it.
struct ReadJob {
    key: Vec<u8>,
    /// The wanted runs, with their offsets in the caller's buffer.
    runs: Vec<CopyRun>,
    data: Vec<u8>,
    /// If set, the whole block is read, and cached unless something was written since this epoch.
    keep: Option<u64>,
    /// Its stored state; including the bytes if it is in a store.
    pieces: Option<Fragments>,
    /// True for long runs of an unfiltered block in a store, which are read directly into the caller's buffer.
    direct: bool,
}

impl ReadJob {
    fn bytes(&self) -> usize {
        self.runs.iter().map(|r| r.len).sum()
    }

    /// Returns whether its bytes are in memory unencoded: then they are copied directly to the caller's buffer.
    fn is_here(&self) -> bool {
        self.keep.is_none() && self.pieces.as_ref().is_some_and(|pieces| pieces.encoded.is_none())
    }

    /// Returns whether the whole block is read, either to be cached, or because it has to be decoded anyway.
    fn whole(&self, d: &Dataset) -> bool {
        self.keep.is_some() || !d.shape.filters.is_empty()
    }

    /// Returns the memory that it takes of the limit for a batch.
    fn cost(&self, d: &Dataset) -> usize {
        match (self.direct, self.whole(d)) {
            (true, _) => DIRECT_READ_COST_BYTES + d.shape.len / 4096,
            (false, true) => d.shape.len.max(self.bytes()),
            (false, false) => self.bytes(),
        }
    }

    /// Reads the runs, packed one after another, or the whole block.
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
            // The undamaged parts of the block can still be read.
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

    /// Reads the runs, which are in the order of `places`, into `places`.
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

    /// Caches a block after its bytes were copied out, or recycles its memory.
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

/// The position of a batch in a read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Middle,
    Last,
}

/// Jobs that are fetched by a separate thread.
type PendingJobs<'s> = ScopedJoinHandle<'s, Result<Vec<ReadJob>>>;

fn came(coming: Option<PendingJobs<'_>>) -> Result<Vec<ReadJob>> {
    match coming.map(ScopedJoinHandle::join) {
        None => Ok(Vec::new()),
        Some(Ok(jobs)) => jobs,
        Some(Err(_)) => Err(Error::new(ErrorKind::Io, "a thread that read blocks panicked")),
    }
}

impl Dataset {
    /// Returns how many threads a read may use. Only filters benefit from threads.
    pub(super) fn readers(&self) -> usize {
        if self.filters.is_empty() || self.needs_codec() { 1 } else { likely_cores() }
    }

    /// Reads many blocks at once, with up to `threads` threads for the filters.
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

    /// Reads a batch of jobs directly, or starts fetching it and meanwhile finishes the batch before it. At most two
    /// batches are in memory: one that is being fetched, and one that is being finished.
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

    /// Starts a thread that fetches jobs; returns the jobs if no thread can be started.
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

    /// Finds the blocks, reads them into memory, and reads direct runs into the caller's buffer.
    fn fetch(&self, jobs: &mut [ReadJob], out: &mut [u8]) -> Result<()> {
        let ledger = &self.container().ledger;
        let wanted: Vec<_> =
            jobs.iter().map(|j| (j.key.as_slice(), j.keep.is_none().then_some(&j.runs[..]))).collect();
        let mut all = several(ledger, &wanted, &self.shape)?;
        let (mut straight, mut indirect) = (Vec::new(), Vec::new());
        for (job, pieces) in jobs.iter_mut().zip(&mut all) {
            job.direct &= pieces.encoded.is_none();
            match job.direct {
                true => straight.extend(job.runs.iter().map(|r| (*r, &*pieces))),
                false => indirect.push(pieces),
            }
        }
        let shape = &self.shape;
        let direct = split(out, straight)?.into_iter();
        let direct = direct.map(|(r, pieces, out)| Direct { pieces, shape, from: r.block, out }).collect();
        Fragments::fetch(ledger, indirect.into_iter(), direct)?;
        for (job, pieces) in jobs.iter_mut().zip(all).filter(|(job, _)| !job.direct) {
            job.pieces = Some(pieces);
        }
        Ok(())
    }

    /// Decodes the blocks that are encoded, and copies all to the caller's buffer.
    fn finish(&self, jobs: Vec<ReadJob>, out: &mut [u8], threads: usize) -> Result<()> {
        let bytes: usize = jobs.iter().map(ReadJob::bytes).sum();
        let runs: usize = jobs.iter().map(|job| job.runs.len()).sum();
        let threads = threads.min(jobs.len()).min(bytes.div_ceil(MIN_BYTES_PER_THREAD));
        if threads > 1 && bytes / runs.max(1) >= MIN_RUN_BYTES_TO_SCATTER {
            return self.finish_in_place(jobs, out, threads);
        }
        // A few blocks at a time, so that the next ones can reuse their memory.
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

    /// Lets each thread decode blocks and copy them to the caller's buffer.
    fn finish_in_place(&self, mut jobs: Vec<ReadJob>, out: &mut [u8], threads: usize) -> Result<()> {
        let places = places(jobs.iter_mut().map(|job| &mut job.runs).collect(), out)?;
        let mut both: Vec<_> = jobs.into_iter().zip(places).collect();
        side_by_side(&mut both, threads, cores, &|(job, places)| job.read_to(self, places))
    }
}

/// Assigns to each run of each block its part of the buffer. The runs of a block are put into the buffer's order, like
/// their parts.
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

/// Assigns to each run its part of the buffer, in the buffer's order.
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
