//! An array in chunks, and these in blocks: the mapping of bytes of the array to blocks. The blocks of a chunk pad it
//! beyond its end.

use super::{MAX_BYTES, MAX_RANK};
use std::ops::Range;

/// The shapes of an array, a chunk and a block, all in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) shape: Vec<usize>,
    pub(super) chunk: Vec<usize>,
    pub(super) block: Vec<usize>,
    /// Bytes of an element.
    size: usize,
}

/// The origin of a block in the array, and the size of its part within the array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    origin: [usize; MAX_RANK],
    extent: [usize; MAX_RANK],
}

fn product(numbers: impl IntoIterator<Item = usize>, size: usize) -> Option<usize> {
    numbers.into_iter().try_fold(size, usize::checked_mul)
}

/// Returns the position with number `n` in a grid of these counts; the last dimension changes fastest.
fn index(
    mut n: usize,
    counts: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator,
) -> [usize; MAX_RANK] {
    let mut index = [0; MAX_RANK];
    for (at, count) in counts.enumerate().rev() {
        index[at] = n % count;
        n /= count;
    }
    index
}

impl Geometry {
    /// Creates the geometry of an array of at most `limit` bytes.
    ///
    /// # Errors
    /// Shapes of different ranks, without elements, or larger than the shape that contains them.
    pub(super) fn new(
        shape: Vec<usize>,
        chunk: Vec<usize>,
        block: Vec<usize>,
        size: usize,
        limit: usize,
    ) -> Result<Self, String> {
        let rank = shape.len();
        let is_same =
            (1..=MAX_RANK).contains(&rank) && chunk.len() == rank && block.len() == rank && size > 0;
        let fits =
            |part: &[usize], whole: &[usize]| part.iter().zip(whole).all(|(p, w)| (1..=*w).contains(p));
        if !is_same || !fits(&block, &chunk) || !fits(&chunk, &shape) {
            return Err(format!(
                "damaged data: blocks of {block:?} in chunks of {chunk:?} in an array of {shape:?}"
            ));
        }
        let geometry = Self { shape, chunk, block, size };
        let filled = product(geometry.filled_chunk(), size).filter(|bytes| *bytes <= MAX_BYTES);
        match product(geometry.shape.iter().copied(), size) {
            Some(bytes) if bytes <= limit && filled.is_some() => Ok(geometry),
            _ => Err(format!("damaged data: an array of {:?}, more than {limit} bytes", geometry.shape)),
        }
    }

    /// Returns the shape of a chunk padded to whole blocks.
    fn filled_chunk(&self) -> impl Iterator<Item = usize> {
        self.chunk.iter().zip(&self.block).map(|(chunk, block)| chunk.next_multiple_of(*block))
    }

    fn block_counts(&self) -> impl DoubleEndedIterator<Item = usize> + ExactSizeIterator {
        self.chunk.iter().zip(&self.block).map(|(chunk, block)| chunk.div_ceil(*block))
    }

    fn chunk_counts(&self) -> impl DoubleEndedIterator<Item = usize> + ExactSizeIterator {
        self.shape.iter().zip(&self.chunk).map(|(shape, chunk)| shape.div_ceil(*chunk))
    }

    /// Returns the bytes of the array.
    pub(super) fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.size
    }

    /// Returns the bytes of a chunk padded to whole blocks.
    pub(super) fn chunk_bytes(&self) -> usize {
        self.filled_chunk().product::<usize>() * self.size
    }

    /// Returns the bytes of a block.
    pub(super) fn block_bytes(&self) -> usize {
        self.block.iter().product::<usize>() * self.size
    }

    /// Returns the number of chunks of the array.
    pub(super) fn chunks(&self) -> usize {
        self.chunk_counts().product()
    }

    /// Returns the number of blocks of a chunk.
    pub(super) fn blocks(&self) -> usize {
        self.block_counts().product()
    }

    /// Returns the place of a block of a chunk; `None` if it is only padding.
    pub(super) fn place(&self, chunk: usize, block: usize) -> Option<Place> {
        let (chunk, block) = (index(chunk, self.chunk_counts()), index(block, self.block_counts()));
        let mut place = Place { origin: [0; MAX_RANK], extent: [0; MAX_RANK] };
        for n in 0..self.shape.len() {
            let start = chunk[n] * self.chunk[n];
            let end = (start + self.chunk[n]).min(self.shape[n]);
            place.origin[n] = start + block[n] * self.block[n];
            place.extent[n] = end.checked_sub(place.origin[n]).filter(|left| *left > 0)?.min(self.block[n]);
        }
        Some(place)
    }

    /// Returns the first dimension of a row: all dimensions after it are complete in both the block and the array.
    fn row_dimension(&self, place: &Place) -> usize {
        let is_whole = |n: usize| place.extent[n] == self.block[n] && place.extent[n] == self.shape[n];
        let mut row = self.shape.len() - 1;
        while row > 0 && is_whole(row) {
            row -= 1;
        }
        row
    }

    /// Returns the range of the array's bytes that is the whole block, if it is contiguous.
    pub(super) fn run(&self, place: &Place) -> Option<Range<usize>> {
        let rank = self.shape.len();
        let is_one = place.extent[..self.row_dimension(place)].iter().all(|extent| *extent == 1);
        if !is_one || place.extent[..rank] != self.block[..] {
            return None;
        }
        let start = self.shape.iter().zip(&place.origin).fold(0, |at, (count, n)| at * count + n) * self.size;
        Some(start..start + self.block_bytes())
    }

    /// Calls `copy` with each row of a block: its offsets in the array and in the block, and its length, all in bytes.
    pub(super) fn rows(&self, place: &Place, mut copy: impl FnMut(usize, usize, usize)) {
        let row = self.row_dimension(place);
        let inner = self.shape[row + 1..].iter().product::<usize>() * self.size;
        let len = place.extent[row] * inner;
        let mut at = [0; MAX_RANK];
        loop {
            let (mut in_array, mut in_block) = (0, 0);
            for (n, at) in at.iter().enumerate().take(row + 1) {
                in_array = in_array * self.shape[n] + place.origin[n] + at;
                in_block = in_block * self.block[n] + at;
            }
            copy(in_array * inner, in_block * inner, len);
            let Some(n) = (0..row).rev().find(|n| at[*n] + 1 < place.extent[*n]) else { return };
            at[n] += 1;
            at[n + 1..row].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every element of the array is in one block of one chunk, at the position that the definition says.
    #[test]
    fn blocks_have_each_element_once() {
        for (shape, chunk, block) in [
            (vec![7], vec![7], vec![2]),
            (vec![7, 13], vec![7, 13], vec![2, 8]),
            (vec![7, 13], vec![5, 4], vec![5, 3]),
            (vec![4, 6, 8], vec![4, 6, 8], vec![2, 6, 8]),
            (vec![3, 4, 5, 6], vec![2, 3, 5, 4], vec![1, 2, 5, 4]),
            (vec![1, 9, 1], vec![1, 5, 1], vec![1, 5, 1]),
        ] {
            let geometry = Geometry::new(shape, chunk, block, 3, 10_000).unwrap();
            let mut seen = vec![0; geometry.bytes()];
            for (chunk, block) in
                (0..geometry.chunks()).flat_map(|c| (0..geometry.blocks()).map(move |b| (c, b)))
            {
                let Some(place) = geometry.place(chunk, block) else { continue };
                let mut in_block = vec![0; geometry.block_bytes()];
                let mut rows = Vec::new();
                geometry.rows(&place, |from, to, len| {
                    seen[from..from + len].iter_mut().for_each(|seen| *seen += 1);
                    in_block[to..to + len].iter_mut().for_each(|seen| *seen += 1);
                    rows.push((from, to, len));
                });
                assert!(in_block.iter().all(|seen| *seen < 2));
                if let Some(run) = geometry.run(&place) {
                    assert_eq!(rows, [(run.start, 0, run.len())], "{geometry:?}");
                }
            }
            assert!(seen.iter().all(|seen| *seen == 1), "{geometry:?}");
        }
    }

    #[test]
    fn shapes_that_contradict_each_other_are_refused() {
        let new = |shape: &[usize], chunk: &[usize], block: &[usize]| {
            Geometry::new(shape.to_vec(), chunk.to_vec(), block.to_vec(), 4, 1000)
        };
        assert!(new(&[10, 25], &[10, 25], &[2, 8]).is_ok());
        assert!(new(&[10, 26], &[10, 26], &[2, 8]).is_err(), "too long");
        assert!(new(&[10, 25], &[10, 25], &[2, 26]).is_err(), "a block is larger than its chunk");
        assert!(new(&[10, 25], &[11, 25], &[2, 8]).is_err(), "a chunk is larger than the array");
        assert!(new(&[10, 0], &[10, 0], &[2, 0]).is_err(), "no elements");
        assert!(new(&[10, 25], &[10, 25], &[2]).is_err(), "another rank");
        assert!(new(&[], &[], &[]).is_err(), "no rank");
        assert!(new(&[usize::MAX, 4], &[1, 1], &[1, 1]).is_err(), "no such length");
    }
}
