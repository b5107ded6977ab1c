//! Reclaim: determines the versions that hold an object, and the extents that leave the dead lists.
//!
//! One rule serves history, tags, branches and publications: an object that was born at *b* and died at *d* may be
//! reclaimed when no holder is in [b, d). A plan states the holders that it was made with. The swap compares them with
//! the holders of the very manifest that it makes. A tag that was made in between therefore makes the plan stale
//! instead of incomplete.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::ObjectId;
use super::lines::Line;
use super::manifest::Manifest;
use super::references::Tag;
use super::usage::{TablePages, Tables};
use crate::codec::Decoded;

/// The end of the range that an open line retains.
const FOR_EVER: u64 = u64::MAX;

/// For each line the ranges of versions that are needed: ascending and disjoint, ends excluded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Holders(BTreeMap<u64, Vec<(u64, u64)>>);

impl Holders {
    /// Returns the holders of all lines of a manifest with these tags.
    pub(crate) fn of<'a>(manifest: &Manifest, tags: impl Iterator<Item = &'a Tag> + Clone) -> Self {
        let of_line = |line: &Line| (line.id, merge_ranges(holders_of(line, tags.clone())));
        Self(manifest.lines.iter().map(|line| of_line(line)).collect())
    }

    /// Returns whether a holder needs an extent that a line used from `birth` on until `death`.
    pub(crate) fn need(&self, line: u64, birth: u64, death: u64) -> bool {
        let ranges = self.0.get(&line).map_or(&[][..], Vec::as_slice);
        ranges.iter().any(|(from, to)| *from < death && birth < *to)
    }

    /// Returns whether each range of `others` is contained in one of these ranges.
    pub(crate) fn cover(&self, others: &Self) -> bool {
        let is_covered = |line: &u64, (from, to): &(u64, u64)| {
            self.0.get(line).is_some_and(|own| own.iter().any(|(a, b)| a <= from && to <= b))
        };
        others.0.iter().all(|(line, ranges)| ranges.iter().all(|range| is_covered(line, range)))
    }
}

/// Returns the ranges that hold versions of one line.
fn holders_of<'a>(line: &Line, tags: impl Iterator<Item = &'a Tag>) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    // Rule: versions from the horizon on are retained.
    if rule!(RetainedHolds, true; false) {
        ranges.push((line.horizon, FOR_EVER));
    }
    // Rule: a tag holds its version.
    let of_line = tags.filter(|tag| rule!(TagHolds, tag.line == line.id; false));
    ranges.extend(of_line.map(|tag| (tag.mark.version, tag.mark.version + 1)));
    ranges
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
/// one.
pub(crate) fn is_held<'a>(
    manifest: &Manifest,
    (line, version): (u64, u64),
    mut tags: impl Iterator<Item = &'a Tag>,
) -> bool {
    let Some(line) = manifest.line(line) else { return false };
    let is_current = version == line.version;
    let is_retained = (line.horizon..=line.version).contains(&version);
    is_current || is_retained || tags.any(|tag| tag.line == line.id && tag.mark.version == version)
}

/// Returns whether a reader of a version must be notified that the version is gone. Until then all its objects exist.
pub(crate) fn is_gone<'a>(
    manifest: &Manifest,
    (line, version): (u64, u64),
    tags: impl Iterator<Item = &'a Tag>,
) -> bool {
    !is_held(manifest, (line, version), tags)
}

/// Raises horizons.
pub(crate) fn raise_horizons(manifest: &mut Manifest, horizons: &[(u64, u64)]) {
    let newest = manifest.sequence;
    for (id, horizon) in horizons {
        if let Some(line) = manifest.line_mut(*id) {
            line.horizon = line.horizon.max(*horizon).min(newest);
        }
    }
}

/// A reclaim that was planned on one manifest.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The new horizons, by line.
    pub(crate) horizons: Vec<(u64, u64)>,
    pub(crate) holders: Holders,
    pub(crate) pages: TablePages,
    /// Objects that no manifest names once the swap is known to have taken effect.
    pub(crate) deletable: Vec<ObjectId>,
    /// The numbers of dead-list entries and of eras that remain.
    pub(crate) kept: (usize, usize),
}

/// Plans a reclaim: raises horizons, and removes everything from the tables that is not needed then.
///
/// # Errors
/// The reason why the tables are damaged.
pub(crate) fn plan<'a>(
    before: &Manifest,
    tags: impl Iterator<Item = &'a Tag> + Clone,
    mut tables: Tables,
    horizons: &[(u64, u64)],
) -> Decoded<Plan> {
    let mut after = before.clone();
    raise_horizons(&mut after, horizons);
    let holders = Holders::of(&after, tags);
    let named: BTreeSet<ObjectId> = after.lines.iter().flat_map(|line| line.direct()).collect();
    let mut taken = Vec::new();
    tables.dead.retain(|dead| {
        // Segments remain while a line names them in order to settle doubts.
        let is_named = ObjectId::of(&dead.place).is_some_and(|object| named.contains(&object));
        let stays = is_named || holders.need(dead.line, dead.birth, dead.death);
        if !stays {
            taken.push(dead.place);
        }
        stays
    });
    tables.eras.retain(|era| holders.need(era.line, era.base(), era.end));
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
    Ok(Plan { horizons: horizons.to_vec(), holders, pages: tables.pages()?, deletable, kept })
}
