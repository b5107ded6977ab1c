//! Allocations for data of a length that a file states. An allocation that fails is an error.

use crate::{Error, Result};
use h5lake_ledger::buffers;

/// Returns `n` zeros.
///
/// # Errors
/// `OutOfRange` if the memory cannot be allocated.
pub fn zeros(n: usize) -> Result<Vec<u8>> {
    buffers::try_zeroed(n as u64).ok_or_else(|| no_memory(n))
}

/// Returns the error for `n` bytes that cannot be allocated.
pub fn no_memory(n: usize) -> Error {
    Error::range(format!("there is no memory for {n} bytes"))
}

/// Returns a buffer of `n` bytes with undefined content, from the pool if it is not too long: to be returned by
/// [`buffers::give`].
///
/// # Errors
/// `OutOfRange` if the memory cannot be allocated.
pub fn buffer(n: usize) -> Result<Vec<u8>> {
    buffers::try_take(n).ok_or_else(|| no_memory(n))
}

/// Returns a copy of the bytes in a buffer that is to be returned to the pool.
///
/// # Errors
/// `OutOfRange` if the memory cannot be allocated.
pub fn copied(data: &[u8]) -> Result<Vec<u8>> {
    let mut out = buffer(data.len())?;
    out.copy_from_slice(data);
    Ok(out)
}
