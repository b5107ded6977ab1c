//! Sources that have become shorter than their mappings, or are not as long yet: a virtual dataset is made for all
//! frames before the first one is written. Elements that the source does not have are read as its fill value, like in
//! the native connector for chunked sources.

use h5lake_container::Run;

use crate::error::Result;
use crate::hdf5::id::Id;
use crate::hdf5::library::Library;

/// A transfer's share of a source, divided by the source's extent.
pub struct Clipped {
    /// The elements that exist in the source.
    pub selection: Id,
    /// The positions of these elements in the transfer.
    pub runs: Vec<Run>,
    /// The positions of elements that the source does not have.
    pub missing: Vec<Run>,
}

/// Divides the elements that `selection` selects in a source of these dimensions, and `touched` in the transfer.
///
/// # Errors
/// If a call of the library fails.
pub fn clipped(library: Library, selection: Id, touched: &Id, dims: &[u64]) -> Result<Clipped> {
    let runs = library.runs_of(touched.get())?;
    if library.selects_all_or_none(&selection) || is_within(library, &selection, dims)? {
        return Ok(Clipped { selection, runs, missing: Vec::new() });
    }
    let inside = library.copy_space(selection.get())?;
    library.clip_selection(&inside, dims)?;
    if library.selected_points(inside.get())? == 0 {
        return Ok(Clipped { selection: inside, missing: runs, runs: Vec::new() });
    }
    let there = library.project(selection.get(), touched.get(), inside.get())?;
    let there = library.runs_of(there.get())?;
    Ok(Clipped { selection: inside, missing: without(&runs, &there), runs: there })
}

fn is_within(library: Library, selection: &Id, dims: &[u64]) -> Result<bool> {
    let (_, last) = library.selection_bounds(selection, dims.len())?;
    Ok(last.len() == dims.len() && last.iter().zip(dims).all(|(last, size)| last < size))
}

/// Returns the elements of ascending runs that are not in `removed`, which must be ascending, too, and begin inside
/// these runs.
pub fn without(runs: &[Run], removed: &[Run]) -> Vec<Run> {
    let mut left = Vec::new();
    let mut removed = removed.iter().peekable();
    for run in runs {
        let (mut at, end) = (run.offset, run.offset + run.count);
        while let Some(other) = removed.next_if(|other| other.offset < end) {
            if other.offset > at {
                left.push(Run { offset: at, count: other.offset - at });
            }
            at = at.max(other.offset + other.count);
        }
        if at < end {
            left.push(Run { offset: at, count: end - at });
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_elements_leave_the_gaps() {
        let run = |offset, count| Run { offset, count };
        assert_eq!(without(&[run(0, 5)], &[]), [run(0, 5)]);
        assert_eq!(without(&[run(0, 5)], &[run(0, 5)]), []);
        assert_eq!(
            without(&[run(0, 5), run(8, 4)], &[run(1, 2), run(8, 1), run(10, 1)]),
            [run(0, 1), run(3, 2), run(9, 1), run(11, 1)]
        );
        assert_eq!(without(&[run(2, 2), run(6, 2)], &[run(6, 2)]), [run(2, 2)]);
    }
}
