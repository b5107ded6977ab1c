//! Long transfers by several threads. For near storage, each core copies different blocks and computes their checksums,
//! directly to or from the program's buffer. To a remote store, the blocks are sent from the program's buffer without a
//! copy, many objects at once, because each of them waits for a response.

use super::Dataset;
use super::batch_read::places;
use super::parallel_filter::{FilterJob, cores, likely_cores, side_by_side};
use crate::chunk::admission::Latency;
use crate::chunk::grid::{CopyRun, Coverage, Part};
use crate::chunk::layout::MIN_DIRECT_BYTES;
use crate::chunk::statistics::Before;
use crate::{Result, Selection};
use bytes::Bytes;
use h5lake_ledger::Extent;
use h5lake_records::record::StatisticsRecord;

/// Minimum bytes of a transfer by several threads. A shorter one ends before a thread has started: 8 MiB take half a
/// millisecond.
const MIN_SHARED_BYTES: usize = 8 << 20;
/// Bytes of blocks that are found before they are read, which bounds the memory for them.
const MAX_BATCH_BYTES: usize = 256 << 20;
/// Bytes that are written before the entries of their blocks are staged.
const MAX_WRITE_BATCH_BYTES: usize = 64 << 20;
/// Bytes of the blocks that one thread takes at a time, which become one object.
const OBJECT_BYTES: usize = 4 << 20;
/// Minimum bytes of a write that lends its buffer to a remote store. A shorter write is copied and uploaded while the program continues; a
/// longer one would have to wait for its own upload.
const MIN_LENT_BYTES: usize = 64 << 20;
/// Bytes of an object in a remote store.
const FAR_OBJECT_BYTES: usize = 8 << 20;
/// Maximum number of concurrent uploads to a remote store: enough for 1 GB/s at a latency of 100 ms.
const MAX_FAR_OBJECTS: usize = 16;
/// Bytes that are uploaded to a remote store before the entries are staged: at the end of each batch, all threads wait
/// for the last one.
const MAX_FAR_BATCH_BYTES: usize = 1 << 30;

/// The division of a write among threads.
#[derive(Clone, Copy)]
struct WritePlan {
    object: usize,
    batch: usize,
    threads: usize,
    /// Returns how many threads are allowed, for systems on which finding that out takes a while.
    allowed: fn() -> usize,
}

/// A block that is written from one run of the caller's buffer.
struct Write {
    key: Vec<u8>,
    run: CopyRun,
    /// The extent that was written.
    extent: Option<Extent>,
    /// Statistics of the block's new elements.
    statistics: Option<StatisticsRecord>,
}

impl Dataset {
    /// Returns how many threads may share a transfer of `bytes` bytes from or to near storage. One if there are
    /// filters, because transfers with filters are parallelized separately.
    pub(super) fn sharers(&self, bytes: usize) -> usize {
        if bytes < MIN_SHARED_BYTES || !self.filters.is_empty() { 1 } else { likely_cores() }
    }

    /// Reads blocks with long runs in parallel.
    pub(crate) fn read_shared(
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
            if p.runs.iter().any(|r| r.len < MIN_DIRECT_BYTES) || c.blocks.lock().is_here(&key) {
                return c.read_block(&key, &self.shape, p.runs, out);
            }
            bytes += p.runs.iter().map(|r| r.len).sum::<usize>();
            jobs.push(FilterJob { key, runs: p.runs.to_vec() });
            if bytes >= MAX_BATCH_BYTES {
                bytes = 0;
                self.read_jobs(std::mem::take(&mut jobs), out, threads)?;
            }
            Ok(())
        })?;
        self.read_jobs(jobs, out, threads)
    }

    fn read_jobs(&self, mut jobs: Vec<FilterJob>, out: &mut [u8], threads: usize) -> Result<()> {
        let places = places(jobs.iter_mut().map(|job| &mut job.runs).collect(), out)?;
        let c = self.container();
        let threads = threads.min(jobs.len());
        let mut both: Vec<_> = jobs.into_iter().zip(places).collect();
        side_by_side(&mut both, threads, cores, &|(job, places)| {
            for (r, out) in job.runs.iter().zip(places) {
                c.read_past(&job.key, &self.shape, &[CopyRun { buffer: 0, ..*r }], out)?;
            }
            Ok(())
        })
    }

    /// Returns whether a write of `bytes` bytes should use [`write_bytes`](Self::write_bytes).
    pub fn is_better_lent(&self, bytes: usize) -> bool {
        bytes >= MIN_LENT_BYTES && self.filters.is_empty() && self.container().takes_lent
    }

    /// Writes like [`write`](Self::write), without a copy of blocks that are contiguous in `data` in their stored form.
    /// When this returns, these blocks are in the store, which releases `data` soon after; they become part of the next
    /// flush.
    ///
    /// # Errors
    /// As for [`write`](Self::write), and those of the store.
    pub fn write_bytes(&self, selection: &Selection, data: &Bytes) -> Result<()> {
        if !self.filters.is_empty() || self.container().distance() != Latency::Far {
            return self.write(selection, data);
        }
        self.writing(selection, data, |dims, size| {
            let way = WritePlan {
                object: FAR_OBJECT_BYTES,
                batch: MAX_FAR_BATCH_BYTES,
                threads: MAX_FAR_OBJECTS,
                allowed: || MAX_FAR_OBJECTS,
            };
            self.share(dims, selection, size, data, Some(data), way)
        })
    }

    /// Writes to a store in memory: blocks that are written as a whole, each from one run of `data`, are written in
    /// parallel, and then staged.
    pub(crate) fn write_shared(
        &self,
        dims: &[u64],
        selection: &Selection,
        size: usize,
        data: &[u8],
        threads: usize,
    ) -> Result<()> {
        self.share(
            dims,
            selection,
            size,
            data,
            None,
            WritePlan { object: OBJECT_BYTES, batch: MAX_WRITE_BATCH_BYTES, threads, allowed: cores },
        )
    }

    /// Writes by several threads. `lent` is equal to `data`, if `data` need not be copied.
    fn share(
        &self,
        dims: &[u64],
        selection: &Selection,
        size: usize,
        data: &[u8],
        lent: Option<&Bytes>,
        way: WritePlan,
    ) -> Result<()> {
        let c = self.container();
        let write = |groups| self.write_groups(groups, data, lent, way);
        let (mut group, mut groups, mut bytes) = (Vec::new(), Vec::new(), 0);
        self.grid.parts(dims, selection, size, &mut |p: Part<'_>| {
            let key = self.key(p.coords);
            let run = match p.runs {
                [run]
                    if p.coverage == Coverage::Whole
                        && run.len >= MIN_DIRECT_BYTES
                        && run.len >= self.shape.len / 2 =>
                {
                    *run
                }
                _ => return c.blocks.lock().write(&c.ledger, &key, &self.shape, p.runs, data, p.coverage),
            };
            group.push(Write { key, run, extent: None, statistics: None });
            bytes += run.len;
            if group.iter().map(|w: &Write| w.run.len).sum::<usize>() >= way.object {
                groups.push(std::mem::take(&mut group));
            }
            if bytes >= way.batch {
                bytes = 0;
                groups.push(std::mem::take(&mut group));
                write(std::mem::take(&mut groups))?;
            }
            Ok(())
        })?;
        groups.push(group);
        write(groups)
    }

    fn write_groups(
        &self,
        mut groups: Vec<Vec<Write>>,
        data: &[u8],
        lent: Option<&Bytes>,
        way: WritePlan,
    ) -> Result<()> {
        let ledger = &self.container().ledger;
        groups.retain(|group| !group.is_empty());
        let threads = way.threads.min(groups.len());
        let mut done = side_by_side(&mut groups, threads, way.allowed, &|group: &mut Vec<Write>| {
            group.iter_mut().for_each(|w| w.statistics = self.known_of(&w.key, w.run, data));
            let ranges = group.iter().map(|w| w.run.buffer..w.run.buffer + w.run.len);
            let written = match lent {
                Some(lent) => ledger.put_payloads(&ranges.map(|r| lent.slice(r)).collect::<Vec<_>>())?,
                None => ledger.write_payloads(&ranges.map(|r| &data[r]).collect::<Vec<_>>())?,
            };
            for (w, extent) in group.iter_mut().zip(written) {
                w.extent = Some(extent);
            }
            Ok(())
        });
        for Write { key, run, extent, statistics } in groups.into_iter().flatten() {
            let Some(extent) = extent else { continue };
            match done {
                Ok(()) => done = self.take_over(&key, run, extent, statistics),
                // The first error is returned; extents that were written in vain are freed.
                Err(_) => ledger.free_payload(&extent)?,
            }
        }
        done
    }

    /// Returns the statistics of a block with this run and fill values elsewhere.
    fn known_of(&self, key: &[u8], run: CopyRun, data: &[u8]) -> Option<StatisticsRecord> {
        let before = Before { is_empty: true, statistics: None };
        self.shape.statistics_of_parts(key, before, &[(run.block, &data[run.buffer..run.buffer + run.len])])
    }

    /// Stages a written extent as a block's content; the part outside of the dataset, if any, is fill.
    fn take_over(
        &self,
        key: &[u8],
        run: CopyRun,
        extent: Extent,
        statistics: Option<StatisticsRecord>,
    ) -> Result<()> {
        self.replace_stored(key, &[run], |p| {
            p.put_written(run.block, run.len, extent);
            p.statistics = statistics;
            Ok(())
        })
    }
}
