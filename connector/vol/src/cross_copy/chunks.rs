//! Finds the chunks of a dataset that were written: a copy has no other chunks.

use std::ffi::{c_int, c_uint, c_void};

use h5lake_plugin_abi::bindings as sys;

use super::CrossCopier;
use super::values::advance;
use crate::error::Result;
use crate::hdf5::dataspace::later_unlimited_dimension;
use crate::hdf5::id::Id;
use crate::hdf5::library::Hid;

/// The most chunks that are queried one by one.
const MOST_ASKED: u64 = 1 << 20;

impl CrossCopier {
    /// Returns the first elements of the written chunks of a dataset; `None` if it has no chunks, or all of them are
    /// written.
    pub(super) fn written_chunks(
        &self,
        dataset: Hid,
        space: &Id,
        extent: &[u64],
        chunk: &[u64],
    ) -> Result<Option<Vec<Vec<u64>>>> {
        if chunk.is_empty() || chunk.len() != extent.len() || chunk.contains(&0) {
            return Ok(None);
        }
        let all = extent.iter().zip(chunk).fold(1_u64, |n, (size, of)| n.saturating_mul(size.div_ceil(*of)));
        let mut written = 0;
        // SAFETY: the answer's place outlives the call.
        self.ok(unsafe { (self.table().H5Dget_num_chunks)(dataset, sys::H5S_ALL as Hid, &mut written) })?;
        if written >= all {
            return Ok(None);
        }
        if later_unlimited_dimension(self.library.extent_of(space.get())?.max_dims()).is_some() {
            // A native index that swaps dimensions reports coordinates in its own order.
            return if all <= MOST_ASKED {
                self.ask_each(dataset, extent, chunk).map(Some)
            } else {
                Ok(None)
            };
        }
        let mut found = FoundChunks { rank: extent.len(), starts: Vec::new() };
        let place: *mut FoundChunks = &mut found;
        // SAFETY: the callback gets the place, which outlives the call.
        self.ok(unsafe {
            (self.table().H5Dchunk_iter)(dataset, sys::H5P_DEFAULT, Some(note), place.cast())
        })?;
        found.starts.retain(|start| start.iter().zip(extent).all(|(at, size)| at < size));
        Ok(Some(found.starts))
    }

    fn ask_each(&self, dataset: Hid, extent: &[u64], chunk: &[u64]) -> Result<Vec<Vec<u64>>> {
        let (mut start, mut starts) = (vec![0_u64; extent.len()], Vec::new());
        loop {
            let (mut mask, mut address, mut size) = (0, 0, 0);
            // SAFETY: the offset has an entry for each dimension; the answers' places outlive the call.
            self.ok(unsafe {
                (self.table().H5Dget_chunk_info_by_coord)(
                    dataset,
                    start.as_ptr(),
                    &mut mask,
                    &mut address,
                    &mut size,
                )
            })?;
            if size > 0 {
                starts.push(start.clone());
            }
            if !advance(&mut start, chunk, extent) {
                return Ok(starts);
            }
        }
    }
}

struct FoundChunks {
    rank: usize,
    starts: Vec<Vec<u64>>,
}

unsafe extern "C" fn note(
    offset: *const sys::hsize_t,
    _mask: c_uint,
    _address: sys::haddr_t,
    _size: sys::hsize_t,
    place: *mut c_void,
) -> c_int {
    // SAFETY: the place is the one that was passed along; the offset has an entry for each dimension.
    unsafe {
        let found = &mut *place.cast::<FoundChunks>();
        found.starts.push(std::slice::from_raw_parts(offset, found.rank).to_vec());
    }
    0
}
