//! Old-style references inside elements (`hobj_ref_t`, `hdset_reg_ref_t`).
//!
//! An object reference is the object's id, in memory and in the container. A region reference in memory is an address
//! in the heap of the native file beneath the session, and becomes invalid with that file. In the container its 12
//! bytes name a heap entry that holds the dataset's id and the selection in HDF5's portable encoding. Both forms are
//! converted into each other here, element by element; beside or in variable-length data while libhdf5 converts
//! (`memory/region_conversions.rs`).
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;

use h5lake_container::{Container, ObjectId};

use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::{ARRAY, COMPOUND, REFERENCE};
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::references::{OBJECT_BYTES, REGION_BYTES};
use crate::session::Session;
use crate::thread_state::{OfThisThread, ThreadValue};
use crate::transfer::context::ROOTED;
use crate::transfer::vlen_context::note_failure;

/// The last bytes of a region reference in the container.
const REGION_MARK: [u8; 4] = *b"regn";

/// Converts elements that may hold region references beside variable-length data, from or to the container's form.
pub fn converting<T>(session: &Arc<Session>, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let root = session.identifier(session.container.root())?;
    let _converting = ROOTED.scoped(Some(Rc::new((session.clone(), root))));
    body()
}

fn converted(slot: &mut [u8; REGION_BYTES], how: impl FnOnce(&Session, &Id) -> Result<[u8; REGION_BYTES]>) {
    let session = ROOTED.with_borrow(Clone::clone);
    let there = session.ok_or_else(|| Error::new(Minor::Internal, "region references without a file"));
    *slot = there.and_then(|entry| how(&entry.0, &entry.1)).unwrap_or_else(|error| {
        note_failure(error);
        [0; REGION_BYTES]
    });
}

/// Converts a region reference from memory into one of the container, while libhdf5 converts.
pub fn carry(slot: &mut [u8; REGION_BYTES]) {
    let reference = *slot;
    converted(slot, |session, root| {
        let (object, selection) = session.library.region_of(root.get(), &reference)?;
        store(&session.container, &Region::new(object, &selection))
    });
}

/// Converts a region reference of the container into one that native code resolves, while libhdf5 converts.
pub fn uncarry(slot: &mut [u8; REGION_BYTES]) {
    let stored = *slot;
    converted(slot, |session, root| {
        in_memory(session, &stored, &mut None, |id| session.library.open_by_id(root.get(), id))
    });
}

/// A dataset that was opened for a region reference, for further references to the same dataset.
type OpenDataset = Option<(ObjectId, Id)>;

/// Returns a region reference of the container in the form that native code resolves; null if the dataset, which
/// `open` opens unless `opened` is the same dataset, does not exist any more.
fn in_memory(
    session: &Session,
    stored: &[u8; REGION_BYTES],
    opened: &mut OpenDataset,
    open: impl FnOnce(ObjectId) -> Result<Id>,
) -> Result<[u8; REGION_BYTES]> {
    let region = load(&session.container, stored)?;
    if session.container.object_info_if_there(region.object)?.is_none() {
        return Ok([0; REGION_BYTES]);
    }
    session.shadow.region_reference(&region.entry, || {
        let known = opened.take().filter(|(object, _)| *object == region.object);
        let (_, dataset) = opened.insert(match known {
            Some(known) => known,
            None => (region.object, open(region.object)?),
        });
        session.library.region_reference(dataset.get(), region.selection())
    })
}

/// Translates a region reference of one container for another: `resolve` returns the dataset that replaces its
/// dataset.
pub fn moved_region(
    from: &Container,
    to: &Container,
    slot: &[u8; REGION_BYTES],
    resolve: &mut dyn FnMut(ObjectId) -> Result<Option<ObjectId>>,
) -> Result<[u8; REGION_BYTES]> {
    let region = load(from, slot)?;
    match resolve(region.object)? {
        Some(object) => store(to, &Region::new(object, region.selection())),
        None => Ok([0; REGION_BYTES]),
    }
}

/// The positions of the references in an element, in bytes from its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots {
    /// Object references.
    pub objects: Vec<usize>,
    /// Region references.
    pub regions: Vec<usize>,
}

/// A decoded region reference.
struct Region {
    object: ObjectId,
    /// The heap entry: the object's id and the selection (`H5Sencode2`).
    entry: Vec<u8>,
}

impl Region {
    fn new(object: ObjectId, selection: &[u8]) -> Self {
        Self { object, entry: [&object.0.to_be_bytes()[..], selection].concat() }
    }

    fn selection(&self) -> &[u8] {
        self.entry.get(OBJECT_BYTES..).unwrap_or_default()
    }
}

impl Slots {
    /// Returns the slots of a datatype located in memory, without those in variable-length data. Returns `None` if the
    /// datatype holds references of the new kind (`H5R_ref_t`), which libhdf5 converts itself.
    pub fn of(library: Library, datatype: Hid) -> Result<Option<Self>> {
        let mut slots = Self::default();
        Ok(slots.collect(library, datatype, 0)?.then_some(slots))
    }

    fn collect(&mut self, library: Library, datatype: Hid, at: usize) -> Result<bool> {
        match library.type_class(datatype)? {
            REFERENCE => match library.type_size(datatype)? {
                OBJECT_BYTES => self.objects.push(at),
                REGION_BYTES => self.regions.push(at),
                _ => return Ok(false),
            },
            COMPOUND => {
                for (index, member) in library.member_types(datatype)?.iter().enumerate() {
                    let offset = library.member_offset(datatype, index)?;
                    if !self.collect(library, member.get(), at + offset)? {
                        return Ok(false);
                    }
                }
            }
            ARRAY => {
                let base = library.base_type(datatype)?;
                let (whole, size) = (library.type_size(datatype)?, library.type_size(base.get())?);
                for offset in (0..whole).step_by(size) {
                    if !self.collect(library, base.get(), at + offset)? {
                        return Ok(false);
                    }
                }
            }
            _ => {}
        }
        Ok(true)
    }

    /// Converts region references from memory into those of the container.
    pub fn to_file(&self, session: &Arc<Session>, element: usize, data: &mut [u8]) -> Result<()> {
        if self.regions.is_empty() {
            return Ok(());
        }
        let root = session.identifier(session.container.root())?;
        each(&self.regions, element, data, |slot| {
            let (object, selection) = session.library.region_of(root.get(), slot)?;
            *slot = store(&session.container, &Region::new(object, &selection))?;
            Ok(())
        })
    }

    /// Converts region references of the container into ones that native code resolves. A reference to a deleted
    /// dataset becomes a null reference.
    pub fn to_memory(&self, session: &Arc<Session>, element: usize, data: &mut [u8]) -> Result<()> {
        let mut opened = None;
        each(&self.regions, element, data, |slot| {
            *slot = in_memory(session, slot, &mut opened, |id| session.identifier(id))?;
            Ok(())
        })
    }

    /// Rewrites references for a copy: `resolve` returns the object that replaces another one, or `None`.
    pub fn rewrite(
        &self,
        from: &Container,
        to: &Container,
        element: usize,
        data: &mut [u8],
        resolve: &mut dyn FnMut(ObjectId) -> Result<Option<ObjectId>>,
    ) -> Result<()> {
        each(&self.objects, element, data, |slot: &mut [u8; OBJECT_BYTES]| {
            let copied = resolve(ObjectId(u64::from_le_bytes(*slot)))?;
            *slot = copied.map_or([0; OBJECT_BYTES], |id| id.0.to_le_bytes());
            Ok(())
        })?;
        each(&self.regions, element, data, |slot| {
            *slot = moved_region(from, to, slot, resolve)?;
            Ok(())
        })
    }
}

/// Visits the slots of all elements that are not null.
fn each<const BYTES: usize>(
    slots: &[usize],
    element: usize,
    data: &mut [u8],
    mut visit: impl FnMut(&mut [u8; BYTES]) -> Result<()>,
) -> Result<()> {
    if slots.is_empty() {
        return Ok(());
    }
    for bytes in data.chunks_exact_mut(element) {
        for at in slots {
            if let Some(slot) = bytes.get_mut(*at..).and_then(<[u8]>::first_chunk_mut::<BYTES>)
                && *slot != [0; BYTES]
            {
                visit(slot)?;
            }
        }
    }
    Ok(())
}

fn store(container: &Container, region: &Region) -> Result<[u8; REGION_BYTES]> {
    let id = container.heap_put(container.root(), &region.entry)?;
    let mut slot = [0; REGION_BYTES];
    slot[..8].copy_from_slice(&id[8..]);
    slot[8..].copy_from_slice(&REGION_MARK);
    Ok(slot)
}

fn load(container: &Container, slot: &[u8; REGION_BYTES]) -> Result<Region> {
    let damaged = || Error::new(Minor::ReadError, "a region reference is damaged");
    if slot[8..] != REGION_MARK {
        return Err(damaged());
    }
    let mut id = [0; 16];
    id[..8].copy_from_slice(&container.root().0.to_be_bytes());
    id[8..].copy_from_slice(&slot[..8]);
    let entry = container.heap_blob(&id)?;
    let object = entry.first_chunk().ok_or_else(damaged)?;
    Ok(Region { object: ObjectId(u64::from_be_bytes(*object)), entry })
}
