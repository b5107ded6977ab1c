//! The journal of a copy that is being made in a store: which packs are there, and what they hold.
//!
//! A part is put when its packs are there, and the header before the first part. So a short copy has no journal.

use std::collections::{HashMap, VecDeque};

use object_stores::{Key, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use crate::address::{Address, Location};
use crate::codec::hex;
use crate::error::{Error, Result};
use crate::journal::{JournalHeader, PartEntries, encode_part};
use crate::objects::ObjectStorage;
use crate::objects::manifest::{Names, store_error};
use crate::objects::writer::ObjectWriter;
use crate::storage::StorageJournal;

/// Where under a container's id the parts are.
const PARTS: &str = "copy";

/// Where the headers of the journals of a name are.
pub(super) fn headers(head: &Key) -> String {
    format!("{head}.lake/copy/")
}

pub(super) fn header_key(head: &Key, id: &[u8; 16], target: &str) -> Result<Key> {
    Key::new(format!("{}{}", headers(head), hex(id))).map_err(|e| Error::invalid(target, e.to_string()))
}

/// What the keys of the parts of a container that is being made begin with.
pub(super) fn parts(names: &Names) -> String {
    format!("{}/{PARTS}/", names.lake)
}

/// A part whose packs are on their way.
#[derive(Debug)]
struct WaitingPart {
    /// How many packs had been sent when it was complete.
    sent: u64,
    number: u64,
    packs: Vec<Address>,
    bytes: Vec<u8>,
    /// It was put, and may be in the store without an answer.
    is_tried: bool,
}

/// A pack of an earlier try.
#[derive(Debug)]
struct EarlierPack {
    length: u64,
    /// Where the last payload that was taken over ends.
    taken: u64,
}

/// The journal of a copy that a writer makes.
#[derive(Debug)]
pub(crate) struct Journal {
    header: JournalHeader,
    /// So many empty versions keep others from going on with the copy. Its own commit comes behind them.
    empty: u64,
    /// The header is in the store, or may be.
    is_begun: bool,
    next: u64,
    waiting: VecDeque<WaitingPart>,
    /// Packs that no part has yet.
    packs: Vec<Address>,
    earlier: HashMap<[u8; 16], EarlierPack>,
    /// Those of which nothing was taken over.
    useless: Vec<Location>,
}

impl Journal {
    pub(super) fn new(header: JournalHeader) -> Self {
        let (waiting, packs, earlier) = (VecDeque::new(), Vec::new(), HashMap::new());
        Self { header, empty: 0, is_begun: false, next: 0, waiting, packs, earlier, useless: Vec::new() }
    }

    /// The same of a copy that was taken over, by putting so many empty versions.
    pub(super) fn after_empty(self, versions: u64) -> Self {
        Self { empty: versions, ..self }
    }

    /// Whether something in the store leads to the copy.
    fn is_known(&self) -> bool {
        self.is_begun || self.empty > 0
    }

    /// Goes on behind parts with numbers below `next`, which name these packs.
    pub(super) fn behind(header: JournalHeader, next: u64, packs: &HashMap<[u8; 16], u64>) -> Self {
        let earlier =
            packs.iter().map(|(id, length)| (*id, EarlierPack { length: *length, taken: 0 })).collect();
        Self { is_begun: true, next, earlier, ..Self::new(header) }
    }

    /// A pack is on its way.
    pub(super) fn note_pack(&mut self, location: Location, length: u64) {
        self.packs.push(Address { location, offset: 0, length });
    }

    fn adopt(&mut self, place: &Address) -> bool {
        let Location::Pack(id) = place.location else { return false };
        let Some(pack) = self.earlier.get_mut(&id) else { return false };
        let Some(end) = place.offset.checked_add(place.length) else { return false };
        // Payloads of a pack follow each other as their entries do, so none is taken over twice.
        let is_there = place.offset >= pack.taken && end <= pack.length;
        if is_there {
            pack.taken = end;
        }
        is_there
    }

    /// Puts the parts whose packs are there.
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
                // Whoever finds it may go on with the copy, also if no answer comes.
                self.is_begun = true;
                put(&header_key(&names.head, &self.header.copy, target)?, self.header.encode())?;
            }
            part.is_tried = true;
            put(&names.key(&format!("{PARTS}/{:016x}", part.number), target)?, part.bytes.clone())?;
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// From now on a record may come that names all packs.
    pub(super) fn note_commit(&mut self) {
        self.waiting.clear();
        self.packs.clear();
    }

    /// Packs that nothing in the store names.
    fn unnamed(&self) -> impl Iterator<Item = &Address> {
        self.waiting.iter().filter(|part| !part.is_tried).flat_map(|part| &part.packs).chain(&self.packs)
    }
}

impl ObjectWriter {
    pub(super) fn adopt_payload(&mut self, place: &Address) -> bool {
        let is_there = self.journal.as_mut().is_some_and(|journal| journal.adopt(place));
        if is_there {
            self.gain(place.location, place.length);
        }
        is_there
    }

    pub(super) fn end_adoption(&mut self) {
        if let Some(journal) = &mut self.journal {
            let useless = journal.earlier.drain().filter(|(_, pack)| pack.taken == 0);
            journal.useless.extend(useless.map(|(id, _)| Location::Pack(id)));
        }
    }

    pub(super) fn add_part(&mut self, entries: &PartEntries) -> Result<()> {
        self.send_pack()?;
        let sent = self.payloads.uploads.started();
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
        let arrived = self.payloads.uploads.arrived();
        match &mut self.journal {
            Some(journal) => journal.put_parts(self.store.as_ref(), &self.names, arrived, &self.target),
            None => Ok(()),
        }
    }

    /// The copy is given up: what is there stays for the next try, if it is worth that.
    pub(super) fn keep_journal(&mut self) -> bool {
        if self.journal.is_none() {
            return false;
        }
        self.payloads.uploads.give_up();
        if let Err(e) = self.put_parts() {
            tracing::debug!(error = %e, "the journal of a copy has not all that arrived");
        }
        // Empty versions keep whoever made it before from committing what was deleted since.
        let Some(journal) = self.journal.take().filter(Journal::is_known) else { return false };
        let keys = journal.unnamed().filter_map(|p| self.names.object_key(&p.location, &self.target).ok());
        let keys: Vec<Key> = keys.collect();
        if !keys.is_empty() {
            let _garbage_at_worst = self.store.delete_many(&keys);
        }
        if let Err(e) = self.let_go_of_new() {
            tracing::debug!(error = %e, "the lease of a copy was not given back");
        }
        true
    }

    /// The copy is there: deletes the journal, the empty versions that kept others from going on with it, and what an earlier try
    /// put in vain.
    pub(super) fn end_journal(&mut self) {
        let Some(journal) = self.journal.take().filter(Journal::is_known) else { return };
        if let Err(e) = self.delete_journal(&journal) {
            tracing::warn!(error = %e, "the journal of a copy was not deleted");
        }
    }

    fn delete_journal(&self, journal: &Journal) -> Result<()> {
        let fail = |e: object_stores::Error| store_error(&self.target, &e);
        let parts = self.store.list(&parts(&self.names), None).map(|meta| meta.map(|meta| meta.key));
        let mut keys: Vec<Key> = parts.collect::<object_stores::Result<_>>().map_err(fail)?;
        // Not all up to the base: where the copy's own commit was checkpointed, its log object may hold payloads.
        let empty = (1..=journal.empty).map(Location::Log);
        for location in empty.chain(journal.useless.iter().copied()) {
            keys.push(self.names.object_key(&location, &self.target)?);
        }
        if !keys.is_empty() {
            self.store.delete_many(&keys).map_err(fail)?;
        }
        self.store.delete(&header_key(&self.names.head, &journal.header.copy, &self.target)?).map_err(fail)
    }
}

impl StorageJournal for ObjectStorage {
    fn has_journal(&self) -> bool {
        self.with_writer(|w| Ok(w.journal.is_some())).unwrap_or(false)
    }

    fn adopt_payload(&self, place: &Address) -> Result<bool> {
        self.with_writer(|w| Ok(w.adopt_payload(place)))
    }

    fn end_adoption(&self) -> Result<()> {
        self.with_writer(|w| {
            w.end_adoption();
            Ok(())
        })
    }

    fn proves_by_reading(&self) -> bool {
        !self.store.capabilities().remote
    }

    fn add_part(&self, entries: PartEntries) -> Result<()> {
        self.with_writer(|w| w.add_part(&entries))
    }

    fn keep_journal(&self) -> bool {
        self.with_writer(|w| Ok(w.keep_journal())).unwrap_or(false)
    }

    fn end_journal(&self) {
        let _a_reader_has_none = self.with_writer(|w| {
            w.end_journal();
            Ok(())
        });
    }
}
