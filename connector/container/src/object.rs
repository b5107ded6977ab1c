//! Objects: creating, opening, counting links, deleting.

use crate::container::{MAX_CACHED_HEADERS, State};
use crate::{
    Container, CreationOrder, Datatype, DatatypeSpec, Error, ErrorKind, GroupSpec, ObjectId, ObjectInfo,
    ObjectKind, Result,
};
use bytes::Bytes;
use h5lake_records::keys;
use h5lake_records::record;
use h5lake_records::record::{
    ATTRIBUTES_INDEXED, ATTRIBUTES_TRACKED, AttributeRecord, DatatypeRecord, GroupRecord, HeaderRecord,
    LinkRecord, TIMES_TRACKED,
};
use h5lake_records::{conversion, now};
use prost::Message;
use std::sync::Arc;

/// An open object. When the last clone of the last handle is dropped and no link leads to the object, it is deleted
/// with everything that it owns.
#[derive(Debug, Clone)]
pub struct OpenObject(Arc<HeldObject>);

#[derive(Debug)]
struct HeldObject {
    container: Arc<Container>,
    id: ObjectId,
    kind: ObjectKind,
}

impl OpenObject {
    /// Counts an open handle; the caller has checked that the object exists.
    pub(crate) fn hold(container: &Arc<Container>, id: ObjectId, kind: ObjectKind) -> Self {
        *container.handles.counts.lock().entry(id.0).or_default() += 1;
        Self(Arc::new(HeldObject { container: container.clone(), id, kind }))
    }

    /// Returns the object's id. A group that was merged with another writer's group has the id of that group from then
    /// on.
    pub fn id(&self) -> ObjectId {
        ObjectId(self.0.container.present_id(self.0.id.0))
    }

    /// Returns the kind of the object.
    pub fn kind(&self) -> ObjectKind {
        self.0.kind
    }

    /// Returns the container that the object is in.
    pub fn container(&self) -> &Arc<Container> {
        &self.0.container
    }
}

impl Drop for HeldObject {
    fn drop(&mut self) {
        let mut opens = self.container.handles.counts.lock();
        let id = self.container.present_id(self.id.0);
        let last = match opens.get_mut(&id) {
            Some(n) if *n > 1 => {
                *n -= 1;
                false
            }
            _ => opens.remove(&id).is_some(),
        };
        if last {
            self.container.handles.corked.lock().remove(&id);
        }
        drop(opens);
        if last && self.container.is_ours() && self.container.writable() {
            self.container.handles.closed.lock().push(id);
            self.container.reap_if_free();
        }
    }
}

impl GroupSpec {
    /// Creates the header of such a group.
    pub fn header(&self, links: u32, now: i64) -> HeaderRecord {
        let times = self.track_times.then_some(now);
        let group = GroupRecord {
            order_tracked: self.link_order.tracked,
            order_indexed: self.link_order.indexed,
            ..GroupRecord::default()
        };
        let header = HeaderRecord::new(self.attribute_order, times, &self.creation_properties);
        HeaderRecord { link_count: links, group: Some(group), ..header }
    }
}

impl Container {
    /// Returns the header of an object.
    pub(crate) fn header(&self, s: &mut State, id: ObjectId) -> Result<Arc<HeaderRecord>> {
        if let Some(h) = s.unstored.get(&id.0) {
            return Ok(h.clone());
        }
        if let Some(h) = s.headers.get(&id.0) {
            return Ok(h.clone());
        }
        let value = self.ledger.get(&keys::of(keys::HEADER, id.0))?;
        let value = value
            .ok_or_else(|| Error::not_found(format!("{}: there is no object {:#x}", self.name(), id.0)))?;
        let h: HeaderRecord =
            record::decode(value, || format!("{}: the header of object {:#x}", self.name(), id.0))?;
        if [h.group.is_some(), h.dataset.is_some(), h.datatype.is_some()].iter().filter(|&&x| x).count() != 1
        {
            return Err(Error::corrupt(format!("{}: object {:#x} is of no kind", self.name(), id.0)));
        }
        let h = Arc::new(h);
        s.keep_header(id.0, h.clone());
        Ok(h)
    }

    /// Changes a header in memory; it is staged by the next flush, or when there are many.
    pub(crate) fn put_header(&self, s: &mut State, id: ObjectId, h: HeaderRecord) -> Result<()> {
        s.headers.pop(&id.0);
        s.unstored.insert(id.0, Arc::new(h));
        self.store_many_headers(s)
    }

    fn store_many_headers(&self, s: &mut State) -> Result<()> {
        // Changes of a shared writer must be in the ledger when they are merged.
        let at_once = self.ledger.is_shared() || s.unstored.len() >= MAX_CACHED_HEADERS;
        if at_once { self.store_headers(s) } else { Ok(()) }
    }

    /// Stages the changed headers.
    pub(crate) fn store_headers(&self, s: &mut State) -> Result<()> {
        self.store_headers_and(s, State::keep_header)
    }

    /// Stages the changed headers, and calls `then` for each.
    pub(crate) fn store_headers_and(
        &self,
        s: &mut State,
        then: fn(&mut State, u64, Arc<HeaderRecord>),
    ) -> Result<()> {
        let mut changed: Vec<u64> = s.unstored.keys().copied().collect();
        // Entries with neighbouring keys are staged one after another.
        changed.sort_unstable();
        for id in changed {
            let Some(h) = s.unstored.get(&id) else { continue };
            self.ledger.put(&keys::of(keys::HEADER, id), h.encode_to_vec())?;
            if let Some(h) = s.unstored.remove(&id) {
                then(s, id, h);
            }
        }
        Ok(())
    }

    /// Changes a header. If `change` fails, the header stays unchanged.
    pub(crate) fn change_header<T>(
        &self,
        s: &mut State,
        id: ObjectId,
        change: impl FnOnce(&mut HeaderRecord) -> Result<T>,
    ) -> Result<T> {
        if !s.unstored.contains_key(&id.0) {
            let h = self.header(s, id)?;
            s.headers.pop(&id.0);
            s.unstored.insert(id.0, h);
        }
        let Some(h) = s.unstored.get_mut(&id.0) else {
            return Err(Error::corrupt("a changed header is not among those that are to be staged"));
        };
        let out = change(Arc::make_mut(h))?;
        self.store_many_headers(s)?;
        Ok(out)
    }

    /// Returns the group part of a header, or an error that names the object's kind.
    pub(crate) fn group(&self, s: &mut State, id: ObjectId) -> Result<GroupRecord> {
        let h = self.header(s, id)?;
        h.group.clone().ok_or_else(|| self.no_group(format_args!("object {:#x}", id.0), h.kind()))
    }

    /// Returns the error for an object that is not a group.
    pub(crate) fn no_group(&self, what: impl std::fmt::Display, kind: ObjectKind) -> Error {
        let kind = match kind {
            ObjectKind::Group => "group",
            ObjectKind::Dataset => "dataset",
            ObjectKind::Datatype => "committed datatype",
        };
        Error::wrong_kind(format!("{}: {what} is not a group but a {kind}", self.name()))
    }

    /// Opens an object.
    ///
    /// # Errors
    /// `NotFound` if no object has that id.
    pub fn open_object(self: &Arc<Self>, id: ObjectId) -> Result<OpenObject> {
        let mut s = self.state();
        let kind = self.header(&mut s, id)?.kind();
        Ok(OpenObject::hold(self, id, kind))
    }

    /// Stages a new object without links.
    pub(crate) fn add_object(self: &Arc<Self>, s: &mut State, h: HeaderRecord) -> Result<OpenObject> {
        let id = s.ids.take(&self.ledger)?;
        let kind = h.kind();
        if let Some(t) = h.committed_type() {
            self.change_links(s, ObjectId(t), 1)?;
        }
        if self.ledger.is_shared() {
            self.ledger.put(&keys::of(keys::ORPHAN, id.0), Bytes::new())?;
        } else {
            s.unmarked.insert(id.0);
        }
        self.put_header(s, id, h)?;
        Ok(OpenObject::hold(self, id, kind))
    }

    /// Creates a group without links to it.
    ///
    /// # Errors
    /// `ReadOnly`; `InvalidArgument` for an index without tracking.
    pub fn create_group(self: &Arc<Self>, spec: GroupSpec) -> Result<OpenObject> {
        self.check_writable("unable to create group")?;
        check_order(spec.link_order, "links")?;
        check_order(spec.attribute_order, "attributes")?;
        self.add_object(&mut self.state(), spec.header(0, now()))
    }

    /// Creates a committed datatype without links to it.
    ///
    /// # Errors
    /// `ReadOnly`; `InvalidArgument` for an index without tracking or a type of size 0.
    pub fn create_datatype(self: &Arc<Self>, spec: DatatypeSpec) -> Result<OpenObject> {
        self.check_writable("unable to commit datatype")?;
        check_order(spec.attribute_order, "attributes")?;
        check_type(&spec.datatype)?;
        let times = spec.track_times.then(now);
        let mut h = HeaderRecord::new(spec.attribute_order, times, &spec.creation_properties);
        h.datatype = Some(DatatypeRecord { committed: None, ..DatatypeRecord::from(&spec.datatype) });
        self.add_object(&mut self.state(), h)
    }

    /// Returns information about an object; `None` if the object does not exist, for example after its deletion. An
    /// object that cannot be read is an error.
    ///
    /// # Errors
    /// Those of reading.
    pub fn object_info_if_there(&self, id: ObjectId) -> Result<Option<ObjectInfo>> {
        match self.object_info(id) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// Returns information about an object.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn object_info(&self, id: ObjectId) -> Result<ObjectInfo> {
        let h = self.header(&mut self.state(), id)?;
        let [access_time, modify_time, change_time, birth_time] = h.times();
        Ok(ObjectInfo {
            kind: h.kind(),
            link_count: h.link_count,
            access_time,
            modify_time,
            change_time,
            birth_time,
            attribute_count: h.attribute_count,
        })
    }

    /// Adds to the link count (`H5Oincr_refcount`, `H5Odecr_refcount`) and returns the new count. At 0 the object is
    /// deleted when it is closed.
    ///
    /// # Errors
    /// `InvalidArgument` if the count would leave its range.
    pub fn change_link_count(&self, id: ObjectId, delta: i32) -> Result<u32> {
        self.check_writable("unable to change the link count")?;
        let mut s = self.state();
        let n = self.change_links(&mut s, id, delta)?;
        if delta < 0 {
            self.note_unlinked(&mut s, id.0);
        }
        self.delete_if_unused(&mut s, id.0)?;
        Ok(n)
    }

    /// Adds to a link count and updates the orphan mark; deletes nothing.
    pub(crate) fn change_links(&self, s: &mut State, id: ObjectId, delta: i32) -> Result<u32> {
        let (old, new) = self.change_header(s, id, |h| {
            let old = h.link_count;
            h.link_count = h.may_get_links(id, delta)?;
            h.touch();
            Ok((old, h.link_count))
        })?;
        match (old, new) {
            (0, 1..) => self.unmark(s, id.0)?,
            (1.., 0) => self.ledger.put(&keys::of(keys::ORPHAN, id.0), Bytes::new())?,
            _ => (),
        }
        Ok(new)
    }

    /// Removes the orphan mark of an object.
    fn unmark(&self, s: &mut State, id: u64) -> Result<()> {
        if s.unmarked.remove(&id) {
            return Ok(());
        }
        let mark = keys::of(keys::ORPHAN, id);
        // Each record with a change of an orphan mark conflicts with all group commits, so a mark that is staged and was never
        // committed is only unstaged.
        let is_new = self.ledger.is_shared()
            && !self.ledger.is_outcome_unknown()
            && self.ledger.is_staged(&mark)
            && self.ledger.base(&mark)?.is_none();
        if is_new { Ok(self.ledger.unstage(&mark)?) } else { Ok(self.ledger.delete(&mark)?) }
    }

    /// Stages the orphan marks of new objects that no link leads to yet.
    pub(crate) fn mark_new(&self, s: &mut State) -> Result<()> {
        while let Some(id) = s.unmarked.first() {
            self.ledger.put(&keys::of(keys::ORPHAN, *id), Bytes::new())?;
            s.unmarked.pop_first();
        }
        Ok(())
    }

    /// Returns the comment of an object.
    ///
    /// # Errors
    /// `NotFound` if there is no such object.
    pub fn comment(&self, id: ObjectId) -> Result<Option<Vec<u8>>> {
        let h = self.header(&mut self.state(), id)?;
        self.reads.of_name(&keys::of(keys::HEADER, id.0));
        Ok(h.comment.as_ref().map(|c| c.to_vec()))
    }

    /// Sets or removes the comment of an object.
    ///
    /// # Errors
    /// `ReadOnly`, `NotFound`.
    pub fn set_comment(&self, id: ObjectId, comment: Option<&[u8]>) -> Result<()> {
        self.check_writable("unable to set comment")?;
        self.change_header(&mut self.state(), id, |h| {
            h.comment = comment.filter(|c| !c.is_empty()).map(Bytes::copy_from_slice);
            h.touch();
            Ok(())
        })
    }

    /// Returns the creation properties of an object, as given.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn object_creation_properties(&self, id: ObjectId) -> Result<Bytes> {
        Ok(self.header(&mut self.state(), id)?.creation_properties.clone())
    }

    /// Returns whether the creation order of an object's attributes is tracked and indexed.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn attribute_order(&self, id: ObjectId) -> Result<CreationOrder> {
        let flags = self.header(&mut self.state(), id)?.flags;
        Ok(CreationOrder {
            tracked: flags & ATTRIBUTES_TRACKED != 0,
            indexed: flags & ATTRIBUTES_INDEXED != 0,
        })
    }

    /// Returns whether an object's times are tracked.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn tracks_times(&self, id: ObjectId) -> Result<bool> {
        Ok(self.header(&mut self.state(), id)?.flags & TIMES_TRACKED != 0)
    }

    /// Returns a committed datatype; its `committed` is its own id.
    ///
    /// # Errors
    /// `WrongKind` for other objects.
    pub fn datatype(&self, id: ObjectId) -> Result<Arc<Datatype>> {
        let h = self.header(&mut self.state(), id)?;
        if h.datatype.is_none() {
            let what = h.kind();
            return Err(Error::wrong_kind(format!("object {:#x} is not a datatype but a {what:?}", id.0)));
        }
        Ok(Arc::new(Datatype { committed: Some(id), ..conversion::datatype(&h.datatype)? }))
    }

    /// Deletes the objects without links that were closed since the last call.
    pub(crate) fn reap(&self, s: &mut State) {
        // A shared writer deletes objects in separate commits.
        if self.ledger.is_shared() {
            return;
        }
        while let Some(id) = self.next_closed() {
            if let Err(e) = self.delete_if_unused(s, id) {
                tracing::error!("{}: the unlinked object {id:#x} could not be deleted: {e}", self.name());
            }
        }
    }

    fn next_closed(&self) -> Option<u64> {
        self.handles.closed.lock().pop()
    }

    /// Deletes an object without links that no handle has open, and the objects that only it linked to. In multi-writer
    /// mode, the deletion is queued.
    pub(crate) fn delete_if_unused(&self, s: &mut State, id: u64) -> Result<()> {
        if self.ledger.is_shared() {
            self.handles.closed.lock().push(id);
            return Ok(());
        }
        self.delete_now(s, id)
    }

    /// Deletes the object at once, even in multi-writer mode.
    pub(crate) fn delete_now(&self, s: &mut State, id: u64) -> Result<()> {
        let (mut first, mut pending) = (Some(id), Vec::new());
        while let Some(id) = first.take().or_else(|| pending.pop()) {
            if self.handles.counts.lock().contains_key(&id) {
                continue;
            }
            match self.header(s, ObjectId(id)) {
                Ok(h) if h.link_count == 0 => self.delete_object(s, id, &h, &mut pending)?,
                Ok(_) => (),
                // The batch that created it was dropped, or another writer has deleted it. A mark may be left.
                Err(e) if e.kind() == crate::ErrorKind::NotFound => {
                    let mark = keys::of(keys::ORPHAN, id);
                    if !self.ledger.is_shared() || self.ledger.get(&mark)?.is_some() {
                        self.unmark(s, id)?;
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn delete_object(&self, s: &mut State, id: u64, h: &HeaderRecord, pending: &mut Vec<u64>) -> Result<()> {
        let mut unlink = Vec::new();
        unlink.extend(h.committed_type());
        self.store_attribute(s)?;
        self.each(&keys::of(keys::ATTRIBUTE, id), |key, value| {
            let a: AttributeRecord = record::decode(value, || "an attribute to be deleted".into())?;
            unlink.extend(self.drop_attribute(s, &key, &a)?);
            Ok(())
        })?;
        if h.group.is_some() {
            self.each(&keys::of(keys::LINK, id), |key, value| {
                let l: LinkRecord = record::decode(value, || "a link to be deleted".into())?;
                unlink.extend(l.hard);
                Ok(self.ledger.delete(&key)?)
            })?;
        }
        if h.dataset.is_some() {
            self.drop_blocks(&keys::of(keys::BLOCK, id))?;
        }
        self.heap_drop(s, id)?;
        let header = keys::of(keys::HEADER, id);
        match s.ids.is_uncommitted(id) {
            true => self.ledger.delete_uncommitted(&header)?,
            false => self.ledger.delete(&header)?,
        }
        self.unmark(s, id)?;
        s.headers.pop(&id);
        s.unstored.remove(&id);
        s.lists.forget(id);
        self.unlink_all(s, id, unlink, pending)
    }

    /// Subtracts the links of a deleted object from the counts of their targets, with one change of each target. Adds
    /// the targets without further links to `pending`.
    fn unlink_all(
        &self,
        s: &mut State,
        deleted: u64,
        mut targets: Vec<u64>,
        pending: &mut Vec<u64>,
    ) -> Result<()> {
        targets.sort_unstable();
        for links in targets.chunk_by(|a, b| a == b) {
            let Some(target) = links.first().filter(|target| **target != deleted) else { continue };
            let count = i32::try_from(links.len())
                .map_err(|_| Error::corrupt(format!("a group has {} links to one object", links.len())))?;
            if self.change_links(s, ObjectId(*target), -count)? == 0 {
                pending.push(*target);
            }
        }
        Ok(())
    }
}

pub(crate) fn check_order(order: CreationOrder, what: &str) -> Result<()> {
    if order.indexed && !order.tracked {
        return Err(Error::invalid(format!("the creation order of {what} is to be indexed but not tracked")));
    }
    Ok(())
}

pub(crate) fn check_type(t: &Datatype) -> Result<()> {
    if t.size == 0 || t.size > conversion::MAX_ELEMENT {
        return Err(Error::invalid(format!("a datatype of {} bytes cannot be stored", t.size)));
    }
    Ok(())
}
