//! A stored datatype as identifiers of one library.
#![forbid(unsafe_code)]

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use h5lake_container::encoded::check_datatype;
use h5lake_container::{Datatype, ObjectId};
use h5lake_plugin_abi::MAX_LIBRARIES;

use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::{ARRAY, COMPOUND, ENUM, REFERENCE, TypeClass, VARIABLE_LENGTH};
use crate::hdf5::id::{Id, KeptId};
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::located_types::Located;
use crate::hdf5::predefined_types::{self, Predefined};
use crate::hdf5::references::OBJECT_BYTES;
use crate::native::shadow_file;
use crate::session::Session;
use crate::transfer::memory::vlen::Pointers;
use crate::transfer::references::{Slots, converting};
use crate::transfer::stored_places::Places;
use crate::transfer::stored_references::StoredReferences;
use crate::transfer::stored_sequences::{Purpose, StoredSequences};
use crate::transfer::vlen_context;

/// The properties of a stored datatype that follow from its encoding, whatever identifiers the datatype has.
#[derive(Debug)]
pub struct Facts {
    /// HDF5's encoding of the datatype.
    pub encoded: Bytes,
    /// The class number (`H5T_class_t`).
    pub class: u8,
    /// Bytes of one element in the container.
    pub size: usize,
    /// True if a write needs the previous value of an element (for members of a compound that are left out, and for
    /// heap data that is replaced).
    pub needs_background: bool,
    /// True if elements hold heap ids.
    pub has_heap: bool,
    /// True if elements hold references.
    pub has_references: bool,
    /// True if elements are represented differently in the container and in memory.
    pub is_located: bool,
    /// True if region references occur beside or in variable-length data.
    pub carries_regions: bool,
    /// The representation of elements in memory, if they hold only variable-length data of the plainest kind.
    pub pointers: Option<Pointers>,
    /// The positions of old-style references in an element, if libhdf5 does not convert them itself.
    pub slots: Slots,
    /// The positions of new references in an element of the container.
    pub stored_references: StoredReferences,
    /// The positions of sequences and strings of variable length in an element of the container.
    pub stored_sequences: StoredSequences,
}

/// Both forms of a stored datatype, in memory and in the container. It is made for one callback and not kept longer,
/// unless it holds no identifier of its own: `H5Fget_obj_count` counts identifiers of datatypes. Its own identifiers
/// are made when they are first needed.
#[derive(Debug)]
pub struct FileType {
    library: Library,
    facts: Arc<Facts>,
    /// The form that the application gets: a transient type located in memory.
    stored: StoredForm,
    /// The form that the application gets, but with region references as in the container. It is used if both region
    /// references and variable-length data occur.
    carried: OnceLock<KeptId>,
    /// The form in the container, if it differs: variable-length data and references are located in the file, and
    /// their elements are heap ids and tokens.
    located: OnceLock<Located>,
}

#[derive(Debug)]
enum StoredForm {
    /// A type that the library always has.
    Predefined(Hid),
    /// A type that was made for this datatype.
    Own(OnceLock<KeptId>),
}

impl Deref for FileType {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.facts
    }
}

/// Returns the kind of a datatype that is variable-length data of the plainest kind: a string, or a sequence of items
/// that refer to no other data and have the same form in the container (as in `located`) as in memory. Object
/// references are such items; no other references may occur among the items.
///
/// # Errors
/// If the library cannot report the types.
fn plainest_kind(library: Library, datatype: Hid, located: Hid) -> Result<Option<Pointers>> {
    if library.is_variable_string(datatype)? {
        return Ok(Some(Pointers::Strings));
    }
    if library.type_class(datatype)? != VARIABLE_LENGTH {
        return Ok(None);
    }
    let items = library.base_type(datatype)?;
    let size = library.type_size(items.get())?;
    if library.type_class(items.get())? == REFERENCE {
        // libhdf5 does nothing to convert object references (H5T__conv_noop).
        let is_object = size == OBJECT_BYTES && library.type_size(library.base_type(located)?.get())? == size;
        return Ok(is_object.then_some(Pointers::Sequences(size)));
    }
    for class in [TypeClass::VariableLength, TypeClass::String, TypeClass::Reference] {
        if library.type_contains(items.get(), class)? {
            return Ok(None);
        }
    }
    Ok(Some(Pointers::Sequences(size)))
}

/// The types of each library's own datatypes, made when a dataset or an attribute of such a type is first opened.
static PREDEFINED: [[OnceLock<Arc<FileType>>; predefined_types::COUNT]; MAX_LIBRARIES] =
    [const { [const { OnceLock::new() }; predefined_types::COUNT] }; MAX_LIBRARIES];

/// Returns a type with the region references of the container in place of libhdf5's, and registers their conversions
/// in the library.
fn carrying(library: Library, stored: Hid) -> Result<Id> {
    library.register_region_conversions()?;
    library.carrying_regions(stored)
}

/// Returns the identifier in a place, and makes it if the place is empty.
fn made(place: &OnceLock<KeptId>, make: impl FnOnce() -> Result<Id>) -> Result<Hid> {
    if let Some(id) = place.get() {
        return Ok(id.get());
    }
    let id = make()?.kept();
    Ok(place.get_or_init(|| id).get())
}

impl FileType {
    /// Returns the identifier of the type that the application gets: transient, located in memory.
    ///
    /// # Errors
    /// If the library refuses the encoding, or cannot make another identifier.
    pub fn stored(&self) -> Result<Hid> {
        match &self.stored {
            StoredForm::Predefined(id) => Ok(*id),
            StoredForm::Own(place) => made(place, || self.library.decode_type(&self.encoded)),
        }
    }

    /// Returns a read-only copy for the application, such as `H5Dget_type` and `H5Aget_type` return. A type that no
    /// native file can hold is returned as a modifiable copy.
    ///
    /// # Errors
    /// As for [`Self::stored`].
    pub fn read_only_copy(&self) -> Result<Id> {
        match &self.stored {
            StoredForm::Predefined(id) => self.library.read_only_copy_of_own(*id),
            StoredForm::Own(_) => {
                shadow_file::read_only_type(self.library, self.stored()?).or_else(|_| self.copy())
            }
        }
    }

    /// Returns another identifier of the type: a modifiable copy.
    ///
    /// # Errors
    /// As for [`Self::stored`].
    pub fn copy(&self) -> Result<Id> {
        match &self.stored {
            StoredForm::Predefined(id) => self.library.copy_type(*id),
            // A decoded type does not equal a copy if references are items of sequences: these references then have no
            // location, and are not the library's own (H5T_set_loc leaves them out).
            StoredForm::Own(_) if self.has_references => self.library.copy_type(self.stored()?),
            StoredForm::Own(_) => self.library.decode_type(&self.encoded),
        }
    }

    /// Returns the library the identifiers belong to.
    pub fn library(&self) -> Library {
        self.library
    }

    /// Returns whether it holds no identifier of its own, so that it may be kept.
    pub fn may_be_kept(&self) -> bool {
        matches!(self.stored, StoredForm::Predefined(_))
    }

    /// Returns the types of an application's datatype, for a new object in a session's container.
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
        let encoded = library.encode_type(id)?;
        check_datatype(&encoded).map_err(|why| {
            Error::new(
                Minor::BadType,
                format!("this datatype cannot be stored, for it could not be read again: {why}"),
            )
        })?;
        // An encoding does not say whether the type was committed: the copy is a transient one.
        Self::of_encoding(session, &encoded)
    }

    /// Returns the types of a datatype that the container holds.
    ///
    /// # Errors
    /// If the library refuses the encoding.
    pub fn of_datatype(session: &Session, datatype: &Datatype) -> Result<Arc<Self>> {
        let types = Self::of_encoding(session, &datatype.encoded)?;
        // Buffers are sized by one value and filled by the other.
        if types.size as u64 != datatype.size || types.class != datatype.class {
            let why = format!("it says {} bytes, its elements have {}", types.size, datatype.size);
            return Err(Error::damaged_encoding("datatype", &why));
        }
        Ok(types)
    }

    /// Returns the types of one of the library's own datatypes, made once: each attribute and each dataset of such a
    /// type needs them. A library that was shut down and is used again may have given the datatype another identifier.
    fn of_predefined(library: Library, known: &Predefined) -> Arc<Self> {
        let id = known.id(library);
        let make = || Self {
            library,
            facts: Arc::new(Facts {
                encoded: known.encoded.clone(),
                class: known.class,
                size: known.size,
                needs_background: false,
                has_heap: false,
                has_references: false,
                is_located: false,
                carries_regions: false,
                pointers: None,
                slots: Slots::default(),
                stored_references: StoredReferences::default(),
                stored_sequences: StoredSequences::default(),
            }),
            stored: StoredForm::Predefined(id),
            carried: OnceLock::new(),
            located: OnceLock::new(),
        };
        let place = PREDEFINED.get(library.slot()).and_then(|types| types.get(known.number));
        let Some(place) = place else { return Arc::new(make()) };
        let types = place.get_or_init(|| Arc::new(make()));
        if matches!(types.stored, StoredForm::Predefined(kept) if kept == id) {
            types.clone()
        } else {
            Arc::new(make())
        }
    }

    fn of_encoding(session: &Session, encoded: &[u8]) -> Result<Arc<Self>> {
        let library = session.library;
        if let Some(known) = library.predefined_seen(encoded) {
            return Ok(Self::of_predefined(library, known));
        }
        if let Some(facts) = known_types::find(library, encoded) {
            return Ok(Arc::new(Self::with(library, facts)));
        }
        if let Some(known) = library.predefined_type(encoded)? {
            return Ok(Self::of_predefined(library, known));
        }
        let types = Self::found_out(session, encoded)?;
        known_types::keep(library, &types.facts);
        Ok(Arc::new(types))
    }

    fn with(library: Library, facts: Arc<Facts>) -> Self {
        let stored = StoredForm::Own(OnceLock::new());
        Self { library, facts, stored, carried: OnceLock::new(), located: OnceLock::new() }
    }

    /// Finds out the types of an unknown encoding, with the identifiers that this needs.
    fn found_out(session: &Session, encoded: &[u8]) -> Result<Self> {
        let library = session.library;
        let stored = library.decode_type(encoded)?;
        let has_heap = has_heap(library, stored.get())?;
        let has_references = library.type_contains(stored.get(), TypeClass::Reference)?;
        let slots = if has_references { Slots::of(library, stored.get())? } else { Some(Slots::default()) };
        let is_located = has_heap || slots.is_none();
        let carries_regions = is_located && has_references && library.holds_regions(stored.get())?;
        let carried = if carries_regions { Some(carrying(library, stored.get())?) } else { None };
        let in_memory = carried.as_ref().unwrap_or(&stored).get();
        let encoded = Bytes::copy_from_slice(encoded);
        let located = if is_located { Some(session.located_type(&encoded, in_memory)?) } else { None };
        let in_file = located.as_ref().map_or(stored.get(), Located::get);
        // If libhdf5 converts region references, they are no bytes for h5lake to change.
        let mut slots = slots.unwrap_or_default();
        if carries_regions {
            slots.regions.clear();
        }
        let size = library.type_size(in_file)?;
        let places = if is_located { known_places(library, in_memory, size)? } else { Places::default() };
        let facts = Facts {
            encoded,
            class: library.type_class(stored.get())?,
            size,
            needs_background: has_heap || library.type_contains(stored.get(), TypeClass::Compound)?,
            has_heap,
            has_references,
            is_located,
            carries_regions,
            pointers: if has_heap { plainest_kind(library, stored.get(), in_file)? } else { None },
            slots,
            stored_references: StoredReferences::of(&places),
            stored_sequences: StoredSequences::of(&places),
        };
        let place = |id: Option<Id>| id.map_or_else(OnceLock::new, |id| OnceLock::from(id.kept()));
        Ok(Self {
            library,
            facts: Arc::new(facts),
            stored: StoredForm::Own(place(Some(stored))),
            carried: place(carried),
            located: located.map_or_else(OnceLock::new, OnceLock::from),
        })
    }

    /// Returns the identifier of the type as it is located in the container.
    ///
    /// # Errors
    /// If the library cannot make it.
    pub fn in_file(&self, session: &Session) -> Result<Hid> {
        if !self.is_located {
            return self.stored();
        }
        if let Some(located) = self.located.get() {
            return Ok(located.get());
        }
        let located = session.located_type(&self.encoded, self.for_copies()?)?;
        Ok(self.located.get_or_init(|| located).get())
    }

    /// Returns the type in memory by which elements are copied: only variable-length data and new references are
    /// converted.
    ///
    /// # Errors
    /// If the library cannot make it.
    pub fn for_copies(&self) -> Result<Hid> {
        if !self.carries_regions {
            return self.stored();
        }
        made(&self.carried, || carrying(self.library, self.stored()?))
    }

    /// Returns whether elements refer to data stored elsewhere in the container.
    pub fn has_data_elsewhere(&self) -> bool {
        self.has_heap || self.is_located || !self.slots.regions.is_empty()
    }

    /// Checks the parts of the container's elements that libhdf5 would trust. Must precede each conversion of such
    /// elements.
    ///
    /// # Errors
    /// For a damaged reference; for variable-length data that is not as long as an element says.
    pub fn check_stored(&self, session: &Arc<Session>, elements: &[u8]) -> Result<()> {
        self.stored_references.check(session, self.size, elements)?;
        self.stored_sequences.check(session, self.size, elements, Purpose::Read)
    }

    /// Checks elements that are overwritten.
    ///
    /// # Errors
    /// For variable-length data that is not as long as an element says.
    pub fn check_replaced(&self, session: &Session, elements: &[u8]) -> Result<()> {
        self.stored_sequences.check(session, self.size, elements, Purpose::Replace)
    }

    /// Runs a conversion between memory and the container.
    ///
    /// # Errors
    /// The errors of `body`, and errors in converting region references.
    pub fn converting<T>(&self, session: &Arc<Session>, body: impl FnOnce() -> Result<T>) -> Result<T> {
        if !self.carries_regions {
            return body();
        }
        let converted = converting(session, body);
        vlen_context::failure().and(converted)
    }

    /// Returns whether elements of `memory_type` have the same form in memory and in the container.
    ///
    /// # Errors
    /// If `memory_type` is no datatype.
    pub fn is_same_in_memory(&self, memory_type: Hid) -> Result<bool> {
        Ok(!self.is_located && self.slots.regions.is_empty() && self.equals(memory_type)?)
    }

    /// Returns whether a datatype is the same as the one that the application gets. Types with the same encoding are
    /// the same, and comparing encodings needs no identifier; otherwise the library compares the types.
    ///
    /// # Errors
    /// If `memory_type` is no datatype.
    pub fn equals(&self, memory_type: Hid) -> Result<bool> {
        match &self.stored {
            StoredForm::Own(place)
                if place.get().is_none() && self.library.is_encoded_as(memory_type, &self.encoded)? =>
            {
                Ok(true)
            }
            _ => self.library.types_equal(memory_type, self.stored()?),
        }
    }

    /// Returns the datatype that the container stores.
    pub fn to_datatype(&self, committed: Option<ObjectId>) -> Datatype {
        Datatype {
            encoded: self.encoded.clone(),
            size: self.size as u64,
            class: self.class,
            // New references are heap ids, too.
            has_heap: self.has_heap || self.is_located,
            has_references: self.has_references,
            committed,
        }
    }
}

/// Returns the places in an element of `size` bytes, given its datatype in memory. If the places are unknown, each
/// item of variable-length data is checked when libhdf5 requests it.
///
/// # Errors
/// For references at unknown places; if the library refuses the datatype.
fn known_places(library: Library, in_memory: Hid, size: usize) -> Result<Places> {
    let (bytes, places) = Places::of(library, in_memory)?;
    if bytes == size {
        return Ok(places);
    }
    if places.with_references().is_empty() {
        return Ok(Places::default());
    }
    let why = format!("an element of {size} bytes in a file is expected to have {bytes}");
    Err(Error::new(Minor::Unsupported, format!("references of this datatype cannot be stored: {why}")))
}

/// A cache of datatype properties, by encoding. Programs use a few datatypes again and again, and finding out their
/// properties takes ten calls of the library. The cache holds no identifiers.
mod known_types {
    use std::sync::Arc;

    use h5lake_ledger::locks::{Mutex, MutexGuard};
    use h5lake_plugin_abi::MAX_LIBRARIES;

    use super::Facts;
    use crate::hdf5::library::Library;

    /// The number of datatypes that are cached for each library.
    const PLACES: usize = 64;
    /// The length in bytes of the longest encoding that is cached.
    const LONGEST: usize = 4 << 10;
    /// The number of bytes of an encoding that its slot depends on.
    const SAMPLES: usize = 32;

    type Place = Mutex<Option<Arc<Facts>>>;

    static KNOWN: [[Place; PLACES]; MAX_LIBRARIES] =
        [const { [const { Mutex::new(None) }; PLACES] }; MAX_LIBRARIES];

    /// Returns the slot of an encoding, unless another thread has locked the slot: after a fork, that thread may exist
    /// in the parent process only.
    fn place(library: Library, encoded: &[u8]) -> Option<MutexGuard<'static, Option<Arc<Facts>>>> {
        let samples = encoded.iter().rev().step_by(encoded.len() / SAMPLES + 1);
        let number = samples.fold(encoded.len(), |n, byte| n.wrapping_mul(31).wrapping_add((*byte).into()));
        KNOWN.get(library.slot())?[number % PLACES].try_lock()
    }

    /// Returns the cached properties of an encoding.
    pub fn find(library: Library, encoded: &[u8]) -> Option<Arc<Facts>> {
        place(library, encoded)?.as_ref().filter(|facts| facts.encoded == encoded).cloned()
    }

    /// Caches properties, in place of those that had the slot before.
    pub fn keep(library: Library, facts: &Arc<Facts>) {
        if facts.encoded.len() <= LONGEST
            && let Some(mut place) = place(library, &facts.encoded)
        {
            *place = Some(facts.clone());
        }
    }
}

/// Returns whether elements hold variable-length data: sequences, or strings of variable length, at any depth.
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

/// Returns the types of a new handle, if they may be kept.
pub fn kept(types: Arc<FileType>) -> OnceLock<Arc<FileType>> {
    if types.may_be_kept() { OnceLock::from(types) } else { OnceLock::new() }
}
