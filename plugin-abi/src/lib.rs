//! The C boundary: bindings of libhdf5's plugin interface, and the symbol table that is bound at run time.
//!
//! The plugin is not linked to a libhdf5. When a library loads the plugin, [`library_at`] finds that library by the calling address and
//! returns its [`Hdf5`]: every function under its C name (`(lib.H5Tcopy)(id)`), and every id in a data symbol as a method of the same name
//! (`lib.H5E_FILE_g()`). Functions that differ between HDF5 1.14 and 2.x are only available in a form that is valid for both.
//!
//! Types and constants are in [`bindings`], under their C names.

mod entry;
mod error;
mod generated;
mod hidden;
mod library;
mod load;
mod pin;
mod refused;
mod registry;
mod resolve;
mod variants;
mod version;

pub use entry::refusals;
#[doc(hidden)]
pub use entry::{check_string, plugin_info};
pub use error::BindError;
pub use generated::bindings;
pub use generated::symbols::Functions;
pub use library::Hdf5;
pub use load::load;
pub use pin::pin_self;
#[doc(hidden)]
pub use refused::RefusedClass;
pub use registry::{MAX_LIBRARIES, library, library_at};
pub use variants::{
    ChunkRead, ChunkReadArgs2, ChunkReadError, ChunkWrite, ChunkWriteArgs2, H5F_LIBVER_V200, H5T_COMPLEX,
    H5VL_NATIVE_FILE_GET_MPI_ATOMICITY, H5VL_NATIVE_FILE_SET_MPI_ATOMICITY, LibraryContext, StoredChunk,
};
