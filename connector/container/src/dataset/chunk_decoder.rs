//! Decodes chunks of native files with our filters: a source returns chunks in their stored form, and a selection of
//! their elements is copied to a buffer.
//!
//! The chunks are requested one after another, and only in the calling thread. Other threads decode them meanwhile, and
//! copy them to the buffer.

use super::batch_read::places;
use super::parallel_filter::{MIN_BYTES_PER_THREAD, cores};
use crate::chunk::copy_runs::gather;
use crate::chunk::grid::{CopyRun, Grid};
use crate::{Error, Result, Selection};
use h5lake_filters::Pipeline;
use h5lake_ledger::buffers::{self, Scratch};
use h5lake_ledger::locks::{Condvar, Mutex};
use h5lake_records::memory::buffer;
use h5lake_records::types::{Filter, product};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::thread::Builder;

/// Bytes of chunks and of their runs that are found before they are read, which bounds the memory.
const MAX_BATCH_BYTES: usize = 64 << 20;
/// This many bytes of runs are enough for a batch, because sorting and accessing more costs more time than restarting
/// the threads, ...
const ENOUGH_RUN_BYTES: usize = 512 << 10;
/// ... if there are this many bytes of chunks for the threads.
const ENOUGH_BATCH_BYTES: usize = 8 << 20;
/// Bytes of chunks that are decoded together if the caller's thread has to copy their runs.
const MAX_REUSED_BYTES: usize = 8 << 20;
/// If runs have at least this many bytes on average, the threads that decode chunks also copy them to the buffer.
const MIN_RUN_BYTES_TO_SCATTER: usize = 512;
/// Memory of a run while it waits: the run itself, and its part of the buffer.
const RUN_COST_BYTES: usize = size_of::<CopyRun>() + size_of::<&mut [u8]>();
/// Bytes of chunks that a thread takes at once, so that small chunks are handled together.
const GROUP_BYTES: usize = 128 << 10;
/// Number of groups that wait for each thread. If there are more, the calling thread decodes as well.
const WAITING_GROUPS: usize = 2;

/// A chunk as returned by a [`ChunkSource`].
#[derive(Debug)]
pub enum SourceChunk {
    /// The chunk has storage.
    Stored {
        /// Bit n for a filter n that was skipped when it was written.
        mask: u32,
        /// Its stored bytes, and possibly further bytes.
        buffer: Scratch,
        /// Number of its stored bytes, at the buffer's beginning.
        len: usize,
    },
    /// The chunk has no storage: its elements have the fill value.
    Missing,
}

/// The source of the chunks.
pub trait ChunkSource {
    /// Reads a chunk in its stored form, by its coordinates in chunks. Called in the thread that called
    /// [`ChunkDecoder::read`].
    ///
    /// # Errors
    /// Any error that prevents the read of the chunk. The whole read fails with it.
    fn stored_chunk(&mut self, coords: &[u64]) -> Result<SourceChunk>;
}

/// The costs of a read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Chunks that had storage.
    pub chunks: u64,
    /// Stored bytes of these chunks.
    pub stored_bytes: u64,
}

/// Decodes the chunks of one dataset.
#[derive(Debug)]
pub struct ChunkDecoder {
    grid: Grid,
    chunk: Vec<u64>,
    element: usize,
    /// Bytes of a decoded chunk.
    len: usize,
    pipeline: Pipeline,
    /// One element of fill values.
    fill: Option<Vec<u8>>,
}

/// A chunk of a batch: its coordinates, and its wanted runs.
struct Wanted {
    coords: Vec<u64>,
    runs: Vec<CopyRun>,
}

/// A chunk that was read and is to be decoded, with the part of the buffer for each of its runs.
struct Job<'a> {
    runs: Vec<CopyRun>,
    places: Vec<&'a mut [u8]>,
    chunk: SourceChunk,
}

/// The queue of jobs for the threads that decode.
struct Queue<'a> {
    state: Mutex<QueueState<'a>>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState<'a> {
    waiting: VecDeque<Vec<Job<'a>>>,
    /// True if no more jobs follow.
    is_over: bool,
    failed: Option<Error>,
}

impl ChunkDecoder {
    /// Creates a decoder for chunks of these dimensions, of elements of `element` bytes; `None` if a filter is not
    /// built in. `fill` is one element; without it a chunk without storage is an error.
    ///
    /// # Errors
    /// `InvalidArgument` for parameters that a filter cannot have, and chunks of no or too many bytes.
    pub fn new(
        chunk: &[u64],
        element: usize,
        filters: &[Filter],
        fill: Option<Vec<u8>>,
    ) -> Result<Option<Self>> {
        let pipeline = Pipeline::new(filters)?;
        let len =
            product(chunk).ok().and_then(|n| usize::try_from(n).ok()).and_then(|n| n.checked_mul(element));
        let len = len.filter(|len| *len > 0 && isize::try_from(*len).is_ok());
        let len =
            len.ok_or_else(|| Error::invalid(format!("chunks of {chunk:?} elements of {element} bytes")))?;
        if fill.as_ref().is_some_and(|fill| fill.len() != element) {
            return Err(Error::invalid("a fill value of another size than an element"));
        }
        let (grid, chunk) = (Grid::Boxes(chunk.to_vec()), chunk.to_vec());
        Ok((!pipeline.is_foreign()).then_some(Self { grid, chunk, element, len, pipeline, fill }))
    }

    /// Returns the number of threads that decode long reads on this machine.
    pub fn threads() -> usize {
        cores()
    }

    /// Returns the bytes of a decoded chunk.
    pub fn chunk_bytes(&self) -> usize {
        self.len
    }

    /// Returns the maximum number of bytes that any writer stores for a chunk.
    pub fn max_stored_bytes(&self) -> usize {
        self.pipeline.max_stored_bytes(self.len)
    }

    /// Returns whether the fill value of chunks without storage is known.
    pub fn has_fill(&self) -> bool {
        self.fill.is_some()
    }

    /// Returns the number of elements of a chunk along each dimension.
    pub fn chunk(&self) -> &[u64] {
        &self.chunk
    }

    /// Returns whether a selection touches at least `least` chunks. It enumerates chunks only until the answer is
    /// known.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub fn touches(&self, dims: &[u64], selection: &Selection, least: u64) -> Result<bool> {
        if matches!(selection, Selection::All) {
            let counts = dims.iter().zip(&self.chunk).map(|(dim, chunk)| dim.div_ceil(*chunk));
            return Ok(counts.fold(1, u64::saturating_mul) >= least);
        }
        let mut found = 0;
        let mut count = |_: crate::chunk::grid::Part<'_>| {
            found += 1;
            // This error only ends the walk, and is not returned.
            if found >= least { Err(Error::range("there are enough")) } else { Ok(()) }
        };
        let walked = self.grid.parts(dims, selection, self.element, &mut count);
        if found >= least { Ok(true) } else { walked.map(|()| false) }
    }

    /// Reads the selected elements of a dataset of these dimensions into `out`, in the order of the selection.
    ///
    /// After an error the content of `out` is unspecified.
    ///
    /// # Errors
    /// Those of `source`; `Corrupt` for a chunk that does not decode; `InvalidArgument` and `OutOfRange` for a selection that
    /// does not fit the dimensions or `out`; `NotFound` for a chunk without storage if there is no fill value.
    pub fn read(
        &self,
        dims: &[u64],
        selection: &Selection,
        out: &mut [u8],
        source: &mut dyn ChunkSource,
    ) -> Result<Decoded> {
        if dims.len() != self.chunk.len() {
            return Err(Error::invalid("a dataset and its chunks have different ranks"));
        }
        let wanted = selection.points(dims)?;
        if usize::try_from(wanted).ok().and_then(|n| n.checked_mul(self.element)) != Some(out.len()) {
            return Err(Error::invalid(format!("{wanted} elements are read into {} bytes", out.len())));
        }
        let (mut batch, mut chunks, mut runs, mut done) = (Vec::new(), 0, 0, Decoded::default());
        self.grid.parts(dims, selection, self.element, &mut |p| {
            batch.push(Wanted { coords: p.coords.to_vec(), runs: p.runs.to_vec() });
            chunks += self.len;
            runs += p.runs.len() * RUN_COST_BYTES;
            let is_enough = runs >= ENOUGH_RUN_BYTES && chunks >= ENOUGH_BATCH_BYTES;
            if is_enough || chunks + runs >= MAX_BATCH_BYTES {
                (chunks, runs) = (0, 0);
                self.read_batch(std::mem::take(&mut batch), out, source, &mut done)?;
            }
            Ok(())
        })?;
        self.read_batch(batch, out, source, &mut done)?;
        Ok(done)
    }

    fn read_batch(
        &self,
        mut batch: Vec<Wanted>,
        out: &mut [u8],
        source: &mut dyn ChunkSource,
        done: &mut Decoded,
    ) -> Result<()> {
        let bytes: usize = batch.iter().flat_map(|w| &w.runs).map(|r| r.len).sum();
        let runs: usize = batch.iter().map(|w| w.runs.len()).sum();
        if bytes / runs.max(1) < MIN_RUN_BYTES_TO_SCATTER {
            return self.read_apart(batch, out, source, done);
        }
        let places = places(batch.iter_mut().map(|w| &mut w.runs).collect(), out)?;
        let both = batch.into_iter().zip(places).map(|(w, places)| (w.coords, w.runs, places));
        self.decode(both, source, done)
    }

    /// Decodes whole chunks with many short runs, which this thread then copies to `out`.
    fn read_apart(
        &self,
        batch: Vec<Wanted>,
        out: &mut [u8],
        source: &mut dyn ChunkSource,
        done: &mut Decoded,
    ) -> Result<()> {
        for some in batch.chunks((MAX_REUSED_BYTES / self.len).max(1)) {
            let mut whole: Vec<_> = some.iter().map(|_| buffer(self.len)).collect::<Result<_>>()?;
            let all = CopyRun { block: 0, buffer: 0, len: self.len };
            let jobs = some.iter().zip(&mut whole);
            let jobs = jobs.map(|(w, chunk)| (w.coords.clone(), vec![all], vec![&mut chunk[..]]));
            self.decode(jobs, source, done)?;
            for (w, chunk) in some.iter().zip(whole) {
                gather(&w.runs, &chunk, 0, out);
                buffers::give(chunk);
            }
        }
        Ok(())
    }

    /// Reads chunks one after another, and lets the threads decode them in parallel.
    fn decode<'a>(
        &self,
        jobs: impl ExactSizeIterator<Item = (Vec<u64>, Vec<CopyRun>, Vec<&'a mut [u8]>)>,
        source: &mut dyn ChunkSource,
        done: &mut Decoded,
    ) -> Result<()> {
        let threads = cores().min(jobs.len().saturating_mul(self.len) / MIN_BYTES_PER_THREAD).min(jobs.len());
        let mut read = |(coords, runs, places): (Vec<u64>, _, _)| {
            let chunk = source.stored_chunk(&coords)?;
            if let SourceChunk::Stored { len, .. } = &chunk {
                done.chunks += 1;
                done.stored_bytes += *len as u64;
            }
            Ok(Job { runs, places, chunk })
        };
        if threads <= 1 {
            return jobs.map(&mut read).try_for_each(|job| self.finish(job?));
        }
        let queue = Queue { state: Mutex::new(QueueState::default()), changed: Condvar::new() };
        std::thread::scope(|s| {
            let help = || while queue.next(|group| self.finish_all(group)).is_continue() {};
            let mut helpers = 0;
            for _ in 1..threads {
                helpers +=
                    usize::from(Builder::new().name("h5lake-decode".into()).spawn_scoped(s, help).is_ok());
            }
            let fed = self.feed(&queue, helpers * WAITING_GROUPS, jobs.map(&mut read));
            queue.end(fed.err());
            // This thread helps with the remaining jobs.
            help();
        });
        queue.state.into_inner().failed.map_or(Ok(()), Err)
    }

    /// Puts groups of jobs into the queue. If the queue is full, this thread runs them at once.
    fn feed<'a>(
        &self,
        queue: &Queue<'a>,
        most: usize,
        jobs: impl Iterator<Item = Result<Job<'a>>>,
    ) -> Result<()> {
        let of_group = (GROUP_BYTES / self.len).max(1);
        let mut group = Vec::with_capacity(of_group);
        for job in jobs {
            group.push(job?);
            if group.len() == of_group {
                let full = std::mem::replace(&mut group, Vec::with_capacity(of_group));
                if let Some(mine) = queue.put(full, most)? {
                    self.finish_all(mine)?;
                }
            }
        }
        self.finish_all(group)
    }

    fn finish_all(&self, group: Vec<Job<'_>>) -> Result<()> {
        group.into_iter().try_for_each(|job| self.finish(job))
    }

    /// Decodes a chunk, and copies its runs to the buffer.
    fn finish(&self, job: Job<'_>) -> Result<()> {
        let Job { runs, mut places, chunk } = job;
        let (mask, stored, len) = match chunk {
            SourceChunk::Stored { mask, buffer, len } => (mask, buffer, len),
            SourceChunk::Missing => return self.fill(places),
        };
        let stored = stored.get(..len).ok_or_else(|| Error::invalid("a chunk is longer than its buffer"))?;
        if let ([run], [place]) = (&runs[..], &mut places[..])
            && run.len == self.len
        {
            return self.pipeline.decode_slice_into(stored, mask, place);
        }
        let mut chunk = buffer(self.len)?;
        self.pipeline.decode_slice_into(stored, mask, &mut chunk)?;
        for (run, place) in runs.iter().zip(places) {
            place.copy_from_slice(&chunk[run.block..run.block + run.len]);
        }
        buffers::give(chunk);
        Ok(())
    }

    /// Fills parts of the buffer, each of which consists of whole elements.
    fn fill(&self, places: Vec<&mut [u8]>) -> Result<()> {
        let fill = self.fill.as_deref().ok_or_else(|| Error::not_found("a chunk has no storage"))?;
        for place in places {
            if fill.iter().all(|byte| *byte == 0) {
                place.fill(0);
            } else {
                place.chunks_exact_mut(fill.len()).for_each(|element| element.copy_from_slice(fill));
            }
        }
        Ok(())
    }
}

impl<'a> Queue<'a> {
    /// Puts a group into the queue, or returns it if the queue is full. Returns the error of another thread if there
    /// was one.
    fn put(&self, group: Vec<Job<'a>>, most: usize) -> Result<Option<Vec<Job<'a>>>> {
        let mut state = self.state.lock();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        if state.waiting.len() >= most {
            return Ok(Some(group));
        }
        state.waiting.push_back(group);
        self.changed.notify_all();
        Ok(None)
    }

    /// Runs `work` for the next group, and waits for a group if necessary; breaks if no group follows.
    fn next(&self, work: impl FnOnce(Vec<Job<'a>>) -> Result<()>) -> ControlFlow<()> {
        let mut state = self.state.lock();
        let group = loop {
            if state.failed.is_some() {
                return ControlFlow::Break(());
            }
            if let Some(group) = state.waiting.pop_front() {
                break group;
            }
            if state.is_over {
                return ControlFlow::Break(());
            }
            self.changed.wait(&mut state);
        };
        drop(state);
        if let Err(error) = work(group) {
            self.end(Some(error));
        }
        ControlFlow::Continue(())
    }

    /// Marks the end of the jobs; keeps the first error.
    fn end(&self, error: Option<Error>) {
        let mut state = self.state.lock();
        if let Some(error) = error {
            state.failed.get_or_insert(error);
        }
        state.is_over = true;
        self.changed.notify_all();
    }
}
