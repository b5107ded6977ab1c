//! Stages the changes of a branch in the main line, as one long batch of a shared writer.

use super::BranchEntry;
use super::deleted::Deleted;
use crate::container::State;
use crate::multi_writer::hard;
use crate::{Container, Result};
use bytes::Bytes;
use h5lake_ledger::{Branch, EntryChange, Extent, Ledger};
use h5lake_records::extents_of;
use h5lake_records::keys;
use h5lake_records::record::{AttributeRecord, HeaderRecord, LinkRecord, decode};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The letters of entries that both the main line and a branch may change.
const LETTERS: [u8; 6] = [keys::HEADER, keys::LINK, keys::ATTRIBUTE, keys::BLOCK, keys::SEGMENT, keys::USAGE];

/// The state of a merge.
struct Merge<'b> {
    base: &'b Ledger,
    deleted: Deleted,
    /// Keys that the main line changed since the base.
    theirs: BTreeSet<Bytes>,
    /// Payloads that the branch still refers to, perhaps under another key than its base, such as those of a renamed
    /// attribute.
    kept: HashSet<Extent>,
    /// By object: keys of removed links to it, and keys of new links to it.
    links: BTreeMap<u64, [Vec<Bytes>; 2]>,
    /// By object: removed attributes, and new attributes.
    attributes: BTreeMap<u64, [Vec<(Bytes, AttributeRecord)>; 2]>,
}

fn decoded_header(value: &Bytes) -> Result<HeaderRecord> {
    decode(value.clone(), || "a header in a branch".into())
}

impl Container {
    /// Stages a branch's changes and the deletion of the branch, and notes the concurrent changes of the main line.
    /// Returns the number of entries of the branch.
    pub(super) fn stage_branch(&self, base: &Ledger, branch: &Branch) -> Result<u64> {
        let mut entries = Vec::new();
        self.each_of_branch(branch.name, |entry| {
            entries.push(entry);
            Ok(())
        })?;
        let is_shared =
            |key: &Bytes| key.len() > 1 && key.first().is_some_and(|letter| LETTERS.contains(letter));
        let theirs = self.ledger.keys_changed_since(base)?.into_iter().filter(is_shared).collect();
        let deleted = Deleted::of(base, &entries)?;
        let mut merge = Merge {
            base,
            deleted,
            theirs,
            kept: HashSet::new(),
            links: BTreeMap::new(),
            attributes: BTreeMap::new(),
        };
        for entry in entries.iter().filter(|entry| !merge.deleted.takes_along(&entry.key)) {
            if let Some(value) = &entry.value {
                merge.kept.extend(extents_of(&entry.key, value.clone())?);
            }
        }
        let mut state = self.state();
        let s = &mut *state;
        s.remote.merges(branch);
        if self.note_reused(s, &merge, &entries)? {
            // This conflict refuses the whole merge.
            self.ledger.stage_end_of_branch(branch.name)?;
            return Ok(entries.len() as u64);
        }
        for entry in &entries {
            self.ledger.delete(&entry.stored)?;
            self.stage_entry(s, &mut merge, entry)?;
        }
        self.ledger.stage_end_of_branch(branch.name)?;
        self.stage_deleted(s, &merge)?;
        self.note_links(s, &merge)?;
        self.note_attributes(s, &merge)?;
        self.note_written(s, &merge, &entries)?;
        let version = self.ledger.version();
        let mut changes = Vec::with_capacity(merge.theirs.len());
        for key in &merge.theirs {
            let before = base.get(key)?;
            changes.push(EntryChange { key: key.clone(), before, version, host: String::new(), pid: 0 });
        }
        self.note_changes(s, changes);
        Ok(entries.len() as u64)
    }

    /// Notes variable-length data of the branch that cannot be distinguished from data of the main line. Returns
    /// whether there is any.
    fn note_reused(&self, s: &mut State, merge: &Merge<'_>, entries: &[BranchEntry]) -> Result<bool> {
        let mut owners = BTreeMap::<u64, bool>::new();
        for entry in entries.iter().filter(|entry| !merge.deleted.takes_along(&entry.key)) {
            if let Some(&letter @ (keys::BLOCK | keys::USAGE)) = entry.key.first()
                && let Some(owner) = keys::id(&entry.key)
            {
                // A branch appends only to segments that it created.
                let has_deleted = letter == keys::USAGE && merge.base.get(&entry.key)?.is_some();
                *owners.entry(owner).or_default() |= has_deleted;
            }
        }
        let mut is_any = false;
        for (owner, has_deleted) in owners {
            is_any |= self.note_reused_segments(s, owner, has_deleted, merge.base, &merge.theirs)?;
        }
        Ok(is_any)
    }

    fn stage_entry(&self, s: &mut State, merge: &mut Merge<'_>, entry: &BranchEntry) -> Result<()> {
        let BranchEntry { key, value, .. } = entry;
        let Some(&letter) = key.first().filter(|letter| LETTERS.contains(letter)) else {
            // Orphan marks follow from the headers.
            return Ok(());
        };
        if merge.deleted.takes_along(key) {
            return Ok(());
        }
        let before = merge.base.get(key)?;
        let value = match (letter, value) {
            (keys::HEADER, Some(value)) => {
                self.header_until_deleted(s, merge, key, before.as_ref(), value)?
            }
            _ => value.clone(),
        };
        if value == before {
            return Ok(());
        }
        // An entry that the branch has moved back is unchanged except for its creation order. The main line's change
        // wins.
        let is_back = merge.theirs.contains(key) && is_alike(letter, before.as_ref(), value.as_ref())?;
        if is_back {
            return Ok(());
        }
        if letter == keys::LINK {
            merge.note_link(key, before.as_ref(), value.as_ref())?;
        }
        if letter == keys::ATTRIBUTE {
            merge.note_attribute(key, before.as_ref(), value.as_ref())?;
        }
        if merge.theirs.contains(key) {
            self.ledger.contest_from(key, before);
        } else if let Some(before) = before {
            self.free_unless(key, before, &|extent| merge.kept.contains(extent))?;
        }
        match value {
            Some(value) => Ok(self.ledger.put(key, value)?),
            None => Ok(self.ledger.delete(key)?),
        }
    }

    /// Returns a header as it is until the deletions of the branch are committed: deleted objects still refer to the
    /// object.
    fn header_until_deleted(
        &self,
        s: &mut State,
        merge: &Merge<'_>,
        key: &Bytes,
        before: Option<&Bytes>,
        value: &Bytes,
    ) -> Result<Option<Bytes>> {
        let mut ours = decoded_header(value)?;
        let id = keys::id(key).unwrap_or_default();
        ours.link_count = merge.deleted.links(id, ours.link_count)?;
        if let Some(stored) = before {
            let before = decoded_header(stored)?;
            self.note_dimensions(s, id, &before, &ours);
            if before == ours {
                return Ok(Some(stored.clone()));
            }
        }
        if ours.link_count == 0 {
            self.unlink(id)?;
        }
        Ok(Some(ours.encode_to_vec().into()))
    }

    fn note_dimensions(&self, s: &mut State, id: u64, before: &HeaderRecord, ours: &HeaderRecord) {
        let dims = |h: &HeaderRecord| {
            h.dataset.as_ref().and_then(|d| d.space.as_ref()).map(|space| space.dims.clone())
        };
        if let (Some(old), Some(new)) = (dims(before), dims(ours))
            && old != new
        {
            self.note_resized(s, id, &old, &new);
        }
    }

    /// Marks an object as an orphan, so that it is deleted after the merge.
    fn unlink(&self, id: u64) -> Result<()> {
        self.ledger.put(&keys::of(keys::ORPHAN, id), Bytes::new())?;
        self.handles.closed.lock().push(id);
        Ok(())
    }

    /// Unlinks the objects that the branch deleted.
    fn stage_deleted(&self, s: &mut State, merge: &Merge<'_>) -> Result<()> {
        for (id, header) in merge.deleted.headers() {
            let links = merge.deleted.links(id, 0)?;
            s.remote.deletes(id);
            if links == header.link_count {
                continue;
            }
            let key = Bytes::from(keys::of(keys::HEADER, id));
            if merge.theirs.contains(&key) {
                self.ledger.contest_from(&key, merge.base.get(&key)?);
            }
            let left = HeaderRecord { link_count: links, ..header.clone() };
            self.ledger.put(&key, left.encode_to_vec())?;
            s.headers.pop(&id);
            if links == 0 {
                self.unlink(id)?;
            }
        }
        Ok(())
    }

    /// Notes the objects that lost a link, and the links that moved.
    fn note_links(&self, s: &mut State, merge: &Merge<'_>) -> Result<()> {
        for (id, [from, to]) in merge.links.iter().filter(|(_, [from, _])| !from.is_empty()) {
            self.note_unlinked(s, *id);
            for (from, to) in from.iter().zip(to) {
                if !self.is_moved_alike(from, to)? {
                    self.note_moved(s, from, to)?;
                }
            }
        }
        Ok(())
    }

    /// Returns whether the main line has moved a link or an attribute from one key to another in the same way as the
    /// branch.
    fn is_moved_alike(&self, from: &[u8], to: &[u8]) -> Result<bool> {
        let letter = to.first().copied().unwrap_or_default();
        let (theirs, ours) = (self.ledger.committed(to)?, self.ledger.get(to)?);
        Ok(self.ledger.committed(from)?.is_none()
            && theirs.is_some()
            && is_alike(letter, theirs.as_ref(), ours.as_ref())?)
    }

    /// Notes the attributes that were renamed. A removed and a new attribute with the same value count as a rename:
    /// then either both names conflict or neither does.
    fn note_attributes(&self, s: &mut State, merge: &Merge<'_>) -> Result<()> {
        for [gone, new] in merge.attributes.values() {
            for (from, before) in gone {
                for (to, _) in new.iter().filter(|(_, now)| is_renamed(before, now)) {
                    if !self.is_moved_alike(from, to)? {
                        self.note_moved(s, from, to)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes the elements that the branch wrote, in chunks that the main line changed, or in datasets with a changed
    /// extent.
    fn note_written(&self, s: &mut State, merge: &Merge<'_>, entries: &[BranchEntry]) -> Result<()> {
        for entry in entries {
            let (Some(&keys::BLOCK), Some(id)) = (entry.key.first(), keys::id(&entry.key)) else { continue };
            let header = Bytes::from(keys::of(keys::HEADER, id));
            let is_gone = merge.theirs.contains(&header) && self.ledger.committed(&header)?.is_none();
            let matters = !is_gone && (merge.theirs.contains(&entry.key) || merge.theirs.contains(&header));
            if matters && !merge.deleted.takes_along(&entry.key) && self.ledger.get(&header)?.is_some() {
                let before = merge.base.get(&entry.key)?;
                match &entry.value {
                    Some(value) => self.note_elements(s, &entry.key, before, value.clone())?,
                    None => self.check_cut_off(s, &entry.key, before)?,
                }
            }
        }
        Ok(())
    }
}

/// Returns whether two values of a link or an attribute are equal except for their creation order.
fn is_alike(letter: u8, a: Option<&Bytes>, b: Option<&Bytes>) -> Result<bool> {
    let (Some(a), Some(b)) = (a, b) else { return Ok(a == b) };
    let link = |value: &Bytes| -> Result<LinkRecord> {
        let r: LinkRecord = decode(value.clone(), || "a link in a branch".into())?;
        Ok(LinkRecord { creation_order: None, ..r })
    };
    let attribute = |value: &Bytes| -> Result<AttributeRecord> {
        let r: AttributeRecord = decode(value.clone(), || "an attribute in a branch".into())?;
        Ok(AttributeRecord { creation_order: 0, ..r })
    };
    Ok(match letter {
        keys::LINK => link(a)? == link(b)?,
        keys::ATTRIBUTE => attribute(a)? == attribute(b)?,
        _ => a == b,
    })
}

/// Returns whether the second attribute may be the renamed first one: it has a payload of the first one, or the same value.
fn is_renamed(before: &AttributeRecord, now: &AttributeRecord) -> bool {
    let nameless = |r: &AttributeRecord| AttributeRecord { name: Vec::new(), ..r.clone() };
    before.extents.iter().any(|extent| now.extents.contains(extent)) || nameless(before) == nameless(now)
}

impl Merge<'_> {
    fn note_attribute(&mut self, key: &Bytes, before: Option<&Bytes>, now: Option<&Bytes>) -> Result<()> {
        let (record, which) = match (before, now) {
            (Some(gone), None) => (gone, 0),
            (None, Some(new)) => (new, 1),
            _ => return Ok(()),
        };
        let record = decode(record.clone(), || "an attribute in a branch".into())?;
        self.attributes.entry(keys::id(key).unwrap_or_default()).or_default()[which]
            .push((key.clone(), record));
        Ok(())
    }

    fn note_link(&mut self, key: &Bytes, before: Option<&Bytes>, now: Option<&Bytes>) -> Result<()> {
        let (before, now) = (hard(before)?, hard(now)?);
        if before != now {
            for (id, which) in [(before, 0), (now, 1)] {
                if let Some(id) = id {
                    self.links.entry(id).or_default()[which].push(key.clone());
                }
            }
        }
        Ok(())
    }
}
