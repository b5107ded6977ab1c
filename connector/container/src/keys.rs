//! The keys of the map: a letter, the owner's id, and what tells its things apart, all big-endian, so that one
//! scan of a prefix lists what an object owns.

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

/// The key, or the prefix of all keys, of one letter and id.
pub(crate) fn of(letter: u8, id: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(32);
    key.push(letter);
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// A link's or an attribute's key.
pub(crate) fn named(letter: u8, id: u64, name: &[u8]) -> Vec<u8> {
    let mut key = of(letter, id);
    key.extend_from_slice(name);
    key
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
