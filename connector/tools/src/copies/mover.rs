//! Copies entries with their payloads from one ledger to another.
//!
//! Entries are copied key by key, so that ids and references stay valid. Payloads are read, which verifies their
//! checksums, and written anew. Memory: two pages of entries, and twice [`BYTES_PER_READ`], or the largest payload. For
//! a target in a store, all its entries, without payloads, until its one commit.

use super::Copied;
use bytes::Bytes;
use h5lake_ledger::{Differences, EarlierTry, EntryDifference, Extent, Ledger, Source};
use h5lake_ledger::{ENTRIES_PER_SCAN, each_entry};
use h5lake_records::{EntryValue, ExtentSet, PayloadReference, distinct, extents_of, keys};
use h5lake_records::{Error, Result};
use std::collections::BTreeMap;

/// Maximum bytes of payloads that are read at once.
const BYTES_PER_READ: u64 = 32 << 20;

/// A part of a payload that the target has already, in the payload `present` from `present_skip` on.
pub(super) struct Kept {
    pub(super) wanted: Extent,
    pub(super) skip: u64,
    pub(super) length: u64,
    pub(super) present: Bytes,
    pub(super) present_skip: u64,
}

impl Kept {
    /// Returns a payload of the target itself.
    fn whole(extent: &Extent) -> Self {
        let (wanted, length, present) = (extent.clone(), extent.len(), extent.to_bytes());
        Self { wanted, skip: 0, length, present, present_skip: 0 }
    }

    /// Returns where the target has a part of a payload: in which payload, and from which byte on.
    fn find(all: &[Self], extent: &Extent, skip: u64, length: u64) -> Option<(Bytes, u64)> {
        let has = |kept: &&Self| {
            kept.wanted == *extent && kept.skip <= skip && skip - kept.skip + length <= kept.length
        };
        all.iter().find(has).map(|kept| (kept.present.clone(), kept.present_skip + (skip - kept.skip)))
    }
}

/// Returns the parts of payloads that a copy of a value needs. Data in a source is not copied.
fn copied_parts(value: &EntryValue) -> Result<Vec<PayloadReference>> {
    let mut all = value.references()?;
    all.retain(|part| !part.extent.is_in_source());
    Ok(all)
}

/// Returns the parts of a value's payloads that a copy of the value has: part by part, because a copy retains their
/// order, positions and lengths. Returns nothing if the value is not a copy.
pub(super) fn kept_of_copy(key: &[u8], source: &Bytes, copy: &Bytes) -> Result<Vec<Kept>> {
    let parts = |value: &Bytes| EntryValue::decode(key, value).and_then(|value| copied_parts(&value));
    let (source, copy) = (parts(source)?, parts(copy)?);
    let shape = |parts: &[PayloadReference]| {
        parts.iter().map(|part| (part.index, part.offset, part.length)).collect::<Vec<_>>()
    };
    if shape(&source) != shape(&copy) {
        return Ok(Vec::new());
    }
    let pairs = source.into_iter().zip(copy);
    Ok(pairs
        .map(|(of, with)| Kept {
            wanted: of.extent,
            skip: of.skip,
            length: of.length,
            present: with.extent.to_bytes(),
            present_skip: with.skip,
        })
        .collect())
}

/// An entry that is put after its payloads are read.
struct Pending {
    key: Bytes,
    value: EntryValue,
    parts: Vec<PayloadReference>,
    /// Payloads that the target has under this key.
    had: Vec<Extent>,
}

impl Pending {
    fn new(key: Bytes, value: Bytes, had: Vec<Extent>, kept: &[Kept]) -> Result<Self> {
        let mut decoded = EntryValue::decode(&key, &value)?;
        let (mut parts, mut is_changed) = (Vec::new(), false);
        for part in copied_parts(&decoded)? {
            match Kept::find(kept, &part.extent, part.skip, part.length) {
                Some((present, skip)) if part.is(&present, skip) => (),
                Some((present, skip)) => {
                    decoded.set(part.index, present, skip);
                    is_changed = true;
                }
                None => parts.push(part),
            }
        }
        // Values without payloads to copy are copied byte by byte.
        let value = if parts.is_empty() && !is_changed { EntryValue::Other(value) } else { decoded };
        Ok(Self { key, value, parts, had })
    }

    /// Returns the bytes of its payloads.
    fn bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.length))
    }

    /// Returns whether its payloads are read together with those of other entries. The recorded lengths are not
    /// trusted.
    fn is_small(&self) -> bool {
        self.bytes() <= BYTES_PER_READ
    }
}

/// Copies entries from one ledger to another. Payloads are read many at a time, which takes one round trip in a store.
pub(super) struct Mover<'a> {
    from: &'a Ledger,
    to: &'a Ledger,
    pub(super) done: Copied,
    pending: Vec<Pending>,
    /// Bytes of payloads that the pending entries need.
    pending_bytes: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Mover<'a> {
    pub(super) fn new(
        from: &'a Ledger,
        to: &'a Ledger,
        done: Copied,
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        Self { from, to, done, pending: Vec::new(), pending_bytes: 0, progress }
    }

    /// Puts a value with its payloads, except those in `kept`, in place of the target's payloads `had` under the key.
    fn put(&mut self, key: Bytes, value: Bytes, had: Vec<Extent>, kept: &[Kept]) -> Result<()> {
        let value = if key.first() == Some(&keys::SOURCE) { self.source(&value)? } else { value };
        let entry = Pending::new(key, value, had, kept)?;
        self.pending_bytes = self.pending_bytes.saturating_add(entry.bytes());
        self.pending.push(entry);
        if self.pending_bytes >= BYTES_PER_READ || self.pending.len() >= ENTRIES_PER_SCAN {
            self.put_pending()?;
        }
        Ok(())
    }

    /// Adapts the entry of a source to the location of the target.
    fn source(&self, value: &Bytes) -> Result<Bytes> {
        let (was, is) = (self.from.folder(), self.to.folder());
        let source = Source::decode(value).and_then(|source| source.seen_from(was.as_deref(), is.as_deref()));
        Ok(source.map_err(|why| Error::corrupt(format!("a source: {why}")))?.encode().into())
    }

    /// Copies the payloads of the pending entries, and puts the entries.
    fn put_pending(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let parts = pending.iter().filter(|entry| entry.is_small()).flat_map(|entry| &entry.parts);
        let wanted = parts.map(PayloadReference::read);
        let mut read = self.from.read_payloads(wanted.collect())?.into_iter();
        for mut entry in pending {
            let (is_small, moved) = (entry.is_small(), entry.bytes());
            for part in std::mem::take(&mut entry.parts) {
                let copy = match is_small {
                    true => {
                        let bytes = read.next().filter(|bytes| bytes.len() as u64 == part.length);
                        self.to
                            .write_payload(&bytes.ok_or_else(|| Error::corrupt("a payload was not read"))?)?
                    }
                    false => self.to.write_payload(&self.alone(&part)?)?,
                };
                self.done.bytes += part.length;
                (self.progress)(self.done.bytes + self.done.continued);
                entry.value.set(part.index, copy.to_bytes(), 0);
            }
            self.done.entries += 1;
            let value = entry.value.encode();
            self.to.put(&entry.key, value.clone())?;
            if moved > 0 {
                self.to.note_copied(&entry.key, &value, moved)?;
            }
            self.free(&entry.key, &entry.had)?;
        }
        Ok(())
    }

    /// Reads a single part. Its recorded length is not trusted, so the memory for it is allocated first.
    fn alone(&self, part: &PayloadReference) -> Result<Vec<u8>> {
        let mut bytes = h5lake_records::memory::zeros(usize::try_from(part.length).unwrap_or(usize::MAX))?;
        self.from.read_payload(&part.extent, part.skip, &mut bytes)?;
        Ok(bytes)
    }

    /// Frees the payloads that the target had for an entry, except those that the entry still refers to.
    fn free(&mut self, key: &[u8], had: &[Extent]) -> Result<()> {
        let has = match self.to.get(key)? {
            Some(value) => extents_of(key, value)?,
            None => Vec::new(),
        };
        let has = ExtentSet::of(&has);
        had.iter()
            .filter(|extent| !has.contains(extent))
            .try_for_each(|extent| Ok(self.to.free_payload(extent)?))
    }

    /// Deletes an entry of the target, and frees its payloads.
    fn delete(&mut self, key: &Bytes, had: Vec<Extent>) -> Result<()> {
        self.to.delete(key)?;
        self.done.entries += 1;
        self.free(key, &had)
    }

    /// Copies all entries to a target without entries, except payloads that an earlier attempt had written.
    pub(super) fn all(&mut self, earlier: EarlierTry) -> Result<()> {
        let mut earlier = match earlier {
            EarlierTry::None => BTreeMap::new(),
            EarlierTry::Continues(values) => values,
            EarlierTry::Discarded(why) => {
                self.done.begun_anew = Some(why);
                BTreeMap::new()
            }
        };
        each_entry::<Error>(self.from, b"", None, |key, value| {
            if is_of_container(&key) {
                return Ok(());
            }
            let kept = match earlier.remove(&key) {
                Some(copy) => self.adopt(&key, &value, &copy)?,
                None => Vec::new(),
            };
            self.put(key, value, Vec::new(), &kept)
        })?;
        self.put_pending()
    }

    /// Returns the payloads of a value that an earlier attempt had written, as far as they equal what would be written
    /// now.
    fn adopt(&mut self, key: &[u8], value: &Bytes, copy: &Bytes) -> Result<Vec<Kept>> {
        // The journal is not trusted.
        let mut kept = kept_of_copy(key, value, copy).unwrap_or_default();
        let mut error = None;
        kept.retain(|part| {
            let adopted = self.adopt_part(part).unwrap_or_else(|e| {
                error = Some(e);
                false
            });
            self.done.continued += if adopted { part.length } else { 0 };
            adopted
        });
        (self.progress)(self.done.bytes + self.done.continued);
        error.map_or(Ok(kept), Err)
    }

    fn adopt_part(&self, part: &Kept) -> Result<bool> {
        let Ok((present, _)) = Extent::decode(&part.present) else { return Ok(false) };
        let is_whole = part.skip == 0 && part.length == part.wanted.len();
        // A copy has a separate payload for each part.
        let fits = part.present_skip == 0 && present.len() == part.length;
        Ok(fits && (!is_whole || part.wanted.may_equal(&present)) && self.to.adopt_payload(&present)?)
    }

    /// Makes the target, another version of the same container, equal to the source; the counter of ids continues.
    pub(super) fn restore(&mut self) -> Result<()> {
        let (from, to) = (self.from, self.to);
        let mut walk = from.differences(to, b"")?;
        while let Some(EntryDifference { key, one: new, other: old }) = next_of_version(&mut walk)? {
            let had = old.map_or_else(|| Ok(Vec::new()), |old| unique(&key, old))?;
            match new {
                _ if key == keys::NEXT_OBJECT => (),
                Some(new) => {
                    let mut kept: Vec<Kept> = had.iter().map(Kept::whole).collect();
                    let has = ExtentSet::of(&had);
                    for extent in unique(&key, new.clone())? {
                        // A payload that only old versions use is used again where it is.
                        if !has.contains(&extent) && to.revive_payload(&extent)? {
                            kept.push(Kept::whole(&extent));
                        }
                    }
                    self.put(key, new, had, &kept)?;
                }
                None => self.delete(&key, had)?,
            }
        }
        self.put_pending()
    }

    /// Makes the target, which is a copy of `shown`, a copy of the source, which is another version of the same
    /// container.
    pub(super) fn update(&mut self, shown: &Ledger) -> Result<()> {
        let (from, to) = (self.from, self.to);
        let mut walk = from.differences(shown, b"")?;
        while let Some(EntryDifference { key, one: new, other: old }) = next_of_version(&mut walk)? {
            let present = to.get(&key)?;
            let had = present.clone().map_or_else(|| Ok(Vec::new()), |value| unique(&key, value))?;
            match (new, old, present) {
                // Ids are not reused, even if the source is an older version than the one that the target shows.
                (new, _, Some(present)) if key == keys::NEXT_OBJECT && new.as_ref() <= Some(&present) => (),
                (Some(new), Some(old), Some(present)) => {
                    let kept = kept_of_copy(&key, &old, &present)?;
                    self.put(key, new, had, &kept)?;
                }
                (Some(new), ..) => self.put(key, new, had, &[])?,
                (None, ..) => self.delete(&key, had)?,
            }
        }
        self.put_pending()
    }
}

/// Returns whether an entry belongs to a container as a whole, and not to one of its versions: tags refer to versions,
/// an origin belongs to one container, and branches are separate from their main line.
fn is_of_container(key: &[u8]) -> bool {
    matches!(key.first(), Some(&(keys::TAG | keys::ORIGIN | keys::BRANCH)))
}

/// Returns the next entry of a version of the container that differs from another version.
fn next_of_version(walk: &mut Differences<'_>) -> Result<Option<EntryDifference>> {
    while let Some(entry) = walk.next_difference()? {
        if !is_of_container(&entry.key) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Returns the payloads of a value, without duplicates.
fn unique(key: &[u8], value: Bytes) -> Result<Vec<Extent>> {
    Ok(distinct(&extents_of(key, value)?))
}
