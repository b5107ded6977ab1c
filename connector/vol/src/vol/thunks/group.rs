//! Group callbacks.

use std::ffi::{c_char, c_int, c_void};

use h5lake_plugin_abi::bindings as sys;

use super::{FAIL, close as close_object, location, new_object, status, unknown_operation};
use crate::error::Major;
use crate::handles::Handle;
use crate::handles::native_handle::{self, NativeHandle};
use crate::hdf5::guard::guard;
use crate::hdf5::library::Hid;
use crate::hdf5::strings;
use crate::operations::group;
use crate::operations::object;
use crate::operations::path::mount;
use crate::vol::passthrough::{self, forward};
use crate::vol::thunks::Request;

/// The callbacks of groups.
pub const CLASS: sys::H5VL_group_class_t = sys::H5VL_group_class_t {
    create: Some(create),
    open: Some(open),
    get: Some(get),
    specific: Some(specific),
    optional: Some(super::object_optional::group),
    close: Some(close),
};

unsafe extern "C" fn create(
    object: *mut c_void,
    parameters: *const sys::H5VL_loc_params_t,
    name: *const c_char,
    link_creation: Hid,
    creation: Hid,
    access: Hid,
    transfer: Hid,
    request: Request,
) -> *mut c_void {
    // SAFETY: see the module.
    unsafe {
        forward!(open H5VLgroup_create(object, parameters; name, link_creation, creation, access,
            transfer, request));
        new_object(super::beside(object, request), "h5lake_group_create", Major::Group, |handle| {
            handle.session()?.library.check_group_access(access)?;
            group::create(
                handle,
                &location(parameters)?,
                strings::optional_bytes(name),
                (link_creation, access),
                creation,
            )
        })
    }
}

unsafe extern "C" fn open(
    object: *mut c_void,
    parameters: *const sys::H5VL_loc_params_t,
    name: *const c_char,
    access: Hid,
    transfer: Hid,
    request: Request,
) -> *mut c_void {
    // SAFETY: see the module.
    unsafe {
        forward!(open H5VLgroup_open(object, parameters; name, access, transfer, request));
        new_object(super::beside(object, request), "h5lake_group_open", Major::Group, |handle| {
            handle.session()?.library.check_group_access(access)?;
            group::open(handle, &location(parameters)?, strings::bytes(name, "a group name")?, access)
        })
    }
}

unsafe extern "C" fn get(
    object: *mut c_void,
    arguments: *mut sys::H5VL_group_get_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which member of the union is filled.
    unsafe {
        forward!(call H5VLgroup_get(object; arguments, transfer, request));
        status(super::beside(object, request), "h5lake_group_get", Major::Group, |handle| {
            let args = &mut (*arguments).args;
            match (*arguments).op_type {
                sys::H5VL_GROUP_GET_GCPL => args.get_gcpl.gcpl_id = group::creation_list(handle)?.into_raw(),
                sys::H5VL_GROUP_GET_INFO => {
                    let wanted = args.get_info;
                    let (info, mounted) = group::info(handle, &location(&wanted.loc_params)?)?;
                    let storage_type = if info.link_order.tracked {
                        sys::H5G_STORAGE_TYPE_COMPACT
                    } else {
                        sys::H5G_STORAGE_TYPE_SYMBOL_TABLE
                    };
                    strings::answer(
                        wanted.ginfo,
                        sys::H5G_info_t {
                            storage_type,
                            nlinks: info.link_count,
                            max_corder: info.max_creation_order,
                            mounted,
                        },
                    );
                }
                other => return unknown_operation("group get", other.0),
            }
            Ok(())
        })
    }
}

unsafe extern "C" fn specific(
    object: *mut c_void,
    arguments: *mut sys::H5VL_group_specific_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module.
    unsafe {
        if let Some(native) = passthrough::of(object) {
            return specific_of_native(native, arguments, transfer, request);
        }
        status(object, "h5lake_group_specific", Major::Group, |handle| match (*arguments).op_type {
            sys::H5VL_GROUP_FLUSH => {
                let id = (*arguments).args.flush.grp_id;
                super::flush_object(handle, id, std::ptr::null_mut(), Ok(()))
            }
            sys::H5VL_GROUP_REFRESH => object::refresh(handle),
            sys::H5VL_GROUP_MOUNT => {
                let wanted = (*arguments).args.mount;
                let child = Handle::from_pointer(wanted.child_file)?;
                if matches!(child, Handle::Native(_)) {
                    return Err(native_handle::mixed("H5Fmount"));
                }
                mount::mount(handle, strings::bytes(wanted.name, "a mount point")?, child)
            }
            sys::H5VL_GROUP_UNMOUNT => {
                mount::unmount(handle, strings::bytes((*arguments).args.unmount.name, "a mount point")?)
            }
            other => unknown_operation("group specific", other.0),
        })
    }
}

/// Runs an operation on a group of a native file: a file that is mounted must be native, too.
unsafe fn specific_of_native(
    native: &NativeHandle,
    arguments: *mut sys::H5VL_group_specific_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: as the callback's.
    unsafe {
        let mut passed = *arguments;
        if passed.op_type == sys::H5VL_GROUP_MOUNT {
            let Some(child) = passthrough::of(passed.args.mount.child_file) else {
                let library = Some(native.library());
                return guard(library, "h5lake_group_specific", Major::Group, FAIL, || {
                    Err(native_handle::mixed("H5Fmount"))
                });
            };
            passed.args.mount.child_file = child.object();
        }
        native.call(|hdf5, object, connector| {
            (hdf5.H5VLgroup_specific)(object, connector, &mut passed, transfer, request)
        })
    }
}

unsafe extern "C" fn close(group: *mut c_void, transfer: Hid, request: Request) -> c_int {
    // SAFETY: see the module.
    unsafe {
        if let Some(closed) = passthrough::close(group, |hdf5, object, connector| {
            (hdf5.H5VLgroup_close)(object, connector, transfer, request)
        }) {
            return closed;
        }
        close_object(super::beside(group, request), "h5lake_group_close", Major::Group)
    }
}
