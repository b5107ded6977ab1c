//! Blosc (filter 32001): blocks of elements, arranged by byte or bit and compressed by one of six codecs.
//!
//! The client data are the versions of filter and format, the size of an element (1 if it is above 255), the length of
//! a chunk, and then, as far as given: level, arrangement and codec (blosc_filter.c). A chunk has a header of 16 bytes
//! and the offset of each block, all little-endian. A block is compressed as a whole, or each plane of its bytes
//! separately, each preceded by its length. Parts that do not become shorter are stored unencoded
//! (README_CHUNK_FORMAT.rst of c-blosc).

mod blosclz;
pub(super) mod compression;

use super::{FilterCodec, scratch};
use compression::{Arrangement, Codec, Decoder, Encoder, whole_elements};
use h5lake_ledger::buffers::{self, Scratch};

/// Bytes of the header: versions, flags, element size, and the lengths of the chunk, of a block and of the encoded
/// data.
const HEADER_BYTES: usize = 16;
/// The version of the format.
const VERSION: u8 = 2;
/// The version of every codec's format.
const CODEC_VERSION: u8 = 1;
/// Bytes of the offset of a block, or of the length of a compressed part.
const NUMBER_BYTES: usize = 4;
/// Maximum length of a chunk: the filter refuses longer ones, because its lengths are signed.
const MAX_BYTES: usize = i32::MAX as usize - HEADER_BYTES;

/// Flags of the header: arranged by byte, unencoded, arranged by bit, one that must not be set, blocks compressed as a
/// whole.
const BY_BYTE: u8 = 1;
const PLAIN: u8 = 2;
const BY_BIT: u8 = 4;
const UNKNOWN: u8 = 8;
const WHOLE: u8 = 16;

/// Blocks are split for elements of up to this many bytes, into parts of at least the second number of bytes.
const MAX_PARTS: usize = 16;
const MIN_PART_BYTES: usize = 128;

#[derive(Debug)]
pub(super) struct Blosc {
    /// Bytes of an element; 0 if the filter did not set its parameters.
    size: usize,
    level: u32,
    arrangement: Option<Arrangement>,
    codec: Option<Codec>,
}

impl Blosc {
    /// Creates the filter. Its defaults are level 5, arrangement by byte, and BloscLZ.
    pub(super) fn new(client_data: &[u32]) -> Self {
        let value = |n: usize, default: u32| client_data.get(n).copied().unwrap_or(default);
        let arrangement = match value(5, 1) {
            0 => Some(Arrangement::AsGiven),
            1 => Some(Arrangement::Bytes),
            2 => Some(Arrangement::Bits),
            _ => None,
        };
        let size = match value(2, 0) {
            size @ 0..=255 => size as usize,
            _ => 1,
        };
        Self { size, level: value(4, 5), arrangement, codec: Codec::of_parameter(value(6, 0)) }
    }

    /// Returns whether blocks are compressed in parts, one for each byte of an element (`split_block`).
    fn splits(&self, codec: Codec, block: usize) -> bool {
        codec != Codec::Zstd && self.size <= MAX_PARTS && block / self.size >= MIN_PART_BYTES
    }

    /// Returns the bytes of a block of a chunk of `len` (`compute_blocksize`).
    fn block(&self, codec: Codec, len: usize) -> usize {
        let mut block = codec.usual_block(self.level, len);
        if self.splits(codec, block) {
            block = (block.min(1 << 18) * self.size).clamp(1 << 16, 1 << 20);
        }
        whole_elements(block, self.size, len)
    }

    fn encode_to(&self, data: &[u8], out: &mut [u8]) -> Option<usize> {
        let (codec, arrangement) = (self.codec?, self.arrangement?);
        let mut encoder = Encoder::new(codec, self.level)?;
        let block = self.block(codec, data.len());
        let parts = if self.splits(codec, block) { self.size } else { 1 };
        let flags = match arrangement {
            Arrangement::AsGiven => 0,
            Arrangement::Bytes => BY_BYTE,
            Arrangement::Bits => BY_BIT,
        };
        let flags = flags | codec.format() << 5 | if parts == 1 { WHOLE } else { 0 };
        let header = Header { flags, size: self.size, len: data.len(), block, codec_version: CODEC_VERSION };
        let mut at = HEADER_BYTES + NUMBER_BYTES * data.len().div_ceil(block);
        let mut arranged = Scratch::new(block);
        for (n, part) in data.chunks(block).enumerate() {
            let start = HEADER_BYTES + NUMBER_BYTES * n;
            *out.get_mut(start..)?.first_chunk_mut()? = u32::try_from(at).ok()?.to_le_bytes();
            let arranged = &mut arranged[..part.len()];
            let block = match arrangement.moves(part.len(), self.size) {
                true => {
                    arrangement.arrange(part, self.size, arranged);
                    &*arranged
                }
                false => part,
            };
            let parts = if part.len() == header.block { parts } else { 1 };
            for part in block.chunks_exact(part.len() / parts) {
                at += encode_part(&mut encoder, part, out.get_mut(at..)?)?;
            }
        }
        header.write(at, out)?;
        Some(at)
    }
}

/// Writes a compressed part with its length before it. Returns the number of bytes, or `None` if `out` is too short.
fn encode_part(encoder: &mut Encoder, part: &[u8], out: &mut [u8]) -> Option<usize> {
    let (length, rest) = out.split_first_chunk_mut::<NUMBER_BYTES>()?;
    // A length equal to that of the part means unencoded.
    let limit = rest.len().min(part.len() - 1);
    let encoded = match encoder.encode(part, &mut rest[..limit]) {
        Some(encoded) if encoded > 0 => encoded,
        _ => {
            rest.get_mut(..part.len())?.copy_from_slice(part);
            part.len()
        }
    };
    *length = u32::try_from(encoded).ok()?.to_le_bytes();
    Some(NUMBER_BYTES + encoded)
}

/// The header of a chunk.
struct Header {
    flags: u8,
    codec_version: u8,
    size: usize,
    len: usize,
    block: usize,
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?)).ok()
}

impl Header {
    fn write(&self, encoded: usize, out: &mut [u8]) -> Option<()> {
        out[..4].copy_from_slice(&[VERSION, self.codec_version, self.flags, u8::try_from(self.size).ok()?]);
        for (n, number) in [self.len, self.block, encoded].into_iter().enumerate() {
            out[4 + 4 * n..8 + 4 * n].copy_from_slice(&u32::try_from(number).ok()?.to_le_bytes());
        }
        Some(())
    }

    /// Reads the header, and returns it with the encoded bytes, including the header.
    fn read(data: &[u8]) -> Result<(Self, &[u8]), String> {
        let none = "damaged data: no header";
        let [version, codec_version, flags, size] = *data.first_chunk().ok_or(none)?;
        let field = |at| number(data, at).ok_or(none);
        let header = Self { flags, codec_version, size: usize::from(size), len: field(4)?, block: field(8)? };
        let encoded = field(12)?;
        if version != VERSION || flags & UNKNOWN != 0 {
            return Err(format!("a format of version {version} with flags {flags:#x}"));
        }
        if header.size == 0 || header.block == 0 || header.block > header.len.max(1) {
            return Err(format!("damaged data: blocks of {} bytes", header.block));
        }
        let data = data.get(..encoded).filter(|data| data.len() >= HEADER_BYTES);
        Ok((header, data.ok_or("damaged data: cut short")?))
    }

    fn arrangement(&self) -> Arrangement {
        match () {
            () if self.flags & BY_BYTE != 0 && self.size > 1 => Arrangement::Bytes,
            () if self.flags & BY_BIT != 0 => Arrangement::Bits,
            () => Arrangement::AsGiven,
        }
    }

    /// Returns the number of parts of a block of `len` bytes.
    fn parts(&self, len: usize) -> usize {
        let is_split = self.flags & WHOLE == 0
            && self.size <= MAX_PARTS
            && self.block / self.size >= MIN_PART_BYTES
            && len == self.block;
        if is_split { self.size } else { 1 }
    }

    fn decode_to(&self, data: &[u8], out: &mut [u8]) -> Result<(), String> {
        if self.flags & PLAIN != 0 {
            let plain = data.get(HEADER_BYTES..).filter(|plain| plain.len() == out.len());
            out.copy_from_slice(plain.ok_or("damaged data: not as long as it says")?);
            return Ok(());
        }
        let format = self.flags >> 5;
        let codec = Codec::of_format(format).filter(|_| self.codec_version == CODEC_VERSION);
        let version = self.codec_version;
        let mut decoder = Decoder::new(codec.ok_or_else(|| format!("codec {format} of version {version}"))?)?;
        let arrangement = self.arrangement();
        let mut arranged = scratch(self.block)?;
        for (n, block) in out.chunks_mut(self.block).enumerate() {
            let start = number(data, HEADER_BYTES + NUMBER_BYTES * n).and_then(|start| data.get(start..));
            let input = start.ok_or("damaged data: a block that is not there")?;
            let parts = self.parts(block.len());
            if arrangement.moves(block.len(), self.size) {
                let arranged = &mut arranged[..block.len()];
                decode_parts(&mut decoder, input, parts, arranged)?;
                arrangement.undo(arranged, self.size, block);
            } else {
                decode_parts(&mut decoder, input, parts, block)?;
            }
        }
        Ok(())
    }
}

/// Decodes a block's parts, which all have the same length.
fn decode_parts(decoder: &mut Decoder, mut input: &[u8], parts: usize, out: &mut [u8]) -> Result<(), String> {
    if !out.len().is_multiple_of(parts) {
        return Err(format!("damaged data: a block of {} bytes in {parts} parts", out.len()));
    }
    for part in out.chunks_exact_mut(out.len() / parts) {
        let cut = || "damaged data: cut short".to_owned();
        let (length, rest) = input.split_first_chunk().ok_or_else(cut)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (encoded, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        input = rest;
        match length == part.len() {
            true => part.copy_from_slice(encoded),
            false => decoder.decode(encoded, part)?,
        }
    }
    Ok(())
}

impl FilterCodec for Blosc {
    /// Returns `None` for data that would not become shorter, like the filter of c-blosc.
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        if self.size == 0 || !(MIN_PART_BYTES..=MAX_BYTES).contains(&data.len()) {
            return None;
        }
        let mut out = buffers::try_take(data.len())?;
        let Some(encoded) = self.encode_to(data, &mut out) else {
            buffers::give(out);
            return None;
        };
        out.truncate(encoded);
        Some(out)
    }

    fn decoded_len(&self, data: &[u8]) -> Result<Option<usize>, String> {
        Header::read(data).map(|(header, _)| Some(header.len))
    }

    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> Result<Option<usize>, String> {
        let (header, data) = Header::read(data)?;
        header.decode_to(data, out)?;
        Ok(Some(out.len()))
    }
}

#[cfg(test)]
mod tests;
