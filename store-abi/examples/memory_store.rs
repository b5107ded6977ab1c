//! A store for h5lake in Rust: objects in this process's memory, at URLs `rustmem:NAME`.
//!
//!     cargo build --release -p h5lake-store-abi --example memory_store
//!     H5LAKE_STORE_PATH=$PWD/target/release/examples/libmemory_store.so h5lake check-store rustmem:try
//!
//! A library of its own has `crate-type = ["cdylib"]` in its Cargo.toml, and the crate `h5lake-store-abi` for its
//! module `raw`.
#![allow(missing_docs, reason = "the header has the documentation")]

use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::ops::Bound;
use std::slice;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use h5lake_store_abi::raw::*;
use parking_lot::Mutex;

/// An object: its version, the time of its last write, and its bytes.
#[derive(Clone)]
struct Kept {
    version: u64,
    time: std::time::Duration,
    bytes: Arc<Vec<u8>>,
}

/// All objects of all stores; the name of a store is a prefix of their keys. No lock is held while h5lake's functions
/// run.
static OBJECTS: Mutex<BTreeMap<Vec<u8>, Kept>> = Mutex::new(BTreeMap::new());
static VERSIONS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

/// Returns the bytes at an address.
///
/// # Safety
/// `length` bytes are at the address, or the address is null.
unsafe fn text<'a>(at: *const c_char, length: u64) -> &'a [u8] {
    if at.is_null() {
        return &[];
    }
    // SAFETY: the caller guarantees it.
    unsafe { slice::from_raw_parts(at.cast(), length as usize) }
}

/// Describes an object to h5lake; returns h5lake's answer.
fn tell(call: &Call, key: &[u8], kept: &Kept) -> i32 {
    let etag = kept.version.to_string();
    let object = Object {
        size: size_of::<Object>() as u32,
        version: VERSION,
        key: key.as_ptr().cast(),
        key_length: key.len() as u64,
        length: kept.bytes.len() as u64,
        seconds: kept.time.as_secs() as i64,
        nanoseconds: kept.time.subsec_nanos(),
        reserved: 0,
        etag: etag.as_ptr().cast(),
        etag_length: etag.len() as u64,
    };
    // SAFETY: h5lake's functions are valid as long as the process, and copy their arguments.
    unsafe { ((*call.host).object)(call.number, &object) }
}

unsafe extern "C" fn open(call: *const Call, request: *const Open) -> i32 {
    // SAFETY: both exist until this returns.
    let (call, url) = unsafe { (&*call, text((*request).url, (*request).url_length)) };
    let name = b"rustmem:";
    let prefix = url[name.len()..].strip_prefix(b"//").unwrap_or(&url[name.len()..]);
    let opened = Opened {
        size: size_of::<Opened>() as u32,
        version: VERSION,
        store: std::ptr::null_mut(),
        capabilities: ATOMIC_CREATE | ATOMIC_UPDATE | RANGES | ORDERED_LIST | NESTED_KEYS,
        name: name.as_ptr().cast(),
        name_length: name.len() as u64,
        prefix: prefix.as_ptr().cast(),
        prefix_length: prefix.len() as u64,
    };
    // SAFETY: as above.
    match unsafe { ((*call.host).opened)(call.number, &opened) } {
        REFUSED => FAILED,
        _ => OK,
    }
}

unsafe extern "C" fn close(_: *mut c_void) {}

unsafe extern "C" fn read(_: *mut c_void, call: *const Call, request: *const Read) -> i32 {
    // SAFETY: both exist until this returns.
    let (call, request) = unsafe { (&*call, &*request) };
    // SAFETY: the key is part of the request.
    let key = unsafe { text(request.key, request.key_length) };
    let Some(kept) = OBJECTS.lock().get(key).cloned() else { return NOT_FOUND };
    if tell(call, key, &kept) == GO_ON {
        let rest = kept.bytes.get(request.offset as usize..).unwrap_or_default();
        let part = &rest[..rest.len().min(request.length as usize)];
        // SAFETY: h5lake's functions are valid as long as the process, and copy their arguments.
        unsafe { ((*call.host).bytes)(call.number, part.as_ptr().cast(), part.len() as u64) };
    }
    OK
}

unsafe extern "C" fn read_if_changed(store: *mut c_void, call: *const Call, request: *const Read) -> i32 {
    // SAFETY: the request exists until this returns, and the texts are parts of it.
    let (key, known) = unsafe {
        (text((*request).key, (*request).key_length), text((*request).etag, (*request).etag_length))
    };
    let there = OBJECTS.lock().get(key).map(|there| there.version.to_string());
    match there.as_deref().map(str::as_bytes) == Some(known) {
        true => OK | UNCHANGED,
        // SAFETY: both exist until this returns.
        false => unsafe { read(store, call, request) },
    }
}

/// Returns the bytes of a write, requested piece by piece.
fn payload(call: &Call, length: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length as usize);
    while (bytes.len() as u64) < length {
        let (mut piece, mut some) = (std::ptr::null(), 0);
        // SAFETY: h5lake's functions are valid as long as the process; both output variables can be written.
        let code = unsafe { ((*call.host).payload)(call.number, bytes.len() as u64, &mut piece, &mut some) };
        if code != GO_ON || some == 0 {
            return None;
        }
        // SAFETY: the bytes exist until the next call of `payload`.
        bytes.extend_from_slice(unsafe { text(piece.cast(), some) });
    }
    Some(bytes)
}

unsafe extern "C" fn write(_: *mut c_void, call: *const Call, request: *const Write) -> i32 {
    // SAFETY: both exist until this returns.
    let (call, request) = unsafe { (&*call, &*request) };
    // SAFETY: the texts are parts of the request.
    let (key, etag) =
        unsafe { (text(request.key, request.key_length), text(request.etag, request.etag_length)) };
    let Some(bytes) = payload(call, request.length) else { return FAILED };
    let kept = Kept {
        version: VERSIONS.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        bytes: Arc::new(bytes),
    };
    {
        let mut objects = OBJECTS.lock();
        let there = objects.get(key).map(|there| there.version.to_string());
        match request.mode {
            CREATE if there.is_some() => return EXISTS,
            UPDATE if there.as_deref().map(str::as_bytes) != Some(etag) => return CHANGED,
            _ => objects.insert(key.to_vec(), kept.clone()),
        };
    }
    tell(call, key, &kept);
    OK
}

unsafe extern "C" fn remove(_: *mut c_void, _: *const Call, request: *const Remove) -> i32 {
    // SAFETY: the request exists until this returns.
    let key = unsafe { text((*request).key, (*request).key_length) };
    OBJECTS.lock().remove(key);
    OK
}

unsafe extern "C" fn list(_: *mut c_void, call: *const Call, request: *const List) -> i32 {
    // SAFETY: both exist until this returns.
    let (call, request) = unsafe { (&*call, &*request) };
    // SAFETY: the texts are parts of the request.
    let (prefix, after) =
        unsafe { (text(request.prefix, request.prefix_length), text(request.after, request.after_length)) };
    let mut at = if request.after.is_null() || after < prefix {
        Bound::Included(prefix.to_vec())
    } else {
        Bound::Excluded(after.to_vec())
    };
    loop {
        let found = OBJECTS
            .lock()
            .range((at, Bound::Unbounded))
            .next()
            .map(|(key, kept)| (key.clone(), kept.clone()));
        match found {
            Some((key, kept)) if key.starts_with(prefix) && tell(call, &key, &kept) == GO_ON => {
                at = Bound::Excluded(key)
            }
            _ => return OK,
        }
    }
}

#[repr(transparent)]
struct Schemes([*const c_char; 2]);
// SAFETY: the texts are constant.
unsafe impl Sync for Schemes {}
static SCHEMES: Schemes = Schemes([c"rustmem".as_ptr(), std::ptr::null()]);

static LIBRARY: Library = Library {
    size: size_of::<Library>() as u32,
    version: VERSION,
    name: c"memory_store 1".as_ptr(),
    schemes: SCHEMES.0.as_ptr(),
    open: Some(open),
    close: Some(close),
    read: Some(read),
    write: Some(write),
    remove: Some(remove),
    list: Some(list),
    read_if_changed: Some(read_if_changed),
};

#[unsafe(no_mangle)]
extern "C" fn h5lake_store_library_of(version: u32) -> *const Library {
    if version >= VERSION { &LIBRARY } else { std::ptr::null() }
}
