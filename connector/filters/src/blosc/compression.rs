//! The compression of blocks and their parts in Blosc, and the arrangement of their bytes before it.

use super::blosclz;
use crate::bit_matrix::{bits_of, elements_of};
use crate::lz4;
use crate::shuffle::{elements_of_planes, planes_of};
use ::lz4::block::CompressionMode;
use libdeflater::{CompressionLvl, Compressor, Decompressor};
use zstd_safe::{CCtx, DCtx};

/// Number of elements in a byte of a row of bits.
const ROW: usize = 8;
/// Size of a processor's level-1 cache, from which block sizes are derived.
const NEAREST_CACHE: usize = 32 << 10;

/// The codecs, by their numbers in the filters' parameters (`BLOSC_BLOSCLZ` etc.).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    BloscLz,
    Lz4,
    Lz4Hc,
    Snappy,
    Zlib,
    Zstd,
}

impl Codec {
    pub(crate) fn of_parameter(number: u32) -> Option<Self> {
        let all = [Self::BloscLz, Self::Lz4, Self::Lz4Hc, Self::Snappy, Self::Zlib, Self::Zstd];
        all.get(usize::try_from(number).ok()?).copied()
    }

    /// Returns the codec by the number of its output's format (`BLOSC_BLOSCLZ_FORMAT` etc.).
    pub(crate) fn of_format(number: u8) -> Option<Self> {
        [Self::BloscLz, Self::Lz4, Self::Snappy, Self::Zlib, Self::Zstd].get(usize::from(number)).copied()
    }

    pub(crate) fn format(self) -> u8 {
        match self {
            Self::BloscLz => 0,
            Self::Lz4 | Self::Lz4Hc => 1,
            Self::Snappy => 2,
            Self::Zlib => 3,
            Self::Zstd => 4,
        }
    }

    /// Returns the bytes of a block of a chunk of `len` at a level from 0 to 9, before anything is split
    /// (`compute_blocksize` of c-blosc, `blosc_stune_next_blocksize` of c-blosc2).
    pub(crate) fn usual_block(self, level: u32, len: usize) -> usize {
        if len < NEAREST_CACHE {
            return len;
        }
        let thorough = if self.is_thorough() { 2 } else { 1 };
        let block = NEAREST_CACHE * thorough;
        match level {
            0 => block / 4,
            1 => block / 2,
            2 => block,
            3 => block * 2,
            4 | 5 => block * 4,
            6..=8 => block * 8,
            _ => block * 8 * thorough,
        }
    }

    /// Returns whether larger blocks improve its compression (`HCR`).
    fn is_thorough(self) -> bool {
        matches!(self, Self::Lz4Hc | Self::Zlib | Self::Zstd)
    }
}

/// Returns the bytes of a block, rounded down to whole elements, in a chunk of `len` bytes.
pub(crate) fn whole_elements(block: usize, size: usize, len: usize) -> usize {
    let block = block.min(len);
    if block > size { block / size * size } else { block }
}

/// The arrangement of a block's bytes before compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrangement {
    AsGiven,
    /// By bytes of elements.
    Bytes,
    /// By bits of elements.
    Bits,
}

impl Arrangement {
    /// Returns how many bytes of `len` are rearranged. By bits, a block stays unchanged unless its number of elements
    /// is a multiple of eight.
    fn moved(self, len: usize, size: usize) -> usize {
        let elements = len / size;
        match self {
            Self::AsGiven => 0,
            Self::Bytes if size == 1 => 0,
            Self::Bytes => elements * size,
            Self::Bits if !elements.is_multiple_of(ROW) => 0,
            Self::Bits => elements * size,
        }
    }

    /// Returns whether any byte is rearranged.
    pub(crate) fn moves(self, len: usize, size: usize) -> bool {
        self.moved(len, size) > 0
    }

    /// Arranges a block of elements of `size` bytes.
    pub(crate) fn arrange(self, block: &[u8], size: usize, out: &mut [u8]) {
        let (elements, rest) = block.split_at(self.moved(block.len(), size));
        let (arranged, left) = out.split_at_mut(elements.len());
        left.copy_from_slice(rest);
        match self {
            _ if elements.is_empty() => {}
            Self::Bits => bits_of(elements, size, arranged),
            _ => planes_of(elements, size, arranged),
        }
    }

    /// Reverses [`Self::arrange`].
    pub(crate) fn undo(self, arranged: &[u8], size: usize, out: &mut [u8]) {
        let (arranged, rest) = arranged.split_at(self.moved(arranged.len(), size));
        let (elements, left) = out.split_at_mut(arranged.len());
        left.copy_from_slice(rest);
        match self {
            _ if arranged.is_empty() => {}
            Self::Bits => elements_of(arranged, size, elements),
            _ => elements_of_planes(arranged, size, elements),
        }
    }
}

/// Compresses the parts of one chunk, at a level from 1 to 9.
pub(crate) struct Encoder {
    level: i32,
    state: EncoderState,
}

enum EncoderState {
    BloscLz(blosclz::Table),
    Lz4(CompressionMode),
    Snappy(Box<snap::raw::Encoder>),
    Zlib(Compressor),
    Zstd(CCtx<'static>),
}

impl Encoder {
    /// Creates an encoder; `None` for an invalid level, or without memory.
    pub(crate) fn new(codec: Codec, level: u32) -> Option<Self> {
        let level = i32::try_from(level).ok().filter(|level| (1..=9).contains(level))?;
        let state = match codec {
            Codec::BloscLz => EncoderState::BloscLz(blosclz::Table::new()),
            Codec::Lz4 => EncoderState::Lz4(CompressionMode::FAST(10 - level)),
            Codec::Lz4Hc => EncoderState::Lz4(CompressionMode::HIGHCOMPRESSION(level)),
            Codec::Snappy => EncoderState::Snappy(Box::new(snap::raw::Encoder::new())),
            Codec::Zlib => EncoderState::Zlib(Compressor::new(CompressionLvl::new(level).ok()?)),
            Codec::Zstd => EncoderState::Zstd(CCtx::try_create()?),
        };
        Some(Self { level, state })
    }

    /// Makes LZ4 compress without acceleration at every level.
    pub(crate) fn without_acceleration(mut self) -> Self {
        if let EncoderState::Lz4(mode @ CompressionMode::FAST(_)) = &mut self.state {
            *mode = CompressionMode::DEFAULT;
        }
        self
    }

    /// Compresses to the start of `out`. Returns the length, or `None` if `out` is too short.
    pub(crate) fn encode(&mut self, data: &[u8], out: &mut [u8]) -> Option<usize> {
        match &mut self.state {
            EncoderState::BloscLz(table) => {
                blosclz::encode(data, out, usize::try_from(self.level).ok()?, table)
            }
            EncoderState::Lz4(mode) => lz4::encode_block_by(*mode, data, out),
            EncoderState::Snappy(encoder) => {
                let encoded = encoder.compress_vec(data).ok()?;
                out.get_mut(..encoded.len())?.copy_from_slice(&encoded);
                Some(encoded.len())
            }
            EncoderState::Zlib(compressor) => compressor.zlib_compress(data, out).ok(),
            EncoderState::Zstd(context) => {
                // Maps levels as c-blosc does.
                let level = if self.level == 9 { zstd_safe::max_c_level() } else { self.level * 2 - 1 };
                context.compress(out, data, level).ok()
            }
        }
    }
}

/// Decompresses the parts of one chunk.
pub(crate) enum Decoder {
    BloscLz,
    Lz4,
    Snappy,
    Zlib(Decompressor),
    Zstd(DCtx<'static>),
}

impl Decoder {
    pub(crate) fn new(codec: Codec) -> Result<Self, String> {
        Ok(match codec {
            Codec::BloscLz => Self::BloscLz,
            Codec::Lz4 | Codec::Lz4Hc => Self::Lz4,
            Codec::Snappy => Self::Snappy,
            Codec::Zlib => Self::Zlib(Decompressor::new()),
            Codec::Zstd => Self::Zstd(DCtx::try_create().ok_or("no memory for Zstandard")?),
        })
    }

    /// Decompresses data to `out`. The decoded length must be that of `out`.
    pub(crate) fn decode(&mut self, data: &[u8], out: &mut [u8]) -> Result<(), String> {
        let n = match self {
            Self::BloscLz => blosclz::decode(data, out).ok_or("damaged BloscLZ data")?,
            Self::Lz4 => lz4::decode_block(data, out)?,
            Self::Snappy => snappy(data, out)?,
            Self::Zlib(decompressor) => {
                decompressor.zlib_decompress(data, out).map_err(|e| format!("damaged zlib data: {e}"))?
            }
            Self::Zstd(context) => context
                .decompress(out, data)
                .map_err(|code| format!("damaged data: {}", zstd_safe::get_error_name(code)))?,
        };
        (n == out.len()).then_some(()).ok_or_else(|| format!("damaged data: {n} bytes of {}", out.len()))
    }
}

fn snappy(data: &[u8], out: &mut [u8]) -> Result<usize, String> {
    snap::raw::Decoder::new().decompress(data, out).map_err(|e| format!("damaged Snappy data: {e}"))
}
