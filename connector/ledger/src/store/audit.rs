//! The storage's part of a check of a whole container in an object store: its tables and history, and whether all objects exist and are
//! long enough.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ObjectStorage;
use super::fetch::{Fetcher, commit_record};
use super::names::{object_name, object_of};
use super::past::is_in_root;
use super::reclaim::all_tags;
use super::view::Reported;
use crate::address::{Address, PageRef};
use crate::audit::{
    Audit, Claims, Epoch, Finding, Findings, HitVersions, Versions, claimed_twice, why_damaged,
};
use crate::core::history::Era;
use crate::core::ids::ObjectId;
use crate::core::manifest::Manifest;
use crate::core::reclaim::is_held;
use crate::core::records::{Content, Record, SegmentRef, Segments};
use crate::core::references::Tag;
use crate::core::usage::Tables;
use crate::error::{Error, ErrorKind, Result, store_error};
use crate::tags::{TagEntry, TagName};
use object_stores::ObjectStoreExt;

/// A check of one container.
pub(super) struct StoreAudit<'a> {
    storage: &'a ObjectStorage,
    fetcher: Fetcher,
    manifest: Arc<Manifest>,
    reported: Reported,
    tags: Vec<Tag>,
    segments: Segments,
    tables: Option<Tables>,
    /// The eras of the history, newest first.
    eras: Vec<Era>,
    all: bool,
    /// The records over the root, up to the version that is checked.
    records: Vec<Arc<Record>>,
}

/// Returns the address of a record that is an object of its own; an empty address for an inline record.
fn record_place(record: &Record) -> Address {
    let stored = record.parts.iter().find_map(|part| match &part.content {
        Content::Stored { page, .. } => Some(page.place),
        _ => None,
    });
    stored.unwrap_or(Address::file(0, 0))
}

impl<'a> StoreAudit<'a> {
    pub(super) fn of(storage: &'a ObjectStorage) -> Option<Self> {
        let view = storage.view.lock();
        Some(Self {
            storage,
            fetcher: storage.fetcher(),
            manifest: view.manifest.clone(),
            reported: view.reported?,
            tags: Vec::new(),
            segments: view.segments.clone(),
            tables: None,
            eras: Vec::new(),
            all: false,
            records: Vec::new(),
        })
    }

    /// Returns whether a version is retained. A version that only a tag holds is checked as the version of that tag.
    fn is_whole(&self, version: u64) -> bool {
        is_held(&self.manifest, version, [].iter())
    }

    /// Claims the pages that the manifest itself names, for the newest version.
    fn claim_pages(&self, claims: &mut Claims, out: &mut Findings) -> Result<()> {
        let segments = self.manifest.line.segments.iter().map(|at| at.page);
        let pages = self.manifest.tables.pages().chain(self.manifest.references.page).chain(segments);
        for page in pages {
            let io =
                |e: std::io::Error| Error::io(&self.fetcher.target, "keeping a list in a temporary file", &e);
            claims.add(&page.place, &mut |c| out.add(claimed_twice(c))).map_err(io)?;
        }
        Ok(())
    }

    /// Turns an error that is caused by damage into a finding.
    fn found<T>(
        &self,
        read: Result<T>,
        kind: &'static str,
        hit: HitVersions,
        out: &mut Findings,
    ) -> Result<Option<T>> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(e) => {
                // An object that a manifest names is deleted only after a newer manifest has replaced this one.
                let missing = *e.kind() == ErrorKind::Gone;
                let why = if missing { Some("an object is missing".to_owned()) } else { why_damaged(&e) };
                let why = why.ok_or_else(|| e.clone())?;
                let at = match e.kind() {
                    ErrorKind::Corrupt { at, .. } => at.clone(),
                    _ => kind.to_owned(),
                };
                out.add(Finding::damage(kind, at, why).of(hit));
                Ok(None)
            }
        }
    }

    fn epoch_of(
        &self,
        root: Option<PageRef>,
        base: u64,
        records: &[Arc<Record>],
        hit: HitVersions,
    ) -> Result<Epoch> {
        let newest = hit.is_newest();
        let whole = |version: u64| {
            (newest && version == self.reported.version) || (self.all && self.is_whole(version))
        };
        let mut found = Vec::new();
        for record in records {
            let made = commit_record(record).map_err(|why| self.fetcher.corrupt("record", why))?;
            found.extend(made.map(|made| (made, record_place(record), whole(record.version))));
        }
        Ok(Epoch { root, base_is_whole: base > 0 && whole(base), records: found, hit })
    }

    /// Returns the objects below the container's id, with their sizes. Other objects there become findings.
    fn list(&self, out: &mut Findings) -> Result<BTreeMap<ObjectId, u64>> {
        let prefix = format!("{}/", self.fetcher.names.lake);
        let mut all = BTreeMap::new();
        for meta in self.fetcher.store.list(&prefix, None) {
            let meta = meta.map_err(|e| store_error(&self.fetcher.target, &e))?;
            let name = meta.key.as_str().strip_prefix(&prefix).unwrap_or_default().to_owned();
            match object_of(&name) {
                Some(object) => drop(all.insert(object, meta.size)),
                None if name.starts_with("queue/") || name.starts_with("manifest/") => (),
                None => out.add(Finding::warning("leftover object", name, "it is no object of a container")),
            }
        }
        Ok(all)
    }

    /// Returns the bytes of each object that the newest version uses, according to the tables and the records over the root.
    fn live(&self, tables: &Tables) -> BTreeMap<ObjectId, u64> {
        let mut live: BTreeMap<ObjectId, u64> = tables.usage.iter().map(|(o, u)| (*o, u.named)).collect();
        let lose = |live: &mut BTreeMap<ObjectId, u64>, place: &Address| {
            let bytes = ObjectId::of(place).and_then(|object| live.get_mut(&object));
            bytes.into_iter().for_each(|bytes| *bytes = bytes.saturating_sub(place.length));
        };
        tables.dead.iter().for_each(|dead| lose(&mut live, &dead.place));
        for data in self.records.iter().flat_map(|r| &r.parts).filter_map(|part| part.data()) {
            for gained in &data.notes.gained {
                *live.entry(gained.object).or_default() += gained.bytes;
            }
            data.notes.freed.iter().for_each(|place| lose(&mut live, place));
        }
        live
    }

    /// Returns all objects that the manifest names for any purpose.
    fn named(&self, tables: &Tables) -> BTreeSet<ObjectId> {
        let pages = self.manifest.tables.pages().chain(self.manifest.references.page);
        let mut all: BTreeSet<ObjectId> = pages.filter_map(|page| ObjectId::of(&page.place)).collect();
        all.extend(tables.usage.keys());
        all.extend(self.manifest.line.direct());
        all.extend(super::fetch::stored_objects(&self.records));
        let gained = self.records.iter().flat_map(|r| &r.parts).filter_map(|part| part.data());
        all.extend(gained.flat_map(|data| &data.notes.gained).map(|gained| gained.object));
        all
    }
}

impl Audit for StoreAudit<'_> {
    fn begin(&mut self, versions: Versions, claims: &mut Claims, out: &mut Findings) -> Result<usize> {
        self.all = versions == Versions::All;
        let tags = all_tags(&self.manifest, &self.fetcher);
        self.tags = self.found(tags, "references", HitVersions::OlderOnly, out)?.unwrap_or_default();
        let range = (self.manifest.line.base(), self.reported.version);
        let mut segments = self.segments.clone();
        let records = self.fetcher.records(&self.manifest.line, range, &mut segments);
        self.records = self.found(records, "record", HitVersions::Newest, out)?.unwrap_or_default();
        self.segments = segments;
        self.claim_pages(claims, out)?;
        let tables = self.fetcher.tables(&self.manifest.tables, |_| None);
        self.tables = self.found(tables, "space table", HitVersions::Newest, out)?;
        if let Some(tables) = &self.tables {
            self.eras = tables.eras.iter().cloned().collect();
            self.eras.sort_unstable_by_key(|era| std::cmp::Reverse(era.end));
        }
        self.all &= self.tables.is_some();
        Ok(1 + if self.all { self.eras.len() } else { 0 })
    }

    fn epoch(&mut self, n: usize, out: &mut Findings) -> Result<Option<Epoch>> {
        if n == 0 {
            let root = self.manifest.line.root;
            let mut epoch = self.epoch_of(root.page, root.base, &self.records, HitVersions::Newest)?;
            epoch.base_is_whole |= self.records.iter().all(|record| !record.is_version());
            return Ok(Some(epoch));
        }
        let Some(era) = self.eras.get(n - 1).cloned() else { return Ok(None) };
        // A reclaim may delete later records of an era, because no version needs them. Versions of tags are checked on their own.
        let retained = era.marks.iter().map(|mark| mark.version).filter(|version| self.is_whole(*version));
        let newest = retained.max().unwrap_or(0);
        let needed: Vec<SegmentRef> = era.segments.iter().filter(|at| at.first <= newest).copied().collect();
        let mut segments = Segments::default();
        let read = self.fetcher.segments(&needed, &mut segments);
        let hit = HitVersions::OlderOnly;
        if self.found(read, "record", hit, out)?.is_none() {
            return self.epoch_of(era.root.page, era.base(), &[], hit).map(Some);
        }
        let stored = needed.iter().filter_map(|at| segments.get(at)).flat_map(|s| s.records.iter());
        let range = era.base() + 1..=newest;
        let records: Vec<Arc<Record>> =
            stored.filter(|r| range.contains(&r.version) && !is_in_root(r)).cloned().collect();
        let records = self.fetcher.completed(records);
        let records = self.found(records, "record", hit, out)?.unwrap_or_default();
        self.epoch_of(era.root.page, era.base(), &records, hit).map(Some)
    }

    fn is_overtaken(&self, n: usize) -> Result<bool> {
        let newest = self.storage.newest()?;
        if newest.id != self.manifest.id {
            return Ok(true);
        }
        let tags = all_tags(&newest, &self.fetcher)?;
        let is_unheld = |version: u64| !is_held(&newest, version, tags.iter());
        Ok(match n {
            0 => is_unheld(self.reported.version) || newest.tables.since != self.manifest.tables.since,
            n => self.eras.get(n - 1).is_none_or(|era| {
                let held = era.marks.iter().map(|mark| mark.version).chain([era.base()]);
                held.filter(|version| self.is_whole(*version)).any(is_unheld)
            }),
        })
    }

    fn unclaimed(
        &mut self,
        claims: &mut Claims,
        // A missing object of a tagged version is detected when that version is read.
        _: &[(TagName, TagEntry)],
        out: &mut Findings,
    ) -> Result<()> {
        let there = self.list(out)?;
        let Some(tables) = &self.tables else { return Ok(()) };
        let (mut used, mut ends) = (BTreeMap::<ObjectId, u64>::new(), BTreeMap::<ObjectId, u64>::new());
        let mut twice = Vec::new();
        let claimed = claims.sorted(&mut |c| twice.push(claimed_twice(c)), &mut |c| {
            let place = Address { location: c.location, offset: c.offset, length: c.end - c.offset };
            if let Some(object) = ObjectId::of(&place) {
                *used.entry(object).or_default() += place.length;
                ends.insert(object, c.end);
            }
        });
        claimed.map_err(|e| Error::io(&self.fetcher.target, "keeping a list in a temporary file", &e))?;
        twice.into_iter().for_each(|f| out.add(f));
        let named = self.named(tables);
        for object in named.iter().chain(ends.keys()).collect::<BTreeSet<_>>() {
            let end = ends.get(object).copied().unwrap_or(0);
            match there.get(object) {
                None => out.add(Finding::damage("object", object_name(*object), "it is missing")),
                Some(size) if *size < end => {
                    let why = format!("it has {size} bytes, and bytes up to {end} are in use");
                    out.add(Finding::damage("object", object_name(*object), why));
                }
                Some(_) => (),
            }
        }
        self.compare_used(&used, tables, out);
        self.report_strays(&there, &named, out);
        Ok(())
    }
}

impl StoreAudit<'_> {
    /// Compares the bytes that the newest version uses with the bytes that the tables count.
    fn compare_used(&self, used: &BTreeMap<ObjectId, u64>, tables: &Tables, out: &mut Findings) {
        let is_hit = |f: &Finding| f.hit.is_newest() && (f.keys.is_some() || f.key.is_some());
        if out.list.iter().any(is_hit) {
            return;
        }
        // The tables count a page that the manifest itself names only after the page was replaced.
        let segments = self.manifest.line.segments.iter().map(|at| at.page);
        let pages = self.manifest.tables.pages().chain(self.manifest.references.page).chain(segments);
        let mut uncounted: BTreeMap<ObjectId, u64> = BTreeMap::new();
        for page in pages {
            if let Some(object) = ObjectId::of(&page.place) {
                *uncounted.entry(object).or_default() += page.place.length;
            }
        }
        for (object, counted) in self.live(tables) {
            let found = used.get(&object).copied().unwrap_or(0);
            let found = found.saturating_sub(uncounted.get(&object).copied().unwrap_or(0));
            if found > counted {
                let why = format!("{found} bytes are in use, and {counted} are counted");
                out.add(Finding::damage("space table", object_name(object), why));
            } else if found < counted {
                let why = format!("{counted} bytes are counted as in use, and {found} are");
                out.add(Finding::warning("space table", object_name(object), why));
            }
        }
    }

    /// Reports objects that no version names, and that belong to sessions that have ended.
    fn report_strays(&self, there: &BTreeMap<ObjectId, u64>, named: &BTreeSet<ObjectId>, out: &mut Findings) {
        let is_stray = |object: &ObjectId| !named.contains(object) && !self.manifest.lists(object.session);
        let (mut count, mut bytes, mut first) = (0_u64, 0_u64, None);
        for (object, size) in there.iter().filter(|(object, _)| is_stray(object)) {
            (count, bytes) = (count + 1, bytes + size);
            first.get_or_insert(*object);
        }
        if let Some(object) = first {
            let why = format!(
                "{count} objects of {bytes} bytes are in no version: a writer at work has put them, or one that died"
            );
            out.add(Finding::warning("leftover object", format!("{} and others", object_name(object)), why));
        }
    }
}
