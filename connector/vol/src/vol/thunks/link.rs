//! Link callbacks.

use std::ffi::{CStr, c_int, c_void};

use h5lake_container::{CharSet, Link, LinkTarget};
use h5lake_plugin_abi::bindings as sys;

use super::object::open_as_id;
use super::{FAIL, OK, calling_back, location, on_object, status, token_of, unknown_operation};
use crate::cross_copy;
use crate::error::{Error, Major, Minor, Result};
use crate::handles::native_handle;
use crate::handles::{CallOrder, Handle};
use crate::hdf5::guard::guard;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::strings;
use crate::operations::link::{self, LinkTransfer, NewLink};
use crate::operations::visit::{self, VisitWalk};
use crate::vol::passthrough::{self, Pair, forward};
use crate::vol::thunks::Request;

/// The callbacks of links.
pub const CLASS: sys::H5VL_link_class_t = sys::H5VL_link_class_t {
    create: Some(create),
    copy: Some(copy),
    move_: Some(move_link),
    get: Some(get),
    specific: Some(specific),
    optional: Some(optional),
};

/// Returns a handle that may be missing (`H5L_SAME_LOC`).
unsafe fn maybe<'a>(object: *mut c_void) -> Option<&'a Handle> {
    // SAFETY: null or one of our objects, open.
    unsafe { Handle::from_pointer(object) }.ok()
}

/// Checks and prepares the two objects of a call: refuses a call that a filter makes on the file of its own chunk, and
/// completes background work on both objects.
fn settle(objects: [Option<&Handle>; 2]) -> Result<()> {
    objects.into_iter().flatten().try_for_each(|object| {
        object.check_not_filtering()?;
        object.complete(CallOrder::Behind);
        Ok(())
    })
}

unsafe extern "C" fn create(
    arguments: *mut sys::H5VL_link_create_args_t,
    object: *mut c_void,
    parameters: *const sys::H5VL_loc_params_t,
    link_creation: Hid,
    access: Hid,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which member of the union is filled.
    unsafe {
        let wants_hard = (*arguments).op_type == sys::H5VL_LINK_CREATE_HARD;
        let target = if wants_hard { (*arguments).args.hard.curr_obj } else { std::ptr::null_mut() };
        match passthrough::pair(object, target) {
            Pair::Ours => {}
            Pair::Mixed(library) => return mixed(library, "h5lake_link_create", "a hard link"),
            Pair::Native(connector, object, target) => {
                let mut passed = *arguments;
                if wants_hard {
                    passed.args.hard.curr_obj = target;
                }
                return connector.call(|hdf5, connector| {
                    (hdf5.H5VLlink_create)(
                        &mut passed,
                        object,
                        parameters,
                        connector,
                        link_creation,
                        access,
                        transfer,
                        request,
                    )
                });
            }
        }
        let args = &(*arguments).args;
        let hard =
            if (*arguments).op_type == sys::H5VL_LINK_CREATE_HARD { maybe(args.hard.curr_obj) } else { None };
        let handle = maybe(object);
        let library = handle.or(hard).and_then(Handle::library);
        guard(library, "h5lake_link_create", Major::Link, FAIL, || {
            settle([handle, hard])?;
            let new = match (*arguments).op_type {
                sys::H5VL_LINK_CREATE_HARD => {
                    NewLink::Hard { object: hard, location: location(&args.hard.curr_loc_params)? }
                }
                sys::H5VL_LINK_CREATE_SOFT => {
                    NewLink::Soft(strings::bytes(args.soft.target, "a link target")?)
                }
                sys::H5VL_LINK_CREATE_UD => NewLink::UserDefined {
                    class: args.ud.type_.0,
                    data: if args.ud.buf.is_null() {
                        &[]
                    } else {
                        std::slice::from_raw_parts(args.ud.buf.cast::<u8>(), args.ud.buf_size)
                    },
                },
                other => return unknown_operation("link create", other.0),
            };
            link::create(handle, &location(parameters)?, &new, link_creation)?;
            Ok(OK)
        })
    }
}

/// Refuses a call that names a native file and a container.
fn mixed(library: Library, callback: &'static str, operation: &str) -> c_int {
    guard(Some(library), callback, Major::Link, FAIL, || Err(native_handle::mixed(operation)))
}

unsafe fn transfer_link(
    transfer: LinkTransfer,
    callback: &'static str,
    source: *mut c_void,
    from: *const sys::H5VL_loc_params_t,
    destination: *mut c_void,
    to: *const sys::H5VL_loc_params_t,
    link_creation: Hid,
) -> c_int {
    // SAFETY: see the module.
    unsafe {
        let (source, destination) = (maybe(source), maybe(destination));
        let library = source.or(destination).and_then(Handle::library);
        guard(library, callback, Major::Link, FAIL, || {
            settle([source, destination])?;
            link::transfer(transfer, source, &location(from)?, destination, &location(to)?, link_creation)?;
            Ok(OK)
        })
    }
}

unsafe extern "C" fn copy(
    source: *mut c_void,
    from: *const sys::H5VL_loc_params_t,
    destination: *mut c_void,
    to: *const sys::H5VL_loc_params_t,
    link_creation: Hid,
    access: Hid,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module.
    unsafe {
        match passthrough::pair(source, destination) {
            Pair::Ours => transfer_link(
                LinkTransfer::Copy,
                "h5lake_link_copy",
                source,
                from,
                destination,
                to,
                link_creation,
            ),
            Pair::Mixed(library) => guard(Some(library), "h5lake_link_copy", Major::Link, FAIL, || {
                let (from, to) = (&*from, &*to);
                if [from, to].iter().any(|place| place.type_ != sys::H5VL_OBJECT_BY_NAME) {
                    return Err(native_handle::mixed("H5Lcopy from or to a location by index"));
                }
                let original = open_as_id(library, source, from.obj_type, c".".as_ptr())?;
                let place = open_as_id(library, destination, to.obj_type, c".".as_ptr())?;
                let name = CStr::from_ptr(from.loc_data.loc_by_name.name);
                let new_name = CStr::from_ptr(to.loc_data.loc_by_name.name);
                cross_copy::copy_link(library, original.get(), name, place.get(), new_name, link_creation)?;
                Ok(OK)
            }),
            Pair::Native(connector, source, destination) => connector.call(|hdf5, connector| {
                (hdf5.H5VLlink_copy)(
                    source,
                    from,
                    destination,
                    to,
                    connector,
                    link_creation,
                    access,
                    transfer,
                    request,
                )
            }),
        }
    }
}

unsafe extern "C" fn move_link(
    source: *mut c_void,
    from: *const sys::H5VL_loc_params_t,
    destination: *mut c_void,
    to: *const sys::H5VL_loc_params_t,
    link_creation: Hid,
    access: Hid,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module.
    unsafe {
        match passthrough::pair(source, destination) {
            Pair::Ours => transfer_link(
                LinkTransfer::Move,
                "h5lake_link_move",
                source,
                from,
                destination,
                to,
                link_creation,
            ),
            Pair::Mixed(library) => mixed(library, "h5lake_link_move", "H5Lmove"),
            Pair::Native(connector, source, destination) => connector.call(|hdf5, connector| {
                (hdf5.H5VLlink_move)(
                    source,
                    from,
                    destination,
                    to,
                    connector,
                    link_creation,
                    access,
                    transfer,
                    request,
                )
            }),
        }
    }
}

/// Returns the `H5L_info2_t` of a link.
pub fn info_structure(link: &Link) -> sys::H5L_info2_t {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut info: sys::H5L_info2_t = unsafe { std::mem::zeroed() };
    info.type_ = match &link.target {
        LinkTarget::Hard(_) => sys::H5L_TYPE_HARD,
        LinkTarget::Soft(_) => sys::H5L_TYPE_SOFT,
        LinkTarget::External { .. } => sys::H5L_TYPE_EXTERNAL,
        LinkTarget::UserDefined { class, .. } => sys::H5L_type_t(*class),
    };
    info.corder_valid = link.creation_order.is_some();
    info.corder = link.creation_order.unwrap_or(0);
    info.cset = if link.cset == CharSet::Utf8 { sys::H5T_CSET_UTF8 } else { sys::H5T_CSET_ASCII };
    match (&link.target, link::value(&link.target)) {
        (LinkTarget::Hard(id), _) => info.u.token = token_of(*id),
        (_, Some(value)) => info.u.val_size = value.len(),
        (_, None) => {}
    }
    info
}

unsafe extern "C" fn get(
    object: *mut c_void,
    parameters: *const sys::H5VL_loc_params_t,
    arguments: *mut sys::H5VL_link_get_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which member of the union is filled.
    unsafe {
        forward!(call H5VLlink_get(object, parameters; arguments, transfer, request));
        status(object, "h5lake_link_get", Major::Link, |handle| {
            let (_, found) = link::find(handle, &location(parameters)?)?;
            let args = &(*arguments).args;
            match (*arguments).op_type {
                sys::H5VL_LINK_GET_INFO => strings::answer(args.get_info.linfo, info_structure(&found)),
                sys::H5VL_LINK_GET_NAME => {
                    strings::fill_name(&found.name, args.get_name.name, args.get_name.name_size);
                    strings::answer(args.get_name.name_len, found.name.len());
                }
                sys::H5VL_LINK_GET_VAL => {
                    let value = link::value(&found.target)
                        .ok_or_else(|| Error::new(Minor::BadType, "a hard link has no value"))?;
                    match found.target {
                        // Like in the native connector, a truncated path is terminated.
                        LinkTarget::Soft(path) => {
                            strings::fill_name(&path, args.get_val.buf.cast(), args.get_val.buf_size);
                        }
                        _ => strings::fill_bytes(&value, args.get_val.buf, args.get_val.buf_size),
                    }
                }
                other => return unknown_operation("link get", other.0),
            }
            Ok(())
        })
    }
}

unsafe extern "C" fn specific(
    object: *mut c_void,
    parameters: *const sys::H5VL_loc_params_t,
    arguments: *mut sys::H5VL_link_specific_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which member of the union is filled.
    unsafe {
        forward!(call_back H5VLlink_specific(object, parameters; arguments, transfer, request));
        on_object(object, "h5lake_link_specific", Major::Link, FAIL, |handle| {
            let place = location(parameters)?;
            match (*arguments).op_type {
                sys::H5VL_LINK_DELETE => link::delete(handle, &place).map(|()| OK),
                sys::H5VL_LINK_EXISTS => {
                    strings::answer((*arguments).args.exists.exists, link::exists(handle, &place)?);
                    Ok(OK)
                }
                sys::H5VL_LINK_ITER => iterate(handle, &place, &(*arguments).args.iterate),
                other => unknown_operation("link specific", other.0),
            }
        })
    }
}

unsafe fn iterate(
    handle: &Handle,
    place: &crate::operations::path::Location<'_>,
    wanted: &sys::H5VL_link_iterate_args_t,
) -> Result<c_int> {
    let operator = wanted.op.ok_or_else(|| Error::argument("no operator was given"))?;
    let walk = VisitWalk {
        index: super::index(wanted.idx_type)?,
        order: super::order(wanted.order)?,
        // SAFETY: null or writable.
        position: unsafe { wanted.idx_p.as_mut() },
    };
    let mut terminated = strings::Terminated::default();
    visit::links(handle, place, wanted.recursive, walk, &mut |group, name, link| {
        let Ok(name) = terminated.set(name, "a link name") else { return FAIL };
        // SAFETY: the application's operator, called as H5Literate2 describes.
        calling_back(|| unsafe {
            operator(group.get(), name.as_ptr(), &info_structure(link), wanted.op_data)
        })
    })
}

unsafe extern "C" fn optional(
    object: *mut c_void,
    parameters: *const sys::H5VL_loc_params_t,
    arguments: *mut sys::H5VL_optional_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module.
    unsafe {
        forward!(call H5VLlink_optional(object, parameters; arguments, transfer, request));
        status(object, "h5lake_link_optional", Major::Link, |_| {
            unknown_operation("optional link", (*arguments).op_type)
        })
    }
}
