//! The optional operations that `H5VLquery_optional` reports as supported.
//!
//! A program that queries support, such as HDF5's tools, uses the result of an operation only if the operation is
//! supported. So an operation is supported if it does its work on a container, or returns a true result about the
//! container. Operations that a container accepts without effect, or that return the result of the native file
//! beneath, succeed for programs that do not query support, and are not supported.

use std::ffi::c_int;

use h5lake_plugin_abi::{
    H5VL_NATIVE_FILE_GET_MPI_ATOMICITY, H5VL_NATIVE_FILE_SET_MPI_ATOMICITY, bindings as sys,
};

use crate::session::Session;

const NOT_SUPPORTED: u64 = 0;
const SUPPORTED: u64 = sys::H5VL_OPT_QUERY_SUPPORTED;
const QUERIES: u64 = SUPPORTED | sys::H5VL_OPT_QUERY_QUERY_METADATA;
const CHANGES: u64 = SUPPORTED | sys::H5VL_OPT_QUERY_MODIFY_METADATA;
const READS: u64 = SUPPORTED | sys::H5VL_OPT_QUERY_READ_DATA;
const WRITES: u64 = SUPPORTED | sys::H5VL_OPT_QUERY_WRITE_DATA;
/// Operations that call functions of the program.
const CALLS_BACK: u64 = SUPPORTED | sys::H5VL_OPT_QUERY_NO_ASYNC;

/// Returns the flags (`H5VL_OPT_QUERY_…`) of an operation on an open file: those of [`of`], and of operations that
/// depend on the file or on the program's registrations.
pub fn of_file(session: &Session, operation: c_int) -> u64 {
    match operation {
        H5VL_NATIVE_FILE_GET_MPI_ATOMICITY | H5VL_NATIVE_FILE_SET_MPI_ATOMICITY => {
            if session.together.is_some() { SUPPORTED } else { NOT_SUPPORTED }
        }
        other if session.library.is_statistics_operation(other) => SUPPORTED,
        other => of(sys::H5VL_SUBCLS_FILE, other),
    }
}

/// Returns the flags (`H5VL_OPT_QUERY_…`) of an operation on any object of a container; 0 if it is not supported.
pub fn of(class: sys::H5VL_subclass_t, operation: c_int) -> u64 {
    match class {
        sys::H5VL_SUBCLS_ATTR => attribute(operation),
        sys::H5VL_SUBCLS_DATASET => dataset(operation),
        sys::H5VL_SUBCLS_FILE => file(operation),
        sys::H5VL_SUBCLS_GROUP => group(operation),
        sys::H5VL_SUBCLS_OBJECT => object(operation),
        // The native connector has no optional operations of other classes.
        _ => NOT_SUPPORTED,
    }
}

fn attribute(operation: c_int) -> u64 {
    match operation {
        sys::H5VL_NATIVE_ATTR_ITERATE_OLD => CALLS_BACK,
        _ => NOT_SUPPORTED,
    }
}

fn dataset(operation: c_int) -> u64 {
    match operation {
        sys::H5VL_NATIVE_DATASET_GET_CHUNK_STORAGE_SIZE
        | sys::H5VL_NATIVE_DATASET_GET_NUM_CHUNKS
        | sys::H5VL_NATIVE_DATASET_GET_CHUNK_INFO_BY_IDX
        | sys::H5VL_NATIVE_DATASET_GET_CHUNK_INFO_BY_COORD
        | sys::H5VL_NATIVE_DATASET_GET_VLEN_BUF_SIZE => QUERIES,
        sys::H5VL_NATIVE_DATASET_CHUNK_READ => READS,
        sys::H5VL_NATIVE_DATASET_CHUNK_WRITE => WRITES,
        sys::H5VL_NATIVE_DATASET_CHUNK_ITER => CALLS_BACK | sys::H5VL_OPT_QUERY_QUERY_METADATA,
        // Elements have no address in a file, and chunks no index of libhdf5's: FORMAT_CONVERT has no effect,
        // GET_CHUNK_INDEX_TYPE names an index that does not exist, and GET_OFFSET an address that no file has.
        _ => NOT_SUPPORTED,
    }
}

fn file(operation: c_int) -> u64 {
    match operation {
        sys::H5VL_NATIVE_FILE_CLEAR_ELINK_CACHE | sys::H5VL_NATIVE_FILE_SET_LIBVER_BOUNDS => CHANGES,
        sys::H5VL_NATIVE_FILE_GET_FILE_IMAGE => QUERIES | sys::H5VL_OPT_QUERY_READ_DATA,
        sys::H5VL_NATIVE_FILE_GET_SIZE
        | sys::H5VL_NATIVE_FILE_GET_EOA
        | sys::H5VL_NATIVE_FILE_GET_VFD_HANDLE
        | sys::H5VL_NATIVE_FILE_GET_MDC_LOGGING_STATUS
        | sys::H5VL_NATIVE_FILE_GET_MDC_IMAGE_INFO => QUERIES,
        sys::H5VL_NATIVE_FILE_START_SWMR_WRITE => {
            CHANGES | sys::H5VL_OPT_QUERY_WRITE_DATA | sys::H5VL_OPT_QUERY_NO_ASYNC
        }
        sys::H5VL_NATIVE_FILE_POST_OPEN => SUPPORTED,
        // Free space, caches, page buffers and headers of native files: answers are those of the native file beneath,
        // and changes have no effect on the container.
        _ => NOT_SUPPORTED,
    }
}

fn group(operation: c_int) -> u64 {
    match operation {
        sys::H5VL_NATIVE_GROUP_ITERATE_OLD => CALLS_BACK,
        sys::H5VL_NATIVE_GROUP_GET_OBJINFO => QUERIES,
        _ => NOT_SUPPORTED,
    }
}

fn object(operation: c_int) -> u64 {
    match operation {
        sys::H5VL_NATIVE_OBJECT_GET_COMMENT => QUERIES,
        sys::H5VL_NATIVE_OBJECT_SET_COMMENT => CHANGES,
        sys::H5VL_NATIVE_OBJECT_DISABLE_MDC_FLUSHES
        | sys::H5VL_NATIVE_OBJECT_ENABLE_MDC_FLUSHES
        | sys::H5VL_NATIVE_OBJECT_ARE_MDC_FLUSHES_DISABLED => SUPPORTED,
        // Sizes of native headers and indexes (GET_NATIVE_INFO): a container has none, and the answer is zeros.
        _ => NOT_SUPPORTED,
    }
}
