//! Statistics of a chunk's elements: minimum, maximum and count. docs/format.md has the rules, and
//! docs/design/057-chunk-statistics.md the reasons.
//!
//! Statistics may be absent at any time, and then the chunk is read. Their range is never narrower than the data.

use crate::chunk::layout::BlockLayout;
use crate::chunk::range_set::RangeSet;
use h5lake_ledger::locks::RwLock;
use h5lake_records::keys;
use h5lake_records::number::{Number, NumberType, Range};
use h5lake_records::record::StatisticsRecord;

/// Smaller chunks get no statistics, because these would take as much space as the chunk.
pub(crate) const MIN_COUNTED_BYTES: usize = 64;
/// Chunks that filters reduce to this many bytes or fewer get no statistics: they are stored inline and are read with
/// their entries.
pub(crate) const MIN_COUNTED_ENCODED_BYTES: u64 = 256;
/// If the changed part of a cached chunk is smaller than one in this many parts, it only widens the known range;
/// otherwise the whole chunk is scanned.
const PARTS_LOOKED_AT: usize = 16;

/// The chunks of a dataset of numbers.
#[derive(Debug)]
pub(crate) struct CountedChunks {
    pub number: NumberType,
    /// The dimensions of a chunk.
    pub chunk: Vec<u64>,
    /// The present extent. An outdated extent makes statistics less useful, but never wrong.
    pub dims: RwLock<Vec<u64>>,
}

/// The state of a block before a change of parts.
pub(crate) struct Before {
    /// True if nothing was stored, so that all elements had the fill value.
    pub is_empty: bool,
    pub statistics: Option<StatisticsRecord>,
}

/// A range that is valid in a box of a chunk.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub range: Range,
    /// True if the count of the range is exact; otherwise the count is meaningless.
    pub is_counted: bool,
    /// Size of the box along each dimension, in elements.
    pub within: Vec<u64>,
}

impl CountedChunks {
    /// Returns the size of the part of the chunk at `coords` (in chunks) within an extent, along each dimension.
    pub(crate) fn within(&self, coords: &[u64], dims: &[u64]) -> Option<Vec<u64>> {
        let n = self.chunk.len();
        let inside = |((c, n), d): ((&u64, &u64), &u64)| d.saturating_sub(c.saturating_mul(*n)).min(*n);
        (coords.len() == n && dims.len() == n)
            .then(|| coords.iter().zip(&self.chunk).zip(dims).map(inside).collect())
    }

    /// Returns the box that statistics of the block of this key should describe now; `None` if the box has no elements.
    fn present(&self, key: &[u8]) -> Option<Vec<u64>> {
        self.within(&keys::coords(key), &self.dims.read()).filter(|within| !within.contains(&0))
    }

    /// Decodes and checks a record; `None` for a record that no writer creates.
    pub(crate) fn described(&self, r: &StatisticsRecord) -> Option<Described> {
        let within = if r.within.is_empty() { self.chunk.clone() } else { r.within.clone() };
        let fits = within.len() == self.chunk.len()
            && within.iter().zip(&self.chunk).all(|(w, c)| (1..=*c).contains(w));
        let elements = within.iter().try_fold(1_u64, |n, w| n.checked_mul(*w))?;
        let number =
            |bits: Option<u64>| bits.map(|bits| self.number.stored(bits)).map_or(Some(None), |n| n.map(Some));
        let (least, greatest) = (number(r.minimum)?, number(r.maximum)?);
        let is_sound = match (least, greatest) {
            (Some(least), Some(greatest)) => least.compare(greatest).is_some_and(std::cmp::Ordering::is_le),
            (None, None) => r.count == Some(0),
            _ => false,
        };
        let range = Range { least, greatest, count: r.count.unwrap_or(0) };
        (fits && is_sound && range.count <= elements).then_some(Described {
            range,
            is_counted: r.count.is_some(),
            within,
        })
    }

    /// Returns whether no writer creates such a record.
    pub(crate) fn is_wrong(&self, r: &StatisticsRecord) -> bool {
        self.described(r).is_none()
    }

    /// Encodes statistics. A box of NaN alone gets a count, which distinguishes it from a box about which nothing is
    /// known.
    fn record(&self, d: Described) -> StatisticsRecord {
        let bits = |n: Option<Number>| n.map(NumberType::to_bits);
        StatisticsRecord {
            minimum: bits(d.range.least),
            maximum: bits(d.range.greatest),
            count: if d.range.least.is_none() { Some(0) } else { d.is_counted.then_some(d.range.count) },
            within: if d.within == self.chunk { Vec::new() } else { d.within },
        }
    }

    /// Returns the number of bytes from the chunk's beginning to the end of the last element of a box.
    fn reach(&self, within: &[u64]) -> usize {
        let last = within.iter().zip(&self.chunk).fold(0, |at, (w, c)| at * c + (w - 1));
        (last as usize + 1) * self.number.size
    }

    /// Returns the number of bytes of a box if its elements are contiguous from the chunk's beginning, otherwise `None`.
    fn line(&self, within: &[u64]) -> Option<usize> {
        (within[1..] == self.chunk[1..]).then(|| self.reach(within))
    }

    /// Returns the range of a box, in which all bytes are known.
    fn look(&self, within: &[u64], block: &[u8]) -> Range {
        let size = self.number.size;
        // From this dimension on, the box includes the whole chunk.
        let whole = (0..within.len()).rev().find(|d| within[*d] != self.chunk[*d]).unwrap_or(0);
        let row: u64 = self.chunk[whole + 1..].iter().product::<u64>() * within[whole];
        let step: u64 = self.chunk[whole..].iter().product();
        let mut range = Range::default();
        let mut at = vec![0; whole];
        loop {
            let before = at.iter().zip(&self.chunk).fold(0, |n, (a, c)| n * c + a);
            let first = (before * step) as usize * size;
            range = range.and(self.number.range(&block[first..first + row as usize * size]));
            let Some(d) = (0..whole).rev().find(|d| at[*d] + 1 < within[*d]) else { return range };
            at[d] += 1;
            at[d + 1..].fill(0);
        }
    }
}

impl BlockLayout {
    /// Sets the present extent.
    pub(crate) fn set_dims(&self, dims: &[u64]) {
        if let Some(edges) = &self.edges {
            *edges.dims.write() = dims.to_vec();
        }
        if let Some(counted) = &self.counted {
            *counted.dims.write() = dims.to_vec();
        }
    }

    /// Returns the statistics of a block; `block` has at least the bytes of its elements within the extent.
    pub(crate) fn statistics(&self, key: &[u8], block: &[u8]) -> Option<StatisticsRecord> {
        let counted = self.counted.as_ref()?;
        let within = counted.present(key)?;
        if counted.reach(&within) > block.len() {
            return None;
        }
        let range = counted.look(&within, block);
        Some(counted.record(Described { range, is_counted: true, within }))
    }

    /// Returns the statistics of a block in memory, of which the bytes `valid` are known and the bytes `dirty` are new.
    /// Scans all elements if they are in memory and that is worthwhile; otherwise scans the new ones.
    pub(crate) fn statistics_of_cached(
        &self,
        key: &[u8],
        before: Before,
        data: &[u8],
        [valid, dirty]: [&RangeSet; 2],
    ) -> Option<StatisticsRecord> {
        let counted = self.counted.as_ref()?;
        let reach = counted.reach(&counted.present(key)?);
        let new: usize = dirty.iter().map(|r| r.len()).sum();
        let is_much = before.statistics.is_none() || new >= reach / PARTS_LOOKED_AT;
        if is_much && reach <= data.len() && valid.covers(&(0..reach)) {
            return self.statistics(key, data);
        }
        let parts: Vec<_> = dirty.iter().map(|r| (r.start, &data[r])).collect();
        self.statistics_of_parts(key, before, &parts)
    }

    /// Returns the statistics of a block after parts were written to it, each given as its offset and its bytes.
    pub(crate) fn statistics_of_parts(
        &self,
        key: &[u8],
        before: Before,
        parts: &[(usize, &[u8])],
    ) -> Option<StatisticsRecord> {
        let counted = self.counted.as_ref()?;
        let size = counted.number.size;
        if parts.iter().any(|(at, bytes)| at % size != 0 || bytes.len() % size != 0) {
            return None;
        }
        let within = counted.present(key)?;
        let written = Written::of(counted, parts);
        let known = before.statistics.and_then(|r| counted.described(&r));
        let d = match (written.covers(counted, &within), known) {
            (true, _) => written.alone(counted, within),
            (false, _) if before.is_empty => written.over_fill(self, counted, within),
            (false, Some(known)) => written.over(counted, known, within)?,
            (false, None) => return None,
        };
        Some(counted.record(d))
    }

    /// Returns the statistics that remain valid for a block in which everything from byte `end` on becomes fill.
    pub(crate) fn statistics_up_to(
        &self,
        end: usize,
        before: Option<StatisticsRecord>,
    ) -> Option<StatisticsRecord> {
        let counted = self.counted.as_ref()?;
        let mut known = counted.described(&before?)?;
        let row = counted.number.size as u64 * counted.chunk[1..].iter().product::<u64>();
        known.within[0] = known.within[0].min(end as u64 / row);
        (known.within[0] > 0).then(|| counted.record(Described { is_counted: false, ..known }))
    }
}

/// Parts of a block that were written.
struct Written {
    range: Range,
    bytes: RangeSet,
    /// True if no byte is in two parts.
    is_disjoint: bool,
}

impl Written {
    fn of(counted: &CountedChunks, parts: &[(usize, &[u8])]) -> Self {
        let (mut bytes, mut range, mut is_disjoint) = (RangeSet::default(), Range::default(), true);
        for (at, part) in parts {
            let r = *at..at + part.len();
            is_disjoint &= !bytes.overlaps(&r);
            bytes.insert(r);
            range = range.and(counted.number.range(part));
        }
        Self { range, bytes, is_disjoint }
    }

    /// Returns whether each element of a box was written.
    fn covers(&self, counted: &CountedChunks, within: &[u64]) -> bool {
        self.bytes.covers(&(0..counted.reach(within)))
    }

    /// Returns the range if the written elements are all elements of the box.
    fn alone(self, counted: &CountedChunks, within: Vec<u64>) -> Described {
        let end = self.bytes.iter().last().map_or(0, |r| r.end);
        let is_counted = self.is_disjoint && counted.line(&within) == Some(end);
        Described { range: self.range, is_counted, within }
    }

    /// Returns the range if all other elements have the fill value.
    fn over_fill(self, shape: &BlockLayout, counted: &CountedChunks, within: Vec<u64>) -> Described {
        let mut fill = vec![0; counted.number.size];
        shape.fill(0, &mut fill);
        let range = self.range.and(counted.number.range(&fill));
        Described { range, is_counted: false, within }
    }

    /// Returns the range after a write over elements with a known range. It is valid in the box of the known range, or
    /// in the present box if all elements that the present box adds were written.
    fn over(self, counted: &CountedChunks, known: Described, within: Vec<u64>) -> Option<Described> {
        let range = self.range.and(known.range);
        if within.iter().zip(&known.within).all(|(now, then)| now <= then) {
            return Some(Described { range, is_counted: false, within: known.within });
        }
        let (end, known_end) = (counted.line(&within)?, counted.line(&known.within)?);
        if !self.bytes.covers(&(known_end..end)) {
            return None;
        }
        let follows = self.bytes.iter().all(|r| r.start >= known_end && r.end <= end);
        Some(Described { range, is_counted: known.is_counted && self.is_disjoint && follows, within })
    }
}
