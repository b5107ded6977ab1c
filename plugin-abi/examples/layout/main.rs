//! Prints the bindings' sizes, offsets and values, one a line, for `tests-c/abi/run` to compare with what a C
//! compiler sees in HDF5's headers.

#[rustfmt::skip]
#[allow(clippy::unnecessary_cast)]
mod list;

use std::mem::offset_of;

use h5lake_plugin_abi::{ChunkReadArgs2, ChunkWriteArgs2, H5F_LIBVER_V200, H5T_COMPLEX};

fn main() {
    let mut text = String::new();
    for (key, first, second) in list::TYPES.iter().chain(list::FIELDS) {
        text += &format!("{key} {first} {second}\n");
    }
    for (key, value) in list::NUMBERS {
        text += &format!("{key} {value}\n");
    }
    for (key, value) in list::REALS {
        text += &format!("{key} {value}\n");
    }
    for (key, value) in list::TEXTS {
        text += &format!("{key} {}\n", value.to_string_lossy());
    }
    print!("{text}{}", newer());
}

/// What this crate declares by hand for HDF5 2.x, as `newer()` in `tests-c/abi/newer.h` prints it.
fn newer() -> String {
    let mut text = format!("v2 value H5T_COMPLEX {}\n", H5T_COMPLEX.0);
    text += &format!("v2 value H5F_LIBVER_V200 {}\n", H5F_LIBVER_V200.0);
    let read = [
        ("offset", offset_of!(ChunkReadArgs2, offset)),
        ("filters", offset_of!(ChunkReadArgs2, filters)),
        ("buf", offset_of!(ChunkReadArgs2, buf)),
        ("buf_size", offset_of!(ChunkReadArgs2, buf_size)),
    ];
    let write = [
        ("offset", offset_of!(ChunkWriteArgs2, offset)),
        ("filters", offset_of!(ChunkWriteArgs2, filters)),
        ("size", offset_of!(ChunkWriteArgs2, size)),
        ("buf", offset_of!(ChunkWriteArgs2, buf)),
    ];
    text += &format!("v2 type H5VL_native_dataset_chunk_read_t {}\n", size_of::<ChunkReadArgs2>());
    for (field, offset) in read {
        text += &format!("v2 field H5VL_native_dataset_chunk_read_t.{field} {offset}\n");
    }
    text += &format!("v2 type H5VL_native_dataset_chunk_write_t {}\n", size_of::<ChunkWriteArgs2>());
    for (field, offset) in write {
        text += &format!("v2 field H5VL_native_dataset_chunk_write_t.{field} {offset}\n");
    }
    text
}
