//! Opening a native file from within a callback of h5lake's.
//!
//! A native file remembers the connector of its `H5Fopen` or `H5Fcreate`, to make objects for its own use with it.
//! libhdf5 keeps that connector in the context of the public call (`H5CX_set_vol_connector_prop`), and in our
//! callbacks that is our own connector: a native file opened there would pass its native objects to our callbacks. So
//! we make a public `H5Fopen` with the native connector, which has the right context, and with a file driver of ours
//! that opens nothing. The driver's `open` callback runs inside that context, opens the requested file, and refuses.
//! The public call fails, as it must, and leaves no identifier behind that an application could find or that would
//! flush the file when it is closed.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::Arc;

use super::driver_class::driver_class;
use h5lake_container::ObjectFile;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Result};
use crate::hdf5::call_context::{OFFERED, WAITING};
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::saved_errors::ErrorStack;
use crate::thread_state::ThreadValue;

/// The request to open a file: the arguments of a file callback, with an access list that names the native connector.
pub(crate) struct NativeOpen<'a> {
    pub name: &'a CStr,
    pub flags: c_uint,
    /// The creation list, if the file is to be created.
    pub creation: Option<Hid>,
    pub access: Hid,
    /// The object that our driver for native files in stores opens, if the list has that driver.
    pub object: Option<Arc<ObjectFile>>,
}

struct Waiting<'a> {
    library: Library,
    request: NativeOpen<'a>,
    answer: Option<Result<*mut c_void, ErrorStack>>,
}

impl Library {
    /// Opens or creates a native file object. The object has no identifier and has not been notified that it is open
    /// (the library does so with the application's identifier).
    ///
    /// # Errors
    /// The native connector's own error, as it reported it.
    pub(crate) fn open_native_object(self, connector: Hid, request: NativeOpen<'_>) -> Result<*mut c_void> {
        let table = self.table();
        // SAFETY: the class is complete and copied by the call.
        let driver = Id::from_call(self, unsafe { (table.H5FDregister)(&driver()) }, "H5FDregister")?;
        // SAFETY: the class is the library's own.
        let list = unsafe { (table.H5Pcreate)(table.H5P_CLS_FILE_ACCESS_ID_g()) };
        let list = Id::from_call(self, list, "H5Pcreate")?;
        // SAFETY: all identifiers are valid; the driver takes no information.
        unsafe {
            check((table.H5Pset_vol)(list.get(), connector, std::ptr::null()), "H5Pset_vol")?;
            check((table.H5Pset_driver)(list.get(), driver.get(), std::ptr::null()), "H5Pset_driver")?;
        }
        let name = request.name;
        let _object = OFFERED.scoped(request.object.clone());
        let mut waiting = Waiting { library: self, request, answer: None };
        let offered = WAITING.scoped((&raw mut waiting).cast());
        // SAFETY: the name is terminated, the list valid; the waiting request outlives the call.
        let opened = self
            .quietly(|| unsafe { (table.H5Fopen)(name.as_ptr(), sys::H5F_ACC_RDONLY, list.get()) }, |_| true);
        drop(offered);
        match (waiting.answer, opened) {
            (Some(Ok(object)), _) => Ok(object),
            (Some(Err(frames)), _) | (None, Err(frames)) => Err(Error::reported(frames)),
            (None, Ok(_)) => Err(Error::call("H5Fopen")),
        }
    }
}

unsafe extern "C" fn open(
    _name: *const c_char,
    _flags: c_uint,
    _access: Hid,
    _maximum: sys::haddr_t,
) -> *mut sys::H5FD_t {
    let waiting = WAITING.replace(std::ptr::null_mut());
    // SAFETY: null, or the request that `open_native_object` holds while this runs.
    if let Some(waiting) = unsafe { waiting.cast::<Waiting<'static>>().as_mut() } {
        waiting.open();
    }
    std::ptr::null_mut()
}

impl Waiting<'_> {
    fn open(&mut self) {
        let (table, request) = (self.library.table(), &self.request);
        let transfer = table.H5P_LST_DATASET_XFER_ID_g();
        let (name, no_request) = (request.name.as_ptr(), std::ptr::null_mut());
        // SAFETY: the name is terminated; identifiers are checked by the library.
        let object = unsafe {
            match request.creation {
                Some(creation) => (table.H5VLfile_create)(
                    name,
                    request.flags,
                    creation,
                    request.access,
                    transfer,
                    no_request,
                ),
                None => (table.H5VLfile_open)(name, request.flags, request.access, transfer, no_request),
            }
        };
        self.answer = Some(if object.is_null() { Err(self.library.take_errors()) } else { Ok(object) });
    }
}

/// Returns the driver: it has the callbacks that registration requires, and never opens a file on which the remaining
/// ones could be called.
fn driver() -> sys::H5FD_class_t {
    let mut class = driver_class(crate::hdf5::identity::VALUE, c"h5lake-native", sys::haddr_t::MAX / 2);
    class.open = Some(open);
    class.close = Some(close);
    class.get_eoa = Some(size);
    class.set_eoa = Some(set_size);
    class.get_eof = Some(size);
    class.read = Some(read);
    class.write = Some(write);
    class
}

unsafe extern "C" fn close(_file: *mut sys::H5FD_t) -> c_int {
    -1
}

unsafe extern "C" fn size(_file: *const sys::H5FD_t, _kind: sys::H5FD_mem_t) -> sys::haddr_t {
    0
}

unsafe extern "C" fn set_size(_file: *mut sys::H5FD_t, _kind: sys::H5FD_mem_t, _size: sys::haddr_t) -> c_int {
    -1
}

unsafe extern "C" fn read(
    _file: *mut sys::H5FD_t,
    _kind: sys::H5FD_mem_t,
    _transfer: Hid,
    _address: sys::haddr_t,
    _size: usize,
    _buffer: *mut c_void,
) -> c_int {
    -1
}

unsafe extern "C" fn write(
    _file: *mut sys::H5FD_t,
    _kind: sys::H5FD_mem_t,
    _transfer: Hid,
    _address: sys::haddr_t,
    _size: usize,
    _buffer: *const c_void,
) -> c_int {
    -1
}
