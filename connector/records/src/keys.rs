//! The keys of entries: a letter, the owner's id, and the identity of the entry within its owner, all big-endian, so
//! that one scan of a prefix lists all entries of an object.

use std::sync::Arc;

/// The container's own record.
pub const CONTAINER: &[u8] = b"C";
/// The number of the next object.
pub const NEXT_OBJECT: &[u8] = b"N";
/// Orphan marks: objects without links, which are deleted when they are closed.
pub const ORPHAN: u8 = b'Z';
/// Object headers.
pub const HEADER: u8 = b'O';
/// Links.
pub const LINK: u8 = b'L';
/// Attributes.
pub const ATTRIBUTE: u8 = b'A';
/// Blocks of datasets.
pub const BLOCK: u8 = b'B';
/// Heap segments.
pub const SEGMENT: u8 = b'H';
/// The number of a segment of a shared writer is this plus a number from the container's counter, which returns no number
/// twice.
pub const COUNTED_SEGMENT: u32 = 1 << 31;
/// Usage of heap segments.
pub const USAGE: u8 = b'U';

/// Tags, which belong to the ledger.
pub const TAG: u8 = b'T';
/// Branches, which belong to the ledger.
pub const BRANCH: u8 = h5lake_ledger::BRANCH;
/// Sources, which belong to the ledger.
pub const SOURCE: u8 = h5lake_ledger::SOURCE;
/// The origin of a copy, which belongs to the ledger.
pub const ORIGIN: u8 = b'S';

/// Returns the key, or the prefix of all keys, of one letter and id.
pub fn of(letter: u8, id: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(32);
    key.push(letter);
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// Names up to this many bytes are stored in keys unchanged.
pub const MAX_PLAIN_NAME: usize = 1024;

/// Returns a link's or an attribute's key. For a longer name it contains the beginning and a hash (FNV-1a, 128 bits);
/// the name itself is then in the value, and is compared by a lookup.
pub fn named(letter: u8, id: u64, name: &[u8]) -> Vec<u8> {
    let mut key = of(letter, id);
    match name.get(..MAX_PLAIN_NAME) {
        Some(beginning) if name.len() > MAX_PLAIN_NAME => {
            key.extend_from_slice(beginning);
            key.extend_from_slice(&fnv(name).to_be_bytes());
        }
        _ => key.extend_from_slice(name),
    }
    key
}

/// Returns an attribute's key, as a shared allocation.
pub fn attribute(id: u64, name: &[u8]) -> Arc<[u8]> {
    let mut short = [0; 64];
    match short.get_mut(..9 + name.len()) {
        Some(key) => {
            key[0] = ATTRIBUTE;
            key[1..9].copy_from_slice(&id.to_be_bytes());
            key[9..].copy_from_slice(name);
            (&*key).into()
        }
        None => named(ATTRIBUTE, id, name).into(),
    }
}

/// Returns the key of the same attribute on another object.
pub fn attribute_of(other: u64, key: &[u8]) -> Arc<[u8]> {
    [&of(ATTRIBUTE, other)[..], tail(key)].concat().into()
}

fn fnv(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |h, &b| (h ^ u128::from(b)).wrapping_mul(PRIME))
}

/// Returns the name for a value: empty, unless the name is too long for a key.
pub fn beside(name: &[u8]) -> Vec<u8> {
    if name.len() > MAX_PLAIN_NAME { name.to_vec() } else { Vec::new() }
}

/// Returns the name of an entry, from its value if that contains it, otherwise from its key.
pub fn name<'a>(key: &'a [u8], beside: &'a [u8]) -> &'a [u8] {
    if beside.is_empty() { tail(key) } else { beside }
}

/// Returns a block's key.
pub fn block(id: u64, coords: &[u64]) -> Vec<u8> {
    let mut key = of(BLOCK, id);
    for c in coords {
        key.extend_from_slice(&c.to_be_bytes());
    }
    key
}

/// Returns a heap segment's key, or that of its usage.
pub fn segment(letter: u8, owner: u64, number: u32) -> Vec<u8> {
    let mut key = of(letter, owner);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// Returns the number in the key of a heap segment, or of its usage.
pub fn segment_number(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(tail(key).try_into().ok()?))
}

/// Returns whether a block or a segment is not its owner's first one.
pub fn is_later(key: &[u8]) -> bool {
    tail(key).iter().any(|b| *b != 0)
}

/// Returns the id in a key of [`of`]'s form.
pub fn id(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?))
}

/// Returns the part after the id.
pub fn tail(key: &[u8]) -> &[u8] {
    key.get(9..).unwrap_or_default()
}

/// Returns the coordinates in a block's key.
pub fn coords(key: &[u8]) -> Vec<u64> {
    let numbers = tail(key).chunks_exact(8);
    numbers.map(|c| c.iter().fold(0, |n, &b| n << 8 | u64::from(b))).collect()
}
