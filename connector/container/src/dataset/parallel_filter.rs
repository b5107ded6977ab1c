//! Many chunks at once: filters run side by side.

use super::Dataset;
use crate::chunk::block_store::change_stored;
use crate::chunk::fragments::Fragments;
use crate::chunk::grid::{CopyRun, Coverage, Part};
use crate::record::StatisticsRecord;
use crate::record_conversion::buffer;
use crate::{Result, Selection};
use h5lake_ledger::buffers;
#[cfg(target_os = "linux")]
use nix::sched::{CpuSet, sched_getaffinity};
#[cfg(target_os = "linux")]
use nix::unistd::Pid;
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

/// Bytes of chunks that are handed to the threads at once.
const MAX_BATCH_BYTES: usize = 64 << 20;
/// Less than this is not worth a thread.
pub(super) const MIN_BYTES_PER_THREAD: usize = 128 << 10;

/// A block that whoever comes to it reads or writes: its key, and where its bytes are in the caller's buffer.
pub(super) struct FilterJob {
    pub(super) key: Vec<u8>,
    pub(super) runs: Vec<CopyRun>,
}

static CORES: OnceLock<usize> = OnceLock::new();
/// The answer of [`affinity`], asked once.
static ALLOWED: OnceLock<Option<usize>> = OnceLock::new();

/// How many cores this process may use. Asked once, as the answer takes twenty calls of the system (the affinity, and the
/// limits of the control groups) and a tenth of a millisecond.
pub(super) fn cores() -> usize {
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

/// The same as far as one call of the system tells: no fewer. Those who begin with so many threads let [`side_by_side`] find
/// out the rest while they work.
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
    /// How many threads a write may use: only filters take time of their own, and a lent codec is for the caller's
    /// thread alone.
    pub(super) fn encoders(&self) -> usize {
        if self.filters.is_empty() || self.needs_codec() { 1 } else { likely_cores() }
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

    /// Encodes chunks and stores each as soon as it is there: while one thread stores, the others go on, and in memory is only what
    /// they are at.
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

    /// Changes what is stored of a block of which `runs` were written anew; what is in memory of it no longer counts.
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

    /// A chunk through the pipeline, from where it is in the caller's buffer: the mask of skipped filters, its bytes, and what to
    /// keep of its elements.
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
        // With all of it given there is nothing to fill.
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

/// Does `work` for every item, up to `threads` at once, and no more than `allowed` says; the first error is returned.
/// `allowed` may take its time: the caller is at work meanwhile.
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
        // Where no thread can be had, those that there are do it alone.
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
