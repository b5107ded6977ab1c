//! Merges headers that both sides changed: counts add up, times become the latest, dimensions grow.

use super::collective::several;
use super::{CountDelta, Settle, ThreeWay};
use crate::container::State;
use crate::{Container, Error, OnConflict, Result};
use bytes::Bytes;
use h5lake_records::keys;
use h5lake_records::record::{AttributeRecord, GroupRecord, HeaderRecord, LinkRecord, SpaceRecord, decode};
use prost::Message;

fn header(value: &Option<Bytes>) -> Result<Option<HeaderRecord>> {
    value.as_ref().map(|v| decode(v.clone(), || "a header that two writers changed".into())).transpose()
}

fn added(a: u64, b: i64) -> u64 {
    a.saturating_add_signed(b)
}

fn more(ours: u64, base: u64) -> i64 {
    (ours as i64).wrapping_sub(base as i64)
}

/// Returns the first creation order that this writer assigned since the base; `ours` is its next one. A counter that
/// was reset, because the object became empty, restarted at 0.
fn began(ours: i64, base: i64) -> i64 {
    if ours >= base { base } else { 0 }
}

/// Returns the next creation order if those of this writer follow those of the other writer.
fn behind(theirs: i64, ours: i64, base: i64) -> i64 {
    theirs.saturating_add(ours - began(ours, base))
}

/// Returns the header of a new object without content.
fn empty(h: &HeaderRecord) -> HeaderRecord {
    let group = h.group.as_ref().map(|group| GroupRecord { link_count: 0, next_order: 0, ..group.clone() });
    HeaderRecord { link_count: 0, attribute_count: 0, next_attribute: 0, comment: None, group, ..h.clone() }
}

/// Returns the dimensions that follow from both sides: a change by one side alone applies, and growth adds up. Returns
/// `None` if one side grew and one shrank the dataset, or both shrank it differently.
fn dimensions(base: &SpaceRecord, theirs: &SpaceRecord, ours: &SpaceRecord) -> Option<SpaceRecord> {
    if theirs == ours || ours == base {
        return Some(theirs.clone());
    }
    if theirs == base {
        return Some(ours.clone());
    }
    let grew = |s: &SpaceRecord| {
        s.rank == base.rank
            && s.dims.len() == base.dims.len()
            && s.dims.iter().zip(&base.dims).all(|(a, b)| a >= b)
    };
    if !grew(theirs) || !grew(ours) {
        return None;
    }
    let dims = theirs.dims.iter().zip(&ours.dims).map(|(a, b)| *a.max(b)).collect();
    Some(SpaceRecord { dims, ..theirs.clone() })
}

/// Returns whether this writer's dimensions include elements that the other writer truncated, and that are therefore
/// gone.
fn regrows(base: &SpaceRecord, theirs: &SpaceRecord, ours: &SpaceRecord) -> bool {
    let mut all = base.dims.iter().zip(&theirs.dims).zip(&ours.dims);
    all.any(|((base, theirs), ours)| theirs < base && theirs < ours)
}

impl Container {
    pub(super) fn merge_header(&self, s: &mut State, c: ThreeWay) -> Result<()> {
        let id = keys::id(&c.key).unwrap_or_default();
        let [base, theirs, ours] = [header(&c.base)?, header(&c.theirs)?, header(&c.ours)?];
        // Changes of deleted objects were discarded before, and this writer deletes objects in separate commits.
        let went = || Error::corrupt(format!("{}: the header of {id:#x} came or went", self.name()));
        let (theirs, ours) = theirs.zip(ours).ok_or_else(went)?;
        let base = base.or_else(|| self.made_by_all(&theirs, &ours)).ok_or_else(went)?;
        let mut h = theirs.clone();
        // The corrections by the merge of links and attributes are added before a count could fall below 0.
        let fix = s.remote.fixes.remove(&id).unwrap_or_default();
        let links = more(u64::from(ours.link_count), u64::from(base.link_count)) + fix.links;
        h.link_count = u32::try_from(added(u64::from(theirs.link_count), links)).unwrap_or(u32::MAX);
        h.access = theirs.access.max(ours.access);
        h.modify = theirs.modify.max(ours.modify);
        h.change = theirs.change.max(ours.change);
        let attributes = more(ours.attribute_count, base.attribute_count) + fix.attributes;
        h.attribute_count = added(theirs.attribute_count, attributes);
        let next =
            behind(theirs.next_attribute.into(), ours.next_attribute.into(), base.next_attribute.into());
        h.next_attribute = u32::try_from(next).unwrap_or(u32::MAX);
        if let (Some(g), Some(o), Some(b)) = (&mut h.group, &ours.group, &base.group) {
            g.link_count = added(g.link_count, more(o.link_count, b.link_count) + fix.entries);
            g.next_order = behind(g.next_order, o.next_order, b.next_order);
        }
        let is_stale = theirs.comment != base.comment && self.reads.has_name(&c.key);
        if ours.comment != base.comment && (ours.comment != theirs.comment || is_stale) {
            if theirs.comment == base.comment || self.last_wins() {
                h.comment = ours.comment.clone();
            } else {
                self.conflict(s, &c.key, id, ", its comment,".into(), Settle::Write);
            }
        }
        self.merge_dimensions(s, &c.key, id, [&base, &theirs, &ours], &mut h);
        self.ledger.put(&c.key, h.encode_to_vec())?;
        self.ledger.merged(&c.key);
        s.remote.shifted.remove(&c.key);
        s.headers.pop(&id);
        s.remote.reload.insert(id);
        Ok(())
    }

    /// Returns the initial header of an object that two processes of an MPI program created, each in the same call.
    /// Returns `None` for other writers, because their ids are unique.
    fn made_by_all(&self, theirs: &HeaderRecord, ours: &HeaderRecord) -> Option<HeaderRecord> {
        let kind = |h: &HeaderRecord| (h.group.is_some(), h.dataset.is_some(), h.datatype.is_some());
        let is_one = several(self.together).is_some() && kind(theirs) == kind(ours);
        is_one.then(|| empty(ours))
    }

    fn merge_dimensions(
        &self,
        s: &mut State,
        key: &[u8],
        id: u64,
        [base, theirs, ours]: [&HeaderRecord; 3],
        h: &mut HeaderRecord,
    ) {
        let space = |h: &HeaderRecord| h.dataset.as_ref().and_then(|d| d.space.clone());
        let (Some(b), Some(t), Some(o)) = (space(base), space(theirs), space(ours)) else { return };
        // A writer that sets dimensions has read them: if two writers append, the second one has computed its offset
        // from an old extent.
        let is_stale = t != b && s.remote.batch.resized.contains_key(&id);
        let is_agreed = t == o && s.remote.agrees_with_equals();
        let what = format!(", its dimensions ({:?} to {:?}),", b.dims, t.dims);
        let settle = if regrows(&b, &t, &o) { Settle::Regrow } else { Settle::Resize };
        let merged = match dimensions(&b, &t, &o) {
            _ if is_stale && !is_agreed && self.on_conflict == OnConflict::Fail => {
                self.conflict(s, key, id, what, settle);
                t
            }
            Some(merged) => merged,
            None if self.last_wins() && settle == Settle::Resize => o,
            None => {
                self.conflict(s, key, id, what, settle);
                if self.last_wins() {
                    self.conflict_is_whole(s);
                }
                s.remote.refused.insert(id, o.dims);
                t
            }
        };
        if let Some(d) = &mut h.dataset {
            d.space = Some(merged);
        }
    }

    /// Gives the new links and attributes of this batch creation orders after those that other writers assigned
    /// meanwhile.
    pub(super) fn shift_orders(&self, s: &mut State) -> Result<()> {
        let mut puts = Vec::new();
        let mut shifted = Vec::new();
        for (key, base) in self.ledger.unmerged() {
            let (Some(&keys::HEADER), Some(id)) = (key.first(), keys::id(&key)) else { continue };
            let all = [base, self.ledger.committed(&key)?, self.ledger.get(&key)?];
            let [base, theirs, ours] = all.map(|v| header(&v).ok().flatten());
            let Some((theirs, ours)) = theirs.zip(ours) else { continue };
            let Some(base) = base.or_else(|| self.made_by_all(&theirs, &ours)) else { continue };
            // If an error interrupted an earlier attempt, the orders already begin where that attempt shifted them.
            let before = s.remote.shifted.get(&key).copied();
            let next = i64::from(theirs.next_attribute);
            let began_at = began(ours.next_attribute.into(), base.next_attribute.into());
            let first = before.map_or(began_at, |(attributes, _)| attributes);
            if next != first && i64::from(ours.next_attribute) > began_at {
                self.shift_attributes(id, first, next - first, &mut puts)?;
            }
            let mut now = (next, 0);
            if let (Some(b), Some(t), Some(o)) = (&base.group, &theirs.group, &ours.group) {
                let began_at = began(o.next_order, b.next_order);
                let first = before.map_or(began_at, |(_, links)| links);
                if t.next_order != first && o.next_order > began_at {
                    self.shift_links(id, first, t.next_order - first, &mut puts)?;
                }
                now.1 = t.next_order;
            }
            shifted.push((key, now));
        }
        // Everything was read, so that no error can interrupt the writes.
        for (key, value) in puts {
            self.ledger.put(&key, value)?;
        }
        s.remote.shifted.extend(shifted);
        Ok(())
    }

    fn shift_attributes(&self, id: u64, first: i64, by: i64, puts: &mut Vec<(Bytes, Vec<u8>)>) -> Result<()> {
        for (key, value) in self.ledger.staged(&keys::of(keys::ATTRIBUTE, id)) {
            let Some(value) = value else { continue };
            let mut r: AttributeRecord = decode(value, || "a new attribute".into())?;
            let order = i64::from(r.creation_order);
            let of = |r: AttributeRecord| Some(i64::from(r.creation_order));
            if order >= first && self.is_new_order(&key, Some(order), of)? {
                r.creation_order = u32::try_from(order + by).unwrap_or(u32::MAX);
                puts.push((key, r.encode_to_vec()));
            }
        }
        Ok(())
    }

    fn shift_links(&self, id: u64, first: i64, by: i64, puts: &mut Vec<(Bytes, Vec<u8>)>) -> Result<()> {
        for (key, value) in self.ledger.staged(&keys::of(keys::LINK, id)) {
            let Some(value) = value else { continue };
            let mut r: LinkRecord = decode(value, || "a new link".into())?;
            if let Some(order) = r.creation_order.filter(|o| *o >= first)
                && self.is_new_order(&key, r.creation_order, |r: LinkRecord| r.creation_order)?
            {
                r.creation_order = Some(order.saturating_add(by));
                puts.push((key, r.encode_to_vec()));
            }
        }
        Ok(())
    }

    /// Returns whether this batch assigned the creation order, to a new entry or to an entry created anew under an
    /// existing name.
    fn is_new_order<R: Message + Default>(
        &self,
        key: &[u8],
        now: Option<i64>,
        order: impl Fn(R) -> Option<i64>,
    ) -> Result<bool> {
        let Some(base) = self.ledger.base(key)? else { return Ok(true) };
        Ok(order(decode(base, || "what two writers made anew".into())?) != now)
    }

    /// Adds the corrections by the merge of links and attributes to the counts of headers.
    pub(super) fn fix_headers(&self, s: &mut State) -> Result<()> {
        let fixes: Vec<(u64, CountDelta)> = s.remote.fixes.iter().map(|(id, fix)| (*id, *fix)).collect();
        for (id, fix) in fixes {
            let nothing = fix.links == 0 && fix.entries == 0 && fix.attributes == 0;
            let key = keys::of(keys::HEADER, id);
            let found = header(&self.ledger.get(&key)?)?;
            let Some(mut h) = found.filter(|_| !nothing) else {
                s.remote.fixes.remove(&id);
                continue;
            };
            h.link_count = u32::try_from(added(u64::from(h.link_count), fix.links)).unwrap_or(u32::MAX);
            h.attribute_count = added(h.attribute_count, fix.attributes);
            if let Some(g) = &mut h.group {
                g.link_count = added(g.link_count, fix.entries);
            }
            self.ledger.put(&key, h.encode_to_vec())?;
            // After an error, the next flush adds the remaining corrections, but not this one again. Orphan marks
            // follow from the headers.
            s.remote.fixes.remove(&id);
            s.headers.pop(&id);
            self.mark(id, h.link_count)?;
            if h.link_count == 0 && s.remote.branch.is_some() {
                // The branch overruled the main line's link, and no other writer would delete the object soon.
                self.handles.closed.lock().push(id);
            }
        }
        Ok(())
    }

    /// Updates the orphan marks of objects from the link counts of their headers.
    pub(super) fn mark_unlinked(&self, _: &mut State) -> Result<()> {
        for (key, _) in self.ledger.staged(&[keys::HEADER]) {
            if let Some(id) = keys::id(&key)
                && let Some(h) = header(&self.ledger.get(&key)?)?
            {
                self.mark(id, h.link_count)?;
            }
        }
        for (key, _) in self.ledger.unmerged() {
            if key.first() == Some(&keys::ORPHAN) {
                // The mark is this writer's, or follows from the header.
                self.ledger.merged(&key);
            }
        }
        Ok(())
    }

    fn mark(&self, id: u64, links: u32) -> Result<()> {
        let mark = keys::of(keys::ORPHAN, id);
        match (links, self.ledger.get(&mark)?) {
            (0, None) => self.ledger.put(&mark, Bytes::new())?,
            (1.., Some(_)) => self.ledger.delete(&mark)?,
            _ => (),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(dims: &[u64]) -> SpaceRecord {
        SpaceRecord { rank: Some(dims.len() as u32), dims: dims.to_vec(), max: vec![0; dims.len()] }
    }

    #[test]
    fn dimensions_grow_together_and_do_not_shrink_under_growth() {
        let of =
            |b: &[u64], t: &[u64], o: &[u64]| dimensions(&space(b), &space(t), &space(o)).map(|s| s.dims);
        assert_eq!(of(&[4, 4], &[6, 4], &[4, 9]), Some(vec![6, 9]));
        assert_eq!(of(&[4], &[6], &[9]), Some(vec![9]));
        assert_eq!(of(&[4], &[2], &[4]), Some(vec![2]));
        assert_eq!(of(&[4], &[4], &[2]), Some(vec![2]));
        assert_eq!(of(&[4], &[2], &[2]), Some(vec![2]));
        assert_eq!(of(&[4], &[2], &[9]), None);
        assert_eq!(of(&[4], &[3], &[2]), None);
        let regrows = |b: &[u64], t: &[u64], o: &[u64]| regrows(&space(b), &space(t), &space(o));
        assert!(regrows(&[4], &[2], &[9]) && regrows(&[4], &[2], &[3]) && regrows(&[4, 4], &[2, 4], &[4, 9]));
        assert!(!regrows(&[4], &[3], &[2]) && !regrows(&[4], &[6], &[2]) && !regrows(&[4], &[2], &[2]));
    }

    #[test]
    fn a_new_object_has_nothing_in_it() {
        let group = GroupRecord { order_tracked: true, order_indexed: true, link_count: 2, next_order: 3 };
        let header = HeaderRecord {
            link_count: 1,
            flags: 5,
            attribute_count: 2,
            next_attribute: 4,
            group: Some(group.clone()),
            ..HeaderRecord::default()
        };
        let new = empty(&header);
        assert_eq!((new.link_count, new.attribute_count, new.next_attribute, new.flags), (0, 0, 0, 5));
        assert_eq!(new.group, Some(GroupRecord { link_count: 0, next_order: 0, ..group }));
    }

    #[test]
    fn own_orders_follow_remote_orders() {
        assert_eq!((behind(7, 6, 5), began(6, 5)), (8, 5));
        // This writer's counter was reset to 0 and assigned two orders.
        assert_eq!((behind(7, 2, 5), began(2, 5)), (9, 0));
    }
}
