//! Read-ahead of chunks: threads that live within the call fetch neighbouring chunks together, in the order in which
//! the reader will read them.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use h5lake_ledger::locks::{Condvar, Mutex};

use super::fetch::in_requests;
use super::{MAX_REQUEST_BYTES, MAX_REQUESTS, ObjectFile};
use crate::{Error, ErrorKind, Result};

/// Maximum number of bytes that are fetched before the reader reads them.
const MAX_AHEAD_BYTES: u64 = 64 << 20;
/// The reciprocal of the largest share of a request's bytes that may be between the requested chunks.
const GAP_SHARE: u64 = 5;

/// The read-ahead of one read.
pub(super) struct Ahead {
    /// The requests, in the order in which the reader is expected to need them.
    requests: Vec<Range<u64>>,
    /// Beginnings of requests, ascending, with their indices in `requests`.
    by_start: Vec<(u64, usize)>,
    most: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    slots: Vec<Slot>,
    /// The request that is started next.
    next: usize,
    /// The last request that the reader has reached; it has passed all requests before it.
    passed: usize,
    /// Bytes that are being fetched, or wait for the reader.
    waiting: usize,
    is_over: bool,
}

enum Slot {
    Open,
    Begun,
    Here(Bytes),
    Failed(Error),
    Taken,
}

/// Turns ranges into requests, in the order in which the ranges were given. Neighbouring ranges become one request, and
/// long ranges several.
fn joined(wanted: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> =
        wanted.iter().cloned().zip(0_usize..).filter(|(range, _)| !range.is_empty()).collect();
    sorted.sort_unstable_by_key(|(range, turn)| (range.start, *turn));
    let mut requests: Vec<(usize, Range<u64>)> = Vec::new();
    let mut idle = 0;
    for (range, turn) in sorted {
        if let Some((first, last)) = requests.last_mut() {
            let gap = range.start.saturating_sub(last.end);
            let end = last.end.max(range.end);
            let length = end - last.start;
            if range.start <= last.end || (length <= MAX_REQUEST_BYTES && (idle + gap) * GAP_SHARE <= length)
            {
                idle += gap;
                last.end = end;
                *first = turn.min(*first);
                continue;
            }
        }
        idle = 0;
        requests.push((turn, range));
    }
    requests.sort_by_key(|(turn, _)| *turn);
    requests.into_iter().flat_map(|(_, range)| in_requests(range)).collect()
}

impl Ahead {
    pub(super) fn new(requests: Vec<Range<u64>>, most: usize) -> Self {
        let mut by_start: Vec<_> = requests.iter().map(|range| range.start).zip(0..).collect();
        by_start.sort_unstable();
        let slots = requests.iter().map(|_| Slot::Open).collect();
        let state = State { slots, next: 0, passed: 0, waiting: 0, is_over: false };
        Self { requests, by_start, most, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Returns the request that fetches the byte at `at`.
    fn request_for(&self, at: u64) -> Option<usize> {
        let after = self.by_start.partition_point(|(start, _)| *start <= at);
        let (_, request) = self.by_start[..after].last()?;
        self.requests[*request].contains(&at).then_some(*request)
    }

    fn bytes_of(&self, request: usize) -> usize {
        let range = &self.requests[request];
        (range.end - range.start) as usize
    }

    /// Starts the next request as soon as the limit allows it; returns `None` if all requests were started.
    fn begin(&self) -> Option<usize> {
        let mut state = self.state.lock();
        loop {
            while state.slots.get(state.next).is_some_and(|slot| !matches!(slot, Slot::Open)) {
                state.next += 1;
            }
            let request = state.next;
            if state.is_over || request >= self.requests.len() {
                return None;
            }
            let bytes = self.bytes_of(request);
            if state.waiting == 0 || state.waiting + bytes <= self.most {
                self.begin_at(&mut state, request);
                return Some(request);
            }
            self.changed.wait(&mut state);
        }
    }

    fn begin_at(&self, state: &mut State, request: usize) {
        state.slots[request] = Slot::Begun;
        state.next = request + 1;
        state.waiting += self.bytes_of(request);
    }

    fn end(&self) {
        self.state.lock().is_over = true;
        self.changed.notify_all();
    }
}

impl ObjectFile {
    /// Runs `read` while the bytes of `wanted`, which it will read in about this order, are fetched ahead.
    pub fn reading_ahead<T>(&self, wanted: &[Range<u64>], read: impl FnOnce() -> T) -> T {
        let requests: Vec<_> = {
            let extents = self.extents.lock();
            let size = self.size();
            let within = |range: &Range<u64>| range.start.min(size)..range.end.min(size);
            let missing: Vec<_> = wanted.iter().flat_map(|range| extents.missing(within(range))).collect();
            joined(&missing)
        };
        if requests.len() < 2 {
            return read();
        }
        let most = MAX_AHEAD_BYTES.min(self.extents.lock().available() / 4).max(MAX_REQUEST_BYTES) as usize;
        let ahead = Arc::new(Ahead::new(requests, most));
        *self.ahead.lock() = Some(ahead.clone());
        let guard = Ended { object: self, ahead: &ahead };
        std::thread::scope(|scope| {
            // The reader makes requests as well.
            for _ in 0..ahead.requests.len().min(MAX_REQUESTS - 1) {
                // If no thread can be started, the reader fetches by itself.
                let work = || self.work(&ahead);
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            // The guard stops the threads even if the reader panics.
            let guard = guard;
            let answer = read();
            drop(guard);
            answer
        })
    }

    fn work(&self, ahead: &Ahead) {
        while let Some(request) = ahead.begin() {
            self.answer(ahead, request);
        }
    }

    /// Makes a request that was started, and leaves its result to the reader.
    fn answer(&self, ahead: &Ahead, request: usize) {
        let bytes = ahead.bytes_of(request);
        self.extents.lock().expect(bytes);
        let get = || self.get(ahead.requests[request].clone());
        // After a panic the reader must not wait forever.
        let got = catch_unwind(AssertUnwindSafe(get))
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Io, "a request for a native file panicked")));
        self.extents.lock().expect_no_more(bytes);
        let mut state = ahead.state.lock();
        state.is_over |= got.is_err();
        state.slots[request] = match got {
            Ok(got) if request < state.passed => {
                state.waiting -= bytes;
                self.extents.lock().insert(ahead.requests[request].start, &got);
                Slot::Taken
            }
            Ok(got) => Slot::Here(got),
            Err(error) => Slot::Failed(error),
        };
        drop(state);
        ahead.changed.notify_all();
    }

    /// Fills the beginning of `buffer` with bytes from `from` on, if they are being fetched; returns how many.
    ///
    /// # Errors
    /// Those of the request.
    pub(super) fn wait_ahead(&self, from: u64, buffer: &mut [u8]) -> Result<usize> {
        let Some(ahead) = self.ahead.lock().clone() else { return Ok(0) };
        let Some(request) = ahead.request_for(from) else { return Ok(0) };
        let bytes = {
            let mut state = ahead.state.lock();
            self.pass(&ahead, &mut state, request);
            loop {
                match &state.slots[request] {
                    Slot::Begun => ahead.changed.wait(&mut state),
                    // The threads have not reached the request, or have ended: the reader makes it, and the threads
                    // continue after it.
                    Slot::Open => {
                        ahead.begin_at(&mut state, request);
                        drop(state);
                        ahead.changed.notify_all();
                        self.answer(&ahead, request);
                        state = ahead.state.lock();
                    }
                    Slot::Taken => return Ok(0),
                    Slot::Failed(error) => return Err(error.clone()),
                    Slot::Here(bytes) => {
                        let bytes = bytes.clone();
                        state.slots[request] = Slot::Taken;
                        state.waiting -= bytes.len();
                        break bytes;
                    }
                }
            }
        };
        ahead.changed.notify_all();
        let start = ahead.requests[request].start;
        self.extents.lock().insert(start, &bytes);
        let here = &bytes[(from - start) as usize..];
        let length = here.len().min(buffer.len());
        buffer[..length].copy_from_slice(&here[..length]);
        Ok(length)
    }

    /// Keeps the results of requests that the reader passes when it reaches `request`, because it may have skipped
    /// them.
    fn pass(&self, ahead: &Ahead, state: &mut State, request: usize) {
        for number in state.passed..request {
            if let Slot::Here(bytes) = &state.slots[number] {
                let bytes = bytes.clone();
                state.slots[number] = Slot::Taken;
                state.waiting -= bytes.len();
                self.extents.lock().insert(ahead.requests[number].start, &bytes);
            }
        }
        state.passed = state.passed.max(request);
    }
}

/// Stops the read-ahead when dropped. Results that were not read are kept in the cache.
struct Ended<'a> {
    object: &'a ObjectFile,
    ahead: &'a Ahead,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.ahead.end();
        *self.object.ahead.lock() = None;
        let state = self.ahead.state.lock();
        for (slot, range) in state.slots.iter().zip(&self.ahead.requests) {
            if let Slot::Here(bytes) = slot {
                self.object.extents.lock().insert(range.start, bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_ranges_are_requested_together_in_order() {
        const MIB: u64 = 1 << 20;
        // Small gaps are included, large ones are not.
        assert_eq!(joined(&[0..100, 110..200, 1000..1100]), [0..200, 1000..1100]);
        // Requests follow the order of the reader.
        assert_eq!(joined(&[5000..5100, 0..100, 5100..5200]), [5000..5200, 0..100]);
        let chunks: Vec<_> = (0..10).map(|n| n * MIB..(n + 1) * MIB).collect();
        assert_eq!(joined(&chunks), [0..4 * MIB, 4 * MIB..8 * MIB, 8 * MIB..10 * MIB]);
        assert_eq!(
            joined(std::slice::from_ref(&(0..9 * MIB))),
            [0..4 * MIB, 4 * MIB..8 * MIB, 8 * MIB..9 * MIB]
        );
        assert!(joined(std::slice::from_ref(&(7..7))).is_empty());
    }

    #[test]
    fn the_request_of_a_byte_is_found() {
        let ahead = Ahead::new(vec![50..60, 10..20], 1 << 20);
        assert_eq!(
            [9, 10, 19, 20, 55, 60].map(|at| ahead.request_for(at)),
            [None, Some(1), Some(1), None, Some(0), None]
        );
    }
}
