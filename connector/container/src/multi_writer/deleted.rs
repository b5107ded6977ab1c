//! Objects that other writers deleted while this writer changed them, and discarding staged changes.

use super::Settle;
use crate::chunk::range_set::RangeSet;
use crate::container::State;
use crate::{Container, ObjectId, Result};
use bytes::Bytes;
use h5lake_records::conversion::show;
use h5lake_records::extents_of;
use h5lake_records::keys;
use h5lake_records::record::{self, HeaderRecord, LinkRecord};

/// The letters of all keys that begin with an object's id.
const OWNED: [u8; 7] =
    [keys::HEADER, keys::LINK, keys::ATTRIBUTE, keys::BLOCK, keys::SEGMENT, keys::USAGE, keys::ORPHAN];

impl Container {
    /// Discards the staged changes of objects that other writers deleted. A writer that deletes an object cannot
    /// consider changes that are not committed yet.
    pub(super) fn discard_deleted(&self, s: &mut State) -> Result<()> {
        let headers: Vec<_> =
            s.remote.theirs.keys().filter(|k| k.first() == Some(&keys::HEADER)).cloned().collect();
        for key in headers {
            let before = s.remote.theirs.get(&key).and_then(|t| t.before.clone());
            let (Some(before), Some(id)) = (before, keys::id(&key)) else { continue };
            if self.ledger.committed(&key)?.is_none() {
                self.discard_object(s, id, &key, before)?;
            }
        }
        Ok(())
    }

    fn discard_object(&self, s: &mut State, id: u64, header: &[u8], before: Bytes) -> Result<()> {
        let (mut matters, mut is_half) = (false, false);
        // All steps that can fail, and the notes of conflicts, precede the first discard.
        for letter in OWNED {
            for (key, value) in self.ledger.staged(&keys::of(letter, id)) {
                matters |= match letter {
                    keys::LINK | keys::ATTRIBUTE | keys::BLOCK => value.is_some(),
                    keys::HEADER => self.differs(&before, value.as_ref())?,
                    _ => false,
                };
                is_half |=
                    s.remote.batch.moved.contains(&key) || self.is_linked_anew(s, &key, value.as_ref())?;
                self.ledger.base(&key)?;
            }
        }
        let links = self.new_links_to(s, id)?;
        if matters || !links.is_empty() {
            self.note_deleted_conflict(s, id, header, is_half);
        }
        for letter in OWNED {
            for (key, value) in self.ledger.staged(&keys::of(letter, id)) {
                if letter == keys::LINK {
                    // Links that this batch added to the group, or removed from it, no longer count.
                    self.uncount(s, &key, &value)?;
                }
                self.discard_change(s, &key)?;
            }
        }
        s.headers.pop(&id);
        s.lists.forget(id);
        s.remote.fixes.remove(&id);
        for (key, group) in links {
            // A link in the deleted object itself was discarded with it.
            if !self.ledger.is_staged(&key) {
                continue;
            }
            s.remote.fixes.entry(group).or_default().entries -= 1;
            self.discard_change(s, &key)?;
            s.lists.forget(group);
        }
        Ok(())
    }

    fn note_deleted_conflict(&self, s: &mut State, id: u64, header: &[u8], is_half: bool) {
        let (id, name) = self.remotely_removed_link(s, id).unwrap_or((id, String::new()));
        self.conflict(s, header, id, format!("{name}, which was deleted,"), Settle::Delete);
        if is_half {
            // The old place of an object that was moved here is lost.
            self.conflict_is_whole(s);
        }
    }

    /// Returns whether this writer changed more of a header than its times and a lower number of links.
    pub(super) fn differs(&self, before: &Bytes, ours: Option<&Bytes>) -> Result<bool> {
        let what = || "the header of a deleted object".to_owned();
        let Some(ours) = ours else { return Ok(false) };
        let before: HeaderRecord = record::decode(before.clone(), what)?;
        let ours: HeaderRecord = record::decode(ours.clone(), what)?;
        Ok(ours.link_count > before.link_count
            || ours.comment != before.comment
            || ours.dataset.map(|d| d.space) != before.dataset.map(|d| d.space))
    }

    fn uncount(&self, s: &mut State, key: &[u8], ours: &Option<Bytes>) -> Result<()> {
        let what = || "a link in a deleted group".to_owned();
        let base = self.ledger.base(key)?;
        for (value, count) in [(&base, 1), (ours, -1)] {
            if let Some(v) = value {
                let r: LinkRecord = record::decode(v.clone(), what)?;
                if let Some(id) = r.hard {
                    s.remote.fixes.entry(id).or_default().links += count;
                }
            }
        }
        Ok(())
    }

    /// Returns the new links of this batch to a deleted object, with their groups, and notes a conflict for each of
    /// them.
    fn new_links_to(&self, s: &mut State, id: u64) -> Result<Vec<(Bytes, u64)>> {
        let mut found = Vec::new();
        for key in self.staged_links_to(s, id)? {
            let Some(value) = self.ledger.get(&key)? else { continue };
            let r: LinkRecord = record::decode(value, || "a new link".into())?;
            let group = keys::id(&key).unwrap_or_default();
            let name = keys::name(&key, &r.name).to_vec();
            let what = format!(", link {},", show(&name));
            self.conflict(s, &keys::of(keys::HEADER, id), group, what, Settle::Delete);
            found.push((key, group));
        }
        Ok(found)
    }

    /// Discards all staged changes under a prefix.
    pub(super) fn discard_all(&self, s: &mut State, prefix: &[u8]) -> Result<()> {
        for (key, _) in self.ledger.staged(prefix) {
            self.discard_change(s, &key)?;
        }
        Ok(())
    }

    /// Discards the staged change of a key: frees the payloads that the change added, and retains the payloads that it
    /// freed.
    pub(super) fn discard_change(&self, s: &mut State, key: &[u8]) -> Result<()> {
        let base = self.ledger.base(key)?;
        let ours = if self.ledger.is_staged(key) { self.ledger.get(key)? } else { None };
        self.exchange(key, base, ours)?;
        self.ledger.unstage(key)?;
        let mut blocks = self.blocks.lock();
        blocks.supersede(key);
        blocks.set_touched(key, RangeSet::default());
        drop(blocks);
        if key.first() == Some(&keys::HEADER)
            && let Some(id) = keys::id(key)
        {
            s.headers.pop(&ObjectId(id).0);
        }
        Ok(())
    }

    /// Undoes the effect on payloads of staging `ours` in place of `base`.
    pub(super) fn exchange(&self, key: &[u8], base: Option<Bytes>, ours: Option<Bytes>) -> Result<()> {
        let list = |v: Option<Bytes>| v.map_or_else(|| Ok(Vec::new()), |v| extents_of(key, v));
        let (old, new) = (list(base)?, list(ours)?);
        for e in old.iter().filter(|e| !new.contains(e)) {
            self.ledger.keep_payload(e)?;
        }
        for e in new.iter().filter(|e| !old.contains(e)) {
            self.ledger.free_payload(e)?;
        }
        Ok(())
    }
}
