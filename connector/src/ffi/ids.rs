//! Owned HDF5 identifiers.

use super::library::{Hid, Library};
use crate::error::{Error, Result};

/// An identifier that is released when this is dropped.
#[derive(Debug)]
pub struct Id {
    library: Library,
    id: Hid,
}

impl Id {
    /// Takes over `id`, which `function` of the library just returned.
    pub(super) fn from_call(library: Library, id: Hid, function: &str) -> Result<Self> {
        if id < 0 { Err(Error::call(function)) } else { Ok(Self { library, id }) }
    }

    /// The identifier, still owned here.
    pub fn get(&self) -> Hid {
        self.id
    }

    /// The library it belongs to.
    pub fn library(&self) -> Library {
        self.library
    }

    /// Gives the identifier away: the receiver releases it.
    pub fn into_raw(self) -> Hid {
        let id = self.id;
        std::mem::forget(self);
        id
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        // SAFETY: the identifier is owned, and libhdf5 answers an error for one that is gone.
        unsafe { (self.library.table().H5Idec_ref)(self.id) };
    }
}

impl Library {
    /// Another reference to an identifier.
    pub fn share(self, id: Hid) -> Result<Id> {
        // SAFETY: any value may be given; a bad one is an error.
        let count = unsafe { (self.table().H5Iinc_ref)(id) };
        if count < 0 { Err(Error::call("H5Iinc_ref")) } else { Ok(Id { library: self, id }) }
    }

    /// Releases an application's references to an identifier until it is gone (a file closed with
    /// `H5F_CLOSE_STRONG` takes its open objects along).
    pub fn close_all_references(self, id: Hid) {
        // SAFETY: any value may be given; a bad one is an error and ends the loop.
        unsafe {
            while (self.table().H5Iis_valid)(id) > 0 {
                if (self.table().H5Idec_ref)(id) <= 0 {
                    break;
                }
            }
        }
    }
}
