//! Sweep: decides which listed objects a vacuum may delete.
//!
//! A sweep lists first and loads the manifest afterwards: the types of the two steps take their arguments in this
//! order. Objects that the loaded manifest neither names nor protects are named by no swap that can still take effect.

use std::collections::BTreeSet;

use super::ids::{ContainerId, ObjectId};
use super::manifest::Manifest;
use super::records::{Content, SegmentRef, Segments};
use super::usage::Tables;

/// A complete listing of a container's objects. It may be stale, but it is older than the manifest.
#[derive(Debug, Clone)]
pub(crate) struct ListedObjects {
    container: ContainerId,
    objects: Vec<ObjectId>,
}

/// A complete listing of the containers that have objects at a name.
#[derive(Debug, Clone)]
pub(crate) struct ListedContainers(Vec<ContainerId>);

/// Returns the objects that a manifest names. An error names the segments that must be read first.
pub(crate) fn named(
    manifest: &Manifest,
    tables: &Tables,
    segments: &Segments,
) -> Result<BTreeSet<ObjectId>, Vec<SegmentRef>> {
    debug_assert_eq!(tables.since, manifest.tables.since);
    let mut all: BTreeSet<ObjectId> = tables.usage.keys().copied().collect();
    // Rule: dead lists are spared, because retained versions need them.
    if rule!(SpareDead, false; true) {
        all.retain(|object| has_live_bytes(tables, *object));
    }
    all.extend(
        manifest.tables.pages().chain(manifest.references.page).filter_map(|p| ObjectId::of(&p.place)),
    );
    let line = &manifest.line;
    all.extend(line.direct());
    let unfolded = line.records((line.base(), line.version), segments)?;
    for part in unfolded.iter().flat_map(|record| &record.parts) {
        if let Content::Stored { page, .. } = &part.content {
            all.extend(ObjectId::of(&page.place));
        }
        all.extend(part.data().iter().flat_map(|data| &data.notes.gained).map(|gained| gained.object));
    }
    Ok(all)
}

fn has_live_bytes(tables: &Tables, object: ObjectId) -> bool {
    let dead = tables.dead.iter().filter(|dead| ObjectId::of(&dead.place) == Some(object));
    let dead: u64 = dead.map(|dead| dead.place.length).sum();
    tables.usage.get(&object).is_some_and(|usage| usage.named > dead)
}

impl ListedObjects {
    /// Returns a listing that was completed just now. The manifest must be loaded after this call.
    pub(crate) fn new(container: ContainerId, objects: Vec<ObjectId>) -> Self {
        Self { container, objects }
    }

    /// Returns the objects that may be deleted, for a manifest that was loaded after the listing. Returns no objects if
    /// the container was replaced.
    pub(crate) fn deletable(self, manifest: &Manifest, named: &BTreeSet<ObjectId>) -> Vec<ObjectId> {
        if manifest.id != self.container {
            return Vec::new();
        }
        // Rule: named objects, and objects of listed sessions, are spared.
        let is_spared = |object: &ObjectId| {
            rule!(SpareNamed, named.contains(object); false)
                || rule!(SpareSessions, manifest.lists(object.session); false)
        };
        self.objects.into_iter().filter(|object| !is_spared(object)).collect()
    }
}

impl ListedContainers {
    /// Returns a listing that was completed just now. The manifest must be loaded after this call.
    pub(crate) fn new(all: Vec<ContainerId>) -> Self {
        Self(all)
    }

    /// Returns the containers with objects to delete, for a manifest that was loaded after the listing.
    pub(crate) fn orphaned(self, head: &Manifest) -> Vec<ContainerId> {
        // Rule: the present container and all copies in progress are spared.
        let is_spared = |id: &ContainerId| {
            rule!(SpareHead, *id == head.id; false) || rule!(SpareCopies, head.lists_copy(*id); false)
        };
        self.0.into_iter().filter(|id| !is_spared(id)).collect()
    }
}
