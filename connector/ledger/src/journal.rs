//! Journals of copies that are being made: what is there already, so that another try need not send it again.
//!
//! A journal is a header and parts, each sealed by a checksum. It proves nothing by itself: who goes on compares each entry with
//! the source, and a storage looks whether the places are there.

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

/// A part is due after this part of what is there: a journal has hundreds of parts, and not a hundred thousand.
const PARTS: u64 = 128;
/// At the latest after so many bytes of payloads.
const MAX_BYTES_PER_PART: u64 = 1 << 30;
/// A part is due when its entries have so many bytes.
const MAX_ENTRY_BYTES: usize = 4 << 20;
/// Longer entries are left out.
const MAX_BYTES_PER_ENTRY: usize = 32 << 20;
/// Bytes of a header that make sense.
pub(crate) const MAX_HEADER_BYTES: u64 = 64 << 10;
/// Bytes of a part that make sense.
pub(crate) const MAX_PART_BYTES: u64 = 64 << 20;
/// Bytes of all parts that make sense: their entries are to be one record.
pub(crate) const MAX_JOURNAL_BYTES: u64 = 1 << 30;

/// What there was of an earlier try of a copy.
#[derive(Debug, Default)]
pub enum EarlierTry {
    /// Nothing.
    #[default]
    None,
    /// A try of this very version. It had put these values under these keys. Nobody has compared them with the source, and their
    /// payloads are to be [taken over](crate::Ledger::adopt_payload) one by one.
    Continues(BTreeMap<Bytes, Bytes>),
    /// One that cannot be gone on with, for this reason. It was given up.
    Discarded(&'static str),
}

/// Which copy a journal is of, and of what.
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

/// Entries whose payloads are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JournalPart {
    /// The id of the container that is being made.
    pub(crate) copy: [u8; 16],
    pub(crate) number: u64,
    /// In a store the packs, whole; in a file all that was in use, from byte 0 on.
    pub(crate) places: Vec<Address>,
    pub(crate) entries: Vec<(Bytes, Bytes)>,
}

/// A part that is to be written.
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

    /// Where in a file all that it needs ends; `None` if it needs anything else.
    pub(crate) fn end(&self) -> Option<u64> {
        match self.places[..] {
            [Address { location: Location::File, offset: 0, length }] => Some(length),
            _ => None,
        }
    }
}

/// The entries of a part, encoded.
#[derive(Debug, Default)]
pub(crate) struct PartEntries {
    count: u64,
    bytes: Vec<u8>,
}

/// The part that is being filled.
#[derive(Debug)]
pub(crate) struct PartBuffer {
    entries: PartEntries,
    /// Bytes of the payloads of its entries.
    payloads: u64,
    /// The same of all parts before it.
    done: u64,
    /// A part has as many at least.
    least: u64,
}

impl PartBuffer {
    /// Parts have `least` bytes of payloads or more.
    pub(crate) fn new(least: u64) -> Self {
        Self { entries: PartEntries::default(), payloads: 0, done: 0, least: least.min(MAX_BYTES_PER_PART) }
    }

    /// Takes in an entry whose payloads have so many bytes. Returns the entries of a part that is due.
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

    /// So many bytes are there already.
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

    /// Counts that ask for much memory are no reason to take it.
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
