//! Finds open identifiers of h5lake's objects, without making native objects beneath them.
//!
//! libhdf5 walks over identifiers only by unwrapping each of them: it calls `get_object` for the native object and
//! passes the result on, or compares it. During our own walks, and while libhdf5 searches for the identifier of a file
//! that we have just named, no code dereferences that result. So then it is an address of ours, and no native file has
//! to be made for it.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use h5lake_plugin_abi::bindings as sys;

use crate::error::Result;
use crate::handles::Handle;
use crate::hdf5::call_context::UnwrapReason;
use crate::hdf5::datatype::check;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::unwrapping;

/// The kinds of identifiers in `H5F_OBJ_*`, in the order in which native HDF5 lists them.
const KINDS: [(u32, sys::H5I_type_t); 5] = [
    (0x1, sys::H5I_FILE),
    (0x2, sys::H5I_DATASET),
    (0x4, sys::H5I_GROUP),
    (0x8, sys::H5I_DATATYPE),
    (0x10, sys::H5I_ATTR),
];

/// Returns the answer in place of the native object beneath `object`, if the caller is not native code.
///
/// # Safety
/// The object is an open handle of ours.
pub(crate) unsafe fn answer(object: *const c_void) -> Option<*mut c_void> {
    match unwrapping::asker() {
        UnwrapReason::Native => None,
        UnwrapReason::Walk(_) => {
            // SAFETY: it is the object that is being unwrapped.
            unsafe { unwrapping::set_asker(UnwrapReason::Walk(object)) };
            Some(object.cast_mut())
        }
        // SAFETY: as the caller says.
        UnwrapReason::Finding(anchor) => match unsafe { Handle::from_pointer(object) } {
            Ok(Handle::File(file)) if file.session.anchor.pointer().cast_const() == anchor => {
                unwrapping::forget();
                Some(anchor.cast_mut())
            }
            Ok(Handle::File(_) | Handle::Closing(_)) => Some(object.cast_mut()),
            Ok(Handle::Native(native)) => Some(native.object()),
            _ => None,
        },
    }
}

struct IdentifierWalk<'a> {
    is_wanted: &'a mut dyn FnMut(&Handle) -> bool,
    found: Vec<Hid>,
}

unsafe extern "C" fn met(id: Hid, walk: *mut c_void) -> i32 {
    // SAFETY: no object.
    let UnwrapReason::Walk(object) = (unsafe { unwrapping::set_asker(UnwrapReason::Walk(std::ptr::null())) })
    else {
        return -1;
    };
    // SAFETY: the walk that `identifiers` holds while this runs; the object is null (not ours) or was just unwrapped.
    let (walk, object) =
        unsafe { (&mut *walk.cast::<IdentifierWalk<'_>>(), object.cast::<Handle>().as_ref()) };
    let is_wanted = |handle| catch_unwind(AssertUnwindSafe(|| (walk.is_wanted)(handle)));
    match object.map(is_wanted) {
        None | Some(Ok(false)) => 0,
        Some(Ok(true)) => {
            walk.found.push(id);
            0
        }
        Some(Err(_)) => -1,
    }
}

impl Library {
    /// Returns the identifiers of our objects that a program has open, of the kinds in `types` (`H5F_OBJ_*`).
    /// `is_wanted` must not call the library.
    ///
    /// # Errors
    /// If the library fails to walk over them.
    pub fn identifiers(self, types: u32, is_wanted: &mut dyn FnMut(&Handle) -> bool) -> Result<Vec<Hid>> {
        let mut walk = IdentifierWalk { is_wanted, found: Vec::new() };
        for (_, kind) in KINDS.iter().filter(|(bit, _)| types & bit != 0) {
            // SAFETY: no object.
            unsafe { unwrapping::set_asker(UnwrapReason::Walk(std::ptr::null())) };
            // SAFETY: the function takes the walk passed with it, which outlives the call.
            let done = unsafe { (self.table().H5Iiterate)(*kind, Some(met), (&raw mut walk).cast()) };
            unwrapping::forget();
            check(done, "H5Iiterate")?;
        }
        Ok(walk.found)
    }
}
