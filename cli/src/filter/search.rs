//! Goes through the chunks of a dataset, reads those that can match, and finds the elements in them.

use std::ops::ControlFlow;

use h5lake_container::{ChunkStatistics, Dataset, Dataspace, Layout, WrittenChunk};

use super::Wanted;
use super::expression::{Bounds, Expression, Outcomes};
use crate::Failure;
use crate::cat::elements_per_read;
use crate::slice::{Axis, Parts, parse as parse_slice};

/// What a search had to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Read {
    /// Chunks that were written, those of them that were read; nothing for other layouts.
    pub chunks: Option<(u64, u64)>,
    /// Stored bytes, those of them that were read.
    pub bytes: (u64, u64),
    /// Matches.
    pub count: u64,
    /// All of the dataset was searched: no limit ended it.
    pub is_complete: bool,
}

/// Who is told of matches.
pub trait Found {
    /// An element that matches: its coordinates, and its bytes in file form.
    fn found(&mut self, at: &[u64], element: &[u8]) -> Result<(), Failure>;
}

/// A search for what matches.
pub struct Search<'a> {
    dataset: &'a Dataset,
    expression: &'a Expression,
    /// The elements are themselves the numbers that are compared, so statistics say something of them.
    are_numbers: bool,
    count_alone: bool,
    limit: u64,
    read: Read,
}

/// A box of elements.
#[derive(Debug, Clone)]
struct Area {
    offset: Vec<u64>,
    shape: Vec<u64>,
}

impl Area {
    fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |n: u64, side| n.saturating_mul(*side))
    }

    fn axes(&self) -> Vec<Axis> {
        let axis =
            |(start, count): (&u64, &u64)| Axis { start: *start, count: *count, step: 1, is_index: false };
        self.offset.iter().zip(&self.shape).map(axis).collect()
    }

    /// Takes in a box that follows along the first dimension and is as wide as both are.
    fn grow(&mut self, next: &Self, most: u64) -> bool {
        let follows =
            self.offset.first().zip(self.shape.first()).map(|(at, n)| at + n) == next.offset.first().copied();
        let is_wide = self.offset[1..] == next.offset[1..] && self.shape[1..] == next.shape[1..];
        let joins = follows && is_wide && self.elements().saturating_add(next.elements()) <= most;
        if joins {
            self.shape[0] += next.shape[0];
        }
        joins
    }
}

/// The place of the next element of a box in C order; `None` behind the last.
fn advance(at: &mut [u64], area: &Area) -> Option<()> {
    for d in (0..at.len()).rev() {
        at[d] += 1;
        if at[d] < area.offset[d] + area.shape[d] {
            return Some(());
        }
        at[d] = area.offset[d];
    }
    None
}

impl<'a> Search<'a> {
    pub fn new(
        dataset: &'a Dataset,
        expression: &'a Expression,
        are_numbers: bool,
        wanted: &Wanted<'_>,
    ) -> Self {
        let limit = wanted.limit.unwrap_or(u64::MAX);
        Self { dataset, expression, are_numbers, count_alone: wanted.count, limit, read: Read::default() }
    }

    /// Searches, and says what was read for it.
    ///
    /// # Errors
    /// Those of reading, and of `report`.
    pub fn run(mut self, report: &mut dyn Found) -> Result<Read, Failure> {
        let space = self.dataset.space();
        let is_over = match (self.dataset.layout(), &space) {
            (_, Dataspace::Null) => ControlFlow::Continue(()),
            (Layout::Chunked { chunk }, Dataspace::Simple { dims, .. }) => {
                let (chunk, dims) = (chunk.clone(), dims.clone());
                self.read.chunks = Some((0, 0));
                self.chunks(&chunk, &dims, report)?
            }
            _ => self.whole(space.dims(), report)?,
        };
        self.read.is_complete = is_over.is_continue();
        Ok(self.read)
    }

    /// A dataset without chunks is read as a whole.
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

    /// Looks at elements that follow each other in an area from `at` on; `at` is then behind them.
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

    /// What an expression comes to in a chunk, without reading it.
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
        let most = elements_per_read(self.size() as u64);
        let (mut pending, mut failed, mut is_over): (Option<Area>, _, _) = (None, None, false);
        let dataset = self.dataset;
        dataset.each_written_chunk(|found| {
            let step =
                self.chunk(found, &mut grid, fill_matches.then_some(&fill), &mut pending, most, report);
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
        if is_over || self.flush(&mut pending, report)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if fill_matches { self.fill(&mut grid, None, &fill, report) } else { Ok(ControlFlow::Continue(())) }
    }

    /// Takes the next chunk that was written: it is passed over, or read with those that follow it.
    fn chunk(
        &mut self,
        found: WrittenChunk,
        grid: &mut Grid,
        fill: Option<&Vec<u8>>,
        pending: &mut Option<Area>,
        most: u64,
        report: &mut dyn Found,
    ) -> Result<ControlFlow<()>, Failure> {
        let area = Area { offset: found.offset, shape: found.shape };
        let outcomes = self.outcomes(found.statistics);
        if let Some((all, _)) = &mut self.read.chunks {
            *all += 1;
        }
        self.read.bytes.0 = self.read.bytes.0.saturating_add(found.stored);
        if let Some(fill) = fill
            && !grid.is_next(&area.offset)
        {
            if self.flush(pending, report)?.is_break() {
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
        if !outcomes.may_fail && self.count_alone && self.limit == u64::MAX {
            self.read.count = self.read.count.saturating_add(area.elements());
            return Ok(ControlFlow::Continue(()));
        }
        if let Some((_, read)) = &mut self.read.chunks {
            *read += 1;
        }
        self.read.bytes.1 = self.read.bytes.1.saturating_add(found.stored);
        if pending.as_mut().is_some_and(|before| before.grow(&area, most)) {
            return Ok(ControlFlow::Continue(()));
        }
        let done = self.flush(pending, report)?;
        *pending = Some(area);
        Ok(done)
    }

    /// Reads what waits to be read.
    fn flush(
        &mut self,
        pending: &mut Option<Area>,
        report: &mut dyn Found,
    ) -> Result<ControlFlow<()>, Failure> {
        let Some(area) = pending.take() else { return Ok(ControlFlow::Continue(())) };
        let size = self.size() as u64;
        // What went through filters is decoded as a whole, once.
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

    /// Reports the elements of the chunks that were never written, up to the one at `end`: all of them match.
    fn fill(
        &mut self,
        grid: &mut Grid,
        end: Option<&[u64]>,
        fill: &[u8],
        report: &mut dyn Found,
    ) -> Result<ControlFlow<()>, Failure> {
        while let Some(area) = grid.area().filter(|area| end != Some(&area.offset)) {
            grid.skip();
            if self.count_alone && self.limit == u64::MAX {
                self.read.count = self.read.count.saturating_add(area.elements());
                continue;
            }
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

/// The chunks of an extent in C order, whether they were written or not.
struct Grid {
    chunk: Vec<u64>,
    dims: Vec<u64>,
    /// Where the next one begins; `None` behind the last.
    next: Option<Vec<u64>>,
}

impl Grid {
    fn new(chunk: &[u64], dims: &[u64]) -> Self {
        let next = (!dims.contains(&0)).then(|| vec![0; dims.len()]);
        Self { chunk: chunk.to_vec(), dims: dims.to_vec(), next }
    }

    fn is_next(&self, offset: &[u64]) -> bool {
        self.next.as_deref() == Some(offset)
    }

    /// The elements of the next one within the extent.
    fn area(&self) -> Option<Area> {
        let offset = self.next.clone()?;
        let inside = |((at, n), dim): ((&u64, &u64), &u64)| (dim - at).min(*n);
        let shape = offset.iter().zip(&self.chunk).zip(&self.dims).map(inside).collect();
        Some(Area { offset, shape })
    }

    /// Goes on to the one behind it.
    fn skip(&mut self) {
        let Some(at) = &mut self.next else { return };
        for d in (0..at.len()).rev() {
            let following = at[d].saturating_add(self.chunk[d]);
            if following < self.dims[d] {
                at[d] = following;
                return;
            }
            at[d] = 0;
        }
        self.next = None;
    }
}
