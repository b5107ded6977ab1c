//! Object callbacks.

use std::ffi::{c_char, c_int, c_uint, c_void};

use h5lake_container::{ObjectId, ObjectInfo, ObjectKind};
use h5lake_plugin_abi::bindings as sys;

use super::{FAIL, OK, calling_back, location, on_object, status, token_of, unknown_operation};
use crate::cross_copy;
use crate::error::{Error, Major, Result};
use crate::handles::native_handle;
use crate::handles::{CallOrder, Handle};
use crate::hdf5::guard::guard;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::strings;
use crate::hdf5::unwrapping;
use crate::operations::object::{self, FileOf};
use crate::operations::path::Resolved;
use crate::operations::visit;
use crate::vol::passthrough::{self, Pair, forward};
use crate::vol::thunks::Request;

/// The callbacks of objects.
pub const CLASS: sys::H5VL_object_class_t = sys::H5VL_object_class_t {
    open: Some(open),
    copy: Some(copy),
    get: Some(get),
    specific: Some(specific),
    optional: Some(super::object_optional::object),
};

unsafe extern "C" fn open(
    object: *mut c_void,
    parameters: *const sys::H5VL_loc_params_t,
    kind: *mut sys::H5I_type_t,
    transfer: Hid,
    request: Request,
) -> *mut c_void {
    // SAFETY: see the module.
    unsafe {
        forward!(open H5VLobject_open(object, parameters; kind, transfer, request));
        super::new_object(super::beside(object, request), "h5lake_object_open", Major::Object, |handle| {
            let opened = object::open(handle, &location(parameters)?)?;
            let opened_kind = match &opened {
                Handle::Group(_) => sys::H5I_GROUP,
                Handle::Dataset(_) => sys::H5I_DATASET,
                Handle::Datatype(_) => sys::H5I_DATATYPE,
                Handle::Native(native) => native.kind(),
                _ => return Err(Error::argument("not an object")),
            };
            strings::answer(kind, opened_kind);
            Ok(opened)
        })
    }
}

/// Returns the library of an object, if a copy of the object is to follow external links, and encounters any.
///
/// # Safety
/// `source` is an open handle of h5lake's; place and name are as libhdf5 passes them.
unsafe fn follows_external_links(
    source: *mut c_void,
    from: *const sys::H5VL_loc_params_t,
    name: *const c_char,
    copy_list: Hid,
) -> Option<Library> {
    // SAFETY: as the caller says.
    unsafe {
        let handle = Handle::from_pointer(source).ok()?;
        let library = handle.library()?;
        if library.copy_flags(copy_list).ok()? & sys::H5O_COPY_EXPAND_EXT_LINK_FLAG == 0 || name.is_null() {
            return None;
        }
        let name = std::ffi::CStr::from_ptr(name).to_bytes();
        let leads_outside = object::copy_leads_outside(handle, &location(from).ok()?, name, copy_list);
        // An object that cannot be read is reported by the copy itself.
        leads_outside.unwrap_or(false).then_some(library)
    }
}

unsafe extern "C" fn copy(
    source: *mut c_void,
    from: *const sys::H5VL_loc_params_t,
    source_name: *const c_char,
    destination: *mut c_void,
    to: *const sys::H5VL_loc_params_t,
    destination_name: *const c_char,
    copy_list: Hid,
    link_creation: Hid,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module.
    unsafe {
        let pair = match passthrough::pair(source, destination) {
            // External links may lead to files of any kind: such a copy is made by public calls.
            Pair::Ours => match follows_external_links(source, from, source_name, copy_list) {
                Some(library) => Pair::Mixed(library),
                None => Pair::Ours,
            },
            pair => pair,
        };
        match pair {
            Pair::Ours => {}
            Pair::Mixed(library) => {
                return guard(Some(library), "h5lake_object_copy", Major::Object, FAIL, || {
                    if [from, to].iter().any(|place| (**place).type_ != sys::H5VL_OBJECT_BY_SELF) {
                        return Err(native_handle::mixed("H5Ocopy from or to a location by name"));
                    }
                    let original = open_as_id(library, source, (*from).obj_type, source_name)?;
                    let place = open_as_id(library, destination, (*to).obj_type, c".".as_ptr())?;
                    if destination_name.is_null() {
                        return Err(Error::argument("a destination name is a null pointer"));
                    }
                    let name = std::ffi::CStr::from_ptr(destination_name);
                    let (of, to) = (original.get(), place.get());
                    let keeps = object::keeps_references(
                        &[destination, source].map(|pointer| Handle::from_pointer(pointer)),
                    );
                    cross_copy::copy(library, of, to, name, copy_list, link_creation, keeps)?;
                    Ok(OK)
                });
            }
            Pair::Native(connector, source, destination) => {
                return connector.call(|hdf5, connector| {
                    (hdf5.H5VLobject_copy)(
                        source,
                        from,
                        source_name,
                        destination,
                        to,
                        destination_name,
                        connector,
                        copy_list,
                        link_creation,
                        transfer,
                        request,
                    )
                });
            }
        }
        status(source, "h5lake_object_copy", Major::Object, |handle| {
            let place = Handle::from_pointer(destination)?;
            place.check_not_filtering()?;
            place.complete(CallOrder::Behind);
            object::copy(
                handle,
                &location(from)?,
                strings::bytes(source_name, "a source name")?,
                place,
                &location(to)?,
                strings::bytes(destination_name, "a destination name")?,
                copy_list,
                link_creation,
            )
        })
    }
}

/// Opens the object at a path from a location, with an identifier of its own.
pub(super) unsafe fn open_as_id(
    library: Library,
    object: *mut c_void,
    location_type: sys::H5I_type_t,
    path: *const c_char,
) -> Result<Id> {
    // SAFETY: the location is as libhdf5 fills it, the path terminated.
    unsafe {
        let mut by_name: sys::H5VL_loc_params_t = std::mem::zeroed();
        by_name.obj_type = location_type;
        by_name.type_ = sys::H5VL_OBJECT_BY_NAME;
        by_name.loc_data.loc_by_name =
            sys::H5VL_loc_by_name_t { name: path, lapl_id: library.link_access_default() };
        let mut kind = sys::H5I_BADID;
        let opened = open(object, &by_name, &mut kind, library.transfer_default(), std::ptr::null_mut());
        if opened.is_null() {
            return Err(Error::reported(library.take_errors()));
        }
        library.register_as_is(opened, kind)
    }
}

/// Returns the `H5O_type_t` of a kind.
pub fn type_of(kind: ObjectKind) -> sys::H5O_type_t {
    match kind {
        ObjectKind::Group => sys::H5O_TYPE_GROUP,
        ObjectKind::Dataset => sys::H5O_TYPE_DATASET,
        ObjectKind::Datatype => sys::H5O_TYPE_NAMED_DATATYPE,
    }
}

/// Returns the requested fields of `H5O_info2_t`.
pub fn info_structure(id: ObjectId, file_number: u64, info: &ObjectInfo, fields: c_uint) -> sys::H5O_info2_t {
    // SAFETY: all-zero is a valid value of this plain structure.
    let mut out: sys::H5O_info2_t = unsafe { std::mem::zeroed() };
    if fields & sys::H5O_INFO_BASIC != 0 {
        out.fileno = file_number as _;
        out.token = token_of(id);
        out.type_ = type_of(info.kind);
        out.rc = info.link_count;
    }
    if fields & sys::H5O_INFO_TIME != 0 {
        out.atime = info.access_time;
        out.mtime = info.modify_time;
        out.ctime = info.change_time;
        out.btime = info.birth_time;
    }
    if fields & sys::H5O_INFO_NUM_ATTRS != 0 {
        out.num_attrs = info.attribute_count;
    }
    out
}

unsafe extern "C" fn get(
    object: *mut c_void,
    parameters: *const sys::H5VL_loc_params_t,
    arguments: *mut sys::H5VL_object_get_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which member of the union is filled.
    unsafe {
        forward!(call H5VLobject_get(object, parameters; arguments, transfer, request));
        status(object, "h5lake_object_get", Major::Object, |handle| {
            let args = &(*arguments).args;
            match (*arguments).op_type {
                sys::H5VL_OBJECT_GET_FILE => {
                    let file = match object::file(handle)? {
                        FileOf::Known(session) => unwrapping::find(&session.anchor),
                        FileOf::New(file) => file.into_pointer(),
                    };
                    strings::answer(args.get_file.file, file);
                }
                sys::H5VL_OBJECT_GET_NAME => {
                    let name = object::name(handle, &location(parameters)?)?.unwrap_or_default();
                    strings::fill_name(&name, args.get_name.buf, args.get_name.buf_size);
                    strings::answer(args.get_name.name_len, name.len());
                }
                sys::H5VL_OBJECT_GET_TYPE => {
                    let kind = match object::info(handle, &location(parameters)?)? {
                        Resolved::Here((_, _, info)) => type_of(info.kind),
                        Resolved::Native(path) => path.info(sys::H5O_INFO_BASIC)?.type_,
                    };
                    strings::answer(args.get_type.obj_type, kind);
                }
                sys::H5VL_OBJECT_GET_INFO => {
                    let wanted = args.get_info;
                    let answer = match object::info(handle, &location(parameters)?)? {
                        Resolved::Here((id, file_number, info)) => {
                            info_structure(id, file_number, &info, wanted.fields)
                        }
                        Resolved::Native(path) => path.info(wanted.fields)?,
                    };
                    strings::answer(wanted.oinfo, answer);
                }
                other => return unknown_operation("object get", other.0),
            }
            Ok(())
        })
    }
}

unsafe extern "C" fn specific(
    object: *mut c_void,
    parameters: *const sys::H5VL_loc_params_t,
    arguments: *mut sys::H5VL_object_specific_args_t,
    transfer: Hid,
    request: Request,
) -> c_int {
    // SAFETY: see the module; the operation says which member of the union is filled.
    unsafe {
        forward!(call_back H5VLobject_specific(object, parameters; arguments, transfer, request));
        let target = super::flushing(object, (*arguments).op_type == sys::H5VL_OBJECT_FLUSH, request);
        on_object(target, "h5lake_object_specific", Major::Object, FAIL, |handle| {
            let place = location(parameters)?;
            let args = &(*arguments).args;
            match (*arguments).op_type {
                sys::H5VL_OBJECT_CHANGE_REF_COUNT => {
                    object::change_link_count(handle, &place, args.change_rc.delta)?
                }
                sys::H5VL_OBJECT_EXISTS => {
                    strings::answer(args.exists.exists, object::exists(handle, &place)?)
                }
                sys::H5VL_OBJECT_LOOKUP => {
                    strings::answer(args.lookup.token_ptr, token_of(object::lookup(handle, &place)?));
                }
                sys::H5VL_OBJECT_FLUSH => super::flush_object(handle, args.flush.obj_id, request, Ok(()))?,
                sys::H5VL_OBJECT_REFRESH => object::refresh(handle)?,
                sys::H5VL_OBJECT_VISIT => return visit_objects(handle, &place, &args.visit),
                other => return unknown_operation("object specific", other.0),
            }
            Ok(OK)
        })
    }
}

unsafe fn visit_objects(
    handle: &Handle,
    place: &crate::operations::path::Location<'_>,
    wanted: &sys::H5VL_object_visit_args_t,
) -> Result<c_int> {
    let operator = wanted.op.ok_or_else(|| Error::argument("no operator was given"))?;
    let (index, order) = (super::index(wanted.idx_type)?, super::order(wanted.order)?);
    let mut terminated = strings::Terminated::default();
    visit::objects(handle, place, index, order, &mut |start, session, name, id, info| {
        let Ok(name) = terminated.set(name, "an object name") else { return FAIL };
        let info = info_structure(id, session.container.file_number(), info, wanted.fields);
        // SAFETY: the application's operator, called as H5Ovisit3 describes.
        calling_back(|| unsafe { operator(start.get(), name.as_ptr(), &info, wanted.op_data) })
    })
}
