//! The metalayer of a frame that describes its array (README_B2ND_METALAYER.rst of c-blosc2): MessagePack, big-endian.

use super::geometry::Geometry;
use super::{MAX_ELEMENT_BYTES, MAX_RANK};

/// Its name, and its previous name.
pub(super) const NAMES: [&[u8]; 2] = [b"b2nd", b"caterva"];

/// MessagePack's marks of a short array, of signed numbers of 4 and 8 bytes, and of text with a length.
const ARRAY: u8 = 0x90;
const INT32: u8 = 0xd2;
const INT64: u8 = 0xd3;
const TEXT32: u8 = 0xdb;
/// Number of elements: version, rank, three shapes, and the type in two elements.
const ELEMENTS: u8 = 7;

/// Returns the metalayer of an array in one chunk, of elements of `size` bytes.
pub(super) fn write(geometry: &Geometry, size: usize) -> Option<Vec<u8>> {
    let rank = u8::try_from(geometry.shape.len()).ok()?;
    let mut out = vec![ARRAY + ELEMENTS, 0, rank, ARRAY + rank];
    for dim in &geometry.shape {
        out.push(INT64);
        out.extend(i64::try_from(*dim).ok()?.to_be_bytes());
    }
    for shape in [&geometry.chunk, &geometry.block] {
        out.push(ARRAY + rank);
        for dim in shape {
            out.push(INT32);
            out.extend(i32::try_from(*dim).ok()?.to_be_bytes());
        }
    }
    // The type in the form of NumPy. It is always a type of bytes, because the dataset has the actual type.
    let name = format!("|V{size}");
    out.extend([0, TEXT32]);
    out.extend(u32::try_from(name.len()).ok()?.to_be_bytes());
    out.extend(name.bytes());
    Some(out)
}

/// Reads a metalayer of an array of at most `limit` bytes, in a frame with elements of `size` bytes and chunks of
/// `chunk_bytes`.
///
/// # Errors
/// Damage.
pub(super) fn read(
    mut data: &[u8],
    size: usize,
    chunk_bytes: usize,
    limit: usize,
) -> Result<Geometry, String> {
    let damage = || "damaged data: the metalayer of an array".to_owned();
    let [_, _, rank] = next(&mut data).ok_or_else(damage)?;
    if !(1..=MAX_RANK).contains(&usize::from(rank)) {
        return Err(format!("damaged data: an array of rank {rank}"));
    }
    let shape = numbers::<8>(&mut data, rank, INT64, i64::from_be_bytes).ok_or_else(damage)?;
    let narrow = |bytes| i64::from(i32::from_be_bytes(bytes));
    let chunk = numbers::<4>(&mut data, rank, INT32, narrow).ok_or_else(damage)?;
    let block = numbers::<4>(&mut data, rank, INT32, narrow).ok_or_else(damage)?;
    let geometry = Geometry::new(shape, chunk, block, size, limit)?;
    // c-blosc2 reports the size 1 for elements above 255 bytes.
    match chunk_bytes.checked_div(geometry.chunk_bytes()) {
        Some(larger) if size == 1 && larger > MAX_ELEMENT_BYTES => {
            Geometry::new(geometry.shape, geometry.chunk, geometry.block, larger, limit)
        }
        _ => Ok(geometry),
    }
}

fn next<const BYTES: usize>(data: &mut &[u8]) -> Option<[u8; BYTES]> {
    let (bytes, rest) = data.split_first_chunk()?;
    *data = rest;
    Some(*bytes)
}

/// Reads an array of numbers that each have the mark `mark`.
fn numbers<const BYTES: usize>(
    data: &mut &[u8],
    rank: u8,
    mark: u8,
    of: impl Fn([u8; BYTES]) -> i64,
) -> Option<Vec<usize>> {
    next(data).filter(|[array]| *array == ARRAY + rank)?;
    let number = |_| {
        next(data).filter(|[found]| *found == mark)?;
        usize::try_from(of(next(data)?)).ok()
    };
    (0..rank).map(number).collect()
}
