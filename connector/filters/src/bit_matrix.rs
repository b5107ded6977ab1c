//! Transposes the matrix of elements and their bits.
//!
//! One byte of each of 128 elements is processed at once, in eight vectors of 16 bytes. The bits are transposed within
//! each byte, by shifts and masks.

use super::shuffle::{elements_of_planes, mixed, planes_of};
use h5lake_ledger::buffers::Scratch;
use wide::{bytemuck, u8x16, u64x2};

/// Bytes of a vector.
const LANES: usize = 16;
/// Bytes of a plane that are transposed at once.
const TILE: usize = 8 * LANES;
/// Bytes of elements that are split into planes before their bits are transposed, so that they stay in the level-1
/// cache.
const STRIP_BYTES: usize = 4096;

/// Exchanges bit `8i + k` and bit `8k + i`.
#[inline]
fn turn_bits(mut x: u64) -> u64 {
    for (shift, mask) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0xf0f0_f0f0)] {
        let change = (x ^ x >> shift) & mask;
        x ^= change ^ change << shift;
    }
    x
}

/// Exchanges bits between each vector and the one `FAR` further on: the bits of the mask, and the bits `FAR` positions
/// above them.
#[inline(always)]
fn exchanged<const FAR: usize>(mut x: [u64x2; 8], mask: u64) -> [u64x2; 8] {
    let mask = u64x2::splat(mask);
    for i in (0..8 - FAR).filter(|i| i & FAR == 0) {
        let change = (x[i] >> FAR as u32 ^ x[i + FAR]) & mask;
        x[i + FAR] ^= change;
        x[i] ^= change << FAR as u32;
    }
    x
}

/// Exchanges bit k of each byte of vector i with bit i of the same byte of vector k.
#[inline(always)]
fn turned(vectors: [u8x16; 8]) -> [u8x16; 8] {
    let x = exchanged::<4>(bytemuck::cast(vectors), 0x0f0f_0f0f_0f0f_0f0f);
    let x = exchanged::<2>(x, 0x3333_3333_3333_3333);
    bytemuck::cast(exchanged::<1>(x, 0x5555_5555_5555_5555))
}

/// Transposes bytes into rows of bits: row n has bit n of each byte, eight to a byte.
#[inline(always)]
fn rows_of(tile: &[u8; TILE]) -> [u8x16; 8] {
    let vectors = std::array::from_fn(|n| u8x16::new(tile.as_chunks().0[n]));
    // Gathers each eighth byte into one vector: first from byte 0 on, then from byte 1 on, and so on.
    turned(mixed(vectors, LANES.trailing_zeros()))
}

/// Reverses [`rows_of`].
#[inline(always)]
fn tile_of(rows: [u8x16; 8], tile: &mut [u8; TILE]) {
    for (bytes, vector) in tile.as_chunks_mut().0.iter_mut().zip(mixed(turned(rows), 3)) {
        *bytes = vector.to_array();
    }
}

/// Returns the number of elements that are split into planes at once.
fn strip(size: usize) -> usize {
    (STRIP_BYTES / size / TILE * TILE).max(TILE)
}

/// Transposes elements of `size` bytes into rows of bits. The number of elements is a multiple of eight.
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

/// Reverses [`bits_of`].
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

/// Transposes one byte of each element into eight rows of `row` bytes, from byte `at` of each row.
fn bits_of_plane(plane: &[u8], rows: &mut [u8], row: usize, at: usize) {
    let (tiles, rest) = plane.as_chunks::<TILE>();
    let after = at + tiles.len() * LANES;
    let mut each = rows.chunks_exact_mut(row);
    let mut vectors: [&mut [[u8; LANES]]; 8] =
        std::array::from_fn(|_| each.next().map_or(&mut [][..], |row| row[at..after].as_chunks_mut().0));
    for (n, tile) in tiles.iter().enumerate() {
        for (row, bits) in vectors.iter_mut().zip(rows_of(tile)) {
            row[n] = bits.to_array();
        }
    }
    for (n, group) in rest.as_chunks::<8>().0.iter().enumerate() {
        let turned = turn_bits(u64::from_le_bytes(*group)).to_le_bytes();
        for (byte, row) in turned.iter().zip(rows.chunks_exact_mut(row)) {
            row[after + n] = *byte;
        }
    }
}

/// Reverses [`bits_of_plane`].
fn plane_of_bits(rows: &[u8], row: usize, at: usize, plane: &mut [u8]) {
    let (tiles, rest) = plane.as_chunks_mut::<TILE>();
    let after = at + tiles.len() * LANES;
    let mut each = rows.chunks_exact(row);
    let vectors: [&[[u8; LANES]]; 8] =
        std::array::from_fn(|_| each.next().map_or(&[][..], |row| row[at..after].as_chunks().0));
    for (n, tile) in tiles.iter_mut().enumerate() {
        tile_of(vectors.map(|row| u8x16::new(row[n])), tile);
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
        fn tiles_are_turned_by_the_definition(bytes in prop::collection::vec(any::<u8>(), TILE)) {
            let tile: [u8; TILE] = bytes.try_into().unwrap();
            let rows = rows_of(&tile);
            for (bit, row) in rows.iter().enumerate() {
                let row = row.to_array();
                for (n, byte) in tile.iter().enumerate() {
                    prop_assert_eq!(row[n / 8] >> (n % 8) & 1, byte >> bit & 1);
                }
            }
            let mut back = [0; TILE];
            tile_of(rows, &mut back);
            prop_assert_eq!(back, tile);
        }
    }
}
