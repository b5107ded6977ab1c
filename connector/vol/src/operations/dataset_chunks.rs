//! Chunks of a dataset, and sizes that are found by reading.

use std::ffi::c_int;

use h5lake_container::{ChunkInfo, Layout, Selection, SpaceStatus, StoredChunk};

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::handles::open_objects::DatasetHandle;
use crate::hdf5::library::Hid;
use crate::operations::dataset::{file_selection, of, types_of};
use crate::transfer::buffers::buffer_of;

/// The offsets of the chunks that have storage and that a selection touches, in their order.
fn in_selection(dataset: &DatasetHandle, shape: &[u64], selection: &Selection) -> Result<Vec<Vec<u64>>> {
    let mut found = dataset.dataset.chunk_offsets()?;
    let space = dataset.dataset.space();
    found.retain(|offset| touches(selection, offset, shape, space.dims()));
    Ok(found)
}

/// How many chunks have storage and are touched by a selection.
pub fn count(handle: &Handle, space: Option<Hid>) -> Result<u64> {
    let dataset = of(handle)?;
    let shape = chunk_shape(handle)?;
    match file_selection(dataset, space)?.0 {
        Selection::All => Ok(dataset.dataset.chunk_count()?),
        selection => Ok(in_selection(dataset, &shape, &selection)?.len() as u64),
    }
}

/// The chunk at a position among those that have storage and are touched by a selection.
pub fn at_position(handle: &Handle, space: Option<Hid>, position: u64) -> Result<ChunkInfo> {
    let dataset = of(handle)?;
    let shape = chunk_shape(handle)?;
    let selection = match file_selection(dataset, space)?.0 {
        Selection::All => return Ok(dataset.dataset.chunk_at(position)?),
        selection => selection,
    };
    let found = in_selection(dataset, &shape, &selection)?;
    let offset = usize::try_from(position).ok().and_then(|n| found.get(n));
    let offset = offset.ok_or_else(|| Error::new(Minor::BadRange, "chunk index is out of range"))?;
    let chunk = dataset.dataset.chunk_at_coords(offset)?;
    chunk.ok_or_else(|| Error::new(Minor::NotFound, "the chunk is gone"))
}

/// Shows each chunk that has storage, until `show` answers something else than 0. What is shown to may close the
/// dataset, and its file: the handle is not looked at again.
pub fn each(handle: &Handle, mut show: impl FnMut(&ChunkInfo) -> c_int) -> Result<c_int> {
    chunk_shape(handle)?;
    let open = of(handle)?;
    let (_session, dataset) = (open.base.session.clone(), open.dataset.clone());
    for offset in dataset.chunk_offsets()? {
        // What was shown may have removed others.
        let Some(chunk) = dataset.chunk_at_coords(&offset)? else { continue };
        let answer = show(&chunk);
        if answer != 0 {
            return Ok(answer);
        }
    }
    Ok(0)
}

/// The chunk that holds the element at `coordinates`, if it has storage.
pub fn at(handle: &Handle, coordinates: &[u64]) -> Result<Option<ChunkInfo>> {
    let shape = chunk_shape(handle)?;
    Ok(of(handle)?.dataset.chunk_at_coords(&origin(coordinates, &shape))?)
}

/// Whether a dataset is one sequence of bytes that has storage.
pub fn is_one_piece(handle: &Handle) -> Result<bool> {
    let dataset = &of(handle)?.dataset;
    Ok(matches!(dataset.layout(), Layout::Contiguous) && dataset.space_status()? != SpaceStatus::NotAllocated)
}

/// Whether any chunk has storage.
pub fn any(handle: &Handle) -> Result<bool> {
    Ok(of(handle)?.dataset.has_chunks()?)
}

/// A chunk as it is stored. `coordinates` are those of its first element.
pub fn stored<'a>(handle: &'a Handle, coordinates: &[u64]) -> Result<StoredChunk<'a>> {
    let shape = chunk_shape(handle)?;
    check_origin(coordinates, &shape)?;
    let dataset = of(handle)?;
    dataset.base.session.before_read(&dataset.dataset, &whole(coordinates, &shape))?;
    Ok(dataset.dataset.stored_chunk(coordinates)?)
}

/// Stores a chunk as it is given, past the filters.
pub fn write(handle: &Handle, coordinates: &[u64], mask: u32, data: &[u8]) -> Result<()> {
    check_origin(coordinates, &chunk_shape(handle)?)?;
    let dataset = of(handle)?;
    dataset.dataset.write_chunk(coordinates, mask, data)?;
    dataset.base.session.after_write(&dataset.dataset, &whole(coordinates, &chunk_shape(handle)?))
}

/// All elements of a chunk.
fn whole(coordinates: &[u64], shape: &[u64]) -> Selection {
    let ones = vec![1; shape.len()];
    Selection::Hyperslab {
        start: coordinates.to_vec(),
        stride: ones.clone(),
        count: ones,
        block: shape.to_vec(),
    }
}

fn chunk_shape(handle: &Handle) -> Result<Vec<u64>> {
    match of(handle)?.dataset.layout() {
        Layout::Chunked { chunk } => Ok(chunk.clone()),
        _ => Err(Error::new(Minor::BadType, "not a chunked dataset")),
    }
}

fn origin(coordinates: &[u64], shape: &[u64]) -> Vec<u64> {
    coordinates.iter().zip(shape).map(|(c, size)| c - c % size).collect()
}

fn check_origin(coordinates: &[u64], shape: &[u64]) -> Result<()> {
    if origin(coordinates, shape) == coordinates {
        return Ok(());
    }
    Err(Error::new(Minor::BadValue, "the offset is not the first element of a chunk"))
}

/// Whether any selected element lies in the chunk at `offset`.
fn touches(selection: &Selection, offset: &[u64], shape: &[u64], dims: &[u64]) -> bool {
    match selection {
        Selection::All => true,
        Selection::None => false,
        Selection::Hyperslab { start, stride, count, block } => {
            offset.iter().enumerate().all(|(d, first)| {
                let (first, last) = (*first, first + shape[d] - 1);
                // The first block that ends at or behind the chunk's first element must begin before its last.
                let skip = first.saturating_sub(start[d] + block[d] - 1).div_ceil(stride[d].max(1));
                skip < count[d] && start[d] + skip * stride[d] <= last
            })
        }
        Selection::Runs(runs) => {
            runs.iter().any(|run| run_touches(run.offset, run.count, offset, shape, dims))
        }
    }
}

fn run_touches(mut element: u64, mut left: u64, offset: &[u64], shape: &[u64], dims: &[u64]) -> bool {
    let Some(row) = dims.last().copied().filter(|row| *row > 0) else { return false };
    while left > 0 {
        let count = left.min(row - element % row);
        let mut rest = element;
        let inside = (0..dims.len()).rev().all(|d| {
            let coordinate = rest % dims[d];
            rest /= dims[d];
            let span = if d + 1 == dims.len() { count } else { 1 };
            coordinate < offset[d] + shape[d] && coordinate + span > offset[d]
        });
        if inside {
            return true;
        }
        element += count;
        left -= count;
    }
    false
}

/// Bytes that the variable-length data of the selected elements takes in memory (`H5Dvlen_get_buf_size`): found
/// by converting the elements and counting what libhdf5 allocates.
pub fn variable_length_bytes(handle: &Handle, memory_type: Hid, space: Hid) -> Result<u64> {
    let dataset = of(handle)?;
    let types = types_of(dataset)?;
    let library = dataset.base.session.library;
    let (selection, points) = file_selection(dataset, Some(space).filter(|space| *space != 0))?;
    let count = usize::try_from(points).map_err(|_| Error::argument("too many elements"))?;
    let size = library.type_size(memory_type)?;
    let mut packed = buffer_of(count, types.size.max(size))?;
    dataset.dataset.read(&selection, &mut packed[..count * types.size])?;
    let mut background = buffer_of(count, size)?;
    library.count_allocations(|transfer| {
        let session = &dataset.base.session;
        types.to_memory(session, None, memory_type, count, &mut packed, Some(&mut background), transfer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use h5lake_container::Run;

    #[test]
    fn a_strided_selection_can_pass_between_chunks() {
        let slab = Selection::Hyperslab { start: vec![0], stride: vec![10], count: vec![3], block: vec![2] };
        let touched = |first: u64| touches(&slab, &[first], &[4], &[40]);
        assert_eq!(
            (0..10).map(|n| touched(4 * n)).collect::<Vec<_>>(),
            [true, false, true, false, false, true, false, false, false, false]
        );
    }

    #[test]
    fn runs_cross_rows() {
        let runs = Selection::Runs(vec![Run { offset: 9, count: 2 }]);
        assert!(touches(&runs, &[0, 8], &[4, 4], &[10, 10]));
        assert!(touches(&runs, &[0, 0], &[4, 4], &[10, 10]));
        assert!(!touches(&runs, &[0, 4], &[4, 4], &[10, 10]));
        assert!(!touches(&runs, &[4, 0], &[4, 4], &[10, 10]));
    }
}
