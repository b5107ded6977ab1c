//! Space: the objects that a container names, their births, and the dead lists.
//!
//! An object is named while bytes of it are live or in a dead list, so this one table decides which
//! objects a vacuum may delete. A record lists only the objects and extents that its commit gained and freed; a *fold*
//! applies the records up to a version to the table. A fold's pages are put before its swap. Therefore an item that
//! dies by that very swap is encoded without its death, and its death is the sequence of the manifest that names the
//! page first.

use std::collections::{BTreeMap, HashSet};

use super::frame;
use super::history::{Era, Mark};
use super::ids::ObjectId;
use super::line::Line;
use super::manifest::TableRefs;
use super::records::{Content, Record, SegmentRef};
use super::runs::{NewRun, Run, RunItem, Table};
use crate::address::{Address, PageRef};
use crate::codec::{Decoded, Reader, put_varint};

/// The death of an item that dies by the swap that names the item's page. No sequence is as high.
pub(crate) const NOW: u64 = u64::MAX;
const USAGE_MAGIC: &[u8; 4] = b"h5lU";
const MAX_OBJECTS: usize = 1 << 26;

/// The usage of one object, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Usage {
    /// A lower bound of the sequence from which on the object was named.
    pub(crate) birth: u64,
    /// The bytes that were ever named.
    pub(crate) total: u64,
    /// The bytes that are live or in a dead list.
    pub(crate) named: u64,
}

/// An extent that the newest version no longer uses, and that was not reclaimed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Dead {
    pub(crate) place: Address,
    /// The birth of its object. It is equal to the death for an extent that no version needs, such as a page of these
    /// tables.
    pub(crate) birth: u64,
    /// The sequence of the manifest that no longer uses the extent, or [`NOW`].
    pub(crate) death: u64,
}

impl RunItem for Dead {
    const MAGIC: &'static [u8; 4] = b"h5lD";
    const LEAST_BYTES: usize = 5;

    fn encode(&self, out: &mut Vec<u8>) {
        self.place.encode(out);
        put_varint(out, if self.birth == NOW { 0 } else { self.birth + 1 });
        // Rule: deaths are exact. The sequence of the swap that will name this page is not known yet.
        put_varint(out, if self.death == NOW { 0 } else { self.death });
    }

    fn read(r: &mut Reader<'_>, placed: u64) -> Decoded<Self> {
        let (place, birth) = (Address::read(r)?, r.number()?);
        let death = match r.number()? {
            0 => placed,
            death => death,
        };
        let birth = birth.checked_sub(1).unwrap_or(death);
        if ObjectId::of(&place).is_none() || birth > death {
            return Err("an impossible entry of a dead list");
        }
        Ok(Self { place, birth, death })
    }

    fn keys(&self) -> (u64, u64) {
        let birth = if self.birth == NOW { 0 } else { self.birth };
        (birth, if self.death == NOW { birth } else { self.death })
    }
}

/// The space table and the history, as a fold changes them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    /// The sequence that identifies the pages that were read.
    pub(crate) since: u64,
    pub(crate) usage: BTreeMap<ObjectId, Usage>,
    pub(crate) dead: Table<Dead>,
    pub(crate) eras: Table<Era>,
    usage_page: Option<PageRef>,
}

/// The pages that the caller must put before a change of tables.
#[derive(Debug, Clone)]
pub(crate) struct TablePages {
    /// The tables that the pages were made from.
    pub(crate) read: u64,
    pub(crate) usage: (Vec<u8>, u32),
    pub(crate) dead: (Vec<Run>, Option<NewRun>),
    pub(crate) history: (Vec<Run>, Option<NewRun>),
}

impl Tables {
    /// Loads the tables that a manifest names; `fetch` returns the bytes of each page.
    ///
    /// # Errors
    /// The reason why a page is damaged.
    pub(crate) fn load(
        refs: &TableRefs,
        mut fetch: impl FnMut(&PageRef) -> Decoded<Vec<u8>>,
    ) -> Decoded<Self> {
        let mut tables = Self { since: refs.since, usage_page: refs.usage, ..Self::default() };
        if let Some(page) = &refs.usage {
            tables.usage = decode_usage(&fetch(page)?, page.crc)?;
        }
        for run in &refs.dead {
            tables.dead.load(*run, &fetch(&run.page)?)?;
        }
        for run in &refs.history {
            tables.eras.load(*run, &fetch(&run.page)?)?;
        }
        Ok(tables)
    }

    /// Adds bytes of an object, which is new or was named before.
    pub(crate) fn gain(&mut self, object: ObjectId, bytes: u64, birth: u64) {
        let usage = self.usage.entry(object).or_insert(Usage { birth, total: 0, named: 0 });
        usage.total = usage.total.saturating_add(bytes);
        usage.named = usage.named.saturating_add(bytes);
        usage.birth = usage.birth.min(birth);
    }

    /// Adds bytes of pages of a new root, which has the content of version `base`.
    pub(crate) fn gain_pages(&mut self, object: ObjectId, bytes: u64, base: u64) {
        // Rule: pages of a root are born with the version that has their content, although they are put later, because a tag of that
        // version needs them from then on.
        self.gain(object, bytes, rule!(RootBirth, base; base + 1));
    }

    /// Enters an extent that dies at `death` into the dead list.
    pub(crate) fn bury(&mut self, place: &Address, death: u64) -> Decoded<()> {
        let Some(object) = ObjectId::of(place) else { return Ok(()) };
        let usage = self.usage.get(&object).ok_or("bytes are freed in an object that is not known")?;
        let birth = usage.birth;
        // Rule: an extent enters the dead list when it dies, unless no version can need it.
        if rule!(DeadListed, birth < death; false) {
            self.dead.push(Dead { place: *place, birth, death });
        }
        Ok(())
    }

    /// Subtracts an extent that left the dead lists from the bytes of its object. Returns the object if none of its
    /// bytes is named any more.
    pub(crate) fn release(&mut self, place: &Address) -> Option<ObjectId> {
        let object = ObjectId::of(place)?;
        let usage = self.usage.get_mut(&object)?;
        usage.named = usage.named.saturating_sub(place.length);
        (usage.named == 0).then(|| {
            self.usage.remove(&object);
            object
        })
    }

    /// Applies records to the table: the objects that they gained, the extents that they freed, and the
    /// objects of long records, which the new root replaces.
    pub(crate) fn fold(&mut self, records: &[&Record]) -> Decoded<()> {
        for record in records {
            for part in &record.parts {
                self.fold_part(record, &part.content)?;
            }
        }
        Ok(())
    }

    fn fold_part(&mut self, record: &Record, content: &Content) -> Decoded<()> {
        let data = match content {
            Content::Inline(data) => data,
            Content::Stored { data, .. } => data.as_deref().ok_or("a long record was not read")?,
            Content::InRoot | Content::Cancelled => return Ok(()),
        };
        for gained in &data.notes.gained {
            self.gain(gained.object, gained.bytes, gained.stood);
        }
        for place in &data.notes.freed {
            // Rule: deaths are exact: the record's version is the sequence of its swap.
            let death = rule!(DeathExact, record.version; record.previous);
            self.bury(place, death)?;
        }
        let Content::Stored { page, .. } = content else { return Ok(()) };
        self.bury_page(page, record.previous)
    }

    /// Enters a page that the manifest itself named until now into the dead list.
    fn bury_page(&mut self, page: &PageRef, birth: u64) -> Decoded<()> {
        let object = ObjectId::of(&page.place).ok_or("a page of the manifest is in no object")?;
        self.gain(object, page.place.length, birth);
        self.bury(&page.place, NOW)
    }

    /// Ends the era of the present root. Its versions are below `end`: the base of the next root, or the version
    /// after the newest one if the swap makes a version itself. `after` is the line with the segment that the swap names.
    /// It must have a segment for each of the era's `records`, which begin with the record of the base.
    pub(crate) fn end_era(
        &mut self,
        before: &Line,
        after: &Line,
        end: u64,
        records: &[&Record],
    ) -> Decoded<()> {
        let base = before.base();
        if end <= base {
            return Ok(());
        }
        let segments: Vec<SegmentRef> =
            after.segments.iter().filter(|at| at.last > base && at.first <= end).copied().collect();
        // The mark of the next root's version belongs to the next era, because that version is the first of the era.
        let of_era = |r: &&&Record| r.is_version() && (base..end).contains(&r.version);
        let marks = records.iter().filter(of_era).map(|record| Mark::of(record)).collect();
        // Readers that are opening an earlier manifest need the segments that the swap replaces.
        let replaced = before.segments.iter().filter(|at| !after.segments.contains(at));
        let (over, older): (Vec<_>, Vec<_>) = replaced.partition(|at| at.last > base);
        for at in after.segments.iter().chain(over).filter(|at| at.last > base && at.last <= end) {
            self.bury_page(&at.page, at.first)?;
        }
        self.bury_older(&older)?;
        self.eras.push(Era { root: before.root, end, segments, marks });
        Ok(())
    }

    /// Enters segments of earlier eras into the dead list, because the line names them no longer. The checkpoint of their era has entered
    /// most of them, with a death before which the line still named them.
    fn bury_older(&mut self, segments: &[&SegmentRef]) -> Decoded<()> {
        if segments.is_empty() {
            return Ok(());
        }
        let is_one = |dead: &Dead| segments.iter().any(|at| at.page.place == dead.place);
        let known: HashSet<Address> = self.dead.iter().filter(|dead| is_one(dead)).map(|d| d.place).collect();
        self.dead.retain(|dead| !known.contains(&dead.place));
        segments.iter().try_for_each(|at| match known.contains(&at.page.place) {
            true => self.bury(&at.page.place, NOW),
            false => self.bury_page(&at.page, at.first),
        })
    }

    /// Removes extents from the dead list because the commit of a restored version uses them again. Returns false if one of them was
    /// reclaimed.
    pub(crate) fn revive(&mut self, wanted: &HashSet<Address>) -> bool {
        let is_revived = |d: &Dead| wanted.contains(&d.place);
        // Rule: each extent that a restore revives is dead now, and leaves the dead list.
        let dead = wanted.is_empty() || self.dead.iter().filter(|d| is_revived(d)).count() == wanted.len();
        if !rule!(ReviveNow, dead) {
            return false;
        }
        if !wanted.is_empty() {
            self.dead.retain(|d| rule!(Revive, !is_revived(d); true));
        }
        true
    }

    /// Returns the pages to put for these tables. The pages that they replace enter the dead list.
    pub(crate) fn pages(mut self) -> Decoded<TablePages> {
        let mut replaced: Vec<(PageRef, u64)> = Vec::new();
        replaced.extend(self.usage_page.map(|page| (page, self.since)));
        replaced.extend(self.eras.absorb().iter().map(|run| (run.page, run.placed)));
        replaced.extend(self.dead.absorb().iter().map(|run| (run.page, run.placed)));
        for (page, birth) in &replaced {
            let object = ObjectId::of(&page.place).ok_or("a page of the manifest is in no object")?;
            self.gain(object, page.place.length, *birth);
            // Readers of old versions read the tables of the newest manifest.
            self.dead.push(Dead { place: page.place, birth: NOW, death: NOW });
        }
        // Runs that the new entries would have absorbed remain; the next fold absorbs them.
        Ok(TablePages {
            read: self.since,
            usage: encode_usage(&self.usage),
            dead: self.dead.finish(),
            history: self.eras.finish(),
        })
    }
}

fn encode_usage(usage: &BTreeMap<ObjectId, Usage>) -> (Vec<u8>, u32) {
    let mut out = frame::begin(USAGE_MAGIC);
    put_varint(&mut out, usage.len() as u64);
    for (object, usage) in usage {
        object.encode(&mut out);
        for n in [usage.birth, usage.total, usage.named] {
            put_varint(&mut out, n);
        }
    }
    let crc = frame::end(&mut out);
    (out, crc)
}

fn decode_usage(bytes: &[u8], crc: u32) -> Decoded<BTreeMap<ObjectId, Usage>> {
    let mut r = frame::open_as(bytes, USAGE_MAGIC, crc)?;
    let item = |r: &mut Reader<'_>| {
        let object = ObjectId::read(r)?;
        let usage = Usage { birth: r.number()?, total: r.number()?, named: r.number()? };
        if usage.named > usage.total || usage.named == 0 {
            return Err("an object uses impossible bytes");
        }
        Ok((object, usage))
    };
    let all = frame::read_list(&mut r, (19, MAX_OBJECTS), item)?;
    r.end()?;
    if all.is_sorted_by(|a, b| a.0 < b.0) {
        Ok(all.into_iter().collect())
    } else {
        Err("objects are out of order")
    }
}
