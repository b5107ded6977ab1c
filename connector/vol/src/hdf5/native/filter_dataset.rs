//! Native datasets of one chunk, in which libhdf5 sets filters up and runs them.

use std::ffi::c_void;

use h5lake_container::{Dataspace, Filter};
use h5lake_ledger::buffers;
use h5lake_ledger::locks::assert_none_held;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::native::{NativeKind, NativeObject, file_location};

impl Library {
    /// Makes an opaque datatype of `size` bytes.
    pub fn opaque_type(self, size: usize) -> Result<Id> {
        // SAFETY: a constant class; a bad size is an error.
        Id::from_call(self, unsafe { (self.table().H5Tcreate)(sys::H5T_OPAQUE, size) }, "H5Tcreate")
    }

    /// Makes a datatype for an array of `size` bytes.
    pub fn array_of_bytes(self, size: usize) -> Result<Id> {
        let (table, dims) = (self.table(), [size as u64]);
        // SAFETY: there is one dimension; a bad size is an error.
        let made = unsafe { (table.H5Tarray_create2)(table.H5T_NATIVE_UCHAR_g(), 1, dims.as_ptr()) };
        Id::from_call(self, made, "H5Tarray_create2")
    }

    /// Returns whether a filter is registered, or is a plugin that can be loaded.
    pub fn has_filter(self, id: i32) -> bool {
        // SAFETY: any value may be given. Frames that the search for a plugin leaves on the error stack are no error
        // of ours.
        unsafe {
            let found = (self.table().H5Zfilter_avail)(id) > 0;
            (self.table().H5Eclear2)(sys::H5E_DEFAULT);
            found
        }
    }

    /// Returns whether chunks that reach beyond the extent are stored without filters (`H5Pset_chunk_opts`).
    pub fn has_unfiltered_edges(self, creation: Hid) -> Result<bool> {
        let mut options = 0;
        // SAFETY: the answer's place outlives the call.
        let result = unsafe { (self.table().H5Pget_chunk_opts)(creation, &mut options) };
        check(result, "H5Pget_chunk_opts")?;
        Ok(options & sys::H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS != 0)
    }

    /// Sets on a list with chunks that those which reach beyond the extent are stored without filters. No encoded list
    /// has this property.
    pub fn leave_edges_unfiltered(self, creation: Hid) -> Result<()> {
        // SAFETY: any value may be given; a bad one is an error.
        let result =
            unsafe { (self.table().H5Pset_chunk_opts)(creation, sys::H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS) };
        check(result, "H5Pset_chunk_opts")
    }

    /// Sets the flags and parameters of a filter that a creation list already has.
    pub fn set_filter_parameters(self, creation: Hid, filter: &Filter) -> Result<()> {
        let values = &filter.client_data;
        // SAFETY: the array has as many entries as is passed.
        let result = unsafe {
            (self.table().H5Pmodify_filter)(creation, filter.id, filter.flags, values.len(), values.as_ptr())
        };
        check(result, "H5Pmodify_filter")
    }

    /// Replaces the filters of a creation list by these.
    pub fn set_filters(self, creation: Hid, filters: &[Filter]) -> Result<()> {
        const ALL: sys::H5Z_filter_t = 0;
        let table = self.table();
        // SAFETY: any value may be given; a bad one is an error.
        let removed = unsafe { (table.H5Premove_filter)(creation, ALL) };
        check(removed, "H5Premove_filter")?;
        for filter in filters {
            let values = &filter.client_data;
            // SAFETY: the array has as many entries as is passed.
            let result = unsafe {
                (table.H5Pset_filter)(creation, filter.id, filter.flags, values.len(), values.as_ptr())
            };
            check(result, "H5Pset_filter")?;
        }
        Ok(())
    }

    /// Makes a creation list fit a dataset that only runs filters: no storage is written before its chunk is.
    pub fn allocate_nothing(self, creation: Hid) -> Result<()> {
        let table = self.table();
        // SAFETY: constants.
        unsafe {
            check((table.H5Pset_alloc_time)(creation, sys::H5D_ALLOC_TIME_INCR), "H5Pset_alloc_time")?;
            check((table.H5Pset_fill_time)(creation, sys::H5D_FILL_TIME_NEVER), "H5Pset_fill_time")
        }
    }

    /// Makes an access list without a cache for chunks.
    fn uncached(self) -> Result<Id> {
        let table = self.table();
        // SAFETY: constants.
        unsafe {
            let list = (table.H5Pcreate)(table.H5P_CLS_DATASET_ACCESS_ID_g());
            let list = Id::from_call(self, list, "H5Pcreate")?;
            check((table.H5Pset_chunk_cache)(list.get(), 1, 0, 1.0), "H5Pset_chunk_cache")?;
            Ok(list)
        }
    }
}

impl NativeObject {
    /// Makes a nameless dataset of one chunk in this native file: it is deleted when it is closed. The filters'
    /// `can_apply` and `set_local` run like at any creation. Errors of native code become the error.
    pub fn create_scratch(&self, datatype: Hid, chunk: &[u64], creation: Hid) -> Result<Self> {
        let library = self.library;
        let table = library.table();
        let space = library.space_of(&Dataspace::Simple { dims: chunk.to_vec(), max: chunk.to_vec() })?;
        let access = library.uncached()?;
        let location = file_location();
        assert_none_held("filters");
        library.explained(|| {
            // SAFETY: the file is native and open; identifiers are checked by libhdf5.
            let dataset = unsafe {
                (table.H5VLdataset_create)(
                    self.pointer,
                    &location,
                    self.connector.get(),
                    std::ptr::null(),
                    table.H5P_LST_LINK_CREATE_ID_g(),
                    datatype,
                    space.get(),
                    creation,
                    access.get(),
                    table.H5P_LST_DATASET_XFER_ID_g(),
                    std::ptr::null_mut(),
                )
            };
            self.own(dataset, NativeKind::Dataset, "H5VLdataset_create")
        })
    }

    /// Returns the creation list of this dataset, as its filters left it.
    pub fn dataset_creation_list(&self) -> Result<Id> {
        let table = self.library.table();
        // SAFETY: all-zero is a valid value of these plain structures.
        let mut arguments: sys::H5VL_dataset_get_args_t = unsafe { std::mem::zeroed() };
        arguments.op_type = sys::H5VL_DATASET_GET_DCPL;
        // SAFETY: the dataset is native and open, the arguments are complete.
        unsafe {
            let result = (table.H5VLdataset_get)(
                self.pointer,
                self.connector.get(),
                &mut arguments,
                table.H5P_LST_DATASET_XFER_ID_g(),
                std::ptr::null_mut(),
            );
            check(result, "H5VLdataset_get")?;
            Id::from_call(self.library, arguments.args.get_dcpl.dcpl_id, "H5VLdataset_get")
        }
    }

    /// Writes all elements of this dataset through its filters, in its own type and so without conversion.
    ///
    /// `data` is as long as the dataset, as the caller checks.
    pub(in crate::hdf5) fn write_all(&self, datatype: Hid, data: &[u8]) -> Result<()> {
        let table = self.library.table();
        let mut everything = sys::H5S_ALL as Hid;
        let (mut dataset, mut datatype, mut everything_too) = (self.pointer, datatype, everything);
        let mut buffer: *const c_void = data.as_ptr().cast();
        assert_none_held("filters");
        self.library.explained(|| {
            // SAFETY: one dataset, native and open; the buffer holds all its elements.
            let result = unsafe {
                (table.H5VLdataset_write)(
                    1,
                    &mut dataset,
                    self.connector.get(),
                    &mut datatype,
                    &mut everything,
                    &mut everything_too,
                    table.H5P_LST_DATASET_XFER_ID_g(),
                    &mut buffer,
                    std::ptr::null_mut(),
                )
            };
            check(result, "H5VLdataset_write")
        })
    }

    /// Reads all elements of this dataset, as [`Self::write_all`] writes them.
    pub(in crate::hdf5) fn read_all(&self, datatype: Hid, data: &mut [u8]) -> Result<()> {
        let table = self.library.table();
        let mut everything = sys::H5S_ALL as Hid;
        let (mut dataset, mut datatype, mut everything_too) = (self.pointer, datatype, everything);
        let mut buffer: *mut c_void = data.as_mut_ptr().cast();
        assert_none_held("filters");
        self.library.explained(|| {
            // SAFETY: one dataset, native and open; the buffer has space for all its elements.
            let result = unsafe {
                (table.H5VLdataset_read)(
                    1,
                    &mut dataset,
                    self.connector.get(),
                    &mut datatype,
                    &mut everything,
                    &mut everything_too,
                    table.H5P_LST_DATASET_XFER_ID_g(),
                    &mut buffer,
                    std::ptr::null_mut(),
                )
            };
            check(result, "H5VLdataset_read")
        })
    }

    fn optional(&self, operation: i32, args: *mut c_void) -> i32 {
        let table = self.library.table();
        let mut arguments = sys::H5VL_optional_args_t { op_type: operation, args };
        // SAFETY: the dataset is native and open; callers give the operation's own arguments.
        unsafe {
            (table.H5VLdataset_optional)(
                self.pointer,
                self.connector.get(),
                &mut arguments,
                table.H5P_LST_DATASET_XFER_ID_g(),
                std::ptr::null_mut(),
            )
        }
    }

    /// Returns the only chunk of this dataset as it is stored, with the mask of skipped filters.
    pub(in crate::hdf5) fn stored_chunk(&self, rank: usize) -> Result<(u32, Vec<u8>)> {
        let offset = vec![0_u64; rank];
        let mut size = 0_u64;
        let mut wanted = sys::H5VL_native_dataset_optional_args_t {
            get_chunk_storage_size: sys::H5VL_native_dataset_get_chunk_storage_size_t {
                offset: offset.as_ptr(),
                size: &mut size,
            },
        };
        self.library.explained(|| {
            let operation = sys::H5VL_NATIVE_DATASET_GET_CHUNK_STORAGE_SIZE;
            check(self.optional(operation, (&raw mut wanted).cast()), "H5Dget_chunk_storage_size")?;
            let length = usize::try_from(size).map_err(|_| Error::argument("a chunk is too large"))?;
            let mut data = buffers::take(length);
            let operate = |args| self.optional(sys::H5VL_NATIVE_DATASET_CHUNK_READ, args);
            let (result, mask) = self.library.table().with_chunk_read_args(&offset, &mut data, operate);
            check(result, "H5Dread_chunk")?;
            Ok((mask, data))
        })
    }

    /// Stores the only chunk of this dataset in its stored form.
    pub(in crate::hdf5) fn store_chunk(&self, rank: usize, mask: u32, data: &[u8]) -> Result<()> {
        let offset = vec![0_u64; rank];
        self.library.explained(|| {
            let operate = |args| self.optional(sys::H5VL_NATIVE_DATASET_CHUNK_WRITE, args);
            let result = self.library.table().with_chunk_write_args(&offset, mask, data, operate);
            check(result.ok_or_else(|| Error::argument("a chunk is too large"))?, "H5Dwrite_chunk")
        })
    }
}

/// A native dataset of one chunk, which sets up filters like any creation.
pub struct Scratch(NativeObject);

impl Scratch {
    /// Makes such a dataset in a native file; see [`NativeObject::create_scratch`].
    pub fn new(file: &NativeObject, datatype: &Id, chunk: &[u64], creation: Hid) -> Result<Self> {
        Ok(Self(file.create_scratch(datatype.get(), chunk, creation)?))
    }

    /// Returns the filters with the parameters that they set for themselves.
    pub fn filters(&self) -> Result<Vec<Filter>> {
        self.0.library.filters(self.0.dataset_creation_list()?.get())
    }
}
