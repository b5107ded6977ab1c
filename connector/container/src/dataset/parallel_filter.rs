//! Runs filters on many chunks in parallel.

use super::Dataset;
use crate::chunk::block_store::change_stored;
use crate::chunk::fragments::Fragments;
use crate::chunk::grid::{CopyRun, Coverage, Part};
use crate::{Result, Selection};
use h5lake_ledger::buffers;
use h5lake_records::memory::buffer;
use h5lake_records::record::StatisticsRecord;
#[cfg(target_os = "linux")]
use nix::sched::{CpuSet, sched_getaffinity};
#[cfg(target_os = "linux")]
use nix::unistd::Pid;
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

/// Bytes of chunks that are passed to the threads at once.
const MAX_BATCH_BYTES: usize = 64 << 20;
/// Minimum bytes for which an additional thread is worthwhile.
pub(super) const MIN_BYTES_PER_THREAD: usize = 128 << 10;

/// A block that one of the threads reads or writes: its key, and its runs in the caller's buffer.
pub(super) struct FilterJob {
    pub(super) key: Vec<u8>,
    pub(super) runs: Vec<CopyRun>,
}

static CORES: OnceLock<usize> = OnceLock::new();
/// The cached result of [`affinity`].
static ALLOWED: OnceLock<Option<usize>> = OnceLock::new();

/// Returns how many cores this process may use. The result is cached, because finding it takes twenty system calls (the
/// affinity, and the limits of the control groups) and a tenth of a millisecond.
pub(super) fn cores() -> usize {
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

/// Returns an upper bound of the number of cores, which takes one system call. Callers that start with this many
/// threads let [`side_by_side`] find the exact number while they work.
pub(super) fn likely_cores() -> usize {
    CORES.get().copied().or_else(|| *ALLOWED.get_or_init(affinity)).unwrap_or_else(cores)
}

#[cfg(target_os = "linux")]
fn affinity() -> Option<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).ok()?;
    Some((0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false)).count())
}

#[cfg(not(target_os = "linux"))]
fn affinity() -> Option<usize> {
    None
}

impl Dataset {
    /// Returns how many threads a write may use. Only filters benefit from threads, and a lent codec runs only in the
    /// caller's thread.
    pub(super) fn encoders(&self) -> usize {
        if self.filters.is_empty() || self.needs_codec() { 1 } else { likely_cores() }
    }

    /// Writes whole chunks through the filters in parallel.
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
            if p.coverage == Coverage::Partial || wanted < self.shape.len / 2 || !self.shape.is_filtered(&key)
            {
                return c.blocks.lock().write(&c.ledger, &key, &self.shape, p.runs, data, p.coverage);
            }
            jobs.push(FilterJob { key, runs: p.runs.to_vec() });
            bytes += wanted;
            if bytes >= MAX_BATCH_BYTES {
                self.encode(&mut jobs, data, threads)?;
                bytes = 0;
            }
            Ok(())
        })?;
        self.encode(&mut jobs, data, threads)
    }

    /// Encodes chunks, and stores each one as soon as it is encoded: while one thread stores, other threads encode, and
    /// only the chunks in progress are in memory.
    fn encode(&self, jobs: &mut Vec<FilterJob>, data: &[u8], threads: usize) -> Result<()> {
        let bytes = jobs.len() * self.shape.len;
        let threads = threads.min(jobs.len()).min(bytes.div_ceil(MIN_BYTES_PER_THREAD)).max(1);
        let done = side_by_side(jobs, threads, cores, &|j: &mut FilterJob| {
            let (mask, encoded, statistics) = self.encoded(&j.key, &j.runs, data)?;
            let ledger = &self.container().ledger;
            self.replace_stored(&j.key, &j.runs, |p| {
                p.put_encoded(ledger, &self.shape, mask, &encoded)?;
                p.statistics = statistics;
                Ok(())
            })?;
            buffers::give(encoded);
            Ok(())
        });
        jobs.clear();
        done
    }

    /// Changes the stored state of a block after `runs` were written, and drops its state in the cache.
    pub(super) fn replace_stored(
        &self,
        key: &[u8],
        runs: &[CopyRun],
        change: impl FnOnce(&mut Fragments) -> Result<()>,
    ) -> Result<()> {
        let c = self.container();
        let mut blocks = c.blocks.lock();
        blocks.touch(key, runs.iter().map(|r| r.block..r.block + r.len));
        change_stored(&c.ledger, key, &self.shape, change)?;
        blocks.supersede(key);
        Ok(())
    }

    /// Encodes a chunk from its runs in the caller's buffer. Returns the mask of skipped filters, the encoded bytes,
    /// and the statistics of its elements.
    fn encoded(
        &self,
        key: &[u8],
        runs: &[CopyRun],
        data: &[u8],
    ) -> Result<(u32, Vec<u8>, Option<StatisticsRecord>)> {
        let encode = |block: &[u8]| -> Result<_> {
            let statistics = self.shape.statistics(key, block);
            let (mask, encoded) = self.shape.filters.encode(block)?;
            Ok((mask, encoded, statistics))
        };
        if let [r] = runs
            && r.len == self.shape.len
        {
            return encode(&data[r.buffer..r.buffer + r.len]);
        }
        // If the runs cover the whole chunk, there is nothing to fill.
        let given: usize = runs.iter().map(|r| r.len).sum();
        let mut block = if given == self.shape.len { buffer(given)? } else { self.shape.filled()? };
        for r in runs {
            block[r.block..r.block + r.len].copy_from_slice(&data[r.buffer..r.buffer + r.len]);
        }
        let encoded = encode(&block)?;
        buffers::give(block);
        Ok(encoded)
    }
}

/// Runs `work` for every item, in up to `threads` threads, but no more than `allowed` returns; returns the first error.
/// `allowed` may be slow, because the caller works meanwhile.
pub(super) fn side_by_side<T: Send>(
    items: &mut [T],
    threads: usize,
    allowed: fn() -> usize,
    work: &(dyn Fn(&mut T) -> Result<()> + Sync),
) -> Result<()> {
    let total = items.len();
    let next = AtomicUsize::new(0);
    let items: Vec<_> = items.iter_mut().map(h5lake_ledger::locks::Mutex::new).collect();
    let failed = h5lake_ledger::locks::Mutex::new(None);
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
    let one = &one;
    std::thread::scope(|s| {
        // If no more threads can be started, the existing ones do all the work.
        let helpers = move || {
            let threads = threads.min(allowed());
            for _ in 2..threads {
                if Builder::new().spawn_scoped(s, one).is_err() {
                    break;
                }
            }
            if threads > 1 {
                one();
            }
        };
        if threads > 1 {
            let _it_is_alone = Builder::new().spawn_scoped(s, helpers).is_err();
        }
        one();
    });
    failed.into_inner().map_or(Ok(()), Err)
}
