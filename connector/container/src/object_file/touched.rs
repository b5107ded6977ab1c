//! The chunks that a selection touches.

use std::collections::BTreeSet;

use crate::chunk::grid::Grid;
use crate::{Error, Result, Selection};
use h5lake_records::types::product;

/// Returns the numbers (C order) of the chunks that a selection touches, in the order in which a read processes them;
/// `None` if there are more than `most`.
///
/// # Errors
/// `InvalidArgument` and `OutOfRange` for a selection that does not fit the dimensions.
pub fn touched_chunks(
    dims: &[u64],
    chunk: &[u64],
    selection: &Selection,
    most: u64,
) -> Result<Option<Vec<u64>>> {
    if dims.len() != chunk.len() || chunk.contains(&0) {
        return Err(Error::invalid("a dataset and its chunks have different ranks"));
    }
    let counts: Vec<u64> = dims.iter().zip(chunk).map(|(dim, chunk)| dim.div_ceil(*chunk)).collect();
    if product(&counts).is_err() {
        return Ok(None);
    }
    match selection {
        Selection::None => Ok(Some(Vec::new())),
        Selection::All => {
            let all: Vec<Vec<u64>> =
                counts.iter().map(|count| (0..(*count).min(most + 1)).collect()).collect();
            Ok(numbers(&counts, &all, most))
        }
        Selection::Hyperslab { start, stride, count, block } => {
            let rank = dims.len();
            if [start, stride, count, block].iter().any(|list| list.len() != rank) {
                return Err(Error::invalid("a selection has another rank than the dataset"));
            }
            let along = |n: usize| along(chunk[n], start[n], (stride[n], count[n], block[n]), counts[n]);
            Ok(numbers(&counts, &(0..rank).map(along).collect::<Vec<_>>(), most))
        }
        Selection::Runs(_) => {
            let mut found = Vec::new();
            let mut is_enough = true;
            let walked = Grid::Boxes(chunk.to_vec()).parts(dims, selection, 1, &mut |part| {
                is_enough = (found.len() as u64) < most;
                let number =
                    part.coords.iter().zip(&counts).fold(0, |number, (at, count)| number * count + at);
                found.push(number);
                // This error only ends the walk, and is not returned.
                if is_enough { Ok(()) } else { Err(Error::range("there are too many")) }
            });
            if is_enough { walked.map(|()| Some(found)) } else { Ok(None) }
        }
    }
}

/// Returns the chunks along one dimension that blocks touch.
fn along(chunk: u64, start: u64, (stride, count, block): (u64, u64, u64), chunks: u64) -> Vec<u64> {
    let mut found = BTreeSet::new();
    let mut number = 0;
    while number < count && block > 0 && (found.len() as u64) < chunks {
        let first = start.saturating_add(number.saturating_mul(stride));
        let last = first.saturating_add(block - 1) / chunk;
        found.extend((first / chunk..=last).take_while(|at| *at < chunks));
        // Continues with the next block that reaches into another chunk.
        let behind = (last + 1).saturating_mul(chunk).saturating_sub(start.saturating_add(block - 1));
        number = (number + 1).max(behind.div_ceil(stride.max(1)));
    }
    found.into_iter().collect()
}

/// Returns the numbers of all chunks with these coordinates along each dimension.
fn numbers(counts: &[u64], along: &[Vec<u64>], most: u64) -> Option<Vec<u64>> {
    let total = along.iter().fold(1_u64, |total, along| total.saturating_mul(along.len() as u64));
    if total > most {
        return None;
    }
    let mut found = vec![0];
    for (along, count) in along.iter().zip(counts) {
        found = found.iter().flat_map(|number| along.iter().map(move |at| number * count + at)).collect();
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Run;
    use crate::chunk::grid::tests_support::slab_in;

    #[test]
    fn the_touched_chunks_are_those_that_a_read_reaches() {
        let (dims, chunk) = ([17, 23, 9], [4, 5, 9]);
        for seed in 0..2000 {
            let selection = slab_in(&dims, seed);
            let mut expected = Vec::new();
            Grid::Boxes(chunk.to_vec())
                .parts(&dims, &selection, 1, &mut |part| {
                    expected.push((part.coords[0] * 5 + part.coords[1]) + part.coords[2]);
                    Ok(())
                })
                .unwrap();
            let found = touched_chunks(&dims, &chunk, &selection, 1000).unwrap().unwrap();
            assert_eq!(found, expected, "{selection:?}");
        }
    }

    #[test]
    fn more_chunks_than_the_limit_yield_none() {
        assert_eq!(touched_chunks(&[100, 100], &[1, 1], &Selection::All, 9_999).unwrap(), None);
        assert_eq!(
            touched_chunks(&[100, 100], &[1, 1], &Selection::All, 10_000).unwrap().unwrap().len(),
            10_000
        );
        let huge = [u64::MAX, u64::MAX];
        assert_eq!(touched_chunks(&huge, &[1, 1], &Selection::All, 10).unwrap(), None);
        let runs = Selection::Runs(vec![Run { offset: 95, count: 10 }, Run { offset: 3, count: 1 }]);
        assert_eq!(touched_chunks(&[10, 20], &[5, 5], &runs, 10).unwrap(), Some(vec![0, 3, 4]));
        assert_eq!(touched_chunks(&[10, 20], &[5, 5], &runs, 1).unwrap(), None);
    }
}
