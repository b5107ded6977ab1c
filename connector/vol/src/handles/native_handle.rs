//! Open objects of native files, and the native connector that they belong to.

use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

use h5lake_container::{ObjectFile, ObjectKind};
use h5lake_plugin_abi::{Hdf5, bindings as sys};

use crate::config::NativeFilters;
use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::id::{Id, KeptId};
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::saved_errors::{CallResult, reported_once};
use crate::transfer::native_chunks::NativeReads;
use crate::transfer::object_chunks::ObjectChunks;

/// The native connector of one library.
pub struct NativeConnector {
    library: Library,
    id: KeptId,
    /// Says whether the library or h5lake decodes the chunks of the files.
    reads: NativeFilters,
    /// The object of a store that is the connector's file, if the file is in a store.
    object: Option<Arc<ObjectFile>>,
}

impl NativeConnector {
    /// Returns the native connector of `library`, for files with chunks that the library decodes.
    pub fn of(library: Library) -> Result<Arc<Self>> {
        Self::with(library, NativeFilters::Library, None)
    }

    /// Returns the native connector of `library`, for a file with chunks that are decoded as `reads` says, and that may
    /// be an object of a store.
    pub fn with(
        library: Library,
        reads: NativeFilters,
        object: Option<Arc<ObjectFile>>,
    ) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { library, id: library.native_connector()?.kept(), reads, object }))
    }

    /// Returns the connector's identifier.
    pub fn id(&self) -> Hid {
        self.id.get()
    }

    /// Makes a call of the native connector. If the call fails, only its frames remain on the error stack.
    pub(crate) fn call<T: CallResult>(&self, call: impl FnOnce(&'static Hdf5, Hid) -> T) -> T {
        let call = || reported_once(self.library, || call(self.library.table(), self.id()));
        if self.object.is_some() { self.library.telling_refused(call) } else { call() }
    }

    /// Returns whether identifiers of objects are open on exactly this native file object.
    ///
    /// # Safety
    /// `file` is a native file, open.
    pub(crate) unsafe fn has_open_objects(&self, file: *mut c_void) -> bool {
        const LOCAL_EXCEPT_FILES: u32 = 0x3e;
        let table = self.library.table();
        let mut count = 0_usize;
        // SAFETY: all-zero is a valid value of these plain structures; the file is native, as the caller says.
        unsafe {
            let mut arguments: sys::H5VL_file_get_args_t = std::mem::zeroed();
            arguments.op_type = sys::H5VL_FILE_GET_OBJ_COUNT;
            arguments.args.get_obj_count.types = LOCAL_EXCEPT_FILES;
            arguments.args.get_obj_count.count = &mut count;
            let transfer = table.H5P_LST_DATASET_XFER_ID_g();
            let answer =
                (table.H5VLfile_get)(file, self.id(), &mut arguments, transfer, std::ptr::null_mut());
            answer >= 0 && count > 0
        }
    }

    /// Returns whether libhdf5 calls our callbacks with exactly this native file object. libhdf5 remembers the
    /// connector of the access list that the file was opened with, and the access list of an external link may name
    /// our connector (`H5F__efc_open`).
    ///
    /// # Safety
    /// `file` is a native file, open.
    pub(crate) unsafe fn is_called_through_us(&self, file: *mut c_void) -> bool {
        // SAFETY: as the caller says.
        let list = unsafe { self.access_list_of(file) };
        list.and_then(|list| self.library.names_our_connector(list.get())).unwrap_or(false)
    }

    /// Returns the access list that a native file object was opened with.
    ///
    /// # Safety
    /// `file` is a native file, open.
    unsafe fn access_list_of(&self, file: *mut c_void) -> Result<Id> {
        let table = self.library.table();
        // SAFETY: all-zero is a valid value of these plain structures; the file is native, as the caller says.
        unsafe {
            let mut arguments: sys::H5VL_file_get_args_t = std::mem::zeroed();
            arguments.op_type = sys::H5VL_FILE_GET_FAPL;
            let transfer = table.H5P_LST_DATASET_XFER_ID_g();
            let answer =
                (table.H5VLfile_get)(file, self.id(), &mut arguments, transfer, std::ptr::null_mut());
            check(answer, "H5VLfile_get")?;
            Id::from_call(self.library, arguments.args.get_fapl.fapl_id, "H5VLfile_get")
        }
    }

    /// Returns the class of the native connector in this library, queried through one of the connector's objects.
    ///
    /// # Safety
    /// `object` is a native object of this library.
    pub(in crate::handles) unsafe fn class(&self, object: *mut c_void) -> Result<*const sys::H5VL_class_t> {
        let mut class = std::ptr::null();
        // SAFETY: the object is native; the answer's place outlives the call.
        let result = unsafe {
            (self.library.table().H5VLintrospect_get_conn_cls)(
                object,
                self.id(),
                sys::H5VL_GET_CONN_LVL_TERM,
                &mut class,
            )
        };
        check(result, "H5VLintrospect_get_conn_cls")?;
        if class.is_null() { Err(Error::call("H5VLintrospect_get_conn_cls")) } else { Ok(class) }
    }
}

/// An open object of a native file.
pub struct NativeHandle {
    connector: Arc<NativeConnector>,
    object: *mut c_void,
    kind: sys::H5I_type_t,
    /// The state of reads, for a dataset.
    reads: NativeReads,
    /// The chunks of a dataset in an object of a store, once they are needed. Most handles have none, and are small.
    chunks: OnceLock<Box<ObjectChunks>>,
}

impl NativeHandle {
    /// Takes a native object that no other code closes.
    ///
    /// # Safety
    /// `object` is an open native object of the connector's library.
    pub(crate) unsafe fn new(connector: Arc<NativeConnector>, object: *mut c_void) -> Self {
        // SAFETY: as the caller says.
        unsafe { Self::of_kind(connector, object, sys::H5I_BADID) }
    }

    /// Takes an object like [`NativeHandle::new`], and its kind, which later users of the handle cannot know.
    ///
    /// # Safety
    /// As for [`NativeHandle::new`], and the object is of this kind.
    pub(in crate::handles) unsafe fn of_kind(
        connector: Arc<NativeConnector>,
        object: *mut c_void,
        kind: sys::H5I_type_t,
    ) -> Self {
        Self { connector, object, kind, reads: NativeReads::default(), chunks: OnceLock::new() }
    }

    /// Returns whether the handle was made with this kind.
    pub fn is(&self, kind: ObjectKind) -> bool {
        self.kind
            == match kind {
                ObjectKind::Group => sys::H5I_GROUP,
                ObjectKind::Dataset => sys::H5I_DATASET,
                ObjectKind::Datatype => sys::H5I_DATATYPE,
            }
    }

    /// Closes an object that was not handed on to libhdf5.
    pub fn close(&self) {
        let kind = self.kind;
        self.call(|hdf5, object, connector| {
            let transfer = hdf5.H5P_LST_DATASET_XFER_ID_g();
            let close = match kind {
                sys::H5I_GROUP => hdf5.H5VLgroup_close,
                sys::H5I_DATASET => hdf5.H5VLdataset_close,
                sys::H5I_DATATYPE => hdf5.H5VLdatatype_close,
                _ => return,
            };
            // SAFETY: the object is native, open and of this kind.
            unsafe { close(object, connector, transfer, std::ptr::null_mut()) };
        });
    }

    /// Returns the object's kind, if it was given when the handle was made.
    pub(crate) fn kind(&self) -> sys::H5I_type_t {
        self.kind
    }

    /// Returns the library the object belongs to.
    pub fn library(&self) -> Library {
        self.connector.library
    }

    /// Returns the native connector.
    pub(crate) fn connector(&self) -> Arc<NativeConnector> {
        self.connector.clone()
    }

    /// Returns the dataset's state of reads, if h5lake decodes its chunks.
    pub(crate) fn reads(&self) -> Option<&NativeReads> {
        (self.connector.reads == NativeFilters::Own).then_some(&self.reads)
    }

    /// Returns the object of a store that is the dataset's file, and the known positions of the dataset's chunks in
    /// it.
    pub(crate) fn object_file(&self) -> Option<(&ObjectFile, &ObjectChunks)> {
        self.connector.object.as_deref().map(|object| (object, self.chunks()))
    }

    /// Returns the known positions of the dataset's chunks, for a file that is an object of a store.
    pub(crate) fn chunks(&self) -> &ObjectChunks {
        self.chunks.get_or_init(Box::default)
    }

    /// Returns the native object itself.
    pub(crate) fn object(&self) -> *mut c_void {
        self.object
    }

    /// Makes a call of the native connector on the object, and returns the call's result. The handle may be freed
    /// during the call (a refreshed object is closed and opened again), so the handle is not used afterwards.
    pub(crate) fn call<T: CallResult>(&self, call: impl FnOnce(&'static Hdf5, *mut c_void, Hid) -> T) -> T {
        let (object, connector) = (self.object, self.connector());
        connector.call(|hdf5, id| call(hdf5, object, id))
    }

    /// Makes a call like [`NativeHandle::call`], for calls that may call functions of the application: errors of those
    /// functions are reported like in the native connector, at the price that a failure of the call itself is reported
    /// twice.
    pub(crate) fn call_back<T>(&self, call: impl FnOnce(&'static Hdf5, *mut c_void, Hid) -> T) -> T {
        call(self.connector.library.table(), self.object, self.connector.id())
    }
}

/// Returns the error of a call that names both a native file and a container.
pub(crate) fn mixed(operation: &str) -> Error {
    Error::unsupported(format!("{operation} between a native HDF5 file and a h5lake container"))
}

/// Returns the error of code for containers that is given a native object.
pub fn not_a_container() -> Error {
    Error::new(Minor::BadType, "the object is in a native HDF5 file, not in a h5lake container")
}
