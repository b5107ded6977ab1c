//! The objects in which two versions of a container differ.

use crate::{Container, ObjectId, Result};
use h5lake_records::keys;
use h5lake_records::record::{self, LinkRecord};
use prost::Message;
use std::collections::HashSet;

/// The layout number of a virtual dataset.
const VIRTUAL: u32 = 3;

/// The fields of a header that say whether an object leads to other objects.
#[derive(Clone, PartialEq, Message)]
struct HeaderKind {
    #[prost(message, optional, tag = "11")]
    group: Option<NoFields>,
    #[prost(message, optional, tag = "12")]
    dataset: Option<DatasetLayout>,
}

#[derive(Clone, PartialEq, Message)]
struct NoFields {}

#[derive(Clone, PartialEq, Message)]
struct DatasetLayout {
    #[prost(uint32, tag = "3")]
    layout: u32,
}

/// The objects that can differ between two versions of a container, and the groups that lead to these objects.
#[derive(Debug)]
pub struct DifferingObjects {
    ids: HashSet<u64>,
}

impl DifferingObjects {
    /// Returns whether an object, or an object below it, may differ.
    pub fn contains(&self, id: ObjectId) -> bool {
        self.ids.contains(&id.0)
    }

    /// Adds the virtual datasets, because other objects contain their elements, and every group from which hard links
    /// lead to an object of the set.
    fn add_dependent_objects(&mut self, container: &Container) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let mut groups: Vec<u64> = Vec::new();
        container.each(&[keys::HEADER], |key, value| {
            let header: HeaderKind = record::decode(value, || "an object's header".into())?;
            groups.extend(keys::id(&key).filter(|_| header.group.is_some()));
            self.ids.extend(keys::id(&key).filter(|_| header.dataset.is_some_and(|d| d.layout == VIRTUAL)));
            Ok(())
        })?;
        self.add_groups_above(container, &groups)
    }

    /// Adds the groups above the objects. `groups` are all groups of the container, in the order of their ids.
    fn add_groups_above(&mut self, container: &Container, groups: &[u64]) -> Result<()> {
        let mut links: Vec<(u64, u64)> = Vec::new();
        container.each(&[keys::LINK], |key, value| {
            let link: LinkRecord = record::decode(value, || "a link".into())?;
            if let (Some(group), Some(target)) = (keys::id(&key), link.hard)
                && (self.ids.contains(&target) || groups.binary_search(&target).is_ok())
            {
                links.push((group, target));
            }
            Ok(())
        })?;
        // Most groups have smaller ids than the groups inside them, so that one pass from the end reaches the root.
        loop {
            let before = self.ids.len();
            for (group, target) in links.iter().rev() {
                if self.ids.contains(target) {
                    self.ids.insert(*group);
                }
            }
            if self.ids.len() == before {
                return Ok(());
            }
        }
    }
}

impl Container {
    /// Returns the objects that differ between this version and another version of the same container in their header,
    /// attributes, links or elements, with the groups above them. An object that is not among them is equal in both
    /// versions, and so is everything below it.
    ///
    /// Returns `None` if the differences cannot be determined: for different containers, if a native file that the
    /// container refers to was replaced by another one, and for more than `most` objects. The differences are found in
    /// time that grows with their number; the groups above them, and virtual datasets, by one walk over headers and
    /// links. Memory: 24 bytes a group, and about 40 bytes a differing object.
    ///
    /// # Errors
    /// Those of reading the entries; `Corrupt` for an entry that is not a link.
    pub fn differing_objects(&self, other: &Self, most: usize) -> Result<Option<DifferingObjects>> {
        if self.ledger.identity() != other.ledger.identity() {
            return Ok(None);
        }
        let mut differing = DifferingObjects { ids: HashSet::new() };
        let mut entries = self.ledger.differences(&other.ledger, b"")?;
        while let Some(entry) = entries.next_difference()? {
            match entry.key.first() {
                Some(&keys::SOURCE) => return Ok(None),
                Some(
                    &(keys::HEADER
                    | keys::LINK
                    | keys::ATTRIBUTE
                    | keys::BLOCK
                    | keys::SEGMENT
                    | keys::USAGE),
                ) => differing.ids.extend(keys::id(&entry.key)),
                _ => (),
            }
            if differing.ids.len() > most {
                return Ok(None);
            }
        }
        differing.add_dependent_objects(self)?;
        Ok(Some(differing))
    }
}
