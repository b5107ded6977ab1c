//! The file driver of native files that are objects of a store. It only reads. libhdf5 calls it in the thread in which
//! libhdf5 itself was called.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::driver_class::driver_class;
use h5lake_container::{Content, ObjectFile};
use h5lake_plugin_abi::{MAX_LIBRARIES, bindings as sys};
use object_stores::deadline;

use crate::error::{Error, Major, Minor, Result};
use crate::hdf5::call_context::{OFFERED, REFUSED, TELLING, UNREAD};
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::saved_errors::CallResult;
use crate::hdf5::strings;
use crate::thread_state::{OfThisThread, ThreadValue};

/// The driver's number: numbers below 512 are reserved.
const VALUE: sys::H5FD_class_value_t = 705;

/// The driver reads one version of an object, so readers of a file that a writer has open (SWMR) see the file as of
/// the open.
const FEATURES: u32 = sys::H5FD_FEAT_DATA_SIEVE | sys::H5FD_FEAT_SUPPORTS_SWMR_IO;

/// The driver's identifier in each library; 0 if it is not registered. It stays registered until the library shuts
/// down: `H5FD_close` releases the file's own reference before it calls the driver.
static DRIVERS: [AtomicI64; MAX_LIBRARIES] = [const { AtomicI64::new(0) }; MAX_LIBRARIES];

impl Library {
    /// Makes a file access list use the driver. The object to open is passed through the thread (`OFFERED`).
    ///
    /// # Errors
    /// A call of libhdf5 that fails.
    pub(crate) fn set_object_driver(self, access: &Id) -> Result<()> {
        let table = self.table();
        let mut driver = DRIVERS[self.slot()].load(Ordering::Relaxed);
        if driver == 0 {
            // SAFETY: the class is complete, and copied by the call.
            let new = unsafe { (table.H5FDregister)(&class(OPENS[self.slot()])) };
            driver = Id::from_call(self, new, "H5FDregister")?.into_raw();
            DRIVERS[self.slot()].store(driver, Ordering::Relaxed);
        }
        // SAFETY: both identifiers are valid; the driver takes no information.
        check(unsafe { (table.H5Pset_driver)(access.get(), driver, std::ptr::null()) }, "H5Pset_driver")
    }

    /// Makes a call on an object in a native file in a store. If the call fails because such a file names another
    /// file, exactly this is reported: libhdf5 tries several names, and reports for none of them why it did not open.
    pub(crate) fn telling_refused<T: CallResult>(self, call: impl FnOnce() -> T) -> T {
        if TELLING.get() {
            return call();
        }
        let _reported_once = TELLING.scoped(true);
        REFUSED.put(None);
        let answer = call();
        drop(take_unread());
        if let Some(error) = REFUSED.put(None).filter(|_| answer.failed()) {
            // Programs show the innermost frame.
            drop(self.take_errors());
            self.push_error("h5lake_object_open", Major::File, &error);
        }
        answer
    }

    /// Returns whether this library has opened a native file in a store.
    pub(crate) fn has_object_driver(self) -> bool {
        DRIVERS[self.slot()].load(Ordering::Relaxed) != 0
    }

    /// Returns whether a driver's identifier is that of this driver. Then the name of a file decides what is opened.
    pub(in crate::hdf5) fn is_object_driver(self, driver: Hid) -> bool {
        driver == DRIVERS[self.slot()].load(Ordering::Relaxed)
    }

    /// Forgets the driver, because the library shuts down and frees its drivers.
    pub(in crate::hdf5) fn forget_object_driver(self) {
        DRIVERS[self.slot()].store(0, Ordering::Relaxed);
    }
}

type Open = unsafe extern "C" fn(*const c_char, c_uint, Hid, sys::haddr_t) -> *mut sys::H5FD_t;

/// One open function for each library, so that a call without a file knows its library.
static OPENS: [Open; MAX_LIBRARIES] = [
    open::<0>, open::<1>, open::<2>, open::<3>, open::<4>, open::<5>, open::<6>, open::<7>, open::<8>,
    open::<9>, open::<10>, open::<11>, open::<12>, open::<13>, open::<14>, open::<15>,
];

fn class(open: Open) -> sys::H5FD_class_t {
    let mut class = driver_class(VALUE, c"h5lake-object", i64::MAX as u64);
    class.open = Some(open);
    class.close = Some(close);
    class.cmp = Some(compare);
    class.query = Some(query);
    class.get_eoa = Some(end_of_allocation);
    class.set_eoa = Some(set_end_of_allocation);
    class.get_eof = Some(end_of_file);
    class.read = Some(read);
    class.write = Some(write);
    class
}

/// An open file of the driver; libhdf5's own part comes first.
#[repr(C)]
struct DriverFile {
    public: sys::H5FD_t,
    library: Library,
    object: Arc<ObjectFile>,
    end_of_allocation: u64,
}

/// Returns the file behind a pointer of libhdf5's.
///
/// # Safety
/// The pointer came from `open` and has not been closed; libhdf5's lock excludes other threads.
unsafe fn file<'a>(pointer: *const sys::H5FD_t) -> &'a DriverFile {
    // SAFETY: as the caller says.
    unsafe { &*pointer.cast::<DriverFile>() }
}

/// Runs a callback. An error or a panic becomes a frame on the library's error stack.
fn with_error_frame(library: Library, callback: &'static str, body: impl FnOnce() -> Result<()>) -> c_int {
    let _operation = deadline::begin();
    let error = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return 0,
        Ok(Err(error)) => error,
        Err(_) => Error::new(Minor::Internal, format!("{callback} panicked")),
    };
    library.push_error(callback, Major::File, &error);
    -1
}

unsafe extern "C" fn open<const SLOT: usize>(
    name: *const c_char,
    _flags: c_uint,
    _access: Hid,
    _maximum: sys::haddr_t,
) -> *mut sys::H5FD_t {
    // SAFETY: the name is terminated.
    unsafe { open_in(SLOT, name) }
}

/// # Safety
/// The name is null or terminated.
#[inline(never)]
unsafe fn open_in(slot: usize, name: *const c_char) -> *mut sys::H5FD_t {
    let Some(library) = Library::in_slot(slot) else { return std::ptr::null_mut() };
    let mut opened = std::ptr::null_mut();
    with_error_frame(library, "h5lake_object_open", || {
        let object = OFFERED.with_borrow(Option::clone).ok_or_else(|| {
            // SAFETY: as the caller says.
            let name = if name.is_null() { c"" } else { unsafe { CStr::from_ptr(name) } };
            let error = not_followed(&name.to_string_lossy());
            REFUSED.put(Some(error.clone()));
            error
        })?;
        // SAFETY: all-zero is a valid value of this plain structure, which libhdf5 fills.
        let public: sys::H5FD_t = unsafe { std::mem::zeroed() };
        let file = DriverFile { public, library, object, end_of_allocation: 0 };
        opened = Box::into_raw(Box::new(file)).cast();
        Ok(())
    });
    opened
}

/// Takes the reason why the driver did not open a file, in a call of this thread that continued without the file.
pub(crate) fn take_refused() -> Option<Error> {
    REFUSED.put(None)
}

/// Takes the reason why the driver could not read, in a call of this thread that continued without the bytes.
pub(crate) fn take_unread() -> Option<Error> {
    UNREAD.put(None)
}

/// Makes calls, and also returns the reason why the driver could not read meanwhile, or did not open a file. The calls
/// themselves do not report this.
pub(crate) fn noting<T>(calls: impl FnOnce() -> T) -> (T, Option<Error>) {
    let _not_reported = TELLING.scoped(true);
    drop((take_unread(), take_refused()));
    let answer = calls();
    let (unread, refused) = (take_unread(), take_refused());
    (answer, unread.or(refused))
}

/// Notes the reason why the driver could not read; the first reason is kept.
pub(crate) fn note_unread(error: &Error) {
    UNREAD.with_borrow_mut(|noted| {
        noted.get_or_insert_with(|| error.clone());
    });
}

/// Returns the error for a file that a native file in a store names, and that libhdf5 opens by itself.
fn not_followed(name: &str) -> Error {
    let text = format!(
        "unable to open file: name = '{}': a native file in a store names it, and such names are not followed; open that file \
         by its own name, or import both (h5lake import)",
        name.escape_debug()
    );
    Error::file(Minor::NotFollowed, text, None)
}

unsafe extern "C" fn close(pointer: *mut sys::H5FD_t) -> c_int {
    // SAFETY: from `open`, closed once.
    let file = unsafe { Box::from_raw(pointer.cast::<DriverFile>()) };
    with_error_frame(file.library, "h5lake_object_close", || {
        drop(file);
        Ok(())
    })
}

/// Orders open files: files on one version of an object are the same file to libhdf5.
unsafe extern "C" fn compare(first: *const sys::H5FD_t, second: *const sys::H5FD_t) -> c_int {
    // SAFETY: see `file`; both are only read.
    let place = |pointer| Arc::as_ptr(unsafe { &file(pointer).object }) as usize;
    place(first).cmp(&place(second)) as c_int
}

unsafe extern "C" fn query(_file: *const sys::H5FD_t, flags: *mut c_ulong) -> c_int {
    // SAFETY: null or writable.
    unsafe { strings::answer(flags, c_ulong::from(FEATURES)) };
    0
}

unsafe extern "C" fn end_of_allocation(pointer: *const sys::H5FD_t, _: sys::H5FD_mem_t) -> sys::haddr_t {
    // SAFETY: see `file`.
    unsafe { file(pointer) }.end_of_allocation
}

unsafe extern "C" fn set_end_of_allocation(
    pointer: *mut sys::H5FD_t,
    _: sys::H5FD_mem_t,
    end: sys::haddr_t,
) -> c_int {
    // SAFETY: see `file`; the pointer is libhdf5's to write through, and no other code reads the file meanwhile.
    unsafe { (*pointer.cast::<DriverFile>()).end_of_allocation = end };
    0
}

unsafe extern "C" fn end_of_file(pointer: *const sys::H5FD_t, _: sys::H5FD_mem_t) -> sys::haddr_t {
    // SAFETY: see `file`.
    unsafe { file(pointer) }.object.size()
}

unsafe extern "C" fn read(
    pointer: *mut sys::H5FD_t,
    kind: sys::H5FD_mem_t,
    _transfer: Hid,
    address: sys::haddr_t,
    size: usize,
    buffer: *mut c_void,
) -> c_int {
    if size == 0 {
        return 0;
    }
    // SAFETY: see `file`; the buffer has `size` bytes.
    let (file, buffer) =
        unsafe { (file(pointer), std::slice::from_raw_parts_mut(buffer.cast::<u8>(), size)) };
    let content = if kind == sys::H5FD_MEM_DRAW { Content::Raw } else { Content::Metadata };
    with_error_frame(file.library, "h5lake_object_read", || {
        let read = file.object.read(address, buffer, content).map_err(Error::from);
        read.inspect_err(note_unread)
    })
}

unsafe extern "C" fn write(
    pointer: *mut sys::H5FD_t,
    _kind: sys::H5FD_mem_t,
    _transfer: Hid,
    _address: sys::haddr_t,
    _size: usize,
    _buffer: *const c_void,
) -> c_int {
    // SAFETY: see `file`.
    let library = unsafe { file(pointer) }.library;
    with_error_frame(library, "h5lake_object_write", || {
        Err(Error::new(Minor::WriteError, "a native file in a store is only read"))
    })
}
