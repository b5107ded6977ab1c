//! The journal of a copy in progress in a store: the objects that are stored, and their content.
//!
//! A part is put after its objects are stored, and the header before the first part. So a short copy has no journal.

use std::collections::{HashMap, VecDeque};

use object_stores::{Key, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::ObjectStorage;
use super::committer::delete_objects;
use super::names::Names;
use super::writer::Writer;
use crate::address::Address;
use crate::core::ids::ObjectId;
use crate::error::{Result, store_error};
use crate::journal::{JournalHeader, PartEntries, encode_part};
use crate::storage::StorageJournal;

/// Returns the prefix of the keys of the parts of a copy's journal.
pub(super) fn parts_prefix(names: &Names) -> String {
    format!("{}/copy/part-", names.lake)
}

/// Returns the prefix of the keys of all objects of a copy's journal.
pub(super) fn journal_prefix(names: &Names) -> String {
    format!("{}/copy/", names.lake)
}

pub(super) fn header_key(names: &Names, target: &str) -> Result<Key> {
    names.key("copy/header", target)
}

fn part_key(names: &Names, number: u64, target: &str) -> Result<Key> {
    names.key(&format!("copy/part-{number:016x}"), target)
}

/// A part that waits for the uploads of its objects.
#[derive(Debug)]
struct WaitingPart {
    /// The number of objects that were being uploaded, or were uploaded before, when the part was complete.
    sent: u64,
    number: u64,
    packs: Vec<Address>,
    bytes: Vec<u8>,
    /// True if the part was put, even if the answer was lost.
    is_tried: bool,
}

/// An object of an earlier attempt.
#[derive(Debug)]
struct EarlierPack {
    length: u64,
    /// The end of the last payload that was adopted.
    taken: u64,
}

/// The journal of the copy that a writer makes.
#[derive(Debug)]
pub(super) struct Journal {
    header: JournalHeader,
    /// True if the header is in the store, or may be.
    is_begun: bool,
    next: u64,
    waiting: VecDeque<WaitingPart>,
    /// Objects that no part contains yet.
    packs: Vec<Address>,
    earlier: HashMap<ObjectId, EarlierPack>,
    /// Objects of an earlier attempt from which nothing was adopted.
    useless: Vec<ObjectId>,
}

impl Journal {
    pub(super) fn new(header: JournalHeader) -> Self {
        Self {
            header,
            is_begun: false,
            next: 0,
            waiting: VecDeque::new(),
            packs: Vec::new(),
            earlier: HashMap::new(),
            useless: Vec::new(),
        }
    }

    /// Continues a journal after the parts with numbers below `next`, which name these objects.
    pub(super) fn behind(header: JournalHeader, next: u64, packs: &HashMap<ObjectId, u64>) -> Self {
        let earlier =
            packs.iter().map(|(id, length)| (*id, EarlierPack { length: *length, taken: 0 })).collect();
        Self { is_begun: true, next, earlier, ..Self::new(header) }
    }

    /// Adds an object that is being uploaded.
    pub(super) fn note_pack(&mut self, object: ObjectId, length: u64) {
        self.packs.push(Address { location: object.pack(), offset: 0, length });
    }

    fn adopt(&mut self, place: &Address) -> Option<ObjectId> {
        let object = ObjectId::of(place)?;
        let pack = self.earlier.get_mut(&object)?;
        let end = place.offset.checked_add(place.length)?;
        // Payloads of one object are adopted in the order of their offsets, so this prevents a second adoption.
        if place.offset < pack.taken || end > pack.length {
            return None;
        }
        pack.taken = end;
        Some(object)
    }

    /// Puts the parts for which all objects are stored.
    fn put_parts(
        &mut self,
        store: &dyn ObjectStore,
        names: &Names,
        arrived: u64,
        target: &str,
    ) -> Result<()> {
        let put = |key: &Key, bytes: Vec<u8>| {
            let put = store.put(key, PutPayload::from(bytes), PutMode::Overwrite);
            put.map(drop).map_err(|e| store_error(target, &e))
        };
        while let Some(part) = self.waiting.front_mut().filter(|part| part.sent <= arrived) {
            if !self.is_begun {
                // An attempt that finds the header may continue the copy, even if the answer to this put is lost.
                self.is_begun = true;
                put(&header_key(names, target)?, self.header.encode())?;
            }
            part.is_tried = true;
            put(&part_key(names, part.number, target)?, part.bytes.clone())?;
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Discards the pending parts, because from now on a manifest may name all objects.
    pub(super) fn note_commit(&mut self) {
        self.waiting.clear();
        self.packs.clear();
    }

    /// Returns the objects that no object in the store names.
    fn unnamed(&self) -> Vec<ObjectId> {
        let parts = self.waiting.iter().filter(|part| !part.is_tried).flat_map(|part| &part.packs);
        parts.chain(&self.packs).filter_map(ObjectId::of).collect()
    }
}

impl Writer {
    fn adopt_payload(&mut self, place: &Address) -> Result<bool> {
        let object = self.journal.as_mut().and_then(|journal| journal.adopt(place));
        if let Some(object) = object {
            // A commit that names objects requires a listed session, even if an earlier session has put the objects.
            self.ensure_listed()?;
            self.gain(object, place.length);
        }
        Ok(object.is_some())
    }

    fn end_adoption(&mut self) {
        if let Some(journal) = &mut self.journal {
            let useless = journal.earlier.drain().filter(|(_, pack)| pack.taken == 0);
            journal.useless.extend(useless.map(|(object, _)| object));
        }
    }

    fn add_part(&mut self, entries: &PartEntries) -> Result<()> {
        self.send_pack()?;
        let (sent, _) = self.uploads();
        if let Some(journal) = &mut self.journal {
            let (number, packs) = (journal.next, std::mem::take(&mut journal.packs));
            let bytes = encode_part(&journal.header.copy, number, &packs, entries);
            journal.next += 1;
            journal.waiting.push_back(WaitingPart { sent, number, packs, bytes, is_tried: false });
        }
        self.harvest()?;
        self.put_parts()
    }

    fn put_parts(&mut self) -> Result<()> {
        let (_, arrived) = self.uploads();
        let fetcher = &self.io.fetcher;
        match &mut self.journal {
            Some(journal) => {
                journal.put_parts(fetcher.store.as_ref(), &fetcher.names, arrived, &fetcher.target)
            }
            None => Ok(()),
        }
    }

    /// Abandons the copy. Returns true if its objects and its journal remain for the next attempt.
    pub(super) fn keep_journal(&mut self) -> bool {
        if self.journal.is_none() {
            return false;
        }
        self.give_up_uploads();
        if let Err(e) = self.put_parts() {
            tracing::debug!(error = %e, "the journal of a copy has not all that arrived");
        }
        let Some(journal) = self.journal.take().filter(|journal| journal.is_begun) else { return false };
        delete_objects(&self.io.fetcher, &journal.unnamed());
        // The next attempt may need the objects that the journal names, so this writer must not delete them.
        self.staged = Default::default();
        let _the_next_try_deletes_pages = self.io.give_up();
        if let Some(Err(e)) = self.lease.take().map(crate::register::Lease::release) {
            tracing::debug!(error = %e, "the lease of a copy was not given back");
        }
        true
    }

    /// Deletes the journal of a complete copy, and the objects of an earlier attempt that the copy does not use.
    pub(super) fn end_journal(&mut self) {
        let Some(journal) = self.journal.take().filter(|journal| journal.is_begun) else { return };
        if let Err(e) = delete_journal(self.io.fetcher.store.as_ref(), &self.io.fetcher.names) {
            // A vacuum will delete the remaining objects.
            tracing::warn!(error = %e, "the journal of a copy was not deleted");
        }
        delete_objects(&self.io.fetcher, &journal.useless);
    }
}

/// Deletes the journal of a copy that is complete.
pub(super) fn delete_journal(store: &dyn ObjectStore, names: &Names) -> object_stores::Result<()> {
    let keys = store.list(&journal_prefix(names), None).map(|meta| meta.map(|meta| meta.key));
    let keys: Vec<Key> = keys.collect::<object_stores::Result<_>>()?;
    if keys.is_empty() { Ok(()) } else { store.delete_many(&keys) }
}

impl StorageJournal for ObjectStorage {
    fn has_journal(&self) -> bool {
        self.of_writer(|w| w.journal.is_some())
    }

    fn adopt_payload(&self, place: &Address) -> Result<bool> {
        self.with_writer(|w| w.adopt_payload(place))
    }

    fn end_adoption(&self) -> Result<()> {
        self.with_writer(|w| {
            w.end_adoption();
            Ok(())
        })
    }

    fn add_part(&self, entries: PartEntries) -> Result<()> {
        self.with_writer(|w| w.add_part(&entries))
    }
}
