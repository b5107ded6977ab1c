//! Concurrent requests. Their threads live within the call, and only handle bytes.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use h5lake_ledger::locks::Mutex;

use super::{MAX_REQUEST_BYTES, MAX_REQUESTS, ObjectFile};
use crate::{Error, Result};

/// Runs `work` for every item, up to [`MAX_REQUESTS`] at once; returns the first error.
pub(super) fn side_by_side<T: Send>(items: Vec<T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let items: Vec<_> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None::<Error>));
    let one = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed.lock().is_some() {
                return;
            }
            let Some(item) = item.lock().take() else { return };
            if let Err(error) = work(item) {
                failed.lock().get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        // A request in a thread of its own has its own deadline; the caller's operation may have begun long ago, and
        // waited for other requests.
        let spawned = |_: &usize| std::thread::Builder::new().spawn_scoped(scope, one).is_ok();
        let threads = (0..MAX_REQUESTS.min(items.len())).take_while(spawned).count();
        if threads == 0 {
            one();
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

/// Splits a range into parts of one request each.
pub(super) fn in_requests(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range.step_by(MAX_REQUEST_BYTES as usize).map(move |at| at..end.min(at + MAX_REQUEST_BYTES))
}

impl ObjectFile {
    /// Fetches ranges and caches them. Bytes within `buffer`, which begins at `from`, are copied to it as well, because
    /// they may be evicted.
    pub(super) fn fetch_all(&self, ranges: &[Range<u64>], (from, buffer): (u64, &mut [u8])) -> Result<()> {
        let requests: Vec<_> = ranges.iter().cloned().flat_map(in_requests).collect();
        let buffer = Mutex::new(buffer);
        side_by_side(requests, |range| {
            let bytes = self.get(range.clone())?;
            let mut buffer = buffer.lock();
            let (start, end) = (range.start.max(from), range.end.min(from + buffer.len() as u64));
            if start < end {
                let part = &bytes[(start - range.start) as usize..(end - range.start) as usize];
                buffer[(start - from) as usize..(end - from) as usize].copy_from_slice(part);
            }
            drop(buffer);
            self.extents.lock().insert(range.start, &bytes);
            Ok(())
        })
    }

    /// Fetches a long range directly into `buffer`, without caching it.
    pub(super) fn fetch_into(&self, from: u64, buffer: &mut [u8]) -> Result<()> {
        let parts = buffer.chunks_mut(MAX_REQUEST_BYTES as usize).enumerate();
        side_by_side(parts.collect(), |(number, part)| {
            let at = from + number as u64 * MAX_REQUEST_BYTES;
            part.copy_from_slice(&self.get(at..at + part.len() as u64)?);
            Ok(())
        })
    }
}
