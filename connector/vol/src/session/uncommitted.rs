//! Elements that each process of an MPI program has written and not committed.
//!
//! If several processes hold changes of one element, the last commit wins. So the elements that a process writes in a
//! collective call must not overlap those that another process left uncommitted in an earlier call: in that case all
//! processes commit first. Each process describes its writes in the message that such a call sends anyway. This
//! knowledge may cover too many elements, but never too few.

use h5lake_container::{ObjectId, Selection};

/// The number of dimensions that have bounds. Further dimensions count as whole.
const DIMENSIONS: usize = 4;
/// The number of boxes that are distinguished for one process.
const MOST: usize = 8;
/// A number that stands for any dataset.
const ANY: u64 = u64::MAX;
const WORDS: usize = 1 + 2 * DIMENSIONS;
/// The bytes of one box in a message.
pub const BOX_BYTES: usize = 8 * WORDS;
/// The bytes of all boxes of a process in a message.
pub const BYTES: usize = MOST * BOX_BYTES;

/// A box that contains elements of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    dataset: u64,
    start: [u64; DIMENSIONS],
    /// The end of the box, exclusive; zeros if there are no elements.
    end: [u64; DIMENSIONS],
}

impl Bounds {
    /// Returns the bounds of a selection in a dataset of these dimensions.
    pub fn of(dataset: ObjectId, selection: &Selection, dims: &[u64]) -> Self {
        let mut bounds = Self { dataset: dataset.0, ..Self::anything() };
        match selection {
            Selection::All => bounds,
            Selection::None => bounds.without_elements(),
            Selection::Hyperslab { start, stride, count, block } => {
                if count.iter().chain(block).any(|n| *n == 0) {
                    return bounds.without_elements();
                }
                let rank = start.len().min(DIMENSIONS);
                let end = |d: usize| {
                    let blocks = (count[d] - 1).saturating_mul(stride[d]);
                    start[d].saturating_add(blocks).saturating_add(block[d])
                };
                bounds.start[..rank].copy_from_slice(&start[..rank]);
                (0..rank).for_each(|d| bounds.end[d] = end(d));
                bounds
            }
            Selection::Runs(runs) => {
                let runs = || runs.iter().filter(|run| run.count > 0);
                let first = runs().map(|run| run.offset).min();
                let last = runs().map(|run| run.offset.saturating_add(run.count - 1)).max();
                match first.zip(last) {
                    Some((first, last)) => bounds.between(first, last, dims),
                    None => bounds.without_elements(),
                }
            }
        }
    }

    fn anything() -> Self {
        Self { dataset: ANY, start: [0; DIMENSIONS], end: [u64::MAX; DIMENSIONS] }
    }

    fn without_elements(self) -> Self {
        Self { start: [0; DIMENSIONS], end: [0; DIMENSIONS], ..self }
    }

    /// Returns the bounds of the elements from one position in C order to another.
    fn between(mut self, mut first: u64, mut last: u64, dims: &[u64]) -> Self {
        for d in 0..dims.len().min(DIMENSIONS) {
            let below = dims[d + 1..].iter().fold(1_u64, |all, dim| all.saturating_mul(*dim)).max(1);
            (self.start[d], self.end[d]) = (first / below, (last / below).saturating_add(1));
            if first / below != last / below {
                break;
            }
            (first, last) = (first % below, last % below);
        }
        self
    }

    /// Returns whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.end[0] == 0
    }

    fn is_of_one_dataset(&self, other: &Self) -> bool {
        self.dataset == other.dataset || self.dataset == ANY || other.dataset == ANY
    }

    fn touches(&self, other: &Self, d: usize) -> bool {
        self.start[d] <= other.end[d] && other.start[d] <= self.end[d]
    }

    fn overlaps(&self, other: &Self) -> bool {
        let overlap = |d: usize| self.start[d] < other.end[d] && other.start[d] < self.end[d];
        self.is_of_one_dataset(other) && (0..DIMENSIONS).all(overlap)
    }

    /// Returns whether both boxes together form one box, without elements that neither of them has.
    fn continues(&self, other: &Self) -> bool {
        let differs = |d: &usize| (self.start[*d], self.end[*d]) != (other.start[*d], other.end[*d]);
        let mut differing = (0..DIMENSIONS).filter(differs);
        let is_long = differing.next().is_none_or(|d| self.touches(other, d));
        self.dataset == other.dataset && is_long && differing.next().is_none()
    }

    fn join(&mut self, other: &Self) {
        if self.dataset != other.dataset {
            *self = Self::anything();
        }
        for d in 0..DIMENSIONS {
            self.start[d] = self.start[d].min(other.start[d]);
            self.end[d] = self.end[d].max(other.end[d]);
        }
    }
}

/// The elements that a process has written, as a few boxes. If there are too many boxes, one of them is widened.
#[derive(Debug, Default)]
pub struct Written(Vec<Bounds>);

impl Written {
    /// Adds elements.
    pub fn add(&mut self, bounds: Bounds) {
        if bounds.is_empty() {
            return;
        }
        let is_full = self.0.len() == MOST;
        let longer = self.0.iter().position(|known| known.continues(&bounds));
        let place = longer.or_else(|| {
            let like = self.0.iter().position(|known| known.dataset == bounds.dataset);
            if is_full { like.or(Some(0)) } else { None }
        });
        match place {
            Some(place) => self.0[place].join(&bounds),
            None => self.0.push(bounds),
        }
    }

    /// Returns whether more than one box is needed.
    pub fn is_several(&self) -> bool {
        self.0.len() > 1
    }

    /// Encodes the boxes as a message that begins with the first box.
    pub fn encoded(&self) -> [u8; BYTES] {
        let words = |bounds: &Bounds| {
            std::iter::once(bounds.dataset).chain(bounds.start).chain(bounds.end).collect::<Vec<_>>()
        };
        let mut bytes = [0; BYTES];
        let (places, _) = bytes.as_chunks_mut::<8>();
        for (place, word) in places.iter_mut().zip(self.0.iter().flat_map(words)) {
            *place = word.to_le_bytes();
        }
        bytes
    }

    /// Decodes a message, or the first box of a message.
    pub fn decoded(bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let (boxes, _) = words.as_chunks::<WORDS>();
        let bounds = |[dataset, both @ ..]: &[u64; WORDS]| {
            let mut bounds = Bounds { dataset: *dataset, ..Bounds::anything() };
            bounds.start.copy_from_slice(&both[..DIMENSIONS]);
            bounds.end.copy_from_slice(&both[DIMENSIONS..]);
            bounds
        };
        Self(boxes.iter().map(bounds).filter(|bounds| !bounds.is_empty()).collect())
    }

    fn overlaps(&self, bounds: &Bounds) -> bool {
        self.0.iter().any(|known| known.overlaps(bounds))
    }
}

/// Elements that processes have written and not committed, as far as one process knows.
#[derive(Debug, Default)]
pub struct Uncommitted {
    /// The elements that this process wrote independently. The other processes do not know of them.
    own: Written,
    /// The elements that the other processes wrote in collective calls, by the numbers of these processes.
    remote: Vec<Written>,
}

impl Uncommitted {
    /// Notes an independent write of this process.
    pub fn wrote(&mut self, bounds: Bounds) {
        self.own.add(bounds);
    }

    /// Returns whether this process wrote independently to any of the datasets.
    pub fn has_own_of(&self, written: &[Bounds]) -> bool {
        self.own.0.iter().any(|own| written.iter().any(|bounds| own.is_of_one_dataset(bounds)))
    }

    /// Forgets the independent writes of this process, after it has committed them.
    pub fn forget_own(&mut self) {
        self.own = Written::default();
    }

    /// Notes a write of another process in a collective call.
    pub fn other_wrote(&mut self, process: usize, written: Written) {
        if self.remote.len() <= process {
            self.remote.resize_with(process + 1, Written::default);
        }
        written.0.into_iter().for_each(|bounds| self.remote[process].add(bounds));
    }

    /// Notes that the writes of the other processes are unknown.
    pub fn lose_track(&mut self) {
        self.remote = vec![Written(vec![Bounds::anything()])];
    }

    /// Returns whether another process may have written any of these elements.
    pub fn remote_writes_overlap(&self, written: &[Bounds]) -> bool {
        self.remote.iter().any(|other| written.iter().any(|bounds| other.overlaps(bounds)))
    }

    /// Forgets all writes, after all processes have committed.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use h5lake_container::Run;

    use super::*;

    fn slab(dataset: u64, start: &[u64], size: &[u64]) -> Bounds {
        let slab = Selection::Hyperslab {
            start: start.to_vec(),
            stride: vec![1; start.len()],
            count: vec![1; start.len()],
            block: size.to_vec(),
        };
        Bounds::of(ObjectId(dataset), &slab, &[])
    }

    fn written(list: &[Bounds]) -> Written {
        let mut written = Written::default();
        list.iter().for_each(|bounds| written.add(*bounds));
        written
    }

    #[test]
    fn boxes_overlap_if_all_dimensions_overlap() {
        let one = slab(7, &[0, 10], &[100, 5]);
        assert!(one.overlaps(&slab(7, &[99, 14], &[1, 1])));
        assert!(!one.overlaps(&slab(7, &[0, 15], &[100, 5])), "columns beside it, in the same rows");
        assert!(!one.overlaps(&slab(8, &[0, 10], &[100, 5])), "another dataset");
        let none = Bounds::of(ObjectId(7), &Selection::None, &[100, 100]);
        assert!(none.is_empty() && !one.overlaps(&none) && !none.overlaps(&one));
        let all = Bounds::of(ObjectId(7), &Selection::All, &[100, 100]);
        assert!(one.overlaps(&all) && all.overlaps(&all));
        // A fifth dimension counts as whole.
        assert!(slab(7, &[1; 5], &[1; 5]).overlaps(&slab(7, &[1, 1, 1, 1, 9], &[1; 5])));
    }

    #[test]
    fn runs_have_the_bounds_of_their_rows() {
        let runs = |list: &[(u64, u64)]| {
            let runs = list.iter().map(|(offset, count)| Run { offset: *offset, count: *count }).collect();
            Bounds::of(ObjectId(7), &Selection::Runs(runs), &[10, 10])
        };
        assert_eq!(runs(&[(35, 2), (31, 1)]).start[..2], [3, 1]);
        assert_eq!(runs(&[(35, 2), (31, 1)]).end[..2], [4, 7]);
        let rows = runs(&[(35, 2), (51, 1)]);
        assert!(rows.overlaps(&slab(7, &[4, 0], &[1, 1])) && !rows.overlaps(&slab(7, &[6, 0], &[1, 10])));
        assert!(runs(&[]).is_empty() && runs(&[(3, 0)]).is_empty());
        let scalar = Selection::Runs(vec![Run { offset: 0, count: 1 }]);
        assert!(Bounds::of(ObjectId(7), &scalar, &[]).overlaps(&rows));
    }

    #[test]
    fn joined_boxes_cover_all_elements() {
        let rows: Vec<Bounds> = (0..20).map(|n| slab(7, &[n, 5], &[1, 5])).collect();
        let together = written(&rows);
        assert_eq!(together.0, [slab(7, &[0, 5], &[20, 5])], "rows that follow one another are one box");
        let many: Vec<Bounds> = (0..30).map(|n| slab(n % 15, &[n * 3], &[1])).collect();
        let known = Written::decoded(&written(&many).encoded());
        assert!(known.0.len() == MOST && many.iter().all(|bounds| known.overlaps(bounds)));
        let one = written(&[slab(3, &[4], &[5])]);
        assert!(!one.is_several());
        assert_eq!(Written::decoded(&one.encoded()[..BOX_BYTES]).0, one.0);
        assert!(Written::decoded(&Written::default().encoded()).0.is_empty());
    }

    #[test]
    fn remote_writes_and_own_writes_are_separate() {
        let (here, there) = (slab(7, &[0], &[5]), slab(7, &[5], &[5]));
        let mut known = Uncommitted::default();
        known.other_wrote(2, written(&[there]));
        assert!(known.remote_writes_overlap(&[here, there]) && !known.remote_writes_overlap(&[here]));
        known.wrote(here);
        assert!(!known.remote_writes_overlap(&[here]) && known.has_own_of(&[there]));
        assert!(!known.has_own_of(&[slab(8, &[0], &[5])]));
        known.forget_own();
        assert!(!known.has_own_of(&[there]) && known.remote_writes_overlap(&[there]));
        known.clear();
        assert!(!known.remote_writes_overlap(&[there]));
        known.lose_track();
        assert!(known.remote_writes_overlap(&[here]));
    }
}
