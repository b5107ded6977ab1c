//! Selections as sets: clipped, projected onto one another, stored.

use h5lake_container::encoded::check_dataspace;
use h5lake_container::{Dataspace, UNLIMITED};
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Major, Minor, Result};
use crate::hdf5::dataspace::MAX_RANK;
use crate::hdf5::datatype::{check, truth};
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};

/// A regular hyperslab, which may be unlimited along one dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlimited {
    /// The unlimited dimension, if there is one.
    pub dimension: usize,
    /// The first element of the first block.
    pub start: Vec<u64>,
    /// The distance from block to block.
    pub stride: Vec<u64>,
    /// The number of blocks.
    pub count: Vec<u64>,
    /// The size of a block.
    pub block: Vec<u64>,
}

impl Library {
    /// Makes a copy of a dataspace with its selection.
    pub fn copy_space(self, id: Hid) -> Result<Id> {
        // SAFETY: any value may be given; a bad one is an error.
        Id::from_call(self, unsafe { (self.table().H5Scopy)(id) }, "H5Scopy")
    }

    /// Decodes a dataspace encoded by [`Library::encode_space`].
    pub fn decode_space(self, encoded: &[u8]) -> Result<Id> {
        check_dataspace(encoded).map_err(|why| Error::damaged_encoding("selection", why))?;
        // SAFETY: the encoding is a sound one and ends within its bytes: it was just checked.
        Id::from_call(self, unsafe { (self.table().H5Sdecode)(encoded.as_ptr().cast()) }, "H5Sdecode")
    }

    /// Moves a selection by its offset (`H5Soffset_simple`), and clears the offset.
    pub fn without_offset(self, space: &Id) -> Result<()> {
        let table = self.table();
        // SAFETY: any value may be given; a bad one is an error.
        let kind = unsafe { (table.H5Sget_select_type)(space.get()) };
        if kind != sys::H5S_SEL_HYPERSLABS {
            return Ok(());
        }
        let rank = self.extent_of(space.get())?.dims().len();
        let before = self.selection_bounds(space, rank)?.0;
        let zeros = vec![0_i64; rank];
        // SAFETY: the array has `rank` entries.
        check(unsafe { (table.H5Soffset_simple)(space.get(), zeros.as_ptr()) }, "H5Soffset_simple")?;
        let after = self.selection_bounds(space, rank)?.0;
        if before == after {
            return Ok(());
        }
        // The function subtracts these values.
        let moved: Vec<i64> = after.iter().zip(&before).map(|(a, b)| a.wrapping_sub(*b) as i64).collect();
        // SAFETY: the array has `rank` entries.
        check(unsafe { (table.H5Sselect_adjust)(space.get(), moved.as_ptr()) }, "H5Sselect_adjust")
    }

    /// Returns the first and last coordinates of the selection, which must not be empty.
    pub fn selection_bounds(self, space: &Id, rank: usize) -> Result<(Vec<u64>, Vec<u64>)> {
        let [low, high] = self.bounds(space.get())?.map(|at| at[..rank.min(MAX_RANK)].to_vec());
        Ok((low, high))
    }

    /// Returns whether a selection is everything.
    pub fn selects_all(self, space: &Id) -> bool {
        // SAFETY: any value may be given; a bad one is negative.
        unsafe { (self.table().H5Sget_select_type)(space.get()) == sys::H5S_SEL_ALL }
    }

    /// Returns whether a selection consists of single points.
    pub fn selects_points(self, space: &Id) -> bool {
        // SAFETY: any value may be given; a bad one is negative.
        unsafe { (self.table().H5Sget_select_type)(space.get()) == sys::H5S_SEL_POINTS }
    }

    /// Selects points in the order of their coordinates, and replaces the selection. `coordinates` has the coordinates
    /// of one point after those of the other.
    ///
    /// # Errors
    /// For a dataspace without dimensions; for a point outside of the extent.
    pub fn select_points(self, space: &Id, coordinates: &[u64]) -> Result<()> {
        let rank = self.dims_of(space.get())?.len();
        if rank == 0 || !coordinates.len().is_multiple_of(rank) {
            return Err(Error::argument("points have another rank than the dataspace"));
        }
        let (points, operator) = (coordinates.len() / rank, sys::H5S_SELECT_SET);
        // SAFETY: the list has `rank` coordinates for each point.
        let result =
            unsafe { (self.table().H5Sselect_elements)(space.get(), operator, points, coordinates.as_ptr()) };
        check(result, "H5Sselect_elements")
    }

    /// Returns whether a selection is everything or nothing, and so has no bounds of its own.
    pub fn selects_all_or_none(self, space: &Id) -> bool {
        // SAFETY: any value may be given; a bad one is negative.
        let kind = unsafe { (self.table().H5Sget_select_type)(space.get()) };
        kind == sys::H5S_SEL_ALL || kind == sys::H5S_SEL_NONE
    }

    /// Returns the parameters of a selection, if it is unlimited.
    pub fn unlimited_selection(self, space: &Id) -> Result<Option<Unlimited>> {
        let endless = |slab: &Unlimited| {
            let d = slab.dimension;
            slab.count.get(d) == Some(&UNLIMITED) || slab.block.get(d) == Some(&UNLIMITED)
        };
        Ok(self.hyperslab_of(space)?.filter(endless))
    }

    /// Returns the parameters of a selection that is a regular hyperslab.
    pub fn hyperslab_of(self, space: &Id) -> Result<Option<Unlimited>> {
        let table = self.table();
        // SAFETY: any value may be given; a bad one is negative.
        if unsafe { (table.H5Sget_select_type)(space.get()) } != sys::H5S_SEL_HYPERSLABS {
            return Ok(None);
        }
        // SAFETY: the selection is a hyperslab.
        let regular = unsafe { (table.H5Sis_regular_hyperslab)(space.get()) };
        if !truth(regular, "H5Sis_regular_hyperslab")? {
            return Ok(None);
        }
        let rank = self.extent_of(space.get())?.dims().len();
        let [mut start, mut stride, mut count, mut block] = [(); 4].map(|()| vec![0_u64; rank]);
        // SAFETY: all arrays have `rank` entries.
        let result = unsafe {
            (table.H5Sget_regular_hyperslab)(
                space.get(),
                start.as_mut_ptr(),
                stride.as_mut_ptr(),
                count.as_mut_ptr(),
                block.as_mut_ptr(),
            )
        };
        check(result, "H5Sget_regular_hyperslab")?;
        let endless = (0..rank).find(|d| count[*d] == UNLIMITED || block[*d] == UNLIMITED);
        Ok(Some(Unlimited { dimension: endless.unwrap_or(0), start, stride, count, block }))
    }

    /// Gives a dataspace another extent. The selection is unchanged.
    pub fn set_extent_of(self, space: &Id, extent: Hid) -> Result<()> {
        // SAFETY: any values may be given; bad ones are an error.
        check(unsafe { (self.table().H5Sextent_copy)(space.get(), extent) }, "H5Sextent_copy")
    }

    /// Selects a regular hyperslab, and replaces the selection.
    pub fn select_hyperslab(self, space: &Id, slab: &Unlimited) -> Result<()> {
        self.hyperslab(space, sys::H5S_SELECT_SET, slab)
    }

    fn hyperslab(self, space: &Id, operator: sys::H5S_seloper_t, slab: &Unlimited) -> Result<()> {
        let rank = self.extent_of(space.get())?.dims().len();
        if [&slab.start, &slab.stride, &slab.count, &slab.block].iter().any(|list| list.len() != rank) {
            return Err(Error::argument("a selection has another rank than its dataset"));
        }
        // SAFETY: all arrays have `rank` entries.
        let result = unsafe {
            (self.table().H5Sselect_hyperslab)(
                space.get(),
                operator,
                slab.start.as_ptr(),
                slab.stride.as_ptr(),
                slab.count.as_ptr(),
                slab.block.as_ptr(),
            )
        };
        check(result, "H5Sselect_hyperslab")
    }

    /// Restricts a selection to the elements before `sizes`.
    pub fn clip_selection(self, space: &Id, sizes: &[u64]) -> Result<()> {
        if sizes.contains(&0) {
            return self.select_none(space);
        }
        let ones = vec![1; sizes.len()];
        let slab = Unlimited {
            dimension: 0,
            start: vec![0; sizes.len()],
            stride: ones.clone(),
            count: ones,
            block: sizes.to_vec(),
        };
        self.hyperslab(space, sys::H5S_SELECT_AND, &slab)
    }

    /// Selects nothing.
    pub fn select_none(self, space: &Id) -> Result<()> {
        // SAFETY: any value may be given; a bad one is an error.
        check(unsafe { (self.table().H5Sselect_none)(space.get()) }, "H5Sselect_none")
    }

    /// Returns the elements of `onto` that correspond, element by element, to those of `from` which `part` also
    /// selects.
    ///
    /// # Errors
    /// For selections of different numbers of elements, and for points: libhdf5 checks neither, and can end the
    /// process.
    pub fn project(self, from: Hid, onto: Hid, part: Hid) -> Result<Id> {
        let (elements, shown) = (self.selected_points(from)?, self.selected_points(onto)?);
        if elements != shown {
            let text =
                format!("a selection of {elements} elements cannot be mapped onto one of {shown} elements");
            return Err(Error::new(Minor::BadValue, text).in_class(Major::Dataspace));
        }
        // SAFETY: any value may be given; a bad one is negative.
        let has_points = [from, onto, part]
            .iter()
            .any(|id| unsafe { (self.table().H5Sget_select_type)(*id) } == sys::H5S_SEL_POINTS);
        if has_points || self.dims_of(from)?.len() != self.dims_of(part)?.len() {
            return Err(Error::argument("selections of points or of different ranks cannot be projected"));
        }
        // SAFETY: any values may be given; bad ones are an error.
        let id = unsafe { (self.table().H5Sselect_project_intersection)(from, onto, part) };
        Id::from_call(self, id, "H5Sselect_project_intersection")
    }

    /// Makes a one-dimensional dataspace of `count` elements, all selected.
    pub fn row_space(self, count: u64) -> Result<Id> {
        self.space_of(&Dataspace::Simple { dims: vec![count], max: vec![count] })
    }
}
