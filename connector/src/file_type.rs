//! A stored datatype as identifiers of one library.

use std::sync::Arc;

use h5lake_container::{Datatype, ObjectId};

use crate::error::Result;
use crate::ffi::ids::Id;
use crate::ffi::library::{Hid, Library};
use crate::ffi::types::TypeClass;
use crate::session::Session;

/// Both faces of a stored datatype.
#[derive(Debug)]
pub struct FileType {
    /// As the application gets it: a transient type located in memory.
    pub stored: Id,
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
}

impl FileType {
    /// The types of an application's datatype in a session's container.
    ///
    /// # Errors
    /// If the library refuses the datatype.
    pub fn of_type(session: &Session, id: Hid) -> Result<Self> {
        let library = session.library;
        // An encoding leaves out whether the type was committed: the copy is a transient one.
        let stored = library.decode_type(&library.encode_type(id)?)?;
        Self::of_stored(session, stored)
    }

    /// The types of a datatype that the container holds.
    ///
    /// # Errors
    /// If the library refuses the encoding.
    pub fn of_datatype(session: &Session, datatype: &Datatype) -> Result<Arc<Self>> {
        let stored = session.library.decode_type(&datatype.encoded)?;
        Self::of_stored(session, stored).map(Arc::new)
    }

    fn of_stored(session: &Session, stored: Id) -> Result<Self> {
        let library = session.library;
        let has_heap = has_heap(library, stored.get())?;
        let has_references = library.type_contains(stored.get(), TypeClass::Reference)?;
        let located = if has_heap || has_references {
            Some(library.file_type(&session.anchor, &session.connector, stored.get())?)
        } else {
            None
        };
        let size = library.type_size(located.as_ref().unwrap_or(&stored).get())?;
        let needs_background = has_heap || library.type_contains(stored.get(), TypeClass::Compound)?;
        Ok(Self { stored, located, size, needs_background, has_heap, has_references })
    }

    /// The identifier of the type as it lies in the container.
    pub fn in_file(&self) -> Hid {
        self.located.as_ref().unwrap_or(&self.stored).get()
    }

    /// Whether elements of `memory_type` lie in memory just as they lie in the container.
    ///
    /// # Errors
    /// If `memory_type` is no datatype.
    pub fn is_same_in_memory(&self, memory_type: Hid) -> Result<bool> {
        Ok(self.located.is_none() && self.stored.library().types_equal(memory_type, self.stored.get())?)
    }

    /// What the container keeps of it.
    ///
    /// # Errors
    /// If the library cannot encode it.
    pub fn to_datatype(&self, committed: Option<ObjectId>) -> Result<Datatype> {
        let library = self.stored.library();
        Ok(Datatype {
            encoded: library.encode_type(self.stored.get())?.into(),
            size: self.size as u64,
            class: library.type_class(self.stored.get())?,
            has_heap: self.has_heap,
            has_references: self.has_references,
            committed,
        })
    }
}

/// Whether elements hold variable-length data: sequences, or strings of variable length, at any depth.
fn has_heap(library: Library, id: Hid) -> Result<bool> {
    const COMPOUND: u8 = 6;
    const ARRAY: u8 = 10;
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
