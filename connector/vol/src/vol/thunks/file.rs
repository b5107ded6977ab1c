//! File callbacks.

use std::ffi::{c_char, c_int, c_uint, c_void};

use h5lake_plugin_abi::{
    H5VL_NATIVE_FILE_GET_MPI_ATOMICITY, H5VL_NATIVE_FILE_SET_MPI_ATOMICITY, bindings as sys,
};

use super::{FAIL, OK, on_object, status, unknown_operation};
use crate::config::Config;
use crate::error::{Error, Major, Minor, Result};
use crate::handles::Handle;
use crate::handles::native_handle::NativeHandle;
use crate::hdf5::blob_id::ID_BYTES;
use crate::hdf5::classes;
use crate::hdf5::file_flags::OpenFlags;
use crate::hdf5::guard::guard;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::strings;
use crate::hdf5::token;
use crate::log;
use crate::operations::collective;
use crate::operations::file;
use crate::operations::file_optional;
use crate::operations::open_file;
use crate::operations::path::mount;
use crate::session::{Swmr, registry};
use crate::statistics;
use crate::vol::info::Info;
use crate::vol::passthrough::{self, forward};
use crate::vol::thunks::Request;

fn library_in(slot: usize) -> Result<Library> {
    super::in_slot(slot).ok_or_else(|| Error::call("H5PLget_plugin_info"))
}

/// Returns the settings that a file access list carries for h5lake. An error in them is reported here, and not when
/// the library starts.
fn config_of(library: Library, access: Hid) -> Result<Config> {
    let config = match library.connector_info(access)? {
        info if info.is_null() => Config::parse(""),
        info => {
            // SAFETY: an info of our connector's, a copy that is ours to free.
            unsafe {
                let config = (*info.cast::<Info>()).config.clone();
                library.free_connector_info(access, info);
                config
            }
        }
    };
    config.map_err(|text| Error::file(Minor::BadValue, text, None))
}

/// The arguments of the optional operation [`statistics::OPERATION`]: a buffer for the text, which is truncated to fit
/// and terminated, and the place for the text's full length. Both may be null.
#[repr(C)]
struct StatisticsArguments {
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
}

/// Records the native class, for `get_conn_cls`.
fn opened(handle: Handle) -> Result<*mut c_void> {
    if let Ok(session) = handle.session()
        && classes::native_class(session.library).is_none()
    {
        let class = session.library.native_class()?;
        // SAFETY: it is the library's native class.
        unsafe { classes::remember_native_class(session.library, class) };
    }
    Ok(handle.into_pointer())
}

pub unsafe extern "C" fn create<const SLOT: usize>(
    name: *const c_char,
    flags: c_uint,
    creation: Hid,
    access: Hid,
    _transfer: Hid,
    _request: Request,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { create_in(SLOT, name, flags, creation, access) }
}

#[inline(never)]
unsafe fn create_in(
    slot: usize,
    name: *const c_char,
    flags: c_uint,
    creation: Hid,
    access: Hid,
) -> *mut c_void {
    guard(super::in_slot(slot), "h5lake_file_create", Major::File, std::ptr::null_mut(), || {
        let library = library_in(slot)?;
        library.add_filters_of_client();
        // SAFETY: the name is terminated.
        let name = unsafe { strings::bytes(name, "a file name")? };
        opened(file::create(
            library,
            &file::settings(library, access, config_of(library, access))?,
            name,
            OpenFlags::from_bits(flags),
            creation,
            access,
        )?)
    })
}

pub unsafe extern "C" fn open<const SLOT: usize>(
    name: *const c_char,
    flags: c_uint,
    access: Hid,
    _transfer: Hid,
    _request: Request,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { open_in(SLOT, name, flags, access) }
}

#[inline(never)]
unsafe fn open_in(slot: usize, name: *const c_char, flags: c_uint, access: Hid) -> *mut c_void {
    guard(super::in_slot(slot), "h5lake_file_open", Major::File, std::ptr::null_mut(), || {
        let library = library_in(slot)?;
        library.add_filters_of_client();
        // SAFETY: the name is terminated.
        let name = unsafe { strings::bytes(name, "a file name")? };
        let config = file::settings(library, access, config_of(library, access))?;
        opened(file::open(library, &config, name, OpenFlags::from_bits(flags), access)?)
    })
}

pub unsafe extern "C" fn get(
    object: *mut c_void,
    arguments: *mut sys::H5VL_file_get_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which member of the union is filled.
    unsafe {
        forward!(call H5VLfile_get(object; arguments, transfer, request));
        on_object(object, "h5lake_file_get", Major::File, FAIL, |handle| {
            let args = &mut (*arguments).args;
            // The answer is the same for all files: it is requested for datatypes, too, while nothing is converted.
            if (*arguments).op_type == sys::H5VL_FILE_GET_CONT_INFO {
                if let Some(info) = args.get_cont_info.info.as_mut() {
                    info.version = sys::H5VL_CONTAINER_INFO_VERSION;
                    info.feature_flags = 0;
                    info.token_size = token::SIGNIFICANT_BYTES;
                    info.blob_id_size = ID_BYTES;
                }
                return Ok(OK);
            }
            let session = handle.session()?;
            match (*arguments).op_type {
                sys::H5VL_FILE_GET_FAPL => args.get_fapl.fapl_id = open_file::access_list(handle)?.into_raw(),
                sys::H5VL_FILE_GET_FCPL => {
                    args.get_fcpl.fcpl_id = open_file::creation_list(handle)?.into_raw()
                }
                sys::H5VL_FILE_GET_FILENO => {
                    strings::answer(args.get_fileno.fileno, session.container.file_number() as _);
                }
                sys::H5VL_FILE_GET_INTENT => strings::answer(args.get_intent.flags, intent(handle)?),
                sys::H5VL_FILE_GET_NAME => {
                    strings::fill_name(&session.name, args.get_name.buf, args.get_name.buf_size);
                    strings::answer(args.get_name.file_name_len, session.name.len());
                }
                sys::H5VL_FILE_GET_OBJ_COUNT => {
                    let wanted = args.get_obj_count;
                    strings::answer(wanted.count, open_file::open_identifiers(handle, wanted.types)?.len());
                }
                sys::H5VL_FILE_GET_OBJ_IDS => {
                    let wanted = args.get_obj_ids;
                    let mut found = open_file::open_identifiers(handle, wanted.types)?;
                    found.truncate(wanted.max_objs);
                    if !wanted.oid_list.is_null() {
                        std::ptr::copy_nonoverlapping(found.as_ptr(), wanted.oid_list, found.len());
                    }
                    strings::answer(wanted.count, found.len());
                }
                other => return unknown_operation("file get", other.0),
            }
            Ok(OK)
        })
    }
}

/// Reopens a native file (`H5Freopen`).
unsafe fn reopen_native(
    native: &NativeHandle,
    arguments: *mut sys::H5VL_file_specific_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: as the callback's.
    unsafe {
        let connector = native.connector();
        let result = native.call(|hdf5, object, connector| {
            (hdf5.H5VLfile_specific)(object, connector, arguments, transfer, request)
        });
        let place = (*arguments).args.reopen.file;
        if result >= 0 && !place.is_null() && !(*place).is_null() {
            *place = passthrough::boxed(connector, *place);
        }
        result
    }
}

/// Returns the access with which the file is open, through any identifier (`H5F_INTENT`, `H5Fget_intent`).
fn intent(handle: &Handle) -> Result<c_uint> {
    let session = handle.session()?;
    let is_open_to = |swmr| registry::sessions_on(&session.container).iter().any(|s| *s.swmr.lock() == swmr);
    Ok(match session.container.writable() {
        true if is_open_to(Swmr::Write) => sys::H5F_ACC_RDWR | sys::H5F_ACC_SWMR_WRITE,
        true => sys::H5F_ACC_RDWR,
        false if *session.swmr.lock() == Swmr::Read => sys::H5F_ACC_RDONLY | sys::H5F_ACC_SWMR_READ,
        false => sys::H5F_ACC_RDONLY,
    })
}

pub unsafe extern "C" fn specific<const SLOT: usize>(
    object: *mut c_void,
    arguments: *mut sys::H5VL_file_specific_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { specific_in(SLOT, object, arguments, transfer, request) }
}

#[inline(never)]
unsafe fn specific_in(
    slot: usize,
    object: *mut c_void,
    arguments: *mut sys::H5VL_file_specific_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which member of the union is filled. Two of the operations have
    // no object.
    unsafe {
        let args = &(*arguments).args;
        match (*arguments).op_type {
            sys::H5VL_FILE_IS_ACCESSIBLE => {
                guard(super::in_slot(slot), "h5lake_file_is_accessible", Major::File, FAIL, || {
                    let library = library_in(slot)?;
                    let name = strings::bytes(args.is_accessible.filename, "a file name")?;
                    let found = library.keeping_errors(|| {
                        let config = config_of(library, args.is_accessible.fapl_id)?;
                        file::is_accessible(library, &config, name, args.is_accessible.fapl_id)
                    })?;
                    strings::answer(args.is_accessible.accessible, found);
                    Ok(OK)
                })
            }
            sys::H5VL_FILE_DELETE => {
                guard(super::in_slot(slot), "h5lake_file_delete", Major::File, FAIL, || {
                    let library = library_in(slot)?;
                    let config =
                        file::settings(library, args.del.fapl_id, config_of(library, args.del.fapl_id))?;
                    let name = strings::bytes(args.del.filename, "a file name")?;
                    file::delete(library, &config, name, args.del.fapl_id)?;
                    Ok(OK)
                })
            }
            operation if passthrough::of(object).is_some() => match passthrough::of(object) {
                Some(native) if operation == sys::H5VL_FILE_REOPEN => {
                    reopen_native(native, arguments, transfer, request)
                }
                Some(native) => native.call(|hdf5, object, connector| {
                    (hdf5.H5VLfile_specific)(object, connector, arguments, transfer, request)
                }),
                None => FAIL,
            },
            operation => status(
                super::flushing(object, operation == sys::H5VL_FILE_FLUSH, request),
                "h5lake_file_specific",
                Major::File,
                |handle| match operation {
                    sys::H5VL_FILE_FLUSH => {
                        let is_global = args.flush.scope == sys::H5F_SCOPE_GLOBAL;
                        let flushed = if is_global { mount::flush_mounted(handle) } else { Ok(()) };
                        super::flush(handle, request, flushed)
                    }
                    sys::H5VL_FILE_REOPEN => {
                        strings::answer(args.reopen.file, open_file::reopen(handle)?.into_pointer());
                        Ok(())
                    }
                    sys::H5VL_FILE_IS_EQUAL => {
                        strings::answer(
                            args.is_equal.same_file,
                            open_file::is_same(handle, args.is_equal.obj2 as usize)?,
                        );
                        Ok(())
                    }
                    other => unknown_operation("file specific", other.0),
                },
            ),
        }
    }
}

pub unsafe extern "C" fn optional(
    object: *mut c_void,
    arguments: *mut sys::H5VL_optional_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which structure the arguments are.
    unsafe {
        if let Some(native) = passthrough::of(object) {
            let call = || {
                native.call(|hdf5, object, connector| {
                    (hdf5.H5VLfile_optional)(object, connector, arguments, transfer, request)
                })
            };
            if (*arguments).op_type != sys::H5VL_NATIVE_FILE_POST_OPEN {
                return call();
            }
            // Native code now makes an object of its own for the file. In the context of this call, a connector that
            // is stacked on this one would wrap that object, and native code would use the wrapper as its own
            // structure.
            return native.library().in_own_context(|| Ok(call())).unwrap_or(FAIL);
        }
        let operation = (*arguments).op_type;
        if operation == sys::H5VL_NATIVE_FILE_POST_OPEN {
            // Each open ends with this call, which waits for no operation of the container.
            return OK;
        }
        status(object, "h5lake_file_optional", Major::File, |handle| {
            let args = (*arguments).args.cast::<sys::H5VL_native_file_optional_args_t>();
            match (operation, args.as_ref()) {
                (sys::H5VL_NATIVE_FILE_START_SWMR_WRITE, _) => file_optional::start_swmr_write(handle),
                (sys::H5VL_NATIVE_FILE_GET_SIZE, Some(args)) => {
                    strings::answer(args.get_size.size, file_optional::size(handle)?);
                    Ok(())
                }
                (sys::H5VL_NATIVE_FILE_GET_FILE_IMAGE, Some(args)) => {
                    let wanted = args.get_file_image;
                    let buffer_size = (!wanted.buf.is_null()).then_some(wanted.buf_size);
                    let size = file_optional::image(handle, buffer_size, |image| {
                        strings::fill_bytes(image, wanted.buf, image.len());
                    })?;
                    strings::answer(wanted.image_len, size);
                    Ok(())
                }
                (sys::H5VL_NATIVE_FILE_GET_EOA, Some(args)) => {
                    strings::answer(args.get_eoa.eoa, file_optional::size(handle)?);
                    Ok(())
                }
                (sys::H5VL_NATIVE_FILE_GET_FREE_SPACE, Some(args)) => {
                    strings::answer(args.get_freespace.size, 0);
                    Ok(())
                }
                (sys::H5VL_NATIVE_FILE_GET_VFD_HANDLE, Some(args)) => {
                    let descriptor = file_optional::descriptor(&*handle.session()?)?;
                    strings::answer(args.get_vfd_handle.file_handle, descriptor as *mut c_void);
                    Ok(())
                }
                (H5VL_NATIVE_FILE_GET_MPI_ATOMICITY, _) => {
                    // The headers declare these arguments only if HDF5 is built with MPI: this one is a pointer to the
                    // answer.
                    let answer = (*arguments).args.cast::<*mut bool>();
                    strings::answer(answer.read(), collective::atomicity(handle)?);
                    Ok(())
                }
                (H5VL_NATIVE_FILE_SET_MPI_ATOMICITY, _) => {
                    // This argument is the value itself.
                    collective::set_atomicity(handle, (*arguments).args.cast::<bool>().read())
                }
                // The state of native caches and headers, which a container does not have: the answer is that of the
                // small native file beneath.
                (
                    sys::H5VL_NATIVE_FILE_GET_MDC_CONF
                    | sys::H5VL_NATIVE_FILE_SET_MDC_CONFIG
                    | sys::H5VL_NATIVE_FILE_GET_MDC_HR
                    | sys::H5VL_NATIVE_FILE_GET_MDC_SIZE
                    | sys::H5VL_NATIVE_FILE_RESET_MDC_HIT_RATE
                    | sys::H5VL_NATIVE_FILE_GET_METADATA_READ_RETRY_INFO
                    | sys::H5VL_NATIVE_FILE_GET_FREE_SECTIONS
                    | sys::H5VL_NATIVE_FILE_GET_MDC_LOGGING_STATUS
                    | sys::H5VL_NATIVE_FILE_GET_MDC_IMAGE_INFO
                    | sys::H5VL_NATIVE_FILE_GET_MIN_DSET_OHDR_FLAG
                    | sys::H5VL_NATIVE_FILE_SET_MIN_DSET_OHDR_FLAG
                    | sys::H5VL_NATIVE_FILE_GET_INFO,
                    _,
                ) => {
                    let session = handle.session()?;
                    session.shadow.mark();
                    session.shadow.file()?.file_optional(arguments)
                }
                // Containers do not depend on the bounds, but the file's access list reports them.
                (sys::H5VL_NATIVE_FILE_SET_LIBVER_BOUNDS, _) => {
                    let wanted = (*arguments).args.cast::<sys::H5VL_native_file_set_libver_bounds_t>().read();
                    let session = handle.session()?;
                    session.library.set_format_bounds(session.access_list.get(), (wanted.low, wanted.high))
                }
                // A container keeps no files of external links open, has one format, and records its own end.
                (
                    sys::H5VL_NATIVE_FILE_CLEAR_ELINK_CACHE
                    | sys::H5VL_NATIVE_FILE_FORMAT_CONVERT
                    | sys::H5VL_NATIVE_FILE_INCR_FILESIZE,
                    _,
                ) => Ok(()),
                (other, _) if handle.session()?.library.is_statistics_operation(other) => {
                    let wanted = (*arguments).args.cast::<StatisticsArguments>().read();
                    let text = statistics::all();
                    strings::fill_name(text.as_bytes(), wanted.buffer, wanted.size);
                    strings::answer(wanted.length, text.len());
                    Ok(())
                }
                (other, _) => Err(file_optional::refused(other)),
            }
        })
    }
}

pub unsafe extern "C" fn close(object: *mut c_void, transfer: Hid, request: Request) -> c_int {
    // SAFETY: one of our files, not used again once it is closed.
    let closed = unsafe {
        passthrough::close(object, |hdf5, object, connector| {
            (hdf5.H5VLfile_close)(object, connector, transfer, request)
        })
    };
    if let Some(closed) = closed {
        log::tell_native_reads();
        return closed;
    }
    // SAFETY: one of our files, which is open.
    let together = unsafe { Handle::from_pointer(object) }.ok().and_then(collective::of_last);
    // SAFETY: one of our files, not used again once it is closed.
    let done = unsafe { super::close_after(object, "h5lake_file_close", Major::File, open_file::close) };
    if let Some((together, container)) = together.filter(|_| done >= 0) {
        together.let_go();
        // Another file of the container may be open: then all processes continue to change it together.
        if let Some(container) = container.upgrade().filter(|container| !registry::is_in_use(container)) {
            container.leave_collective();
        }
    }
    done
}
