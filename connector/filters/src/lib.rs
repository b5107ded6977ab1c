//! Filter pipelines: the encoding of chunks between memory and storage, as HDF5 defines it.
//!
//! A chunk encoded here decodes in native HDF5 and the reverse: filters apply in the order given, and bit n of the mask
//! means that step n was skipped.

#![forbid(unsafe_code)]

mod bit_matrix;
mod bits;
mod bitshuffle;
mod blosc;
mod blosc2;
mod bzip2;
mod deflate;
mod fletcher32;
#[cfg(fuzzing)]
pub mod fuzz;
mod lz4;
mod lzf;
mod nbit;
mod pipeline;
mod scaleoffset;
mod shuffle;
mod stored_form;
mod szip;
mod zstd;

pub use pipeline::{ChunkCodec, Codecs, Pipeline, encode_with_all, is_built_in, known_filter_name, unlocked};

use h5lake_ledger::buffers::Scratch;
use std::fmt;

/// Number of bytes that a codec may add to a short chunk, in addition to doubling it: headers and tables.
const MAX_OVERHEAD_BYTES: usize = 4096;

/// The interface of built-in filters.
trait FilterCodec: fmt::Debug + Send + Sync {
    /// Encodes data; `None` if it cannot or, in the filter's own judgement, would gain nothing.
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>>;
    /// Returns the decoded length of `data`; `None` if it is not known before decoding.
    fn decoded_len(&self, data: &[u8]) -> std::result::Result<Option<usize>, String>;
    /// Decodes to `out`, which has the length that [`Self::decoded_len`] returned. If that returned `None`, decodes to
    /// the start of `out`, and returns the decoded length, or `None` if `out` is too short.
    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> std::result::Result<Option<usize>, String>;
    /// Decodes data, to at most `limit` bytes.
    #[cfg(test)]
    fn decode(&self, data: &[u8], limit: usize) -> std::result::Result<Vec<u8>, String>
    where
        Self: Sized,
    {
        pipeline::decoded(self, data, 0, limit).map_err(|error| error.to_string())
    }
    /// Returns whether decoding may return other data than was encoded.
    fn may_lose(&self) -> bool {
        false
    }
    /// Returns the maximum length that any writer's encoding of `len` bytes has, and therefore the limit for decoding
    /// the next filter.
    fn max_encoded_bytes(&self, len: usize) -> usize {
        max_encoded_bytes(len)
    }
}

/// Returns the maximum length to which a filter without a bound of its own encodes `len` bytes.
fn max_encoded_bytes(len: usize) -> usize {
    len.saturating_mul(2).saturating_add(MAX_OVERHEAD_BYTES)
}

/// Removes a big-endian number from the start of encoded data, and returns it.
fn read_u32(data: &mut &[u8]) -> Option<u32> {
    let (number, rest) = data.split_first_chunk()?;
    *data = rest;
    Some(u32::from_be_bytes(*number))
}

/// Removes a big-endian number of 8 bytes from the start of encoded data, and returns it.
fn read_u64(data: &mut &[u8]) -> Option<u64> {
    let (number, rest) = data.split_first_chunk()?;
    *data = rest;
    Some(u64::from_be_bytes(*number))
}

/// Returns a buffer for a decoder, of a length that comes from a chunk.
fn scratch(len: usize) -> std::result::Result<Scratch, String> {
    Scratch::try_new(len).ok_or_else(|| format!("there is no memory for {len} bytes"))
}
