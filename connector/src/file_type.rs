//! A stored datatype as identifiers of one library.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use h5lake_container::{Datatype, ObjectId};

use crate::callbacks::references::{Slots, converting};
use crate::callbacks::sequences;
use crate::callbacks::transfer::heap_failure;
use crate::error::{Error, Minor, Result};
use crate::ffi::ids::Id;
use crate::ffi::library::{Hid, Library};
use crate::ffi::predefined::Predefined;
use crate::ffi::types::{ARRAY, COMPOUND, ENUM, TypeClass};
use crate::ffi::variable_length::Pointers;
use crate::session::Session;

/// Both faces of a stored datatype. Made for one callback and not kept longer, unless it holds no identifier of
/// its own: identifiers of datatypes are counted by `H5Fget_obj_count`.
#[derive(Debug)]
pub struct FileType {
    library: Library,
    /// As the application gets it: a transient type located in memory.
    stored: Stored,
    /// As the application gets it, but with region references as the container has them, where both those and
    /// variable-length data occur.
    carried: Option<Id>,
    /// As it lies in the container, where that differs: variable-length data and references are located in the
    /// file, their elements are heap ids and tokens.
    located: Option<Id>,
    /// Bytes of one element in the container.
    pub size: usize,
    /// Whether what an element held before matters when it is written (members of a compound that are left
    /// out, heap data that is replaced).
    pub needs_background: bool,
    /// Elements hold heap ids.
    pub has_heap: bool,
    /// Elements hold references.
    pub has_references: bool,
    /// What elements are in memory, where all they hold is variable-length data of the plainest kind.
    pub pointers: Option<Pointers>,
    /// Where old-style references lie in an element, if libhdf5 does not convert them itself.
    pub slots: Slots,
    /// HDF5's encoding of it.
    encoded: Bytes,
}

#[derive(Debug)]
enum Stored {
    /// A type that the library has anyway.
    Predefined(Hid),
    /// One made for this.
    Own(Id),
}

impl FileType {
    /// The identifier of the type as the application gets it: transient, located in memory.
    pub fn stored(&self) -> Hid {
        match &self.stored {
            Stored::Predefined(id) => *id,
            Stored::Own(id) => id.get(),
        }
    }

    /// The library the identifiers belong to.
    pub fn library(&self) -> Library {
        self.library
    }

    /// Whether it holds no identifier of its own.
    pub fn may_be_kept(&self) -> bool {
        matches!(self.stored, Stored::Predefined(_)) && self.located.is_none()
    }

    /// The types of an application's datatype, for something new in a session's container.
    ///
    /// # Errors
    /// If the library refuses the datatype; for a compound or an enumeration without members.
    pub fn of_new(session: &Session, id: Hid) -> Result<Arc<Self>> {
        let library = session.library;
        if let Some(known) = library.predefined(id) {
            return Ok(Self::of_predefined(library, known));
        }
        if matches!(library.type_class(id)?, COMPOUND | ENUM) && library.member_count(id)? == 0 {
            return Err(Error::new(Minor::BadType, "datatype is not sensible: it has no members"));
        }
        // An encoding leaves out whether the type was committed: the copy is a transient one.
        Self::of_encoding(session, library.encode_type(id)?.into())
    }

    /// The types of a datatype that the container holds.
    ///
    /// # Errors
    /// If the library refuses the encoding.
    pub fn of_datatype(session: &Session, datatype: &Datatype) -> Result<Arc<Self>> {
        Self::of_encoding(session, datatype.encoded.clone())
    }

    /// The types of one of the library's own, made once: each attribute and each dataset of it asks for them. A library that
    /// was shut down and is used again may have given it another identifier.
    fn of_predefined(library: Library, known: &Predefined) -> Arc<Self> {
        let id = known.id(library);
        let made = || Self {
            library,
            stored: Stored::Predefined(id),
            carried: None,
            located: None,
            size: known.size,
            needs_background: false,
            has_heap: false,
            has_references: false,
            pointers: None,
            slots: Slots::default(),
            encoded: known.encoded.clone(),
        };
        let types = known.types.get_or_init(|| Arc::new(made()));
        if types.stored() == id { types.clone() } else { Arc::new(made()) }
    }

    fn of_encoding(session: &Session, encoded: Bytes) -> Result<Arc<Self>> {
        let library = session.library;
        if let Some(known) = library.predefined_type(&encoded)? {
            return Ok(Self::of_predefined(library, known));
        }
        let stored = library.decode_type(&encoded)?;
        let has_heap = has_heap(library, stored.get())?;
        let has_references = library.type_contains(stored.get(), TypeClass::Reference)?;
        let slots = if has_references { Slots::of(library, stored.get())? } else { Some(Slots::default()) };
        let is_located = has_heap || slots.is_none();
        let carried = if is_located && has_references && library.holds_regions(stored.get())? {
            library.register_region_conversions()?;
            Some(library.carrying_regions(stored.get())?)
        } else {
            None
        };
        let located = if is_located {
            let of = carried.as_ref().unwrap_or(&stored).get();
            Some(library.file_type(&session.anchor, &session.connector, of)?)
        } else {
            None
        };
        let size = library.type_size(located.as_ref().unwrap_or(&stored).get())?;
        let pointers = if has_heap { sequences::kind_of(library, stored.get())? } else { None };
        let needs_background = has_heap || library.type_contains(stored.get(), TypeClass::Compound)?;
        let stored = Stored::Own(stored);
        // Where libhdf5 converts region references, they are no bytes of ours to change.
        let mut slots = slots.unwrap_or_default();
        if carried.is_some() {
            slots.regions.clear();
        }
        Ok(Arc::new(Self {
            library,
            stored,
            carried,
            located,
            size,
            needs_background,
            has_heap,
            has_references,
            pointers,
            slots,
            encoded,
        }))
    }

    /// The identifier of the type as it lies in the container.
    pub fn in_file(&self) -> Hid {
        self.located.as_ref().map_or_else(|| self.stored(), Id::get)
    }

    /// The type in memory that copies are made by: nothing but variable-length data and new references is converted.
    pub fn for_copies(&self) -> Hid {
        self.carried.as_ref().map_or_else(|| self.stored(), Id::get)
    }

    /// Whether region references lie beside or in variable-length data.
    pub fn carries_regions(&self) -> bool {
        self.carried.is_some()
    }

    /// Whether elements lie in the container otherwise than in memory.
    pub fn is_located(&self) -> bool {
        self.located.is_some()
    }

    /// Runs a conversion between memory and the container.
    ///
    /// # Errors
    /// Those of `body`, and what went wrong with region references on the way.
    pub fn converting(&self, session: &Arc<Session>, body: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.carried.is_none() {
            return body();
        }
        let converted = converting(session, body);
        heap_failure().and(converted)
    }

    /// Whether elements of `memory_type` lie in memory just as they lie in the container.
    ///
    /// # Errors
    /// If `memory_type` is no datatype.
    pub fn is_same_in_memory(&self, memory_type: Hid) -> Result<bool> {
        Ok(self.located.is_none()
            && self.slots.regions.is_empty()
            && self.library.types_equal(memory_type, self.stored())?)
    }

    /// What elements of `memory_type` are in memory, if they are the same variable-length data as in the container, and
    /// of the plainest kind.
    ///
    /// # Errors
    /// If `memory_type` is no datatype.
    pub fn pointers_in(&self, memory_type: Hid) -> Result<Option<Pointers>> {
        match self.pointers {
            Some(kind) if self.library.types_equal(memory_type, self.stored())? => Ok(Some(kind)),
            _ => Ok(None),
        }
    }

    /// What the container keeps of it.
    ///
    /// # Errors
    /// If the library cannot encode it.
    pub fn to_datatype(&self, committed: Option<ObjectId>) -> Result<Datatype> {
        let library = self.library;
        Ok(Datatype {
            encoded: self.encoded.clone(),
            size: self.size as u64,
            class: library.type_class(self.stored())?,
            // New references are heap ids, too.
            has_heap: self.has_heap || self.located.is_some(),
            has_references: self.has_references,
            committed,
        })
    }
}

/// Whether elements hold variable-length data: sequences, or strings of variable length, at any depth.
fn has_heap(library: Library, id: Hid) -> Result<bool> {
    if library.type_contains(id, TypeClass::VariableLength)? {
        return Ok(true);
    }
    if !library.type_contains(id, TypeClass::String)? {
        return Ok(false);
    }
    match library.type_class(id)? {
        COMPOUND => {
            for member in library.member_types(id)? {
                if has_heap(library, member.get())? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        ARRAY => has_heap(library, library.base_type(id)?.get()),
        _ => library.is_variable_string(id),
    }
}

/// The types of a new handle, if they may be kept.
pub fn kept(types: Arc<FileType>) -> OnceLock<Arc<FileType>> {
    if types.may_be_kept() { OnceLock::from(types) } else { OnceLock::new() }
}
