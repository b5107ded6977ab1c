//! Journals of copies in progress. A journal lists the data that was copied already, so that another attempt need not
//! send it again.
//!
//! A journal consists of a header and parts, each of which is sealed by a checksum. The entries are not trusted: the
//! continuing copy compares each entry with the source, and the storage checks that the addresses exist.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::address::{Address, Location};
use crate::checksum::{seal, unseal};
use crate::codec::{Decoded, Reader, put_string, put_varint};
use crate::origin::Origin;

const HEADER_MAGIC: &[u8; 4] = b"h5lC";
const PART_MAGIC: &[u8; 4] = b"h5lE";
/// The form of the headers and parts that this build writes and reads.
const FORM: u8 = 1;

/// A part is due after this fraction of the bytes that were copied already, so that a journal has hundreds of parts,
/// and not a hundred thousand.
const PARTS: u64 = 128;
/// A part is due after this number of bytes of payloads at the latest.
const MAX_BYTES_PER_PART: u64 = 1 << 30;
/// A part is due when its entries have this number of bytes.
const MAX_ENTRY_BYTES: usize = 4 << 20;
/// The maximum length of an entry; longer entries are omitted.
const MAX_BYTES_PER_ENTRY: usize = 32 << 20;
/// The maximum length of a valid header, in bytes.
pub(crate) const MAX_HEADER_BYTES: u64 = 64 << 10;
/// The maximum length of a valid part, in bytes.
pub(crate) const MAX_PART_BYTES: u64 = 64 << 20;
/// The maximum length of all valid parts, in bytes: their entries must fit into one record.
pub(crate) const MAX_JOURNAL_BYTES: u64 = 1 << 30;

/// The result of an earlier attempt at a copy.
#[derive(Debug, Default)]
pub enum EarlierTry {
    /// There was no earlier attempt.
    #[default]
    None,
    /// An attempt to copy the same version. It had put these values under these keys. They have not been compared with
    /// the source, and their payloads must be [adopted](crate::Ledger::adopt_payload) one by one.
    Continues(BTreeMap<Bytes, Bytes>),
    /// An attempt that cannot be continued, for this reason. It was abandoned.
    Discarded(&'static str),
}

/// The copy that a journal belongs to, and the origin of the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JournalHeader {
    /// The id of the container that is being made.
    pub(crate) copy: [u8; 16],
    pub(crate) origin: Origin,
}

impl JournalHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = HEADER_MAGIC.to_vec();
        out.push(FORM);
        out.extend_from_slice(&self.copy);
        self.origin.encode(&mut out);
        seal(&mut out);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(unseal(bytes)?.0);
        if r.take(4)? != HEADER_MAGIC {
            return Err("not a journal of a copy");
        }
        if r.u8()? != FORM {
            return Err("a journal of a form that this h5lake does not know");
        }
        let header = Self { copy: r.id()?, origin: Origin::read(&mut r)? };
        r.end()?;
        Ok(header)
    }
}

/// Entries with payloads that were copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JournalPart {
    /// The id of the container that is being made.
    pub(crate) copy: [u8; 16],
    pub(crate) number: u64,
    /// The space that the part needs. In a store: the packs, whole. In a file: all space in use, from byte 0 on.
    pub(crate) places: Vec<Address>,
    pub(crate) entries: Vec<(Bytes, Bytes)>,
}

/// Encodes a part.
pub(crate) fn encode_part(
    copy: &[u8; 16],
    number: u64,
    places: &[Address],
    entries: &PartEntries,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + 40 * places.len() + entries.bytes.len());
    out.extend_from_slice(PART_MAGIC);
    out.push(FORM);
    out.extend_from_slice(copy);
    put_varint(&mut out, number);
    put_varint(&mut out, places.len() as u64);
    places.iter().for_each(|place| place.encode(&mut out));
    put_varint(&mut out, entries.count);
    out.extend_from_slice(&entries.bytes);
    seal(&mut out);
    out
}

impl JournalPart {
    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(unseal(bytes)?.0);
        if r.take(4)? != PART_MAGIC {
            return Err("not a part of a journal");
        }
        if r.u8()? != FORM {
            return Err("a part of a form that this h5lake does not know");
        }
        let (copy, number) = (r.id()?, r.number()?);
        let places = (0..r.varint()?).map(|_| Address::read(&mut r)).collect::<Decoded<_>>()?;
        let owned = Bytes::copy_from_slice;
        let entry = |r: &mut Reader<'_>| Ok((owned(r.string()?), owned(r.string()?)));
        let entries = (0..r.varint()?).map(|_| entry(&mut r)).collect::<Decoded<_>>()?;
        r.end()?;
        Ok(Self { copy, number, places, entries })
    }

    /// Returns the end in a file of all bytes that the part needs; `None` if the part needs any other address.
    pub(crate) fn end(&self) -> Option<u64> {
        match self.places[..] {
            [Address { location: Location::File, offset: 0, length }] => Some(length),
            _ => None,
        }
    }
}

/// The encoded entries of a part.
#[derive(Debug, Default)]
pub(crate) struct PartEntries {
    count: u64,
    bytes: Vec<u8>,
}

/// The part that is being filled.
#[derive(Debug)]
pub(crate) struct PartBuffer {
    entries: PartEntries,
    /// The bytes of the payloads of the part's entries.
    payloads: u64,
    /// The bytes of the payloads of all earlier parts.
    done: u64,
    /// The minimum number of payload bytes of a part.
    least: u64,
}

impl PartBuffer {
    /// Returns an empty buffer for parts that have `least` bytes of payloads or more.
    pub(crate) fn new(least: u64) -> Self {
        Self { entries: PartEntries::default(), payloads: 0, done: 0, least: least.min(MAX_BYTES_PER_PART) }
    }

    /// Adds an entry with the given number of payload bytes. Returns the entries of the part if the part is due.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8], payloads: u64) -> Option<PartEntries> {
        if key.len() + value.len() <= MAX_BYTES_PER_ENTRY {
            put_string(&mut self.entries.bytes, key);
            put_string(&mut self.entries.bytes, value);
            self.entries.count += 1;
        }
        self.payloads += payloads;
        let enough = (self.done / PARTS).clamp(self.least, MAX_BYTES_PER_PART);
        if self.payloads < enough && self.entries.bytes.len() < MAX_ENTRY_BYTES {
            return None;
        }
        self.done += std::mem::take(&mut self.payloads);
        Some(std::mem::take(&mut self.entries))
    }

    /// Counts bytes that an earlier attempt has copied.
    pub(crate) fn begin_behind(&mut self, bytes: u64) {
        self.done += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { id: [7; 16], version: 300, time: 1 << 50, host: "node".into(), pid: 70_000 }
    }

    #[test]
    fn headers_and_parts_round_trip_and_damage_is_refused() {
        let header = JournalHeader { copy: [9; 16], origin: origin() };
        let place = Address { location: Location::Pack([3; 16]), offset: 0, length: 8 << 20 };
        let mut buffer = PartBuffer::new(16 << 20);
        assert!(buffer.add(b"k", b"value", 1 << 20).is_none());
        let entries = buffer.add(b"l", b"other", 15 << 20).unwrap();
        let part = encode_part(&[9; 16], 4, &[place], &entries);
        let decoded = JournalPart::decode(&part).unwrap();
        assert_eq!((decoded.copy, decoded.number), ([9; 16], 4));
        assert_eq!(decoded.entries, [("k".into(), "value".into()), ("l".into(), "other".into())]);
        assert_eq!((&decoded.places[..], decoded.end()), (&[place][..], None));
        assert_eq!(JournalHeader::decode(&header.encode()), Ok(header.clone()));
        for good in [header.encode(), part] {
            for n in 0..good.len() {
                assert!(
                    JournalHeader::decode(&good[..n]).is_err() && JournalPart::decode(&good[..n]).is_err()
                );
                let mut bad = good.clone();
                bad[n] ^= 4;
                assert!(
                    JournalHeader::decode(&bad).is_err() && JournalPart::decode(&bad).is_err(),
                    "byte {n}"
                );
            }
        }
    }

    /// A hostile count that would need much memory must not lead to its allocation.
    #[test]
    fn hostile_counts_are_refused() {
        let mut out = [&PART_MAGIC[..], &[FORM], &[9; 16], &[0]].concat();
        put_varint(&mut out, u64::MAX);
        seal(&mut out);
        assert!(JournalPart::decode(&out).is_err());
    }

    #[test]
    fn parts_grow_with_what_is_there() {
        let mut buffer = PartBuffer::new(16 << 20);
        buffer.begin_behind(512 << 30);
        let due = (0..).take_while(|_| buffer.add(b"k", b"v", 16 << 20).is_none()).count();
        assert_eq!(due, 63, "a gibibyte");
        let mut buffer = PartBuffer::new(16 << 20);
        assert!(buffer.add(b"k", &vec![0; 33 << 20], 16 << 20).is_some_and(|part| part.count == 0));
    }
}
