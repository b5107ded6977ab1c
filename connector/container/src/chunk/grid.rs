//! Translates a selection of elements to runs of bytes in blocks.

use crate::selection::{Run, Selection};
use crate::{Error, Result};
use h5lake_records::types::product;

/// The division of a dataset's elements into blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grid {
    /// Segments of this many elements of the linear sequence.
    Line(u64),
    /// Boxes.
    Boxes(Vec<u64>),
}

/// Bytes to copy between a block and the caller's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CopyRun {
    pub block: usize,
    pub buffer: usize,
    pub len: usize,
}

/// The part of a selection in one block.
pub(crate) struct Part<'a> {
    /// Coordinates of the block, in blocks.
    pub coords: &'a [u64],
    pub runs: &'a [CopyRun],
    pub coverage: Coverage,
}

/// The coverage of a block by runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// Every byte of the block within the extent is in a run.
    Whole,
    /// Some bytes may be in no run.
    Partial,
}

impl Coverage {
    pub(crate) fn whole_if(is_whole: bool) -> Self {
        if is_whole { Self::Whole } else { Self::Partial }
    }
}

/// One dimension of a hyperslab.
#[derive(Debug, Clone, Copy)]
struct Axis {
    start: u64,
    stride: u64,
    count: u64,
    block: u64,
    dim: u64,
}

impl Axis {
    fn points(&self) -> u64 {
        self.count * self.block
    }

    fn end(&self) -> u64 {
        self.start + self.stride * (self.count - 1) + self.block
    }

    fn whole(&self) -> bool {
        self.start == 0 && self.count == 1 && self.block == self.dim
    }

    /// Returns the first selected index at or after `p`.
    fn next_from(&self, p: u64) -> Option<u64> {
        if p <= self.start {
            return Some(self.start);
        }
        let k = (p - self.start) / self.stride;
        if k < self.count && p < self.start + k * self.stride + self.block {
            return Some(p);
        }
        (k + 1 < self.count).then(|| self.start + (k + 1) * self.stride)
    }

    /// Finds the runs of selected indices in `lo..hi`: first index, length, and position among the selected indices.
    fn runs(&self, lo: u64, hi: u64, out: &mut Vec<(u64, u64, u64)>) {
        out.clear();
        let Some(mut at) = self.next_from(lo).filter(|&at| at < hi) else { return };
        let mut k = (at - self.start) / self.stride;
        let mut first = self.start + k * self.stride;
        out.reserve((self.count - k).min((hi - at) / self.stride + 1) as usize);
        loop {
            out.push((at, (first + self.block).min(hi) - at, k * self.block + (at - first)));
            k += 1;
            // The last run may be so near the end of the number range that another stride would overflow.
            if k == self.count || self.stride >= hi - first {
                return;
            }
            first += self.stride;
            at = first;
        }
    }
}

/// Returns the axes of a selection that is a hyperslab; `None` for an empty one.
fn axes(dims: &[u64], selection: &Selection) -> Result<Option<Vec<Axis>>> {
    let whole = |&dim: &u64| Axis { start: 0, stride: dim.max(1), count: 1, block: dim, dim };
    let axes: Vec<_> = match selection {
        Selection::Hyperslab { start, stride, count, block } => {
            let ranks = [start.len(), stride.len(), count.len(), block.len()];
            if ranks.iter().any(|&n| n != dims.len()) {
                return Err(Error::invalid(format!(
                    "a hyperslab of rank {ranks:?} in {} dimensions",
                    dims.len()
                )));
            }
            let each = |i: usize| axis(start[i], stride[i], count[i], block[i], dims[i]);
            (0..dims.len()).map(each).collect::<Result<_>>()?
        }
        _ => dims.iter().map(whole).collect(),
    };
    Ok(axes.iter().all(|a| a.points() > 0).then_some(axes))
}

fn axis(start: u64, stride: u64, count: u64, block: u64, dim: u64) -> Result<Axis> {
    let bad = || {
        Error::range(format!("a hyperslab ({start}, {stride}, {count}, {block}) leaves the dimension {dim}"))
    };
    if count == 0 || block == 0 {
        return Ok(Axis { start: 0, stride: 1, count: 0, block: 0, dim });
    }
    if count > 1 && stride < block {
        return Err(Error::invalid(format!(
            "the blocks of a hyperslab overlap: stride {stride}, block {block}"
        )));
    }
    let end = if count == 1 { Some(0) } else { stride.checked_mul(count - 1) };
    let end = end.and_then(|e| e.checked_add(start)).and_then(|e| e.checked_add(block));
    if end.is_none_or(|e| e > dim) {
        return Err(bad());
    }
    if count == 1 || stride == block {
        return Ok(Axis { start, stride: count * block, count: 1, block: count * block, dim });
    }
    Ok(Axis { start, stride, count, block, dim })
}

/// Joins dimensions that are selected completely with the one before, so that runs are as long as possible.
fn collapse(axes: &[Axis]) -> Vec<Axis> {
    let mut out: Vec<Axis> = Vec::with_capacity(axes.len());
    for &a in axes.iter().rev() {
        match out.last_mut() {
            Some(inner) if inner.whole() => {
                let n = inner.dim;
                *inner = Axis {
                    start: a.start * n,
                    stride: a.stride * n,
                    count: a.count,
                    block: a.block * n,
                    dim: a.dim * n,
                };
            }
            _ => out.push(a),
        }
    }
    out.reverse();
    out
}

/// Collects runs, and joins runs that are contiguous in both block and buffer.
#[derive(Default)]
struct Runs(Vec<CopyRun>);

impl Runs {
    fn push(&mut self, block: usize, buffer: usize, len: usize) {
        if let Some(last) = self.0.last_mut()
            && last.block + last.len == block
            && last.buffer + last.len == buffer
        {
            last.len += len;
        } else {
            self.0.push(CopyRun { block, buffer, len });
        }
    }
}

impl Grid {
    /// Calls `use_part` for every block that a selection touches, with the bytes to copy. The caller has checked that
    /// the selected elements fit its buffer; `size` is the size of an element.
    pub(crate) fn parts(
        &self,
        dims: &[u64],
        selection: &Selection,
        size: usize,
        use_part: &mut dyn FnMut(Part<'_>) -> Result<()>,
    ) -> Result<()> {
        // A scalar is a sequence of one element.
        let dims = if dims.is_empty() { &[1][..] } else { dims };
        let slab;
        let selection = match selection {
            Selection::None => return Ok(()),
            Selection::Runs(runs) => return self.parts_of_runs(dims, runs, size, use_part),
            Selection::Hyperslab { start, .. } if start.is_empty() && dims == [1] => &Selection::All,
            other => {
                slab = other;
                slab
            }
        };
        let Some(axes) = axes(dims, selection)? else { return Ok(()) };
        match self {
            Self::Line(segment) => {
                let (axes, mut line) = (collapse(&axes), Line::new(*segment, product(dims)?, 1, size));
                rows(&axes, &mut |offset, count| line.add(offset, count, use_part))?;
                line.emit(use_part)
            }
            Self::Boxes(chunk) => boxes(&axes, chunk, size, use_part),
        }
    }

    /// Handles runs in any order: they are sorted by block, and keep their order within a block, so that the last of
    /// several writes to one element wins.
    fn parts_of_runs(
        &self,
        dims: &[u64],
        runs: &[Run],
        size: usize,
        use_part: &mut dyn FnMut(Part<'_>) -> Result<()>,
    ) -> Result<()> {
        let total = product(dims)?;
        if let Some(mut line) = self.as_line(dims, total, size)
            && runs.is_sorted_by(|a, b| a.offset.checked_add(a.count).is_some_and(|end| end <= b.offset))
            && runs.last().is_none_or(|r| r.offset.checked_add(r.count).is_some_and(|end| end <= total))
        {
            runs.iter().try_for_each(|r| line.add(r.offset, r.count, use_part))?;
            return line.emit(use_part);
        }
        // Number of blocks along each dimension; there are no more blocks than elements.
        let counts: Vec<u64> = match self {
            Self::Line(segment) => vec![total.div_ceil(*segment)],
            Self::Boxes(chunk) => dims.iter().zip(chunk).map(|(d, c)| d.div_ceil(*c)).collect(),
        };
        let mut found: Vec<(u64, CopyRun)> = Vec::with_capacity(runs.len());
        let mut buffer = 0usize;
        for r in runs {
            if r.offset.checked_add(r.count).is_none_or(|e| e > total) {
                let text =
                    format!("elements {} to {} of {total}", r.offset, r.offset.saturating_add(r.count));
                return Err(Error::range(text));
            }
            let (mut at, mut left) = (r.offset, r.count);
            while left > 0 {
                let (number, within, n) = self.locate(dims, &counts, at);
                let n = n.min(left);
                let (block, len) = (within as usize * size, n as usize * size);
                found.push((number, CopyRun { block, buffer, len }));
                (at, left, buffer) = (at + n, left - n, buffer + len);
            }
        }
        found.sort_by_key(|f| f.0);
        for group in found.chunk_by(|a, b| a.0 == b.0) {
            let mut runs = Runs::default();
            group.iter().for_each(|(_, r)| runs.push(r.block, r.buffer, r.len));
            use_part(Part {
                coords: &coordinates(&counts, group[0].0),
                runs: &runs.0,
                coverage: Coverage::Partial,
            })?;
        }
        Ok(())
    }

    /// Returns the linear division, if each block is a contiguous part of the sequence of all elements: segments, or
    /// boxes of whole rows.
    fn as_line(&self, dims: &[u64], total: u64, size: usize) -> Option<Line> {
        match self {
            Self::Line(segment) => Some(Line::new(*segment, total, 1, size)),
            Self::Boxes(chunk) => {
                let whole_rows = chunk.len() == dims.len() && chunk[1..] == dims[1..];
                whole_rows.then(|| Line::new(chunk.iter().product(), total, dims.len(), size))
            }
        }
    }

    /// Returns the number of an element's block (C order), its position in the block, and the number of elements from
    /// it on that are contiguous in both.
    fn locate(&self, dims: &[u64], counts: &[u64], at: u64) -> (u64, u64, u64) {
        match self {
            Self::Line(segment) => (at / segment, at % segment, segment - at % segment),
            Self::Boxes(chunk) => {
                let (mut rest, mut within, mut scale) = (at, 0, 1);
                let (mut number, mut weight, mut follow) = (0, 1, 1);
                for d in (0..dims.len()).rev() {
                    let (i, c) = (rest % dims[d], chunk[d]);
                    rest /= dims[d];
                    number += i / c * weight;
                    weight *= counts[d];
                    within += i % c * scale;
                    scale *= c;
                    if d + 1 == dims.len() {
                        follow = (c - i % c).min(dims[d] - i);
                    }
                }
                (number, within, follow)
            }
        }
    }
}

/// Returns the coordinates of cell `n` of a grid in C order.
pub(crate) fn coordinates(counts: &[u64], mut n: u64) -> Vec<u64> {
    let mut out = vec![0; counts.len()];
    for (o, &c) in out.iter_mut().zip(counts).rev() {
        *o = n % c;
        n /= c;
    }
    out
}

/// Ascending runs along the linear sequence, split at the ends of segments.
struct Line {
    segment: u64,
    total: u64,
    size: usize,
    /// The current segment, and its elements.
    coords: Vec<u64>,
    begin: u64,
    end: u64,
    runs: Runs,
    buffer: usize,
}

impl Line {
    fn new(segment: u64, total: u64, rank: usize, size: usize) -> Self {
        let coords = vec![0; rank];
        Self { segment, total, size, coords, begin: 0, end: segment, runs: Runs::default(), buffer: 0 }
    }

    fn add(
        &mut self,
        mut at: u64,
        mut left: u64,
        use_part: &mut dyn FnMut(Part<'_>) -> Result<()>,
    ) -> Result<()> {
        while left > 0 {
            if !(self.begin..self.end).contains(&at) {
                self.emit(use_part)?;
                self.coords[0] = at / self.segment;
                self.begin = self.coords[0] * self.segment;
                self.end = self.begin.saturating_add(self.segment);
            }
            let n = left.min(self.end - at);
            let len = n as usize * self.size;
            self.runs.push((at - self.begin) as usize * self.size, self.buffer, len);
            (at, left, self.buffer) = (at + n, left - n, self.buffer + len);
        }
        Ok(())
    }

    /// Passes on the runs of the current segment.
    fn emit(&mut self, use_part: &mut dyn FnMut(Part<'_>) -> Result<()>) -> Result<()> {
        let runs = &mut self.runs.0;
        if runs.is_empty() {
            return Ok(());
        }
        let valid = self.segment.min(self.total - self.begin) as usize * self.size;
        let coverage = Coverage::whole_if(runs.iter().map(|r| r.len).sum::<usize>() == valid);
        use_part(Part { coords: &self.coords, runs, coverage })?;
        runs.clear();
        Ok(())
    }
}

/// Passes every run of a hyperslab in C order to `use_run`, as linear offset and number of elements.
fn rows(axes: &[Axis], use_run: &mut impl FnMut(u64, u64) -> Result<()>) -> Result<()> {
    let Some((inner, outer)) = axes.split_last() else { return Ok(()) };
    let mut at: Vec<u64> = outer.iter().map(|a| a.start).collect();
    loop {
        let base = at.iter().zip(outer).fold(0, |n, (i, a)| n * a.dim + i) * inner.dim;
        for k in 0..inner.count {
            use_run(base + inner.start + k * inner.stride, inner.block)?;
        }
        if !advance(&mut at, outer) {
            return Ok(());
        }
    }
}

/// Moves to the next selected index of the outer dimensions; the last one changes fastest.
fn advance(at: &mut [u64], axes: &[Axis]) -> bool {
    for (i, a) in at.iter_mut().zip(axes).rev() {
        if let Some(next) = a.next_from(*i + 1) {
            *i = next;
            return true;
        }
        *i = a.start;
    }
    false
}

/// The iteration of one dimension over the chunks.
struct Column {
    axis: Axis,
    chunk: u64,
    /// Distance in elements between consecutive indices, in the block and in the buffer.
    block_step: u64,
    buffer_step: u64,
    now: u64,
    runs: Vec<(u64, u64, u64)>,
}

impl Column {
    fn enter(&mut self, chunk: u64) {
        self.now = chunk;
        let lo = chunk * self.chunk;
        self.axis.runs(lo, lo.saturating_add(self.chunk).min(self.axis.dim), &mut self.runs);
    }

    fn next(&mut self) -> bool {
        let behind = (self.now + 1).checked_mul(self.chunk);
        match behind.and_then(|p| self.axis.next_from(p)).filter(|&at| at < self.axis.end()) {
            Some(at) => {
                self.enter(at / self.chunk);
                true
            }
            None => false,
        }
    }

    fn selected(&self) -> u64 {
        self.runs.iter().map(|r| r.1).sum()
    }

    fn valid(&self) -> u64 {
        self.chunk.min(self.axis.dim - self.now * self.chunk)
    }
}

fn boxes(
    axes: &[Axis],
    chunk: &[u64],
    size: usize,
    use_part: &mut dyn FnMut(Part<'_>) -> Result<()>,
) -> Result<()> {
    let (mut block_step, mut buffer_step) = (1, 1);
    let mut columns: Vec<Column> = Vec::with_capacity(axes.len());
    for (axis, &chunk) in axes.iter().zip(chunk).rev() {
        columns.push(Column { axis: *axis, chunk, block_step, buffer_step, now: 0, runs: Vec::new() });
        block_step *= chunk;
        buffer_step *= axis.points();
    }
    columns.reverse();
    for c in &mut columns {
        c.enter(c.axis.start / c.chunk);
    }
    let mut runs = Runs::default();
    loop {
        runs.0.clear();
        copy_runs(&columns, 0, 0, size as u64, &mut runs);
        let coords: Vec<u64> = columns.iter().map(|c| c.now).collect();
        let coverage = Coverage::whole_if(columns.iter().all(|c| c.selected() == c.valid()));
        use_part(Part { coords: &coords, runs: &runs.0, coverage })?;
        // Moves to the next chunk; the last dimension changes fastest.
        let mut moved = false;
        for c in columns.iter_mut().rev() {
            if c.next() {
                moved = true;
                break;
            }
            c.enter(c.axis.start / c.chunk);
        }
        if !moved {
            return Ok(());
        }
    }
}

/// Collects the runs of one chunk, dimension by dimension.
fn copy_runs(columns: &[Column], block: u64, buffer: u64, size: u64, out: &mut Runs) {
    let Some((c, inner)) = columns.split_first() else { return };
    let lo = c.now * c.chunk;
    if inner.is_empty() {
        out.0.reserve(c.runs.len());
    }
    for &(at, n, position) in &c.runs {
        let (from, to) = (block + (at - lo) * c.block_step, buffer + position * c.buffer_step);
        match inner {
            [] => out.push((from * size) as usize, (to * size) as usize, (n * size) as usize),
            // Most selections end here, in the last but one dimension. A loop avoids a call for each row, which may
            // have one element only.
            [last] if last.runs.len() == 1 => {
                let (at, count, position) = last.runs[0];
                let skip = (at - last.now * last.chunk) * last.block_step;
                let (mut from, mut to) = (from + skip, to + position * last.buffer_step);
                out.0.reserve(n as usize);
                for _ in 0..n {
                    out.push((from * size) as usize, (to * size) as usize, (count * size) as usize);
                    (from, to) = (from + c.block_step, to + c.buffer_step);
                }
            }
            _ => {
                for i in 0..n {
                    copy_runs(inner, from + i * c.block_step, to + i * c.buffer_step, size, out);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "grid_tests.rs"]
mod tests;

/// Selections for tests of other modules.
#[cfg(test)]
pub(crate) mod tests_support {
    use super::Selection;

    /// Returns a hyperslab within `dims`, chosen by `seed`; sometimes all or nothing.
    pub(crate) fn slab_in(dims: &[u64], seed: u64) -> Selection {
        let mut state = seed | 1;
        let mut pick = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if n == 0 { 0 } else { (state >> 33) % n }
        };
        match pick(10) {
            0 => return Selection::All,
            1 => return Selection::None,
            _ => (),
        }
        let (mut start, mut stride, mut count, mut block) = (vec![], vec![], vec![], vec![]);
        for &d in dims {
            let s = pick(d);
            let b = (1 + pick(4)).min(d - s);
            let st = b.max(1) + pick(3);
            let most = if b == 0 { 0 } else { (d - s - b) / st + 1 };
            let c = if pick(8) == 0 { 0 } else { 1 + pick(most) };
            start.push(s);
            stride.push(st);
            count.push(c.min(most));
            block.push(b);
        }
        Selection::Hyperslab { start, stride, count, block }
    }
}
