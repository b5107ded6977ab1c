//! The file driver of the native files beneath h5lake's objects: its bytes are in memory, and behind them are the
//! objects of a container.
//!
//! Native code resolves an old-style region reference by reading an object header at the object's address, and the
//! address of an object in a container is its object id. So a read there returns a header that holds the dataset's
//! dataspace: a version 1 object header with one dataspace message (HDF5 File Format Specification 3.0, IV.A.1.a,
//! IV.A.2.b).

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_uint, c_ulong, c_void};
use std::sync::{LazyLock, Weak};

use super::driver_class::driver_class;
use h5lake_container::{Container, Dataspace, ObjectId};
use h5lake_ledger::locks::Mutex;
use h5lake_plugin_abi::bindings as sys;

use crate::error::Result;
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::Library;

/// The driver's number: numbers below 512 are reserved.
const VALUE: sys::H5FD_class_value_t = 704;
/// The end of the address space; every object id is below.
const MAXIMUM_ADDRESS: u64 = i64::MAX as u64;
/// The most bytes of the native file itself. It holds stand-in objects, region references, and an element for each
/// filter that native code runs.
const MAXIMUM_BYTES: u64 = 1 << 30;
/// The bytes that stay in memory after the file has become shorter, for reuse.
const KEPT_BYTES: usize = 16 << 20;
/// The end of allocation for object headers: behind all object ids.
const END_FOR_HEADERS: u64 = MAXIMUM_ADDRESS - 0xffff;

/// Returns the name of the native file with this number.
pub fn file_name(number: u64) -> String {
    format!("h5lake-face-{}-{number}", std::process::id())
}

/// The known state of a native file beneath a session.
#[derive(Default)]
struct KnownFile {
    container: Weak<Container>,
    /// The highest end of the file's allocated bytes: space that was freed below may have been reused for objects that
    /// remain.
    end: u64,
    /// True if native code has read objects of the container in this file, and may have cached them.
    was_asked: bool,
}

static FILES: LazyLock<Mutex<HashMap<u64, KnownFile>>> = LazyLock::new(Default::default);

fn with_known<T>(number: u64, change: impl FnOnce(&mut KnownFile) -> T) -> T {
    change(FILES.lock().entry(number).or_default())
}

/// Sets the container for which the native file with this number stands.
pub fn bind(number: u64, container: Weak<Container>) {
    with_known(number, |known| known.container = container);
}

/// Returns the highest end of the bytes that native code allocated in a file. Returns `None` if native code has read
/// objects of the container there: its cached copies are valid for one session only.
pub fn end_of(number: u64) -> Option<u64> {
    with_known(number, |known| (!known.was_asked).then_some(known.end))
}

impl Library {
    /// Makes a file access list use the driver. The driver must be kept until the file is closed: `H5FD_close`
    /// releases the file's own reference to the driver before it calls the driver.
    pub(in crate::hdf5) fn set_face_driver(self, access: &Id) -> Result<Id> {
        let table = self.table();
        // SAFETY: the class lives as long as the process.
        let driver = unsafe { (table.H5FDregister)(&raw const DRIVER.0) };
        let driver = Id::from_call(self, driver, "H5FDregister")?;
        check(
            // SAFETY: the driver takes no settings.
            unsafe { (table.H5Pset_driver)(access.get(), driver.get(), std::ptr::null()) },
            "H5Pset_driver",
        )?;
        Ok(driver)
    }
}

struct ShadowDriver(sys::H5FD_class_t);

// SAFETY: the structure is constant; libhdf5 only reads it.
unsafe impl Sync for ShadowDriver {}

static DRIVER: ShadowDriver = ShadowDriver(driver());

const fn driver() -> sys::H5FD_class_t {
    let mut class = driver_class(VALUE, c"h5lake-face", MAXIMUM_ADDRESS);
    class.open = Some(open);
    class.close = Some(close);
    class.cmp = Some(compare);
    class.query = Some(query);
    class.alloc = Some(allocate);
    class.get_eoa = Some(end_of_allocation);
    class.set_eoa = Some(set_end_of_allocation);
    class.get_eof = Some(end_of_file);
    class.read = Some(read);
    class.write = Some(write);
    class
}

/// An open file of the driver; libhdf5's own part comes first.
#[repr(C)]
struct FaceFile {
    public: sys::H5FD_t,
    number: u64,
    bytes: Vec<u8>,
    end: u64,
}

impl FaceFile {
    fn move_end(&mut self, end: u64) {
        self.end = end;
        let bytes = usize::try_from(end).unwrap_or(usize::MAX).max(KEPT_BYTES);
        if self.bytes.len() > bytes {
            self.bytes.truncate(bytes);
            self.bytes.shrink_to_fit();
        }
        with_known(self.number, |known| known.end = known.end.max(end));
    }
}

/// Returns the file behind a pointer of libhdf5's.
///
/// # Safety
/// The pointer came from `open` and has not been closed; libhdf5's lock excludes other threads.
unsafe fn file<'a>(pointer: *const sys::H5FD_t) -> &'a mut FaceFile {
    // SAFETY: as the caller says.
    unsafe { &mut *pointer.cast_mut().cast::<FaceFile>() }
}

unsafe extern "C" fn open(
    name: *const c_char,
    _flags: c_uint,
    _access: i64,
    _maximum: u64,
) -> *mut sys::H5FD_t {
    // SAFETY: the name is terminated.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let Some(number) = name.rsplit('-').next().and_then(|number| number.parse().ok()) else {
        return std::ptr::null_mut();
    };
    // SAFETY: all-zero is a valid value of this plain structure, which libhdf5 fills.
    let public: sys::H5FD_t = unsafe { std::mem::zeroed() };
    Box::into_raw(Box::new(FaceFile { public, number, bytes: Vec::new(), end: 0 })).cast()
}

unsafe extern "C" fn close(pointer: *mut sys::H5FD_t) -> i32 {
    // SAFETY: from `open`, closed once.
    let file = unsafe { Box::from_raw(pointer.cast::<FaceFile>()) };
    FILES.lock().remove(&file.number);
    0
}

unsafe extern "C" fn compare(first: *const sys::H5FD_t, second: *const sys::H5FD_t) -> i32 {
    (first as usize).cmp(&(second as usize)) as i32
}

unsafe extern "C" fn query(_file: *const sys::H5FD_t, flags: *mut c_ulong) -> i32 {
    // SAFETY: null or writable.
    unsafe { crate::hdf5::strings::answer(flags, 0) };
    0
}

unsafe extern "C" fn allocate(
    pointer: *mut sys::H5FD_t,
    _kind: sys::H5FD_mem_t,
    _transfer: i64,
    size: u64,
) -> u64 {
    const UNDEFINED: u64 = u64::MAX;
    // SAFETY: see `file`.
    let file = unsafe { file(pointer) };
    let Some(address) = file.end.checked_next_multiple_of(8) else { return UNDEFINED };
    match address.checked_add(size).filter(|end| *end <= MAXIMUM_BYTES) {
        Some(end) => {
            file.move_end(end);
            address
        }
        None => UNDEFINED,
    }
}

unsafe extern "C" fn end_of_allocation(pointer: *const sys::H5FD_t, kind: sys::H5FD_mem_t) -> u64 {
    // SAFETY: see `file`.
    if kind == sys::H5FD_MEM_OHDR { END_FOR_HEADERS } else { unsafe { file(pointer) }.end }
}

unsafe extern "C" fn set_end_of_allocation(
    pointer: *mut sys::H5FD_t,
    _kind: sys::H5FD_mem_t,
    end: u64,
) -> i32 {
    // SAFETY: see `file`.
    let file = unsafe { file(pointer) };
    // libhdf5 also sets the end that was reported for headers. A lower end frees the space at the end: otherwise a
    // chunk that changes its length would take new space each time.
    if end <= MAXIMUM_BYTES {
        file.move_end(end);
    }
    0
}

unsafe extern "C" fn end_of_file(pointer: *const sys::H5FD_t, _kind: sys::H5FD_mem_t) -> u64 {
    // SAFETY: see `file`.
    unsafe { file(pointer) }.end
}

unsafe extern "C" fn read(
    pointer: *mut sys::H5FD_t,
    _kind: sys::H5FD_mem_t,
    _transfer: i64,
    address: u64,
    size: usize,
    buffer: *mut c_void,
) -> i32 {
    // SAFETY: see `file`; the buffer has `size` bytes.
    let (file, out) = unsafe { (file(pointer), std::slice::from_raw_parts_mut(buffer.cast::<u8>(), size)) };
    if address >= MAXIMUM_BYTES {
        return match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| header(file.number, address))) {
            Ok(Some(header)) => {
                copy_padded(&header, out);
                0
            }
            _ => -1,
        };
    }
    let start = usize::try_from(address).unwrap_or(usize::MAX).min(file.bytes.len());
    copy_padded(&file.bytes[start..], out);
    0
}

/// Copies `from` as far as it reaches, and fills the remainder of `out` with zeros.
fn copy_padded(from: &[u8], out: &mut [u8]) {
    let length = from.len().min(out.len());
    let (copied, padded) = out.split_at_mut(length);
    copied.copy_from_slice(&from[..length]);
    padded.fill(0);
}

unsafe extern "C" fn write(
    pointer: *mut sys::H5FD_t,
    _kind: sys::H5FD_mem_t,
    _transfer: i64,
    address: u64,
    size: usize,
    buffer: *const c_void,
) -> i32 {
    // SAFETY: see `file`; the buffer has `size` bytes.
    let (file, data) = unsafe { (file(pointer), std::slice::from_raw_parts(buffer.cast::<u8>(), size)) };
    let Some(end) = address.checked_add(size as u64).filter(|end| *end <= MAXIMUM_BYTES) else { return -1 };
    let (start, end) = (address as usize, end as usize);
    if file.bytes.len() < start {
        file.bytes.resize(start, 0);
    }
    let (over, behind) = data.split_at((file.bytes.len().min(end)) - start);
    file.bytes[start..start + over.len()].copy_from_slice(over);
    file.bytes.extend_from_slice(behind);
    0
}

/// Returns the object header that stands for a dataset: native code reads only its dataspace.
fn header(number: u64, address: u64) -> Option<Vec<u8>> {
    const PREFIX_BYTES: usize = 16;
    const MESSAGE_HEAD_BYTES: usize = 8;
    const SPACE_HEAD_BYTES: usize = 4;
    const DATASPACE_MESSAGE: u16 = 1;
    const DATASPACE_VERSION: u8 = 2; // the first that knows null spaces
    const HAS_MAXIMUM: u8 = 1;
    let container = with_known(number, |known| {
        known.was_asked = true;
        known.container.upgrade()
    })?;
    let space = container.dataset(ObjectId(address)).ok()?.space();
    let (kind, flags) = match &space {
        Dataspace::Scalar => (0, 0),
        Dataspace::Simple { .. } => (1, HAS_MAXIMUM),
        Dataspace::Null => (2, 0),
    };
    let (dims, max) = (space.dims(), space.max_dims());
    // The length of a message is a multiple of eight.
    let message = (SPACE_HEAD_BYTES + 2 * 8 * dims.len()).next_multiple_of(8);
    let mut bytes = vec![0_u8; PREFIX_BYTES + MESSAGE_HEAD_BYTES + message];
    bytes[0] = 1;
    bytes[2..4].copy_from_slice(&1_u16.to_le_bytes());
    bytes[4..8].copy_from_slice(&1_u32.to_le_bytes());
    bytes[8..12].copy_from_slice(&u32::try_from(MESSAGE_HEAD_BYTES + message).ok()?.to_le_bytes());
    bytes[16..18].copy_from_slice(&DATASPACE_MESSAGE.to_le_bytes());
    bytes[18..20].copy_from_slice(&u16::try_from(message).ok()?.to_le_bytes());
    bytes[24..28].copy_from_slice(&[DATASPACE_VERSION, u8::try_from(dims.len()).ok()?, flags, kind]);
    for (place, dim) in bytes[28..].chunks_exact_mut(8).zip(dims.iter().chain(max)) {
        place.copy_from_slice(&dim.to_le_bytes());
    }
    Some(bytes)
}
