//! Reclaim: determines the versions that hold an object, and the extents that leave the dead lists.
//!
//! One rule serves history, tags and publications: an object that was born at *b* and died at *d* may be
//! reclaimed when no holder is in [b, d). A plan states the holders that it was made with. The swap compares them with
//! the holders of the very manifest that it makes. A tag that was made in between therefore makes the plan stale
//! instead of incomplete.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ids::ObjectId;
use super::manifest::Manifest;
use super::references::Tag;
use super::usage::{TablePages, Tables};
use crate::codec::Decoded;

/// The end of the range that is retained.
const FOR_EVER: u64 = u64::MAX;

/// The ranges of versions that are needed: ascending and disjoint, ends excluded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Holders(Vec<(u64, u64)>);

impl Holders {
    /// Returns the holders of a manifest with these tags.
    pub(crate) fn of<'a>(manifest: &Manifest, tags: impl Iterator<Item = &'a Tag>) -> Self {
        let mut ranges = Vec::new();
        // Rule: versions from the horizon on are retained.
        if rule!(RetainedHolds, true; false) {
            ranges.push((manifest.line.horizon, FOR_EVER));
        }
        // Rule: a tag holds its version.
        let tagged = tags.filter(|_| rule!(TagHolds, true; false)).map(|tag| tag.mark.version);
        ranges.extend(tagged.map(|version| (version, version + 1)));
        Self(merge_ranges(ranges))
    }

    /// Returns whether a holder needs an extent that was used from `birth` on until `death`.
    pub(crate) fn need(&self, birth: u64, death: u64) -> bool {
        self.0.iter().any(|(from, to)| *from < death && birth < *to)
    }

    /// Returns whether each range of `other` is contained in one of these ranges.
    pub(crate) fn cover(&self, other: &Self) -> bool {
        other.0.iter().all(|(from, to)| self.0.iter().any(|(a, b)| a <= from && to <= b))
    }
}

fn merge_ranges(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, range| {
        let touches = next.0 <= range.1;
        if touches {
            range.1 = range.1.max(next.1);
        }
        touches
    });
    ranges
}

/// Returns whether a version is complete at least until the next swap: the current version, a retained one or a tagged
/// one. Objects of other versions may be missing.
pub(crate) fn is_held<'a>(
    manifest: &Manifest,
    version: u64,
    mut tags: impl Iterator<Item = &'a Tag>,
) -> bool {
    let line = &manifest.line;
    let is_current = version == line.version;
    let is_retained = (line.horizon..=line.version).contains(&version);
    is_current || is_retained || tags.any(|tag| tag.mark.version == version)
}

/// Raises the horizon.
pub(crate) fn raise_horizon(manifest: &mut Manifest, horizon: u64) {
    let newest = manifest.sequence;
    let line = Arc::make_mut(&mut manifest.line);
    line.horizon = line.horizon.max(horizon).min(newest);
}

/// A reclaim that was planned on one manifest.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) horizon: u64,
    pub(crate) holders: Holders,
    pub(crate) pages: TablePages,
    /// Objects that no manifest names once the swap is known to have taken effect.
    pub(crate) deletable: Vec<ObjectId>,
    /// The numbers of dead-list entries and of eras that remain.
    pub(crate) kept: (usize, usize),
}

/// Plans a reclaim: raises the horizon, and removes everything from the tables that is not needed then.
///
/// # Errors
/// The reason why the tables are damaged.
pub(crate) fn plan<'a>(
    before: &Manifest,
    tags: impl Iterator<Item = &'a Tag>,
    mut tables: Tables,
    horizon: u64,
) -> Decoded<Plan> {
    let mut after = before.clone();
    raise_horizon(&mut after, horizon);
    let holders = Holders::of(&after, tags);
    let named: BTreeSet<ObjectId> = after.line.direct().collect();
    let mut taken = Vec::new();
    tables.dead.retain(|dead| {
        // Segments remain while the line names them in order to settle doubts.
        let is_named = ObjectId::of(&dead.place).is_some_and(|object| named.contains(&object));
        let stays = is_named || holders.need(dead.birth, dead.death);
        if !stays {
            taken.push(dead.place);
        }
        stays
    });
    tables.eras.retain(|era| holders.need(era.base(), era.end));
    let deletable: Vec<ObjectId> = taken.iter().filter_map(|place| tables.release(place)).collect();
    let is_page = |object: &ObjectId| {
        before
            .tables
            .pages()
            .chain(before.references.page)
            .any(|page| ObjectId::of(&page.place) == Some(*object))
    };
    let deletable =
        deletable.into_iter().filter(|object| !named.contains(object) && !is_page(object)).collect();
    let kept = (tables.dead.iter().count(), tables.eras.iter().count());
    Ok(Plan { horizon, holders, pages: tables.pages()?, deletable, kept })
}
