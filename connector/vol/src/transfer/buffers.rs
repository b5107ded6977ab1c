//! Buffers for elements during a transfer.
#![forbid(unsafe_code)]

use h5lake_ledger::buffers::{MAX_POOLED_BYTES, Scratch};

use crate::error::{Error, Result};

/// Allocates a buffer of `count` elements with arbitrary content, for the duration of a transfer.
pub fn scratch_of(count: usize, size: usize) -> Result<Scratch> {
    match count.checked_mul(size).filter(|bytes| *bytes <= MAX_POOLED_BYTES) {
        Some(bytes) => Ok(Scratch::new(bytes)),
        None => buffer_of(count, size).map(Scratch::from),
    }
}

/// Allocates a zeroed buffer of `count` elements.
pub fn buffer_of(count: usize, size: usize) -> Result<Vec<u8>> {
    let too_large = || Error::argument(format!("{count} elements of {size} bytes do not fit into memory"));
    let bytes =
        count.checked_mul(size).filter(|bytes| isize::try_from(*bytes).is_ok()).ok_or_else(too_large)?;
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(bytes).map_err(|_| too_large())?;
    buffer.resize(bytes, 0);
    Ok(buffer)
}
