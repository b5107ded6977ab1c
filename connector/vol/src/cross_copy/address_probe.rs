//! What a libhdf5 says of chunks that it must not be believed in: releases differ. A small file of its own tells whether addresses of
//! raw data count from the file's first byte or from behind the user block, and whether coordinates are those of the index.

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
/// What the test file has as its data.
const PATTERN: &[u8; 32] = b"h5lake looks where this is kept!";

/// What has to be added to addresses in files with a user block of `user_block` bytes: of chunks, and of contiguous data. `scratch` is a
/// path for a file, which is gone when this returns.
///
/// # Errors
/// Those of the library and the file system.
pub(super) fn shifts(library: Library, user_block: u64, scratch: &Path) -> Result<(u64, u64)> {
    if user_block == 0 {
        return Ok((0, 0));
    }
    let found = probe(library, scratch);
    let _gone = std::fs::remove_file(scratch);
    let (chunks, contiguous) = found?;
    Ok((if chunks { user_block } else { 0 }, if contiguous { user_block } else { 0 }))
}

/// Whether the user block has to be added to addresses of chunks, and of contiguous data.
fn probe(library: Library, scratch: &Path) -> Result<(bool, bool)> {
    let name = CString::new(scratch.as_os_str().as_bytes())
        .map_err(|_| Error::argument("the name of a temporary file has a zero byte"))?;
    let (chunk, contiguous) = make(library, &name)?;
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

/// Makes the file; the addresses of a chunk and of contiguous data, as the library gives them.
fn make(library: Library, name: &CStr) -> Result<(u64, u64)> {
    let table = library.table();
    let access = library.access_to_native(false)?;
    let id = |id, function| Id::from_call(library, id, function);
    let size = [PATTERN.len() as u64];
    let default = sys::H5P_DEFAULT;
    // SAFETY: names are terminated, arrays have an entry for the one dimension, the buffer holds all elements, identifiers are
    // checked by the library.
    unsafe {
        let creation = id((table.H5Pcreate)(table.H5P_CLS_FILE_CREATE_ID_g()), "H5Pcreate")?;
        library.set_user_block(creation.get(), USER_BLOCK)?;
        let make = table.H5Fcreate;
        let file = id(make(name.as_ptr(), sys::H5F_ACC_TRUNC, creation.get(), access.get()), "H5Fcreate")?;
        let space = id((table.H5Screate_simple)(1, size.as_ptr(), std::ptr::null()), "H5Screate_simple")?;
        let byte = table.H5T_NATIVE_SCHAR_g();
        let dataset = |name: &CStr, list: Hid| -> Result<Id> {
            let create = table.H5Dcreate2;
            let made = create(file.get(), name.as_ptr(), byte, space.get(), default, list, default);
            let made = id(made, "H5Dcreate2")?;
            let all = sys::H5S_ALL as Hid;
            let data = PATTERN.as_ptr().cast::<c_void>();
            check((table.H5Dwrite)(made.get(), byte, all, all, default, data), "H5Dwrite")?;
            check((table.H5Fflush)(file.get(), sys::H5F_SCOPE_GLOBAL), "H5Fflush")?;
            Ok(made)
        };
        let list = id((table.H5Pcreate)(table.H5P_CLS_DATASET_CREATE_ID_g()), "H5Pcreate")?;
        let contiguous = dataset(c"contiguous", default)?;
        check((table.H5Pset_chunk)(list.get(), 1, size.as_ptr()), "H5Pset_chunk")?;
        let chunked = dataset(c"chunked", list.get())?;
        let mut chunk = u64::MAX;
        let place: *mut u64 = &mut chunk;
        check((table.H5Dchunk_iter)(chunked.get(), default, Some(note), place.cast()), "H5Dchunk_iter")?;
        Ok((chunk, (table.H5Dget_offset)(contiguous.get())))
    }
}

/// Whether `H5Dchunk_iter` counts the coordinates of chunks in an extensible array along the dimensions as they are, where the array has
/// the unlimited one first. `scratch` is a path for a file, which is gone when this returns.
///
/// # Errors
/// Those of the library and the file system.
pub(super) fn swaps_coordinates(library: Library, scratch: &Path) -> Result<bool> {
    let name = CString::new(scratch.as_os_str().as_bytes())
        .map_err(|_| Error::argument("the name of a temporary file has a zero byte"))?;
    let found = reaches_second_row(library, &name);
    let _gone = std::fs::remove_file(scratch);
    found.map(|reaches| !reaches)
}

/// Makes a file with two rows of two chunks, of which there may be more along the second dimension. Whether a chunk is said to be in the
/// second row.
fn reaches_second_row(library: Library, name: &CStr) -> Result<bool> {
    let table = library.table();
    let access = library.access_to_native(false)?;
    let id = |id, function| Id::from_call(library, id, function);
    let (size, most, chunk) = ([2, 2], [2, u64::MAX], [1, 1]);
    let default = sys::H5P_DEFAULT;
    // SAFETY: names are terminated, arrays have an entry for each of the two dimensions, the buffer holds all elements, identifiers are
    // checked by the library.
    unsafe {
        let newest = table.newest_format();
        check((table.H5Pset_libver_bounds)(access.get(), newest, newest), "H5Pset_libver_bounds")?;
        let make = table.H5Fcreate;
        let file = id(make(name.as_ptr(), sys::H5F_ACC_TRUNC, default, access.get()), "H5Fcreate")?;
        let space = id((table.H5Screate_simple)(2, size.as_ptr(), most.as_ptr()), "H5Screate_simple")?;
        let list = id((table.H5Pcreate)(table.H5P_CLS_DATASET_CREATE_ID_g()), "H5Pcreate")?;
        check((table.H5Pset_chunk)(list.get(), 2, chunk.as_ptr()), "H5Pset_chunk")?;
        let (byte, all) = (table.H5T_NATIVE_SCHAR_g(), sys::H5S_ALL as Hid);
        let made =
            (table.H5Dcreate2)(file.get(), c"x".as_ptr(), byte, space.get(), default, list.get(), default);
        let made = id(made, "H5Dcreate2")?;
        let data = PATTERN.as_ptr().cast::<c_void>();
        check((table.H5Dwrite)(made.get(), byte, all, all, default, data), "H5Dwrite")?;
        let mut most_row = 0_u64;
        let place: *mut u64 = &mut most_row;
        check((table.H5Dchunk_iter)(made.get(), default, Some(note_row), place.cast()), "H5Dchunk_iter")?;
        Ok(most_row > 0)
    }
}

/// # Safety
/// `data` is a number, and `offset` has an entry.
unsafe extern "C" fn note_row(
    offset: *const sys::hsize_t,
    _mask: c_uint,
    _address: sys::haddr_t,
    _length: sys::hsize_t,
    data: *mut c_void,
) -> c_int {
    // SAFETY: as the function says.
    unsafe {
        let most = &mut *data.cast::<u64>();
        *most = (*most).max(*offset);
    }
    0
}

/// # Safety
/// `data` is a number.
unsafe extern "C" fn note(
    _offset: *const sys::hsize_t,
    _mask: c_uint,
    address: sys::haddr_t,
    _length: sys::hsize_t,
    data: *mut c_void,
) -> c_int {
    // SAFETY: as the function says.
    unsafe { *data.cast::<u64>() = address };
    0
}
