//! Datasets of native files that are open for the application: their properties, and their chunks as they are stored.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::marker::PhantomData;

use h5lake_ledger::locks::assert_none_held;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Result};
use crate::hdf5::dataspace::{Dims, later_unlimited_dimension};
use crate::hdf5::datatype::check;
use crate::hdf5::file_flags::OpenFlags;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::plist::Driver;

/// `HADDR_UNDEF`.
const NO_ADDRESS: u64 = u64::MAX;
/// The arguments of a dataset query; the operation fills one member with its answer.
type Answers = sys::H5VL_dataset_get_args_t;

/// A native dataset that its opener closes, borrowed by a thread during a callback.
#[derive(Debug, Clone, Copy)]
pub struct BorrowedDataset<'a> {
    library: Library,
    connector: Hid,
    object: *mut c_void,
    open: PhantomData<&'a c_void>,
}

/// Passes on the chunks that `H5Dchunk_iter` lists.
struct Listing<'a> {
    each: &'a mut EachChunk<'a>,
    rank: usize,
}

/// The function called for each chunk with its coordinates and its location. It returns whether to continue.
pub type EachChunk<'a> = dyn FnMut(&[u64], ChunkPlace) -> bool + 'a;

/// The location of a chunk in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkPlace {
    /// The address of the chunk's first byte.
    pub address: u64,
    /// The number of stored bytes.
    pub bytes: u64,
}

/// # Safety
/// `data` is a [`Listing`], and `offset` has as many entries as it says.
unsafe extern "C" fn list_one(
    offset: *const u64,
    _mask: c_uint,
    address: u64,
    bytes: u64,
    data: *mut c_void,
) -> c_int {
    // SAFETY: as the function says.
    unsafe {
        let listing = &mut *data.cast::<Listing<'_>>();
        let coords = std::slice::from_raw_parts(offset, listing.rank);
        c_int::from(!(listing.each)(coords, ChunkPlace { address, bytes }))
    }
}

impl<'a> BorrowedDataset<'a> {
    /// Borrows a dataset of the native connector.
    ///
    /// # Safety
    /// `object` is an open dataset of that connector, which is the library's native one, for as long as this lives. The
    /// thread is in a callback of the library.
    pub(crate) unsafe fn new(library: Library, connector: Hid, object: *mut c_void) -> Self {
        Self { library, connector, object, open: PhantomData }
    }

    /// Returns the library the dataset belongs to.
    pub fn library(&self) -> Library {
        self.library
    }

    fn get(&self, operation: sys::H5VL_dataset_get_t) -> Result<Answers> {
        let transfer = self.library.transfer_default();
        // SAFETY: all-zero is a valid value of these plain structures; the dataset is native and open.
        unsafe {
            let mut arguments: Answers = std::mem::zeroed();
            arguments.op_type = operation;
            let get = self.library.table().H5VLdataset_get;
            let result = get(self.object, self.connector, &mut arguments, transfer, std::ptr::null_mut());
            check(result, "H5VLdataset_get")?;
            Ok(arguments)
        }
    }

    /// Returns the dataset's dataspace.
    pub fn space(&self) -> Result<Id> {
        // SAFETY: the operation fills this member.
        let id = unsafe { self.get(sys::H5VL_DATASET_GET_SPACE)?.args.get_space.space_id };
        Id::from_call(self.library, id, "H5Dget_space")
    }

    /// Returns the dataset's current dimensions.
    pub fn dims(&self) -> Result<Dims> {
        self.library.dims_of(self.space()?.get())
    }

    /// Returns the type of the dataset's elements, as a program gets it.
    pub fn datatype(&self) -> Result<Id> {
        // SAFETY: the operation fills this member.
        let id = unsafe { self.get(sys::H5VL_DATASET_GET_TYPE)?.args.get_type.type_id };
        Id::from_call(self.library, id, "H5Dget_type")
    }

    /// Returns the dataset's creation list.
    pub fn creation_list(&self) -> Result<Id> {
        // SAFETY: the operation fills this member.
        let id = unsafe { self.get(sys::H5VL_DATASET_GET_DCPL)?.args.get_dcpl.dcpl_id };
        Id::from_call(self.library, id, "H5Dget_create_plist")
    }

    /// Returns the dataset's access list.
    pub fn access_list(&self) -> Result<Id> {
        // SAFETY: the operation fills this member.
        let id = unsafe { self.get(sys::H5VL_DATASET_GET_DAPL)?.args.get_dapl.dapl_id };
        Id::from_call(self.library, id, "H5Dget_access_plist")
    }

    /// Returns the name that the dataset's file was opened by.
    pub fn file_name(&self) -> Result<Vec<u8>> {
        let (mut length, mut name) = (0_usize, Vec::<u8>::new());
        // The first call returns the length, the second a name of that length with its terminator.
        for _ in 0..2 {
            // SAFETY: all-zero is a valid value of this plain structure.
            let mut arguments: sys::H5VL_file_get_args_t = unsafe { std::mem::zeroed() };
            arguments.op_type = sys::H5VL_FILE_GET_NAME;
            let buf = if name.is_empty() { std::ptr::null_mut() } else { name.as_mut_ptr() };
            let (type_, buf_size) = (sys::H5I_DATASET, name.len());
            arguments.args.get_name = sys::H5VL_file_get_name_args_t {
                type_,
                buf_size,
                buf: buf.cast(),
                file_name_len: &mut length,
            };
            let (table, transfer) = (self.library.table(), self.library.transfer_default());
            let (object, request) = (self.object, std::ptr::null_mut());
            // SAFETY: the dataset is native and open; the buffer has the size that is given, and the answer's place
            // outlives the call.
            let result =
                unsafe { (table.H5VLfile_get)(object, self.connector, &mut arguments, transfer, request) };
            check(result, "H5Fget_name")?;
            name.resize(length + 1, 0_u8);
        }
        name.truncate(length);
        Ok(name)
    }

    /// Returns the bytes of decoded chunks that the library's own cache may hold.
    pub fn chunk_cache_bytes(&self) -> Result<usize> {
        // SAFETY: the operation fills this member; the answer's place outlives the call, and the remaining pointers
        // may be null.
        unsafe {
            let id = self.get(sys::H5VL_DATASET_GET_DAPL)?.args.get_dapl.dapl_id;
            let list = Id::from_call(self.library, id, "H5Dget_access_plist")?;
            let (mut slots, mut bytes) = (0, 0);
            let get = self.library.table().H5Pget_chunk_cache;
            check(get(list.get(), &mut slots, &mut bytes, std::ptr::null_mut()), "H5Pget_chunk_cache")?;
            Ok(if slots == 0 { 0 } else { bytes })
        }
    }

    /// Returns the fill value of a creation list as one element of the dataset's type and size.
    pub fn fill_value(&self, creation: Hid, datatype: Hid, size: usize) -> Result<Vec<u8>> {
        let mut value = vec![0; size];
        if self.library.type_size(datatype)? != size {
            return Err(Error::argument("a fill value of another size than its datatype"));
        }
        let get = self.library.table().H5Pget_fill_value;
        // SAFETY: the buffer holds one element of the type.
        check(unsafe { get(creation, datatype, value.as_mut_ptr().cast()) }, "H5Pget_fill_value")?;
        Ok(value)
    }

    /// Returns the dataset's file, as an object of the native connector.
    fn file(&self) -> Result<*mut c_void> {
        let mut file = std::ptr::null_mut();
        // SAFETY: all-zero is a valid value of these plain structures; the dataset is native and open, and the answer's
        // place outlives the call.
        unsafe {
            let mut place: sys::H5VL_loc_params_t = std::mem::zeroed();
            place.obj_type = sys::H5I_DATASET;
            place.type_ = sys::H5VL_OBJECT_BY_SELF;
            let mut arguments: sys::H5VL_object_get_args_t = std::mem::zeroed();
            arguments.op_type = sys::H5VL_OBJECT_GET_FILE;
            arguments.args.get_file.file = &mut file;
            let (get, transfer) = (self.library.table().H5VLobject_get, self.library.transfer_default());
            let result =
                get(self.object, &place, self.connector, &mut arguments, transfer, std::ptr::null_mut());
            check(result, "H5VLobject_get")?;
        }
        if file.is_null() { Err(Error::call("H5VLobject_get")) } else { Ok(file) }
    }

    fn file_get(&self, arguments: &mut sys::H5VL_file_get_args_t) -> Result<()> {
        let (file, transfer) = (self.file()?, self.library.transfer_default());
        let get = self.library.table().H5VLfile_get;
        // SAFETY: the file is native, and open as long as its dataset is; callers give the operation's own arguments.
        let result = unsafe { get(file, self.connector, arguments, transfer, std::ptr::null_mut()) };
        check(result, "H5VLfile_get")
    }

    /// Returns the access with which the file is open.
    pub fn file_flags(&self) -> Result<OpenFlags> {
        let mut flags: c_uint = 0;
        // SAFETY: all-zero is a valid value of this plain structure; the answer's place outlives the call.
        let mut arguments: sys::H5VL_file_get_args_t = unsafe { std::mem::zeroed() };
        arguments.op_type = sys::H5VL_FILE_GET_INTENT;
        arguments.args.get_intent.flags = &mut flags;
        self.file_get(&mut arguments)?;
        Ok(OpenFlags::from_bits(flags))
    }

    /// Returns the driver of the file.
    pub fn driver(&self) -> Result<Driver> {
        self.library.driver(self.file_access()?.get())
    }

    /// Returns whether the file is an object of a store. The file may be mounted on another file, through which the
    /// dataset was opened.
    pub fn is_in_store(&self) -> Result<bool> {
        let access = self.file_access()?;
        // SAFETY: any value may be given; a bad one is negative.
        let driver = unsafe { (self.library.table().H5Pget_driver)(access.get()) };
        if driver < 0 { Err(Error::call("H5Pget_driver")) } else { Ok(self.library.is_object_driver(driver)) }
    }

    fn file_access(&self) -> Result<Id> {
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut arguments: sys::H5VL_file_get_args_t = unsafe { std::mem::zeroed() };
        arguments.op_type = sys::H5VL_FILE_GET_FAPL;
        self.file_get(&mut arguments)?;
        // SAFETY: the operation fills this member.
        let id = unsafe { arguments.args.get_fapl.fapl_id };
        Id::from_call(self.library, id, "H5Fget_access_plist")
    }

    fn optional(&self, operation: c_int, args: *mut c_void) -> c_int {
        let mut arguments = sys::H5VL_optional_args_t { op_type: operation, args };
        let (optional, transfer) =
            (self.library.table().H5VLdataset_optional, self.library.transfer_default());
        // SAFETY: the dataset is native and open; callers give the operation's own arguments.
        unsafe { optional(self.object, self.connector, &mut arguments, transfer, std::ptr::null_mut()) }
    }

    /// Returns whether the dataset has one address: it is contiguous, and allocated.
    pub fn has_address(&self) -> Result<bool> {
        let mut address = NO_ADDRESS;
        // SAFETY: all-zero is a valid value of this union of plain structures.
        let mut wanted: sys::H5VL_native_dataset_optional_args_t = unsafe { std::mem::zeroed() };
        wanted.get_offset.offset = &mut address;
        let asked = self.optional(sys::H5VL_NATIVE_DATASET_GET_OFFSET, (&raw mut wanted).cast());
        check(asked, "H5Dget_offset")?;
        Ok(address != NO_ADDRESS)
    }

    /// Reads the chunk at these coordinates, in elements, as it is stored, to the beginning of `buffer`. Returns the
    /// mask of skipped filters, and the number of bytes. The library drops the chunk from its own cache, and writes it
    /// first if it was changed. A chunk that the library cannot write is lost, so [`Self::write_changed_chunks`] must
    /// be called before.
    ///
    /// `buffer` has space for the most bytes that any writer stores for a chunk, because HDF5 1.14 is not given the
    /// buffer's size. So the size is queried right before the read. The read has the same size, unless another process
    /// writes to the file against its lock; even then the chunk cannot be longer than `buffer`.
    ///
    /// # Errors
    /// A chunk without storage is an error like any other. A chunk that has more bytes than `buffer` is not read.
    pub fn stored_chunk(&self, offset: &[u64], buffer: &mut [u8]) -> Result<(u32, usize)> {
        let mut size = 0_u64;
        let mut wanted = sys::H5VL_native_dataset_optional_args_t {
            get_chunk_storage_size: sys::H5VL_native_dataset_get_chunk_storage_size_t {
                offset: offset.as_ptr(),
                size: &mut size,
            },
        };
        assert_none_held("native code");
        let asked = self.optional(sys::H5VL_NATIVE_DATASET_GET_CHUNK_STORAGE_SIZE, (&raw mut wanted).cast());
        check(asked, "H5Dget_chunk_storage_size")?;
        // The size remains 0 if the dataset has no storage at all.
        let length = usize::try_from(size).ok().filter(|length| (1..=buffer.len()).contains(length));
        let length = length.ok_or_else(|| Error::argument(format!("a chunk of {size} stored bytes")))?;
        let operate = |args| self.optional(sys::H5VL_NATIVE_DATASET_CHUNK_READ, args);
        let (result, mask) = self.library.table().with_chunk_read_args(offset, buffer, operate);
        check(result, "H5Dread_chunk")?;
        Ok((mask, length))
    }

    /// Calls `each` with the coordinates, in elements, of every chunk that has storage, until `each` returns `false`.
    /// Chunks that were changed in the library's cache are written to the file first. `each` must not call the
    /// library, nor panic.
    ///
    /// Returns `false`, and calls nothing, if the library lists coordinates in the order of an index: releases up to
    /// 2.0 do so for extensible arrays with an unlimited dimension that is not the first
    /// (`H5D__earray_idx_iterate_cb`).
    ///
    /// # Errors
    /// The errors of the library.
    pub fn each_chunk(&self, rank: usize, each: &mut EachChunk<'_>) -> Result<bool> {
        let most = self.library.extent_of(self.space()?.get())?;
        if later_unlimited_dimension(most.max_dims()).is_some()
            && self.chunk_index()? == sys::H5D_CHUNK_IDX_EARRAY
        {
            return Ok(false);
        }
        self.iterate_chunks(rank, each)?;
        Ok(true)
    }

    /// Writes the chunks that were changed in the library's cache to the file. All chunks stay in the cache, including
    /// those that cannot be written.
    ///
    /// # Errors
    /// If a chunk cannot be written.
    pub fn write_changed_chunks(&self) -> Result<()> {
        // The library writes all changed chunks before it lists the first chunk (`H5D__chunk_iter`), and the first
        // return value ends the iteration.
        self.iterate_chunks(0, &mut |_, _| false)
    }

    /// Calls `H5Dchunk_iter`, and passes on the first `rank` coordinates of each chunk.
    fn iterate_chunks(&self, rank: usize, each: &mut EachChunk<'_>) -> Result<()> {
        let mut listing = Listing { each, rank };
        // SAFETY: all-zero is a valid value of this union of plain structures.
        let mut wanted: sys::H5VL_native_dataset_optional_args_t = unsafe { std::mem::zeroed() };
        wanted.chunk_iter.op = Some(list_one);
        wanted.chunk_iter.op_data = (&raw mut listing).cast();
        assert_none_held("native code");
        let listed = self.optional(sys::H5VL_NATIVE_DATASET_CHUNK_ITER, (&raw mut wanted).cast());
        check(listed, "H5Dchunk_iter")
    }

    /// Returns the kind of index that finds the dataset's chunks.
    fn chunk_index(&self) -> Result<sys::H5D_chunk_index_t> {
        let mut index = sys::H5D_CHUNK_IDX_BTREE;
        // SAFETY: all-zero is a valid value of this union of plain structures; the answer's place outlives the call.
        let mut wanted: sys::H5VL_native_dataset_optional_args_t = unsafe { std::mem::zeroed() };
        wanted.get_chunk_idx_type.idx_type = &mut index;
        assert_none_held("native code");
        let asked = self.optional(sys::H5VL_NATIVE_DATASET_GET_CHUNK_INDEX_TYPE, (&raw mut wanted).cast());
        check(asked, "H5Dget_chunk_index_type")?;
        Ok(index)
    }

    /// Opens another dataset of the same file, by a path from the root.
    ///
    /// # Errors
    /// The errors of the library; none of its frames stay on the error stack.
    pub fn open_other(&self, path: &CStr) -> Result<OtherDataset<'a>> {
        let table = self.library.table();
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut location: sys::H5VL_loc_params_t = unsafe { std::mem::zeroed() };
        (location.type_, location.obj_type) = (sys::H5VL_OBJECT_BY_SELF, sys::H5I_DATASET);
        assert_none_held("native code");
        // SAFETY: the dataset is native and open, the path terminated.
        let other = unsafe {
            (table.H5VLdataset_open)(
                self.object,
                &location,
                self.connector,
                path.as_ptr(),
                table.H5P_LST_DATASET_ACCESS_ID_g(),
                self.library.transfer_default(),
                std::ptr::null_mut(),
            )
        };
        if other.is_null() {
            drop(self.library.take_errors());
            return Err(Error::call("H5Dopen"));
        }
        Ok(OtherDataset(Self { object: other, ..*self }))
    }
}

/// A dataset that was opened beside another one, closed when it is dropped.
pub struct OtherDataset<'a>(BorrowedDataset<'a>);

impl<'a> OtherDataset<'a> {
    /// Returns the dataset, which must not be used after this is dropped.
    pub fn dataset(&self) -> BorrowedDataset<'_> {
        self.0
    }
}

impl Drop for OtherDataset<'_> {
    fn drop(&mut self) {
        let (close, transfer) = (self.0.library.table().H5VLdataset_close, self.0.library.transfer_default());
        // SAFETY: the dataset is native, was opened by `open_other`, and is closed once.
        unsafe { close(self.0.object, self.0.connector, transfer, std::ptr::null_mut()) };
    }
}
