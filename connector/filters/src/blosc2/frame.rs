//! A contiguous frame of Blosc2: a header, chunks, the chunk with their offsets, and a trailer
//! (README_CFRAME_FORMAT.rst of c-blosc2). Header and trailer are MessagePack, big-endian, with every field at a fixed
//! position.

use super::chunk::{Chunk, EXTENDED, EXTENDED_HEADER_BYTES, PLAIN, Special, VERSION};
use super::encode::{self, Encoded, Parameters, Source};
use super::geometry::Geometry;
use super::metalayer;
use crate::scratch;
use h5lake_ledger::buffers;

/// MessagePack's marks of the fields, and the frame's name.
const NAME: &[u8; 10] = b"\x9e\xa8b2frame\0";
const METALAYERS_MARK: [u8; 2] = [0x93, 0xcd];
const MAP_MARK: u8 = 0xde;
const ARRAY_MARK: u8 = 0xdc;
const TEXT_MARK: u8 = 0xa0;
const INT32_MARK: u8 = 0xd2;
const BYTES_MARK: u8 = 0xc6;

/// Offsets of the fields in the header.
const HEADER_LENGTH: usize = 11;
const FRAME_LENGTH: usize = 16;
const FLAGS: usize = 25;
const KIND: usize = 26;
const LENGTH: usize = 30;
const ENCODED: usize = 39;
const ELEMENT: usize = 48;
const BLOCK: usize = 53;
const CHUNK: usize = 58;
const METALAYERS: usize = 87;
/// The marks of all fields except the name, by their offsets.
const MARKS: [(usize, u8); 12] = [
    (10, INT32_MARK),
    (15, 0xcf),
    (24, 0xa4),
    (29, 0xd3),
    (38, 0xd3),
    (47, INT32_MARK),
    (52, INT32_MARK),
    (57, INT32_MARK),
    (62, 0xd1),
    (65, 0xd1),
    (68, 0xc2),
    (69, 0xd8),
];

/// The format's version and 64-bit offsets; then the flags that a reader needs.
const WRITTEN_FLAGS: u8 = 0x12;
const OFFSET_MASK: u8 = 0x30;
const OFFSETS_OF_64_BITS: u8 = 0x10;
const VARIABLE_CHUNKS: u8 = 0x40;
const VARIABLE_BLOCKS: u8 = 0x80;
/// The value `BLOSC_FORWARD_COMPAT_SPLIT`, less one.
const SPLIT_MODE: u8 = 3;
/// Number of filters in the header.
const FILTERS: u8 = 6;

/// An offset: its highest byte tells whether it is a special value instead, and which one.
const OFFSET_BYTES: usize = 8;
const SPECIAL_OFFSET: u64 = 1 << 63;
const SPECIAL_SHIFT: u32 = 56;
/// Bytes of the index of one chunk, which is too short to be compressed.
const INDEX_BYTES: usize = EXTENDED_HEADER_BYTES + OFFSET_BYTES;

/// A trailer without metalayers or fingerprint.
const TRAILER: [u8; 35] = {
    let mut bytes = [0; 35];
    let marks = [
        (0, 0x94),
        (1, 1),
        (2, 0x93),
        (3, 0xcd),
        (5, 6),
        (6, MAP_MARK),
        (9, ARRAY_MARK),
        (12, 0xce),
        (16, 35),
        (17, 0xd8),
    ];
    let mut n = 0;
    while n < marks.len() {
        bytes[marks[n].0] = marks[n].1;
        n += 1;
    }
    bytes
};

/// A frame with a checked header.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    data: &'a [u8],
    header_bytes: usize,
    /// Bytes of all stored chunks.
    encoded: usize,
    /// Bytes of an element.
    size: usize,
    /// Bytes of all elements, of a chunk and of a block.
    bytes: usize,
    chunk_bytes: usize,
    block_bytes: usize,
    /// The array, if the frame has one.
    pub(super) geometry: Option<Geometry>,
}

fn number<const BYTES: usize>(data: &[u8], at: usize, of: impl Fn([u8; BYTES]) -> u64) -> Option<usize> {
    usize::try_from(of(*data.get(at..)?.first_chunk()?)).ok()
}

/// Reads a non-negative number of 4 bytes.
fn number_32(data: &[u8], at: usize) -> Option<usize> {
    number::<4>(data, at, |bytes| u32::from_be_bytes(bytes).into()).filter(|n| i32::try_from(*n).is_ok())
}

fn number_64(data: &[u8], at: usize) -> Option<usize> {
    number::<8>(data, at, u64::from_be_bytes).filter(|n| i64::try_from(*n).is_ok())
}

impl<'a> Frame<'a> {
    /// Reads the header of a frame with an array of at most `limit` bytes, or without one.
    ///
    /// # Errors
    /// Damage, and what is not here: frames in folders, chunks or blocks of variable length.
    pub(super) fn read(data: &'a [u8], limit: usize) -> Result<Self, String> {
        let none = || "damaged data: no header of a frame".to_owned();
        let header_bytes = number_32(data, HEADER_LENGTH).ok_or_else(none)?;
        if !data.starts_with(NAME) || header_bytes < METALAYERS {
            return Err(none());
        }
        let data = number_64(data, FRAME_LENGTH).and_then(|len| data.get(..len));
        let data = data.ok_or("damaged data: a frame is cut short")?;
        let header = data.get(..header_bytes).ok_or_else(none)?;
        let (flags, kind) = (header[FLAGS], header[KIND]);
        if flags & (VARIABLE_CHUNKS | VARIABLE_BLOCKS) != 0
            || flags & OFFSET_MASK != OFFSETS_OF_64_BITS
            || kind != 0
        {
            return Err(format!("a Blosc2 frame of kind {kind} with flags {flags:#x}"));
        }
        let wide = |at| number_64(header, at).ok_or_else(none);
        let narrow = |at| number_32(header, at).ok_or_else(none);
        let (bytes, encoded, size) = (wide(LENGTH)?, wide(ENCODED)?, narrow(ELEMENT)?);
        let (block_bytes, chunk_bytes) = (narrow(BLOCK)?, narrow(CHUNK)?);
        let array = metalayer(header)?.map(|content| metalayer::read(content, size, chunk_bytes, limit));
        let geometry = array.transpose()?;
        let frame = Self { data, header_bytes, encoded, size, bytes, chunk_bytes, block_bytes, geometry };
        let chunks = if chunk_bytes == 0 { 0 } else { bytes.div_ceil(chunk_bytes) };
        let wanted = frame.geometry.as_ref().map_or(1, Geometry::chunks);
        match chunks == wanted {
            true => Ok(frame),
            false => Err(format!("a Blosc2 frame of {chunks} chunks that should have {wanted}")),
        }
    }

    /// Returns the decoded length in bytes.
    pub(super) fn len(&self) -> Result<usize, String> {
        match &self.geometry {
            Some(geometry) => Ok(geometry.bytes()),
            None => Ok(self.chunk(self.offsets(1)?[0])?.len),
        }
    }

    /// Returns the offsets of the chunks, or their special values.
    fn offsets(&self, chunks: usize) -> Result<Vec<u64>, String> {
        let start = self.header_bytes.checked_add(self.encoded).and_then(|start| self.data.get(start..));
        let index = Chunk::read(start.ok_or("damaged data: no index of the chunks")?)?;
        if chunks.checked_mul(OFFSET_BYTES) != Some(index.len) {
            return Err(format!("damaged data: an index of {} bytes for {chunks} chunks", index.len));
        }
        let mut bytes = scratch(index.len)?;
        decode_in_order(index, &mut bytes)?;
        Ok(bytes.as_chunks().0.iter().map(|offset| u64::from_le_bytes(*offset)).collect())
    }

    fn chunk(&self, offset: u64) -> Result<Chunk<'a>, String> {
        if offset & SPECIAL_OFFSET != 0 {
            let special = Special::of_number((offset >> SPECIAL_SHIFT) as u8 & 7)?;
            let size = if self.size > super::MAX_ELEMENT_BYTES { 1 } else { self.size };
            let len = if self.geometry.is_some() { self.chunk_bytes } else { self.bytes };
            return match special {
                Special::Value => Err("damaged data: a value that is not there".into()),
                special => Chunk::special(special, size, len, self.block_bytes.clamp(1, len.max(1))),
            };
        }
        let start = usize::try_from(offset).ok().and_then(|offset| self.header_bytes.checked_add(offset));
        let data = start.and_then(|start| self.data.get(start..));
        Chunk::read(data.ok_or("damaged data: a chunk that is not there")?)
    }

    /// Decodes the one chunk of a frame without an array.
    pub(super) fn decode_plain(&self, out: &mut [u8]) -> Result<(), String> {
        decode_in_order(self.chunk(self.offsets(1)?[0])?, out)
    }

    /// Decodes all chunks of an array.
    pub(super) fn decode_array(&self, geometry: &Geometry, out: &mut [u8]) -> Result<(), String> {
        let (len, block) = (geometry.chunk_bytes(), geometry.block_bytes());
        let mut scratch_block = scratch(block)?;
        for (n, offset) in self.offsets(geometry.chunks())?.into_iter().enumerate() {
            let chunk = self.chunk(offset)?;
            if (chunk.len, chunk.block) != (len, block) {
                let found = format!("{} bytes in blocks of {}", chunk.len, chunk.block);
                return Err(format!("damaged data: a chunk of {found} where {len} in {block} are to be"));
            }
            let mut reader = chunk.reader()?;
            for number in 0..geometry.blocks() {
                let Some(place) = geometry.place(n, number) else { continue };
                if let Some(run) = geometry.run(&place) {
                    reader.decode(number, &mut out[run])?;
                    continue;
                }
                reader.decode(number, &mut scratch_block)?;
                geometry.rows(&place, |to, from, len| {
                    out[to..to + len].copy_from_slice(&scratch_block[from..from + len])
                });
            }
        }
        Ok(())
    }
}

/// Decodes a chunk as long as `out`, block after block.
fn decode_in_order(chunk: Chunk<'_>, out: &mut [u8]) -> Result<(), String> {
    if chunk.len != out.len() {
        return Err(format!("damaged data: a chunk of {} bytes where {} are to be", chunk.len, out.len()));
    }
    let block = chunk.block;
    let mut reader = chunk.reader()?;
    out.chunks_mut(block).enumerate().try_for_each(|(n, part)| reader.decode(n, part))
}

/// Returns the content of the metalayer that describes the array.
fn metalayer(header: &[u8]) -> Result<Option<&[u8]>, String> {
    let damage = || "damaged data: the metalayers of a frame".to_owned();
    find_metalayer(header).ok_or_else(damage)
}

/// Finds the metalayer that describes the array; `None` for damage.
fn find_metalayer(header: &[u8]) -> Option<Option<&[u8]>> {
    let map = header.get(METALAYERS..)?.strip_prefix(&METALAYERS_MARK)?.get(2..)?;
    let (count, mut map) = map.strip_prefix(&[MAP_MARK])?.split_first_chunk()?;
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, rest) = map.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(length & 0x1f))?;
        let (offset, rest) = rest.strip_prefix(&[INT32_MARK])?.split_first_chunk()?;
        map = rest;
        if metalayer::NAMES.contains(&name) {
            let content = header.get(u32::from_be_bytes(*offset) as usize..)?.strip_prefix(&[BYTES_MARK])?;
            let (length, content) = content.split_first_chunk()?;
            return Some(Some(content.get(..u32::from_be_bytes(*length) as usize)?));
        }
    }
    Some(None)
}

/// Returns the encoded map of metalayers, with one or none.
fn metalayers(array: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut out = METALAYERS_MARK.to_vec();
    let Some(content) = array else {
        out.extend([0, 7, MAP_MARK, 0, 0, ARRAY_MARK, 0, 0]);
        return Some(out);
    };
    let name = metalayer::NAMES[0];
    let map = 7 + 1 + name.len() + 5;
    out.extend(u16::try_from(map).ok()?.to_be_bytes());
    out.extend([MAP_MARK, 0, 1, TEXT_MARK + u8::try_from(name.len()).ok()?]);
    out.extend(name);
    out.push(INT32_MARK);
    out.extend(u32::try_from(METALAYERS + map + 3).ok()?.to_be_bytes());
    out.extend([ARRAY_MARK, 0, 1, BYTES_MARK]);
    out.extend(u32::try_from(content.len()).ok()?.to_be_bytes());
    out.extend(content);
    Some(out)
}

/// Writes a frame with one chunk of elements of `size` bytes; `None` for data that c-blosc2 refuses or could not read.
pub(super) fn write(parameters: &Parameters, size: usize, source: &Source<'_>) -> Option<Vec<u8>> {
    let array = match source.geometry {
        Some(geometry) => Some(metalayer::write(geometry, size)?),
        None => None,
    };
    let layers = metalayers(array.as_deref())?;
    let header_bytes = METALAYERS + layers.len();
    let capacity =
        source.len().checked_add(header_bytes + EXTENDED_HEADER_BYTES + INDEX_BYTES + TRAILER.len())?;
    let mut out = buffers::try_take(capacity)?;
    let Some(end) = write_to(parameters, size, source, &layers, &mut out) else {
        buffers::give(out);
        return None;
    };
    out.truncate(end);
    Some(out)
}

/// Writes the frame, and returns its length.
fn write_to(
    parameters: &Parameters,
    size: usize,
    source: &Source<'_>,
    layers: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    let (header, rest) = out.split_at_mut(METALAYERS + layers.len());
    let (encoded, offset) = match encode::chunk(parameters, size, source, rest)? {
        Encoded::Chunk(encoded) => (encoded, 0),
        Encoded::Zeros => (0, SPECIAL_OFFSET | 1 << SPECIAL_SHIFT),
    };
    let (index, rest) = rest[encoded..].split_at_mut(INDEX_BYTES);
    index.fill(0);
    // Declares shuffled elements of 8 bytes, which are too few to be compressed.
    index[..4].copy_from_slice(&[VERSION, 1, EXTENDED | PLAIN, 8]);
    (index[4], index[8], index[12], index[21]) = (8, 8, INDEX_BYTES as u8, 1);
    index[EXTENDED_HEADER_BYTES..].copy_from_slice(&offset.to_le_bytes());
    rest[..TRAILER.len()].copy_from_slice(&TRAILER);
    let end = header.len() + encoded + INDEX_BYTES + TRAILER.len();
    let header_bytes = header.len();
    header[..METALAYERS].fill(0);
    header[METALAYERS..].copy_from_slice(layers);
    header[..NAME.len()].copy_from_slice(NAME);
    MARKS.iter().for_each(|(at, mark)| header[*at] = *mark);
    let narrow =
        [(HEADER_LENGTH, header_bytes), (ELEMENT, size), (BLOCK, source.block), (CHUNK, source.len())];
    for (at, value) in narrow {
        header[at..at + 4].copy_from_slice(&i32::try_from(value).ok()?.to_be_bytes());
    }
    for (at, value) in [(FRAME_LENGTH, end), (LENGTH, source.len()), (ENCODED, encoded)] {
        header[at..at + 8].copy_from_slice(&(value as u64).to_be_bytes());
    }
    let codec = parameters.codec_number();
    header[FLAGS..FLAGS + 4].copy_from_slice(&[
        WRITTEN_FLAGS,
        0,
        codec | (parameters.level as u8) << 4,
        SPLIT_MODE,
    ]);
    // The fields are: one thread to decode; the filters, of which only the last is used; the codec again.
    (header[67], header[70], header[76], header[77]) = (1, FILTERS, parameters.stage.number(), codec);
    Some(end)
}
