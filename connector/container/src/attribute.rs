//! Attributes.

mod earlier_place;
mod long_values;
mod open;
mod stored;

pub(crate) use self::earlier_place::{EarlierPlace, take_back};
pub(crate) use self::long_values::LongValues;
#[cfg(test)]
pub(crate) use self::long_values::MAX_BYTES as MAX_LONG_VALUE_BYTES;
pub(crate) use self::open::OpenAttributes;
pub(crate) use self::stored::Unstored;
use crate::container::State;
use crate::listing_cache;
use crate::object::check_type;
use crate::{AttrSpec, Container, Error, ErrorKind, InlineHeap, OpenObject, Result};
use bytes::Bytes;
use h5lake_ledger::locks::Mutex;
use h5lake_records::ObjectId;
use h5lake_records::conversion::{self, check_space, cset, show};
use h5lake_records::keys;
use h5lake_records::record;
use h5lake_records::record::{
    ATTRIBUTES_TRACKED, AttributeRecord, DatatypeRecord, HeaderRecord, SpaceRecord,
};
use h5lake_records::types::{AttrInfo, CharSet, Dataspace, Datatype, HeapPlace, Index, ObjectKind, Order};
use std::sync::Arc;

/// An open attribute. There is one for each attribute of a container, however often it is opened.
#[derive(Debug)]
pub struct Attribute {
    owner: OpenObject,
    datatype: Datatype,
    space: Dataspace,
    cset: CharSet,
    creation_order: Option<u32>,
    creation_properties: Bytes,
    data_size: u64,
    place: Mutex<AttributePlace>,
}

impl Drop for Attribute {
    fn drop(&mut self) {
        if let AttributePlace::Named { key, .. } = &*self.place.lock() {
            self.owner.container().forget_attribute(key, self);
        }
    }
}

/// Properties of the object that an attribute is on.
struct Owner {
    id: ObjectId,
    kind: ObjectKind,
    tracked: bool,
}

impl Owner {
    fn of(id: ObjectId, h: &HeaderRecord) -> Self {
        Self { id, kind: h.kind(), tracked: h.flags & ATTRIBUTES_TRACKED != 0 }
    }
}

/// Returns whether values of one attribute are valid for the other.
fn is_alike(a: &AttributeRecord, b: &AttributeRecord) -> bool {
    (&a.datatype, &a.space, a.data_size) == (&b.datatype, &b.space, b.data_size)
}

/// The place of an open attribute.
#[derive(Debug)]
enum AttributePlace {
    /// On its object, under this key. The record is the stored one as long as the state has this edition.
    Named { key: Arc<[u8]>, record: Arc<AttributeRecord>, edition: u64 },
    /// Deleted; the value, with its inline heap, lives as long as this.
    Deleted { name: Vec<u8>, value: Bytes },
}

impl Attribute {
    /// Returns its present name, or its last one if it was deleted.
    pub fn name(&self) -> Vec<u8> {
        match &*self.place.lock() {
            AttributePlace::Named { key, record, .. } => keys::name(key, &record.name).to_vec(),
            AttributePlace::Deleted { name, .. } => name.clone(),
        }
    }

    /// Returns its element type.
    pub fn datatype(&self) -> &Datatype {
        &self.datatype
    }

    /// Returns its shape.
    pub fn space(&self) -> &Dataspace {
        &self.space
    }

    /// Returns the character set of its name.
    pub fn cset(&self) -> CharSet {
        self.cset
    }

    /// Returns its position among all attributes ever created on its object, if tracked.
    pub fn creation_order(&self) -> Option<u32> {
        self.creation_order
    }

    /// Returns the open object that it is on.
    pub fn owner(&self) -> &OpenObject {
        &self.owner
    }

    /// Returns the place for blobs of this attribute's value; they are deleted with the attribute.
    pub fn heap_place(&self) -> HeapPlace {
        match self.datatype.has_heap {
            true => HeapPlace::Local,
            // The blobs of region references are in the root group's heap.
            false => HeapPlace::Owner(self.owner.container().root()),
        }
    }

    /// Returns the creation properties, as given.
    pub fn creation_properties(&self) -> Bytes {
        self.creation_properties.clone()
    }

    /// Returns the bytes of the value.
    pub fn storage_size(&self) -> u64 {
        self.data_size
    }

    /// Returns the value, all elements in file form.
    ///
    /// # Errors
    /// Those of reading the container.
    pub fn read(&self) -> Result<Bytes> {
        let mut value = self.read_whole()?;
        value.truncate(self.data_size as usize);
        Ok(value)
    }

    /// Returns the value, and the inline heap to which its elements' ids refer; empty if its blobs are elsewhere.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub fn read_with_heap(&self) -> Result<(Bytes, InlineHeap)> {
        Ok(InlineHeap::split(self.read_whole()?, self.data_size))
    }

    /// Returns the elements and the inline heap after them.
    fn read_whole(&self) -> Result<Bytes> {
        let c = self.owner.container();
        let state = c.state();
        let mut place = self.place.lock();
        self.renew(&state, &mut place)?;
        match &*place {
            AttributePlace::Deleted { value, .. } => Ok(value.clone()),
            AttributePlace::Named { key, record, .. } => {
                let key = self.key_now(key, record);
                if c.reads.are_noted() && !c.ledger.is_staged(&key) {
                    c.reads.of_name(&key);
                }
                c.attribute_value(record)
            }
        }
    }

    /// Reads the record again if it may have changed without this handle.
    fn renew(&self, s: &State, place: &mut AttributePlace) -> Result<()> {
        let c = self.owner.container();
        if let AttributePlace::Named { key, record, edition } = place
            && (*edition != s.edition || c.ledger.is_shared())
        {
            let name = keys::name(key, &record.name);
            let now = c.attribute_record(s, &self.key_now(key, record), name)?;
            if !is_alike(&now, record) {
                let text =
                    format!("attribute {} was deleted, and another one has its name; open that", show(name));
                return Err(Error::not_found(text));
            }
            (*record, *edition) = (now, s.edition);
        }
        Ok(())
    }

    /// Returns its present key, which differs from the key at its open if its group was merged with another writer's
    /// group.
    fn key_now(&self, key: &Arc<[u8]>, record: &AttributeRecord) -> Arc<[u8]> {
        match self.owner.id().0 {
            id if keys::id(key) == Some(id) => key.clone(),
            id => keys::attribute(id, keys::name(key, &record.name)),
        }
    }

    /// Replaces the value; `data` is all elements in file form.
    ///
    /// # Errors
    /// `InvalidArgument` for another length, `ReadOnly`; `NotFound` if the attribute was deleted.
    pub fn write(&self, data: &[u8]) -> Result<()> {
        self.write_with_heap(data, &InlineHeap::default())
    }

    /// Replaces the value, and the inline heap to which its elements' ids refer.
    ///
    /// # Errors
    /// As for [`Self::write`]; `InvalidArgument` for an inline heap if blobs of this attribute are elsewhere.
    pub fn write_with_heap(&self, data: &[u8], heap: &InlineHeap) -> Result<()> {
        if data.len() as u64 != self.data_size {
            let text = format!("an attribute of {} bytes is written with {}", self.data_size, data.len());
            return Err(Error::invalid(text));
        }
        if !heap.is_empty() && self.heap_place() != HeapPlace::Local {
            return Err(Error::invalid("an attribute without a inline heap is written with one"));
        }
        let [kept, added] = heap.parts();
        let value = [data, kept, added];
        let c = self.owner.container();
        c.check_writable("unable to write attribute")?;
        let mut s = c.state();
        let mut place = self.place.lock();
        self.renew(&s, &mut place)?;
        let (key, record) = match &mut *place {
            // This applies to all handles, because the value could never be read (`H5O__attr_write`).
            AttributePlace::Deleted { .. } => return Err(Error::not_found("the attribute was deleted")),
            AttributePlace::Named { key, record, .. } => (self.key_now(key, record), record),
        };
        c.make_way(&mut s, &key)?;
        c.ledger.prepare_to_free(&record.extents)?;
        let (inline, mut extents) = c.store_value(value.concat())?;
        // With two owners, the record would be copied before the change.
        c.take_unstored(&mut s, &key);
        let r = Arc::make_mut(record);
        std::mem::swap(&mut r.extents, &mut extents);
        r.inline = inline;
        c.put_attribute(&mut s, key, record.clone())?;
        c.free_value(&extents)?;
        c.change_header(&mut s, self.owner.id(), |h| {
            h.touch();
            Ok(())
        })
    }
}

impl Container {
    /// Creates an attribute of zeros.
    ///
    /// # Errors
    /// `AlreadyExists`, `ReadOnly`; `InvalidArgument` for an impossible name, type or shape.
    pub fn attr_create(
        self: &Arc<Self>,
        id: ObjectId,
        name: &[u8],
        spec: AttrSpec,
    ) -> Result<Arc<Attribute>> {
        self.check_writable("unable to create attribute")?;
        check_type(&spec.datatype)?;
        check_space(&spec.space)?;
        let size = spec.space.points()?.checked_mul(spec.datatype.size);
        let size = size.filter(|&n| isize::try_from(n).is_ok());
        let data_size = size.ok_or_else(|| Error::range("an attribute's size does not fit memory"))?;
        let mut s = self.state();
        let key = keys::attribute(id.0, name);
        let owner = Owner::of(id, &*self.header(&mut s, id)?);
        self.make_way(&mut s, &key)?;
        if self.has_attribute(&s, &key)? {
            return Err(Error::exists(format!("attribute already exists: {}", show(name))));
        }
        let creation_order = self.change_header(&mut s, id, |h| {
            let order = h.next_attribute;
            let next = order.checked_add(1);
            h.next_attribute = next.ok_or_else(|| Error::range("an object has had too many attributes"))?;
            h.attribute_count += 1;
            h.touch();
            Ok(order)
        })?;
        if let Some(t) = spec.datatype.committed {
            self.change_links(&mut s, t, 1)?;
        }
        let r = AttributeRecord {
            datatype: Some(DatatypeRecord::from(&spec.datatype)),
            space: Some(SpaceRecord::from(&spec.space)),
            utf8: spec.cset == CharSet::Utf8,
            creation_order,
            creation_properties: spec.creation_properties,
            data_size,
            name: keys::beside(name),
            ..AttributeRecord::default()
        };
        let r = Arc::new(r);
        self.put_attribute(&mut s, key.clone(), r.clone())?;
        s.lists.attributes_changed(id.0);
        self.hold_attribute(&mut s, owner, key, r)
    }

    /// Opens an attribute.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn attr_open(self: &Arc<Self>, id: ObjectId, name: &[u8]) -> Result<Arc<Attribute>> {
        let mut s = self.state();
        let key = keys::attribute(id.0, name);
        // The key has only a part of a long name. Another writer may have replaced the attribute by one with another
        // name.
        let is_it = |a: &Arc<Attribute>| name.len() <= keys::MAX_PLAIN_NAME || a.name() == name;
        let open = s.attributes.get(&key);
        if let Some(open) = open.as_ref().filter(|a| is_it(a) && a.renew(&s, &mut a.place.lock()).is_ok()) {
            return Ok(open.clone());
        }
        let owner = Owner::of(id, &*self.header(&mut s, id)?);
        let r = self.attribute_record(&s, &key, name)?;
        self.hold_attribute(&mut s, owner, key, r)
    }

    fn hold_attribute(
        self: &Arc<Self>,
        s: &mut State,
        owner: Owner,
        key: Arc<[u8]>,
        r: Arc<AttributeRecord>,
    ) -> Result<Arc<Attribute>> {
        let (datatype, space) = (conversion::datatype(&r.datatype)?, conversion::space(&r.space)?);
        if space.points()?.checked_mul(datatype.size) != Some(r.data_size) {
            let text =
                format!("an attribute's value has {} bytes, which its elements do not make up", r.data_size);
            return Err(Error::corrupt(text));
        }
        let attribute = Arc::new(Attribute {
            owner: OpenObject::hold(self, owner.id, owner.kind),
            datatype,
            space,
            cset: cset(r.utf8),
            creation_order: owner.tracked.then_some(r.creation_order),
            creation_properties: r.creation_properties.clone(),
            data_size: r.data_size,
            place: Mutex::new(AttributePlace::Named { key: key.clone(), record: r, edition: s.edition }),
        });
        s.attributes.insert(key, &attribute);
        Ok(attribute)
    }

    /// Removes an attribute that is being dropped from the open ones, unless the state is locked just now.
    fn forget_attribute(&self, key: &[u8], attribute: &Attribute) {
        if let Some(mut s) = self.state_if_free() {
            s.attributes.forget(key, attribute);
        }
    }

    /// Returns whether an object has an attribute of that name.
    ///
    /// # Errors
    /// `NotFound` if there is no such object.
    pub fn attr_exists(&self, id: ObjectId, name: &[u8]) -> Result<bool> {
        let mut s = self.state();
        self.header(&mut s, id)?;
        let key = keys::named(keys::ATTRIBUTE, id.0, name);
        if name.len() <= keys::MAX_PLAIN_NAME {
            return self.has_attribute(&s, &key);
        }
        match self.attribute_record(&s, &key, name) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Deletes an attribute. Open handles of it can still read it.
    ///
    /// # Errors
    /// `NotFound`, `ReadOnly`.
    pub fn attr_delete(&self, id: ObjectId, name: &[u8]) -> Result<()> {
        self.check_writable("unable to delete attribute")?;
        let mut s = self.state();
        self.header(&mut s, id)?;
        let key = keys::named(keys::ATTRIBUTE, id.0, name);
        let r = self.attribute_record(&s, &key, name)?;
        let open = s.attributes.remove(&key);
        if let Some(open) = &open {
            let value = self.attribute_value(&r)?;
            self.note_earlier_place(&mut s, open);
            *open.place.lock() = AttributePlace::Deleted { name: name.to_vec(), value };
        }
        let used = self.drop_attribute(&mut s, &key, &r)?;
        self.change_header(&mut s, id, |h| {
            h.attribute_count = h.attribute_count.saturating_sub(1);
            // As in native files, the creation order restarts when an object has lost all attributes.
            if h.attribute_count == 0 {
                h.next_attribute = 0;
            }
            h.touch();
            Ok(())
        })?;
        s.lists.attributes_changed(id.0);
        if let Some(t) = used {
            self.change_links(&mut s, ObjectId(t), -1)?;
            self.delete_if_unused(&mut s, t)?;
        }
        drop(s);
        drop(open);
        Ok(())
    }

    /// Renames an attribute; open handles of it follow.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `ReadOnly`.
    pub fn attr_rename(&self, id: ObjectId, old: &[u8], new: &[u8]) -> Result<()> {
        self.check_writable("unable to rename attribute")?;
        let mut s = self.state();
        self.header(&mut s, id)?;
        let (from, to) = (keys::attribute(id.0, old), keys::attribute(id.0, new));
        let mut r = self.attribute_record(&s, &from, old)?;
        if old == new {
            return Ok(());
        }
        self.make_way(&mut s, &from)?;
        if self.has_attribute(&s, &to)? {
            return Err(Error::exists(format!("attribute already exists: {}", show(new))));
        }
        if self.ledger.is_shared() {
            self.note_moved(&mut s, &from, &to)?;
        }
        Arc::make_mut(&mut r).name = keys::beside(new);
        self.ledger.delete(&from)?;
        self.take_unstored(&mut s, &from);
        self.put_attribute(&mut s, to.clone(), r.clone())?;
        self.change_header(&mut s, id, |h| {
            h.touch();
            Ok(())
        })?;
        s.lists.attributes_changed(id.0);
        let open = s.attributes.remove(&from);
        if let Some(open) = &open {
            self.note_earlier_place(&mut s, open);
            *open.place.lock() = AttributePlace::Named { key: to.clone(), record: r, edition: s.edition };
            s.attributes.insert(to, open);
        }
        drop(s);
        drop(open);
        Ok(())
    }

    /// Notes the place of an attribute that a shared writer deletes or renames, because the attribute returns there if
    /// its batch is dropped.
    fn note_earlier_place(&self, s: &mut State, open: &Arc<Attribute>) {
        if self.ledger.is_shared() {
            earlier_place::note(s.remote.earlier_places(), open);
        }
    }

    /// Returns the number of attributes of an object.
    ///
    /// # Errors
    /// `NotFound` if there is no such object.
    pub fn attr_count(&self, id: ObjectId) -> Result<u64> {
        Ok(self.header(&mut self.state(), id)?.attribute_count)
    }

    /// Returns the attribute at a position along an index. The creation order can be followed even if it is not
    /// tracked, as in native files, where it is then the order of the messages.
    ///
    /// # Errors
    /// `OutOfRange`; `NotFound` if there is no such object.
    pub fn attr_at(&self, id: ObjectId, index: Index, order: Order, n: u64) -> Result<AttrInfo> {
        Ok(listing_cache::at(&self.attrs(id, index, Order::Increasing)?, order, n)?.clone())
    }

    /// Returns all attributes of an object along an index.
    ///
    /// # Errors
    /// As for [`Self::attr_at`].
    pub fn attrs(&self, id: ObjectId, index: Index, order: Order) -> Result<Vec<AttrInfo>> {
        let mut s = self.state();
        let tracked = self.header(&mut s, id)?.flags & ATTRIBUTES_TRACKED != 0;
        if s.lists.attributes(id.0).is_none() {
            self.store_attribute(&mut s)?;
            let all = self.scan_attributes(id, tracked)?;
            s.lists.keep_attributes(id.0, all);
        }
        let mut all = s.lists.attributes(id.0).unwrap_or_default().to_vec();
        drop(s);
        if index == Index::CreationOrder {
            all.sort_by_key(|(order, _)| *order);
        }
        let mut all: Vec<_> = all.into_iter().map(|(_, a)| a).collect();
        if order == Order::Decreasing {
            all.reverse();
        }
        Ok(all)
    }

    /// Returns the attributes by name, each with its creation order. If the order is not tracked, the attributes are
    /// numbered in the order of the present ones, like those of native files.
    fn scan_attributes(&self, id: ObjectId, tracked: bool) -> Result<Vec<(u32, AttrInfo)>> {
        let mut all = Vec::new();
        self.each(&keys::of(keys::ATTRIBUTE, id.0), |key, value| {
            let what = || format!("{}: the attribute {}", self.name(), show(keys::tail(&key)));
            let r: AttributeRecord = record::decode(value, what)?;
            let info = AttrInfo {
                name: keys::name(&key, &r.name).to_vec(),
                creation_order: tracked.then_some(r.creation_order),
                cset: cset(r.utf8),
                data_size: r.data_size,
            };
            all.push((r.creation_order, info));
            Ok(())
        })?;
        if !tracked {
            all.sort_by_key(|(order, _)| *order);
            for (n, (_, info)) in (0..).zip(&mut all) {
                info.creation_order = Some(n);
            }
        }
        // They are sorted already, except for names too long for a key.
        all.sort_unstable_by(|a, b| a.1.name.cmp(&b.1.name));
        Ok(all)
    }
}
