//! Selected elements in memory: runs at regular distances.

use h5lake_container::{Run, Selection};

/// Equal runs of consecutive elements at a regular distance: a column, or every tenth element, is one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// The index of the first element.
    pub offset: u64,
    /// The number of elements of a run.
    pub count: u64,
    /// The distance from the start of a run to the start of the next one, at least `count`.
    pub stride: u64,
    /// The number of runs, at least 1.
    pub times: u64,
}

impl Series {
    /// Returns the series of one run.
    pub fn run(offset: u64, count: u64) -> Self {
        Self { offset, count, stride: count, times: 1 }
    }

    /// Returns the number of elements.
    pub fn points(&self) -> u64 {
        self.count * self.times
    }

    /// Returns the index behind the last element.
    pub fn end(&self) -> u64 {
        self.offset + (self.times - 1) * self.stride + self.count
    }

    /// Passes on `points` elements from element `first` of the series on: whole runs as one series.
    fn part(&self, first: u64, mut points: u64, each: &mut impl FnMut(Series)) {
        let (mut run, skipped) = (first / self.count, first % self.count);
        if skipped > 0 {
            let count = (self.count - skipped).min(points);
            each(Self::run(self.offset + run * self.stride + skipped, count));
            (run, points) = (run + 1, points - count);
        }
        let times = points / self.count;
        if times > 0 {
            each(Self { offset: self.offset + run * self.stride, times, ..*self });
            (run, points) = (run + times, points - times * self.count);
        }
        if points > 0 {
            each(Self::run(self.offset + run * self.stride, points));
        }
    }
}

/// Collects runs of elements as series, in the order of the runs.
#[derive(Debug, Default)]
pub struct Collector(Vec<Series>);

impl Collector {
    /// Appends a run: it extends the last run or the last series if it continues it.
    pub fn push(&mut self, offset: u64, count: u64) {
        if count == 0 {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.times == 1 && last.end() == offset => {
                *last = Series::run(last.offset, last.count + count);
            }
            Some(last) if last.times == 1 && last.count == count && offset > last.end() => {
                (last.stride, last.times) = (offset - last.offset, 2);
            }
            Some(last)
                if last.times > 1
                    && last.count == count
                    && last.offset + last.times * last.stride == offset =>
            {
                last.times += 1;
            }
            _ => self.0.push(Series::run(offset, count)),
        }
    }

    /// Appends a series.
    pub fn push_series(&mut self, series: Series) {
        match series.times {
            1 => self.push(series.offset, series.count),
            _ => self.0.push(series),
        }
    }

    /// Returns the series.
    pub fn finish(self) -> Vec<Series> {
        self.0
    }
}

/// Returns runs as series.
pub fn of_runs(runs: &[Run]) -> Vec<Series> {
    let mut collector = Collector::default();
    runs.iter().for_each(|run| collector.push(run.offset, run.count));
    collector.finish()
}

/// Returns the series of a selection that is inside of an extent of dimensions `dims`.
pub fn of_selection(selection: &Selection, dims: &[u64]) -> Vec<Series> {
    let mut collector = Collector::default();
    match selection {
        Selection::All => collector.push(0, dims.iter().product()),
        Selection::None => {}
        Selection::Runs(runs) => return of_runs(runs),
        Selection::Hyperslab { start, stride, count, block } => {
            let axes: Vec<_> = (0..dims.len())
                .map(|d| Axis {
                    start: start[d],
                    stride: stride[d],
                    count: count[d],
                    block: block[d],
                    size: dims[d],
                })
                .collect();
            rows(&axes, 0, &mut collector);
        }
    }
    collector.finish()
}

/// One dimension of a hyperslab.
struct Axis {
    start: u64,
    stride: u64,
    count: u64,
    block: u64,
    /// The size of the dimension.
    size: u64,
}

/// Appends the elements of a hyperslab; `base` is the index of the row in the sequence of rows of these dimensions.
fn rows(axes: &[Axis], base: u64, collector: &mut Collector) {
    let Some((axis, inner)) = axes.split_first() else { return };
    let first = base * axis.size + axis.start;
    if inner.is_empty() {
        let is_one = axis.stride == axis.block;
        return collector.push_series(match is_one {
            true => Series::run(first, axis.count * axis.block),
            false => Series { offset: first, count: axis.block, stride: axis.stride, times: axis.count },
        });
    }
    for n in 0..axis.count {
        let block = first + n * axis.stride;
        (block..block + axis.block).for_each(|row| rows(inner, row, collector));
    }
}

/// Reads a list of series from the start on, in selection order.
pub struct Cursor<'a> {
    series: &'a [Series],
    /// The number of elements before the first of `series`.
    before: u64,
}

impl<'a> Cursor<'a> {
    /// Returns a cursor at the first element.
    pub fn new(series: &'a [Series]) -> Self {
        Self { series, before: 0 }
    }

    /// Passes on `points` elements from element `first` on. Returns whether there are that many: otherwise only some
    /// of them were passed on. `first` is never less than before, except within one series.
    pub fn take(&mut self, mut first: u64, mut points: u64, mut each: impl FnMut(Series)) -> bool {
        while points > 0 {
            let (Some(series), Some(skipped)) = (self.series.first(), first.checked_sub(self.before)) else {
                return false;
            };
            let all = series.points();
            if skipped >= all {
                (self.series, self.before) = (&self.series[1..], self.before + all);
                continue;
            }
            let taken = points.min(all - skipped);
            series.part(skipped, taken, &mut each);
            (first, points) = (first + taken, points - taken);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn elements(series: &[Series]) -> Vec<u64> {
        let runs = series.iter().flat_map(|s| (0..s.times).map(|n| (s.offset + n * s.stride, s.count)));
        runs.flat_map(|(offset, count)| offset..offset + count).collect()
    }

    proptest! {
        #[test]
        fn series_have_the_elements_of_their_runs(
            runs in prop::collection::vec((0..60_u64, 0..4_u64, 1..6_u64, 1..5_u64), 0..6),
            parts in prop::collection::vec((0..9_u64, 0..12_u64), 0..8),
        ) {
            let runs: Vec<Run> = runs.iter().flat_map(|&(offset, count, times, gap)| {
                (0..times).map(move |n| Run { offset: offset + n * (count + gap), count })
            }).collect();
            let expected: Vec<u64> = runs.iter().flat_map(|r| r.offset..r.offset + r.count).collect();
            let series = of_runs(&runs);
            prop_assert_eq!(&elements(&series), &expected);
            prop_assert_eq!(series.iter().map(Series::points).sum::<u64>(), expected.len() as u64);
            prop_assert_eq!(series.iter().map(Series::end).max(), expected.iter().max().map(|last| last + 1));
            let (mut cursor, mut at) = (Cursor::new(&series), 0_usize);
            for (skipped, points) in parts {
                at += skipped as usize;
                let mut found = Vec::new();
                let complete = cursor.take(at as u64, points, |series| found.extend(elements(&[series])));
                let end = at + points as usize;
                prop_assert_eq!(complete, points == 0 || end <= expected.len());
                prop_assert_eq!(&found[..], expected.get(at..end.min(expected.len())).unwrap_or_default());
                at = end;
            }
        }

        #[test]
        fn a_hyperslab_has_the_elements_of_its_runs(
            axes in prop::collection::vec((0..3_u64, 1..4_u64, 1..4_u64, 0..3_u64, 0..3_u64), 1..4),
        ) {
            let of = |f: fn(&(u64, u64, u64, u64, u64)) -> u64| axes.iter().map(f).collect::<Vec<_>>();
            let (start, count, block, stride) = (of(|a| a.0), of(|a| a.1), of(|a| a.2), of(|a| a.2 + a.3));
            let dims: Vec<u64> = axes.iter().map(|a| a.0 + (a.1 - 1) * (a.2 + a.3) + a.2 + a.4).collect();
            let selection = Selection::Hyperslab { start, stride, count, block };
            let expected = elements(&of_runs(&selection.runs(&dims).unwrap()));
            prop_assert_eq!(elements(&of_selection(&selection, &dims)), expected);
        }
    }

    #[test]
    fn columns_and_strided_elements_are_one_series() {
        let hyperslab = |start: [u64; 2], stride: [u64; 2], count: [u64; 2], block: [u64; 2]| {
            let [start, stride, count, block] = [start, stride, count, block].map(Vec::from);
            of_selection(&Selection::Hyperslab { start, stride, count, block }, &[100, 50])
        };
        let column = Series { offset: 7, count: 2, stride: 50, times: 100 };
        assert_eq!(hyperslab([0, 7], [1, 1], [100, 2], [1, 1]), [column]);
        assert_eq!(hyperslab([3, 0], [1, 1], [1, 1], [4, 50]), [Series::run(150, 200)]);
        let rows = Series { offset: 0, count: 50, stride: 100, times: 20 };
        assert_eq!(hyperslab([0, 0], [2, 1], [20, 50], [1, 1]), [rows]);
        let selection =
            Selection::Hyperslab { start: vec![1], stride: vec![8], count: vec![1000], block: vec![1] };
        assert_eq!(
            of_selection(&selection, &[8000]),
            [Series { offset: 1, count: 1, stride: 8, times: 1000 }]
        );
    }
}
