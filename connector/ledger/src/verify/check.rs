//! Walks once over everything that a container stores.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::walk::{Met, Pages, value_of};
use super::{
    CheckedExtents, Content, Counts, Finding, Findings, Item, Progress, Scan, Verifier, why_damaged,
};
use crate::address::{Address, Location};
use crate::audit::{Claims, Epoch, HitVersions, Versions, claimed_twice, place_name};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::file::free_space::run_of;
use crate::key::Key;
use crate::ledger::Ledger;
use crate::memtable::{Memtable, value_in};
use crate::page::Stored;
use crate::payload;
use crate::storage::Storage;
use crate::tags::Held;

/// The number of bytes of a payload that are read at once.
const STEP_BYTES: usize = 1 << 20;

/// The fields of a [`Verifier`] that a walk changes, and other values that it needs.
pub(super) struct CheckWalk<'a> {
    pub(super) ledger: &'a Ledger,
    /// The prefix of the keys of each branch's entries, and the space that the tag of its base retains.
    pub(super) bases: Vec<(Vec<u8>, Held)>,
    /// The sources that were checked, and whether each is unchanged since it was adopted.
    pub(super) sources: BTreeMap<u32, bool>,
    pub(super) storage: &'a dyn Storage,
    pub(super) content: &'a dyn Content,
    pub(super) progress: Progress<'a>,
    pub(super) findings: &'a mut Findings,
    pub(super) counts: &'a mut Counts,
    pub(super) claims: &'a mut Claims,
    pub(super) seen: &'a mut CheckedExtents,
}

impl CheckWalk<'_> {
    fn io(&self, e: &std::io::Error) -> Error {
        Error::io(self.storage.target(), "keeping a list in a temporary file", e)
    }

    fn claim(&mut self, place: &Address) -> Result<()> {
        let findings = &mut *self.findings;
        let place = allocation_of(place);
        let added = self.claims.add(&place, &mut |c| findings.add(claimed_twice(c)));
        added.map_err(|e| self.io(&e))
    }

    fn is_of_base(&self, key: &Bytes, e: &Extent) -> bool {
        self.bases.iter().any(|(prefix, held)| key.starts_with(prefix) && held.has_place(e.place()))
    }

    fn came(&mut self, bytes: u64) {
        self.counts.bytes += bytes;
        (self.progress)(self.counts.bytes);
    }

    /// Reads a payload and compares its checksums. Returns a description of the damaged blocks, if any.
    fn payload(&mut self, e: &Extent) -> Result<Option<String>> {
        self.counts.payloads += 1;
        let (mut at, mut bad) = (0u64, Vec::new());
        let mut buf = vec![0; STEP_BYTES.min(usize::try_from(e.len()).unwrap_or(STEP_BYTES))];
        while at < e.len() {
            let step = (e.len() - at).min(STEP_BYTES as u64);
            let part = &mut buf[..step as usize];
            if let Err(error) = payload::read(self.storage, e, at, part) {
                let Some(why) = why_damaged(&error) else { return Err(error) };
                bad.push(format!("from byte {at} of it on: {why}"));
                // One damaged block is enough to know that the value is lost.
                break;
            }
            self.came(step);
            at += step;
        }
        Ok(bad.pop())
    }

    /// Checks a payload that the value of a key refers to, unless it was checked before.
    fn extent(&mut self, e: &Extent, key: &Bytes, kind: &'static str, hit: HitVersions) -> Result<bool> {
        if e.is_empty() {
            return Ok(true);
        }
        if let Some((number, _)) = e.source() {
            return self.in_source(e, number, key, kind, hit);
        }
        // An extent that a branch shares with its base may also belong to the main line, or be retained by the base's
        // tag alone.
        if hit.is_newest() && !self.is_of_base(key, e) {
            self.claim(e.place())?;
        }
        if !self.seen.add(e) && !hit.is_newest() {
            return Ok(true);
        }
        let Some(why) = self.payload(e)? else { return Ok(true) };
        let found = Finding::damage(kind, place_name(e.place()), why).of(hit);
        self.findings.add(Finding { key: Some(key.clone()), ..found });
        Ok(false)
    }

    /// Checks an extent in a source. Checks once that the source is unchanged since it was adopted; then checks that
    /// the extent is within the source, and the extent's checksums, if it has any.
    fn in_source(
        &mut self,
        e: &Extent,
        number: u32,
        key: &Bytes,
        kind: &'static str,
        hit: HitVersions,
    ) -> Result<bool> {
        if kind == "payload" && !self.sources.contains_key(&number) {
            let checked = self.ledger.check_source(number);
            self.sources.insert(number, checked.is_ok());
            if let Err(error) = checked {
                let found = Finding::damage("source", place_name(e.place()), error.to_string()).of(hit);
                self.findings.add(Finding { key: Some(key.clone()), ..found });
            }
        }
        if kind == "payload" && self.sources.get(&number) != Some(&true) {
            return Ok(false);
        }
        if !self.seen.add(e) && !hit.is_newest() {
            return Ok(true);
        }
        self.counts.payloads += 1;
        let why = match self.checked_in_source(e, kind) {
            Ok(()) => return Ok(true),
            Err(error) => why_damaged(&error).unwrap_or_else(|| error.to_string()),
        };
        let found = Finding::damage(kind, place_name(e.place()), why).of(hit);
        self.findings.add(Finding { key: Some(key.clone()), ..found });
        Ok(false)
    }

    fn checked_in_source(&mut self, e: &Extent, kind: &str) -> Result<()> {
        if kind != "payload" {
            return Err(Error::corrupt(
                self.storage.target(),
                kind,
                "an extent in a source where none may be",
            ));
        }
        self.ledger.check_extent_in_source(e)?;
        let mut at = 0;
        let mut buf = vec![0; STEP_BYTES.min(usize::try_from(e.len()).unwrap_or(STEP_BYTES))];
        while e.has_checksums() && at < e.len() {
            let step = (e.len() - at).min(STEP_BYTES as u64);
            self.ledger.read_payload(e, at, &mut buf[..step as usize])?;
            self.came(step);
            at += step;
        }
        Ok(())
    }

    /// Checks the payloads of a value.
    fn value(&mut self, key: &Bytes, value: &Bytes, hit: HitVersions) -> Result<()> {
        self.counts.entries += u64::from(hit.is_newest());
        match self.content.payloads(key, value) {
            Ok(all) => all.iter().try_for_each(|e| self.extent(e, key, "payload", hit).map(drop)),
            Err(why) => {
                if self.seen.add(&(key, value)) || hit.is_newest() {
                    let found = Finding::damage("value", String::new(), why).of(hit);
                    self.findings.add(Finding { key: Some(key.clone()), ..found });
                }
                Ok(())
            }
        }
    }

    fn stored(&mut self, key: &Bytes, stored: &Stored, hit: HitVersions) -> Result<()> {
        match stored {
            Stored::Inline(value) => self.value(key, value, hit),
            Stored::Spilled(e) => {
                if self.extent(e, key, "value", hit)?
                    && let Ok(value) = value_of(self.storage, e)?
                {
                    self.value(key, &value, hit)?;
                }
                Ok(())
            }
        }
    }

    /// Checks the pages of a checkpoint. Entries with keys in `before` are in no version that can be opened; entries with keys in `log` are
    /// not in the newest version.
    pub(super) fn base(&mut self, epoch: &Epoch, before: &Memtable, log: &Memtable) -> Result<()> {
        let mut pages = Pages::new(self.storage, epoch.root, &[], None);
        while let Some(met) = pages.next()? {
            match met {
                Met::Page(p, length) => {
                    if !self.seen.add(&p) && !epoch.hit.is_newest() {
                        pages.pass_over();
                        continue;
                    }
                    if epoch.hit.is_newest() {
                        self.claim(&p.place)?;
                    }
                    self.counts.pages += 1;
                    self.came(length);
                }
                Met::Bad { at, why, from, to } => {
                    if !self.seen.add(&at) && !epoch.hit.is_newest() {
                        continue;
                    }
                    if epoch.hit.is_newest() {
                        self.claim(&at.place)?;
                    }
                    let found = Finding::damage("page", place_name(&at.place), why).of(epoch.hit);
                    self.findings.add(Finding { keys: Some((from, to)), ..found });
                }
                Met::BadEntry(key, why) => {
                    if !self.seen.add(&(&key, &why)) && !epoch.hit.is_newest() {
                        continue;
                    }
                    let found = Finding::damage("entry of a page", String::new(), why).of(epoch.hit);
                    self.findings.add(Finding { key: Some(key), ..found });
                }
                Met::Entry(key, stored) => {
                    let hit = if value_in(log, &key).is_none() { epoch.hit } else { HitVersions::OlderOnly };
                    if hit.is_newest() || value_in(before, &key).is_none() {
                        self.stored(&key, &stored, hit)?;
                    } else {
                        // A version that a tag retains may need this entry.
                        pages.way().for_each(|page| self.seen.forget(page));
                    }
                    if epoch.hit.is_newest()
                        && !hit.is_newest()
                        && let Stored::Spilled(e) = &stored
                    {
                        // The page is in use, and the extents that it names are retained with it.
                        self.claim(e.place())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks a checkpoint and the records after it. `log` has the changes of the newest version since the checkpoint.
    fn epoch(&mut self, epoch: &Epoch, log: &Memtable) -> Result<()> {
        let mut before = Memtable::new();
        // The changes since the last version that can be opened. No version needs a value that a later record replaces
        // before the next such version.
        let mut since = Memtable::new();
        let mut known: BTreeMap<Key<'static>, Option<Bytes>> = Memtable::new();
        let mut whole = epoch.base_is_whole;
        self.counts.versions += u64::from(whole);
        for (record, place, is_whole) in &epoch.records {
            self.counts.records += 1;
            self.counts.versions += u64::from(*is_whole);
            self.came(record.length);
            let bad = |why: &str| Finding::damage("record", place_name(place), why).of(epoch.hit);
            let changes = match record.changes() {
                Ok(changes) => changes,
                Err(why) => {
                    self.findings.add(bad(why));
                    break;
                }
            };
            for (key, stored) in changes {
                let last = value_in(&known, &key).and_then(Option::as_ref);
                match stored.over(last) {
                    Ok(value) => {
                        if !whole {
                            before.insert(key.clone().into(), value.clone());
                        } else {
                            since.insert(key.clone().into(), value.clone());
                        }
                        known.insert(key.into(), value);
                    }
                    Err(why) => self.findings.add(bad(why)),
                }
            }
            if whole && *is_whole {
                let newest = if epoch.hit.is_newest() { Some(log) } else { None };
                self.replaced_layer(&std::mem::take(&mut since), newest)?;
            }
            if !whole && *is_whole {
                whole = true;
                if !epoch.hit.is_newest() {
                    self.layer(&before, HitVersions::OlderOnly)?;
                }
            }
        }
        if !whole && !epoch.hit.is_newest() {
            // No version of the epoch can be opened any more.
            return Ok(());
        }
        self.base(epoch, if whole { &before } else { log }, log)?;
        if epoch.hit.is_newest() { self.layer(log, HitVersions::Newest) } else { Ok(()) }
    }

    /// Checks the values of an older version, except those that the newest version's log has, too.
    fn replaced_layer(&mut self, layer: &Memtable, newest: Option<&Memtable>) -> Result<()> {
        for (key, value) in layer {
            let Some(there) = value else { continue };
            if newest.is_none_or(|log| log.get(key) != Some(value)) {
                self.value(&key.to_bytes(), there, HitVersions::OlderOnly)?;
            }
        }
        Ok(())
    }

    pub(super) fn layer(&mut self, layer: &Memtable, hit: HitVersions) -> Result<()> {
        for (key, value) in layer {
            if let Some(value) = value {
                self.value(&key.to_bytes(), value, hit)?;
            }
        }
        Ok(())
    }
}

/// Returns all bytes that are allocated for the content of an address.
fn allocation_of(place: &Address) -> Address {
    match place.location {
        Location::File => {
            let (offset, length) = run_of(place);
            Address::file(offset, length)
        }
        _ => *place,
    }
}

impl Verifier {
    /// Checks superblocks or manifests, records, pages, payloads, and the space that all of them use.
    ///
    /// # Errors
    /// Read errors, except damage; `Gone` if a writer overtook a check without pins.
    pub fn check(&mut self, content: &dyn Content, versions: Versions, progress: Progress<'_>) -> Result<()> {
        let Self { ledger, findings, counts, claims, seen, salvaged, log, root } = self;
        let storage = ledger.storage();
        let ledger = &*ledger;
        let (bases, sources) = (ledger.branch_bases(), BTreeMap::new());
        let mut walk =
            CheckWalk { ledger, bases, sources, storage, content, progress, findings, counts, claims, seen };
        if *salvaged {
            // Other structures that the superblock or manifest leads to are not known to belong to this version.
            let epoch =
                Epoch { root: *root, base_is_whole: true, records: Vec::new(), hit: HitVersions::Newest };
            return walk.epoch(&epoch, log);
        }
        let Some(mut audit) = storage.audit() else { return Ok(()) };
        let epochs = audit.begin(versions, walk.claims, walk.findings)?;
        for n in 0..epochs {
            let Some(epoch) = audit.epoch(n, walk.findings)? else { break };
            if n == 0 {
                for (_, place, _) in &epoch.records {
                    walk.claim(place)?;
                }
                let newest = Epoch { root: *root, ..epoch };
                walk.epoch(&newest, log)?;
                continue;
            }
            let found = walk.findings.list.len();
            walk.epoch(&epoch, &Memtable::new())?;
            if walk.findings.list.len() > found && audit.is_overtaken(n)? {
                walk.findings.take_back(found);
                let why = "a writer has used their space again while they were read";
                walk.findings.add(Finding::warning("older versions", "not checked", why));
                break;
            }
        }
        let CheckWalk { claims, findings, .. } = walk;
        audit.unclaimed(claims, &ledger.readable_tags(), findings)
    }

    /// Returns the entries of the newest version in a range of keys.
    pub fn scan<'a>(&'a self, lower: &'a [u8], upper: Option<&'a [u8]>) -> Scan<'a> {
        Scan::new(self.ledger.storage(), self.root, &self.log, lower, upper)
    }

    /// Returns the value under a key of the newest version.
    ///
    /// # Errors
    /// Read errors. A damaged value is returned as `None`.
    pub fn value(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let mut end = key.to_vec();
        end.push(0);
        match self.scan(key, Some(&end)).step()? {
            Some(Item::Entry(_, value)) => Ok(Some(value)),
            _ => Ok(None),
        }
    }
}
