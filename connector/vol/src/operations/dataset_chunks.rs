//! Chunks of a dataset, and sizes that are determined by reading.

use std::ffi::c_int;

use h5lake_container::{ChunkInfo, Layout, Run, Selection, SpaceStatus, StoredChunk};

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::handles::open_objects::DatasetHandle;
use crate::hdf5::library::Hid;
use crate::operations::dataset::{self, FileSelection, file_selection, of};
use crate::transfer::buffers::buffer_of;
use crate::transfer::memory::region::MemoryRegion;

/// Returns the number of chunks that have storage.
pub fn count(handle: &Handle) -> Result<u64> {
    chunk_shape(handle)?;
    Ok(looked_at(handle)?.dataset.chunk_count()?)
}

/// Returns the chunk at a position among those that had storage when they were counted.
pub fn at_position(handle: &Handle, position: u64) -> Result<ChunkInfo> {
    chunk_shape(handle)?;
    Ok(of(handle)?.dataset.chunk_at(position)?)
}

/// Passes each chunk that has storage to `show`, until `show` returns a value other than 0. `show` may close the
/// dataset, and its file: the handle is not used again.
pub fn each(handle: &Handle, mut show: impl FnMut(&ChunkInfo) -> c_int) -> Result<c_int> {
    chunk_shape(handle)?;
    let open = looked_at(handle)?;
    let (_session, dataset) = (open.base.session.clone(), open.dataset.clone());
    let mut chunks = dataset.chunks()?;
    while let Some(chunk) = chunks.next_chunk()? {
        let answer = show(&chunk);
        if answer != 0 {
            return Ok(answer);
        }
    }
    Ok(0)
}

/// Returns the chunk that contains the element at `coordinates`, if it has storage.
pub fn at(handle: &Handle, coordinates: &[u64]) -> Result<Option<ChunkInfo>> {
    let shape = chunk_shape(handle)?;
    Ok(looked_at(handle)?.dataset.chunk_at_coords(&origin(coordinates, &shape))?)
}

/// Returns whether a dataset is one sequence of bytes that has storage.
pub fn is_one_piece(handle: &Handle) -> Result<bool> {
    let is_contiguous = matches!(of(handle)?.dataset.layout(), Layout::Contiguous);
    Ok(is_contiguous && space_status(handle)? != SpaceStatus::NotAllocated)
}

/// Returns whether any chunk has storage.
pub fn any(handle: &Handle) -> Result<bool> {
    Ok(looked_at(handle)?.dataset.has_chunks()?)
}

/// Returns the size of the storage (`H5Dget_storage_size`).
pub fn storage_size(handle: &Handle) -> Result<u64> {
    Ok(looked_at(handle)?.dataset.storage_size()?)
}

/// Returns the state of the storage (`H5Dget_space_status`).
pub fn space_status(handle: &Handle) -> Result<SpaceStatus> {
    Ok(looked_at(handle)?.dataset.space_status()?)
}

/// Returns the dataset, after moving to the commits of other processes that have the file open together.
fn looked_at(handle: &Handle) -> Result<&DatasetHandle> {
    let dataset = of(handle)?;
    dataset.base.session.observe_remote_commits()?;
    Ok(dataset)
}

/// Returns a chunk as it is stored. `coordinates` are those of its first element.
pub fn stored<'a>(handle: &'a Handle, coordinates: &[u64]) -> Result<StoredChunk<'a>> {
    let shape = chunk_shape(handle)?;
    check_origin(coordinates, &shape)?;
    let dataset = of(handle)?;
    dataset.base.session.before_read(&dataset.dataset, &whole(coordinates, &shape))?;
    Ok(dataset.dataset.stored_chunk(coordinates)?)
}

/// Stores a chunk as it is given, without running the filters.
pub fn write(handle: &Handle, coordinates: &[u64], mask: u32, data: &[u8]) -> Result<()> {
    let shape = chunk_shape(handle)?;
    check_origin(coordinates, &shape)?;
    let dataset = of(handle)?;
    let done = dataset.dataset.write_chunk(coordinates, mask, data).map_err(Error::from);
    dataset.base.session.after_write(&dataset.dataset, &whole(coordinates, &shape), done)
}

/// Returns the selection of all elements of a chunk.
fn whole(coordinates: &[u64], shape: &[u64]) -> Selection {
    let ones = vec![1; shape.len()];
    Selection::Hyperslab {
        start: coordinates.to_vec(),
        stride: ones.clone(),
        count: ones,
        block: shape.to_vec(),
    }
}

/// Checks that a dataset has chunks.
///
/// # Errors
/// If it has another layout.
pub fn check_chunked(handle: &Handle) -> Result<()> {
    chunk_shape(handle).map(drop)
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

/// Returns the number of bytes of memory that the variable-length data of the selected elements requires (`H5Dvlen_get_buf_size`). Reads
/// the elements, wherever they are stored, and counts the allocations.
pub fn variable_length_bytes(handle: &Handle, memory_type: Hid, space: Hid) -> Result<u64> {
    let dataset = of(handle)?;
    let library = dataset.base.session.library;
    let space = Some(space).filter(|space| *space != 0);
    let (selection, points) = file_selection(dataset, space)?;
    let count = usize::try_from(points).map_err(|_| Error::argument("too many elements"))?;
    let size = library.type_size(memory_type)?;
    let mut elements = buffer_of(count, size)?;
    let (all, selected) = (vec![Run { offset: 0, count: points }], FileSelection { selection, space });
    MemoryRegion::within(&mut elements, size, all, |region| {
        library.count_allocations(|transfer| dataset::read(dataset, memory_type, region, &selected, transfer))
    })
}
