//! The positions of the raw data of a native file: a list for making a container that refers to the data, in place of
//! copies of elements.

use std::ffi::{c_int, c_uint, c_void};

use h5lake_container::Layout;
use h5lake_container::encoded::check_datatype;
use h5lake_plugin_abi::bindings as sys;

use super::CrossCopier;
use super::place_list::{MAX_RANK, Places};
use super::shapes::Shift;
use super::swapped_coordinates::Swapped;
use crate::error::{Error, Minor, Result};
use crate::hdf5::dataspace::later_unlimited_dimension;
use crate::hdf5::id::Id;
use crate::hdf5::library::Hid;
use crate::transfer::memory::references::MemoryReferences;

/// `HADDR_UNDEF`.
const NO_ADDRESS: u64 = u64::MAX;

/// The treatment of a dataset's elements.
enum Way {
    /// The elements are in the list, or the dataset has no elements.
    Listed,
    /// The elements have to be copied, for this reason.
    Copied(&'static str),
}

impl CrossCopier {
    /// Lists the positions of a dataset's elements. Returns false if the elements have to be copied.
    ///
    /// # Errors
    /// For elements in other files; errors of the library.
    pub(super) fn refer(
        &self,
        places: &Places,
        from: Hid,
        to: Hid,
        datatype: &Id,
        list: &Id,
    ) -> Result<bool> {
        match self.way(places, from, to, datatype, list)? {
            Way::Listed => Ok(true),
            Way::Copied(reason) => {
                places.copied(&self.path_of(from), reason)?;
                Ok(false)
            }
        }
    }

    /// Returns the path of an original: that of the link which is being copied, or otherwise the path that the library
    /// knows.
    pub(super) fn path_of(&self, of: Hid) -> String {
        let path = self.path.borrow();
        if !path.is_empty() {
            return String::from_utf8_lossy(&path).into_owned();
        }
        // SAFETY: the buffer has the size given along.
        let path = self.name(|buffer, size| unsafe { (self.table().H5Iget_name)(of, buffer, size) });
        path.unwrap_or_default().to_string_lossy().into_owned()
    }

    fn way(&self, places: &Places, from: Hid, to: Hid, datatype: &Id, list: &Id) -> Result<Way> {
        let library = self.library;
        let (chunk, files) = match library.layout(list.get())? {
            Layout::Virtual { .. } => return Ok(Way::Listed),
            Layout::Compact => return Ok(Way::Copied("compact")),
            Layout::Chunked { chunk } => (Some(chunk), None),
            Layout::External { files } => (None, Some(files)),
            Layout::Contiguous => (None, None),
        };
        if !self.is_plain(datatype)? {
            return Ok(Way::Copied("variable-length data or references"));
        }
        // SAFETY: identifiers are checked by the library.
        let (made, made_type) = unsafe {
            let made = self.id((self.table().H5Dget_create_plist)(to))?;
            (made, self.id((self.table().H5Dget_type)(to))?)
        };
        if !library.types_equal(datatype.get(), made_type.get())? {
            return Ok(Way::Copied("a type that a new dataset has not alike"));
        }
        if let Some(files) = files {
            places.external(self.number(to)?, &self.path_of(from), &files)?;
            return Ok(Way::Listed);
        }
        let (filters, made_filters) = (library.filters(list.get())?, library.filters(made.get())?);
        let is_same = filters.iter().map(|filter| filter.id).eq(made_filters.iter().map(|filter| filter.id))
            && (chunk.is_none()
                || library.has_unfiltered_edges(list.get())? == library.has_unfiltered_edges(made.get())?);
        if !is_same || library.layout(list.get())? != library.layout(made.get())? {
            return Ok(Way::Copied("filters or chunks that a new dataset has not alike"));
        }
        let id = self.number(to)?;
        if filters != made_filters {
            places.filters(id, &filters)?;
        }
        match chunk {
            Some(chunk) => self.list_chunks(places, from, id, &chunk, None)?,
            None if matches!(self.contiguous_storage(from, datatype)?, ContiguousStorage::Other) => {
                return Ok(Way::Copied("storage of another size than its elements"));
            }
            None => self.list_contiguous(places, from, id, datatype, None)?,
        }
        Ok(Way::Listed)
    }

    /// Returns whether elements of a type are self-contained: they refer to nothing else in their file.
    ///
    /// # Errors
    /// For a type that no container holds; errors of the library.
    pub(super) fn is_plain(&self, datatype: &Id) -> Result<bool> {
        let checked = check_datatype(&self.library.encode_type(datatype.get())?);
        let checked = checked.map_err(|error| Error::new(Minor::BadType, error.to_string()))?;
        Ok(!checked.has_pointers && MemoryReferences::of(self.library, datatype.get())?.is_empty())
    }

    /// Checks that a dataset's elements are in its own file: other datasets cannot be joined.
    pub(super) fn check_is_here(&self, dataset: Hid, layout: &Layout) -> Result<()> {
        let (what, file) = match layout {
            Layout::External { files } => ("external storage", files.first().map(|file| &*file.name)),
            Layout::Virtual { mappings } => {
                ("a virtual layout", mappings.first().map(|mapping| &*mapping.file))
            }
            _ => return Ok(()),
        };
        Err(self.elsewhere(dataset, what, file))
    }

    /// Returns the error for a dataset with elements in another file, to which no reference can be made.
    pub(super) fn elsewhere(&self, dataset: Hid, what: &str, file: Option<&[u8]>) -> Error {
        let file = String::from_utf8_lossy(file.unwrap_or_default()).escape_debug().to_string();
        let text = format!(
            "{} has {what} over '{file}', to which no reference can be made; remove that dataset from a copy of the file, and adopt the copy",
            self.path_of(dataset)
        );
        Error::new(Minor::NotFollowed, text)
    }

    /// Returns the id of an object in the container.
    pub(super) fn number(&self, object: Hid) -> Result<u64> {
        let [a, b, c, d, e, f, g, h, ..] = self.info(object)?.token.__data;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Returns the storage of a contiguous dataset's elements, with libhdf5's addresses.
    pub(super) fn contiguous_storage(&self, from: Hid, datatype: &Id) -> Result<ContiguousStorage> {
        // SAFETY: identifiers are checked by the library.
        let space = self.id(unsafe { (self.table().H5Dget_space)(from) })?;
        let points = self.library.extent_points(space.get())?;
        let bytes = points.checked_mul(self.library.type_size(datatype.get())? as u64);
        // SAFETY: identifiers are checked by the library.
        let (address, length) =
            unsafe { ((self.table().H5Dget_offset)(from), (self.table().H5Dget_storage_size)(from)) };
        Ok(match bytes == Some(length) {
            // The dataset was never written, or has no elements.
            _ if address == NO_ADDRESS || length == 0 => ContiguousStorage::None,
            true => ContiguousStorage::At { address, length },
            false => ContiguousStorage::Other,
        })
    }

    /// Lists elements of a contiguous dataset; `shift` says where they are in a joined dataset.
    pub(super) fn list_contiguous(
        &self,
        places: &Places,
        from: Hid,
        dataset: u64,
        datatype: &Id,
        shift: Option<Shift>,
    ) -> Result<()> {
        let (address, length) = match self.contiguous_storage(from, datatype)? {
            ContiguousStorage::None => return Ok(()),
            ContiguousStorage::At { address, length } => (address, length),
            ContiguousStorage::Other => {
                return Err(Error::new(Minor::BadRange, "storage of another size than its elements"));
            }
        };
        let mut first = Some(0);
        if let Some(shift) = shift {
            // SAFETY: identifiers are checked by the library.
            let space = self.id(unsafe { (self.table().H5Dget_space)(from) })?;
            let (before, size) =
                (shift.elements_before(&self.extent(&space)?), self.library.type_size(datatype.get())?);
            first = before.and_then(|before| before.checked_mul(size as u64));
        }
        let place = address.checked_add(places.shift.get().1);
        let (first, place) = first.zip(place).ok_or_else(beyond)?;
        places.numbers(b'B', &[dataset, first, place, length])
    }

    /// Lists the chunks of a dataset; `shift` says where they are in a joined dataset.
    pub(super) fn list_chunks(
        &self,
        places: &Places,
        from: Hid,
        dataset: u64,
        chunk: &[u64],
        shift: Option<Shift>,
    ) -> Result<()> {
        let table = self.table();
        let mut index = sys::H5D_CHUNK_IDX_BTREE;
        // SAFETY: identifiers are checked by the library; the answer's place outlives the call.
        let space = unsafe {
            self.ok((table.H5Dget_chunk_index_type)(from, &mut index))?;
            self.id((table.H5Dget_space)(from))?
        };
        let most = self.library.extent_of(space.get())?;
        let swapped = match later_unlimited_dimension(most.max_dims()) {
            Some(unlimited) if index == sys::H5D_CHUNK_IDX_EARRAY && places.swaps(self.library)? => {
                Some(Swapped::new(most.max_dims(), chunk, unlimited))
            }
            _ => None,
        };
        let extent = self.extent(&space)?;
        let mut listing = Listing { places, dataset, extent: &extent, swapped, shift, failed: None };
        let place: *mut Listing<'_> = &mut listing;
        // SAFETY: the callback gets the place, which outlives the call.
        let done = unsafe { (table.H5Dchunk_iter)(from, sys::H5P_DEFAULT, Some(list_one), place.cast()) };
        if let Some(error) = listing.failed {
            let _the_error_of_the_list_counts = self.failed();
            return Err(error);
        }
        self.ok(done)
    }
}

/// The storage of a contiguous dataset's elements.
pub(super) enum ContiguousStorage {
    /// The elements have no storage.
    None,
    /// All elements are at this address.
    At { address: u64, length: u64 },
    /// The storage has another size than the elements.
    Other,
}

fn beyond() -> Error {
    Error::new(Minor::BadRange, "an address beyond any file")
}

struct Listing<'a> {
    places: &'a Places,
    dataset: u64,
    extent: &'a [u64],
    swapped: Option<Swapped>,
    shift: Option<Shift>,
    failed: Option<Error>,
}

impl Listing<'_> {
    fn add(&self, offset: &[u64], mask: u32, address: u64, length: u64) -> Result<()> {
        let real = match &self.swapped {
            None => None,
            Some(swapped) => Some(swapped.undo(offset).ok_or_else(|| {
                Error::new(
                    Minor::BadRange,
                    "libhdf5 lists a chunk where none can be; use another one (--library)",
                )
            })?),
        };
        let offset = real.as_deref().unwrap_or(offset);
        if offset.iter().zip(self.extent).any(|(at, size)| at >= size) {
            return Ok(());
        }
        if address == NO_ADDRESS {
            // The chunk was never written.
            return Ok(());
        }
        let address = address.checked_add(self.places.shift.get().0).ok_or_else(beyond)?;
        let moved = self.shift.map(|shift| shift.start(offset));
        let offset = moved.as_deref().unwrap_or(offset);
        let mut numbers = [0; 5 + MAX_RANK];
        let rank = offset.len().min(MAX_RANK);
        numbers[..5].copy_from_slice(&[self.dataset, mask.into(), address, length, rank as u64]);
        numbers[5..5 + rank].copy_from_slice(&offset[..rank]);
        self.places.numbers(b'C', &numbers[..5 + rank])
    }
}

/// # Safety
/// `data` is a [`Listing`], and `offset` has an entry for each dimension.
unsafe extern "C" fn list_one(
    offset: *const sys::hsize_t,
    mask: c_uint,
    address: sys::haddr_t,
    length: sys::hsize_t,
    data: *mut c_void,
) -> c_int {
    // SAFETY: as the function says.
    let (listing, offset) = unsafe {
        let listing = &mut *data.cast::<Listing<'_>>();
        let rank = listing.extent.len();
        (listing, std::slice::from_raw_parts(offset, rank))
    };
    match listing.add(offset, mask, address, length) {
        Ok(()) => 0,
        Err(error) => {
            listing.failed = Some(error);
            -1
        }
    }
}
