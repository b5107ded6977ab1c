//! Functions with different names or declarations in HDF5 1.14 and 2.x, each in one form for both.
//!
//! The symbol table does not contain these functions, so they cannot be called with the signature of the wrong version.

mod chunk;
mod context;

use std::ffi::{CStr, c_int, c_uint, c_void};

use crate::bindings::{
    H5F_LIBVER_V114, H5F_libver_t, H5I_free_t, H5I_type_t, H5T_class_t, herr_t, hid_t, hsize_t,
};
use crate::resolve::{IdSymbol, Symbols};
use crate::{BindError, Hdf5};

pub use chunk::{ChunkRead, ChunkReadArgs2, ChunkReadError, ChunkWrite, ChunkWriteArgs2, StoredChunk};
pub use context::LibraryContext;

/// `H5T_COMPLEX`: the class of complex numbers, which HDF5 2.0 added.
pub const H5T_COMPLEX: H5T_class_t = H5T_class_t(11);

/// `H5F_LIBVER_V200`: the file format of HDF5 2.0.
pub const H5F_LIBVER_V200: H5F_libver_t = H5F_libver_t(5);

/// `H5VL_NATIVE_FILE_GET_MPI_ATOMICITY`, which the headers only define if HDF5 is built with MPI.
pub const H5VL_NATIVE_FILE_GET_MPI_ATOMICITY: c_int = 26;

/// `H5VL_NATIVE_FILE_SET_MPI_ATOMICITY`, which the headers only define if HDF5 is built with MPI.
pub const H5VL_NATIVE_FILE_SET_MPI_ATOMICITY: c_int = 27;

type TypeDecode1 = unsafe extern "C" fn(*const c_void) -> hid_t;
type TypeDecode2 = unsafe extern "C" fn(*const c_void, usize) -> hid_t;
type RegisterType1 = unsafe extern "C" fn(usize, c_uint, H5I_free_t) -> H5I_type_t;
type RegisterType2 = unsafe extern "C" fn(c_uint, H5I_free_t) -> H5I_type_t;
type ReadChunk1 = unsafe extern "C" fn(hid_t, hid_t, *const hsize_t, *mut u32, *mut c_void) -> herr_t;
type ReadChunk2 =
    unsafe extern "C" fn(hid_t, hid_t, *const hsize_t, *mut u32, *mut c_void, *mut usize) -> herr_t;
type DriverInit = unsafe extern "C" fn() -> hid_t;
type PerformInit = unsafe extern "C" fn(DriverInit) -> hid_t;

/// The functions that the methods of this module call.
pub(crate) struct Variants {
    decode: Decode,
    register: Register,
    pub(self) read_chunk: ReadChunk,
    native: IdSource,
    core: IdSource,
    mpio: Option<IdSource>,
    perform_init: Option<PerformInit>,
    pub(self) context: context::Functions,
}

enum Decode {
    Unbounded(TypeDecode1),
    Bounded(TypeDecode2),
}

enum Register {
    WithHashSize(RegisterType1),
    Plain(RegisterType2),
}

enum ReadChunk {
    Unbounded(ReadChunk1),
    Bounded(ReadChunk2),
}

/// The source of an id: a function that registers it (1.14), or a variable (2.x).
enum IdSource {
    Call(DriverInit),
    Variable(IdSymbol),
}

impl Variants {
    pub(crate) fn bind(symbols: &Symbols<'_>, version: (u32, u32, u32)) -> Result<Variants, BindError> {
        let v2 = version.0 >= 2;
        // SAFETY: each type is that of the named symbol in the headers of the version in which it is looked up.
        unsafe {
            Ok(Variants {
                decode: if v2 {
                    Decode::Bounded(symbols.required(c"H5Tdecode2")?)
                } else {
                    Decode::Unbounded(symbols.required(c"H5Tdecode")?)
                },
                register: if v2 {
                    Register::Plain(symbols.required(c"H5Iregister_type2")?)
                } else {
                    Register::WithHashSize(symbols.required(c"H5Iregister_type")?)
                },
                read_chunk: if v2 {
                    ReadChunk::Bounded(symbols.required(c"H5Dread_chunk2")?)
                } else {
                    ReadChunk::Unbounded(symbols.required(c"H5Dread_chunk")?)
                },
                native: id_source(symbols, v2, c"H5VL_native_register", c"H5VL_NATIVE_g")?,
                core: id_source(symbols, v2, c"H5FD_core_init", c"H5FD_CORE_id_g")?,
                mpio: id_source(symbols, v2, c"H5FD_mpio_init", c"H5FD_MPIO_id_g").ok(),
                perform_init: symbols.optional(c"H5FDperform_init"),
                context: context::Functions::bind(symbols, v2)?,
            })
        }
    }
}

fn id_source(symbols: &Symbols<'_>, v2: bool, call: &CStr, variable: &CStr) -> Result<IdSource, BindError> {
    if v2 {
        Ok(IdSource::Variable(symbols.required_id(variable)?))
    } else {
        // SAFETY: HDF5 1.14 declares each of these as `hid_t f(void)`.
        Ok(IdSource::Call(unsafe { symbols.required(call)? }))
    }
}

/// Each method calls the library, so the rules of HDF5 functions apply: it must not be called while the library loads the plugin, and only
/// on the thread that the library called, because only that thread holds its lock.
impl Hdf5 {
    /// Makes a datatype from its portable encoding (`H5Tdecode`). Returns an id that the caller must close, or a negative value with the
    /// reason on the error stack.
    ///
    /// # Safety
    ///
    /// `bytes` must be a valid encoding, as `H5Tencode2` writes it, that ends within `bytes`: HDF5 1.14 does not get the length, and reads
    /// as much as the encoding claims. HDF5 2.x also checks the length.
    pub unsafe fn decode_datatype(&self, bytes: &[u8]) -> hid_t {
        let start = bytes.as_ptr().cast();
        match self.variants.decode {
            // SAFETY: the caller guarantees that the encoding ends within `bytes`.
            Decode::Unbounded(decode) => unsafe { decode(start) },
            // SAFETY: pointer and length are those of one slice.
            Decode::Bounded(decode) => unsafe { decode(start, bytes.len()) },
        }
    }

    /// Registers a kind of id (`H5Iregister_type`). Returns `H5I_BADID` on failure.
    ///
    /// # Safety
    ///
    /// `free` must be sound for every object that is later registered under this kind.
    pub unsafe fn register_id_type(&self, reserved: c_uint, free: H5I_free_t) -> H5I_type_t {
        match self.variants.register {
            // SAFETY: the hash size has been ignored since 1.8; the caller guarantees `free`.
            Register::WithHashSize(register) => unsafe { register(0, reserved, free) },
            // SAFETY: the caller guarantees `free`.
            Register::Plain(register) => unsafe { register(reserved, free) },
        }
    }

    /// Returns the id of the native connector (`H5VL_NATIVE`). The library owns the id, so it must not be closed.
    ///
    /// # Safety
    ///
    /// Must be called on a thread that may call the library.
    pub unsafe fn native_connector(&self) -> hid_t {
        match &self.variants.native {
            // SAFETY: the function has no arguments; the caller may call the library.
            IdSource::Call(register) => unsafe { register() },
            IdSource::Variable(id) => id.read(),
        }
    }

    /// Returns the id of the core driver (`H5FD_CORE`), which the library owns.
    ///
    /// # Safety
    ///
    /// Must be called on a thread that may call the library.
    pub unsafe fn core_driver(&self) -> hid_t {
        // SAFETY: the caller may call the library.
        unsafe { self.driver(&self.variants.core) }
    }

    /// Returns the id of the MPI driver (`H5FD_MPIO`), which the library owns, or `None` if this libhdf5 was built without MPI.
    ///
    /// # Safety
    ///
    /// Must be called on a thread that may call the library.
    pub unsafe fn mpio_driver(&self) -> Option<hid_t> {
        // SAFETY: the caller may call the library.
        self.variants.mpio.as_ref().map(|source| unsafe { self.driver(source) })
    }

    /// Returns the newest file format that `H5Pset_libver_bounds` of this library is known to accept (`H5F_LIBVER_LATEST`). Later 2.x
    /// versions accept the format of 2.0, too.
    pub fn newest_format(&self) -> H5F_libver_t {
        if self.is_v2() { H5F_LIBVER_V200 } else { H5F_LIBVER_V114 }
    }

    unsafe fn driver(&self, source: &IdSource) -> hid_t {
        match (source, self.variants.perform_init) {
            // SAFETY: 1.14's own macro does the same if the library has H5FDperform_init.
            (IdSource::Call(init), Some(perform)) => unsafe { perform(*init) },
            // SAFETY: the macro of releases without that function does the same.
            (IdSource::Call(init), None) => unsafe { init() },
            (IdSource::Variable(id), _) => id.read(),
        }
    }
}
