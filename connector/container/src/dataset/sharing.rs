//! Long transfers of what is near, shared by several cores: each copies other blocks and computes their checksums, straight
//! to or from the program's buffer.

use super::Dataset;
use super::parallel::{Job, cores, side_by_side};
use super::reading::places;
use crate::block::DIRECT;
use crate::grid::{CopyRun, Part};
use crate::{Result, Selection};
use h5lake_ledger::Extent;

/// A transfer of fewer bytes is over before a thread has begun: 8 MiB take half a millisecond.
const WORTH_SHARING: usize = 8 << 20;
/// Bytes whose blocks are found before they are read, which bounds the memory that this takes.
const BATCH: usize = 256 << 20;
/// Bytes that are written before the map is told of them.
const BATCH_WRITTEN: usize = 64 << 20;
/// Bytes of the blocks that one thread takes at a time, which become one object.
const OBJECT: usize = 4 << 20;

/// A block that is written from one run of the caller's buffer.
struct Write {
    key: Vec<u8>,
    run: CopyRun,
    /// Where it was written.
    extent: Option<Extent>,
}

impl Dataset {
    /// How many threads may share a transfer of so many bytes of what is near. One, if it goes through filters: those have
    /// their own way.
    pub(super) fn sharers(&self, bytes: usize) -> usize {
        if bytes < WORTH_SHARING || !self.filters.is_empty() { 1 } else { cores() }
    }

    /// Like a plain read: blocks of which long runs are wanted are read side by side.
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
            if p.runs.iter().any(|r| r.len < DIRECT) || c.blocks.lock().is_here(&key) {
                return c.read_block(&key, &self.shape, p.runs, out);
            }
            bytes += p.runs.iter().map(|r| r.len).sum::<usize>();
            jobs.push(Job { key, runs: p.runs.to_vec() });
            if bytes >= BATCH {
                bytes = 0;
                self.read_jobs(std::mem::take(&mut jobs), out, threads)?;
            }
            Ok(())
        })?;
        self.read_jobs(jobs, out, threads)
    }

    fn read_jobs(&self, mut jobs: Vec<Job>, out: &mut [u8], threads: usize) -> Result<()> {
        let places = places(jobs.iter_mut().map(|job| &mut job.runs).collect(), out)?;
        let c = self.container();
        let threads = threads.min(jobs.len());
        let mut both: Vec<_> = jobs.into_iter().zip(places).collect();
        side_by_side(&mut both, threads, &|(job, places)| {
            for (r, out) in job.runs.iter().zip(places) {
                c.read_past(&job.key, &self.shape, &[CopyRun { buffer: 0, ..*r }], out)?;
            }
            Ok(())
        })
    }

    /// Like a plain write to a store in memory: blocks that are written whole, each from one run of `data`, are put side by
    /// side, and then become the map's.
    pub(crate) fn write_shared(
        &self,
        dims: &[u64],
        selection: &Selection,
        size: usize,
        data: &[u8],
        threads: usize,
    ) -> Result<()> {
        let c = self.container();
        let (mut group, mut groups, mut bytes) = (Vec::new(), Vec::new(), 0);
        self.grid.parts(dims, selection, size, &mut |p: Part<'_>| {
            let key = self.key(p.coords);
            let run = match p.runs {
                [run] if p.covered && run.len >= DIRECT && run.len >= self.shape.len / 2 => *run,
                _ => return c.blocks.lock().write(&c.ledger, &key, &self.shape, p.runs, data, p.covered),
            };
            group.push(Write { key, run, extent: None });
            bytes += run.len;
            if group.iter().map(|w: &Write| w.run.len).sum::<usize>() >= OBJECT {
                groups.push(std::mem::take(&mut group));
            }
            if bytes >= BATCH_WRITTEN {
                bytes = 0;
                groups.push(std::mem::take(&mut group));
                self.write_groups(std::mem::take(&mut groups), data, threads)?;
            }
            Ok(())
        })?;
        groups.push(group);
        self.write_groups(groups, data, threads)
    }

    fn write_groups(&self, mut groups: Vec<Vec<Write>>, data: &[u8], threads: usize) -> Result<()> {
        let ledger = &self.container().ledger;
        groups.retain(|group| !group.is_empty());
        let threads = threads.min(groups.len());
        let mut done = side_by_side(&mut groups, threads, &|group: &mut Vec<Write>| {
            let bytes: Vec<_> = group.iter().map(|w| &data[w.run.buffer..w.run.buffer + w.run.len]).collect();
            for (w, extent) in group.iter_mut().zip(ledger.write_payloads(&bytes)?) {
                w.extent = Some(extent);
            }
            Ok(())
        });
        for Write { key, run, extent } in groups.into_iter().flatten() {
            let Some(extent) = extent else { continue };
            match done {
                Ok(()) => done = self.take_over(&key, run, extent),
                // The first error is told; what was written in vain is given back.
                Err(_) => ledger.free_payload(&extent)?,
            }
        }
        done
    }

    /// Makes what was written a block's content; the part outside of the dataset, if any, is fill.
    fn take_over(&self, key: &[u8], run: CopyRun, extent: Extent) -> Result<()> {
        self.replace_stored(key, &[run], |p| {
            p.put_written(run.block, run.len, extent);
            Ok(())
        })
    }
}
