//! Copying objects (`H5Ocopy`), within a container or into another.

use crate::chunk::block_store::{change_stored, store_block, stored};
use crate::object::OpenObject;
use crate::path::MAX_SOFT;
use crate::{AttrSpec, Container, CopyOptions, Dataset, Error, InlineHeap, LastLink, Resolution, Result};
use bytes::Bytes;
use h5lake_records::ObjectId;
use h5lake_records::conversion;
use h5lake_records::encoded::REFERENCE;
use h5lake_records::keys;
use h5lake_records::record::{DatatypeRecord, HeaderRecord};
use h5lake_records::types::{CharSet, Datatype, HeapPlace, Index, Link, LinkTarget, ObjectKind, Order};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Converts elements of a type for another place: given the type, the place of their blobs, and whole elements in file
/// form, it returns the same number of bytes. Called for types with heap ids or references, without any lock held.
pub type Convert<'a> = dyn FnMut(&Datatype, HeapPlace, Elements) -> Result<Elements> + 'a;

/// Returns the object in the destination that corresponds to an object of the source, if there is one. A copy that
/// expands references copies the object if it was not copied yet.
pub type Resolve<'a> = dyn FnMut(ObjectId) -> Result<Option<ObjectId>> + 'a;

/// Like [`Convert`], for elements with references: it requests the objects in the destination to which the references
/// lead.
pub type ConvertReferences<'a> =
    dyn FnMut(&Datatype, HeapPlace, Elements, &mut Resolve<'_>) -> Result<Elements> + 'a;

/// Elements in file form.
#[derive(Debug, Clone, Default)]
pub struct Elements {
    /// Their bytes.
    pub data: Vec<u8>,
    /// The blobs of an attribute that stores them in its record.
    pub heap: InlineHeap,
}

impl From<Vec<u8>> for Elements {
    /// Creates elements without an inline heap.
    fn from(data: Vec<u8>) -> Self {
        Self { data, heap: InlineHeap::default() }
    }
}

/// The state of a copy.
struct Plan<'a> {
    from: &'a Arc<Container>,
    to: &'a Arc<Container>,
    options: CopyOptions,
    /// The copies by original object, so that an object with several links is copied once.
    done: HashMap<ObjectId, OpenObject>,
    /// The copies, which are not copied again.
    made: HashSet<ObjectId>,
    /// Copies without links so far, with their originals and depth.
    empty: VecDeque<(ObjectId, OpenObject, usize)>,
    /// Copies without attributes and elements so far, with their originals. They get these after all links are copied,
    /// because references may lead to any object of the copy.
    linked: VecDeque<(ObjectId, OpenObject)>,
    /// Copies to which references lead.
    referenced: Vec<ObjectId>,
    /// Committed types of the destination by encoding, if they are to be reused.
    types: Option<HashMap<Bytes, ObjectId>>,
}

/// The kind of value to which copied elements belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Attribute,
    /// A dataset: one of its blocks, or its fill value.
    Dataset,
}

impl Value {
    /// Returns whether references lead to copies even in a copy within one file. As in native HDF5, this holds for
    /// attributes with elements that are references themselves (`H5A__attr_post_copy_file`). All other references keep
    /// their objects (`H5Dcontig.c`, `H5Dchunk.c`).
    fn is_expanded_within_file(self, datatype: &Datatype) -> bool {
        self == Self::Attribute && datatype.class == REFERENCE
    }
}

struct ObjectCopier<'a, 'c> {
    plan: Plan<'a>,
    convert: &'a mut ConvertReferences<'c>,
}

impl Container {
    /// Copies an object and all objects that it leads to by hard links. The copy has no link yet. An object that is
    /// reached twice is copied once, so that hard links and cycles are preserved. A committed type that a copied
    /// dataset or attribute uses is copied with it.
    ///
    /// # Errors
    /// `ReadOnly` for the destination; `Unsupported` for expanding external links, and for expanding or keeping
    /// references, which [`Self::copy_object_with_references`] supports; those of `convert`. After an error, objects
    /// that were already copied are removed.
    pub fn copy_object(
        self: &Arc<Self>,
        source: ObjectId,
        destination: &Arc<Container>,
        options: CopyOptions,
        convert: &mut Convert<'_>,
    ) -> Result<OpenObject> {
        if options.expand_references || options.keep_references {
            return Err(Error::unsupported("a copy that expands references is not supported yet"));
        }
        self.copy_object_with_references(source, destination, options, &mut |t, to, elements, _| {
            convert(t, to, elements)
        })
    }

    /// Copies an object like [`Self::copy_object`], but `convert` may request the objects in the destination to which references
    /// lead. Within one container, these are the original objects. In another container there are no such objects, unless
    /// `options` expand or keep references. An object that is copied because of a reference and gets no other link is linked into
    /// the root group, under the name that native HDF5 gives (`H5O__copy_obj_by_ref`).
    ///
    /// # Errors
    /// As for [`Self::copy_object`].
    pub fn copy_object_with_references(
        self: &Arc<Self>,
        source: ObjectId,
        destination: &Arc<Container>,
        options: CopyOptions,
        convert: &mut ConvertReferences<'_>,
    ) -> Result<OpenObject> {
        destination.check_writable("unable to copy object")?;
        let plan = Plan {
            from: self,
            to: destination,
            options,
            done: HashMap::new(),
            made: HashSet::new(),
            empty: VecDeque::new(),
            linked: VecDeque::new(),
            referenced: Vec::new(),
            types: None,
        };
        let mut c = ObjectCopier { plan, convert };
        let copy = c.plan.object(source, 0)?;
        loop {
            while let Some((from, to, depth)) = c.plan.empty.pop_front() {
                c.plan.links(from, &to, depth)?;
                c.plan.linked.push_back((from, to));
            }
            let Some((from, to)) = c.plan.linked.pop_front() else { break };
            c.content(from, &to)?;
        }
        for id in c.plan.referenced {
            if id != copy.id() && destination.object_info(id)?.link_count == 0 {
                let name = format!("~obj_pointed_by_{}", id.0);
                let root = destination.root();
                destination.link_create(root, name.as_bytes(), LinkTarget::Hard(id), CharSet::Ascii)?;
            }
        }
        Ok(copy)
    }

    /// Returns whether a copy of an object that expands external links encounters one: such a copy needs objects
    /// outside of the container.
    ///
    /// # Errors
    /// Those of reading groups.
    pub fn leads_outside(&self, source: ObjectId, options: CopyOptions) -> Result<bool> {
        let mut seen = HashSet::from([source]);
        let mut pending = vec![(source, 0)];
        while let Some((group, depth)) = pending.pop() {
            if self.object_info(group)?.kind != ObjectKind::Group || (options.shallow && depth > 0) {
                continue;
            }
            for link in self.links(group, Index::Name, Order::Native)? {
                let target = match &link.target {
                    LinkTarget::Hard(id) => Some(*id),
                    LinkTarget::Soft(path) if options.expand_soft => {
                        match self.resolve(group, path, LastLink::Follow, MAX_SOFT) {
                            Ok(Resolution::Leaves { .. }) => return Ok(true),
                            Ok(Resolution::Object { id }) => Some(id),
                            _ => None,
                        }
                    }
                    LinkTarget::External { .. } => return Ok(true),
                    _ => None,
                };
                if let Some(id) = target.filter(|id| seen.insert(*id)) {
                    pending.push((id, depth + 1));
                }
            }
        }
        Ok(false)
    }
}

impl Plan<'_> {
    /// Returns the copy of an object, and creates it without content if it was not made yet.
    fn object(&mut self, id: ObjectId, depth: usize) -> Result<OpenObject> {
        if let Some(done) = self.done.get(&id) {
            return Ok(done.clone());
        }
        if Arc::ptr_eq(self.from, self.to) && self.made.contains(&id) {
            // A link to a missing object of a damaged container may now lead to an object that this copy has created.
            // Copying that object would create another one, without end.
            return Err(Error::corrupt(format!(
                "a link or reference to the object {:#x}, which was not there",
                id.0
            )));
        }
        let header = self.from.header(&mut self.from.state(), id)?;
        if let (Some(t), true) = (&header.datatype, self.options.merge_committed)
            && let Some(same) = self.same_type(&t.encoded)?
        {
            let open = self.to.open_object(same)?;
            self.done.insert(id, open.clone());
            return Ok(open);
        }
        let mut h =
            HeaderRecord { link_count: 0, attribute_count: 0, next_attribute: 0, ..(*header).clone() };
        if let Some(g) = &mut h.group {
            (g.link_count, g.next_order) = (0, 0);
        }
        if let Some(t) = h.dataset.as_mut().and_then(|d| d.datatype.as_mut()) {
            self.committed(t)?;
        }
        let copy = self.to.add_object(&mut self.to.state(), h)?;
        self.done.insert(id, copy.clone());
        self.made.insert(copy.id());
        self.empty.push_back((id, copy.clone(), depth));
        Ok(copy)
    }

    /// Returns the copy of the object to which a reference leads.
    fn reference(&mut self, id: ObjectId) -> Result<ObjectId> {
        let copy = self.object(id, 0)?.id();
        self.referenced.push(copy);
        Ok(copy)
    }

    /// Replaces the committed type of a copied object by the copy of the type.
    fn committed(&mut self, t: &mut DatatypeRecord) -> Result<()> {
        if let Some(id) = t.committed.map(ObjectId) {
            // A dataset in its place would need a type of its own to be copied first, and so on without end.
            if self.from.header(&mut self.from.state(), id)?.kind() != ObjectKind::Datatype {
                let what = format!("the committed type {:#x} of an object is none", id.0);
                return Err(Error::corrupt(what));
            }
            t.committed = Some(self.object(id, 1)?.id().0);
        }
        Ok(())
    }

    /// Returns a committed type of the destination with this encoding.
    fn same_type(&mut self, encoded: &Bytes) -> Result<Option<ObjectId>> {
        if self.types.is_none() {
            let mut found = HashMap::new();
            let mut seen = HashSet::from([self.to.root()]);
            let mut pending = vec![self.to.root()];
            while let Some(group) = pending.pop() {
                for link in self.to.links(group, Index::Name, Order::Native)? {
                    let LinkTarget::Hard(id) = link.target else { continue };
                    if !seen.insert(id) {
                        continue;
                    }
                    let h = self.to.header(&mut self.to.state(), id)?;
                    if h.group.is_some() {
                        pending.push(id);
                    } else if let Some(t) = &h.datatype {
                        found.entry(t.encoded.clone()).or_insert(id);
                    }
                }
            }
            self.types = Some(found);
        }
        Ok(self.types.as_ref().and_then(|t| t.get(encoded).copied()))
    }

    fn links(&mut self, from: ObjectId, copy: &OpenObject, depth: usize) -> Result<()> {
        if copy.kind() != ObjectKind::Group || (self.options.shallow && depth > 0) {
            return Ok(());
        }
        let to = copy.id();
        let (source, tracked) = (self.from, self.from.group_info(from)?.link_order.tracked);
        // A copied link keeps its creation order, so the links are copied in the order of the map, without a list.
        source.each(&keys::of(keys::LINK, from.0), |key, value| {
            let link = source.decode_link(&key, value)?;
            let target = self.target(from, &link, depth)?;
            if let Some(order) = link.creation_order {
                self.count_from(to, order)?;
            }
            self.to.link_create(to, &link.name, target, link.cset)
        })?;
        if tracked {
            self.count_from(to, self.from.group_info(from)?.max_creation_order)?;
        }
        Ok(())
    }

    /// Sets the creation order of the next link of a copied group, because its links keep their orders.
    fn count_from(&self, group: ObjectId, order: i64) -> Result<()> {
        self.to.change_header(&mut self.to.state(), group, |h| {
            if let Some(g) = &mut h.group {
                g.next_order = order;
            }
            Ok(())
        })
    }

    fn target(&mut self, group: ObjectId, link: &Link, depth: usize) -> Result<LinkTarget> {
        Ok(match &link.target {
            LinkTarget::Hard(id) => LinkTarget::Hard(self.object(*id, depth + 1)?.id()),
            LinkTarget::Soft(path) if self.options.expand_soft => {
                // A dangling link is copied unchanged. A missing group on the way is an error, like in the native
                // connector.
                match self.from.resolve(group, path, LastLink::Follow, MAX_SOFT)? {
                    Resolution::Object { id } => LinkTarget::Hard(self.object(id, depth + 1)?.id()),
                    _ => link.target.clone(),
                }
            }
            LinkTarget::External { .. } if self.options.expand_external => {
                return Err(Error::unsupported("a copy that expands external links is not supported yet"));
            }
            other => other.clone(),
        })
    }
}

impl ObjectCopier<'_, '_> {
    fn content(&mut self, from: ObjectId, copy: &OpenObject) -> Result<()> {
        if !self.plan.options.without_attributes {
            self.attributes(from, copy.id())?;
        }
        match copy.kind() {
            ObjectKind::Dataset => {
                self.fill(copy)?;
                self.data(from, copy.id())
            }
            _ => Ok(()),
        }
    }

    fn convert(
        &mut self,
        t: &Datatype,
        (value, to): (Value, HeapPlace),
        elements: Elements,
    ) -> Result<Elements> {
        let (len, plan) = (elements.data.len(), &mut self.plan);
        let expands = plan.options.expand_references;
        let keeps = Arc::ptr_eq(plan.from, plan.to) && !(expands && value.is_expanded_within_file(t));
        let resolve = &mut |id| match keeps {
            true => Ok(Some(id)),
            false if expands => plan.reference(id).map(Some),
            false if plan.options.keep_references => Ok(plan.done.get(&id).map(OpenObject::id)),
            false => Ok(None),
        };
        let out = (self.convert)(t, to, elements, resolve)?;
        if out.data.len() != len {
            let text = format!("{len} bytes of elements were converted to {}", out.data.len());
            return Err(Error::invalid(text));
        }
        Ok(out)
    }

    fn attributes(&mut self, from: ObjectId, to: ObjectId) -> Result<()> {
        for info in self.plan.from.attrs(from, Index::CreationOrder, Order::Increasing)? {
            let source = self.plan.from.attr_open(from, &info.name)?;
            let mut t = DatatypeRecord::from(source.datatype());
            self.plan.committed(&mut t)?;
            let spec = AttrSpec {
                datatype: t.try_into()?,
                space: source.space().clone(),
                cset: source.cset(),
                creation_properties: source.creation_properties(),
            };
            let copy = self.plan.to.attr_create(to, &info.name, spec)?;
            let (value, heap) = source.read_with_heap()?;
            let stays = [source.heap_place(), copy.heap_place()] == [HeapPlace::Local; 2]
                && !source.datatype().has_references;
            if needs_convert(source.datatype()) && !stays {
                let elements = Elements { data: value.to_vec(), heap };
                let new = self.convert(source.datatype(), (Value::Attribute, copy.heap_place()), elements)?;
                copy.write_with_heap(&new.data, &new.heap)?;
            } else {
                copy.write_with_heap(&value, &heap)?;
            }
            self.keep_order(from, to, &info.name)?;
        }
        Ok(())
    }

    /// Gives a copied attribute the creation order of its source.
    fn keep_order(&self, from: ObjectId, to: ObjectId, name: &[u8]) -> Result<()> {
        let key = keys::named(keys::ATTRIBUTE, from.0, name);
        let order = self.plan.from.attribute_record(&self.plan.from.state(), &key, name)?.creation_order;
        let mut s = self.plan.to.state();
        let key = keys::attribute(to.0, name);
        let mut r = self.plan.to.attribute_record(&s, &key, name)?;
        Arc::make_mut(&mut r).creation_order = order;
        self.plan.to.put_attribute(&mut s, key, r)?;
        s.edition += 1;
        s.lists.attributes_changed(to.0);
        self.plan.to.change_header(&mut s, to, |h| {
            h.next_attribute = h.next_attribute.max(order.saturating_add(1));
            Ok(())
        })
    }

    /// Converts a fill value with heap ids or references, because the copy needs ids of its own. The blobs belong to
    /// the root group, as those of a new dataset do, because they are not part of any written element.
    fn fill(&mut self, copy: &OpenObject) -> Result<()> {
        let h = self.plan.to.header(&mut self.plan.to.state(), copy.id())?;
        let Some(d) = &h.dataset else { return Ok(()) };
        let t = conversion::datatype(&d.datatype)?;
        if d.fill_value.is_empty() || !needs_convert(&t) {
            return Ok(());
        }
        let place = (Value::Dataset, HeapPlace::Owner(self.plan.to.root()));
        let value = self.convert(&t, place, d.fill_value.to_vec().into())?.data;
        self.plan.to.change_header(&mut self.plan.to.state(), copy.id(), |h| {
            if let Some(d) = &mut h.dataset {
                d.fill_value = value.into();
            }
            Ok(())
        })
    }

    /// Copies blocks, in their stored form if no element has to change.
    fn data(&mut self, from: ObjectId, to: ObjectId) -> Result<()> {
        let source = self.plan.from.dataset(from)?;
        source.with_codec(|| self.blocks(&source, from, to))
    }

    fn blocks(&mut self, source: &Dataset, from: ObjectId, to: ObjectId) -> Result<()> {
        source.flush()?;
        let (shape, datatype) = (source.shape(), source.datatype());
        let convert = needs_convert(datatype);
        let prefix = keys::of(keys::BLOCK, from.0);
        let mut after: Option<Bytes> = None;
        loop {
            let next = self.plan.from.ledger.scan_prefix(&prefix, after.as_deref(), 1)?.pop();
            let Some((key, _)) = next else { return Ok(()) };
            let mut new = keys::of(keys::BLOCK, to.0);
            new.extend_from_slice(keys::tail(&key));
            let p = stored(&self.plan.from.ledger, &key, shape)?;
            let ledger = &self.plan.to.ledger;
            match p.encoded {
                Some(mask) if !convert => {
                    let bytes = p.encoded_bytes(&self.plan.from.ledger)?;
                    change_stored(ledger, &new, shape, |n| {
                        n.put_encoded(ledger, shape, mask, &bytes)?;
                        n.statistics = p.statistics.clone();
                        Ok(())
                    })?;
                }
                _ => {
                    let mut block = p.load(&self.plan.from.ledger, shape)?;
                    if convert {
                        let place = (Value::Dataset, HeapPlace::Owner(to));
                        block = self.convert(datatype, place, block.into())?.data;
                    }
                    store_block(ledger, &new, shape, block)?;
                }
            }
            after = Some(key);
        }
    }
}

fn needs_convert(t: &Datatype) -> bool {
    t.has_heap || t.has_references
}
