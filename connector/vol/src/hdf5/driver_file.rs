//! Bytes that only one of libhdf5's file drivers can read: those of a Python file object, of an image in memory, or of
//! a program's own driver.

use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::thread::{self, ThreadId};

use h5lake_ledger::ByteSource;
use h5lake_ledger::locks::Mutex;
use h5lake_plugin_abi::bindings as sys;

use crate::error::Result;
use crate::hdf5::caller;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::strings;

/// A file that a driver has open for reading. Drivers are foreign code, and libhdf5 calls them under a lock of its
/// own: only a thread that this library has called reads. The container's locks are held meanwhile, like native HDF5
/// holds its global lock.
pub struct DriverFile {
    library: Library,
    file: NonNull<sys::H5FD_t>,
    size: u64,
    /// The call in which a read failed, by its thread and number.
    failed: Mutex<Option<(ThreadId, u64)>>,
}

// SAFETY: the pointer is only used in threads that are in a callback of its library, which calls one at a time.
unsafe impl Send for DriverFile {}
// SAFETY: as for Send.
unsafe impl Sync for DriverFile {}

impl fmt::Debug for DriverFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverFile")
            .field("library", &self.library)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl DriverFile {
    /// Opens a file with the driver of a file access list. Returns `None` if the driver cannot open the file, or does
    /// not know its length: then the native connector reports the error itself.
    ///
    /// # Errors
    /// A name with a NUL byte.
    pub fn open(library: Library, name: &[u8], access: Hid) -> Result<Option<Self>> {
        if !caller::is_in(library) {
            return Ok(None);
        }
        let table = library.table();
        let name = strings::c_string(name, "a file name")?;
        // SAFETY: the name is terminated, the list is checked by the library.
        let open =
            || unsafe { (table.H5FDopen)(name.as_ptr(), sys::H5F_ACC_RDONLY, access, sys::HADDR_UNDEF) };
        let Some(file) = library.quietly(open, |file| file.is_null()).ok().and_then(NonNull::new) else {
            return Ok(None);
        };
        let mut opened = Self { library, file, size: 0, failed: Mutex::new(None) };
        // SAFETY: the file is open.
        let ask = || unsafe { (table.H5FDget_eof)(file.as_ptr(), sys::H5FD_MEM_DEFAULT) };
        let Ok(size) = library.quietly(ask, |size| *size == sys::HADDR_UNDEF) else { return Ok(None) };
        // libhdf5 does not read beyond the set end of allocation (H5FDread).
        // SAFETY: the file is open; the address is its end.
        let set = || unsafe { (table.H5FDset_eoa)(file.as_ptr(), sys::H5FD_MEM_DEFAULT, size) };
        if library.quietly(set, |result| *result < 0).is_err() {
            return Ok(None);
        }
        opened.size = size;
        Ok(Some(opened))
    }
}

impl ByteSource for DriverFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        if !caller::is_in(self.library) {
            return Err(io::Error::other(
                "a file driver is asked by a thread that its library has not called",
            ));
        }
        if at.checked_add(buf.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if buf.is_empty() {
            return Ok(());
        }
        // A driver in Python has raised an exception, which h5py shows when the call returns. Until then no Python
        // code may run.
        let call = (thread::current().id(), caller::call_number());
        if *self.failed.lock() == Some(call) {
            return Err(unreadable());
        }
        let (table, default) = (self.library.table(), self.library.transfer_default());
        let (file, kind, into) = (self.file.as_ptr(), sys::H5FD_MEM_DEFAULT, buf.as_mut_ptr().cast());
        // SAFETY: the file is open, the buffer has the length that is given, and the library is this thread's.
        let read = || unsafe { (table.H5FDread)(file, kind, default, at, buf.len(), into) };
        let done = self.library.quietly(read, |result| *result < 0);
        done.map(drop).map_err(|_| {
            *self.failed.lock() = Some(call);
            unreadable()
        })
    }
}

fn unreadable() -> io::Error {
    io::Error::other("the file driver cannot read")
}

impl Drop for DriverFile {
    fn drop(&mut self) {
        // The driver must not be called in other threads. Its resources stay open until the process ends.
        if caller::is_in(self.library) {
            let (table, file) = (self.library.table(), self.file.as_ptr());
            // SAFETY: the file is open, and no other code has it.
            let close = || unsafe { (table.H5FDclose)(file) };
            let _a_reader_loses_nothing = self.library.quietly(close, |result| *result < 0);
        }
    }
}
