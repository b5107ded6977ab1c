//! Merges groups that several writers created under one name into one group with the content of each.
//!
//! Both groups have to be new. A group that existed before, and that another writer moved to the name, is another
//! object and is not merged. The group that was committed first stays. The content of this writer's group moves there,
//! key by key, and is merged like any other change of both sides; open handles of this writer's group refer to the
//! other group from then on. Groups to which new references lead are not merged.

use super::links::named;
use super::{RemoteChange, Settle};
use crate::container::State;
use crate::{Container, Result};
use bytes::Bytes;
use h5lake_records::keys;
use h5lake_records::record::{AttributeRecord, GroupRecord, HeaderRecord, LinkRecord, decode};
use prost::Message;
use std::collections::BTreeSet;

/// A staged entry and its destination: the key, the value, and whether the destination has a committed value.
struct Move {
    from: Bytes,
    to: Option<(Vec<u8>, Vec<u8>, bool)>,
}

/// A link that both sides made under the same name in the same group, to a new group each.
struct Pair {
    /// The link.
    key: Bytes,
    theirs: u64,
    ours: u64,
}

fn target(value: &Option<Bytes>) -> Result<Option<u64>> {
    let Some(value) = value else { return Ok(None) };
    let r: LinkRecord = decode(value.clone(), || "a link that two writers made".into())?;
    Ok(r.hard)
}

/// Returns whether two groups were created with the same properties, so that either can replace the other.
fn alike(theirs: &HeaderRecord, ours: &HeaderRecord) -> bool {
    let made = |h: &HeaderRecord| {
        let order = h.group.as_ref().map(|g: &GroupRecord| (g.order_tracked, g.order_indexed));
        (order, h.flags, h.creation_properties.clone())
    };
    theirs.group.is_some()
        && made(theirs) == made(ours)
        && (ours.comment.is_none() || ours.comment == theirs.comment)
}

impl Container {
    /// Merges each pair of new groups under one name, including the groups inside them.
    pub(super) fn join_groups(&self, s: &mut State) -> Result<()> {
        // The processes of an MPI program identify objects by ids that all of them share.
        if s.ids.are_shared() {
            return Ok(());
        }
        let mut apart = BTreeSet::new();
        loop {
            let mut pairs = Vec::new();
            for (key, base) in self.ledger.unmerged_under(&[keys::LINK]) {
                if base.is_none() {
                    pairs.extend(self.pair(s, key)?.filter(|pair| !apart.contains(&pair.ours)));
                }
            }
            if pairs.is_empty() {
                return Ok(());
            }
            let referred = self.referred_to(s, &pairs.iter().map(|pair| pair.ours).collect())?;
            for pair in pairs {
                match referred.contains(&pair.ours) {
                    true => self.note_referred_conflict(s, &pair)?,
                    false => self.join(s, &pair)?,
                }
            }
            apart.extend(referred);
            self.forget_links(s);
        }
    }

    /// Notes conflicts for references of this batch to its group, which would lead nowhere after the merge.
    fn note_referred_conflict(&self, s: &mut State, pair: &Pair) -> Result<()> {
        let link = self.ledger.get(&pair.key)?.unwrap_or_default();
        let link: LinkRecord = decode(link, || "a link that two writers made".into())?;
        let what = named(keys::name(&pair.key, &link.name));
        let by = s.remote.theirs.get(&pair.key).cloned();
        let above = keys::id(&pair.key).unwrap_or_default();
        self.whole_conflict(s, above, what, by.as_ref(), Settle::Referred);
        Ok(())
    }

    fn pair(&self, s: &mut State, key: Bytes) -> Result<Option<Pair>> {
        let (theirs, ours) = (target(&self.ledger.committed(&key)?)?, target(&self.ledger.get(&key)?)?);
        let (Some(theirs), Some(ours)) = (theirs, ours) else { return Ok(None) };
        let ours_at = keys::of(keys::HEADER, ours);
        // A group that existed before has a new link, but is not new.
        if theirs == ours || self.ledger.committed(&ours_at)?.is_some() {
            return Ok(None);
        }
        // The other writer's group existed before under another name. Merging would put new content into an old object.
        if s.remote.was_there(theirs) || self.remotely_removed_link(s, theirs).is_some() {
            return Ok(None);
        }
        let (Some(a), Some(b)) = (self.header_of(theirs)?, self.header_of(ours)?) else { return Ok(None) };
        let joins = alike(&a, &b) && b.link_count == 1;
        Ok(joins.then_some(Pair { key, theirs, ours }))
    }

    fn header_of(&self, id: u64) -> Result<Option<HeaderRecord>> {
        let value = self.ledger.get(&keys::of(keys::HEADER, id))?;
        value.map(|v| decode(v, || format!("the header of object {id:#x}"))).transpose()
    }

    fn join(&self, s: &mut State, pair: &Pair) -> Result<()> {
        let (from, to) = (pair.ours, pair.theirs);
        let (Some(mut theirs), Some(ours)) = (self.header_of(to)?, self.header_of(from)?) else {
            return Ok(());
        };
        // All entries are read before the first one moves: an error in between would leave a link without an object.
        let links = self.moves_of_links(from, to, theirs.group.as_ref())?;
        let attributes = self.moves_of_attributes(from, to, theirs.next_attribute)?;
        let author = s.remote.theirs.get(keys::of(keys::HEADER, to).as_slice()).cloned();
        // The parent group has one link less than this writer's count says.
        let above = keys::id(&pair.key).unwrap_or_default();
        s.remote.fixes.entry(above).or_default().entries -= 1;
        self.ledger.unstage(&pair.key)?;
        s.lists.forget(above);
        let links = self.carry_out(s, links, author.as_ref())?;
        let attributes = self.carry_out(s, attributes, author.as_ref())?;
        let fix = s.remote.fixes.entry(to).or_default();
        fix.entries += links;
        fix.attributes += attributes;
        theirs.next_attribute = theirs.next_attribute.saturating_add(ours.next_attribute);
        if let (Some(g), Some(o)) = (&mut theirs.group, &ours.group) {
            g.next_order = g.next_order.saturating_add(o.next_order);
        }
        theirs.access = theirs.access.max(ours.access);
        theirs.modify = theirs.modify.max(ours.modify);
        theirs.change = theirs.change.max(ours.change);
        self.ledger.put(&keys::of(keys::HEADER, to), theirs.encode_to_vec())?;
        // The header is new in this batch, and has no payloads.
        self.ledger.unstage(&keys::of(keys::HEADER, from))?;
        self.ledger.unstage(&keys::of(keys::ORPHAN, from))?;
        self.become_one(s, from, to);
        Ok(())
    }

    /// Returns the destinations of the links of group `from` in group `to`, with creation orders after those of `to`.
    fn moves_of_links(&self, from: u64, to: u64, group: Option<&GroupRecord>) -> Result<Vec<Move>> {
        let behind = group.map_or(0, |g| g.next_order);
        self.moves(keys::LINK, from, to, |value| {
            let mut r: LinkRecord = decode(value, || "a new link".into())?;
            r.creation_order = r.creation_order.map(|order| order.saturating_add(behind));
            Ok(r.encode_to_vec())
        })
    }

    /// Returns the destinations of the attributes of group `from` in group `to`, with creation orders after those of
    /// `to`.
    fn moves_of_attributes(&self, from: u64, to: u64, behind: u32) -> Result<Vec<Move>> {
        self.moves(keys::ATTRIBUTE, from, to, |value| {
            let mut r: AttributeRecord = decode(value, || "a new attribute".into())?;
            r.creation_order = r.creation_order.saturating_add(behind);
            Ok(r.encode_to_vec())
        })
    }

    fn moves(
        &self,
        letter: u8,
        from: u64,
        to: u64,
        renewed: impl Fn(Bytes) -> Result<Vec<u8>>,
    ) -> Result<Vec<Move>> {
        let staged = self.ledger.staged(&keys::of(letter, from));
        let one = |(key, value): (Bytes, Option<Bytes>)| {
            let Some(value) = value else { return Ok(Move { from: key, to: None }) };
            let there = [&keys::of(letter, to), keys::tail(&key)].concat();
            let is_there = self.ledger.committed(&there)?.is_some();
            Ok(Move { from: key, to: Some((there, renewed(value)?, is_there)) })
        };
        staged.into_iter().map(one).collect()
    }

    /// Stages the entries under their new keys, and returns their number. If the destination has an entry of that name,
    /// the entry is contested.
    fn carry_out(&self, s: &mut State, moves: Vec<Move>, author: Option<&RemoteChange>) -> Result<i64> {
        let mut moved = 0;
        for Move { from, to } in moves {
            self.ledger.unstage(&from)?;
            let Some((key, value, is_there)) = to else { continue };
            self.ledger.put(&key, value)?;
            if s.remote.batch.moved.remove(&from) {
                s.remote.batch.moved.insert(key.clone().into());
            }
            moved += 1;
            if is_there {
                self.ledger.contest(&key);
                if let Some(author) = author {
                    let author = RemoteChange { before: None, ..author.clone() };
                    s.remote.theirs.entry(key.into()).or_insert(author);
                }
            }
        }
        Ok(moved)
    }

    /// Makes open handles of group `from` refer to group `to`.
    fn become_one(&self, s: &mut State, from: u64, to: u64) {
        let mut opens = self.handles.counts.lock();
        self.joined.write().insert(from, to);
        if let Some(count) = opens.remove(&from) {
            *opens.entry(to).or_default() += count;
        }
        if self.handles.corked.lock().remove(&from) {
            self.handles.corked.lock().insert(to);
        }
        drop(opens);
        self.handles.closed.lock().retain(|id| *id != from);
        s.attributes.change_owner(from, to);
        s.headers.pop(&from);
        s.headers.pop(&to);
        s.lists.forget(from);
        s.lists.forget(to);
    }

    /// Returns the present id of an object.
    pub(crate) fn present_id(&self, id: u64) -> u64 {
        self.joined.read().get(&id).copied().unwrap_or(id)
    }
}
