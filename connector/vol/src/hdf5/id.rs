//! Owned HDF5 identifiers.
//!
//! A call of libhdf5 is safe in a thread that libhdf5 called. A libhdf5 without thread support has no lock, and a
//! libhdf5 with thread support holds its lock in that thread only. So an [`Id`] never leaves the thread that made it.
//! A session or a dataset holds a [`KeptId`], which any thread may drop: it is released in a callback of its library,
//! in a later one if necessary.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};

use h5lake_ledger::locks::{Mutex, assert_none_held};
use h5lake_plugin_abi::MAX_LIBRARIES;

use crate::error::{Error, Result};
use crate::hdf5::caller;
use crate::hdf5::library::{Hid, Library};

/// An identifier that is released when this value is dropped.
#[derive(Debug)]
pub struct Id {
    library: Library,
    id: Hid,
    /// The thread that libhdf5 called; the identifier must not leave it.
    of_this_thread: PhantomData<*const ()>,
}

impl Id {
    /// Takes ownership of `id`, which `function` of the library just returned.
    pub(crate) fn from_call(library: Library, id: Hid, function: &str) -> Result<Self> {
        if id < 0 { Err(Error::call(function)) } else { Ok(Self::owned(library, id)) }
    }

    fn owned(library: Library, id: Hid) -> Self {
        Self { library, id, of_this_thread: PhantomData }
    }

    /// Returns the identifier, which this value still owns.
    pub fn get(&self) -> Hid {
        self.id
    }

    /// Returns the library the identifier belongs to.
    pub fn library(&self) -> Library {
        self.library
    }

    /// Returns whether the identifier is still valid: a program may close an identifier that it was shown.
    pub fn is_valid(&self) -> bool {
        // SAFETY: any number may be given.
        unsafe { (self.library.table().H5Iis_valid)(self.id) > 0 }
    }

    /// Gives the identifier away: the receiver releases it.
    pub fn into_raw(self) -> Hid {
        let id = self.id;
        std::mem::forget(self);
        id
    }

    /// Releases the identifier, and reports if its object could not be closed.
    ///
    /// # Errors
    /// The errors of the close, such as of writing cached data.
    pub fn close(self) -> Result<()> {
        let (library, id) = (self.library, self.into_raw());
        // SAFETY: the identifier is owned.
        if unsafe { (library.table().H5Idec_ref)(id) } < 0 { Err(Error::call("H5Idec_ref")) } else { Ok(()) }
    }

    /// Converts the identifier for an object that other threads may access and drop.
    pub fn kept(self) -> KeptId {
        KeptId(ManuallyDrop::new(self))
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        // The release of the last reference to a property list closes it, and its properties can have functions of the
        // program for that.
        if !std::thread::panicking() {
            assert_none_held("functions of a property list");
        }
        // SAFETY: the identifier is owned, and libhdf5 returns an error for an invalid one.
        unsafe { (self.library.table().H5Idec_ref)(self.id) };
    }
}

/// An identifier that an object holds. It is used in callbacks, and released in one.
#[derive(Debug)]
pub struct KeptId(ManuallyDrop<Id>);

// SAFETY: a reference only gives numbers; dropping it calls libhdf5 only in a thread that is in one of its callbacks.
unsafe impl Send for KeptId {}
// SAFETY: as above.
unsafe impl Sync for KeptId {}

impl Deref for KeptId {
    type Target = Id;

    fn deref(&self) -> &Id {
        &self.0
    }
}

impl Drop for KeptId {
    fn drop(&mut self) {
        let Id { library, id, .. } = **self;
        if caller::is_in(library) {
            drop(Id::owned(library, id));
        } else if let Some(left) = LEFT.get(library.slot()).filter(|_| library.is_to_tell()) {
            // A library that has shut down has no identifiers any more, and reuses their numbers when it starts again.
            left.add(id);
        }
    }
}

/// Identifiers that were dropped outside of their library's callbacks.
struct Left {
    /// True if there are any.
    any: AtomicBool,
    ids: Mutex<Vec<Hid>>,
}

impl Left {
    const fn new() -> Self {
        Self { any: AtomicBool::new(false), ids: Mutex::new(Vec::new()) }
    }

    fn add(&self, id: Hid) {
        let mut ids = self.ids.lock();
        ids.push(id);
        self.any.store(true, Ordering::Release);
    }

    fn take(&self) -> Vec<Hid> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut ids = self.ids.lock();
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut ids)
    }
}

static LEFT: [Left; MAX_LIBRARIES] = [const { Left::new() }; MAX_LIBRARIES];

/// Releases identifiers that were dropped outside of a library's callbacks. The calling thread is in a callback.
pub(in crate::hdf5) fn release_left(library: Library) {
    let left = LEFT.get(library.slot()).map(Left::take).unwrap_or_default();
    left.into_iter().for_each(|id| drop(Id::owned(library, id)));
}

impl Library {
    /// Returns another reference to an identifier.
    pub fn share(self, id: Hid) -> Result<Id> {
        // SAFETY: any value may be given; a bad one is an error.
        let count = unsafe { (self.table().H5Iinc_ref)(id) };
        if count < 0 { Err(Error::call("H5Iinc_ref")) } else { Ok(Id::owned(self, id)) }
    }

    /// Releases an application's references to an identifier until it is invalid (a file closed with
    /// `H5F_CLOSE_STRONG` closes its open objects, too). Returns false if its object could not be closed.
    pub fn close_all_references(self, id: Hid) -> bool {
        // SAFETY: any value may be given; a bad one is an error and ends the loop.
        unsafe {
            while (self.table().H5Iis_valid)(id) > 0 {
                match (self.table().H5Idec_ref)(id) {
                    ..0 => return false,
                    0 => break,
                    _ => {}
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hdf5::saved_errors::tests::{AnyType, Asked};

    #[test]
    fn identifiers_stay_in_their_thread() {
        assert!(!Asked::<Id>(PhantomData).may_be_sent());
        assert!(!Asked::<&Id>(PhantomData).may_be_sent());
        assert!(Asked::<KeptId>(PhantomData).may_be_sent());
        assert!(Asked::<&KeptId>(PhantomData).may_be_sent());
    }

    #[test]
    fn ids_dropped_by_other_threads_wait_for_a_callback() {
        let left = Left::new();
        assert!(left.take().is_empty());
        std::thread::scope(|s| {
            let left = &left;
            for id in [1, 2] {
                s.spawn(move || left.add(id));
            }
        });
        let mut taken = left.take();
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
        assert!(left.take().is_empty());
    }
}
