//! Probes properties of libhdf5's lists of chunks in which releases differ. A small test file shows whether addresses
//! of raw data count from the file's first byte or from behind the user block, and whether coordinates are those of
//! the index.

use std::ffi::{CStr, CString, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};

/// The size of the test file's user block.
const USER_BLOCK: u64 = 512;
/// The data in the test file.
const PATTERN: &[u8; 32] = b"h5lake looks where this is kept!";

/// Returns the numbers to be added to addresses in files with a user block of `user_block` bytes: for chunks, and for
/// contiguous data. `scratch` is a path for a test file, which is deleted when this returns.
///
/// # Errors
/// The errors of the library and the file system.
pub(super) fn shifts(library: Library, user_block: u64, scratch: &Path) -> Result<(u64, u64)> {
    if user_block == 0 {
        return Ok((0, 0));
    }
    let (chunks, contiguous) = with_file(scratch, |name| probe(library, scratch, name))?;
    Ok((if chunks { user_block } else { 0 }, if contiguous { user_block } else { 0 }))
}

/// Returns whether `H5Dchunk_iter` computes the coordinates of chunks in an extensible array along the dimensions in
/// their own order, although the array has the unlimited dimension first. `scratch` is a path for a test file, which
/// is deleted when this returns.
///
/// # Errors
/// The errors of the library and the file system.
pub(super) fn swaps_coordinates(library: Library, scratch: &Path) -> Result<bool> {
    with_file(scratch, |name| reaches_second_row(library, name)).map(|reaches| !reaches)
}

/// Runs `work` with a file, and removes the file.
fn with_file<T>(path: &Path, work: impl FnOnce(&CStr) -> Result<T>) -> Result<T> {
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::argument("the name of a temporary file has a zero byte"))?;
    let done = work(&name);
    let _gone = std::fs::remove_file(path);
    done
}

/// Returns whether the user block has to be added to addresses of chunks, and of contiguous data.
fn probe(library: Library, scratch: &Path, name: &CStr) -> Result<(bool, bool)> {
    let (chunk, contiguous) = make(library, name)?;
    let bytes = std::fs::read(scratch)
        .map_err(|error| Error::new(Minor::CannotOperate, format!("{}: {error}", scratch.display())))?;
    let is_at = |address: u64| {
        let at = usize::try_from(address).unwrap_or(usize::MAX);
        at.checked_add(PATTERN.len()).and_then(|end| bytes.get(at..end)) == Some(&PATTERN[..])
    };
    let is_behind = |address: u64| match (is_at(address), is_at(address.saturating_add(USER_BLOCK))) {
        (true, false) => Ok(false),
        (false, true) => Ok(true),
        _ => Err(Error::new(
            Minor::CannotOperate,
            "this libhdf5 does not tell where raw data lies in files with a user block; use another one (--library)",
        )),
    };
    Ok((is_behind(chunk)?, is_behind(contiguous)?))
}

/// A new file that is made to probe the library's answers about it.
struct TestFile {
    library: Library,
    file: Id,
}

impl TestFile {
    /// Makes the file; `creation` and `access` are lists of the library, or its default.
    fn create(library: Library, name: &CStr, creation: Hid, access: &Id) -> Result<Self> {
        // SAFETY: the name is terminated, identifiers are checked by the library.
        let file =
            unsafe { (library.table().H5Fcreate)(name.as_ptr(), sys::H5F_ACC_TRUNC, creation, access.get()) };
        Ok(Self { library, file: Id::from_call(library, file, "H5Fcreate")? })
    }

    /// Makes a written dataset of bytes, with chunks of `chunk` elements or contiguous, and of at most as many bytes
    /// as the pattern has.
    fn dataset(&self, name: &CStr, size: &[u64], most: &[u64], chunk: Option<&[u64]>) -> Result<Id> {
        let table = self.library.table();
        let id = |id, function| Id::from_call(self.library, id, function);
        let (default, all) = (sys::H5P_DEFAULT, sys::H5S_ALL as Hid);
        let rank = size.len().min(most.len()) as c_int;
        if size.iter().product::<u64>() > PATTERN.len() as u64
            || chunk.is_some_and(|chunk| chunk.len() != size.len())
        {
            return Err(Error::argument("a dataset that no test file has"));
        }
        // SAFETY: names are terminated, arrays have an entry for each dimension, the buffer holds all elements,
        // identifiers are checked by the library.
        unsafe {
            let space = id((table.H5Screate_simple)(rank, size.as_ptr(), most.as_ptr()), "H5Screate_simple")?;
            let list = id((table.H5Pcreate)(table.H5P_CLS_DATASET_CREATE_ID_g()), "H5Pcreate")?;
            if let Some(chunk) = chunk {
                check((table.H5Pset_chunk)(list.get(), rank, chunk.as_ptr()), "H5Pset_chunk")?;
            }
            let byte = table.H5T_NATIVE_SCHAR_g();
            let create = table.H5Dcreate2;
            let made =
                create(self.file.get(), name.as_ptr(), byte, space.get(), default, list.get(), default);
            let made = id(made, "H5Dcreate2")?;
            let data = PATTERN.as_ptr().cast::<c_void>();
            check((table.H5Dwrite)(made.get(), byte, all, all, default, data), "H5Dwrite")?;
            check((table.H5Fflush)(self.file.get(), sys::H5F_SCOPE_GLOBAL), "H5Fflush")?;
            Ok(made)
        }
    }
}

/// Makes a file with a user block; returns the addresses of a chunk and of contiguous data, as the library reports
/// them.
fn make(library: Library, name: &CStr) -> Result<(u64, u64)> {
    let table = library.table();
    // SAFETY: the class is one of the library's.
    let creation = unsafe { (table.H5Pcreate)(table.H5P_CLS_FILE_CREATE_ID_g()) };
    let creation = Id::from_call(library, creation, "H5Pcreate")?;
    library.set_user_block(creation.get(), USER_BLOCK)?;
    let file = TestFile::create(library, name, creation.get(), &library.access_to_native(false)?)?;
    let size = [PATTERN.len() as u64];
    let contiguous = file.dataset(c"contiguous", &size, &size, None)?;
    let chunked = file.dataset(c"chunked", &size, &size, Some(&size))?;
    let seen = Seen::of(library, &chunked)?;
    // SAFETY: identifiers are checked by the library.
    Ok((seen.address, unsafe { (table.H5Dget_offset)(contiguous.get()) }))
}

/// Makes a file with two rows of two chunks, which can grow along the second dimension. Returns whether the library
/// reports a chunk in the second row.
fn reaches_second_row(library: Library, name: &CStr) -> Result<bool> {
    let access = library.access_to_native(false)?;
    let newest = library.table().newest_format();
    library.set_format_bounds(access.get(), (newest, newest))?;
    let file = TestFile::create(library, name, sys::H5P_DEFAULT, &access)?;
    let made = file.dataset(c"x", &[2, 2], &[2, u64::MAX], Some(&[1, 1]))?;
    Ok(Seen::of(library, &made)?.last_row > 0)
}

/// The library's answers about a dataset's chunks.
struct Seen {
    /// The address of the last chunk.
    address: u64,
    /// The largest coordinate along the first dimension.
    last_row: u64,
}

impl Seen {
    fn of(library: Library, dataset: &Id) -> Result<Self> {
        let mut seen = Self { address: u64::MAX, last_row: 0 };
        let place: *mut Self = &mut seen;
        // SAFETY: the callback gets the place, which outlives the call.
        let done = unsafe {
            (library.table().H5Dchunk_iter)(dataset.get(), sys::H5P_DEFAULT, Some(note), place.cast())
        };
        check(done, "H5Dchunk_iter")?;
        Ok(seen)
    }
}

/// # Safety
/// `data` is a [`Seen`], and `offset` has an entry.
unsafe extern "C" fn note(
    offset: *const sys::hsize_t,
    _mask: c_uint,
    address: sys::haddr_t,
    _length: sys::hsize_t,
    data: *mut c_void,
) -> c_int {
    // SAFETY: as the function says.
    unsafe {
        let seen = &mut *data.cast::<Seen>();
        (seen.address, seen.last_row) = (address, seen.last_row.max(*offset));
    }
    0
}
