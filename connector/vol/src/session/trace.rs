//! Elements that processes of an MPI program read independently while other processes had written them without a
//! commit.
//!
//! No process can detect such a read when it happens, because the processes exchange messages only in collective
//! calls. So each process keeps the ranges of elements that it read or left uncommitted, and at the next exchange all
//! processes compare them.

use h5lake_container::{ObjectId, Selection};

/// The number of ranges that are distinguished.
const MOST: usize = 8;
/// A number that stands for any dataset.
const ANY: u64 = u64::MAX;
const WORDS: usize = 4;
/// The bytes of the message of one process.
pub const BYTES: usize = MOST * WORDS * 8;

/// Elements of a dataset, from a first to a last one, and the time at which a process touched them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    dataset: u64,
    start: u64,
    end: u64,
    /// Microseconds since 1970.
    time: u64,
}

impl Trace {
    /// Returns the trace of a selection in a dataset of these dimensions, if it has any elements.
    pub fn of(dataset: ObjectId, selection: &Selection, dims: &[u64]) -> Option<Self> {
        let (start, end) = match selection {
            Selection::None => return None,
            Selection::All => (0, u64::MAX),
            Selection::Hyperslab { start, stride, count, block } => {
                if count.iter().chain(block).any(|n| *n == 0) {
                    return None;
                }
                let last = |d: usize| {
                    let blocks = (count[d] - 1).saturating_mul(stride[d]);
                    start[d].saturating_add(blocks).saturating_add(block[d] - 1)
                };
                let last: Vec<u64> = (0..start.len()).map(last).collect();
                (position(start, dims), position(&last, dims).saturating_add(1))
            }
            Selection::Runs(runs) => {
                let start = runs.iter().map(|run| run.offset).min()?;
                (start, runs.iter().map(|run| run.offset.saturating_add(run.count)).max()?)
            }
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let time = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        Some(Self { dataset: dataset.0, start, end, time })
    }

    fn overlaps(&self, other: &Self) -> bool {
        let same = self.dataset == other.dataset || self.dataset == ANY || other.dataset == ANY;
        same && self.start < other.end && other.start < self.end
    }

    fn join(&mut self, other: &Self, time: fn(u64, u64) -> u64) {
        if self.dataset != other.dataset {
            (self.dataset, self.start, self.end) = (ANY, 0, u64::MAX);
        }
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.time = time(self.time, other.time);
    }
}

fn position(coordinates: &[u64], dims: &[u64]) -> u64 {
    let step = |all: u64, (c, dim): (&u64, &u64)| all.saturating_mul(*dim).saturating_add(*c);
    coordinates.iter().zip(dims).fold(0, step)
}

/// A few ranges of elements. If there are too many ranges, one of them is widened.
#[derive(Debug, Default)]
pub struct Traces(Vec<Trace>);

impl Traces {
    /// Adds written elements: the time is that of the first write.
    pub fn add_written(&mut self, trace: Trace) {
        self.add(trace, u64::min);
    }

    /// Adds read elements: the time is that of the last read.
    pub fn add_read(&mut self, trace: Trace) {
        self.add(trace, u64::max);
    }

    fn add(&mut self, trace: Trace, time: fn(u64, u64) -> u64) {
        let touching =
            self.0.iter().position(|known| known.dataset == trace.dataset && known.overlaps(&trace));
        let full = self.0.len() == MOST;
        let place = touching.or_else(|| {
            let like = self.0.iter().position(|known| known.dataset == trace.dataset);
            if full { like.or(Some(0)) } else { None }
        });
        match place {
            Some(place) => self.0[place].join(&trace, time),
            None => self.0.push(trace),
        }
    }

    /// Returns whether there are no ranges.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all ranges.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Encodes the ranges as a message.
    pub fn encoded(&self) -> Vec<u8> {
        let words = self.0.iter().flat_map(|trace| [trace.dataset, trace.start, trace.end, trace.time]);
        let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        bytes.resize(BYTES, 0);
        bytes
    }

    /// Decodes a message.
    pub fn decoded(bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let (traces, _) = words.as_chunks::<WORDS>();
        let trace = |[dataset, start, end, time]: &[u64; WORDS]| Trace {
            dataset: *dataset,
            start: *start,
            end: *end,
            time: *time,
        };
        Self(traces.iter().map(trace).filter(|trace| trace.end > 0).collect())
    }

    /// Returns whether any of these written elements were read later, according to `read`.
    pub fn were_read(&self, read: &Self) -> bool {
        self.0.iter().any(|left| read.0.iter().any(|read| left.overlaps(read) && read.time >= left.time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(dataset: u64, first: u64, count: u64, time: u64) -> Trace {
        let slab = Selection::Hyperslab {
            start: vec![first, 0],
            stride: vec![1, 1],
            count: vec![count, 10],
            block: vec![1, 1],
        };
        Trace { time, ..Trace::of(ObjectId(dataset), &slab, &[100, 10]).unwrap() }
    }

    fn written(list: &[Trace]) -> Traces {
        let mut traces = Traces::default();
        list.iter().for_each(|trace| traces.add_written(*trace));
        traces
    }

    #[test]
    fn later_reads_of_the_same_elements_are_found() {
        let left = written(&[rows(7, 0, 10, 5), rows(7, 50, 1, 8)]);
        let read = |trace| Traces::decoded(&written(&[trace]).encoded());
        assert!(left.were_read(&read(rows(7, 9, 3, 6))));
        assert!(!left.were_read(&read(rows(7, 9, 3, 4))), "read before it was written");
        assert!(!left.were_read(&read(rows(7, 10, 40, 9))), "other elements");
        assert!(!left.were_read(&read(rows(8, 0, 10, 9))), "another dataset");
        assert!(!left.were_read(&Traces::default()));
    }

    #[test]
    fn widened_ranges_miss_no_read() {
        let many: Vec<Trace> = (0..30).map(|n| rows(n % 15, n * 3, 1, 1)).collect();
        let left = written(&many);
        assert!(left.encoded().len() == BYTES);
        for trace in many {
            assert!(left.were_read(&written(&[Trace { time: 2, ..trace }])));
        }
    }
}
