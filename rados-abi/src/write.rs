//! Writes: several changes of one object that take effect together, if all their conditions hold.

use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::sync::Arc;

use crate::Pool;
use crate::completion::{Bound, Completion};
use crate::library::{Functions, Raw};
use crate::read::not_own;

/// `LIBRADOS_CMPXATTR_OP_EQ`.
const EQUAL: u8 = 1;

/// Changes of one object, in the order in which they are added. The bytes are copied when they are added.
pub struct WriteOperation {
    functions: &'static Functions,
    raw: Raw,
}

// SAFETY: librados does not tie an operation to a thread.
unsafe impl Send for WriteOperation {}

impl std::fmt::Debug for WriteOperation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WriteOperation")
    }
}

impl Drop for WriteOperation {
    fn drop(&mut self) {
        // SAFETY: the operation is released once, and not while it is in progress.
        unsafe { (self.functions.release_write_op)(self.raw) }
    }
}

impl WriteOperation {
    /// Returns an operation without changes.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(pool: &Pool) -> io::Result<WriteOperation> {
        // SAFETY: the function takes no arguments.
        let raw = unsafe { (pool.functions.create_write_op)() };
        if raw.is_null() {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        }
        Ok(WriteOperation { functions: pool.functions, raw })
    }

    /// Creates the object; fails (`EEXIST`) if it exists and `must_be_new` is true.
    pub fn create(self, must_be_new: bool) -> Self {
        // SAFETY: the handle is alive; null means no category.
        unsafe { (self.functions.write_op_create)(self.raw, c_int::from(must_be_new), std::ptr::null()) };
        self
    }

    /// Fails (`ENOENT`) if the object does not exist.
    pub fn assert_exists(self) -> Self {
        // SAFETY: the handle is alive.
        unsafe { (self.functions.write_op_assert_exists)(self.raw) };
        self
    }

    /// Fails (`ERANGE`, `EOVERFLOW`, `ENOENT`) if the object has another version, or does not exist. No object has the
    /// version 0.
    pub fn assert_version(self, version: u64) -> Self {
        // SAFETY: the handle is alive.
        unsafe { (self.functions.write_op_assert_version)(self.raw, version) };
        self
    }

    /// Fails (`ECANCELED`) if the object's attribute has another value. A missing attribute has an empty value.
    pub fn assert_attribute(self, name: &CStr, value: &[u8]) -> Self {
        let (at, length) = (value.as_ptr().cast::<c_char>(), value.len());
        // SAFETY: the name ends with NUL, the value has `length` bytes; both are copied.
        unsafe { (self.functions.write_op_cmpxattr)(self.raw, name.as_ptr(), EQUAL, at, length) };
        self
    }

    /// Replaces the object's content.
    pub fn write_full(self, bytes: &[u8]) -> Self {
        // SAFETY: the bytes exist, and are copied.
        unsafe {
            (self.functions.write_op_write_full)(self.raw, bytes.as_ptr().cast::<c_char>(), bytes.len())
        };
        self
    }

    /// Appends bytes.
    pub fn append(self, bytes: &[u8]) -> Self {
        // SAFETY: the bytes exist, and are copied.
        unsafe { (self.functions.write_op_append)(self.raw, bytes.as_ptr().cast::<c_char>(), bytes.len()) };
        self
    }

    /// Sets an attribute.
    pub fn set_attribute(self, name: &CStr, value: &[u8]) -> Self {
        let (at, length) = (value.as_ptr().cast::<c_char>(), value.len());
        // SAFETY: the name ends with NUL, the value has `length` bytes; both are copied.
        unsafe { (self.functions.write_op_setxattr)(self.raw, name.as_ptr(), at, length) };
        self
    }

    /// Removes an attribute, which has to exist.
    pub fn remove_attribute(self, name: &CStr) -> Self {
        // SAFETY: the name ends with NUL, and is copied.
        unsafe { (self.functions.write_op_rmxattr)(self.raw, name.as_ptr()) };
        self
    }

    /// Removes the object; fails (`ENOENT`) if it does not exist.
    pub fn remove(self) -> Self {
        // SAFETY: the handle is alive.
        unsafe { (self.functions.write_op_remove)(self.raw) };
        self
    }
}

/// A write in progress. If it is dropped before it was waited for, the write continues.
#[derive(Debug)]
pub struct PendingWrite {
    pool: Arc<Pool>,
    /// Retained until the write is over.
    operation: Option<WriteOperation>,
    completion: Completion,
}

impl std::fmt::Debug for Completion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Completion")
    }
}

impl PendingWrite {
    /// Waits for the write. Returns the object's new version.
    ///
    /// # Errors
    /// The error of a change: none was made then. `TimedOut` if the bound was reached: either all changes were made, or
    /// none.
    pub fn wait(mut self, bound: &dyn Bound) -> io::Result<u64> {
        let answer = self.completion.wait(&self.pool, bound);
        drop(self.operation.take());
        answer
    }
}

impl Drop for PendingWrite {
    fn drop(&mut self) {
        // librados may read the operation while it is in progress.
        std::mem::forget(self.operation.take_if(|_| !self.completion.is_over()));
    }
}

impl Pool {
    /// Starts a write of the object `name`. `modified` becomes the object's time, in seconds since 1970; without it,
    /// the time of this process's clock is used.
    ///
    /// # Errors
    /// Those of librados; no write was started then.
    pub fn start(
        self: &Arc<Self>,
        name: &CStr,
        operation: WriteOperation,
        modified: Option<i64>,
    ) -> io::Result<PendingWrite> {
        if !self.cluster.is_own() {
            return Err(not_own());
        }
        let mut time = modified.and_then(|time| libc::time_t::try_from(time).ok());
        let time = time.as_mut().map_or(std::ptr::null_mut(), std::ptr::from_mut);
        let (functions, pool, raw) = (self.functions, self.raw, operation.raw);
        // SAFETY: the handles are alive, the name ends with NUL; name and time are copied.
        let submit = |completion| unsafe {
            (functions.aio_write_op_operate)(raw, pool, completion, name.as_ptr(), time, 0)
        };
        let completion = Completion::submit(functions, submit)?;
        Ok(PendingWrite { pool: self.clone(), operation: Some(operation), completion })
    }
}
