//! Zstandard (filter 32015): one frame, made with the first client value as its level.

use super::FilterCodec;
use h5lake_ledger::buffers;

#[derive(Debug)]
pub(super) struct Zstd {
    level: i32,
}

impl Zstd {
    /// Levels out of range are taken as the nearest one (`zstd_filter` in zstd_h5plugin.c).
    pub(super) fn new(client_data: &[u32]) -> Self {
        let given = client_data.first().map_or(zstd_safe::CLEVEL_DEFAULT, |level| level.cast_signed());
        Self { level: given.clamp(1, zstd_safe::max_c_level()) }
    }
}

/// Encodes a block to the start of `out`: its encoded length, if there was room.
pub(super) fn encode_block(data: &[u8], out: &mut [u8], level: i32) -> Option<usize> {
    zstd_safe::compress(out, data, level).ok()
}

/// Decodes a block to the start of `out`: its decoded length.
pub(super) fn decode_block(data: &[u8], out: &mut [u8]) -> Result<usize, String> {
    zstd_safe::decompress(out, data)
        .map_err(|code| format!("damaged data: {}", zstd_safe::get_error_name(code)))
}

impl FilterCodec for Zstd {
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        let mut out = buffers::take(zstd_safe::compress_bound(data.len()));
        let n = encode_block(data, &mut out, self.level)?;
        out.truncate(n);
        Some(out)
    }

    fn decode(&self, data: &[u8], limit: usize) -> Result<Vec<u8>, String> {
        let mut out = buffers::take(limit);
        let n = decode_block(data, &mut out)?;
        out.truncate(n);
        Ok(out)
    }

    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> Result<(), String> {
        match decode_block(data, out)? {
            n if n == out.len() => Ok(()),
            n => Err(format!("{n} bytes come out where {} are to be", out.len())),
        }
    }
}
