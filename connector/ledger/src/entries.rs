//! Iterates over the entries of a ledger.

use crate::{Error, Ledger, is_last_page};
use bytes::Bytes;

/// Number of entries that one scan requests.
pub const ENTRIES_PER_SCAN: usize = 1024;

/// Passes all entries under a prefix after the key `after` to a function, in the order of their keys.
///
/// # Errors
/// Those of the ledger and of the function, which ends the iteration.
pub fn each_entry<E: From<Error>>(
    ledger: &Ledger,
    prefix: &[u8],
    mut after: Option<Bytes>,
    mut use_entry: impl FnMut(Bytes, Bytes) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        let page = ledger.scan_prefix(prefix, after.as_deref(), ENTRIES_PER_SCAN)?;
        let is_last = is_last_page(&page, ENTRIES_PER_SCAN);
        after = page.last().map(|(k, _)| k.clone());
        for (key, value) in page {
            use_entry(key, value)?;
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Passes all keys with a prefix after the key `after` to a function, in order. Their values are not read.
///
/// # Errors
/// Those of the ledger and of the function, which ends the iteration.
pub fn each_key<E: From<Error>>(
    ledger: &Ledger,
    prefix: &[u8],
    mut after: Option<Bytes>,
    mut use_key: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        let page = ledger.keys(prefix, after.as_deref(), ENTRIES_PER_SCAN)?;
        page.iter().try_for_each(|key| use_key(key))?;
        if page.len() < ENTRIES_PER_SCAN {
            return Ok(());
        }
        after = page.into_iter().next_back();
    }
}
