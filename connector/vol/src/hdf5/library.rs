//! One libhdf5 in this process, as the other modules of the connector see it.

use std::ffi::c_void;

use h5lake_plugin_abi::{Hdf5, bindings as sys};

/// An HDF5 identifier (`hid_t`). libhdf5 checks every identifier it is given, so a stale one is an error, not
/// undefined behaviour.
pub type Hid = i64;

/// One libhdf5 in this process. Several can be loaded at once (h5py's, PyTables', netCDF4's), each with its own
/// identifiers; an object belongs to the library that made it.
#[derive(Clone, Copy)]
pub struct Library {
    table: &'static Hdf5,
}

impl Library {
    /// Returns the library of a symbol table.
    pub fn new(table: &'static Hdf5) -> Self {
        Self { table }
    }

    /// Returns the library in a slot of the class table.
    pub fn in_slot(slot: usize) -> Option<Self> {
        h5lake_plugin_abi::library(slot).map(Self::new)
    }

    /// Returns the symbol table.
    pub(crate) fn table(self) -> &'static Hdf5 {
        self.table
    }

    /// Returns the slot of the class table that this library was given.
    pub fn slot(self) -> usize {
        self.table.slot
    }

    /// Returns the default list for data transfers.
    pub(crate) fn transfer_default(self) -> Hid {
        self.table.H5P_LST_DATASET_XFER_ID_g()
    }

    /// Returns the default list for following links.
    pub(crate) fn link_access_default(self) -> Hid {
        self.table.H5P_LST_LINK_ACCESS_ID_g()
    }

    /// Returns whether any event set is open. If none is, an event set that a call names does not exist.
    pub fn has_event_sets(self) -> bool {
        let mut found = false;
        // SAFETY: the function takes the flag passed with it, which outlives the call. (H5Inmembers refuses the
        // library's own kinds.)
        unsafe { (self.table().H5Iiterate)(sys::H5I_EVENTSET, Some(first), (&raw mut found).cast()) };
        found
    }

    /// Returns the library's version, as (major, minor, release).
    pub fn version(self) -> (u32, u32, u32) {
        self.table.version
    }
}

/// Stops at the first identifier, and notes that one exists.
unsafe extern "C" fn first(_: Hid, found: *mut c_void) -> i32 {
    // SAFETY: the flag that `has_event_sets` passes.
    unsafe { *found.cast::<bool>() = true };
    1
}

impl PartialEq for Library {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.table, other.table)
    }
}

impl Eq for Library {}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor, release) = self.version();
        write!(f, "libhdf5 {major}.{minor}.{release} in slot {}", self.slot())
    }
}
