//! Optional operations on groups and objects: those of deprecated functions of the native connector.

use std::ffi::{c_int, c_void};

use h5lake_plugin_abi::bindings as sys;

use super::{calling_back, location, on_object, status, unknown_operation};
use crate::error::{Error, Major, Minor, Result};
use crate::handles::Handle;
use crate::hdf5::library::Hid;
use crate::hdf5::{strings, token};
use crate::operations::link;
use crate::operations::object as objects;
use crate::operations::path::Location;
use crate::operations::path::Resolved;
use crate::operations::visit::{self, VisitWalk};
use crate::vol::passthrough::forward;
use crate::vol::thunks::Request;
use h5lake_container::{Index, LinkTarget, Order};

/// Runs an optional group operation.
pub unsafe extern "C" fn group(
    object: *mut c_void,
    arguments: *mut sys::H5VL_optional_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which structure the arguments are.
    unsafe {
        forward!(call_back H5VLgroup_optional(object; arguments, transfer, request));
        on_object(object, "h5lake_group_optional", Major::Group, super::FAIL, |handle| {
            let args = (*arguments).args.cast::<sys::H5VL_native_group_optional_args_t>();
            let args = args.as_ref().ok_or_else(|| Error::argument("no arguments were given"))?;
            match (*arguments).op_type {
                sys::H5VL_NATIVE_GROUP_ITERATE_OLD => iterate_old(handle, &args.iterate_old),
                sys::H5VL_NATIVE_GROUP_GET_OBJINFO => {
                    let wanted = args.get_objinfo;
                    let place = location(&wanted.loc_params)?;
                    let stat = stat_of(handle, &place, wanted.follow_link)?;
                    strings::answer(wanted.statbuf, stat);
                    Ok(super::OK)
                }
                other => unknown_operation("optional group", other),
            }
        })
    }
}

/// Iterates over the links of a group (`H5Giterate`): names only, in order of name.
unsafe fn iterate_old(handle: &Handle, wanted: &sys::H5VL_native_group_iterate_old_t) -> Result<c_int> {
    let operator = wanted.op.ok_or_else(|| Error::argument("no operator was given"))?;
    // SAFETY: as libhdf5 fills it.
    let place = unsafe { location(&wanted.loc_params)? };
    let mut position = wanted.idx;
    let walk = VisitWalk { index: Index::Name, order: Order::Increasing, position: Some(&mut position) };
    let mut terminated = strings::Terminated::default();
    let answer = visit::links(handle, &place, false, walk, &mut |group, name, _| {
        let Ok(name) = terminated.set(name, "a link name") else { return super::FAIL };
        // SAFETY: the application's operator, called as H5Giterate describes.
        calling_back(|| unsafe { operator(group.get(), name.as_ptr(), wanted.op_data) })
    });
    // SAFETY: null or writable.
    unsafe { strings::answer(wanted.last_obj, position) };
    answer
}

/// Returns information about an object (`H5Gget_objinfo`). Clients hash objects by file and object number. For a link
/// that is not followed, the information is about the link: its length is that of its value, as in `H5Lget_info`.
fn stat_of(handle: &Handle, place: &Location<'_>, follow: bool) -> Result<sys::H5G_stat_t> {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut stat: sys::H5G_stat_t = unsafe { std::mem::zeroed() };
    if !follow
        && let Location::ByName { .. } = place
        && let Ok((from, found)) = link::find(handle, place)
        && let Some(value) = link::value(&found.target)
    {
        let is_soft = matches!(found.target, LinkTarget::Soft(_));
        stat.type_ = if is_soft { sys::H5G_LINK } else { sys::H5G_UDLINK };
        stat.linklen = value.len();
        stat.fileno[0] = from.session.container.file_number() as _;
        return Ok(stat);
    }
    let fields = sys::H5O_INFO_BASIC | sys::H5O_INFO_TIME;
    let info = match objects::info(handle, place)? {
        Resolved::Here((id, file_number, info)) => {
            super::object::info_structure(id, file_number, &info, fields)
        }
        Resolved::Native(path) => {
            stat.ohdr = header_of(&path.native_info(sys::H5O_NATIVE_INFO_HDR)?);
            path.info(fields)?
        }
    };
    stat.type_ = match info.type_ {
        sys::H5O_TYPE_GROUP => sys::H5G_GROUP,
        sys::H5O_TYPE_DATASET => sys::H5G_DATASET,
        sys::H5O_TYPE_NAMED_DATATYPE => sys::H5G_TYPE,
        _ => sys::H5G_UNKNOWN,
    };
    stat.fileno[0] = info.fileno;
    stat.objno[0] = token::decode(info.token.__data).0 as _;
    stat.nlink = info.rc;
    stat.mtime = info.ctime;
    Ok(stat)
}

/// Converts the header of a native object to the form of `H5Gget_objinfo`.
fn header_of(info: &sys::H5O_native_info_t) -> sys::H5O_stat_t {
    let header = &info.hdr;
    sys::H5O_stat_t {
        size: header.space.total,
        free: header.space.free,
        nmesgs: header.nmesgs,
        nchunks: header.nchunks,
    }
}

/// Runs an optional object operation.
pub unsafe extern "C" fn object(
    object: *mut c_void,
    parameters: *const sys::H5VL_loc_params_t,
    arguments: *mut sys::H5VL_optional_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which structure the arguments are.
    unsafe {
        forward!(call H5VLobject_optional(object, parameters; arguments, transfer, request));
        status(object, "h5lake_object_optional", Major::Object, |handle| {
            let place = location(parameters)?;
            let args = (*arguments).args.cast::<sys::H5VL_native_object_optional_args_t>();
            match ((*arguments).op_type, args.as_ref()) {
                (sys::H5VL_NATIVE_OBJECT_GET_COMMENT, Some(args)) => {
                    let comment = objects::comment(handle, &place)?;
                    let wanted = args.get_comment;
                    strings::fill_text(&comment, wanted.buf.cast(), wanted.buf_size);
                    strings::answer(wanted.comment_len, comment.len());
                    Ok(())
                }
                (sys::H5VL_NATIVE_OBJECT_SET_COMMENT, Some(args)) => {
                    objects::set_comment(handle, &place, strings::optional_bytes(args.set_comment.comment))
                }
                (sys::H5VL_NATIVE_OBJECT_GET_NATIVE_INFO, Some(args)) => {
                    let wanted = args.get_native_info;
                    let answer = match objects::resolve(handle, &place)? {
                        // A container has no native headers and indexes: the sizes are zeros.
                        Resolved::Here(_) => std::mem::zeroed(),
                        Resolved::Native(path) => path.native_info(wanted.fields)?,
                    };
                    strings::answer(wanted.ninfo, answer);
                    Ok(())
                }
                (sys::H5VL_NATIVE_OBJECT_DISABLE_MDC_FLUSHES, _) => {
                    objects::disable_metadata_flushes(handle, true)
                }
                (sys::H5VL_NATIVE_OBJECT_ENABLE_MDC_FLUSHES, _) => {
                    objects::disable_metadata_flushes(handle, false)
                }
                (sys::H5VL_NATIVE_OBJECT_ARE_MDC_FLUSHES_DISABLED, Some(args)) => {
                    let disabled = objects::are_metadata_flushes_disabled(handle)?;
                    strings::answer(args.are_mdc_flushes_disabled.flag, disabled);
                    Ok(())
                }
                (_, None) => Err(Error::new(Minor::BadValue, "no arguments were given")),
                (other, Some(_)) => unknown_operation("optional object", other),
            }
        })
    }
}
