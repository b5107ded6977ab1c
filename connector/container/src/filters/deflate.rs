//! Deflate in a zlib wrapper (filter 1, RFC 1950 and 1951).

use super::FilterCodec;
use crate::{Error, Result};
use h5lake_ledger::buffers;
use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor};

#[derive(Debug)]
pub(super) struct Deflate {
    level: CompressionLvl,
}

impl Deflate {
    pub(super) fn new(level: Option<u32>) -> Result<Self> {
        let level = level.unwrap_or(6);
        let known = i32::try_from(level).ok().filter(|l| *l <= 9).and_then(|l| CompressionLvl::new(l).ok());
        known
            .map(|level| Self { level })
            .ok_or_else(|| Error::invalid(format!("deflate has no level {level}")))
    }
}

impl FilterCodec for Deflate {
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        let mut c = Compressor::new(self.level);
        let mut out = buffers::try_take(c.zlib_compress_bound(data.len()))?;
        let n = c.zlib_compress(data, &mut out).ok()?;
        out.truncate(n);
        Some(out)
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
