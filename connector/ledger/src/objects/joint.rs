//! What a group commit puts into a store: a queued commit, and the list of members in the log object that takes several in.
//! docs/format.md, "Group commits".

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::log_object;
use super::object_usage::UsageDelta;
use crate::checksum::{seal, unseal};
use crate::codec::{Decoded, Reader, put_string, put_varint};
use crate::wal::delta::StoredValue;
use crate::wal::record::{self, Author, CommitRecord, Header, Member};

const QUEUED_MAGIC: &[u8; 4] = b"h5lQ";
const MEMBERS_MAGIC: &[u8; 4] = b"h5lJ";
/// Commits that one log object takes in.
pub(super) const MAX_MEMBERS: usize = 128;
/// Bytes of entries that one log object takes in, about.
pub(super) const MAX_JOINT_BYTES: usize = 8 << 20;

/// A commit that waits to be taken into a log object.
#[derive(Debug, Clone)]
pub(super) struct QueuedCommit {
    /// All of it was merged with what others committed up to this version.
    pub(super) view: u64,
    /// Its header's version is the one after `view`.
    pub(super) record: CommitRecord,
    pub(super) conditions: Conditions,
}

/// Beginnings of keys. A queued commit counts only where nobody changed a key that begins with one since its view.
#[derive(Debug, Clone, Default)]
pub(super) struct Conditions {
    prefixes: HashSet<Bytes>,
    lengths: Vec<usize>,
}

impl Conditions {
    pub(super) fn new(prefixes: impl IntoIterator<Item = Bytes>) -> Self {
        let prefixes: HashSet<Bytes> = prefixes.into_iter().collect();
        let mut lengths: Vec<usize> = prefixes.iter().map(Bytes::len).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Self { prefixes, lengths }
    }

    /// Whether a change of this key breaks one.
    pub(super) fn are_broken_by(&self, key: &[u8]) -> bool {
        self.lengths.iter().map_while(|n| key.get(..*n)).any(|start| self.prefixes.contains(start))
    }
}

/// Encodes a queued commit.
pub(super) fn encode_queued(
    view: u64,
    conditions: &[Bytes],
    header: &Header,
    notes: &[u8],
    entries: &[u8],
) -> Vec<u8> {
    let mut out = QUEUED_MAGIC.to_vec();
    out.extend_from_slice(&view.to_le_bytes());
    put_varint(&mut out, conditions.len() as u64);
    conditions.iter().for_each(|prefix| put_string(&mut out, prefix));
    let (record, _) = record::encode(header, notes, &entries);
    put_string(&mut out, &record);
    seal(&mut out);
    out
}

impl QueuedCommit {
    pub(super) fn decode(bytes: &Bytes) -> Decoded<Self> {
        let (body, _) = unseal(bytes)?;
        let mut r = Reader::new(body);
        if r.take(4)? != QUEUED_MAGIC {
            return Err("not a queued commit");
        }
        let view = r.number64()?;
        let count = r.varint()?;
        if count > r.remaining() as u64 {
            return Err("more conditions than bytes");
        }
        let mut prefixes = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let n = r.length()?;
            let at = r.position();
            if r.take(n)?.is_empty() {
                return Err("an empty condition");
            }
            prefixes.push(bytes.slice(at..at + n));
        }
        let n = r.length()?;
        let at = r.position();
        r.take(n)?;
        r.end()?;
        let record = record::decode(&bytes.slice(at..at + n))?;
        if record.header.version != view + 1 {
            return Err("a queued commit of another version than the one after its view");
        }
        if record.header.is_intent {
            return Err("a queued commit that is an intent");
        }
        Ok(Self { view, record, conditions: Conditions::new(prefixes) })
    }
}

/// Encodes the members of a log object.
pub(super) fn encode_members(members: &[Member]) -> Vec<u8> {
    let mut out = MEMBERS_MAGIC.to_vec();
    put_varint(&mut out, members.len() as u64);
    for m in members {
        out.extend_from_slice(&m.nonce.to_le_bytes());
        m.by.encode(&mut out);
        put_varint(&mut out, m.entries.len() as u64);
        let mut next = 0;
        for n in &m.entries {
            put_varint(&mut out, u64::from(n - next));
            next = n + 1;
        }
    }
    seal(&mut out);
    out
}

/// The members of a log object whose area this is; none if it has payloads instead, or nothing. A payload that looks like a list
/// of members is no damage: all that is taken from one is who made a change.
pub(super) fn decode_members(area: &[u8]) -> Option<Arc<[Member]>> {
    if !area.starts_with(MEMBERS_MAGIC) {
        return None;
    }
    let (body, _) = unseal(area).ok()?;
    members_of(body.strip_prefix(MEMBERS_MAGIC)?).ok()
}

fn members_of(body: &[u8]) -> Decoded<Arc<[Member]>> {
    let mut r = Reader::new(body);
    let count = r.varint()?;
    if count > r.remaining() as u64 {
        return Err("more members than bytes");
    }
    let mut members = Vec::new();
    for _ in 0..count {
        let (nonce, by) = (r.u64()?, Author::read(&mut r)?);
        let count = r.varint()?;
        if count > r.remaining() as u64 {
            return Err("more entries of a member than bytes");
        }
        let mut entries = Vec::with_capacity(count as usize);
        let mut next = 0u32;
        for _ in 0..count {
            let n = u32::try_from(r.varint()?).ok().and_then(|by| next.checked_add(by));
            let n = n.filter(|n| *n < u32::MAX).ok_or("an impossible number of an entry")?;
            entries.push(n);
            next = n + 1;
        }
        members.push(Member { nonce, by, entries });
    }
    r.end()?;
    Ok(members.into())
}

/// The commits that one log object is to take in.
pub(super) struct Joint {
    /// Each key with its value, and the member it is of.
    entries: BTreeMap<Bytes, (StoredValue, usize)>,
    conditions: Vec<Conditions>,
    members: Vec<(u64, Author)>,
    notes: UsageDelta,
    bytes: usize,
}

impl Joint {
    pub(super) fn new() -> Self {
        let (entries, notes) = (BTreeMap::new(), UsageDelta::default());
        Self { entries, conditions: Vec::new(), members: Vec::new(), notes, bytes: 0 }
    }

    /// Takes a commit in, if it is apart from those that are in; whether it did.
    pub(super) fn take_in(&mut self, q: &QueuedCommit) -> bool {
        let Ok(changes) = q.record.changes() else { return false };
        let Ok(notes) = UsageDelta::decode(&q.record.notes) else { return false };
        let breaks = |key: &Bytes| self.conditions.iter().any(|c| c.are_broken_by(key));
        let is_apart = !changes.iter().any(|(key, _)| self.entries.contains_key(key) || breaks(key))
            && !self.entries.keys().any(|key| q.conditions.are_broken_by(key));
        let has_edits = changes.iter().any(|(_, value)| matches!(value, StoredValue::Edited(_)));
        let bytes = self.bytes + q.record.length as usize;
        let has_room = self.members.is_empty() || bytes <= MAX_JOINT_BYTES;
        let is_known = notes.freed.iter().any(|place| self.notes.freed.contains(place))
            || notes.gained.keys().any(|location| self.notes.gained.contains_key(location));
        if !is_apart || has_edits || !has_room || is_known {
            return false;
        }
        let number = self.members.len();
        self.entries.extend(changes.into_iter().map(|(key, value)| (key, (value, number))));
        self.conditions.push(q.conditions.clone());
        self.members.push((q.record.header.nonce, q.record.header.by.clone()));
        self.notes.gained.extend(notes.gained);
        self.notes.freed.extend(notes.freed);
        self.bytes = bytes;
        true
    }

    /// The log object of a version.
    pub(super) fn log_object(self, header: &Header) -> Vec<u8> {
        let mut members: Vec<Member> =
            self.members.into_iter().map(|(nonce, by)| Member { nonce, by, entries: Vec::new() }).collect();
        let mut changes = Vec::with_capacity(self.entries.len());
        for (n, (key, (value, member))) in self.entries.into_iter().enumerate() {
            members[member].entries.push(n as u32);
            let value = match value {
                StoredValue::Put(value) => Some(value),
                StoredValue::Deleted | StoredValue::Edited(_) => None,
            };
            changes.push((key, value));
        }
        let entries = record::encode_changes(changes.iter().map(|(key, value)| (key, value)));
        log_object(header, &self.notes.encode(), &encode_members(&members), &entries.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let header = Header::of_now(8, 4, 5);
        let conditions = [Bytes::from_static(b"Bxy"), Bytes::from_static(b"O")];
        encode_queued(7, &conditions, &header, b"notes", &[0])
    }

    #[test]
    fn a_queued_commit_round_trips() {
        let q = QueuedCommit::decode(&sample().into()).unwrap();
        assert_eq!((q.view, q.record.header.nonce, &q.record.notes[..]), (7, 4, &b"notes"[..]));
        for (key, broken) in [("Bxyz", true), ("Bxy", true), ("Bx", false), ("Oz", true), ("A", false)] {
            assert_eq!(q.conditions.are_broken_by(key.as_bytes()), broken, "{key}");
        }
    }

    #[test]
    fn bytes_that_were_cut_or_changed_are_refused() {
        let whole = sample();
        for n in 0..whole.len() {
            assert!(QueuedCommit::decode(&whole[..n].to_vec().into()).is_err(), "{n} bytes");
            let mut changed = whole.clone();
            changed[n] ^= 4;
            assert!(QueuedCommit::decode(&changed.into()).is_err(), "byte {n}");
        }
    }

    #[test]
    fn members_round_trip_and_payloads_are_none() {
        let member =
            |nonce, entries: &[u32]| Member { nonce, by: Author::myself(), entries: entries.to_vec() };
        let members = [member(3, &[0, 4, 5]), member(9, &[1]), member(11, &[])];
        let bytes = encode_members(&members);
        assert_eq!(&*decode_members(&bytes).unwrap(), &members);
        let mut alike = b"h5lJ, and more that is no list".to_vec();
        seal(&mut alike);
        for payload in [&alike[..], b"h5lJ", b""] {
            assert_eq!(decode_members(payload), None);
        }
    }
}
