//! The table loads from real libraries, several in one process, and is right for each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // all of this is a test

mod common;

use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

use h5lake_plugin_abi::bindings::*;
use h5lake_plugin_abi::{
    BindError, ChunkReadArgs2, ChunkReadError, ChunkWriteArgs2, Hdf5, MAX_LIBRARIES, StoredChunk, library,
    library_at,
};

/// HDF5 serves one thread at a time.
static HDF5: Mutex<()> = Mutex::new(());

/// Binds every library there is, and keeps other tests out; `None`, and says so, if there is none.
fn bound() -> Option<(Vec<&'static Hdf5>, MutexGuard<'static, ()>)> {
    let alone = HDF5.lock().unwrap_or_else(PoisonError::into_inner);
    let paths = common::libraries();
    if paths.is_empty() {
        eprintln!("skipped: no libhdf5 in the cache directory, and H5LAKE_TEST_LIBHDF5 is not set");
        return None;
    }
    let mut libs = Vec::new();
    for path in paths {
        match library_at(common::load(&path, libc::RTLD_LOCAL)) {
            Ok(lib) => libs.push(lib),
            Err(BindError::TooOld { .. }) => eprintln!("too old: {}", path.display()),
            Err(e) => panic!("{e}"),
        }
    }
    Some((libs, alone))
}

#[test]
fn each_library_has_a_slot_and_a_table_of_its_own() {
    let Some((libs, _alone)) = bound() else { return };
    for (i, lib) in libs.iter().enumerate() {
        let (mut major, mut minor, mut release) = (0, 0, 0);
        // SAFETY: three places for three numbers.
        let done = unsafe { (lib.H5get_libversion)(&mut major, &mut minor, &mut release) };
        assert_eq!((done, (major, minor, release)), (0, lib.version), "{lib:?}");
        assert!(lib.slot < MAX_LIBRARIES);
        assert!(std::ptr::eq(library(lib.slot).expect("the slot is filled"), *lib));
        let again = library_at(lib.H5Tcopy as usize).expect("any address in the library does");
        assert!(std::ptr::eq(again, *lib));
        assert!(libs[..i].iter().all(|other| other.slot != lib.slot), "{lib:?}");
        println!("bound {lib:?}");
    }
}

#[test]
fn ids_are_read_when_they_are_asked_for() {
    let Some((libs, _alone)) = bound() else { return };
    for lib in libs {
        // SAFETY: no arguments.
        assert_eq!(unsafe { (lib.H5open)() }, 0);
        let int = lib.H5T_NATIVE_INT_g();
        // SAFETY: ids are checked by the library; errors of class H5E are of its own making.
        unsafe {
            assert_eq!((lib.H5Tget_size)(int), 4, "{lib:?}");
            assert_eq!((lib.H5Tget_class)(int), H5T_INTEGER);
            assert_eq!((lib.H5Iget_type)(lib.H5E_FILE_g()), H5I_ERROR_MSG);
            assert_eq!((lib.H5Iget_type)(lib.H5E_ERR_CLS_g()), H5I_ERROR_CLASS);
            assert_eq!((lib.H5Iget_type)(lib.H5P_CLS_FILE_ACCESS_ID_g()), H5I_GENPROP_CLS);
            assert_eq!((lib.H5Iget_type)(lib.native_connector()), H5I_VOL);
            assert_eq!((lib.H5Iget_type)(lib.core_driver()), H5I_VFL);
        }
        assert_eq!(lib.H5VL_NATIVE_g().is_some(), lib.is_v2());
    }
}

#[test]
fn a_datatype_survives_its_encoding_in_every_version() {
    let Some((libs, _alone)) = bound() else { return };
    for lib in libs {
        // SAFETY: the buffer has the size that the library is told; the encoding is passed on unchanged.
        unsafe {
            (lib.H5open)();
            let made = (lib.H5Tcopy)(lib.H5T_IEEE_F64BE_g());
            let mut size = 0;
            assert_eq!((lib.H5Tencode)(made, std::ptr::null_mut(), &mut size), 0);
            let mut bytes = vec![0_u8; size];
            assert_eq!((lib.H5Tencode)(made, bytes.as_mut_ptr().cast(), &mut size), 0);
            let back = lib.decode_datatype(&bytes);
            assert!(back > 0 && (lib.H5Tequal)(made, back) == 1, "{lib:?}");
            (lib.H5Tclose)(back);
            (lib.H5Tclose)(made);
        }
    }
}

#[test]
fn a_context_opens_and_closes() {
    let Some((libs, _alone)) = bound() else { return };
    for lib in libs {
        // SAFETY: this thread may call the library; the state is freed once, before its context.
        unsafe {
            (lib.H5open)();
            let context = lib.open_context();
            assert!(context.is_some(), "{lib:?}");
            let mut state = std::ptr::null_mut();
            assert_eq!((lib.H5VLretrieve_lib_state)(&mut state), 0);
            assert_eq!((lib.H5VLfree_lib_state)(state), 0);
        }
    }
}

#[test]
fn ids_follow_the_library_when_it_starts_anew() {
    let Some((libs, _alone)) = bound() else { return };
    for lib in libs {
        // SAFETY: nothing of the library is in use when it closes.
        unsafe {
            (lib.H5open)();
            let before = (lib.H5T_NATIVE_INT_g(), lib.H5P_CLS_DATASET_CREATE_ID_g());
            assert_eq!((lib.H5close)(), 0);
            assert_ne!(before, (lib.H5T_NATIVE_INT_g(), lib.H5P_CLS_DATASET_CREATE_ID_g()), "{lib:?}");
            (lib.H5open)();
            assert_eq!((lib.H5Tget_class)(lib.H5T_NATIVE_INT_g()), H5T_INTEGER, "{lib:?}");
        }
    }
}

#[test]
fn a_stored_chunk_is_read_and_never_beyond_the_buffer() {
    let Some((libs, _alone)) = bound() else { return };
    for lib in libs {
        // SAFETY: ids come from the library and are closed once; buffers have the sizes that are told.
        unsafe {
            (lib.H5open)();
            let fapl = (lib.H5Pcreate)(lib.H5P_CLS_FILE_ACCESS_ID_g());
            assert_eq!((lib.H5Pset_fapl_core)(fapl, 4096, false), 0);
            assert_eq!((lib.H5Pget_driver)(fapl), lib.core_driver(), "{lib:?}");
            let file = (lib.H5Fcreate)(c"chunk.h5".as_ptr(), H5F_ACC_TRUNC, H5P_DEFAULT, fapl);
            let space = (lib.H5Screate_simple)(1, [8].as_ptr(), std::ptr::null());
            let dcpl = (lib.H5Pcreate)(lib.H5P_CLS_DATASET_CREATE_ID_g());
            assert_eq!((lib.H5Pset_chunk)(dcpl, 1, [4].as_ptr()), 0);
            let u8_type = lib.H5T_STD_U8LE_g();
            let name = c"d".as_ptr();
            let set = (lib.H5Dcreate2)(file, name, u8_type, space, H5P_DEFAULT, dcpl, H5P_DEFAULT);
            let stored = [5_u8, 6, 7, 8];
            let done = (lib.H5Dwrite_chunk)(set, H5P_DEFAULT, 0, [4].as_ptr(), 4, stored.as_ptr().cast());
            assert_eq!(done, 0, "{lib:?}");

            let mut buf = [0_u8; 6];
            let read = lib.read_chunk(set, H5P_DEFAULT, &[4], &mut buf);
            assert_eq!(read, Ok(StoredChunk { filters: 0, size: 4 }), "{lib:?}");
            assert_eq!(buf, [5, 6, 7, 8, 0, 0]);
            let read = lib.read_chunk(set, H5P_DEFAULT, &[4], &mut [0; 3]);
            assert_eq!(read, Err(ChunkReadError::TooSmall { needed: 4, given: 3 }), "{lib:?}");

            for close in [lib.H5Dclose, lib.H5Pclose, lib.H5Sclose, lib.H5Fclose, lib.H5Pclose]
                .iter()
                .zip([set, dcpl, space, file, fapl])
            {
                assert_eq!(close.0(close.1), 0);
            }
        }
    }
}

#[test]
fn chunk_arguments_are_decoded_as_the_version_lays_them_out() {
    let Some((libs, _alone)) = bound() else { return };
    let (offset, mut buf, mut buffer_size) = ([4_u64], [0_u8; 2], 2_usize);
    for lib in libs {
        let start = offset.as_ptr();
        let target: *mut c_void = buf.as_mut_ptr().cast();
        // SAFETY: each struct is the one that a library of this version passes.
        let (read, write) = unsafe {
            if lib.version.0 >= 2 {
                let buf_size = &raw mut buffer_size;
                let mut read = ChunkReadArgs2 { offset: start, filters: 3, buf: target, buf_size };
                let write = ChunkWriteArgs2 { offset: start, filters: 9, size: 1 << 40, buf: target };
                (lib.chunk_read_args((&raw mut read).cast()), lib.chunk_write_args((&raw const write).cast()))
            } else {
                let mut read = H5VL_native_dataset_chunk_read_t { offset: start, filters: 3, buf: target };
                let write =
                    H5VL_native_dataset_chunk_write_t { offset: start, filters: 9, size: 7, buf: target };
                (lib.chunk_read_args((&raw mut read).cast()), lib.chunk_write_args((&raw const write).cast()))
            }
        };
        let v2 = lib.version.0 >= 2;
        assert_eq!((read.offset, read.buf, read.buf_size.is_some()), (start, target, v2), "{lib:?}");
        let size = if v2 { 1 << 40 } else { 7 };
        assert_eq!((write.offset, write.filters, write.size), (start, 9, size), "{lib:?}");
        assert_eq!(write.buf, target.cast_const());
    }
}

#[test]
fn an_address_outside_every_library_is_refused() {
    let on_the_heap = Box::new(0_u8);
    let address = &raw const *on_the_heap as usize;
    assert_eq!(library_at(address).err(), Some(BindError::NoObject { address }));
}

#[test]
fn a_program_without_an_exported_libhdf5_is_refused() {
    let address = a_program_without_an_exported_libhdf5_is_refused as *const () as usize;
    assert_eq!(
        library_at(address).err(),
        Some(BindError::NotExported { library: "the main program".to_owned() })
    );
}
