//! The keys of the map: a letter, the owner's id, and what tells its things apart, all big-endian, so that one
//! scan of a prefix lists what an object owns.

use std::sync::Arc;

/// The container's own record.
pub(crate) const CONTAINER: &[u8] = b"C";
/// The number of the next object.
pub(crate) const NEXT_OBJECT: &[u8] = b"N";
/// Objects without links, to be removed when they are closed.
pub(crate) const ORPHAN: u8 = b'Z';
/// Object headers.
pub(crate) const HEADER: u8 = b'O';
/// Links.
pub(crate) const LINK: u8 = b'L';
/// Attributes.
pub(crate) const ATTRIBUTE: u8 = b'A';
/// Blocks of datasets.
pub(crate) const BLOCK: u8 = b'B';
/// Heap segments.
pub(crate) const SEGMENT: u8 = b'H';
/// Usage of heap segments.
pub(crate) const USAGE: u8 = b'U';

/// Tags, which are the ledger's.
pub(crate) const TAG: u8 = b'T';
/// Branches, which are the ledger's too.
pub(crate) const BRANCH: u8 = h5lake_ledger::BRANCH;
/// Sources, which are the ledger's too.
pub(crate) const SOURCE: u8 = h5lake_ledger::SOURCE;
/// What a copy shows, which is the ledger's too.
pub(crate) const ORIGIN: u8 = b'S';

/// The key, or the prefix of all keys, of one letter and id.
pub(crate) fn of(letter: u8, id: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(32);
    key.push(letter);
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// Names up to this many bytes stand in keys as they are.
pub(crate) const MAX_PLAIN_NAME: usize = 1024;

/// A link's or an attribute's key. Of a longer name it has the beginning and a hash (FNV-1a, 128 bits); the name
/// itself is then in the value, and is compared when it is looked up.
pub(crate) fn named(letter: u8, id: u64, name: &[u8]) -> Vec<u8> {
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

/// An attribute's key, for those that several hold.
pub(crate) fn attribute(id: u64, name: &[u8]) -> Arc<[u8]> {
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

/// The key of the same attribute on another object.
pub(crate) fn attribute_of(other: u64, key: &[u8]) -> Arc<[u8]> {
    [&of(ATTRIBUTE, other)[..], rest(key)].concat().into()
}

fn fnv(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |h, &b| (h ^ u128::from(b)).wrapping_mul(PRIME))
}

/// What a value has to hold of a name: nothing, unless it is longer than a key takes.
pub(crate) fn beside(name: &[u8]) -> Vec<u8> {
    if name.len() > MAX_PLAIN_NAME { name.to_vec() } else { Vec::new() }
}

/// The name of an entry, from its key or from beside it.
pub(crate) fn name<'a>(key: &'a [u8], beside: &'a [u8]) -> &'a [u8] {
    if beside.is_empty() { rest(key) } else { beside }
}

/// A block's key.
pub(crate) fn block(id: u64, coords: &[u64]) -> Vec<u8> {
    let mut key = of(BLOCK, id);
    for c in coords {
        key.extend_from_slice(&c.to_be_bytes());
    }
    key
}

/// A heap segment's key, or that of its usage.
pub(crate) fn segment(letter: u8, owner: u64, number: u32) -> Vec<u8> {
    let mut key = of(letter, owner);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The number in the key of a heap segment, or of its usage.
pub(crate) fn segment_number(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(rest(key).try_into().ok()?))
}

/// Whether a block or a segment is another one than its owner's first.
pub(crate) fn is_later(key: &[u8]) -> bool {
    rest(key).iter().any(|b| *b != 0)
}

/// The id in a key of [`of`]'s form.
pub(crate) fn id(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?))
}

/// What follows the id.
pub(crate) fn rest(key: &[u8]) -> &[u8] {
    key.get(9..).unwrap_or_default()
}

/// The coordinates in a block's key.
pub(crate) fn coords(key: &[u8]) -> Vec<u64> {
    let numbers = rest(key).chunks_exact(8);
    numbers.map(|c| c.iter().fold(0, |n, &b| n << 8 | u64::from(b))).collect()
}
