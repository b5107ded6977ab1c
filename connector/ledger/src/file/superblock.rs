//! The head of a container's file: what it is, and the two slots that say which version is the newest.

use crate::address::{Address, PageRef};
use crate::checksum::{seal, unseal};
use crate::codec::{Decoded, Reader, put_string, put_varint};
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
/// How far behind each slot there is room for a copy of the other one.
const COPY: u64 = 256;
/// Where it stands up to which sequence room was used again.
pub(crate) const RECLAIMED: u64 = 1536;
/// Where extents begin.
pub(crate) const DATA: u64 = 4608;

/// Slots and copies, with what they are.
pub(crate) const SLOT_PLACES: [(&str, u64); 4] = [
    ("head slot", SLOT_A),
    ("copy of a head slot", SLOT_A + COPY),
    ("head slot", SLOT_B),
    ("copy of a head slot", SLOT_B + COPY),
];

/// What each slot begins with.
const SLOT_MAGIC: &[u8; 4] = b"h5lS";
/// So many bytes from the head's begin show, in all but damaged files, that it is a file's: the first slot's magic is behind them.
pub(crate) const MIN_TELLING_BYTES: usize = SLOT_A as usize + SLOT_MAGIC.len();

/// The feature of a file whose records may hold edits.
const EDITS: u32 = 2;
/// The feature of a file that has, or had, tags.
const TAGS: u32 = 4;
/// The feature of a file that may have extents in sources.
const SOURCES: u32 = 8;
/// Where the features lie that whoever opens the container has to know.
const FEATURES_AT: usize = 20;

/// Where the container's id lies.
const ID_AT: usize = 28;

/// The id in the fixed part of a head whose checksum may be wrong; zeros in place of what is cut off.
pub(crate) fn unchecked_id(bytes: &[u8]) -> [u8; 16] {
    let mut id = [0; 16];
    let there = bytes.iter().skip(ID_AT);
    id.iter_mut().zip(there).for_each(|(to, from)| *to = *from);
    id
}

/// What never changes in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub(crate) id: [u8; 16],
    pub(crate) base: u64,
    pub(crate) created: u64,
    /// Records may say how values differ from those before; in a file.
    pub(crate) edits: bool,
    /// There are tags, or were; in a file.
    pub(crate) tags: bool,
    /// There may be extents in sources.
    pub(crate) sources: bool,
}

impl Fixed {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let features = [(self.edits, EDITS), (self.tags, TAGS), (self.sources, SOURCES)];
        self.encode_with(features.iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, bit)| all | bit))
    }

    /// With features that whoever opens it has to know.
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
        Ok(Self { edits: has(EDITS), tags: has(TAGS), sources: has(SOURCES), ..fixed })
    }

    /// The same, and those of the `known` features that it has.
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
        // A later format may have another head, so its number is believed before the checksum is asked.
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
        let mut rest = || -> Decoded<Self> {
            let (id, base, created) = (r.id()?, r.number64()?, r.number64()?);
            Ok(Self { id, base, created, edits: false, tags: false, sources: false })
        };
        rest().map(|fixed| (fixed, needed)).map_err(bad)
    }
}

/// The fixed part of a file's head as `bytes`, and with the feature of tags.
pub(crate) fn with_tags(bytes: &[u8; FIXED]) -> Vec<u8> {
    let mut out = bytes[..FIXED - 4].to_vec();
    // The bit lies in the lowest byte.
    out[FEATURES_AT] |= TAGS as u8;
    seal(&mut out);
    out
}

/// One head slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Slot {
    pub(crate) sequence: u64,
    pub(crate) version: u64,
    pub(crate) time: u64,
    pub(crate) end: u64,
    pub(crate) base_version: u64,
    /// `end` as it was at the base.
    pub(crate) base_end: u64,
    pub(crate) log_bytes: u64,
    pub(crate) record: Option<PageRef>,
    pub(crate) root: Option<PageRef>,
    pub(crate) free: Option<PageRef>,
    /// What leads to versions before the base.
    pub(crate) history: Option<PageRef>,
    /// Milliseconds for which replaced versions are kept, plus one; 0 where nobody said.
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
    /// Where this slot's sequence is written.
    pub(crate) fn position(&self) -> u64 {
        if self.sequence.is_multiple_of(2) { SLOT_A } else { SLOT_B }
    }

    /// Where a copy of it is put at close: in the other block.
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
        out.extend_from_slice(&self.retention.to_le_bytes());
        seal(&mut out);
        out
    }

    /// A slot, or `None` if its checksum is wrong: never written, or torn.
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
        // None of these gets near 2^62 in earnest; below it, sums of two cannot overflow.
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
        Ok(Some(s))
    }
}

/// Bytes to read, from [`SLOTS_AT`] on, to have both slots and the copies.
pub(crate) const SLOTS: usize = (SLOT_B - SLOT_A + COPY) as usize + SLOT;
pub(crate) const SLOTS_AT: u64 = SLOT_A;

/// The slots that are whole, the newest first. Where one is not, a copy stands in for it; alone they tell nothing, since nobody
/// could say whether they are old. The slot that is not whole was one ahead at most: a copy that is further ahead is of another
/// history, over which somebody put an older copy of the file.
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

/// The newest of the two slots; `None` if neither is whole.
pub(crate) fn newest(bytes: &[u8]) -> Decoded<Option<Slot>> {
    whole(bytes).map(|slots| slots.first().copied())
}

/// Returns whether bytes begin a container in one file: the manifest of a container in an object store begins alike, but has no slots.
/// `bytes` are as many of the first [`DATA`] as there are.
pub(crate) fn has_slots(bytes: &[u8]) -> bool {
    let is_slot = |at: u64| bytes.get(at as usize..).is_some_and(|rest| rest.starts_with(SLOT_MAGIC));
    [SLOT_A, SLOT_A + COPY, SLOT_B, SLOT_B + COPY].into_iter().any(is_slot)
}

/// The head of a new container: everything before [`DATA`].
pub(crate) fn new_head(fixed: &Fixed, slot: &Slot) -> Vec<u8> {
    let mut out = fixed.encode();
    out.resize(DATA as usize, 0);
    let (at, bytes) = (slot.position() as usize, slot.encode());
    out[at..at + bytes.len()].copy_from_slice(&bytes);
    out
}

/// The writer's note: who has the container open for writing.
pub(crate) fn encode_note(h: &Holder) -> Vec<u8> {
    let mut out = b"h5lW".to_vec();
    // A host name has at most 64 bytes on Linux; whatever it is, the note has to fit.
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
        let fixed = Fixed { id: [7; 16], base: 0, created: 9, edits: false, tags: false, sources: false };
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
        // With a copy nothing is lost.
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
        // An old one is in nobody's way.
        let last = Slot { sequence: 6, version: 3, ..s };
        let at = last.position() as usize;
        head[at..at + SLOT].copy_from_slice(&last.encode());
        assert_eq!(whole(&head[SLOTS_AT as usize..]), Ok(vec![last, later]));
    }

    #[test]
    fn a_copy_of_another_history_stands_in_for_no_slot() {
        let fixed = Fixed { id: [7; 16], base: 0, created: 9, edits: false, tags: false, sources: false };
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
        let mut bytes =
            Fixed { id: [0; 16], base: 0, created: 0, edits: false, tags: false, sources: false }.encode();
        bytes[16] = 9;
        let e = Fixed::decode(&bytes, "x").unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::NewerFormat { .. }), "{e}");
    }
}
