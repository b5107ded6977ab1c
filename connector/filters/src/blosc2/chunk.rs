//! A Blosc2 chunk: a header, the offset of each block, and its compressed streams, all numbers little-endian
//! (README_CHUNK_FORMAT.rst of c-blosc2).

use super::stages::Stages;
use crate::blosc::compression::{Codec, Decoder};
use crate::scratch;
use h5lake_ledger::buffers::Scratch;

/// Bytes of the header: versions, flags, element size, and the lengths of the chunk, of a block and of the encoded
/// data.
const HEADER_BYTES: usize = 16;
/// Bytes of the extended header, with the filters, the codec, and more flags.
pub(super) const EXTENDED_HEADER_BYTES: usize = 32;
/// Bytes of the offset of a block, or of the length of a stream.
pub(super) const NUMBER_BYTES: usize = 4;
/// The version that is written, and the last one that is read, which may have blocks of any length.
pub(super) const VERSION: u8 = 5;
const LAST_VERSION: u8 = 6;
/// A version that had no sixth filter.
const FIVE_FILTERS_VERSION: u8 = 3;

/// Flags of the header: shuffled, unencoded, bits shuffled, deltas, blocks in one stream. The first and the third
/// together mean an extended header. The codec's format is in the bits from the given one on.
const SHUFFLED: u8 = 1;
pub(super) const PLAIN: u8 = 2;
const BITSHUFFLED: u8 = 4;
pub(super) const DELTA: u8 = 8;
pub(super) const ONE_STREAM: u8 = 16;
pub(super) const FORMAT_SHIFT: u32 = 5;
pub(super) const EXTENDED: u8 = SHUFFLED | BITSHUFFLED;
/// The format of a codec that was added by c-blosc2.
const ADDED_FORMAT: u8 = 6;

/// More flags, in the last byte of an extended header.
const DICTIONARY: u8 = 1;
const LAZY: u8 = 8;
const SPECIAL_SHIFT: u32 = 4;
const SPECIAL_MASK: u8 = 7;
const INSTRUMENTED: u8 = 0x80;
/// A flag in the byte before it.
const ANY_LENGTH_BLOCKS: u8 = 1;

/// A stream that repeats one byte: the bit of its token, and the lowest value of its length.
pub(super) const RUN: u8 = 1;
const LONGEST_RUN_VALUE: i32 = -255;

/// The content of a whole chunk without blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    Zeros,
    Nans,
    /// A value after the header.
    Value,
    /// No content at all, which is decoded as zeros.
    Uninitialized,
}

impl Special {
    /// Returns the special content by its number in a header or an offset.
    pub(super) fn of_number(number: u8) -> Result<Self, String> {
        match number {
            1 => Ok(Self::Zeros),
            2 => Ok(Self::Nans),
            3 => Ok(Self::Value),
            4 => Ok(Self::Uninitialized),
            _ => Err(format!("the special value {number} of Blosc2")),
        }
    }
}

/// A chunk with a checked header.
#[derive(Debug)]
pub(super) struct Chunk<'a> {
    data: &'a [u8],
    header_bytes: usize,
    flags: u8,
    size: usize,
    pub(super) len: usize,
    pub(super) block: usize,
    special: Option<Special>,
    added_codec: u8,
    stages: Stages,
}

fn number(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn length(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(number(bytes, at)?).ok()
}

impl<'a> Chunk<'a> {
    /// Returns a chunk that is described by an offset alone, of elements of `size` bytes.
    pub(super) fn special(special: Special, size: usize, len: usize, block: usize) -> Result<Self, String> {
        let (data, stages) = (&[][..], Stages::default());
        let chunk = Self {
            data,
            header_bytes: 0,
            flags: 0,
            size,
            len,
            block,
            special: Some(special),
            added_codec: 0,
            stages,
        };
        chunk.checked()
    }

    /// Reads the header at the start of `data`.
    ///
    /// # Errors
    /// Damage, and unsupported forms: blocks of any length, dictionaries, lazy chunks, other filters.
    pub(super) fn read(data: &'a [u8]) -> Result<Self, String> {
        let none = "damaged data: no header of a chunk";
        let [version, _, flags, size] = *data.first_chunk().ok_or(none)?;
        let field = |at| length(data, at).ok_or(none);
        let (len, block, encoded) = (field(4)?, field(8)?, field(12)?);
        if version == 0 || version > LAST_VERSION {
            return Err(format!("a Blosc2 chunk of version {version}"));
        }
        let size = usize::from(size);
        let is_extended = flags & EXTENDED == EXTENDED;
        let header_bytes = if is_extended { EXTENDED_HEADER_BYTES } else { HEADER_BYTES };
        let data = data.get(..encoded).ok_or("damaged data: a chunk is cut short")?;
        let (mut special, mut added_codec) = (None, 0);
        let stages = if is_extended {
            let header: &[u8; EXTENDED_HEADER_BYTES] = data.first_chunk().ok_or(none)?;
            special = special_of(header)?;
            added_codec = header[22];
            let mut filters = [0; 6];
            filters.copy_from_slice(&header[16..22]);
            if version == FIVE_FILTERS_VERSION {
                filters[5] = 0;
            }
            Stages::read(filters, size.max(1), version)?
        } else {
            Stages::of_flags(
                flags & SHUFFLED != 0,
                flags & BITSHUFFLED != 0,
                flags & DELTA != 0,
                size,
                version,
            )
        };
        Self { data, header_bytes, flags, size, len, block, special, added_codec, stages }.checked()
    }

    fn checked(self) -> Result<Self, String> {
        let needed = match self.special {
            Some(Special::Value) => self.header_bytes.checked_add(self.size),
            Some(_) => Some(self.header_bytes),
            None if self.flags & PLAIN != 0 => self.header_bytes.checked_add(self.len),
            None => self.blocks().checked_mul(NUMBER_BYTES).and_then(|n| n.checked_add(self.header_bytes)),
        };
        let is_whole = self.special.is_none() || self.size != 0 && self.len.is_multiple_of(self.size);
        match () {
            () if self.size == 0 || self.block == 0 || self.block > self.len.max(1) => {
                Err(format!("damaged data: blocks of {} bytes in a chunk of {}", self.block, self.len))
            }
            () if !is_whole => Err(format!("damaged data: {} bytes of elements of {}", self.len, self.size)),
            () if needed.is_none_or(|needed| needed > self.data.len()) => {
                Err("damaged data: a chunk is cut short".into())
            }
            () if self.special == Some(Special::Nans) && !matches!(self.size, 4 | 8) => {
                Err(format!("damaged data: floats of {} bytes", self.size))
            }
            () => Ok(self),
        }
    }

    pub(super) fn blocks(&self) -> usize {
        self.len.checked_div(self.block).map_or(0, |_| self.len.div_ceil(self.block))
    }

    fn decoder(&self) -> Result<Option<Decoder>, String> {
        if self.special.is_some() || self.flags & PLAIN != 0 {
            return Ok(None);
        }
        let format = self.flags >> FORMAT_SHIFT;
        let codec = Codec::of_format(format).filter(|codec| *codec != Codec::Snappy);
        let unknown = || match format {
            ADDED_FORMAT => format!("the codec {} that was added to Blosc2", self.added_codec),
            format => format!("the format {format} of a Blosc2 codec"),
        };
        Decoder::new(codec.ok_or_else(unknown)?).map(Some)
    }

    /// Returns a decoder of the blocks.
    ///
    /// # Errors
    /// A codec that is not supported.
    pub(super) fn reader(self) -> Result<Reader<'a>, String> {
        let decoder = self.decoder()?;
        let work = if decoder.is_some() { self.stages.buffers() } else { 0 };
        let work = (0..work).map(|_| scratch(self.block)).collect::<Result<_, _>>()?;
        Ok(Reader { decoder, work, first: Vec::new(), chunk: self })
    }
}

fn special_of(header: &[u8; EXTENDED_HEADER_BYTES]) -> Result<Option<Special>, String> {
    let [.., more, flags] = *header;
    if header[0] == LAST_VERSION && more & ANY_LENGTH_BLOCKS != 0 {
        return Err("a Blosc2 chunk with blocks of variable length".into());
    }
    for (flag, name) in
        [(DICTIONARY, "with a dictionary"), (LAZY, "that is lazy"), (INSTRUMENTED, "that is instrumented")]
    {
        if flags & flag != 0 {
            return Err(format!("a Blosc2 chunk {name}"));
        }
    }
    match flags >> SPECIAL_SHIFT & SPECIAL_MASK {
        0 => Ok(None),
        special => Special::of_number(special).map(Some),
    }
}

/// Decodes the blocks of a chunk, from the first one on.
pub(super) struct Reader<'a> {
    chunk: Chunk<'a>,
    decoder: Option<Decoder>,
    work: Vec<Scratch>,
    /// The first block, if the other blocks are stored as differences from it.
    first: Vec<u8>,
}

impl Reader<'_> {
    /// Decodes a block, which has the length of `out`.
    ///
    /// # Errors
    /// Damage.
    pub(super) fn decode(&mut self, n: usize, out: &mut [u8]) -> Result<(), String> {
        let chunk = &self.chunk;
        let Some(decoder) = &mut self.decoder else { return chunk.fill(n, out) };
        let size = chunk.size;
        let place = length(chunk.data, chunk.header_bytes + NUMBER_BYTES * n);
        let input = place.filter(|place| *place > 0).and_then(|place| chunk.data.get(place..));
        let input = input.ok_or("damaged data: a block that is not there")?;
        let is_split = chunk.flags & ONE_STREAM == 0 && out.len() == chunk.block;
        let streams = if is_split { size } else { 1 };
        if self.work.is_empty() {
            decode_streams(decoder, input, streams, out)?;
        } else {
            let mut work: Vec<_> = self.work.iter_mut().map(|work| &mut work[..out.len()]).collect();
            decode_streams(decoder, input, streams, work[0])?;
            chunk.stages.undo_moves(&mut work, size, out);
        }
        if chunk.stages.has_delta() {
            if n == 0 {
                Stages::undo_first_delta(out, size);
                self.first = out.to_vec();
            } else {
                Stages::undo_delta(out, size, &self.first);
            }
        }
        Ok(())
    }
}

impl Chunk<'_> {
    /// Decodes a block of an unencoded chunk.
    fn fill(&self, n: usize, out: &mut [u8]) -> Result<(), String> {
        let cut = "damaged data: a chunk is cut short";
        let behind = self.data.get(self.header_bytes..).ok_or(cut)?;
        match self.special {
            Some(Special::Zeros | Special::Uninitialized) => out.fill(0),
            Some(Special::Nans) if self.size == 4 => repeat(&f32::NAN.to_le_bytes(), out),
            Some(Special::Nans) => repeat(&f64::NAN.to_le_bytes(), out),
            Some(Special::Value) => repeat(behind.get(..self.size).ok_or(cut)?, out),
            None => {
                let part = behind.get(n * self.block..).and_then(|rest| rest.get(..out.len()));
                out.copy_from_slice(part.ok_or(cut)?);
            }
        }
        Ok(())
    }
}

fn repeat(value: &[u8], out: &mut [u8]) {
    for part in out.chunks_mut(value.len()) {
        part.copy_from_slice(&value[..part.len()]);
    }
}

/// Decodes a block's streams, which all have the same length.
fn decode_streams(
    decoder: &mut Decoder,
    mut input: &[u8],
    streams: usize,
    out: &mut [u8],
) -> Result<(), String> {
    if out.len() < streams || !out.len().is_multiple_of(streams) {
        return Err(format!("damaged data: a block of {} bytes in {streams} streams", out.len()));
    }
    for part in out.chunks_exact_mut(out.len() / streams) {
        let cut = || "damaged data: a stream is cut short".to_owned();
        let (length, rest) = input.split_first_chunk().ok_or_else(cut)?;
        let length = i32::from_le_bytes(*length);
        let Ok(bytes) = usize::try_from(length) else {
            let (token, rest) = rest.split_first().ok_or_else(cut)?;
            if token & RUN == 0 || length < LONGEST_RUN_VALUE {
                return Err(format!("damaged data: a stream of {length} bytes with the token {token}"));
            }
            part.fill(length.unsigned_abs() as u8);
            input = rest;
            continue;
        };
        let (encoded, rest) = rest.split_at_checked(bytes).ok_or_else(cut)?;
        input = rest;
        match bytes {
            0 => part.fill(0),
            bytes if bytes == part.len() => part.copy_from_slice(encoded),
            _ => decoder.decode(encoded, part)?,
        }
    }
    Ok(())
}
