//! Bitshuffle (filter 32008): transposes blocks of elements by bit, and optionally encodes them with LZ4 or Zstandard.
//!
//! The client data are the filter's version in two parts, the size of an element, and then, as far as given: the
//! elements of a block, the codec and its level. A block's bits are stored row by row: first the lowest bit of each
//! element's first byte, eight elements to a byte, the first one lowest. The last elements, if fewer than eight, stay
//! unchanged. An encoded chunk begins with its length and that of a block, in bytes, big-endian, and has a length
//! before each block (bshuf_h5filter.c, bitshuffle.c).

use super::bit_matrix::{bits_of, elements_of};
use super::{FilterCodec, lz4, read_u32, read_u64, scratch, zstd};
use h5lake_ledger::buffers::{self, Scratch};

/// Blocks have a multiple of this many elements.
const ROW: usize = 8;
/// Bytes of a block if the block size is not given (`bshuf_default_block_size`).
const DEFAULT_BLOCK_BYTES: usize = 8192;
/// Minimum number of elements of a block with default size.
const MIN_DEFAULT_BLOCK: usize = 128;
/// Bytes of the header: the length of the chunk, 8 bytes, and of a block, 4 bytes.
const HEADER_BYTES: usize = 12;
/// Bytes of the length before an encoded block.
const LENGTH_BYTES: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Lz4,
    /// Zstandard with this level.
    Zstd(i32),
}

impl Compression {
    /// Returns the maximum encoded length of a block of `len` bytes.
    fn bound(self, len: usize) -> Option<usize> {
        match self {
            Self::None => Some(len),
            Self::Lz4 => lz4::encoded_bound(len),
            Self::Zstd(_) => Some(zstd_safe::compress_bound(len)),
        }
    }

    fn encode(self, data: &[u8], out: &mut [u8]) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Lz4 => lz4::encode_block(data, out),
            Self::Zstd(level) => zstd::encode_block(data, out, level),
        }
    }

    fn decode(self, data: &[u8], out: &mut [u8]) -> Result<usize, String> {
        match self {
            Self::None => Err("a block that is not encoded".into()),
            Self::Lz4 => lz4::decode_block(data, out),
            Self::Zstd(_) => zstd::decode_block(data, out),
        }
    }
}

#[derive(Debug)]
pub(super) struct Bitshuffle {
    /// Bytes of an element; 0 if the filter did not set its parameters.
    size: usize,
    /// Elements of a block; 0 for the filter's own choice.
    block: usize,
    compression: Compression,
}

impl Bitshuffle {
    pub(super) fn new(client_data: &[u32]) -> Self {
        let value = |n: usize| client_data.get(n).copied().unwrap_or(0);
        let compression = match value(4) {
            2 => Compression::Lz4,
            3 => Compression::Zstd(value(5).cast_signed()),
            _ => Compression::None,
        };
        Self { size: value(2) as usize, block: value(3) as usize, compression }
    }

    /// Returns the number of elements of a block; `given` is the requested number, or 0.
    fn block(&self, given: usize) -> Result<usize, String> {
        let block = match given {
            0 => (DEFAULT_BLOCK_BYTES / self.size / ROW * ROW).max(MIN_DEFAULT_BLOCK),
            given => given,
        };
        (block % ROW == 0).then_some(block).ok_or_else(|| format!("blocks of {block} elements"))
    }

    /// Returns the bytes of a block, and the total bytes in blocks, in a chunk of `len` bytes.
    fn shape(&self, len: usize, given: usize) -> Result<(usize, usize), String> {
        if self.size == 0 {
            return Err("invalid bitshuffle parameters".into());
        }
        if !len.is_multiple_of(self.size) {
            return Err(format!("{len} bytes are no whole elements of {}", self.size));
        }
        let bytes = self.block(given)?.checked_mul(self.size).ok_or("blocks too large")?;
        Ok((bytes, len / self.size / ROW * ROW * self.size))
    }

    /// Reads a chunk's header: its length, and the number of elements of a block.
    fn header(&self, input: &mut &[u8]) -> Result<(usize, usize), String> {
        let none = || "damaged data: no header".to_owned();
        let len = read_u64(input).and_then(|len| usize::try_from(len).ok()).ok_or_else(none)?;
        let block = read_u32(input).ok_or_else(none)? as usize;
        Ok((len, block.checked_div(self.size).ok_or("invalid bitshuffle parameters")?))
    }

    /// Decodes the blocks after a header.
    fn decode_blocks(&self, mut input: &[u8], block: usize, out: &mut [u8]) -> Result<(), String> {
        let (block, in_blocks) = self.shape(out.len(), block)?;
        let (blocks, rest) = out.split_at_mut(in_blocks);
        let mut rows = scratch(block.min(in_blocks))?;
        for part in blocks.chunks_mut(block) {
            let rows = &mut rows[..part.len()];
            let encoded = lz4::next_block(&mut input)?;
            if self.compression.decode(encoded, rows)? != rows.len() {
                return Err("damaged data: a block is too short".into());
            }
            elements_of(rows, self.size, part);
        }
        rest.copy_from_slice(input.get(..rest.len()).ok_or("damaged data: cut short")?);
        Ok(())
    }

    fn encode_blocks(&self, data: &[u8]) -> Option<Vec<u8>> {
        let (block, in_blocks) = self.shape(data.len(), self.block).ok()?;
        let (blocks, rest) = data.split_at(in_blocks);
        let bound = |len| self.compression.bound(len)?.checked_add(LENGTH_BYTES);
        let whole = bound(block.min(in_blocks))?.checked_mul(in_blocks.div_ceil(block))?;
        let mut out = buffers::try_take(whole.checked_add(HEADER_BYTES + rest.len())?)?;
        out[..8].copy_from_slice(&(data.len() as u64).to_be_bytes());
        out[8..HEADER_BYTES].copy_from_slice(&u32::try_from(block).ok()?.to_be_bytes());
        let mut rows = Scratch::new(block.min(in_blocks));
        let mut at = HEADER_BYTES;
        for part in blocks.chunks(block) {
            let rows = &mut rows[..part.len()];
            bits_of(part, self.size, rows);
            let (length, rest) = out[at..].split_first_chunk_mut::<LENGTH_BYTES>()?;
            let encoded = self.compression.encode(rows, rest)?;
            *length = u32::try_from(encoded).ok()?.to_be_bytes();
            at += LENGTH_BYTES + encoded;
        }
        out[at..at + rest.len()].copy_from_slice(rest);
        out.truncate(at + rest.len());
        Some(out)
    }

    /// Transposes the blocks of a chunk without a codec.
    fn turn(&self, data: &[u8], out: &mut [u8], by: fn(&[u8], usize, &mut [u8])) -> Result<(), String> {
        let (block, in_blocks) = self.shape(data.len(), self.block)?;
        for (from, to) in data[..in_blocks].chunks(block).zip(out.chunks_mut(block)) {
            by(from, self.size, &mut to[..from.len()]);
        }
        out[in_blocks..].copy_from_slice(&data[in_blocks..]);
        Ok(())
    }
}

impl FilterCodec for Bitshuffle {
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        if self.compression != Compression::None {
            return self.encode_blocks(data);
        }
        let mut out = buffers::try_take(data.len())?;
        self.turn(data, &mut out, bits_of).ok()?;
        Some(out)
    }

    fn decoded_len(&self, mut data: &[u8]) -> Result<Option<usize>, String> {
        match self.compression {
            Compression::None => Ok(Some(data.len())),
            _ => self.header(&mut data).map(|(len, _)| Some(len)),
        }
    }

    fn decode_into(&self, mut data: &[u8], out: &mut [u8]) -> Result<Option<usize>, String> {
        match self.compression {
            Compression::None => self.turn(data, out, elements_of)?,
            _ => {
                let (_, block) = self.header(&mut data)?;
                self.decode_blocks(data, block, out)?;
            }
        }
        Ok(Some(out.len()))
    }

    fn max_encoded_bytes(&self, len: usize) -> usize {
        let Ok((block, in_blocks)) = self.shape(len, self.block) else { return len };
        let bound = self.compression.bound(block.min(in_blocks)).unwrap_or(len);
        let blocks = in_blocks.div_ceil(block).saturating_mul(bound.saturating_add(LENGTH_BYTES));
        blocks.saturating_add(HEADER_BYTES + len - in_blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Transposes bit by bit, directly from the definition.
    fn by_definition(data: &[u8], size: usize, block: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let whole = data.len() / size / ROW * ROW * size;
        for part in data[..whole].chunks(block * size) {
            let n = part.len() / size;
            for bit in 0..size * 8 {
                for group in 0..n / 8 {
                    let of = |i: usize| part[(group * 8 + i) * size + bit / 8] >> (bit % 8) & 1;
                    out.push((0..8).map(|i| of(i) << i).sum());
                }
            }
        }
        out.extend_from_slice(&data[whole..]);
        out
    }

    fn some(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 + i / 7 + i * i / 64) as u8).collect()
    }

    #[test]
    fn bits_are_stored_by_the_definition_for_every_size_and_length() {
        for size in (1..=17).chain([24, 32, 300]) {
            for (elements, block) in [(3, 8), (8, 8), (50, 16), (203, 64), (1029, 0), (1100, 1024)] {
                let codec = Bitshuffle::new(&[0, 4, size as u32, block]);
                let data = some(elements * size);
                let encoded = codec.encode(&data).unwrap();
                let wanted = by_definition(&data, size, codec.block(block as usize).unwrap());
                assert!(encoded == wanted, "{elements} elements of {size} in blocks of {block}");
                assert!(
                    codec.decode(&encoded, data.len()).unwrap() == data,
                    "{elements} of {size} by {block}"
                );
            }
        }
    }

    #[test]
    fn encoded_blocks_round_trip_with_any_block_size() {
        for codec in [2, 3] {
            for (elements, block) in [(3, 8), (50, 16), (1029, 0)] {
                let data = some(elements * 4);
                let encoded = Bitshuffle::new(&[0, 4, 4, block, codec, 5]).encode(&data).unwrap();
                let other = Bitshuffle::new(&[0, 4, 4, 0, codec]);
                assert_eq!(other.decode(&encoded, data.len()).unwrap(), data);
                assert!(other.decode(&encoded, data.len() - 1).is_err());
                assert!(other.decode(&encoded[..encoded.len() - 1], data.len()).is_err());
            }
        }
    }

    #[test]
    fn parameters_that_were_not_set_encode_nothing() {
        for values in [&[][..], &[0, 2], &[0, 4, 0, 8], &[0, 4, 4, 12], &[0, 4, 4, 12, 2]] {
            assert_eq!(Bitshuffle::new(values).encode(&[1; 64]), None, "{values:?}");
            assert!(Bitshuffle::new(values).decode(&[1; 64], 64).is_err(), "{values:?}");
        }
        assert_eq!(Bitshuffle::new(&[0, 4, 4]).encode(&[1; 63]), None, "no whole elements");
    }

    #[test]
    fn a_block_from_the_header_takes_no_memory() {
        let codec = Bitshuffle::new(&[0, 4, 1, 0, 2]);
        let hostile = [0, 0, 0, 0, 0, 0, 0, 64, 0xff, 0xff, 0xff, 0xf8, 0xff, 0xff, 0xff, 0xff, 1];
        assert!(codec.decode(&hostile, 64).unwrap_err().contains("cut short"));
    }
}
