//! Datatypes as they are located in containers: variable-length data and new references in them are located in a file.
//!
//! libhdf5 keeps a conversion path for each pair of datatypes until the process ends, and types located in different
//! file objects are different types to it. So each library has one file object to which all located types refer, and
//! one located type for each encoding. The thread that converts determines the container.

use std::collections::HashMap;
use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use bytes::Bytes;
use h5lake_ledger::locks::Mutex;
use h5lake_plugin_abi::{MAX_LIBRARIES, bindings as sys};

use crate::error::Result;
use crate::hdf5::anchor::Anchor;
use crate::hdf5::blob_id;
use crate::hdf5::call_context::FORGETTING;
use crate::hdf5::datatype::{ARRAY, COMPOUND, REFERENCE, VARIABLE_LENGTH};
use crate::hdf5::id::{Id, KeptId};
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::references::{NEW_BYTES, OBJECT_BYTES, REGION_BYTES};
use crate::hdf5::saved_errors::silently;
use crate::thread_state::ThreadValue;

/// The number of located types of a library in one generation. Two generations are kept: a type that is used stays.
const MAX_TYPES: usize = 512;

/// Located types by their encodings. The identifiers are not the application's: `H5Fget_obj_count` excludes them.
#[derive(Default)]
struct Types {
    current: HashMap<Bytes, Hid>,
    previous: HashMap<Bytes, Hid>,
}

static TYPES: [OnceLock<Mutex<Types>>; MAX_LIBRARIES] = [const { OnceLock::new() }; MAX_LIBRARIES];

/// The identifier of a located type.
#[derive(Debug)]
pub enum Located {
    /// A type that is kept for all users.
    Kept(Hid),
    /// One that was made for this use.
    Own(KeptId),
}

impl Located {
    /// Returns the identifier.
    pub fn get(&self) -> Hid {
        match self {
            Self::Kept(id) => *id,
            Self::Own(id) => id.get(),
        }
    }
}

impl Types {
    fn find(&mut self, encoded: &[u8]) -> Option<Hid> {
        if let Some(id) = self.current.get(encoded) {
            return Some(*id);
        }
        if self.current.len() >= MAX_TYPES {
            return self.previous.get(encoded).copied();
        }
        let (encoded, id) = self.previous.remove_entry(encoded)?;
        self.current.insert(encoded, id);
        Some(id)
    }

    /// Keeps a type. Returns the types that are not kept any more.
    fn keep(&mut self, encoded: Bytes, id: Hid) -> HashMap<Bytes, Hid> {
        let mut old = HashMap::new();
        if self.current.len() >= MAX_TYPES {
            old = std::mem::replace(&mut self.previous, std::mem::take(&mut self.current));
        }
        self.current.insert(encoded, id);
        old
    }
}

impl Library {
    /// Returns a datatype as it is located in containers, given its encoding and the datatype in memory. `anchor` is
    /// the library's anchor for such types.
    ///
    /// # Errors
    /// If the library cannot make it.
    pub fn located_type(
        self,
        anchor: &Anchor,
        connector: &Id,
        encoded: &Bytes,
        memory: Hid,
    ) -> Result<Located> {
        let types = TYPES.get(self.slot()).filter(|_| self.is_to_tell());
        let types = types.map(|place| place.get_or_init(Mutex::default));
        // No thread waits for the lock: a forked child may lack the thread that holds it.
        if let Some(known) = types.and_then(Mutex::try_lock).and_then(|mut types| types.find(encoded)) {
            return Ok(Located::Kept(known));
        }
        let made = self.file_type(anchor, connector, memory)?;
        let Some(mut types) = types.and_then(Mutex::try_lock) else { return Ok(Located::Own(made.kept())) };
        if let Some(known) = types.find(encoded) {
            return Ok(Located::Kept(known));
        }
        let id = made.into_raw();
        let old = types.keep(encoded.clone(), id);
        drop(types);
        if !old.is_empty() {
            self.release(old);
            self.forget_located_paths();
        }
        Ok(Located::Kept(id))
    }

    /// Releases all located types when the library shuts down.
    pub(in crate::hdf5) fn release_located_types(self) {
        let Some(types) = TYPES.get(self.slot()).and_then(OnceLock::get) else { return };
        let Some(kept) = types.try_lock().map(|mut types| std::mem::take(&mut *types)) else { return };
        self.release(kept.current);
        self.release(kept.previous);
    }

    fn release(self, types: HashMap<Bytes, Hid>) {
        for id in types.into_values() {
            // SAFETY: the identifier is owned here, and libhdf5 returns an error for an invalid one.
            unsafe { (self.table().H5Idec_ref)(id) };
        }
    }
}

/// The name of the conversion that replaces paths to be forgotten.
const FORGOTTEN: &CStr = c"h5lake forgotten";

impl Library {
    /// Makes libhdf5 forget the conversion paths of types located in containers; libhdf5 makes them again when they
    /// are used again. No call does this directly. But a soft conversion that is registered replaces each path that it
    /// accepts, and these paths are removed together with the conversion.
    fn forget_located_paths(self) {
        let _forgetting = FORGETTING.scoped(Some(self));
        silently(self, || {
            for example in self.examples().iter().flatten() {
                let (table, id) = (self.table(), example.get());
                // SAFETY: the function belongs to this plugin, which is never unloaded; the name is terminated.
                unsafe {
                    if (table.H5Tregister)(sys::H5T_PERS_SOFT, FORGOTTEN.as_ptr(), id, id, Some(accept)) >= 0
                    {
                        (table.H5Tunregister)(sys::H5T_PERS_SOFT, FORGOTTEN.as_ptr(), -1, -1, Some(accept));
                    }
                }
            }
        });
    }

    /// Returns a type of each class that can be located in a file.
    fn examples(self) -> [Result<Id>; 4] {
        let (table, one) = (self.table(), [1]);
        // SAFETY: the identifiers are the library's own; an array of one dimension has one size.
        unsafe {
            let byte = table.H5T_STD_I8LE_g();
            [
                Id::from_call(self, (table.H5Tvlen_create)(byte), "H5Tvlen_create"),
                Id::from_call(self, (table.H5Tcreate)(sys::H5T_COMPOUND, 1), "H5Tcreate"),
                Id::from_call(self, (table.H5Tarray_create2)(byte, 1, one.as_ptr()), "H5Tarray_create2"),
                self.copy_type(table.H5T_STD_REF_g()),
            ]
        }
    }

    /// Returns whether a datatype is located in a container, as far as its size shows. A wrong yes costs a search.
    fn is_located(self, id: Hid) -> Result<bool> {
        let size = self.type_size(id)?;
        match self.type_class(id)? {
            VARIABLE_LENGTH => Ok(size == size_of::<u32>() + blob_id::ID_BYTES),
            REFERENCE => Ok(![OBJECT_BYTES, REGION_BYTES, NEW_BYTES].contains(&size)),
            COMPOUND => {
                for member in self.member_types(id)? {
                    if self.is_located(member.get())? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            ARRAY => self.is_located(self.base_type(id)?.get()),
            _ => Ok(self.is_variable_string(id)? && size == size_of::<u32>() + blob_id::ID_BYTES),
        }
    }
}

/// Accepts conversions of located types, and never converts anything.
unsafe extern "C" fn accept(
    from: Hid,
    to: Hid,
    data: *mut sys::H5T_cdata_t,
    _count: usize,
    _stride: usize,
    _background_stride: usize,
    _buffer: *mut c_void,
    _background: *mut c_void,
    _transfer: Hid,
) -> c_int {
    // SAFETY: libhdf5 gives its command in `data`.
    match unsafe { (*data).command } {
        sys::H5T_CONV_INIT => {
            let is_located = || {
                let library = FORGETTING.get()?;
                Some(library.is_located(from).ok()? || library.is_located(to).ok()?)
            };
            let accepted = catch_unwind(AssertUnwindSafe(is_located));
            if matches!(accepted, Ok(Some(true))) { 0 } else { -1 }
        }
        sys::H5T_CONV_FREE => 0,
        _ => -1,
    }
}
