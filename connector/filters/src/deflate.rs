//! Deflate in a zlib wrapper (filter 1, RFC 1950 and 1951).
//!
//! libdeflate takes half of zlib's time, and usually compresses as well. For numbers that count up, such as those of
//! axes and times, its output is up to 2.7 times as long, because it searches for few short matches. So both libraries
//! sometimes encode a sample of a dataset, and zlib encodes the chunks if it is clearly better.

use super::FilterCodec;
use flate2::{Compress, Compression, FlushCompress, Status};
use h5lake_ledger::buffers;
use h5lake_records::{Error, Result};
use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor};
// Makes flate2 use the bundled zlib instead of that of the system.
use libz_sys as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// One in this many chunks that a pipeline encodes is compared; of the first chunks more.
const COMPARED_OF: u32 = 128;
/// Maximum and minimum number of bytes of a chunk that are compared. A chunk with fewer bytes is encoded by libdeflate.
const SAMPLE: usize = 8 << 10;
const MIN_SAMPLE: usize = 1 << 10;

#[derive(Debug)]
pub(super) struct Deflate {
    level: CompressionLvl,
    /// The compression level for zlib.
    zlib_level: Compression,
    /// Number of encoded chunks.
    encoded: AtomicU32,
    /// True if zlib was clearly better in the last comparison.
    prefers_zlib: AtomicBool,
}

fn with_zlib(level: Compression, data: &[u8]) -> Option<Vec<u8>> {
    let mut out = buffers::try_take(zlib_bound(data.len()))?;
    let mut zlib = Compress::new(level, true);
    let ended = zlib.compress(data, &mut out, FlushCompress::Finish).ok()? == Status::StreamEnd;
    out.truncate(usize::try_from(zlib.total_out()).ok()?);
    ended.then_some(out)
}

fn with_libdeflate(level: CompressionLvl, data: &[u8]) -> Option<Vec<u8>> {
    let mut c = Compressor::new(level);
    let mut out = buffers::try_take(c.zlib_compress_bound(data.len()))?;
    let n = c.zlib_compress(data, &mut out).ok()?;
    out.truncate(n);
    Some(out)
}

/// Returns the maximum output of zlib: five bytes for each of its smallest stored blocks, and its wrapper.
fn zlib_bound(length: usize) -> usize {
    length + length / 1000 + 64
}

impl Deflate {
    pub(super) fn new(level: Option<u32>) -> Result<Self> {
        let level = level.unwrap_or(6);
        let known = i32::try_from(level).ok().filter(|l| *l <= 9).and_then(|l| CompressionLvl::new(l).ok());
        let known = known.ok_or_else(|| Error::invalid(format!("deflate has no level {level}")))?;
        Ok(Self {
            level: known,
            zlib_level: Compression::new(level),
            encoded: AtomicU32::new(0),
            prefers_zlib: AtomicBool::new(false),
        })
    }

    /// Compares both libraries with a part of the data.
    fn compare(&self, data: &[u8]) {
        let from = (data.len() / 2).min(data.len().saturating_sub(SAMPLE));
        let sample = &data[from..data.len().min(from + SAMPLE)];
        let by_zlib = with_zlib(self.zlib_level, sample);
        let both = by_zlib.zip(with_libdeflate(self.level, sample));
        let is_better = both.is_some_and(|(zlib, other)| zlib.len() * 16 < other.len() * 15);
        self.prefers_zlib.store(is_better, Ordering::Relaxed);
    }
}

impl FilterCodec for Deflate {
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        if data.len() < MIN_SAMPLE {
            return with_libdeflate(self.level, data);
        }
        let number = self.encoded.fetch_add(1, Ordering::Relaxed);
        if number.is_multiple_of(COMPARED_OF) || number.is_power_of_two() {
            self.compare(data);
        }
        match self.prefers_zlib.load(Ordering::Relaxed) {
            true => with_zlib(self.zlib_level, data),
            false => with_libdeflate(self.level, data),
        }
    }

    fn decoded_len(&self, _: &[u8]) -> std::result::Result<Option<usize>, String> {
        Ok(None)
    }

    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> std::result::Result<Option<usize>, String> {
        match Decompressor::new().zlib_decompress(data, out) {
            Ok(n) => Ok(Some(n)),
            Err(DecompressionError::InsufficientSpace) => Ok(None),
            Err(e) => Err(format!("damaged data: {e}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(of: impl Fn(u32) -> f32) -> Vec<Vec<u8>> {
        let chunk = |first: u32| (first..first + 4000).flat_map(|n| of(n).to_le_bytes()).collect();
        (0..8).map(|n| chunk(n * 4000)).collect()
    }

    /// Returns the total encoded length of all chunks by the filter, and by zlib.
    fn lengths(level: u32, data: &[Vec<u8>]) -> [usize; 2] {
        let filter = Deflate::new(Some(level)).unwrap();
        let mut both = [0; 2];
        for chunk in data {
            let encoded = filter.encode(chunk).unwrap();
            let mut out = vec![0; chunk.len()];
            assert_eq!(filter.decode_into(&encoded, &mut out), Ok(Some(chunk.len())));
            assert!(out == *chunk);
            both[0] += encoded.len();
            both[1] += with_zlib(Compression::new(level), chunk).unwrap().len();
        }
        both
    }

    #[test]
    fn no_output_is_much_larger_than_that_of_zlib() {
        let counting = chunks(|n| n as f32);
        let smooth = chunks(|n| (n as f32 / 100.0).sin());
        let again = chunks(|n| (n % 777) as f32);
        for level in [1, 4, 6, 9] {
            for (what, data) in [("counting", &counting), ("smooth", &smooth), ("again", &again)] {
                let [ours, zlibs] = lengths(level, data);
                assert!(ours * 10 <= zlibs * 11, "{what}, level {level}: {ours} bytes, zlib {zlibs}");
            }
        }
    }

    #[test]
    fn incompressible_data_fits_the_output() {
        let noise: Vec<u8> = (0..100_000u64)
            .map(|n| (n.wrapping_mul(n).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
            .collect();
        for level in 0..=9 {
            for length in [0, 1, 1000, 5000, 16_383, 16_384, 16_385, 65_536, noise.len()] {
                let encoded = with_zlib(Compression::new(level), &noise[..length]).unwrap();
                let filter = Deflate::new(Some(level)).unwrap();
                let mut out = vec![0; length];
                assert_eq!(filter.decode_into(&encoded, &mut out), Ok(Some(length)));
                assert!(out == noise[..length]);
            }
        }
    }
}
