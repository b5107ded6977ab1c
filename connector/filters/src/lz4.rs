//! LZ4 (filter 32004): the length of the chunk and of a block, big-endian, then the blocks, each after its length.
//!
//! A block that does not become shorter is stored unencoded (`H5Z_filter_lz4` in H5Zlz4.c).

use super::{FilterCodec, read_u32, read_u64};
use h5lake_ledger::buffers;

/// Bytes of the header: the length of the chunk, 8 bytes, and of a block, 4 bytes.
const HEADER_BYTES: usize = 12;
/// Bytes of the length before an encoded block.
const LENGTH_BYTES: usize = 4;
/// Bytes of a block if none are given: 1 GiB, because LZ4 supports less than 2 GiB.
const DEFAULT_BLOCK_BYTES: usize = 1 << 30;
/// Maximum length of a chunk: the filter refuses longer ones, because its lengths are signed 32-bit numbers internally.
const MAX_BYTES: usize = i32::MAX as usize;

#[derive(Debug)]
pub(super) struct Lz4 {
    block: usize,
}

impl Lz4 {
    pub(super) fn new(client_data: &[u32]) -> Self {
        let given = client_data.first().and_then(|bytes| usize::try_from(*bytes).ok());
        Self { block: given.filter(|bytes| *bytes > 0).unwrap_or(DEFAULT_BLOCK_BYTES) }
    }
}

/// Returns the maximum encoded length of a block of `len` bytes; `None` if it is too long.
pub(super) fn encoded_bound(len: usize) -> Option<usize> {
    (len <= MAX_BYTES).then(|| lz4::block::compress_bound(len).ok()).flatten()
}

/// Encodes a block to the start of `out`. Returns its encoded length, or `None` if `out` is too short.
pub(super) fn encode_block(data: &[u8], out: &mut [u8]) -> Option<usize> {
    encode_block_by(lz4::block::CompressionMode::DEFAULT, data, out)
}

/// Encodes a block in the mode `mode` to the start of `out`. Returns its encoded length, or `None` if `out` is too
/// short.
pub(super) fn encode_block_by(
    mode: lz4::block::CompressionMode,
    data: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    let limit = out.len().min(encoded_bound(data.len())?);
    lz4::block::compress_to_buffer(data, Some(mode), false, &mut out[..limit]).ok()
}

/// Decodes a block to the start of `out`. Returns its decoded length.
pub(super) fn decode_block(data: &[u8], out: &mut [u8]) -> Result<usize, String> {
    if data.len() > MAX_BYTES {
        return Err(format!("damaged data: a block of {} bytes", data.len()));
    }
    let limit = i32::try_from(out.len()).map_err(|_| format!("a block would have {} bytes", out.len()))?;
    lz4::block::decompress_to_buffer(data, Some(limit), out).map_err(|_| "damaged data".to_owned())
}

/// Removes an encoded block and the length before it from the input, and returns the block.
pub(super) fn next_block<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let cut = || "damaged data: cut short".to_owned();
    let len = read_u32(input).ok_or_else(cut)? as usize;
    let (block, rest) = input.split_at_checked(len).ok_or_else(cut)?;
    *input = rest;
    Ok(block)
}

/// Reads the header: the lengths of the chunk and of a block.
fn header(input: &mut &[u8]) -> Result<(usize, usize), String> {
    let header =
        |input: &mut &[u8]| Some((usize::try_from(read_u64(input)?).ok()?, read_u32(input)? as usize));
    header(input).ok_or_else(|| "damaged data: no header".to_owned())
}

/// Decodes the blocks after the header, which has their length.
fn decode_blocks(mut input: &[u8], block: usize, out: &mut [u8]) -> Result<(), String> {
    if block == 0 {
        return Err("damaged data: blocks of 0 bytes".into());
    }
    for part in out.chunks_mut(block) {
        let encoded = next_block(&mut input)?;
        if encoded.len() == part.len() {
            part.copy_from_slice(encoded);
        } else if decode_block(encoded, part)? != part.len() {
            return Err("damaged data: a block is too short".into());
        }
    }
    Ok(())
}

impl FilterCodec for Lz4 {
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        if data.is_empty() || data.len() > MAX_BYTES {
            return None;
        }
        let block = self.block.min(data.len());
        // No block becomes longer, but the encoder needs space for the attempt.
        let mut out = buffers::try_take(self.max_encoded_bytes(data.len()) + encoded_bound(block)?)?;
        out[..8].copy_from_slice(&(data.len() as u64).to_be_bytes());
        out[8..HEADER_BYTES].copy_from_slice(&u32::try_from(block).ok()?.to_be_bytes());
        let mut at = HEADER_BYTES;
        for part in data.chunks(block) {
            let (length, rest) = out[at..].split_first_chunk_mut::<LENGTH_BYTES>()?;
            let mut encoded = encode_block(part, rest)?;
            if encoded >= part.len() {
                encoded = part.len();
                rest[..encoded].copy_from_slice(part);
            }
            *length = u32::try_from(encoded).ok()?.to_be_bytes();
            at += LENGTH_BYTES + encoded;
        }
        out.truncate(at);
        Some(out)
    }

    fn decoded_len(&self, mut data: &[u8]) -> Result<Option<usize>, String> {
        header(&mut data).map(|(len, _)| Some(len))
    }

    fn decode_into(&self, mut data: &[u8], out: &mut [u8]) -> Result<Option<usize>, String> {
        let (_, block) = header(&mut data)?;
        decode_blocks(data, block, out)?;
        Ok(Some(out.len()))
    }

    fn max_encoded_bytes(&self, len: usize) -> usize {
        let blocks = len.div_ceil(self.block.min(len).max(1));
        blocks.saturating_mul(LENGTH_BYTES).saturating_add(len).saturating_add(HEADER_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_by_the_definition() {
        let codec = Lz4::new(&[4]);
        // Blocks that are too short to be compressed are stored unencoded.
        let wanted = [0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 4, 0, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 2, 5, 6];
        assert_eq!(codec.encode(&[1, 2, 3, 4, 5, 6]).unwrap(), wanted);
        assert_eq!(codec.decode(&wanted, 6).unwrap(), [1, 2, 3, 4, 5, 6]);
        // The block length in the chunk applies, not that of the filter.
        assert_eq!(Lz4::new(&[]).decode(&wanted, 6).unwrap(), [1, 2, 3, 4, 5, 6]);
        assert!(codec.decode(&wanted, 5).is_err());
        assert!(codec.decode(&wanted[..25], 6).is_err());
        assert_eq!(codec.encode(&[]), None);
    }

    #[test]
    fn blocks_without_bytes_end() {
        let hostile = [0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Lz4::new(&[]).decode(&hostile, 6).unwrap_err(), "damaged data: blocks of 0 bytes");
    }

    #[test]
    fn a_length_from_the_chunk_takes_no_memory() {
        let hostile = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 1, 1];
        assert!(Lz4::new(&[]).decode(&hostile, 1 << 20).unwrap_err().contains("more than"));
    }
}
