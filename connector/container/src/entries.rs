//! Iterates over the entries of a ledger.

use crate::Result;
use bytes::Bytes;
use h5lake_ledger::Ledger;
pub(crate) use h5lake_ledger::is_last_page;

/// Number of entries that one scan requests.
pub(crate) const ENTRIES_PER_SCAN: usize = 1024;

/// Passes all entries under a prefix after the key `after` to a function, in the order of their keys.
pub(crate) fn each_entry(
    ledger: &Ledger,
    prefix: &[u8],
    mut after: Option<Bytes>,
    mut use_entry: impl FnMut(Bytes, Bytes) -> Result<()>,
) -> Result<()> {
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
pub(crate) fn each_key(
    ledger: &Ledger,
    prefix: &[u8],
    mut after: Option<Bytes>,
    mut use_key: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    loop {
        let page = ledger.keys(prefix, after.as_deref(), ENTRIES_PER_SCAN)?;
        page.iter().try_for_each(|key| use_key(key))?;
        if page.len() < ENTRIES_PER_SCAN {
            return Ok(());
        }
        after = page.into_iter().next_back();
    }
}
