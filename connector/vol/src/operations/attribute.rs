//! Attributes.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use h5lake_container::{
    AttrInfo, AttrSpec, Attribute, Container, Elements, HeapPlace, Index, ObjectId, Order,
};

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::handles::open_objects::AttributeHandle;
use crate::hdf5::id::Id;
use crate::hdf5::library::Hid;
use crate::hdf5::plist::ListClass;
use crate::operations::datatype::{committed_id, identifier};
use crate::operations::object::packed_anew;
use crate::operations::path::{Base, Location, Reached, ResolvedObject};
use crate::transfer;
use crate::transfer::memory::region::MemoryRegion;
use crate::transfer::stored_type::{FileType, kept};
use crate::transfer::vlen_context;

/// The most bytes of blobs that may remain behind a value that is written in part, whether its elements still refer to
/// them or not.
const KEPT_BLOBS: usize = 4 << 10;

/// Creates an attribute (`H5Acreate`).
pub fn create(
    handle: &Handle,
    location: &Location<'_>,
    name: &[u8],
    datatype: Hid,
    space: Hid,
    creation: Hid,
) -> Result<Handle> {
    let base = Base::of(handle)?;
    let Reached { file, found } = base.reach(location);
    let made = found.and_then(|found| make(found, name, datatype, space, creation));
    // A single process commits when it closes the attribute.
    file.finish_if_followed(made).map(Handle::Attribute)
}

fn make(
    owner: ResolvedObject,
    name: &[u8],
    datatype: Hid,
    space: Hid,
    creation: Hid,
) -> Result<AttributeHandle> {
    let ResolvedObject { session, id, path } = owner;
    let library = session.library;
    let space = library.extent_if_any(space)?;
    let space = space.ok_or_else(|| Error::argument("the dataspace of an attribute must have an extent"))?;
    let types = FileType::of_new(&session, datatype)?;
    let spec = AttrSpec {
        datatype: types.to_datatype(committed_id(&session, datatype)?),
        space,
        cset: library.character_set(creation)?,
        creation_properties: library.encode_list(creation)?.into(),
    };
    let attribute = session.container.attr_create(id, name, spec)?;
    let types = kept(types);
    Ok(AttributeHandle { types, attribute, path, session })
}

/// Opens an attribute (`H5Aopen`), by name or by index.
pub fn open(handle: &Handle, location: &Location<'_>, name: Option<&[u8]>) -> Result<Handle> {
    let base = Base::of(handle)?;
    let (found, name) = match (location, name) {
        (Location::ByIndex { name: object, index, order, n, access }, _) => {
            let found = base.find(&Location::ByName { name: object, access: *access })?;
            let attribute = found.session.container.attr_at(found.id, *index, *order, *n)?;
            (found, Cow::Owned(attribute.name))
        }
        (_, Some(name)) => (base.find(location)?, Cow::Borrowed(name)),
        (_, None) => return Err(Error::argument("an attribute is opened by its name or its index")),
    };
    let session = found.session;
    let attribute = session.container.attr_open(found.id, &name)?;
    Ok(Handle::Attribute(AttributeHandle { types: OnceLock::new(), attribute, path: found.path, session }))
}

/// Returns the attribute behind a handle.
pub fn of(handle: &Handle) -> Result<&AttributeHandle> {
    match handle {
        Handle::Attribute(attribute) => Ok(attribute),
        _ => Err(Error::argument("not an attribute")),
    }
}

fn types_of(attribute: &AttributeHandle) -> Result<Arc<FileType>> {
    if let Some(types) = attribute.types.get() {
        return Ok(types.clone());
    }
    let types = FileType::of_datatype(&attribute.session, attribute.attribute.datatype())?;
    Ok(if types.may_be_kept() { attribute.types.get_or_init(|| types).clone() } else { types })
}

/// Returns the number of elements of the value.
pub fn points(handle: &Handle) -> Result<u64> {
    Ok(of(handle)?.attribute.space().points()?)
}

/// Reads an attribute (`H5Aread`). A value without elements fits any memory type, like in the native connector
/// (`H5A__read`): nothing is converted.
pub fn read(handle: &Handle, memory_type: Hid, region: &mut MemoryRegion, transfer: Hid) -> Result<()> {
    let attribute = of(handle)?;
    if region.points() == 0 {
        return Ok(());
    }
    let types = types_of(attribute)?;
    let mut read = |value: &[u8]| {
        transfer::read(&attribute.session, &types, memory_type, region, transfer, |buffer| {
            fill(buffer, value);
            Ok(())
        })
    };
    match attribute.attribute.heap_place() {
        HeapPlace::Local => {
            let (value, local) = attribute.attribute.read_with_heap()?;
            vlen_context::reading(local, || read(&value))
        }
        HeapPlace::Owner(_) => read(&attribute.attribute.read()?),
    }
}

/// Writes an attribute (`H5Awrite`). `region` is the elements, or an error about the elements, which is reported here
/// because other processes wait for this operation. A value without elements fits any memory type, like in the native
/// connector (`H5A__write`): nothing is written.
pub fn write(handle: &Handle, memory_type: Hid, region: Result<MemoryRegion>, transfer: Hid) -> Result<()> {
    let attribute = of(handle)?;
    let written = region.and_then(|region| match region.points() {
        0 => Ok(()),
        _ => write_value(attribute, memory_type, &region, transfer),
    });
    attribute.session.finish_if_followed(written)
}

fn write_value(
    attribute: &AttributeHandle,
    memory_type: Hid,
    region: &MemoryRegion,
    transfer: Hid,
) -> Result<()> {
    let (types, value) = (types_of(attribute)?, attribute.attribute.clone());
    if !types.is_located {
        let existing = |buffer: &mut [u8]| {
            fill(buffer, &value.read()?);
            Ok(())
        };
        return transfer::write(
            &attribute.session,
            &types,
            memory_type,
            region,
            transfer,
            existing,
            |data| Ok(value.write(data)?),
        );
    }
    vlen_context::writing(value.heap_place(), || {
        let existing = |buffer: &mut [u8]| {
            let (elements, local) = value.read_with_heap()?;
            fill(buffer, &elements);
            vlen_context::keep(local);
            Ok(())
        };
        transfer::write(&attribute.session, &types, memory_type, region, transfer, existing, |data| {
            let local = vlen_context::take();
            if local.kept() <= KEPT_BLOBS {
                return Ok(value.write_with_heap(data, &local)?);
            }
            let elements = Elements { data: data.to_vec(), heap: local };
            let packed = packed_anew(&attribute.session, value.datatype(), elements)?;
            Ok(value.write_with_heap(&packed.data, &packed.heap)?)
        })
    })
}

fn fill(buffer: &mut [u8], value: &[u8]) {
    let length = buffer.len().min(value.len());
    buffer[..length].copy_from_slice(&value[..length]);
}

/// Returns the datatype of an attribute (`H5Aget_type`).
pub fn datatype(handle: &Handle) -> Result<Id> {
    let attribute = of(handle)?;
    let committed = attribute.attribute.datatype().committed;
    identifier(&attribute.session, &*types_of(attribute)?, committed)
}

/// Returns the dataspace of an attribute (`H5Aget_space`).
pub fn space(handle: &Handle) -> Result<Id> {
    let attribute = of(handle)?;
    attribute.session.library.space_of(attribute.attribute.space())
}

/// Returns the creation list of an attribute (`H5Aget_create_plist`).
pub fn creation_list(handle: &Handle) -> Result<Id> {
    let attribute = of(handle)?;
    attribute
        .session
        .library
        .decode_list(&attribute.attribute.creation_properties(), ListClass::AttributeCreate)
}

/// Returns name, size, order and character set of an open attribute, or of one to which a location leads.
pub fn info(handle: &Handle, location: &Location<'_>, name: Option<&[u8]>) -> Result<AttrInfo> {
    if let (Handle::Attribute(open), Location::Itself) = (handle, location) {
        return info_of(&open.session.container, open.attribute.owner().id(), &open.attribute);
    }
    let base = Base::of(handle)?;
    match (location, name) {
        (Location::ByIndex { name: object, index, order, n, access }, _) => {
            let found = base.find(&Location::ByName { name: object, access: *access })?;
            Ok(found.session.container.attr_at(found.id, *index, *order, *n)?)
        }
        (_, Some(name)) => {
            let found = base.find(location)?;
            info_of(&found.session.container, found.id, &*found.session.container.attr_open(found.id, name)?)
        }
        (_, None) => Err(Error::argument("an attribute is found by its name or its index")),
    }
}

fn info_of(container: &Container, owner: ObjectId, attribute: &Attribute) -> Result<AttrInfo> {
    let name = attribute.name();
    let creation_order = match attribute.creation_order() {
        None => {
            let all = container.attrs(owner, Index::Name, Order::Increasing)?;
            all.iter().find(|other| other.name == name).and_then(|other| other.creation_order)
        }
        tracked => tracked,
    };
    Ok(AttrInfo { name, creation_order, cset: attribute.cset(), data_size: attribute.storage_size() })
}

/// Deletes an attribute (`H5Adelete`).
pub fn delete(handle: &Handle, location: &Location<'_>, name: &[u8]) -> Result<()> {
    let base = Base::of(handle)?;
    let Reached { file, found } = base.reach(location);
    let deleted = found.and_then(|found| Ok(file.container.attr_delete(found.id, name)?));
    base.finish_change(&file, deleted)
}

/// Deletes an attribute by its index (`H5Adelete_by_idx`).
pub fn delete_by_index(
    handle: &Handle,
    location: &Location<'_>,
    index: Index,
    order: Order,
    n: u64,
) -> Result<()> {
    let base = Base::of(handle)?;
    let Reached { file, found } = base.reach(location);
    let deleted = found.and_then(|found| {
        let attribute = file.container.attr_at(found.id, index, order, n)?;
        Ok(file.container.attr_delete(found.id, &attribute.name)?)
    });
    base.finish_change(&file, deleted)
}

/// Returns whether an attribute exists (`H5Aexists`).
pub fn exists(handle: &Handle, location: &Location<'_>, name: &[u8]) -> Result<bool> {
    let found = Base::of(handle)?.find(location)?;
    Ok(found.session.container.attr_exists(found.id, name)?)
}

/// Renames an attribute (`H5Arename`).
pub fn rename(handle: &Handle, location: &Location<'_>, old: &[u8], new: &[u8]) -> Result<()> {
    let base = Base::of(handle)?;
    let Reached { file, found } = base.reach(location);
    let renamed = found.and_then(|found| rename_in(&file.container, found.id, old, new));
    base.finish_change(&file, renamed)
}

fn rename_in(container: &Container, owner: ObjectId, old: &[u8], new: &[u8]) -> Result<()> {
    if old == new {
        let there = container.attr_exists(owner, old)?;
        return if there { Ok(()) } else { Err(Error::new(Minor::NotFound, "no such attribute to rename")) };
    }
    Ok(container.attr_rename(owner, old, new)?)
}
