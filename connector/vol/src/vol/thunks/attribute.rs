//! Attribute callbacks.

use std::ffi::{c_char, c_int, c_void};

use h5lake_plugin_abi::bindings as sys;

use super::{
    calling_back, close as close_object, location, new_object, on_object, status, unknown_operation,
};
use crate::error::{Error, Major, Result};
use crate::handles::Handle;
use crate::hdf5::library::Hid;
use crate::hdf5::strings;
use crate::operations::attribute;
use crate::operations::path::Location;
use crate::operations::visit::{self, VisitWalk};
use crate::transfer::memory::region::MemoryRegion;
use crate::vol::passthrough::{self, forward};
use crate::vol::thunks::Request;
use h5lake_container::{AttrInfo, CharSet, Index, Order};

/// The callbacks of attributes.
pub const CLASS: sys::H5VL_attr_class_t = sys::H5VL_attr_class_t {
    create: Some(create),
    open: Some(open),
    read: Some(read),
    write: Some(write),
    get: Some(get),
    specific: Some(specific),
    optional: Some(optional),
    close: Some(close),
};

unsafe extern "C" fn create(
    object: *mut c_void,
    parameters: *const sys::H5VL_loc_params_t,
    name: *const c_char,
    datatype: Hid,
    space: Hid,
    creation: Hid,
    access: Hid,
    transfer: Hid,
    request: Request,
) -> *mut c_void {
    // SAFETY: see the module.
    unsafe {
        forward!(open H5VLattr_create(object, parameters; name, datatype, space, creation, access,
            transfer, request));
        new_object(super::beside(object, request), "h5lake_attr_create", Major::Attribute, |handle| {
            let name = strings::bytes(name, "an attribute name")?;
            handle.session()?.library.check_attribute_access(access)?;
            attribute::create(handle, &location(parameters)?, name, datatype, space, creation)
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
        forward!(open H5VLattr_open(object, parameters; name, access, transfer, request));
        new_object(super::beside(object, request), "h5lake_attr_open", Major::Attribute, |handle| {
            handle.session()?.library.check_attribute_access(access)?;
            attribute::open(handle, &location(parameters)?, strings::optional_bytes(name))
        })
    }
}

/// Returns the whole value in a packed buffer. `given` is the memory type, if the buffer holds the elements.
unsafe fn region(
    handle: &Handle,
    memory_type: Hid,
    given: Option<Hid>,
    buffer: *mut c_void,
) -> Result<MemoryRegion> {
    let size = handle.session()?.library.type_size(memory_type)?;
    // SAFETY: H5Aread and H5Awrite require a buffer for the whole value.
    unsafe { MemoryRegion::packed(buffer, size, attribute::points(handle)?, given) }
}

unsafe extern "C" fn read(
    object: *mut c_void,
    memory_type: Hid,
    buffer: *mut c_void,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module.
    unsafe {
        forward!(call H5VLattr_read(object; memory_type, buffer, transfer, request));
        status(super::beside(object, request), "h5lake_attr_read", Major::Attribute, |handle| {
            attribute::read(handle, memory_type, &mut region(handle, memory_type, None, buffer)?, transfer)
        })
    }
}

unsafe extern "C" fn write(
    object: *mut c_void,
    memory_type: Hid,
    buffer: *const c_void,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the region is only read from.
    unsafe {
        forward!(call H5VLattr_write(object; memory_type, buffer, transfer, request));
        status(super::beside(object, request), "h5lake_attr_write", Major::Attribute, |handle| {
            let region = region(handle, memory_type, Some(memory_type), buffer.cast_mut());
            attribute::write(handle, memory_type, region, transfer)
        })
    }
}

unsafe extern "C" fn get(
    object: *mut c_void,
    arguments: *mut sys::H5VL_attr_get_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which member of the union is filled.
    unsafe {
        forward!(call H5VLattr_get(object; arguments, transfer, request));
        status(super::beside(object, request), "h5lake_attr_get", Major::Attribute, |handle| {
            let args = &mut (*arguments).args;
            match (*arguments).op_type {
                sys::H5VL_ATTR_GET_ACPL => {
                    args.get_acpl.acpl_id = attribute::creation_list(handle)?.into_raw()
                }
                sys::H5VL_ATTR_GET_SPACE => args.get_space.space_id = attribute::space(handle)?.into_raw(),
                sys::H5VL_ATTR_GET_TYPE => args.get_type.type_id = attribute::datatype(handle)?.into_raw(),
                sys::H5VL_ATTR_GET_STORAGE_SIZE => {
                    let size = attribute::of(handle)?.attribute.storage_size();
                    strings::answer(args.get_storage_size.data_size, size);
                }
                sys::H5VL_ATTR_GET_INFO => {
                    let wanted = args.get_info;
                    let name = strings::optional_bytes(wanted.attr_name);
                    let info = attribute::info(handle, &location(&wanted.loc_params)?, name)?;
                    strings::answer(wanted.ainfo, info_structure(&info));
                }
                sys::H5VL_ATTR_GET_NAME => {
                    let wanted = args.get_name;
                    let info = attribute::info(handle, &location(&wanted.loc_params)?, None)?;
                    strings::fill_name(&info.name, wanted.buf, wanted.buf_size);
                    strings::answer(wanted.attr_name_len, info.name.len());
                }
                other => return unknown_operation("attribute get", other.0),
            }
            Ok(())
        })
    }
}

fn info_structure(info: &AttrInfo) -> sys::H5A_info_t {
    sys::H5A_info_t {
        corder_valid: info.creation_order.is_some(),
        corder: info.creation_order.unwrap_or(0),
        cset: if info.cset == CharSet::Utf8 { sys::H5T_CSET_UTF8 } else { sys::H5T_CSET_ASCII },
        data_size: info.data_size,
    }
}

unsafe extern "C" fn specific(
    object: *mut c_void,
    parameters: *const sys::H5VL_loc_params_t,
    arguments: *mut sys::H5VL_attr_specific_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which member of the union is filled.
    unsafe {
        forward!(call_back H5VLattr_specific(object, parameters; arguments, transfer, request));
        on_object(object, "h5lake_attr_specific", Major::Attribute, super::FAIL, |handle| {
            let place = location(parameters)?;
            let args = &mut (*arguments).args;
            match (*arguments).op_type {
                sys::H5VL_ATTR_DELETE => {
                    attribute::delete(handle, &place, strings::bytes(args.del.name, "an attribute name")?)?;
                }
                sys::H5VL_ATTR_DELETE_BY_IDX => {
                    let by = args.delete_by_idx;
                    attribute::delete_by_index(
                        handle,
                        &place,
                        super::index(by.idx_type)?,
                        super::order(by.order)?,
                        by.n,
                    )?;
                }
                sys::H5VL_ATTR_EXISTS => {
                    let name = strings::bytes(args.exists.name, "an attribute name")?;
                    strings::answer(args.exists.exists, attribute::exists(handle, &place, name)?);
                }
                sys::H5VL_ATTR_RENAME => {
                    let old = strings::bytes(args.rename.old_name, "an attribute name")?;
                    let new = strings::bytes(args.rename.new_name, "an attribute name")?;
                    attribute::rename(handle, &place, old, new)?;
                }
                sys::H5VL_ATTR_ITER => {
                    let iterate = args.iterate;
                    let operator = iterate.op.ok_or_else(|| Error::argument("no operator was given"))?;
                    let walk = VisitWalk {
                        index: super::index(iterate.idx_type)?,
                        order: super::order(iterate.order)?,
                        position: iterate.idx.as_mut(),
                    };
                    let mut terminated = strings::Terminated::default();
                    return visit::attributes(handle, &place, walk, &mut |id, info| {
                        let Ok(name) = terminated.set(&info.name, "an attribute name") else {
                            return -1;
                        };
                        let info = info_structure(info);
                        calling_back(|| operator(id.get(), name.as_ptr(), &info, iterate.op_data))
                    });
                }
                other => return unknown_operation("attribute specific", other.0),
            }
            Ok(super::OK)
        })
    }
}

unsafe extern "C" fn optional(
    object: *mut c_void,
    arguments: *mut sys::H5VL_optional_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module.
    unsafe {
        forward!(call H5VLattr_optional(object; arguments, transfer, request));
        on_object(object, "h5lake_attr_optional", Major::Attribute, super::FAIL, |handle| match (*arguments)
            .op_type
        {
            sys::H5VL_NATIVE_ATTR_ITERATE_OLD => {
                let args = (*arguments).args.cast::<sys::H5VL_native_attr_optional_args_t>();
                iterate_old(handle, &(*args).iterate_old)
            }
            other => unknown_operation("optional attribute", other),
        })
    }
}

/// Iterates over attributes in creation order, from a number on (`H5Aiterate1`).
///
/// # Safety
/// The arguments are as libhdf5 fills them for this operation.
unsafe fn iterate_old(handle: &Handle, wanted: &sys::H5VL_native_attr_iterate_old_t) -> Result<c_int> {
    let operator = wanted.op.ok_or_else(|| Error::argument("no operator was given"))?;
    // SAFETY: null or writable.
    let number = unsafe { wanted.attr_num.as_mut() };
    let mut position = number.as_ref().map_or(0, |number| u64::from(**number));
    let walk =
        VisitWalk { index: Index::CreationOrder, order: Order::Increasing, position: Some(&mut position) };
    let mut terminated = strings::Terminated::default();
    let answer = visit::attributes(handle, &Location::Itself, walk, &mut |id, info| {
        let Ok(name) = terminated.set(&info.name, "an attribute name") else {
            return super::FAIL;
        };
        // SAFETY: the application's operator, called as H5Aiterate1 describes.
        calling_back(|| unsafe { operator(id.get(), name.as_ptr(), wanted.op_data) })
    });
    if let Some(number) = number {
        *number = u32::try_from(position).unwrap_or(u32::MAX);
    }
    answer
}

unsafe extern "C" fn close(attribute: *mut c_void, transfer: Hid, request: Request) -> c_int {
    // SAFETY: see the module.
    unsafe {
        if let Some(closed) = passthrough::close(attribute, |hdf5, object, connector| {
            (hdf5.H5VLattr_close)(object, connector, transfer, request)
        }) {
            return closed;
        }
        close_object(super::beside(attribute, request), "h5lake_attr_close", Major::Attribute)
    }
}
