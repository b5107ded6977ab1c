//! The record of one commit.

use std::sync::Arc;

use bytes::Bytes;

use crate::address::PageRef;
use crate::author::Author;
#[cfg(any(fuzzing, test))]
use crate::checksum::unseal;
use crate::checksum::{checksum, unseal_as};
use crate::codec::{Decoded, NEWER, Reader, put_string, put_varint};
use crate::key::Key;
use crate::memtable::Memtable;
use crate::wal::delta::{EDIT, Edit, StoredValue};

pub(crate) const MAGIC: &[u8; 4] = b"h5lR";
/// The approximate size of a record without its notes and entries, in bytes.
const HEADER_BYTES: usize = 128;
/// The approximate size of an entry without its key and value, in bytes.
const ENTRY_BYTES: usize = 4;
/// The tag before a record's notes: `ALONE` if no pointer follows, `WITH_PREVIOUS` before a pointer to the record of
/// the previous version. Greater tags are reserved for records with a codec or a key id.
const ALONE: u64 = 0;
const WITH_PREVIOUS: u64 = 1;

/// The part of a record that storages read.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) version: u64,
    pub(crate) nonce: u64,
    pub(crate) time: u64,
    /// The process that wrote the record.
    pub(crate) by: Author,
    /// The record of the previous version, in a file.
    pub(crate) previous: Option<PageRef>,
}

impl Header {
    /// Returns the header of a record of this process that points to no other record.
    pub(crate) fn of_now(version: u64, nonce: u64, time: u64) -> Self {
        Self { version, nonce, time, by: Author::myself(), previous: None }
    }
}

/// A decoded record; entries are decoded by [`CommitRecord::changes`].
#[derive(Debug, Clone)]
pub(crate) struct CommitRecord {
    pub(crate) header: Header,
    pub(crate) notes: Bytes,
    /// The length of the whole record in bytes.
    pub(crate) length: u64,
    entries: Bytes,
    /// The commits in the record, if the record holds several.
    pub(crate) members: Option<Arc<[Member]>>,
}

/// One of several commits in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// The unique nonce of the commit.
    pub(crate) nonce: u64,
    pub(crate) by: Author,
    /// The numbers of the record's entries that belong to this commit, ascending.
    pub(crate) entries: Vec<u32>,
}

/// The entries of a record, which may not be encoded yet. A long record is encoded once, directly into the buffer from
/// which it is written.
pub(crate) trait Entries {
    /// Returns the approximate length of the encoded entries in bytes.
    fn length(&self) -> usize;
    /// Encodes the entries and appends them to `out`.
    fn append_to(&self, out: &mut Vec<u8>);

    /// Encodes the entries alone.
    fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.length());
        self.append_to(&mut out);
        out
    }
}

/// Entries that [`encode_changes`] has encoded.
impl Entries for &[u8] {
    fn length(&self) -> usize {
        self.len()
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Entries for Memtable {
    fn length(&self) -> usize {
        let each = |(key, value): (&Key<'_>, &Option<Bytes>)| {
            key.as_ref().len() + value.as_ref().map_or(0, Bytes::len) + ENTRY_BYTES
        };
        self.iter().map(each).sum()
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        append_changes(out, self.iter());
    }
}

/// Encodes a record. Returns the bytes and their checksum.
pub(crate) fn encode(h: &Header, notes: &[u8], entries: &dyn Entries) -> (Vec<u8>, u32) {
    let mut out = Vec::with_capacity(length_of(notes, entries));
    let crc = encode_onto(&mut out, h, notes, entries);
    (out, crc)
}

/// Returns the approximate length of a record in bytes.
pub(crate) fn length_of(notes: &[u8], entries: &dyn Entries) -> usize {
    HEADER_BYTES + notes.len() + entries.length()
}

/// Encodes a record as [`encode`] does, and appends it to `out`, which should have [capacity](length_of) for it.
/// Returns the checksum.
pub(crate) fn encode_onto(out: &mut Vec<u8>, h: &Header, notes: &[u8], entries: &dyn Entries) -> u32 {
    let start = out.len();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&h.version.to_le_bytes());
    out.extend_from_slice(&h.nonce.to_le_bytes());
    out.extend_from_slice(&h.time.to_le_bytes());
    h.by.encode(out);
    match h.previous {
        None => put_varint(out, ALONE),
        Some(p) => {
            put_varint(out, WITH_PREVIOUS);
            p.encode(out);
        }
    }
    put_string(out, notes);
    entries.append_to(out);
    let crc = checksum(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    crc
}

#[cfg(any(fuzzing, test))]
pub(crate) fn decode(bytes: &Bytes) -> Decoded<CommitRecord> {
    let (body, _) = unseal(bytes)?;
    decode_body(bytes, body)
}

/// Decodes a record. Its checksum must be equal to the checksum in the pointer to it.
pub(crate) fn decode_as(bytes: &Bytes, expected: u32) -> Decoded<CommitRecord> {
    decode_body(bytes, unseal_as(bytes, expected)?)
}

fn decode_body(bytes: &Bytes, body: &[u8]) -> Decoded<CommitRecord> {
    let mut r = Reader::new(body);
    if r.take(4)? != MAGIC {
        return Err("not a record");
    }
    let (version, nonce, time) = (r.number64()?, r.u64()?, r.number64()?);
    let by = Author::read(&mut r)?;
    let previous = match r.varint()? {
        ALONE => None,
        WITH_PREVIOUS => Some(PageRef::read(&mut r)?),
        _ => return Err(NEWER),
    };
    let notes = r.length()?;
    let at = r.position();
    r.take(notes)?;
    let entries = bytes.slice(r.position()..body.len());
    let header = Header { version, nonce, time, by, previous };
    Ok(CommitRecord {
        header,
        notes: bytes.slice(at..at + notes),
        length: bytes.len() as u64,
        entries,
        members: None,
    })
}

/// One change of the map: a key, and the change of its value.
pub(crate) type RecordChange = (Bytes, StoredValue);

pub(crate) fn encode_changes<'a, K: AsRef<[u8]> + 'a>(
    changes: impl ExactSizeIterator<Item = (&'a K, &'a Option<Bytes>)>,
) -> Vec<u8> {
    let mut out = Vec::new();
    append_changes(&mut out, changes);
    out
}

fn append_changes<'a, K: AsRef<[u8]> + 'a>(
    out: &mut Vec<u8>,
    changes: impl ExactSizeIterator<Item = (&'a K, &'a Option<Bytes>)>,
) {
    put_varint(out, changes.len() as u64);
    for (key, value) in changes {
        put_entry(out, key.as_ref(), value);
    }
}

/// Encodes a put or a delete.
pub(crate) fn put_entry(out: &mut Vec<u8>, key: &[u8], value: &Option<Bytes>) {
    out.push(u8::from(value.is_some()));
    put_string(out, key);
    if let Some(v) = value {
        put_string(out, v);
    }
}

/// One of the commits in a record of a store.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) nonce: u64,
    pub(crate) by: Author,
    /// The entries as [`encode_changes`] returns them.
    pub(crate) entries: Bytes,
}

impl CommitRecord {
    /// Returns the record of a version that consists of one commit or of several commits. The entries of each commit
    /// follow those of the commit before.
    pub(crate) fn of_commits(header: Header, mut commits: Vec<Commit>) -> Decoded<Self> {
        let (entries, members) = match commits.len() {
            1 => (commits.remove(0).entries, None),
            _ => {
                let (mut all, mut members, mut next) = (Vec::new(), Vec::new(), 0_u32);
                for commit in &commits {
                    let mut r = Reader::new(&commit.entries);
                    let count = u32::try_from(r.varint()?).map_err(|_| "more entries than bytes")?;
                    all.extend_from_slice(r.take(r.remaining())?);
                    let end = next.checked_add(count).ok_or("more entries than bytes")?;
                    members.push(Member {
                        nonce: commit.nonce,
                        by: commit.by.clone(),
                        entries: (next..end).collect(),
                    });
                    next = end;
                }
                let mut entries = Vec::with_capacity(all.len() + 10);
                put_varint(&mut entries, next.into());
                entries.append(&mut all);
                (Bytes::from(entries), Some(members.into()))
            }
        };
        let length = entries.len() as u64;
        Ok(Self { header, notes: Bytes::new(), length, entries, members })
    }

    /// Returns the process that made the change in entry number `n`.
    pub(crate) fn author_of(&self, n: usize) -> &Author {
        let members = self.members.iter().flat_map(|members| members.iter());
        let of = |m: &&Member| m.entries.binary_search_by_key(&n, |entry| *entry as usize).is_ok();
        members.filter(of).map(|m| &m.by).next().unwrap_or(&self.header.by)
    }

    /// Returns the changes of the map. They share the record's memory.
    pub(crate) fn changes(&self) -> Decoded<Vec<RecordChange>> {
        let mut r = Reader::new(&self.entries);
        let count = r.varint()?;
        // Each entry has at least two bytes, so this check keeps a false count from reserving much memory.
        if count > (r.remaining() / 2) as u64 {
            return Err("more entries than bytes");
        }
        let mut out = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let op = r.u8()?;
            let key = self.string(&mut r)?;
            let value = match op {
                0 => StoredValue::Deleted,
                1 => StoredValue::Put(self.string(&mut r)?),
                EDIT => StoredValue::Edited(Edit::new(Edit::lengths(&mut r)?, self.string(&mut r)?)),
                _ => return Err("unknown kind of entry"),
            };
            out.push((key, value));
        }
        r.end()?;
        Ok(out)
    }

    fn string(&self, r: &mut Reader<'_>) -> Decoded<Bytes> {
        let n = r.length()?;
        let at = r.position();
        r.take(n)?;
        Ok(self.entries.slice(at..at + n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn sample() -> Vec<u8> {
        let changes = std::collections::BTreeMap::from([
            (Bytes::from("a"), Some(Bytes::from("1"))),
            (Bytes::from("b"), None),
        ]);
        let previous = Some(PageRef { place: Address::file(4608, 99), crc: 7 });
        let header = Header { previous, ..Header::of_now(3, 4, 5) };
        encode(&header, b"notes", &encode_changes(changes.iter()).as_slice()).0
    }

    #[test]
    fn a_commit_record_round_trips() {
        let r = decode(&sample().into()).unwrap();
        assert_eq!((r.header.version, r.header.nonce, r.header.time), (3, 4, 5));
        assert_eq!((&r.header.by, &r.notes), (&Author::myself(), &Bytes::from("notes")));
        let changes = r.changes().unwrap();
        let put = StoredValue::Put(Bytes::from("1"));
        assert_eq!(changes, [(Bytes::from("a"), put), (Bytes::from("b"), StoredValue::Deleted)]);
    }

    #[test]
    fn damage_anywhere_in_a_record_is_detected() {
        let good = sample();
        for n in 0..good.len() {
            let mut bad = good.clone();
            bad[n] ^= 0x10;
            assert!(decode(&bad.into()).is_err(), "byte {n}");
            assert!(decode(&good[..n].to_vec().into()).is_err(), "cut at {n}");
        }
    }
}
