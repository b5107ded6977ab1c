//! The file pointers that libhdf5 sees for objects.

use std::ffi::c_void;

/// A file handle that no identifier owns: a session's own, or the one to which datatypes in containers refer. Only its
/// maker knows the type of the handle.
pub struct Anchor {
    handle: *mut c_void,
    free: unsafe fn(*mut c_void),
}

// SAFETY: the handle behind it is only read, and a handle in an anchor may be read from any thread, see `of`.
unsafe impl Send for Anchor {}
// SAFETY: as above.
unsafe impl Sync for Anchor {}

impl Anchor {
    /// Makes an anchor for a handle.
    ///
    /// # Safety
    /// The handle is of the type that callbacks expect behind every pointer of ours, and holds nothing that belongs to
    /// a thread.
    pub(crate) unsafe fn of<H>(handle: H) -> Self {
        unsafe fn free<H>(handle: *mut c_void) {
            // SAFETY: boxed by `of`, with this type.
            drop(unsafe { Box::from_raw(handle.cast::<H>()) });
        }
        Self { handle: Box::into_raw(Box::new(handle)).cast(), free: free::<H> }
    }

    /// Returns the pointer that libhdf5 uses as the file object.
    pub fn pointer(&self) -> *mut c_void {
        self.handle
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        // SAFETY: made in `of`, freed once; libhdf5 at most compares the address while this lives.
        unsafe { (self.free)(self.handle) };
    }
}
