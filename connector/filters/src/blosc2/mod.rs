//! Blosc2 (filter 32026): a contiguous frame with one chunk. If the data has dimensions, the blocks of the chunk are
//! parts of the array.
//!
//! The client data are the filter's version, the bytes of a block (0 for the filter's choice), of an element and of a
//! chunk, level, filter and codec, and then, for two or more dimensions, the rank and the chunk's dimensions
//! (blosc2_filter.c of PyTables). If the dimensions fit the data's length, the frame has the metalayer `b2nd`.
//! Otherwise its chunk has the bytes in their order. The formats are those of c-blosc2: README_CFRAME_FORMAT.rst,
//! README_CHUNK_FORMAT.rst and README_B2ND_METALAYER.rst.

mod block_size;
mod chunk;
mod encode;
mod frame;
mod geometry;
mod metalayer;
mod stages;

use super::FilterCodec;
use super::blosc::compression::Codec;
use encode::{Parameters, Source};
use geometry::Geometry;
use stages::Stage;

/// Maximum length of a chunk: c-blosc2 refuses longer ones, because its lengths are signed.
const MAX_BYTES: usize = i32::MAX as usize - chunk::EXTENDED_HEADER_BYTES;
/// Elements above this size are treated as bytes in a chunk (`BLOSC_MAX_TYPESIZE`).
const MAX_ELEMENT_BYTES: usize = 255;
/// Maximum number of dimensions of a frame's array (`BLOSC2_MAX_DIM`).
const MAX_RANK: usize = 8;
/// Number of client data before the dimensions, without the rank.
const FIXED_VALUES: usize = 7;
/// Number of client data that the filter needs to encode: all up to its filter.
const MIN_VALUES: usize = 6;

/// The filter with its parameters.
#[derive(Debug)]
pub(super) struct Blosc2 {
    /// Bytes of a block; 0 for the filter's choice.
    block: usize,
    /// Bytes of an element; 0 if the filter did not set its parameters.
    size: usize,
    /// The parameters of the encoding; `None` if values are absent, or the filter of c-blosc2 refuses them.
    parameters: Option<Parameters>,
    /// Dimensions of the chunk, if there are two or more.
    dims: Option<Vec<usize>>,
}

/// Returns the dimensions in the client data: none, or an error where the filter of c-blosc2 has one.
fn dimensions(client_data: &[u32]) -> Result<Option<Vec<usize>>, ()> {
    let Some((rank, dims)) = client_data.get(FIXED_VALUES..).and_then(|rest| rest.split_first()) else {
        return Ok(None);
    };
    let rank = usize::try_from(*rank).ok().filter(|rank| (2..=MAX_RANK).contains(rank)).ok_or(())?;
    let dims = dims.get(..rank).ok_or(())?;
    Ok(Some(dims.iter().map(|dim| *dim as usize).collect()))
}

impl Blosc2 {
    /// Creates the filter; `None` for unsupported client data: a codec or filter that was added to c-blosc2, or invalid
    /// dimensions.
    pub(super) fn new(client_data: &[u32]) -> Option<Self> {
        let value = |n: usize, default: u32| client_data.get(n).copied().unwrap_or(default);
        let codec = Codec::of_parameter(value(6, 0)).filter(|codec| *codec != Codec::Snappy)?;
        let stage = Stage::of_number(u8::try_from(value(5, 1)).ok()?)?;
        let level = value(4, 5);
        let parameters =
            (client_data.len() >= MIN_VALUES && level <= 9).then_some(Parameters { codec, stage, level });
        let dims = dimensions(client_data).ok()?;
        Some(Self { block: value(1, 0) as usize, size: value(2, 0) as usize, parameters, dims })
    }

    /// Returns the dimensions, if their product fits `len` bytes.
    fn dims_of(&self, len: usize) -> Option<&[usize]> {
        let dims = self.dims.as_deref()?;
        let bytes = dims.iter().try_fold(self.size, |bytes, dim| bytes.checked_mul(*dim));
        (bytes == Some(len)).then_some(dims)
    }

    /// Returns the array of `len` bytes in blocks; `None` for bytes without dimensions.
    fn geometry(&self, parameters: &Parameters, len: usize) -> Result<Option<Geometry>, String> {
        let Some(dims) = self.dims_of(len) else { return Ok(None) };
        let block = match self.block {
            // The rule for shuffled data applies to every filter (`compute_blosc2_blocksize`).
            0 => block_size::automatic(&Parameters { stage: Stage::Shuffle, ..*parameters }, self.size, len),
            given => given,
        };
        let block = block_size::shape(block / self.size, dims);
        Geometry::new(dims.to_vec(), dims.to_vec(), block, self.size, MAX_BYTES).map(Some)
    }

    fn decode_frame(&self, frame: &frame::Frame<'_>, out: &mut [u8]) -> Result<(), String> {
        let Some(geometry) = &frame.geometry else { return frame.decode_plain(out) };
        if let Some(dims) = &self.dims
            && *dims != geometry.shape
        {
            return Err(format!("damaged data: an array of {:?} where {dims:?} is to be", geometry.shape));
        }
        frame.decode_array(geometry, out)
    }
}

impl FilterCodec for Blosc2 {
    /// Data that would not become shorter is stored unencoded in a frame, like in c-blosc2.
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        let parameters = self.parameters?;
        if self.size == 0 || data.is_empty() || data.len() > MAX_BYTES {
            return None;
        }
        let geometry = self.geometry(&parameters, data.len()).ok()?;
        let block = match &geometry {
            Some(geometry) => geometry.block_bytes(),
            None => block_size::plain(&parameters, self.size, data.len(), self.block),
        };
        let source = Source { data, geometry: geometry.as_ref(), block };
        frame::write(&parameters, self.size, &source)
    }

    fn decoded_len(&self, data: &[u8]) -> Result<Option<usize>, String> {
        frame::Frame::read(data, MAX_BYTES)?.len().map(Some)
    }

    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> Result<Option<usize>, String> {
        self.decode_frame(&frame::Frame::read(data, out.len())?, out)?;
        Ok(Some(out.len()))
    }

    /// Blocks at the end of a dimension are padded, which may nearly double it.
    fn max_encoded_bytes(&self, len: usize) -> usize {
        let rank = self.dims.as_ref().map_or(1, Vec::len);
        len.saturating_mul(1 << rank).saturating_add(super::MAX_OVERHEAD_BYTES)
    }
}

#[cfg(test)]
mod tests;
