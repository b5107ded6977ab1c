//! Dataspaces and selections.

use std::ops::Deref;

use h5lake_container::{Dataspace, Run, Selection};

use crate::error::{Error, Major, Minor, Result};
use crate::hdf5::datatype::{check, truth};
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};

/// The number of sequences fetched from a selection iterator at first: most selections have few.
const FIRST_SEQUENCES: usize = 16;
/// The number of sequences fetched at once from then on.
const SEQUENCES: usize = 1024;
/// The most coordinates of a point selection that are queried at once. Longer selections go through the iterator,
/// which copies them as they are stored.
const COORDINATES: usize = 1 << 20;
/// `H5S_MAX_RANK`.
pub const MAX_RANK: usize = 32;

/// The dimensions of a dataspace.
#[derive(Debug, Clone, Copy)]
pub struct Dims {
    sizes: [u64; MAX_RANK],
    rank: usize,
}

impl Deref for Dims {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.sizes[..self.rank]
    }
}

/// Appends a run, or extends the last run if the new one continues it.
fn join(runs: &mut Vec<Run>, offset: u64, count: u64) {
    match runs.last_mut() {
        Some(last) if last.offset + last.count == offset => last.count += count,
        _ => runs.push(Run { offset, count }),
    }
}

/// Returns the box between two corners, including both.
fn box_between(low: &[u64], high: &[u64]) -> Selection {
    let ones = vec![1; low.len()];
    let count = low.iter().zip(high).map(|(low, high)| high.wrapping_sub(*low).wrapping_add(1)).collect();
    Selection::Hyperslab { start: low.to_vec(), stride: ones.clone(), count, block: ones }
}

fn lost_elements() -> Error {
    let text = "libhdf5 has lost elements of this union of hyperslabs: select one hyperslab, or points";
    Error::new(Minor::BadValue, text).in_class(Major::Dataspace)
}

impl Library {
    /// Makes a scalar dataspace.
    pub fn scalar_space(self) -> Result<Id> {
        // SAFETY: H5S_SCALAR is 0.
        Id::from_call(
            self,
            unsafe { (self.table().H5Screate)(h5lake_plugin_abi::bindings::H5S_SCALAR) },
            "H5Screate",
        )
    }

    /// Makes the HDF5 dataspace of an extent, with everything selected.
    pub fn space_of(self, space: &Dataspace) -> Result<Id> {
        use h5lake_plugin_abi::bindings as sys;
        match space {
            Dataspace::Scalar => self.scalar_space(),
            Dataspace::Null => {
                // SAFETY: a constant class.
                Id::from_call(self, unsafe { (self.table().H5Screate)(sys::H5S_NULL) }, "H5Screate")
            }
            Dataspace::Simple { dims, max } => {
                let rank = i32::try_from(dims.len()).map_err(|_| Error::argument("too many dimensions"))?;
                // SAFETY: both arrays have `rank` entries.
                let id = unsafe { (self.table().H5Screate_simple)(rank, dims.as_ptr(), max.as_ptr()) };
                Id::from_call(self, id, "H5Screate_simple")
            }
        }
    }

    /// Returns the extent of an HDF5 dataspace.
    pub fn extent_of(self, id: Hid) -> Result<Dataspace> {
        let extent = self.extent_if_any(id)?;
        extent.ok_or_else(|| Error::new(Minor::BadType, "not a dataspace").in_class(Major::Dataspace))
    }

    /// Returns the dimensions of a dataspace; a scalar or null one has none.
    ///
    /// # Errors
    /// If it is no dataspace, or has no extent.
    pub fn dims_of(self, id: Hid) -> Result<Dims> {
        let mut sizes = [0; MAX_RANK];
        // SAFETY: no dataspace has more dimensions. Any value may be given as identifier; a bad one is negative.
        let rank =
            unsafe { (self.table().H5Sget_simple_extent_dims)(id, sizes.as_mut_ptr(), std::ptr::null_mut()) };
        match usize::try_from(rank) {
            Ok(rank) if rank <= MAX_RANK => Ok(Dims { sizes, rank }),
            _ => Err(Error::new(Minor::BadType, "not a dataspace").in_class(Major::Dataspace)),
        }
    }

    /// Returns the extent of an HDF5 dataspace, which may have none (`H5Sset_extent_none`).
    pub fn extent_if_any(self, id: Hid) -> Result<Option<Dataspace>> {
        use h5lake_plugin_abi::bindings as sys;
        let (mut dims, mut max) = ([0; MAX_RANK], [0; MAX_RANK]);
        // SAFETY: no dataspace has more dimensions. Any value may be given as identifier; a bad one is negative.
        let rank =
            unsafe { (self.table().H5Sget_simple_extent_dims)(id, dims.as_mut_ptr(), max.as_mut_ptr()) };
        match usize::try_from(rank) {
            Ok(rank @ 1..=MAX_RANK) => {
                return Ok(Some(Dataspace::Simple {
                    dims: dims[..rank].to_vec(),
                    max: max[..rank].to_vec(),
                }));
            }
            Ok(_) => {}
            Err(_) => return Ok(None),
        }
        // SAFETY: any value may be given.
        Ok(match unsafe { (self.table().H5Sget_simple_extent_type)(id) } {
            sys::H5S_SCALAR => Some(Dataspace::Scalar),
            sys::H5S_NULL => Some(Dataspace::Null),
            sys::H5S_SIMPLE => Some(Dataspace::Simple { dims: Vec::new(), max: Vec::new() }),
            _ => None,
        })
    }

    /// Returns whether a dataspace has an extent at all (`H5Screate(H5S_SIMPLE)` alone gives none).
    pub fn has_extent(self, id: Hid) -> Result<bool> {
        // SAFETY: any value may be given; a bad one is negative.
        let rank = unsafe { (self.table().H5Sget_simple_extent_ndims)(id) };
        Ok(rank >= 0)
    }

    /// Returns the number of selected elements.
    pub fn selected_points(self, id: Hid) -> Result<u64> {
        // SAFETY: any value may be given; a bad one is negative.
        let points = unsafe { (self.table().H5Sget_select_npoints)(id) };
        u64::try_from(points).map_err(|_| Error::call("H5Sget_select_npoints"))
    }

    /// Returns the number of elements in the extent.
    pub fn extent_points(self, id: Hid) -> Result<u64> {
        // SAFETY: any value may be given; a bad one is negative.
        let points = unsafe { (self.table().H5Sget_simple_extent_npoints)(id) };
        u64::try_from(points).map_err(|_| Error::call("H5Sget_simple_extent_npoints"))
    }

    /// Returns whether the selection is inside the extent.
    pub fn selection_is_valid(self, id: Hid) -> Result<bool> {
        // SAFETY: any value may be given; a bad one is negative.
        truth(unsafe { (self.table().H5Sselect_valid)(id) }, "H5Sselect_valid")
    }

    /// Returns whether everything is selected, but not by a hyperslab.
    pub fn is_all_selected(self, id: Hid) -> Result<bool> {
        // SAFETY: any value may be given; a bad one is an error.
        match unsafe { (self.table().H5Sget_select_type)(id) } {
            h5lake_plugin_abi::bindings::H5S_SEL_ALL => Ok(true),
            h5lake_plugin_abi::bindings::H5S_SEL_ERROR => Err(Error::call("H5Sget_select_type")),
            _ => Ok(false),
        }
    }

    /// Returns the selection in a dataspace of the extent `dims`, in the container's form, and the number of selected
    /// elements. Regular hyperslabs are given by their parameters, every other selection by runs of elements.
    ///
    /// # Errors
    /// For a dataspace of another rank; for a selection that is partly outside of the extent.
    pub fn selection_of(self, id: Hid, dims: &[u64]) -> Result<(Selection, u64)> {
        use h5lake_plugin_abi::bindings as sys;
        // libhdf5 writes as many coordinates as the dataspace's own rank.
        if self.dims_of(id)?.len() != dims.len() {
            return Err(
                Error::new(Minor::BadValue, "the dataspace has another rank").in_class(Major::Dataspace)
            );
        }
        // SAFETY: any value may be given; a bad one is an error.
        let kind = unsafe { (self.table().H5Sget_select_type)(id) };
        let points = self.selected_points(id)?;
        if points == 0 {
            return Ok((Selection::None, 0));
        }
        if kind == sys::H5S_SEL_HYPERSLABS
            && let Some(found) = self.regular_hyperslab(id, dims, points)?
        {
            return Ok((found, points));
        }
        if !self.selection_is_valid(id)? {
            return Err(Error::new(
                Minor::BadRange,
                "the selection (with its offset) lies outside the extent",
            )
            .in_class(Major::Dataspace));
        }
        match kind {
            sys::H5S_SEL_ALL => Ok((Selection::All, points)),
            sys::H5S_SEL_NONE => Ok((Selection::None, points)),
            sys::H5S_SEL_POINTS => {
                let coordinates = usize::try_from(points).ok().and_then(|n| n.checked_mul(dims.len()));
                let runs = match coordinates.filter(|n| *n <= COORDINATES) {
                    Some(coordinates) => self.runs_of_points(id, dims, points, coordinates)?,
                    None => self.runs_of(id)?,
                };
                Ok((Selection::Runs(runs), points))
            }
            sys::H5S_SEL_HYPERSLABS => Ok((Selection::Runs(self.runs_of(id)?), points)),
            _ => Err(Error::call("H5Sget_select_type").in_class(Major::Dataspace)),
        }
    }

    /// Returns the first and last coordinates of the selection, including its offset (`H5Soffset_simple`).
    ///
    /// # Errors
    /// If nothing is selected, or the offset moves the selection below zero.
    pub fn bounds(self, id: Hid) -> Result<[[u64; MAX_RANK]; 2]> {
        let (mut low, mut high) = ([0; MAX_RANK], [0; MAX_RANK]);
        // SAFETY: no dataspace has more dimensions.
        let result = unsafe { (self.table().H5Sget_select_bounds)(id, low.as_mut_ptr(), high.as_mut_ptr()) };
        check(result, "H5Sget_select_bounds")?;
        Ok([low, high])
    }

    fn is_regular(self, id: Hid) -> Result<bool> {
        // SAFETY: the selection is a hyperslab.
        truth(unsafe { (self.table().H5Sis_regular_hyperslab)(id) }, "H5Sis_regular_hyperslab")
    }

    /// Returns a regular hyperslab with elements; `None` if the selection is not regular, or may be partly outside of
    /// the extent.
    fn regular_hyperslab(self, id: Hid, dims: &[u64], points: u64) -> Result<Option<Selection>> {
        let Ok([low, high]) = self.bounds(id) else { return Ok(None) };
        if high.iter().zip(dims).any(|(high, dim)| high >= dim) {
            return Ok(None);
        }
        let rank = dims.len().min(MAX_RANK);
        let (low, high) = (&low[..rank], &high[..rank]);
        // A single element is at the bounds. For several, libhdf5 may hold bounds that exclude some of them.
        if points == 1 {
            return Ok(Some(box_between(low, high)));
        }
        let Some([_, stride, count, block]) = self.parameters(id, rank, points)? else { return Ok(None) };
        // Most selections are a box, which contains all elements between the bounds.
        let mut sizes = low.iter().zip(high).map(|(low, high)| high.wrapping_sub(*low).wrapping_add(1));
        if sizes.try_fold(1, u64::checked_mul) == Some(points) {
            return Ok(Some(box_between(low, high)));
        }
        let [stride, count, block] = [stride, count, block].map(|p| p[..rank].to_vec());
        Ok(Some(Selection::Hyperslab { start: low.to_vec(), stride, count, block }))
    }

    /// Returns start, stride, count and block of a hyperslab of `points` elements; `None` if it is not regular.
    ///
    /// # Errors
    /// If libhdf5 holds parameters with another number of elements. Some unions of regular hyperslabs lead to that
    /// (`H5S__hyper_update_diminfo` of 1.14.6): libhdf5 then leaves elements out, and takes wrong ones.
    fn parameters(self, id: Hid, rank: usize, points: u64) -> Result<Option<[[u64; MAX_RANK]; 4]>> {
        if !self.is_regular(id)? {
            return Ok(None);
        }
        let mut parameters = [[0_u64; MAX_RANK]; 4];
        let [start, stride, count, block] = &mut parameters;
        // SAFETY: no dataspace has more dimensions.
        let result = unsafe {
            (self.table().H5Sget_regular_hyperslab)(
                id,
                start.as_mut_ptr(),
                stride.as_mut_ptr(),
                count.as_mut_ptr(),
                block.as_mut_ptr(),
            )
        };
        check(result, "H5Sget_regular_hyperslab")?;
        let mut sizes = count.iter().zip(&*block).take(rank).flat_map(|(count, block)| [*count, *block]);
        match sizes.try_fold(1, u64::checked_mul) == Some(points) {
            true => Ok(Some(parameters)),
            false => Err(lost_elements()),
        }
    }

    /// Checks a selection that is transferred by its sequences, or stored.
    ///
    /// # Errors
    /// For a hyperslab for which libhdf5 holds parameters with another number of elements; for an unlimited one.
    pub fn check_parameters(self, id: Hid) -> Result<()> {
        // SAFETY: any value may be given; a bad one has another kind.
        let kind = unsafe { (self.table().H5Sget_select_type)(id) };
        if kind != h5lake_plugin_abi::bindings::H5S_SEL_HYPERSLABS {
            return Ok(());
        }
        let (rank, points) = (self.dims_of(id)?.len(), self.selected_points(id)?);
        self.parameters(id, rank, points).map(drop)
    }

    /// Returns the selection as runs of elements of the linearised extent, in selection order.
    ///
    /// # Errors
    /// As for [`Self::check_parameters`].
    pub fn runs_of(self, id: Hid) -> Result<Vec<Run>> {
        self.check_parameters(id)?;
        let mut runs: Vec<Run> = Vec::new();
        self.each_sequence(id, |offset, count| join(&mut runs, offset, count))?;
        Ok(runs)
    }

    /// Returns the runs of a point selection in an extent of these dimensions.
    fn runs_of_points(self, id: Hid, dims: &[u64], points: u64, coordinates: usize) -> Result<Vec<Run>> {
        let mut list = vec![0_u64; coordinates];
        // SAFETY: the list has space for the coordinates of all points.
        let result = unsafe { (self.table().H5Sget_select_elem_pointlist)(id, 0, points, list.as_mut_ptr()) };
        check(result, "H5Sget_select_elem_pointlist")?;
        // The list does not include the selection's offset; the bounds do.
        let [mut offset, _] = self.bounds(id)?;
        for (d, offset) in offset.iter_mut().enumerate().take(dims.len()) {
            let least = list.iter().skip(d).step_by(dims.len()).min();
            *offset = offset.wrapping_sub(least.copied().unwrap_or_default());
        }
        let mut runs: Vec<Run> = Vec::new();
        for point in list.chunks_exact(dims.len()) {
            let place = point.iter().zip(&offset).map(|(at, by)| at.wrapping_add(*by));
            let offset = place.zip(dims).fold(0_u64, |n, (at, dim)| n.wrapping_mul(*dim).wrapping_add(at));
            join(&mut runs, offset, 1);
        }
        Ok(runs)
    }

    /// Calls `visit` with offset and length, in elements, of every sequence of the selection.
    fn each_sequence(self, id: Hid, mut visit: impl FnMut(u64, u64)) -> Result<()> {
        let table = self.table();
        // SAFETY: with an element size of one byte all numbers count elements.
        let iterator = unsafe { (table.H5Ssel_iter_create)(id, 1, 0) };
        let iterator = Id::from_call(self, iterator, "H5Ssel_iter_create")?;
        let (mut offsets, mut lengths) = (vec![0_u64; FIRST_SEQUENCES], vec![0_usize; FIRST_SEQUENCES]);
        loop {
            let (mut sequences, mut elements) = (0_usize, 0_usize);
            // SAFETY: both arrays have as many entries as is passed.
            let result = unsafe {
                (table.H5Ssel_iter_get_seq_list)(
                    iterator.get(),
                    offsets.len(),
                    usize::MAX / 2,
                    &mut sequences,
                    &mut elements,
                    offsets.as_mut_ptr(),
                    lengths.as_mut_ptr(),
                )
            };
            check(result, "H5Ssel_iter_get_seq_list")?;
            if sequences == 0 {
                return Ok(());
            }
            for (offset, length) in offsets.iter().zip(&lengths).take(sequences) {
                visit(*offset, *length as u64);
            }
            if sequences == offsets.len() {
                offsets.resize(SEQUENCES, 0);
                lengths.resize(SEQUENCES, 0);
            }
        }
    }
}

/// Returns the unlimited dimension, if exactly one dimension is unlimited and it is not the first: then an extensible
/// array has its dimensions in another order.
pub fn later_unlimited_dimension(most: &[u64]) -> Option<usize> {
    let mut unlimited = most.iter().enumerate().filter(|(_, size)| **size == u64::MAX);
    let (n, _) = unlimited.next().filter(|(n, _)| *n > 0)?;
    unlimited.next().is_none().then_some(n)
}
