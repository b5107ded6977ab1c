//! Zstandard (filter 32015): one frame, made with the first client value as its level.

use super::FilterCodec;
use h5lake_ledger::buffers;

/// The error `ZSTD_error_dstSize_tooSmall`: the output buffer is too short. The library returns error numbers as
/// negative sizes.
const NO_ROOM: zstd_safe::ErrorCode = 0_usize.wrapping_sub(70);

#[derive(Debug)]
pub(super) struct Zstd {
    level: i32,
}

impl Zstd {
    /// Creates the filter. Levels out of range are replaced by the nearest one (`zstd_filter` in zstd_h5plugin.c).
    pub(super) fn new(client_data: &[u32]) -> Self {
        let given = client_data.first().map_or(zstd_safe::CLEVEL_DEFAULT, |level| level.cast_signed());
        Self { level: given.clamp(1, zstd_safe::max_c_level()) }
    }
}

/// Encodes a block to the start of `out`. Returns its encoded length, or `None` if `out` is too short.
pub(super) fn encode_block(data: &[u8], out: &mut [u8], level: i32) -> Option<usize> {
    zstd_safe::compress(out, data, level).ok()
}

/// Decodes a block to the start of `out`. Returns its decoded length.
pub(super) fn decode_block(data: &[u8], out: &mut [u8]) -> Result<usize, String> {
    zstd_safe::decompress(out, data).map_err(damage)
}

fn damage(code: zstd_safe::ErrorCode) -> String {
    format!("damaged data: {}", zstd_safe::get_error_name(code))
}

impl FilterCodec for Zstd {
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        let mut out = buffers::try_take(zstd_safe::compress_bound(data.len()))?;
        let n = encode_block(data, &mut out, self.level)?;
        out.truncate(n);
        Some(out)
    }

    fn decoded_len(&self, _: &[u8]) -> Result<Option<usize>, String> {
        Ok(None)
    }

    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> Result<Option<usize>, String> {
        match zstd_safe::decompress(out, data) {
            Ok(n) => Ok(Some(n)),
            Err(NO_ROOM) => Ok(None),
            Err(code) => Err(damage(code)),
        }
    }
}
