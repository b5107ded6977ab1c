//! The search: iterates over the chunks of a dataset, reads the chunks that may contain matches, and tests their elements.

use std::ops::{ControlFlow, Range};

use h5lake_container::{ChunkStatistics, Dataset, Dataspace, Layout, Run, Selection, WrittenChunk};

use super::Wanted;
use super::area::{Area, Grid, advance};
use super::batch::{Batch, ChunkInStore, elements};
use super::expression::{Bounds, Expression, Outcomes};
use crate::Failure;
use crate::cat::elements_per_read;
use crate::output::Bar;
use crate::slice::{Parts, parse as parse_slice, place};

/// The statistics of a search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Read {
    /// The number of written chunks, and the number of chunks that were read. `None` if the dataset has no chunks.
    pub chunks: Option<(u64, u64)>,
    /// The number of chunks that the store searched.
    pub searched: u64,
    /// The number of stored bytes, and the number of bytes that were read. The latter includes the matches and indices that the store
    /// returned.
    pub bytes: (u64, u64),
    /// The number of matches.
    pub count: u64,
    /// True if the whole dataset was searched, false if the search ended at the limit.
    pub is_complete: bool,
}

/// The receiver of the matches.
pub trait Found {
    /// Receives a matching element: its coordinates, and its bytes in file form.
    fn found(&mut self, at: &[u64], element: &[u8]) -> Result<(), Failure>;
}

/// Returns the number of elements of an area.
fn product(shape: &[u64]) -> u128 {
    shape.iter().fold(1, |n: u128, side| n.saturating_mul(u128::from(*side)))
}

/// A search for matching elements.
pub struct Search<'a> {
    dataset: &'a Dataset,
    expression: &'a Expression,
    /// True if the elements are plain numbers, so that statistics of chunks apply to them.
    are_numbers: bool,
    count_alone: bool,
    limit: u64,
    read: Read,
    /// The chunks that wait for a query to the store. Empty while `pending` is not.
    batch: Batch,
    /// The area that waits to be read. `None` while `batch` is not empty.
    pending: Option<Area>,
    bar: &'a Bar,
}

impl<'a> Search<'a> {
    pub fn new(
        dataset: &'a Dataset,
        expression: &'a Expression,
        are_numbers: bool,
        wanted: &Wanted<'_>,
        bar: &'a Bar,
    ) -> Self {
        let limit = wanted.limit.unwrap_or(u64::MAX);
        let batch = Batch::new(dataset, expression, are_numbers && !wanted.local);
        let (count_alone, read) = (wanted.count, Read::default());
        Self { dataset, expression, are_numbers, count_alone, limit, read, batch, pending: None, bar }
    }

    /// Runs the search and returns its statistics.
    ///
    /// # Errors
    ///
    /// Returns an error if elements cannot be read, or the error of `report`.
    pub fn run(mut self, report: &mut dyn Found) -> Result<Read, Failure> {
        let space = self.dataset.space();
        let is_over = match (self.dataset.layout(), &space) {
            (_, Dataspace::Null) => ControlFlow::Continue(()),
            (Layout::Chunked { chunk }, Dataspace::Simple { dims, .. }) => {
                let (chunk, dims) = (chunk.clone(), dims.clone());
                self.read.chunks = Some((0, 0));
                self.chunks(&chunk, &dims, report)?
            }
            (Layout::Contiguous, Dataspace::Simple { dims, .. }) => self.segments(dims, report)?,
            _ => self.whole(space.dims(), report)?,
        };
        self.read.is_complete = is_over.is_continue();
        Ok(self.read)
    }

    /// Searches a contiguous dataset. Only the written segments are read, because all elements between segments have the fill value.
    fn segments(&mut self, dims: &[u64], report: &mut dyn Found) -> Result<ControlFlow<()>, Failure> {
        let dataset = self.dataset;
        let (stored, fill) = (dataset.stored_bytes()?, dataset.fill_element()?);
        self.read.bytes = (stored, 0);
        let most = elements_per_read(self.size() as u64);
        let (mut next, mut pending) = (0, None::<Run>);
        for part in dataset.stored_blocks()?.map(Some).chain([None]) {
            let runs = part.transpose()?.map(|part| part.runs(dims)).transpose()?;
            let run = runs.and_then(|runs| runs.first().copied());
            if let (Some(before), Some(run)) = (&mut pending, run)
                && before.offset + before.count == run.offset
                && before.count + run.count <= most
            {
                before.count += run.count;
                continue;
            }
            let Some(ready) = std::mem::replace(&mut pending, run) else { continue };
            if self.alike(next..ready.offset, &fill, dims, report)?.is_break()
                || self.segment(ready, dims, report)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            next = ready.offset + ready.count;
        }
        self.read.bytes.1 = stored;
        self.alike(next..dataset.points()?, &fill, dims, report)
    }

    /// Reads and searches a run of adjacent segments.
    fn segment(
        &mut self,
        run: Run,
        dims: &[u64],
        report: &mut dyn Found,
    ) -> Result<ControlFlow<()>, Failure> {
        let mut data = vec![0; usize::try_from(run.count.saturating_mul(self.size() as u64))?];
        self.dataset.read(&Selection::Runs(vec![run]), &mut data)?;
        let (stored, read) = self.read.bytes;
        self.read.bytes.1 = stored.min(read.saturating_add(data.len() as u64));
        self.bar.show(self.read.bytes.1, stored);
        let mut at = place(run.offset, dims);
        let all = Area { offset: vec![0; dims.len()], shape: dims.to_vec() };
        self.look(&mut at, &all, &data, report)
    }

    /// Searches a range of elements that were never written and therefore have the value `fill`.
    fn alike(
        &mut self,
        numbers: Range<u64>,
        fill: &[u8],
        dims: &[u64],
        report: &mut dyn Found,
    ) -> Result<ControlFlow<()>, Failure> {
        if numbers.is_empty() || !self.expression.matches(fill) {
            return Ok(ControlFlow::Continue(()));
        }
        if self.count_alone {
            return Ok(self.count(u128::from(numbers.end - numbers.start)));
        }
        let mut at = place(numbers.start, dims);
        let all = Area { offset: vec![0; dims.len()], shape: dims.to_vec() };
        for _ in numbers {
            if self.look(&mut at, &all, fill, report)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Counts matches that need not be shown, up to the limit.
    fn count(&mut self, matches: u128) -> ControlFlow<()> {
        let matches = u64::try_from(matches).unwrap_or(u64::MAX);
        let left = self.limit.saturating_sub(self.read.count);
        self.read.count = self.read.count.saturating_add(matches.min(left));
        if matches > left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Reads and searches a compact or scalar dataset.
    fn whole(&mut self, dims: &[u64], report: &mut dyn Found) -> Result<ControlFlow<()>, Failure> {
        let size = self.size();
        let stored = self.dataset.stored_bytes()?;
        self.read.bytes = (stored, 0);
        let axes = parse_slice(None, dims)?;
        let mut at = vec![0; dims.len()];
        let all = Area { offset: at.clone(), shape: dims.to_vec() };
        for part in Parts::new(&axes, elements_per_read(size as u64)) {
            let mut data = vec![0; usize::try_from(part.points.saturating_mul(size as u64))?];
            self.dataset.read(&part.selection, &mut data)?;
            self.read.bytes.1 = stored.min(self.read.bytes.1.saturating_add(data.len() as u64));
            self.bar.show(self.read.bytes.1, stored);
            if self.look(&mut at, &all, &data, report)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.read.bytes.1 = stored;
        Ok(ControlFlow::Continue(()))
    }

    fn size(&self) -> usize {
        usize::try_from(self.dataset.datatype().size).unwrap_or(usize::MAX).max(1)
    }

    /// Tests consecutive elements of an area, the first of which is at `at`. Afterwards `at` is behind the last one.
    fn look(
        &mut self,
        at: &mut [u64],
        area: &Area,
        data: &[u8],
        report: &mut dyn Found,
    ) -> Result<ControlFlow<()>, Failure> {
        for element in data.chunks_exact(self.size()) {
            if self.expression.matches(element) {
                if self.read.count == self.limit {
                    return Ok(ControlFlow::Break(()));
                }
                self.read.count += 1;
                if !self.count_alone {
                    report.found(at, element)?;
                }
            }
            if advance(at, area).is_none() {
                break;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Evaluates the expression for a chunk from its statistics, without reading the chunk.
    fn outcomes(&self, known: Option<ChunkStatistics>) -> Outcomes {
        let Some(known) = known.filter(|_| self.are_numbers) else {
            return Outcomes { may_match: true, may_fail: true };
        };
        let bounds = Bounds { range: known.minimum.zip(known.maximum), may_have_nan: known.may_have_nan };
        self.expression.outcomes(&bounds)
    }

    fn chunks(
        &mut self,
        chunk: &[u64],
        dims: &[u64],
        report: &mut dyn Found,
    ) -> Result<ControlFlow<()>, Failure> {
        let fill = self.dataset.fill_element()?;
        let mut grid = Grid::new(chunk, dims);
        let fill_matches = self.expression.matches(&fill);
        // If matches are only counted, the elements outside of written chunks are counted at the end. Their number is the number of
        // elements of the extent minus that of the written chunks.
        let shown = Some(&fill).filter(|_| fill_matches && !self.count_alone);
        let (mut failed, mut is_over, mut written) = (None, false, 0_u128);
        let dataset = self.dataset;
        dataset.each_written_chunk(|found| {
            written = written.saturating_add(product(&found.shape));
            let step = self.chunk(found, &mut grid, shown, report);
            let flow = step.unwrap_or_else(|failure| {
                failed = Some(failure);
                ControlFlow::Break(())
            });
            is_over = flow.is_break();
            Ok(flow)
        })?;
        if let Some(failure) = failed {
            return Err(failure);
        }
        if is_over || self.flush(report)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        match shown {
            Some(fill) => self.fill(&mut grid, None, fill, report),
            None => {
                let unwritten = if fill_matches { product(dims).saturating_sub(written) } else { 0 };
                Ok(self.count(unwritten))
            }
        }
    }

    /// Returns whether only the number of matches in the whole dataset is requested.
    fn only_counts(&self) -> bool {
        self.count_alone && self.limit == u64::MAX
    }

    /// Shows the progress of the search: the size of all elements in the rows before a chunk.
    fn show(&self, chunk: &Area, dims: &[u64]) {
        let (Some(row), Some((rows, row_dims))) = (chunk.offset.first(), dims.split_first()) else { return };
        let length = row_dims.iter().fold(self.size() as u64, |bytes, side| bytes.saturating_mul(*side));
        self.bar.show(row.saturating_mul(length), rows.saturating_mul(length));
    }

    /// Processes the next written chunk: skips it, counts it, adds it to the batch for the store, or reads it together with adjacent
    /// chunks.
    fn chunk(
        &mut self,
        found: WrittenChunk,
        grid: &mut Grid,
        fill: Option<&Vec<u8>>,
        report: &mut dyn Found,
    ) -> Result<ControlFlow<()>, Failure> {
        let area = Area { offset: found.offset, shape: found.shape };
        self.show(&area, grid.dims());
        let outcomes = self.outcomes(found.statistics);
        if let Some((all, _)) = &mut self.read.chunks {
            *all += 1;
        }
        self.read.bytes.0 = self.read.bytes.0.saturating_add(found.stored);
        if let Some(fill) = fill
            && !grid.is_next(&area.offset)
        {
            if self.flush(report)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if self.fill(grid, Some(&area.offset), fill, report)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        grid.skip();
        if !outcomes.may_match {
            return Ok(ControlFlow::Continue(()));
        }
        if !outcomes.may_fail && self.only_counts() {
            self.read.count = self.read.count.saturating_add(area.elements());
            return Ok(ControlFlow::Continue(()));
        }
        match found.numbers.filter(|_| outcomes.may_fail && self.batch.is_worth_it()) {
            Some(numbers) => {
                if self.flush_pending(report)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                let is_full = self.batch.add(ChunkInStore { area, stored: found.stored, numbers });
                if is_full { self.flush_batch(report) } else { Ok(ControlFlow::Continue(())) }
            }
            None => {
                let done = self.flush_batch(report)?;
                if done.is_break() { Ok(done) } else { self.read_soon(area, found.stored, report) }
            }
        }
    }

    /// Schedules a chunk to be read, together with the chunks that follow it.
    fn read_soon(
        &mut self,
        area: Area,
        stored: u64,
        report: &mut dyn Found,
    ) -> Result<ControlFlow<()>, Failure> {
        if let Some((_, read)) = &mut self.read.chunks {
            *read += 1;
        }
        self.read.bytes.1 = self.read.bytes.1.saturating_add(stored);
        let most = elements_per_read(self.size() as u64);
        if self.pending.as_mut().is_some_and(|before| before.grow(&area, most)) {
            return Ok(ControlFlow::Continue(()));
        }
        let done = self.flush_pending(report)?;
        self.pending = Some(area);
        Ok(done)
    }

    /// Searches all chunks that wait in the batch or to be read.
    fn flush(&mut self, report: &mut dyn Found) -> Result<ControlFlow<()>, Failure> {
        // The batch comes first, because the store may leave some of its chunks to be read.
        let done = self.flush_batch(report)?;
        if done.is_break() { Ok(done) } else { self.flush_pending(report) }
    }

    /// Lets the store search the chunks of the batch.
    fn flush_batch(&mut self, report: &mut dyn Found) -> Result<ControlFlow<()>, Failure> {
        if self.batch.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let (chunks, came) = self.batch.ask(self.dataset)?;
        self.read.bytes.1 = self.read.bytes.1.saturating_add(came);
        for (chunk, found) in chunks {
            let done = match found {
                None => self.read_soon(chunk.area, chunk.stored, report)?,
                Some(found) => {
                    self.read.searched += 1;
                    if self.flush_pending(report)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    let mut done = ControlFlow::Continue(());
                    for (index, element) in elements(&found, self.size()) {
                        let Some((mut at, area)) = self.place(index, &chunk.area) else { continue };
                        done = self.look(&mut at, &area, element, report)?;
                        if done.is_break() {
                            break;
                        }
                    }
                    done
                }
            };
            if done.is_break() {
                return Ok(done);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Returns the coordinates of an element of a chunk, and an area of this element alone. Returns `None` if the element is outside of the
    /// extent.
    fn place(&self, index: u64, area: &Area) -> Option<(Vec<u64>, Area)> {
        let Layout::Chunked { chunk } = self.dataset.layout() else { return None };
        let (mut at, mut remainder) = (area.offset.clone(), index);
        for d in (0..at.len()).rev() {
            let within = remainder.checked_rem(chunk[d])?;
            if within >= area.shape[d] {
                return None;
            }
            at[d] += within;
            remainder /= chunk[d];
        }
        let alone = Area { offset: at.clone(), shape: vec![1; at.len()] };
        (remainder == 0).then_some((at, alone))
    }

    /// Reads and searches the pending area.
    fn flush_pending(&mut self, report: &mut dyn Found) -> Result<ControlFlow<()>, Failure> {
        let Some(area) = self.pending.take() else { return Ok(ControlFlow::Continue(())) };
        let size = self.size() as u64;
        // A filtered chunk is read as a whole, so that it is decoded only once.
        let most = if self.dataset.filters().is_empty() { elements_per_read(size) } else { area.elements() };
        let mut at = area.offset.clone();
        for part in Parts::new(&area.axes(), most) {
            let mut data = vec![0; usize::try_from(part.points.saturating_mul(size))?];
            self.dataset.read(&part.selection, &mut data)?;
            if self.look(&mut at, &area, &data, report)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reports the elements of chunks that were never written, up to the chunk at `end`. All of these elements match.
    fn fill(
        &mut self,
        grid: &mut Grid,
        end: Option<&[u64]>,
        fill: &[u8],
        report: &mut dyn Found,
    ) -> Result<ControlFlow<()>, Failure> {
        while let Some(area) = grid.area().filter(|area| end != Some(&area.offset)) {
            grid.skip();
            let mut at = area.offset.clone();
            loop {
                if self.look(&mut at.clone(), &area, fill, report)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                if advance(&mut at, &area).is_none() {
                    break;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
