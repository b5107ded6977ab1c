//! The superblock of a container's file: its identity, and the two commit slots that refer to the newest version.

use crate::address::{Address, PageRef};
use crate::checksum::{seal, unseal};
use crate::codec::{Decoded, NEWER, Reader, put_string, put_varint};
use crate::error::{Error, ErrorKind, Holder, Result};
pub(crate) use crate::liveness::myself;
use crate::signatures::{FORMAT, SIGNATURE};

/// Length of the fixed part, checksum included.
pub(crate) const FIXED: usize = 64;
const SLOT_A: u64 = 512;
pub(crate) const NOTE: u64 = 1024;
pub(crate) const NOTE_LEN: usize = 256;
const SLOT_B: u64 = 4096;
pub(crate) const SLOT: usize = 152;
/// The distance from each slot to the copy of the other slot.
const COPY: u64 = 256;
/// The offset of the reclaim horizon: the sequence up to which space was reused.
pub(crate) const RECLAIMED: u64 = 1536;
/// The offset of the first extent.
pub(crate) const DATA: u64 = 4608;

/// The offsets of slots and copies, with their names.
pub(crate) const SLOT_PLACES: [(&str, u64); 4] = [
    ("head slot", SLOT_A),
    ("copy of a head slot", SLOT_A + COPY),
    ("head slot", SLOT_B),
    ("copy of a head slot", SLOT_B + COPY),
];

/// The greatest retention time in a slot, in milliseconds. The highest byte of the field is reserved: it is zero unless
/// further fields, such as a pointer to references, follow the slot's checksum.
const MAX_RETENTION: u64 = (1 << 56) - 1;

/// The first bytes of each slot.
const SLOT_MAGIC: &[u8; 4] = b"h5lS";
/// The number of bytes from the start of the superblock that are enough to recognise a file's superblock, unless the file
/// is damaged: they include the magic of the first slot.
pub(crate) const MIN_TELLING_BYTES: usize = SLOT_A as usize + SLOT_MAGIC.len();

/// The feature of records that may contain edits (delta-encoded values). Every file has it.
const EDITS: u32 = 2;
/// The feature of a file that has, or had, tags.
const TAGS: u32 = 4;
/// The feature of a file that may have extents in sources.
const SOURCES: u32 = 8;
/// The offset of the features that every reader and writer has to know.
const FEATURES_AT: usize = 20;

/// The offset of the container's id.
const ID_AT: usize = 28;

/// Returns the id in the fixed part of a superblock, even if its checksum is wrong; missing bytes are zeros.
pub(crate) fn unchecked_id(bytes: &[u8]) -> [u8; 16] {
    let mut id = [0; 16];
    let there = bytes.iter().skip(ID_AT);
    id.iter_mut().zip(there).for_each(|(to, from)| *to = *from);
    id
}

/// Returns the id in the first bytes of a container of any format up to this one. The layout of these bytes is the same in all of them
/// (docs/format.md, "File layout").
pub(crate) fn id_of_any_format(bytes: &[u8]) -> Decoded<[u8; 16]> {
    let fixed = bytes.get(..FIXED).ok_or("truncated")?;
    let (fixed, _) = unseal(fixed)?;
    Ok(unchecked_id(fixed))
}

/// The part of the superblock that never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub(crate) id: [u8; 16],
    pub(crate) base: u64,
    pub(crate) created: u64,
    /// True if a file has tags, or had tags earlier.
    pub(crate) tags: bool,
    /// True if there may be extents in sources.
    pub(crate) sources: bool,
}

impl Fixed {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let features = [(true, EDITS), (self.tags, TAGS), (self.sources, SOURCES)];
        self.encode_with(features.iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, bit)| all | bit))
    }

    /// Encodes the fixed part with features that every reader and writer has to know.
    pub(crate) fn encode_with(&self, features: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED);
        out.extend_from_slice(SIGNATURE);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&features.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.base.to_le_bytes());
        out.extend_from_slice(&self.created.to_le_bytes());
        seal(&mut out);
        out
    }

    /// Decodes the first [`FIXED`] bytes of a file that begins with our signature.
    pub(crate) fn decode(bytes: &[u8], target: &str) -> Result<Self> {
        let (fixed, features) = Self::decode_with(bytes, EDITS | TAGS | SOURCES, target)?;
        let has = |feature| features & feature != 0;
        Ok(Self { tags: has(TAGS), sources: has(SOURCES), ..fixed })
    }

    /// Decodes the fixed part, and returns the features among `known` that it has.
    pub(crate) fn decode_with(bytes: &[u8], known: u32, target: &str) -> Result<(Self, u32)> {
        let bad = |why: &str| Error::corrupt(target, "head, bytes 0 to 63", why);
        let mut r = Reader::new(bytes);
        let mut numbers = || -> Decoded<(u32, u32)> {
            r.take(16)?;
            let n = (r.u32()?, r.u32()?);
            r.u32()?;
            Ok(n)
        };
        let (format, needed) = numbers().map_err(bad)?;
        let sound = unseal(bytes.get(..FIXED).unwrap_or(bytes));
        // A later format may have another superblock, so its number is checked before the checksum.
        if format > FORMAT {
            return Err(Error::new(target, ErrorKind::NewerFormat { found: format!("format {format}") }));
        }
        sound.map_err(bad)?;
        if format == 0 {
            return Err(bad("an impossible format version"));
        }
        if format < FORMAT {
            return Err(Error::new(target, ErrorKind::EarlierFormat { format }));
        }
        if needed & !known != 0 {
            let found = format!("features {:#x}", needed & !known);
            return Err(Error::new(target, ErrorKind::NewerFormat { found }));
        }
        let mut read_fixed = || -> Decoded<Self> {
            let (id, base, created) = (r.id()?, r.number64()?, r.number64()?);
            Ok(Self { id, base, created, tags: false, sources: false })
        };
        read_fixed().map(|fixed| (fixed, needed)).map_err(bad)
    }
}

/// Returns the fixed part of a superblock as in `bytes`, with the feature of tags set.
pub(crate) fn with_tags(bytes: &[u8; FIXED]) -> Vec<u8> {
    let mut out = bytes[..FIXED - 4].to_vec();
    // The bit is in the lowest byte.
    out[FEATURES_AT] |= TAGS as u8;
    seal(&mut out);
    out
}

/// One commit slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Slot {
    pub(crate) sequence: u64,
    pub(crate) version: u64,
    pub(crate) time: u64,
    pub(crate) end: u64,
    pub(crate) base_version: u64,
    /// The value of `end` at the checkpoint.
    pub(crate) base_end: u64,
    pub(crate) log_bytes: u64,
    pub(crate) record: Option<PageRef>,
    pub(crate) root: Option<PageRef>,
    pub(crate) free: Option<PageRef>,
    /// The history, which leads to versions before the checkpoint.
    pub(crate) history: Option<PageRef>,
    /// The time in milliseconds for which replaced versions are retained, plus one; 0 if it was never set.
    pub(crate) retention: u64,
}

fn put_pointer(out: &mut Vec<u8>, p: Option<PageRef>) {
    let p = p.unwrap_or(PageRef { place: Address::file(0, 0), crc: 0 });
    out.extend_from_slice(&p.place.offset.to_le_bytes());
    out.extend_from_slice(&p.place.length.to_le_bytes());
    out.extend_from_slice(&p.crc.to_le_bytes());
}

fn pointer(r: &mut Reader<'_>, end: u64) -> Decoded<Option<PageRef>> {
    let (offset, length, crc) = (r.u64()?, r.u64()?, r.u32()?);
    if length == 0 {
        return Ok(None);
    }
    if offset < DATA || offset.checked_add(length).is_none_or(|e| e > end) {
        return Err("points outside of the container");
    }
    Ok(Some(PageRef { place: Address::file(offset, length), crc }))
}

impl Slot {
    /// Returns the offset at which this slot's sequence is written.
    pub(crate) fn position(&self) -> u64 {
        if self.sequence.is_multiple_of(2) { SLOT_A } else { SLOT_B }
    }

    /// Returns the offset of the copy of this slot that a close writes, in the other block.
    pub(crate) fn copy_position(&self) -> u64 {
        COPY + if self.position() == SLOT_A { SLOT_B } else { SLOT_A }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SLOT);
        out.extend_from_slice(SLOT_MAGIC);
        for n in [
            self.sequence,
            self.version,
            self.time,
            self.end,
            self.base_version,
            self.base_end,
            self.log_bytes,
        ] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        put_pointer(&mut out, self.record);
        put_pointer(&mut out, self.root);
        put_pointer(&mut out, self.free);
        put_pointer(&mut out, self.history);
        out.extend_from_slice(&self.retention.min(MAX_RETENTION).to_le_bytes());
        seal(&mut out);
        out
    }

    /// Decodes a slot. Returns `None` if its checksum is wrong, because it was never written or is torn.
    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Option<Self>> {
        let Ok((body, _)) = unseal(bytes) else { return Ok(None) };
        let mut r = Reader::new(body);
        if r.take(4)? != SLOT_MAGIC {
            return Ok(None);
        }
        let mut s = Self {
            sequence: r.number64()?,
            version: r.number64()?,
            time: r.number64()?,
            end: r.number64()?,
            base_version: r.number64()?,
            base_end: r.number64()?,
            log_bytes: r.number64()?,
            ..Self::default()
        };
        // None of these numbers gets near 2^62 in practice. Below 2^62, sums of two numbers cannot overflow.
        let numbers = [s.sequence, s.version, s.log_bytes, s.end, s.base_end];
        if numbers.iter().any(|n| *n >= 1 << 62)
            || s.end < DATA
            || s.base_end < DATA
            || s.base_version > s.version
        {
            return Err("impossible numbers under a right checksum");
        }
        s.record = pointer(&mut r, s.end)?;
        s.root = pointer(&mut r, s.end)?;
        s.free = pointer(&mut r, s.end)?;
        s.history = pointer(&mut r, s.end)?;
        s.retention = r.u64()?;
        if s.retention > MAX_RETENTION {
            return Err(NEWER);
        }
        Ok(Some(s))
    }
}

/// The number of bytes to read from [`SLOTS_AT`] on, to get both slots and the copies.
pub(crate) const SLOTS: usize = (SLOT_B - SLOT_A + COPY) as usize + SLOT;
pub(crate) const SLOTS_AT: u64 = SLOT_A;

/// Returns the intact slots, the newest first. If one slot is not intact, a valid copy replaces it. Copies without an
/// intact slot are not used, because they may be old. The sequence of the other slot was at most one ahead: a copy that is
/// further ahead belongs to another history, over which an older copy of the file was written.
pub(crate) fn whole(bytes: &[u8]) -> Decoded<Vec<Slot>> {
    let at = |n: u64| Slot::decode(bytes.get(n as usize..n as usize + SLOT).unwrap_or(&[]));
    let mut all: Vec<Slot> = [at(0)?, at(SLOT_B - SLOT_A)?].into_iter().flatten().collect();
    if let [slot] = all[..] {
        let copies = [at(COPY)?, at(SLOT_B - SLOT_A + COPY)?].into_iter().flatten();
        all.extend(copies.filter(|copy| copy.sequence <= slot.sequence.saturating_add(1)));
    }
    all.sort_by_key(|s| std::cmp::Reverse(s.sequence));
    all.dedup();
    Ok(all)
}

/// Returns the newest of the two slots, or `None` if neither is intact.
pub(crate) fn newest(bytes: &[u8]) -> Decoded<Option<Slot>> {
    whole(bytes).map(|slots| slots.first().copied())
}

/// Returns whether the bytes are the start of a container in a file. The manifest of a container in an object store begins
/// with the same bytes, but has no slots. `bytes` are as many of the first [`DATA`] bytes as there are.
pub(crate) fn has_slots(bytes: &[u8]) -> bool {
    let is_slot = |at: u64| bytes.get(at as usize..).is_some_and(|tail| tail.starts_with(SLOT_MAGIC));
    [SLOT_A, SLOT_A + COPY, SLOT_B, SLOT_B + COPY].into_iter().any(is_slot)
}

/// Returns the superblock of a new container: all bytes before [`DATA`].
pub(crate) fn new_head(fixed: &Fixed, slot: &Slot) -> Vec<u8> {
    let mut out = fixed.encode();
    out.resize(DATA as usize, 0);
    let (at, bytes) = (slot.position() as usize, slot.encode());
    out[at..at + bytes.len()].copy_from_slice(&bytes);
    out
}

/// Encodes the writer's note, which names the process that has the container open for writing.
pub(crate) fn encode_note(h: &Holder) -> Vec<u8> {
    let mut out = b"h5lW".to_vec();
    // A host name has at most 64 bytes on Linux, and the note has to fit in any case.
    let host = h.host.as_bytes();
    put_string(&mut out, &host[..host.len().min(128)]);
    put_varint(&mut out, u64::from(h.pid));
    put_varint(&mut out, h.since);
    seal(&mut out);
    out.resize(NOTE_LEN, 0);
    out
}

pub(crate) fn decode_note(bytes: &[u8]) -> Option<Holder> {
    let mut r = Reader::new(bytes);
    let mut read = || -> Decoded<Holder> {
        if r.take(4)? != b"h5lW" {
            return Err("no note");
        }
        let host = String::from_utf8_lossy(r.string()?).into_owned();
        let pid = u32::try_from(r.varint()?).map_err(|_| "no pid")?;
        let since = r.number()?;
        let end = r.position();
        unseal(bytes.get(..end + 4).ok_or("cut short")?)?;
        Ok(Holder { host, pid, since })
    };
    read().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_intact_slot_wins() {
        let fixed = Fixed { id: [7; 16], base: 0, created: 9, tags: false, sources: false };
        let mut s = Slot { sequence: 4, version: 2, end: DATA + 64, base_end: DATA, ..Slot::default() };
        s.record = Some(PageRef { place: Address::file(DATA, 64), crc: 3 });
        let mut head = new_head(&fixed, &s);
        assert_eq!(Fixed::decode(&head, "x").unwrap(), fixed);
        assert_eq!(newest(&head[SLOTS_AT as usize..]), Ok(Some(s)));
        let later = Slot { sequence: 5, ..s };
        let at = later.position() as usize;
        head[at..at + SLOT].copy_from_slice(&later.encode());
        assert_eq!(newest(&head[SLOTS_AT as usize..]), Ok(Some(later)));
        for n in 0..SLOT {
            let mut torn = head.clone();
            torn[at + n] ^= 4;
            assert_eq!(newest(&torn[SLOTS_AT as usize..]), Ok(Some(s)), "byte {n}");
        }
        // With a copy, no version is lost.
        let copy = later.copy_position() as usize;
        head[copy..copy + SLOT].copy_from_slice(&later.encode());
        assert_ne!(at / 4096, copy / 4096);
        for n in 0..SLOT {
            let mut damaged = head.clone();
            damaged[at + n] ^= 4;
            assert_eq!(newest(&damaged[SLOTS_AT as usize..]), Ok(Some(later)), "byte {n}");
            damaged[s.position() as usize + n] ^= 4;
            assert_eq!(newest(&damaged[SLOTS_AT as usize..]), Ok(None), "byte {n}: a copy alone");
        }
        // An old copy has no effect.
        let last = Slot { sequence: 6, version: 3, ..s };
        let at = last.position() as usize;
        head[at..at + SLOT].copy_from_slice(&last.encode());
        assert_eq!(whole(&head[SLOTS_AT as usize..]), Ok(vec![last, later]));
    }

    #[test]
    fn a_copy_of_another_history_stands_in_for_no_slot() {
        let fixed = Fixed { id: [7; 16], base: 0, created: 9, tags: false, sources: false };
        let slot = Slot { sequence: 4, version: 2, end: DATA + 64, base_end: DATA, ..Slot::default() };
        for (sequence, counts) in [(3, true), (5, true), (7, false), (23, false)] {
            let copy = Slot { sequence, ..slot };
            let mut head = new_head(&fixed, &slot);
            // The other slot is torn.
            head[SLOT_B as usize..SLOT_B as usize + SLOT].fill(0xaa);
            let at = copy.copy_position() as usize;
            head[at..at + SLOT].copy_from_slice(&copy.encode());
            let found = whole(&head[SLOTS_AT as usize..]).unwrap();
            assert_eq!((found.contains(&copy), found.contains(&slot)), (counts, true), "{sequence}");
        }
    }

    #[test]
    fn a_writers_note_round_trips() {
        let h = Holder { host: "node".into(), pid: 12, since: 34 };
        assert_eq!(decode_note(&encode_note(&h)), Some(h));
        assert_eq!(decode_note(&[0; NOTE_LEN]), None);
    }

    #[test]
    fn later_formats_are_refused_by_name() {
        let mut bytes = Fixed { id: [0; 16], base: 0, created: 0, tags: false, sources: false }.encode();
        bytes[16] = 9;
        let e = Fixed::decode(&bytes, "x").unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::NewerFormat { .. }), "{e}");
    }
}
