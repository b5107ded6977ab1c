//! The names of a namespace's objects.

use std::io;
use std::ops::ControlFlow;

use crate::Pool;
use crate::library::{Functions, Raw, answered};
use crate::read::not_own;

/// An open listing.
struct Names {
    functions: &'static Functions,
    raw: Raw,
}

impl Drop for Names {
    fn drop(&mut self) {
        // SAFETY: the handle is given back once.
        unsafe { (self.functions.nobjects_list_close)(self.raw) }
    }
}

impl Pool {
    /// Hands the names of all objects to `take`, in the order of their hashes, until it breaks or there are no more. `from` is
    /// the hash to begin at, or one shortly before. The option `rados_osd_op_timeout` bounds the wait for each batch of them.
    ///
    /// # Errors
    /// Those of librados.
    pub fn names(&self, from: Option<u32>, take: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
        if !self.cluster.is_own() {
            return Err(not_own());
        }
        let mut raw = std::ptr::null_mut();
        // SAFETY: the pool's handle is alive, `raw` is there to be written.
        answered(unsafe { (self.functions.nobjects_list_open)(self.raw, &mut raw) })?;
        let names = Names { functions: self.functions, raw };
        if let Some(hash) = from {
            // SAFETY: the handle is alive.
            unsafe { (self.functions.nobjects_list_seek)(names.raw, hash) };
        }
        loop {
            let (mut name, mut locator, mut space) = (std::ptr::null(), std::ptr::null(), std::ptr::null());
            let mut lengths = [0_usize; 3];
            let [length, of_locator, of_space] = &mut lengths;
            // SAFETY: the handle is alive, and all outputs are there to be written.
            let code = unsafe {
                (self.functions.nobjects_list_next2)(
                    names.raw,
                    &mut name,
                    &mut locator,
                    &mut space,
                    length,
                    of_locator,
                    of_space,
                )
            };
            match answered(code) {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
                answer => answer?,
            };
            if name.is_null() {
                continue;
            }
            // SAFETY: librados says that so many bytes are there; they live until the next call.
            let name = unsafe { std::slice::from_raw_parts(name.cast::<u8>(), lengths[0]) };
            if take(name).is_break() {
                return Ok(());
            }
        }
    }
}
