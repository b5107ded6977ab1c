//! What libhdf5 is told to be the file of an object.

use std::ffi::c_void;

/// A file handle that no identifier owns: a session's own, or what datatypes in containers refer to. What kind of handle it is
/// knows who made it.
pub struct Anchor {
    handle: *mut c_void,
    free: unsafe fn(*mut c_void),
}

// SAFETY: the handle behind it is only read, and one that an anchor is made of may be read from any thread, see `of`.
unsafe impl Send for Anchor {}
// SAFETY: as above.
unsafe impl Sync for Anchor {}

impl Anchor {
    /// An anchor with what it answers for.
    ///
    /// # Safety
    /// The handle is of the type that callbacks find behind every pointer of ours, and holds nothing that belongs to a thread.
    pub(crate) unsafe fn of<H>(handle: H) -> Self {
        unsafe fn free<H>(handle: *mut c_void) {
            // SAFETY: boxed by `of`, with this type.
            drop(unsafe { Box::from_raw(handle.cast::<H>()) });
        }
        Self { handle: Box::into_raw(Box::new(handle)).cast(), free: free::<H> }
    }

    /// What libhdf5 takes as the file object.
    pub fn pointer(&self) -> *mut c_void {
        self.handle
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        // SAFETY: made in `of`, freed once; libhdf5 compares the address at most while this lives.
        unsafe { (self.free)(self.handle) };
    }
}
