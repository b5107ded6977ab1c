//! Encodes a chunk of Blosc2, with an extended header.

use super::chunk::{
    DELTA, EXTENDED, EXTENDED_HEADER_BYTES, FORMAT_SHIFT, NUMBER_BYTES, ONE_STREAM, PLAIN, RUN, VERSION,
};
use super::geometry::Geometry;
use super::stages::Stage;
use crate::blosc::compression::{Codec, Encoder};
use h5lake_ledger::buffers::Scratch;

/// Shorter chunks are stored unencoded, and blocks are not split into shorter streams (`BLOSC_MIN_BUFFERSIZE`).
const MIN_BYTES: usize = 32;
/// Blocks are split for elements of up to this many bytes.
const MAX_STREAMS: usize = 16;
/// The maximum level at which Zstandard splits blocks.
const LAST_SPLIT_LEVEL: u32 = 5;
/// Longer blocks are refused (`BLOSC2_MAXBLOCKSIZE`).
const MAX_BLOCK: usize = 536_866_816;
/// The version of every codec's format.
const CODEC_VERSION: u8 = 1;

/// The parameters of the encoding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameters {
    pub(super) codec: Codec,
    pub(super) stage: Stage,
    /// The level, 0 to 9.
    pub(super) level: u32,
}

impl Parameters {
    /// Returns the number of the codec in c-blosc2.
    pub(super) fn codec_number(&self) -> u8 {
        self.codec as u8
    }

    /// Returns whether blocks are compressed in streams, one for each byte of an element (`split_block`).
    pub(super) fn splits(&self, size: usize, block: usize) -> bool {
        let may = match self.codec {
            Codec::BloscLz | Codec::Lz4 => true,
            Codec::Zstd => self.level <= LAST_SPLIT_LEVEL,
            _ => false,
        };
        may && self.stage == Stage::Shuffle && size <= MAX_STREAMS && block / size >= MIN_BYTES
    }

    fn encoder(&self) -> Option<Encoder> {
        // Unlike c-blosc, c-blosc2 does not accelerate LZ4 at low levels.
        Some(Encoder::new(self.codec, self.level)?.without_acceleration())
    }
}

/// The data to encode: bytes in blocks of a length, the last one shorter, or blocks of an array.
pub(super) struct Source<'a> {
    pub(super) data: &'a [u8],
    pub(super) geometry: Option<&'a Geometry>,
    /// Bytes of a block.
    pub(super) block: usize,
}

impl Source<'_> {
    /// Returns the bytes of all blocks.
    pub(super) fn len(&self) -> usize {
        self.geometry.map_or(self.data.len(), Geometry::chunk_bytes)
    }

    fn blocks(&self) -> usize {
        self.len().div_ceil(self.block)
    }

    /// Returns a block, assembled in `buffer` if it is not contiguous.
    fn block<'b>(&'b self, n: usize, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let Some(geometry) = self.geometry else { return self.data.chunks(self.block).nth(n) };
        let place = geometry.place(0, n)?;
        if let Some(run) = geometry.run(&place) {
            return self.data.get(run);
        }
        buffer.fill(0);
        geometry
            .rows(&place, |from, to, len| buffer[to..to + len].copy_from_slice(&self.data[from..from + len]));
        Some(buffer)
    }

    /// Returns a buffer for a block, if blocks must be assembled.
    fn buffer(&self) -> Scratch {
        Scratch::new(if self.geometry.is_some() { self.block } else { 0 })
    }
}

/// An encoded chunk.
pub(super) enum Encoded {
    /// All bytes are zeros, which needs no chunk.
    Zeros,
    /// A chunk of this many bytes.
    Chunk(usize),
}

/// Writes a chunk of elements of `size` bytes to the start of `out`, which has space for all blocks and a header.
/// Returns `None` for data that c-blosc2 refuses, or writes but cannot read: a block that has no whole elements.
pub(super) fn chunk(
    parameters: &Parameters,
    size: usize,
    source: &Source<'_>,
    out: &mut [u8],
) -> Option<Encoded> {
    let (len, block) = (source.len(), source.block);
    let size = if size > super::MAX_ELEMENT_BYTES { 1 } else { size };
    if block > MAX_BLOCK {
        return None;
    }
    let out = out.get_mut(..len + EXTENDED_HEADER_BYTES)?;
    let mut header = Header { flags: EXTENDED, size, len, block, parameters };
    if parameters.level == 0 || len < MIN_BYTES {
        return header.plain(source, out);
    }
    if !block.is_multiple_of(size) || parameters.stage == Stage::TruncatedPrecision {
        return None;
    }
    let is_split = parameters.splits(size, block);
    header.flags |= parameters.codec.format() << FORMAT_SHIFT;
    header.flags |= if is_split { 0 } else { ONE_STREAM };
    header.flags |= if parameters.stage == Stage::Delta { DELTA } else { 0 };
    let mut blocks = Blocks::new(parameters, size, if is_split { size } else { 1 }, block)?;
    let Some(end) = blocks.encode(source, out) else { return header.plain(source, out) };
    if blocks.is_zero && len.is_multiple_of(size) {
        return Some(Encoded::Zeros);
    }
    header.write(end, out)?;
    Some(Encoded::Chunk(end))
}

struct Header<'a> {
    flags: u8,
    size: usize,
    len: usize,
    block: usize,
    parameters: &'a Parameters,
}

impl Header<'_> {
    fn write(&self, encoded: usize, out: &mut [u8]) -> Option<()> {
        let header = out.get_mut(..EXTENDED_HEADER_BYTES)?;
        header.fill(0);
        header[..4].copy_from_slice(&[VERSION, CODEC_VERSION, self.flags, u8::try_from(self.size).ok()?]);
        for (n, number) in [self.len, self.block, encoded].into_iter().enumerate() {
            header[4 + 4 * n..8 + 4 * n].copy_from_slice(&u32::try_from(number).ok()?.to_le_bytes());
        }
        header[21] = self.parameters.stage.number();
        header[22] = self.parameters.codec_number();
        Some(())
    }

    /// Writes all blocks unencoded.
    fn plain(mut self, source: &Source<'_>, out: &mut [u8]) -> Option<Encoded> {
        self.flags |= PLAIN;
        let mut buffer = source.buffer();
        let blocks = out[EXTENDED_HEADER_BYTES..].chunks_mut(self.block);
        for (n, part) in blocks.enumerate() {
            part.copy_from_slice(source.block(n, &mut buffer)?);
        }
        let encoded = EXTENDED_HEADER_BYTES + self.len;
        self.write(encoded, out)?;
        Some(Encoded::Chunk(encoded))
    }
}

/// Encodes the blocks of one chunk.
struct Blocks {
    encoder: Encoder,
    stage: Stage,
    size: usize,
    /// Number of streams of a whole block.
    streams: usize,
    staged: Scratch,
    /// True if all streams were zeros so far.
    is_zero: bool,
}

impl Blocks {
    fn new(parameters: &Parameters, size: usize, streams: usize, block: usize) -> Option<Self> {
        let stage =
            if size == 1 && parameters.stage == Stage::Shuffle { Stage::None } else { parameters.stage };
        let staged = Scratch::new(if stage == Stage::None { 0 } else { block });
        Some(Self { encoder: parameters.encoder()?, stage, size, streams, staged, is_zero: true })
    }

    /// Writes offsets and streams after the header. Returns their end, or `None` if `out` is too short.
    fn encode(&mut self, source: &Source<'_>, out: &mut [u8]) -> Option<usize> {
        let mut at = EXTENDED_HEADER_BYTES + NUMBER_BYTES * source.blocks();
        let mut buffer = source.buffer();
        let mut first = Vec::new();
        for n in 0..source.blocks() {
            let start = EXTENDED_HEADER_BYTES + NUMBER_BYTES * n;
            *out.get_mut(start..)?.first_chunk_mut()? = u32::try_from(at).ok()?.to_le_bytes();
            let block = source.block(n, &mut buffer)?;
            if n == 0 && self.stage == Stage::Delta {
                first = block.to_vec();
            }
            let staged = match self.stage {
                Stage::None => block,
                stage => {
                    stage.apply(block, self.size, n, &first, &mut self.staged[..block.len()]);
                    &self.staged[..block.len()]
                }
            };
            let streams = if block.len() == source.block { self.streams } else { 1 };
            for stream in staged.chunks_exact(block.len() / streams) {
                let (bytes, is_zero) = encode_stream(&mut self.encoder, stream, out.get_mut(at..)?)?;
                at += bytes;
                self.is_zero &= is_zero;
            }
        }
        Some(at)
    }
}

/// Writes a stream with its length before it. Returns the number of bytes and whether all are zeros, or `None` if `out`
/// is too short.
fn encode_stream(encoder: &mut Encoder, stream: &[u8], out: &mut [u8]) -> Option<(usize, bool)> {
    let (length, buffer) = out.split_first_chunk_mut::<NUMBER_BYTES>()?;
    let byte = *stream.first()?;
    if stream[1..] == stream[..stream.len() - 1] {
        *length = (-i32::from(byte)).to_le_bytes();
        if byte == 0 {
            return Some((NUMBER_BYTES, true));
        }
        *buffer.first_mut()? = RUN;
        return Some((NUMBER_BYTES + 1, false));
    }
    // A length equal to that of the stream means unencoded.
    let limit = buffer.len().min(stream.len() - 1);
    let encoded = match encoder.encode(stream, &mut buffer[..limit]) {
        Some(encoded) if encoded > 0 => encoded,
        _ => {
            buffer.get_mut(..stream.len())?.copy_from_slice(stream);
            stream.len()
        }
    };
    *length = u32::try_from(encoded).ok()?.to_le_bytes();
    Some((NUMBER_BYTES + encoded, false))
}
