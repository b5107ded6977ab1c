//! The table of C functions. `include/h5lake_reader.h` documents it for its callers.
//!
//! Each function decodes its arguments once, calls safe code, and reports its result. Arguments are what the header
//! demands; otherwise the behaviour is undefined, as everywhere in C, except for handles, which may be any numbers.
#![allow(unsafe_code)]

mod outcome;
mod raw;

use std::ffi::{CStr, c_char, c_void};
use std::sync::{Arc, LazyLock};

use h5lake_container::{Error, ErrorKind, Result};

use crate::handles::{Handle, Handles};
use crate::reader::Reader;
use crate::reader::stored::{Read, Slab, read_many};
use outcome::guard;
use raw::{Bytes, ErrorOut, ReadRequest, Table, VERSION, set_bytes};

static HANDLES: LazyLock<Handles> = LazyLock::new(Handles::default);

static TABLE: Table = Table {
    size: size_of::<Table>() as u32,
    version: VERSION,
    open,
    close,
    refresh,
    describe,
    list,
    attributes,
    attribute,
    open_dataset,
    describe_dataset,
    read,
    read_many: read_all,
    read_chunk,
    release,
    open_adopted,
};

/// Returns the table for a version of the interface; null if there is none. For [`export_api!`](crate::export_api).
pub fn api(version: u32) -> *const c_void {
    if version == VERSION { (&raw const TABLE).cast() } else { std::ptr::null() }
}

/// Exports a function `const h5lake_reader_table *NAME(uint32_t version)` that returns the table of C functions.
#[macro_export]
macro_rules! export_api {
    ($name:ident) => {
        const _: () = {
            /// Returns the table of C functions, or NULL.
            #[unsafe(no_mangle)]
            pub extern "C" fn $name(version: u32) -> *const ::core::ffi::c_void {
                $crate::api(version)
            }
        };
    };
}

/// Returns the bytes of a string argument.
///
/// # Safety
/// `string` is null, or terminated by a zero and not changed during the call.
unsafe fn string<'a>(string: *const c_char) -> Result<&'a [u8]> {
    if string.is_null() {
        return Err(Error::new(ErrorKind::InvalidArgument, "a string is NULL"));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { CStr::from_ptr(string) }.to_bytes())
}

/// Returns the settings of a call; `None` for those of the environment.
///
/// # Safety
/// As for [`string`].
unsafe fn settings<'a>(text: *const c_char) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let text = std::str::from_utf8(unsafe { string(text) }?);
    text.map(Some).map_err(|_| Error::new(ErrorKind::InvalidArgument, "the settings are not UTF-8"))
}

/// Adds the handle that `opened` returns, and passes its number to the caller.
///
/// # Safety
/// `place` is writable; `error` as for [`guard`].
unsafe fn add(opened: impl FnOnce() -> Result<Handle>, place: *mut u64, error: *mut ErrorOut) -> i32 {
    let body = || {
        let number = HANDLES.add(opened()?)?;
        // SAFETY: the caller's promise.
        unsafe { place.write(number) };
        Ok(())
    };
    // SAFETY: the caller's promise.
    unsafe { guard(error, body) }
}

unsafe extern "C" fn open(
    name: *const c_char,
    given: *const c_char,
    file: *mut u64,
    error: *mut ErrorOut,
) -> i32 {
    let opened = || {
        // SAFETY: the header demands strings.
        let (name, given) = unsafe { (string(name)?, settings(given)?) };
        Ok(Handle::File(Arc::new(Reader::open(name, given)?)))
    };
    // SAFETY: the header demands a place for the handle; `error` is the caller's.
    unsafe { add(opened, file, error) }
}

unsafe extern "C" fn open_adopted(
    path: *const c_char,
    name: *const c_char,
    given: *const c_char,
    file: *mut u64,
    error: *mut ErrorOut,
) -> i32 {
    let opened = || {
        // SAFETY: the header demands strings.
        let (path, name, given) = unsafe { (string(path)?, string(name)?, settings(given)?) };
        Ok(Handle::File(Arc::new(Reader::open_adopted(path, name, given)?)))
    };
    // SAFETY: the header demands a place for the handle; `error` is the caller's.
    unsafe { add(opened, file, error) }
}

unsafe extern "C" fn close(handle: u64, error: *mut ErrorOut) -> i32 {
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, || HANDLES.close(handle)) }
}

unsafe extern "C" fn refresh(file: u64, moved: *mut i32, error: *mut ErrorOut) -> i32 {
    let body = || {
        let has_moved = HANDLES.file(file)?.refresh()?;
        if !moved.is_null() {
            // SAFETY: the header demands a place for the number.
            unsafe { moved.write(has_moved.into()) };
        }
        Ok(())
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Answers a call with the JSON that `ask` returns for a path.
///
/// # Safety
/// The arguments are as the header demands.
unsafe fn ask(
    (file, path): (u64, *const c_char),
    json: *mut Bytes,
    error: *mut ErrorOut,
    ask: fn(&Arc<Reader>, &[u8]) -> Result<serde_json::Value>,
) -> i32 {
    let body = || {
        // SAFETY: the caller's promise.
        let path = unsafe { string(path) }?;
        let answer = ask(&HANDLES.file(file)?, path)?.to_string();
        // SAFETY: the caller's promise.
        unsafe { set_bytes(json, answer.into_bytes()) };
        Ok(())
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

unsafe extern "C" fn describe(file: u64, path: *const c_char, json: *mut Bytes, error: *mut ErrorOut) -> i32 {
    // SAFETY: the arguments are the caller's.
    unsafe { ask((file, path), json, error, Reader::describe) }
}

unsafe extern "C" fn list(file: u64, path: *const c_char, json: *mut Bytes, error: *mut ErrorOut) -> i32 {
    // SAFETY: the arguments are the caller's.
    unsafe { ask((file, path), json, error, Reader::list) }
}

unsafe extern "C" fn attributes(
    file: u64,
    path: *const c_char,
    json: *mut Bytes,
    error: *mut ErrorOut,
) -> i32 {
    // SAFETY: the arguments are the caller's.
    unsafe { ask((file, path), json, error, Reader::attributes) }
}

unsafe extern "C" fn attribute(
    file: u64,
    path: *const c_char,
    name: *const c_char,
    json: *mut Bytes,
    elements: *mut Bytes,
    pool: *mut Bytes,
    error: *mut ErrorOut,
) -> i32 {
    let body = || {
        // SAFETY: the header demands strings.
        let (path, name) = unsafe { (string(path)?, string(name)?) };
        let value = HANDLES.file(file)?.attribute(path, name)?;
        // SAFETY: the header demands places for the bytes.
        unsafe {
            set_bytes(json, value.description.to_string().into_bytes());
            set_bytes(elements, value.elements);
            set_bytes(pool, value.pool);
        }
        Ok(())
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

unsafe extern "C" fn open_dataset(
    file: u64,
    path: *const c_char,
    dataset: *mut u64,
    error: *mut ErrorOut,
) -> i32 {
    let opened = || {
        // SAFETY: the header demands a string.
        let path = unsafe { string(path) }?;
        Ok(Handle::Dataset(Arc::new(HANDLES.file(file)?.dataset(path)?)))
    };
    // SAFETY: the header demands a place for the handle; `error` is the caller's.
    unsafe { add(opened, dataset, error) }
}

unsafe extern "C" fn describe_dataset(dataset: u64, json: *mut Bytes, error: *mut ErrorOut) -> i32 {
    let body = || {
        let answer = HANDLES.dataset(dataset)?.describe()?.to_string();
        // SAFETY: the header demands a place for the bytes.
        unsafe { set_bytes(json, answer.into_bytes()) };
        Ok(())
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

/// Returns a selection of 3 · `rank` numbers; `None` for all elements.
///
/// # Safety
/// `selection` is null or has that many numbers, which are not changed during the call.
unsafe fn slab<'a>(rank: u32, selection: *const u64) -> Result<Option<Slab<'a>>> {
    if selection.is_null() {
        return Ok(None);
    }
    let rank = rank as usize;
    if rank > MAX_RANK {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("a selection has {rank} dimensions")));
    }
    // SAFETY: the caller's promise.
    let numbers = unsafe { std::slice::from_raw_parts(selection, 3 * rank) };
    let (start, rest) = numbers.split_at(rank);
    let (count, stride) = rest.split_at(rank);
    Ok(Some(Slab { start, count, stride }))
}

/// HDF5's bound on the rank.
const MAX_RANK: usize = 32;

/// Returns the caller's buffer.
///
/// # Safety
/// `buffer` has `size` bytes that only this call uses.
unsafe fn buffer<'a>(buffer: *mut c_void, size: u64) -> Result<&'a mut [u8]> {
    let size = usize::try_from(size).ok().filter(|size| *size <= isize::MAX as usize);
    let size =
        size.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "a buffer has an impossible size"))?;
    if size == 0 {
        return Ok(&mut []);
    }
    if buffer.is_null() {
        return Err(Error::new(ErrorKind::InvalidArgument, "a buffer is NULL"));
    }
    // SAFETY: the caller's promise; a byte has no alignment, and any value is one of a byte.
    Ok(unsafe { std::slice::from_raw_parts_mut(buffer.cast(), size) })
}

unsafe extern "C" fn read(
    dataset: u64,
    rank: u32,
    selection: *const u64,
    out: *mut c_void,
    size: u64,
    pool: *mut Bytes,
    error: *mut ErrorOut,
) -> i32 {
    let body = || {
        let dataset = HANDLES.dataset(dataset)?;
        // SAFETY: the header demands a selection of this rank, and a buffer of this size.
        let (slab, out) = unsafe { (slab(rank, selection)?, buffer(out, size)?) };
        let bytes = dataset.read(slab, out)?;
        // SAFETY: the header demands NULL or a place for the bytes.
        unsafe { set_bytes(pool, bytes) };
        Ok(())
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

unsafe extern "C" fn read_all(
    reads: *mut ReadRequest,
    count: u64,
    threads: u32,
    error: *mut ErrorOut,
) -> i32 {
    let body = || {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count == 0 {
            return Ok(());
        }
        if reads.is_null() || count > isize::MAX as usize / size_of::<ReadRequest>() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the list of reads is NULL or too long"));
        }
        // SAFETY: the header demands a list of this length.
        let requests = unsafe { std::slice::from_raw_parts_mut(reads, count) };
        let of = |request: &ReadRequest| {
            let from = HANDLES.dataset(request.dataset)?;
            // SAFETY: the header demands a selection of this rank, and a buffer of this size.
            let (slab, out) =
                unsafe { (slab(request.rank, request.selection)?, buffer(request.buffer, request.size)?) };
            Ok(Read { from, slab, out, pool: Vec::new() })
        };
        let mut all = requests.iter().map(of).collect::<Result<Vec<_>>>()?;
        read_many(&mut all, threads as usize)?;
        for (request, read) in requests.iter_mut().zip(all) {
            // SAFETY: the place is a member of the request.
            unsafe { set_bytes(&raw mut request.pool, read.pool) };
        }
        Ok(())
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

unsafe extern "C" fn read_chunk(
    dataset: u64,
    rank: u32,
    coords: *const u64,
    chunk: *mut Bytes,
    mask: *mut u32,
    error: *mut ErrorOut,
) -> i32 {
    let body = || {
        let rank = rank as usize;
        if coords.is_null() || rank > MAX_RANK {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "the coordinates of a chunk are NULL or too many",
            ));
        }
        // SAFETY: the header demands coordinates of this rank.
        let coords = unsafe { std::slice::from_raw_parts(coords, rank) };
        let (skipped, bytes) = HANDLES.dataset(dataset)?.chunk(coords)?;
        // SAFETY: the header demands places for the answers.
        unsafe {
            set_bytes(chunk, bytes);
            if !mask.is_null() {
                mask.write(skipped);
            }
        }
        Ok(())
    };
    // SAFETY: `error` is the caller's.
    unsafe { guard(error, body) }
}

unsafe extern "C" fn release(bytes: *mut Bytes) {
    // SAFETY: the header demands bytes of this library, and that each is released once.
    unsafe { raw::release(bytes) };
}
