//! What a check of a whole container asks of an object store: the log, the history, the room table, and that the objects are
//! there with what is said to be in them.

use std::collections::{BTreeMap, BTreeSet};

use object_stores::ObjectStoreExt;

use crate::address::{Address, Location, PageRef, Run};
use crate::audit::{
    Audit, Claims, Epoch, Finding, Findings, HitVersions, Versions, claimed_twice, place_name, why_damaged,
};
use crate::codec::hex;
use crate::error::{Error, ErrorKind, Result};
use crate::history::{History, PastCheckpoint};
use crate::objects::manifest::{Head, read_head, store_error};
use crate::objects::object_usage::{UsageDelta, UsageTable};
use crate::objects::version_lookup::history;
use crate::objects::{AREA_AT, FetchedRecord, MAX_RECORDS_PER_FETCH, ObjectStorage, lock};
use crate::tags::{TagEntry, TagName};

/// A check of one container.
pub(super) struct ObjectAudit<'a> {
    storage: &'a ObjectStorage,
    head: Head,
    version: u64,
    history: History,
    all: bool,
    /// The records behind the base, up to the version that is checked.
    records: Vec<FetchedRecord>,
    /// Objects of older versions, which nothing of the newest claims.
    older: Vec<Location>,
}

/// An object's name for people.
fn location_name(location: &Location) -> String {
    match location {
        Location::File => "the file".into(),
        Location::Log(n) => format!("log/{n:016x}"),
        Location::Pack(id) => format!("pack/{}", hex(id)),
        Location::Page(id) => format!("page/{}", hex(id)),
        Location::Source(number) => format!("source {number}"),
    }
}

/// The room of an object's name behind the container's id, if it is one.
fn location_of(name: &str) -> Option<Location> {
    let (kind, id) = name.split_once('/')?;
    let number = |digits: usize| (id.len() == digits).then(|| u128::from_str_radix(id, 16).ok()).flatten();
    match kind {
        "log" => number(16).and_then(|n| u64::try_from(n).ok()).map(Location::Log),
        "pack" => number(32).map(|n| Location::Pack(n.to_be_bytes())),
        "page" => number(32).map(|n| Location::Page(n.to_be_bytes())),
        _ => None,
    }
}

/// Where a record lies.
fn record_place(l: &FetchedRecord) -> Address {
    let end = l.object.len() as u64;
    let length = l.record.length.min(end.saturating_sub(AREA_AT as u64));
    Address { location: Location::Log(l.record.header.version), offset: end - length, length }
}

impl<'a> ObjectAudit<'a> {
    pub(super) fn of(storage: &'a ObjectStorage) -> Option<Self> {
        let seen = lock(&storage.seen);
        let (head, version) = (seen.head.clone(), seen.version?);
        let (history, records, older) = (History::default(), Vec::new(), Vec::new());
        Some(Self { storage, head, version, history, all: false, records, older })
    }

    /// The older bases that lead to versions that are whole, newest first.
    fn past(&self) -> impl Iterator<Item = &PastCheckpoint> {
        self.history.past.iter().rev().filter(|p| p.until > self.head.lost)
    }

    fn bytes(&self, p: &PageRef) -> Result<std::result::Result<bytes::Bytes, String>> {
        match self.storage.get(&Run { place: p.place, offset: 0, length: p.place.length }) {
            Ok(bytes) => Ok(Ok(bytes)),
            Err(e) => why_damaged(&e).map(Err).ok_or(e),
        }
    }

    /// The objects that the head and the records say are in use.
    fn table(&self, out: &mut Findings) -> Result<Option<UsageTable>> {
        let mut at = String::new();
        let table = match self.head.table {
            None => Ok(UsageTable::default()),
            Some(p) => {
                at = place_name(&p.place);
                self.bytes(&p)?.and_then(|bytes| UsageTable::decode(&bytes, p.crc).map_err(str::to_owned))
            }
        };
        let replayed = table.and_then(|mut table| {
            self.records.iter().try_for_each(|l| {
                let notes = UsageDelta::decode(&l.record.notes).map_err(str::to_owned)?;
                table.replay(&notes, l.record.header.time).map_err(str::to_owned)
            })?;
            Ok(table)
        });
        match replayed {
            Ok(table) => Ok(Some(table)),
            Err(why) => {
                out.add(Finding::damage("room table", at, why));
                Ok(None)
            }
        }
    }

    /// Records of an older base that are there, oldest first, and whether all are.
    fn older_records(&self, p: &PastCheckpoint, out: &mut Findings) -> Result<(Vec<FetchedRecord>, bool)> {
        let (mut found, mut whole) = (Vec::new(), true);
        let mut next = p.base.version + 1;
        while next < p.last {
            let end = next.saturating_add(MAX_RECORDS_PER_FETCH as u64 - 1).min(p.last - 1);
            for (version, answer) in (next..=end).zip(self.storage.together(next..=end)) {
                match answer {
                    Ok(Some(l)) => found.push(l),
                    Ok(None) => {
                        // One that nobody needs any more may be gone; then all before it are.
                        let is_needed = p.base.reclaim_epoch >= self.head.lost;
                        if is_needed {
                            out.add(
                                Finding::damage(
                                    "record",
                                    location_name(&Location::Log(version)),
                                    "it is missing",
                                )
                                .of(HitVersions::OlderOnly),
                            );
                        }
                        whole = false;
                        found.clear();
                    }
                    Err(e) => {
                        let Some(why) = why_damaged(&e) else { return Err(e) };
                        out.add(
                            Finding::damage("record", location_name(&Location::Log(version)), why)
                                .of(HitVersions::OlderOnly),
                        );
                        whole = false;
                        found.clear();
                    }
                }
            }
            next = end + 1;
        }
        Ok((found, whole))
    }

    /// The sizes of all objects of the container, those that are none of its kinds told.
    fn list(&self, out: &mut Findings) -> Result<BTreeMap<Location, u64>> {
        let prefix = format!("{}/", self.storage.names.lake);
        let mut all = BTreeMap::new();
        for meta in self.storage.store.list(&prefix, None) {
            let meta = meta.map_err(|e| store_error(&self.storage.target, &e))?;
            let name = meta.key.as_str().strip_prefix(&prefix).unwrap_or_default().to_owned();
            match location_of(&name) {
                Some(location) => {
                    all.insert(location, meta.size);
                }
                // A commit that waits, or that nobody waits for any more.
                None if name == "lock" || name.starts_with("queue/") => (),
                None => out.add(Finding::warning("leftover object", name, "it is no object of a container")),
            }
        }
        Ok(all)
    }
}

impl Audit for ObjectAudit<'_> {
    fn begin(&mut self, versions: Versions, claims: &mut Claims, out: &mut Findings) -> Result<usize> {
        self.all = versions == Versions::All;
        let (base, known) = (self.head.base.version, self.version);
        let records = self.storage.records(base, known, known);
        match records {
            Ok(records) => {
                self.records = records.into_iter().filter(|l| l.record.header.version <= known).collect()
            }
            // They are in a closed head, else the container could not have been opened.
            Err(e) => {
                let Some(why) = why_damaged(&e) else { return Err(e) };
                let at = match e.kind() {
                    ErrorKind::Corrupt { at, .. } => at.clone(),
                    _ => String::new(),
                };
                out.add(Finding::damage("record", at, why));
                self.records = self.storage.closed_log(&self.head)?.unwrap_or_default();
            }
        }
        for p in [self.head.table, self.head.history].into_iter().flatten() {
            let io =
                |e: std::io::Error| Error::io(&self.storage.target, "keeping a list in a temporary file", &e);
            claims.add(&p.place, &mut |c| out.add(claimed_twice(c))).map_err(io)?;
        }
        match history(self.storage.store.as_ref(), &self.storage.names, &self.head, &self.storage.target) {
            Ok(history) => self.history = history,
            Err(e) => {
                let Some(why) = why_damaged(&e) else { return Err(e) };
                let at = self.head.history.map_or_else(String::new, |p| place_name(&p.place));
                out.add(Finding::damage("history", at, format!("{why}; older versions cannot be found")));
                self.all = false;
            }
        }
        Ok(1 + if self.all { self.past().count() } else { 0 })
    }

    fn epoch(&mut self, n: usize, out: &mut Findings) -> Result<Option<Epoch>> {
        let lost = self.head.lost;
        if n == 0 {
            let last = self.records.len();
            let whole =
                |i: usize, l: &FetchedRecord| i + 1 == last || (self.all && l.record.header.time >= lost);
            let records = self.records.iter().enumerate();
            let records = records.map(|(i, l)| (l.record.clone(), record_place(l), whole(i, l))).collect();
            let base = &self.history.base;
            let base_is_whole = last == 0 || (self.all && base.version > 0 && base.reclaim_epoch >= lost);
            return Ok(Some(Epoch {
                root: self.head.base.root,
                base_is_whole,
                records,
                hit: HitVersions::Newest,
            }));
        }
        let Some(p) = self.past().nth(n - 1).cloned() else { return Ok(None) };
        let (records, complete) = self.older_records(&p, out)?;
        self.older.extend(records.iter().map(|l| Location::Log(l.record.header.version)));
        self.older.extend(p.root.map(|root| root.place.location));
        // Behind a record that is missing, none can be used.
        let records = if complete { records } else { Vec::new() };
        let records =
            records.iter().map(|l| (l.record.clone(), record_place(l), l.record.header.time >= lost));
        let base_is_whole = p.base.version > 0 && p.base.reclaim_epoch >= lost;
        Ok(Some(Epoch {
            root: p.root,
            base_is_whole,
            records: records.collect(),
            hit: HitVersions::OlderOnly,
        }))
    }

    fn is_overtaken(&self, n: usize) -> Result<bool> {
        let found = read_head(self.storage.store.as_ref(), &self.storage.names.head, &self.storage.target)?;
        let Some((bytes, _)) = found else { return Ok(true) };
        let head = Head::decode(&bytes, &self.storage.target)?;
        // A writer puts the head that needs an object no more before it deletes the object.
        let needed = |head: &Head| (head.base, head.table, head.history);
        let has_moved = n == 0 && needed(&head) != needed(&self.head);
        Ok(head.fixed.id != self.storage.id || head.lost > self.head.lost || has_moved)
    }

    fn unclaimed(
        &mut self,
        claims: &mut Claims,
        // A tag that was deleted meanwhile holds no object. What its version needs is missed where it is read.
        _: &[(TagName, TagEntry)],
        out: &mut Findings,
    ) -> Result<()> {
        let there = self.list(out)?;
        let Some(table) = self.table(out)? else { return Ok(()) };
        let mut live: BTreeMap<Location, u64> = BTreeMap::new();
        let mut ends: BTreeMap<Location, u64> = BTreeMap::new();
        let mut twice = Vec::new();
        claims
            .sorted(&mut |c| twice.push(claimed_twice(c)), &mut |c| {
                *live.entry(c.location).or_default() += c.end - c.offset;
                ends.insert(c.location, c.end);
            })
            .map_err(|e| Error::io(&self.storage.target, "keeping a list in a temporary file", &e))?;
        twice.into_iter().for_each(|f| out.add(f));
        let needed = ends
            .keys()
            .chain(table.locations.iter().filter(|(_, u)| u.live > 0).map(|(location, _)| location));
        let needed: BTreeSet<Location> = needed.copied().collect();
        for location in &needed {
            let end = ends.get(location).copied().unwrap_or(0);
            match there.get(location) {
                None => out.add(Finding::damage("object", location_name(location), "it is missing")),
                Some(size) if *size < end => {
                    let why = format!("it has {size} bytes, and bytes up to {end} are in use");
                    out.add(Finding::damage("object", location_name(location), why));
                }
                Some(_) => (),
            }
        }
        let is_complete =
            !out.list.iter().any(|f| f.hit.is_newest() && (f.keys.is_some() || f.key.is_some()));
        for (location, u) in table
            .locations
            .iter()
            .filter(|(location, _)| matches!(location, Location::Pack(_)) && is_complete)
        {
            let used = live.get(location).copied().unwrap_or(0);
            if used > u.live {
                let why = format!("{used} bytes are in use, and {} are counted", u.live);
                out.add(Finding::damage("room table", location_name(location), why));
            } else if used < u.live {
                let why = format!("{} bytes are counted as in use, and {used} are", u.live);
                out.add(Finding::warning("room table", location_name(location), why));
            }
        }
        let older: BTreeSet<Location> = self.older.iter().copied().collect();
        let is_known = |location: &Location| {
            let in_log = matches!(location, Location::Log(n) if *n > self.head.base.version);
            needed.contains(location)
                || older.contains(location)
                || table.locations.contains_key(location)
                || in_log
        };
        let strays = there.iter().filter(|(location, _)| !is_known(location));
        let (mut count, mut bytes, mut first) = (0u64, 0u64, None);
        for (location, size) in strays {
            (count, bytes) = (count + 1, bytes + size);
            first.get_or_insert(*location);
        }
        if let Some(location) = first {
            let why = format!(
                "{count} objects of {bytes} bytes are in no version: a writer at work has put them, or one that died"
            );
            out.add(Finding::warning(
                "leftover object",
                format!("{} and others", location_name(&location)),
                why,
            ));
        }
        Ok(())
    }
}
