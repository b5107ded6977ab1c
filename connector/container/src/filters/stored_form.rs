//! The forms in which codecs store data as they are, for chunks that do not get shorter.

use crate::types::Filter;

/// The most bytes of a stored block of deflate (RFC 1951, 3.2.4).
const DEFLATE_BLOCK: usize = 0xffff;
/// The most bytes of a block of Zstandard (RFC 8878, 3.1.1.2).
const ZSTD_BLOCK: usize = 128 << 10;

/// Data as deflate, Zstandard or Blosc store them; `None` for another filter, and for data too long for the form.
pub(super) fn encode(filter: &Filter, data: &[u8]) -> Option<Vec<u8>> {
    match filter.id {
        1 => Some(zlib(data)),
        32015 => zstd(data),
        32001 => blosc(data, filter.client_data.get(2).copied().unwrap_or(1)),
        _ => None,
    }
}

/// A zlib stream of stored blocks (RFC 1950).
fn zlib(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut parts = data.chunks(DEFLATE_BLOCK).peekable();
    if parts.peek().is_none() {
        out.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(part) = parts.next() {
        // At most `DEFLATE_BLOCK`.
        let length = part.len() as u16;
        out.push(u8::from(parts.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(part);
    }
    out.extend(adler32(data).to_be_bytes());
    out
}

/// The checksum of a zlib stream (RFC 1950, 8.2).
fn adler32(data: &[u8]) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    // So many bytes do not overflow.
    for part in data.chunks(5552) {
        for byte in part {
            a += u32::from(*byte);
            b += a;
        }
        (a, b) = (a % 65_521, b % 65_521);
    }
    b << 16 | a
}

/// A frame of raw blocks, with its content's size.
fn zstd(data: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(data.len()).ok()?;
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd];
    // A single segment, whose size has four bytes.
    out.push(0b1010_0000);
    out.extend(length.to_le_bytes());
    let mut parts = data.chunks(ZSTD_BLOCK).peekable();
    if parts.peek().is_none() {
        out.extend([1, 0, 0]);
    }
    while let Some(part) = parts.next() {
        let header = (part.len() as u32) << 3 | u32::from(parts.peek().is_none());
        out.extend(&header.to_le_bytes()[..3]);
        out.extend(part);
    }
    Some(out)
}

/// A chunk of Blosc 1 whose data are copied (`BLOSC_MEMCPYED`).
fn blosc(data: &[u8], size: u32) -> Option<Vec<u8>> {
    let length = u32::try_from(data.len()).ok()?;
    let total = length.checked_add(16)?;
    let mut out = vec![2, 1, 2, u8::try_from(size).unwrap_or(1).max(1)];
    for number in [length, length, total] {
        out.extend(number.to_le_bytes());
    }
    out.extend(data);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::super::{Pipeline, encode_with_all};
    use super::*;

    fn filter(id: i32, client_data: &[u32]) -> Filter {
        Filter { id, flags: 1, name: Vec::new(), client_data: client_data.to_vec() }
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut x = 1u64;
        let mut step = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8
        };
        (0..length).map(|_| step()).collect()
    }

    #[test]
    fn each_form_is_decoded_by_its_filter() {
        let kinds = [filter(1, &[6]), filter(32015, &[3]), filter(32001, &[2, 2, 4, 0, 5, 1, 0])];
        for length in [1, 31, 65_535, 65_536, 300_001] {
            let data = noise(length);
            for kind in &kinds {
                let pipeline = Pipeline::new(std::slice::from_ref(kind)).unwrap();
                let stored = encode(kind, &data).unwrap();
                assert!(pipeline.decode(stored, 0, length).unwrap() == data, "{} of {length}", kind.id);
            }
        }
        assert_eq!(encode(&filter(32000, &[]), &[1]), None);
    }

    #[test]
    fn all_filters_are_used_on_what_does_not_get_shorter() {
        let data = noise(40_000);
        let filters = [filter(2, &[4]), filter(1, &[6]), filter(3, &[])];
        let pipeline = Pipeline::new(&filters).unwrap();
        assert_ne!(pipeline.encode(&data).unwrap().0, 0, "deflate is skipped where it may be");
        let encoded = encode_with_all(&filters, &data).unwrap().unwrap();
        assert_eq!(pipeline.decode(encoded, 0, data.len()).unwrap(), data);
        assert_eq!(encode_with_all(&[filter(32013, &[])], &data).unwrap(), None);
    }
}
