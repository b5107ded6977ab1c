//! The frame of everything that the core encodes except the head object: magic, codec, key id, content, checksum.
//!
//! Codec and key id are reserved and zero. A reader refuses other values as newer, so that compressed or encrypted frames
//! can be introduced without a new container format.

use crate::checksum::{seal, unseal, unseal_as};
use crate::codec::{Decoded, NEWER, Reader, put_varint};

/// The codec of uncompressed content.
const PLAIN: u64 = 0;
/// The key id of content that is not encrypted.
const NO_KEY: u64 = 0;

/// Appends the reserved fields.
pub(crate) fn put_reserved(out: &mut Vec<u8>) {
    put_varint(out, PLAIN);
    put_varint(out, NO_KEY);
}

/// Checks the reserved fields.
pub(crate) fn read_reserved(r: &mut Reader<'_>) -> Decoded<()> {
    if (r.varint()?, r.varint()?) == (PLAIN, NO_KEY) { Ok(()) } else { Err(NEWER) }
}

/// Begins a frame.
pub(crate) fn begin(magic: &[u8; 4]) -> Vec<u8> {
    let mut out = magic.to_vec();
    put_reserved(&mut out);
    out
}

/// Ends a frame with the checksum, and returns the checksum.
pub(crate) fn end(out: &mut Vec<u8>) -> u32 {
    seal(out)
}

/// Opens a frame without a reference that states its checksum.
pub(crate) fn open<'a>(bytes: &'a [u8], magic: &[u8; 4]) -> Decoded<Reader<'a>> {
    content(unseal(bytes)?.0, magic)
}

/// Opens a frame. The checksum is that of the page reference to it.
pub(crate) fn open_as<'a>(bytes: &'a [u8], magic: &[u8; 4], crc: u32) -> Decoded<Reader<'a>> {
    content(unseal_as(bytes, crc)?, magic)
}

fn content<'a>(body: &'a [u8], magic: &[u8; 4]) -> Decoded<Reader<'a>> {
    let mut r = Reader::new(body);
    if r.take(4)? != magic {
        return Err("a frame of another kind");
    }
    read_reserved(&mut r)?;
    Ok(r)
}

/// Reads the count of a list. Its items have at least `least` bytes each, and there are at most `most` items.
pub(crate) fn read_count(r: &mut Reader<'_>, least: usize, most: usize) -> Decoded<usize> {
    let count = r.varint()?;
    let bound = most.min(r.remaining() / least.max(1));
    if count > bound as u64 { Err("a list is longer than it can be") } else { Ok(count as usize) }
}

/// Reads a list with the limits of [`read_count`].
pub(crate) fn read_list<T>(
    r: &mut Reader<'_>,
    (least, most): (usize, usize),
    item: impl Fn(&mut Reader<'_>) -> Decoded<T>,
) -> Decoded<Vec<T>> {
    (0..read_count(r, least, most)?).map(|_| item(r)).collect()
}

/// Encodes a list, count first.
pub(crate) fn put_list<T>(out: &mut Vec<u8>, items: &[T], item: impl Fn(&T, &mut Vec<u8>)) {
    put_varint(out, items.len() as u64);
    items.iter().for_each(|i| item(i, out));
}

/// Reads a byte that is 0 or 1. Other values are refused, so that each manifest has one encoding.
pub(crate) fn read_flag(r: &mut Reader<'_>) -> Decoded<bool> {
    match r.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err("neither yes nor no"),
    }
}

/// Encodes an optional item after a flag.
pub(crate) fn put_optional<T>(out: &mut Vec<u8>, item: Option<T>, put: impl FnOnce(T, &mut Vec<u8>)) {
    out.push(u8::from(item.is_some()));
    if let Some(item) = item {
        put(item, out);
    }
}

/// Reads an optional item after a flag.
pub(crate) fn read_optional<T>(
    r: &mut Reader<'_>,
    read: impl FnOnce(&mut Reader<'_>) -> Decoded<T>,
) -> Decoded<Option<T>> {
    read_flag(r)?.then(|| read(r)).transpose()
}

/// Returns an error unless numbers ascend strictly.
pub(crate) fn check_ascending(numbers: impl Iterator<Item = u64>) -> Decoded<()> {
    if numbers.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err("entries are out of order") }
}
