//! What native code finds when it unwraps our objects.

use std::ffi::c_void;

use crate::error::Major;
use crate::ffi::handle::Handle;

/// The native object beneath ours. It was made when ours was opened, so this cannot fail for an open object;
/// never answer our own pointer: native code would take it for a native structure.
pub unsafe extern "C" fn get_object(object: *const c_void) -> *mut c_void {
    // SAFETY: one of our objects, open.
    unsafe {
        super::on_object(object, "h5lake_get_object", Major::Connector, std::ptr::null_mut(), |handle| {
            Ok(match handle {
                Handle::Anchor(_) => handle.session()?.face.file().pointer(),
                Handle::File(file) => file.session.face.file().pointer(),
                Handle::Group(group) => group.session.face.group()?.pointer(),
                Handle::Dataset(dataset) => dataset.base.session.face.dataset()?.pointer(),
                Handle::Attribute(attribute) => attribute.session.face.attribute()?.pointer(),
                Handle::Datatype(datatype) => datatype.native.pointer(),
                Handle::ClosingFile(native) => *native as *mut c_void,
            })
        })
    }
}
