//! Links.

use crate::container::State;
use crate::link_positions::LinkPositions;
use crate::{Container, Error, ObjectId, Result};
use bytes::Bytes;
use h5lake_records::conversion::show;
use h5lake_records::keys;
use h5lake_records::record;
use h5lake_records::record::LinkRecord;
use h5lake_records::types::{CharSet, CreationOrder, GroupInfo, Index, Link, LinkTarget, Order};
use prost::Message;
use std::sync::Arc;

/// Maximum bytes of the value of a link, so that values of entries stay small.
const MAX_VALUE: usize = 1 << 20;

impl Container {
    /// Returns the link of that name in a group, if there is one.
    ///
    /// # Errors
    /// `NotFound` and `WrongKind` for an object that is not a group.
    pub fn link(&self, group: ObjectId, name: &[u8]) -> Result<Option<Link>> {
        let mut s = self.state();
        self.group(&mut s, group)?;
        self.find_link(group, name)
    }

    pub(crate) fn find_link(&self, group: ObjectId, name: &[u8]) -> Result<Option<Link>> {
        let key = keys::named(keys::LINK, group.0, name);
        let Some(value) = self.ledger.get(&key)? else { return Ok(None) };
        Ok(Some(self.decode_link(&key, value)?).filter(|l| l.name == name))
    }

    pub(crate) fn decode_link(&self, key: &[u8], value: Bytes) -> Result<Link> {
        let what = || format!("{}: the link {}", self.name(), show(keys::tail(key)));
        let mut r: LinkRecord = record::decode(value, what)?;
        let beside = std::mem::take(&mut r.name);
        r.link(keys::name(key, &beside))
    }

    /// Creates a link. A hard link is counted in its object.
    ///
    /// # Errors
    /// `AlreadyExists`, `ReadOnly`; `InvalidArgument` for a name that is empty or contains a `/`.
    pub fn link_create(&self, group: ObjectId, name: &[u8], target: LinkTarget, cset: CharSet) -> Result<()> {
        self.check_writable("unable to create link")?;
        self.insert_link(&mut self.state(), group, name, target, cset)
    }

    pub(crate) fn insert_link(
        &self,
        s: &mut State,
        group: ObjectId,
        name: &[u8],
        target: LinkTarget,
        cset: CharSet,
    ) -> Result<()> {
        check_link(name, &target)?;
        let key = keys::named(keys::LINK, group.0, name);
        let g = self.group(s, group)?;
        let order = g.order_tracked.then_some(g.next_order);
        let hard = if let LinkTarget::Hard(id) = target { Some(id) } else { None };
        // Conditions that refuse the link are checked before it is staged.
        hard.map_or(Ok(()), |id| self.header(s, id)?.may_get_links(id, 1).map(drop))?;
        let r = LinkRecord::new(name, target, order, cset);
        if !self.ledger.put_new(&key, r.encode_to_vec())? {
            return Err(Error::exists(format!("unable to create link {} (name already exists)", show(name))));
        }
        if let Some(id) = hard {
            self.change_links(s, id, 1)?;
        }
        self.change_header(s, group, |h| {
            if let Some(g) = &mut h.group {
                g.link_count += 1;
                g.next_order += i64::from(g.order_tracked);
            }
            h.touch();
            Ok(())
        })?;
        s.lists.link_made(group.0, || r.link(name))
    }

    /// Removes a link. An object that loses its last link is deleted, or, if it is open, deleted when it is closed.
    ///
    /// # Errors
    /// `NotFound`, `ReadOnly`.
    pub fn link_delete(&self, group: ObjectId, name: &[u8]) -> Result<()> {
        self.check_writable("unable to delete link")?;
        let mut s = self.state();
        let link = self.remove_link(&mut s, group, name)?;
        if let LinkTarget::Hard(id) = link.target {
            self.change_links(&mut s, id, -1)?;
            self.delete_if_unused(&mut s, id.0)?;
        }
        Ok(())
    }

    /// Removes a link from its group, without changing the link count of its target.
    fn remove_link(&self, s: &mut State, group: ObjectId, name: &[u8]) -> Result<Link> {
        self.group(s, group)?;
        let link = self.find_link(group, name)?;
        let link = link.ok_or_else(|| Error::not_found(format!("the link {} doesn't exist", show(name))))?;
        self.ledger.delete(&keys::named(keys::LINK, group.0, name))?;
        if let LinkTarget::Hard(id) = link.target {
            self.note_unlinked(s, id.0);
        }
        self.change_header(s, group, |h| {
            if let Some(g) = &mut h.group {
                g.link_count = g.link_count.saturating_sub(1);
                // The creation order of a native group restarts when the group becomes empty.
                if g.link_count == 0 {
                    g.next_order = 0;
                }
            }
            h.touch();
            Ok(())
        })?;
        s.lists.link_removed(group.0, name, link.creation_order);
        Ok(link)
    }

    /// Moves a link; it becomes the newest link of its new group. `cset` replaces its character set.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` (also for a move onto itself), `ReadOnly`.
    pub fn link_move(
        &self,
        src_group: ObjectId,
        src_name: &[u8],
        dst_group: ObjectId,
        dst_name: &[u8],
        cset: Option<CharSet>,
    ) -> Result<()> {
        self.check_writable("unable to move link")?;
        let mut s = self.state();
        let link = self.transfer(&mut s, (src_group, src_name), (dst_group, dst_name), cset)?;
        if self.ledger.is_shared() {
            let from = keys::named(keys::LINK, src_group.0, src_name);
            self.note_moved(&mut s, &from, &keys::named(keys::LINK, dst_group.0, dst_name))?;
        }
        self.remove_link(&mut s, src_group, src_name)?;
        if let LinkTarget::Hard(id) = link.target {
            self.change_links(&mut s, id, -1)?;
        }
        Ok(())
    }

    /// Copies a link; the link count of a hard link's object increases by one.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `ReadOnly`.
    pub fn link_copy(
        &self,
        src_group: ObjectId,
        src_name: &[u8],
        dst_group: ObjectId,
        dst_name: &[u8],
        cset: Option<CharSet>,
    ) -> Result<()> {
        self.check_writable("unable to copy link")?;
        self.transfer(&mut self.state(), (src_group, src_name), (dst_group, dst_name), cset).map(drop)
    }

    fn transfer(
        &self,
        s: &mut State,
        from: (ObjectId, &[u8]),
        to: (ObjectId, &[u8]),
        cset: Option<CharSet>,
    ) -> Result<Link> {
        self.group(s, from.0)?;
        let link = self.find_link(from.0, from.1)?;
        let link =
            link.ok_or_else(|| Error::not_found(format!("the link {} doesn't exist", show(from.1))))?;
        self.insert_link(s, to.0, to.1, link.target.clone(), cset.unwrap_or(link.cset))?;
        Ok(link)
    }

    /// Returns the link at a position along an index.
    ///
    /// # Errors
    /// `OutOfRange`; `InvalidArgument` for the creation order of a group that does not track it.
    pub fn link_at(&self, group: ObjectId, index: Index, order: Order, n: u64) -> Result<Link> {
        let mut s = self.state();
        let name = self.link_positions(&mut s, group, index)?.at(order, n)?.to_vec();
        let link = self.find_link(group, &name)?;
        link.ok_or_else(|| Error::corrupt(format!("the link {} is listed and not there", show(&name))))
    }

    /// Returns the names of a group's links in the order of an index.
    fn link_positions<'s>(
        &self,
        s: &'s mut State,
        group: ObjectId,
        index: Index,
    ) -> Result<&'s LinkPositions> {
        self.check_index(s, group, index)?;
        if s.lists.positions(group.0, index).is_none() {
            let mut positions = LinkPositions::new(index);
            self.each(&keys::of(keys::LINK, group.0), |key, value| {
                let what = || format!("{}: the link {}", self.name(), show(keys::tail(&key)));
                let r: LinkRecord = record::decode(value, what)?;
                positions.add(keys::name(&key, &r.name), r.creation_order)
            })?;
            positions.sort();
            s.lists.keep_positions(group.0, index, positions);
        }
        let positions = s.lists.positions(group.0, index);
        positions.ok_or_else(|| Error::corrupt("a list of links left memory as it was made"))
    }

    fn check_index(&self, s: &mut State, group: ObjectId, index: Index) -> Result<()> {
        let is_tracked = self.group(s, group)?.order_tracked;
        if index == Index::CreationOrder && !is_tracked {
            return Err(Error::invalid("creation order not tracked for links in group"));
        }
        Ok(())
    }

    /// Returns all links of a group along an index.
    ///
    /// # Errors
    /// As for [`Self::link_at`].
    pub fn links(&self, group: ObjectId, index: Index, order: Order) -> Result<Vec<Arc<Link>>> {
        let mut s = self.state();
        let list = self.link_list(&mut s, group, index)?;
        Ok(match order {
            Order::Decreasing => list.iter().rev().cloned().collect(),
            _ => list.to_vec(),
        })
    }

    pub(crate) fn link_list<'s>(
        &self,
        s: &'s mut State,
        group: ObjectId,
        index: Index,
    ) -> Result<&'s [Arc<Link>]> {
        self.check_index(s, group, index)?;
        if s.lists.links(group.0, index).is_none() {
            let mut all = Vec::new();
            self.each(&keys::of(keys::LINK, group.0), |key, value| {
                all.push(Arc::new(self.decode_link(&key, value)?));
                Ok(())
            })?;
            match index {
                Index::CreationOrder => all.sort_by_key(|l| l.creation_order),
                // They are sorted already, except for names too long for a key.
                Index::Name => all.sort_unstable_by(|a, b| a.name.cmp(&b.name)),
            }
            s.lists.keep_links(group.0, index, all);
        }
        Ok(s.lists.links(group.0, index).unwrap_or_default())
    }

    /// Returns information about a group.
    ///
    /// # Errors
    /// `NotFound` and `WrongKind` for an object that is not a group.
    pub fn group_info(&self, group: ObjectId) -> Result<GroupInfo> {
        let g = self.group(&mut self.state(), group)?;
        Ok(GroupInfo {
            link_count: g.link_count,
            max_creation_order: g.next_order,
            link_order: CreationOrder { tracked: g.order_tracked, indexed: g.order_indexed },
        })
    }
}

fn check_link(name: &[u8], target: &LinkTarget) -> Result<()> {
    if name.is_empty() || name.contains(&b'/') || name == b"." {
        return Err(Error::invalid(format!("{} cannot name a link", show(name))));
    }
    let value = match target {
        LinkTarget::Hard(_) => 0,
        LinkTarget::Soft(path) => path.len(),
        LinkTarget::External { file, path, .. } => file.len() + path.len() + 2,
        LinkTarget::UserDefined { data, .. } => data.len(),
    };
    if value > MAX_VALUE {
        return Err(Error::invalid(format!("the link {} has a value of {value} bytes", show(name))));
    }
    Ok(())
}
