//! Elements by bit: the matrix of elements and their bits, turned.
//!
//! Eight words of eight bytes go through at once: where a processor gives the highest bits of a vector's bytes as a number, in
//! vectors, and elsewhere in shifts and masks.

use super::shuffle::{elements_of_planes, planes_of};
use h5lake_ledger::buffers::Scratch;

/// Bytes of a plane that are turned at once.
const TILE: usize = 64;
/// Bytes of elements that are taken apart before their bits are turned: they stay in the nearest cache.
const STRIP_BYTES: usize = 4096;

#[cfg(not(target_arch = "x86_64"))]
use words as tiles;

/// Exchanges bit `8i + k` and bit `8k + i`.
#[inline]
fn turn_bits(mut x: u64) -> u64 {
    for (shift, mask) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0xf0f0_f0f0)] {
        let change = (x ^ x >> shift) & mask;
        x ^= change ^ change << shift;
    }
    x
}

/// Tiles in words, for any processor.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod words {
    use super::{TILE, turn_bits};

    /// Exchanges byte k of word i and byte i of word k.
    #[inline]
    fn turn_bytes(mut x: [u64; 8]) -> [u64; 8] {
        for (far, mask) in
            [(4, 0x0000_0000_ffff_ffff), (2, 0x0000_ffff_0000_ffff), (1, 0x00ff_00ff_00ff_00ff)]
        {
            let shift = 8 * far;
            for i in [0, 1, 2, 3, 4, 5, 6] {
                if i & far == 0 {
                    let change = (x[i] >> shift ^ x[i + far]) & mask;
                    x[i] ^= change << shift;
                    x[i + far] ^= change;
                }
            }
        }
        x
    }

    /// Bytes by bit: row n has bit n of each.
    pub(super) fn rows_of(tile: &[u8; TILE]) -> [u64; 8] {
        let mut words = [0; 8];
        for (word, group) in words.iter_mut().zip(tile.as_chunks().0) {
            *word = turn_bits(u64::from_le_bytes(*group));
        }
        turn_bytes(words)
    }

    /// The reverse of [`rows_of`].
    pub(super) fn tile_of(rows: [u64; 8], tile: &mut [u8; TILE]) {
        for (group, word) in tile.as_chunks_mut().0.iter_mut().zip(turn_bytes(rows)) {
            *group = turn_bits(word).to_le_bytes();
        }
    }
}

/// Tiles in vectors of 16 bytes, which each processor of this kind has.
#[cfg(target_arch = "x86_64")]
mod tiles {
    use super::TILE;
    use wide::{i16x8, u8x16};

    /// Bit n of each byte, from the first byte on, for every n.
    #[inline]
    fn bits_of(mut bytes: u8x16) -> [u64; 8] {
        let mut bits = [0; 8];
        for bits in bits.iter_mut().rev() {
            *bits = u64::from(bytes.to_bitmask());
            bytes += bytes;
        }
        bits
    }

    /// Bytes by bit: row n has bit n of each.
    #[inline]
    pub(super) fn rows_of(tile: &[u8; TILE]) -> [u64; 8] {
        let mut rows = [0; 8];
        for (n, bytes) in tile.as_chunks().0.iter().enumerate() {
            let bits = bits_of(u8x16::new(*bytes));
            for (row, bits) in rows.iter_mut().zip(bits) {
                *row |= bits << (16 * n);
            }
        }
        rows
    }

    /// The reverse of [`rows_of`].
    #[inline]
    pub(super) fn tile_of(rows: [u64; 8], tile: &mut [u8; TILE]) {
        let two = |n: usize| {
            let bytes = u128::from(rows[n + 1]) << 64 | u128::from(rows[n]);
            u8x16::new(bytes.to_le_bytes())
        };
        // The number of a byte here is its row and its column. Each time the halves are mixed byte by byte, the highest bit of the
        // number becomes the lowest one: after three times it is column and row.
        let mut groups = [two(0), two(2), two(4), two(6)];
        for _ in 0..3 {
            let [a, b, c, d] = groups;
            groups = [
                u8x16::unpack_low(a, c),
                u8x16::unpack_high(a, c),
                u8x16::unpack_low(b, d),
                u8x16::unpack_high(b, d),
            ];
        }
        for (out, group) in tile.as_chunks_mut::<16>().0.iter_mut().zip(groups) {
            let mut pairs = [0; 8];
            for (pair, bits) in pairs.iter_mut().zip(bits_of(group)) {
                *pair = (bits as u16).cast_signed();
            }
            let pairs = i16x8::new(pairs);
            let byte = i16x8::splat(0xff);
            *out = u8x16::narrow_i16x8(pairs & byte, (pairs >> 8) & byte).to_array();
        }
    }
}

/// Elements that are taken apart at once.
fn strip(size: usize) -> usize {
    (STRIP_BYTES / size / TILE * TILE).max(TILE)
}

/// Turns elements of `size` bytes into rows of bits: as many elements as a multiple of eight.
pub(super) fn bits_of(elements: &[u8], size: usize, rows: &mut [u8]) {
    let (strip, row) = (strip(size), elements.len() / size / 8);
    let mut planes = Scratch::new((strip * size).min(elements.len()));
    for (n, part) in elements.chunks(strip * size).enumerate() {
        let planes = &mut planes[..part.len()];
        planes_of(part, size, planes);
        let count = part.len() / size;
        for (plane, rows) in planes.chunks_exact(count).zip(rows.chunks_exact_mut(8 * row)) {
            bits_of_plane(plane, rows, row, n * strip / 8);
        }
    }
}

/// The reverse of [`bits_of`].
pub(super) fn elements_of(rows: &[u8], size: usize, elements: &mut [u8]) {
    let (strip, row) = (strip(size), elements.len() / size / 8);
    let mut planes = Scratch::new((strip * size).min(elements.len()));
    for (n, part) in elements.chunks_mut(strip * size).enumerate() {
        let planes = &mut planes[..part.len()];
        let count = part.len() / size;
        for (plane, rows) in planes.chunks_exact_mut(count).zip(rows.chunks_exact(8 * row)) {
            plane_of_bits(rows, row, n * strip / 8, plane);
        }
        elements_of_planes(planes, size, part);
    }
}

/// One byte of each element into eight rows of `row` bytes, from byte `at` of each.
fn bits_of_plane(plane: &[u8], rows: &mut [u8], row: usize, at: usize) {
    let (tiles, rest) = plane.as_chunks::<TILE>();
    for (n, tile) in tiles.iter().enumerate() {
        for (word, row) in tiles::rows_of(tile).iter().zip(rows.chunks_exact_mut(row)) {
            if let Some(place) = row[at + 8 * n..].first_chunk_mut() {
                *place = word.to_le_bytes();
            }
        }
    }
    let at = at + tiles.len() * 8;
    for (n, group) in rest.as_chunks::<8>().0.iter().enumerate() {
        let turned = turn_bits(u64::from_le_bytes(*group)).to_le_bytes();
        for (byte, row) in turned.iter().zip(rows.chunks_exact_mut(row)) {
            row[at + n] = *byte;
        }
    }
}

/// The reverse of [`bits_of_plane`].
fn plane_of_bits(rows: &[u8], row: usize, at: usize, plane: &mut [u8]) {
    let (tiles, rest) = plane.as_chunks_mut::<TILE>();
    let after = at + tiles.len() * 8;
    for (n, tile) in tiles.iter_mut().enumerate() {
        let mut words = [0u64; 8];
        for (word, row) in words.iter_mut().zip(rows.chunks_exact(row)) {
            if let Some(bytes) = row[at + 8 * n..].first_chunk() {
                *word = u64::from_le_bytes(*bytes);
            }
        }
        tiles::tile_of(words, tile);
    }
    for (n, group) in rest.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let mut bytes = [0; 8];
        for (byte, row) in bytes.iter_mut().zip(rows.chunks_exact(row)) {
            *byte = row[after + n];
        }
        *group = turn_bits(u64::from_le_bytes(bytes)).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tiles_are_the_same_on_each_processor(bytes in prop::array::uniform32(any::<u8>()), other in any::<[u8; 32]>()) {
            let mut tile = [0; TILE];
            tile[..32].copy_from_slice(&bytes);
            tile[32..].copy_from_slice(&other);
            let rows = words::rows_of(&tile);
            for (bit, row) in rows.iter().enumerate() {
                for (n, byte) in tile.iter().enumerate() {
                    prop_assert_eq!(row >> n & 1, u64::from(byte >> bit & 1));
                }
            }
            prop_assert_eq!(tiles::rows_of(&tile), rows);
            let (mut back, mut same) = ([0; TILE], [0; TILE]);
            words::tile_of(rows, &mut back);
            tiles::tile_of(rows, &mut same);
            prop_assert_eq!((back, same), (tile, tile));
        }
    }
}
