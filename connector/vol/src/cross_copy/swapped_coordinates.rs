//! Coordinates of chunks that libhdf5 reports in the order of an index, and not of the dimensions.

/// Coordinates that libhdf5 computes in the order of the dimensions, for an extensible array that has the unlimited
/// dimension first (`H5D__earray_idx_iterate_cb` of releases up to 2.0). They determine a chunk's number in the array,
/// and the number determines the true coordinates.
pub(super) struct Swapped {
    chunk: Vec<u64>,
    /// The maximum number of chunks along each dimension.
    counts: Vec<u64>,
    unlimited: usize,
}

impl Swapped {
    /// Describes an array with such chunks, in an extent that becomes at most `most` elements long.
    pub(super) fn new(most: &[u64], chunk: &[u64], unlimited: usize) -> Self {
        let count = |(most, chunk): (&u64, &u64)| most.div_ceil((*chunk).max(1)).max(1);
        Self { chunk: chunk.to_vec(), counts: most.iter().zip(chunk).map(count).collect(), unlimited }
    }

    /// Returns the first element of a chunk that libhdf5 reports at `offset`; `None` for an offset that it never
    /// reports.
    pub(super) fn undo(&self, offset: &[u64]) -> Option<Vec<u64>> {
        let at: Vec<u64> = offset.iter().zip(&self.chunk).map(|(offset, chunk)| offset / chunk).collect();
        let (before, behind) = at.split_at(self.unlimited);
        if before.iter().any(|at| *at != 0) {
            return None;
        }
        let mut number = 0_u64;
        for (n, at) in behind.iter().enumerate() {
            let count = if n == 0 { 1 } else { self.counts[self.unlimited + n] };
            number = number.checked_mul(count)?.checked_add(*at)?;
        }
        let mut real = vec![0; at.len()];
        for n in (0..at.len()).rev().filter(|n| *n != self.unlimited) {
            real[n] = number % self.counts[n];
            number /= self.counts[n];
        }
        real[self.unlimited] = number;
        real.iter().zip(&self.chunk).map(|(at, chunk)| at.checked_mul(*chunk)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapped_coordinates_are_undone() {
        // Dimensions of 2 × unlimited × 3 chunks, of 4 × 5 × 6 elements.
        let swapped = Swapped { chunk: vec![4, 5, 6], counts: vec![2, u64::MAX, 3], unlimited: 1 };
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..24 {
            // libhdf5 counts the last dimension, then the unlimited one without end.
            let reported = [0, number / 3 * 5, number % 3 * 6];
            let real = swapped.undo(&reported).unwrap();
            // The order in the array is: the unlimited dimension, the first, the last.
            assert_eq!(number, (real[1] / 5 * 2 + real[0] / 4) * 3 + real[2] / 6);
            seen.insert(real);
        }
        assert_eq!(seen.len(), 24);
        assert_eq!(swapped.undo(&[4, 0, 0]), None);
    }
}
