//! A cache of sorted lists of links and attributes, so that a loop over positions is not quadratic, and of paths that
//! lead to objects.

use crate::id_map::IdMap;
use crate::link_positions::LinkPositions;
use crate::{Error, Result};
use bytes::Bytes;
use h5lake_records::types::{AttrInfo, Index, Link, Order};
use std::collections::HashMap;
use std::sync::Arc;

/// Maximum number of entries in all lists together; the list in use is cached whatever its length.
const MAX_ENTRIES: usize = 1 << 16;

const INDICES: [Index; 2] = [Index::Name, Index::CreationOrder];

/// Maximum number of cached paths.
const MAX_PATHS: usize = 16;

/// The cached lists of a container.
#[derive(Default)]
pub(crate) struct ListingCache {
    links: HashMap<(u64, Index), Vec<Arc<Link>>>,
    positions: HashMap<(u64, Index), LinkPositions>,
    attributes: IdMap<Vec<(u32, AttrInfo)>>,
    entries: usize,
    paths: Vec<(u64, Bytes)>,
    /// Incremented when links are removed, or may have been removed.
    removals: u64,
}

impl ListingCache {
    pub(crate) fn links(&self, group: u64, index: Index) -> Option<&[Arc<Link>]> {
        self.links.get(&(group, index)).map(Vec::as_slice)
    }

    pub(crate) fn keep_links(&mut self, group: u64, index: Index, list: Vec<Arc<Link>>) {
        self.make_space(list.len());
        self.links.insert((group, index), list);
    }

    pub(crate) fn positions(&self, group: u64, index: Index) -> Option<&LinkPositions> {
        self.positions.get(&(group, index))
    }

    pub(crate) fn keep_positions(&mut self, group: u64, index: Index, positions: LinkPositions) {
        self.make_space(positions.len());
        self.positions.insert((group, index), positions);
    }

    pub(crate) fn attributes(&self, id: u64) -> Option<&[(u32, AttrInfo)]> {
        self.attributes.get(&id).map(Vec::as_slice)
    }

    pub(crate) fn keep_attributes(&mut self, id: u64, list: Vec<(u32, AttrInfo)>) {
        self.make_space(list.len());
        self.attributes.insert(id, list);
    }

    fn make_space(&mut self, n: usize) {
        if self.entries + n > MAX_ENTRIES {
            self.forget_all();
        }
        self.entries += n + 1;
    }

    /// Drops everything, because the container may have changed.
    pub(crate) fn forget_all(&mut self) {
        *self = Self { removals: self.removals + 1, ..Self::default() };
    }

    /// Returns the number of link removals so far.
    pub(crate) fn removals(&self) -> u64 {
        self.removals
    }

    /// Returns whether a path is known to lead to an object.
    pub(crate) fn leads(&self, path: &[u8], id: u64) -> bool {
        self.paths.iter().any(|(leads_to, known)| *leads_to == id && known == path)
    }

    /// Returns a path that is known to lead to an object.
    pub(crate) fn path_of(&self, id: u64) -> Option<Vec<u8>> {
        self.paths.iter().find(|(leads_to, _)| *leads_to == id).map(|(_, path)| path.to_vec())
    }

    /// Caches that a path leads to an object, unless links were removed since the counter had the value `removals`.
    pub(crate) fn keep_path(&mut self, path: &Bytes, id: u64, removals: u64) {
        if removals == self.removals {
            if self.paths.len() == MAX_PATHS {
                self.paths.remove(0);
            }
            self.paths.push((id, path.clone()));
        }
    }

    fn removed(&mut self) {
        self.removals += 1;
        self.paths.clear();
    }

    /// Adds a link that was created.
    pub(crate) fn link_made(&mut self, group: u64, link: impl FnOnce() -> Result<Link>) -> Result<()> {
        let has =
            |index| self.links.contains_key(&(group, index)) || self.positions.contains_key(&(group, index));
        if !INDICES.into_iter().any(has) {
            return Ok(());
        }
        let link = link()?;
        for index in INDICES {
            if let Some(positions) = self.positions.get_mut(&(group, index)) {
                positions.link_made(&link.name, link.creation_order)?;
            }
        }
        if let Some(list) = self.links.get_mut(&(group, Index::Name)) {
            let at = list.partition_point(|l| l.name < link.name);
            list.insert(at, Arc::new(link.clone()));
        }
        if let Some(list) = self.links.get_mut(&(group, Index::CreationOrder)) {
            list.push(Arc::new(link));
        }
        Ok(())
    }

    /// Removes a link that was removed.
    pub(crate) fn link_removed(&mut self, group: u64, name: &[u8], creation_order: Option<i64>) {
        self.removed();
        for index in INDICES {
            if let Some(positions) = self.positions.get_mut(&(group, index)) {
                positions.link_removed(name, creation_order);
            }
        }
        if let Some(list) = self.links.get_mut(&(group, Index::Name))
            && let Ok(at) = list.binary_search_by(|l| l.name.as_slice().cmp(name))
        {
            list.remove(at);
        }
        if let Some(list) = self.links.get_mut(&(group, Index::CreationOrder))
            && let Ok(at) = list.binary_search_by_key(&creation_order, |l| l.creation_order)
        {
            list.remove(at);
        }
    }

    pub(crate) fn attributes_changed(&mut self, id: u64) {
        self.attributes.remove(&id);
    }

    pub(crate) fn forget(&mut self, id: u64) {
        self.removed();
        self.attributes.remove(&id);
        for index in INDICES {
            self.links.remove(&(id, index));
            self.positions.remove(&(id, index));
        }
    }
}

/// Returns the entry at position `n` along an order.
pub(crate) fn at<T>(list: &[T], order: Order, n: u64) -> Result<&T> {
    let n = usize::try_from(n).ok().filter(|&n| n < list.len());
    let n =
        n.ok_or_else(|| Error::range(format!("index out of bounds, there are {} entries", list.len())))?;
    Ok(match order {
        Order::Decreasing => &list[list.len() - 1 - n],
        _ => &list[n],
    })
}
