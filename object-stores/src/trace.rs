//! A store that counts its requests.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    Capabilities, Condition, Etag, FilterAsk, FilterMatches, GetResult, Key, ListPage, ObjectMeta,
    ObjectStore, Operation, PutMode, PutPayload, PutResult, PutStream, Result,
};

/// The counts of one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Calls, successful or not. For a remote store this is about the number of its requests.
    pub requests: u64,
    /// Calls that failed. A false condition and a missing object count as failures.
    pub errors: u64,
    /// Bytes of content in successful calls, in either direction.
    pub bytes: u64,
}

/// A call in the journal of a [`TraceStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The operation.
    pub operation: Operation,
    /// The key; for a listing its prefix; empty for [`Operation::DeleteMany`].
    pub key: String,
    /// Bytes of content, in either direction.
    pub bytes: u64,
    /// True if the call succeeded.
    pub ok: bool,
    /// The begin and the end of the call, as numbers of a counter of such events.
    pub time: Range<u64>,
}

/// Returns the length of the longest sequence of calls in which each call began after the one before had returned. For
/// a remote store this is the number of round trips that a caller waited for. Calls that could have been in flight
/// together count as one only if the store is slow enough ([`LatencyStore`](crate::LatencyStore)).
pub fn round_trips(calls: &[Call]) -> usize {
    let mut times: Vec<_> = calls.iter().map(|call| (call.time.end, call.time.start)).collect();
    times.sort_unstable();
    let (mut row, mut last) = (0, None);
    for (end, start) in times {
        if last.is_none_or(|last| start > last) {
            (row, last) = (row + 1, Some(end));
        }
    }
    row
}

/// Returns the largest number of calls that were in flight at the same moment.
pub fn most_at_once(calls: &[Call]) -> usize {
    let mut events: Vec<_> = calls.iter().flat_map(|c| [(c.time.start, 1i64), (c.time.end, -1)]).collect();
    events.sort_unstable();
    let counts = events.iter().scan(0, |now, (_, step)| {
        *now += step;
        Some(*now)
    });
    usize::try_from(counts.max().unwrap_or(0)).unwrap_or(0)
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    errors: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Record {
    counters: [Counters; Operation::ALL.len()],
    clock: AtomicU64,
    journal: Mutex<Option<Vec<Call>>>,
}

impl Record {
    fn begin(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn note(&self, operation: Operation, key: &str, bytes: u64, ok: bool, began: u64) {
        let counters = &self.counters[operation as usize];
        counters.requests.fetch_add(1, Ordering::Relaxed);
        if ok {
            counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        } else {
            counters.errors.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(journal) = &mut *self.journal.lock() {
            let bytes = if ok { bytes } else { 0 };
            let time = began..self.begin();
            journal.push(Call { operation, key: key.to_owned(), bytes, ok, time });
        }
    }
}

/// Counts requests and bytes per operation, and passes everything on. Clones share their counts.
#[derive(Clone, Debug)]
pub struct TraceStore {
    inner: Arc<dyn ObjectStore>,
    record: Arc<Record>,
}

impl TraceStore {
    /// Returns a store that counts the requests to `inner` from now on.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        TraceStore { inner, record: Arc::default() }
    }

    /// Returns the counts of `operation`.
    pub fn count(&self, operation: Operation) -> Count {
        let counters = &self.record.counters[operation as usize];
        Count {
            requests: counters.requests.load(Ordering::Relaxed),
            errors: counters.errors.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
        }
    }

    /// Returns the sum of the counts of all operations for which `which` is true.
    pub fn sum(&self, which: impl Fn(Operation) -> bool) -> Count {
        Operation::ALL.into_iter().filter(|operation| which(*operation)).fold(
            Count::default(),
            |sum, each| {
                let count = self.count(each);
                Count {
                    requests: sum.requests + count.requests,
                    errors: sum.errors + count.errors,
                    bytes: sum.bytes + count.bytes,
                }
            },
        )
    }

    /// Returns the number of calls of all operations.
    pub fn requests(&self) -> u64 {
        self.sum(|_| true).requests
    }

    /// Resets the counters to zero, and empties the journal.
    pub fn reset(&self) {
        for counters in &self.record.counters {
            counters.requests.store(0, Ordering::Relaxed);
            counters.errors.store(0, Ordering::Relaxed);
            counters.bytes.store(0, Ordering::Relaxed);
        }
        if let Some(journal) = &mut *self.record.journal.lock() {
            journal.clear();
        }
    }

    /// Records every call from now on, until [`take_journal`](Self::take_journal). The journal grows without bound: it
    /// is meant for tests and short measurements.
    pub fn start_journal(&self) {
        *self.record.journal.lock() = Some(Vec::new());
    }

    /// Ends the journal and returns its calls in the order in which they returned.
    pub fn take_journal(&self) -> Vec<Call> {
        self.record.journal.lock().take().unwrap_or_default()
    }

    fn traced<T>(
        &self,
        operation: Operation,
        key: &str,
        act: impl FnOnce(&dyn ObjectStore) -> Result<T>,
        bytes: impl FnOnce(&T) -> u64,
    ) -> Result<T> {
        let began = self.record.begin();
        let answer = act(&*self.inner);
        self.record.note(operation, key, answer.as_ref().map_or(0, bytes), answer.is_ok(), began);
        answer
    }
}

impl ObjectStore for TraceStore {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn place_of(&self, key: &str) -> String {
        self.inner.place_of(key)
    }

    /// Returns the capabilities of the store beneath, but as a remote store, so that it gets the requests that a remote
    /// store would get.
    fn capabilities(&self) -> Capabilities {
        Capabilities { near: false, remote: true, ..self.inner.capabilities() }
    }

    fn honours(&self, condition: Condition) -> bool {
        self.inner.honours(condition)
    }

    fn why_not(&self, condition: Condition) -> Option<String> {
        self.inner.why_not(condition)
    }

    fn why_not_key(&self, key: &Key) -> Option<String> {
        self.inner.why_not_key(key)
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        let bytes = |got: &GetResult| got.bytes.len() as u64;
        self.traced(Operation::Get, key.as_str(), |inner| inner.get(key, range), bytes)
    }

    fn get_if_changed(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> Result<Option<GetResult>> {
        let bytes = |got: &Option<GetResult>| got.as_ref().map_or(0, |got| got.bytes.len() as u64);
        let get = |inner: &dyn ObjectStore| inner.get_if_changed(key, range, known);
        self.traced(Operation::Get, key.as_str(), get, bytes)
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        let len = buf.len() as u64;
        self.traced(Operation::GetInto, key.as_str(), |inner| inner.get_into(key, offset, buf), |_| len)
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.traced(Operation::Head, key.as_str(), |inner| inner.head(key), |_| 0)
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        let len = payload.len();
        self.traced(Operation::Put, key.as_str(), |inner| inner.put(key, payload, mode), |_| len)
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        let inner =
            self.traced(Operation::StreamStart, key.as_str(), |inner| inner.put_stream(key), |_| 0)?;
        Ok(Box::new(TraceStream { inner, key: key.clone(), record: self.record.clone() }))
    }

    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage> {
        let act = |inner: &dyn ObjectStore| inner.list_page(prefix, start_after, limit);
        self.traced(Operation::List, prefix, act, |_| 0)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.traced(Operation::Delete, key.as_str(), |inner| inner.delete(key), |_| 0)
    }

    fn delete_many(&self, keys: &[Key]) -> Result<()> {
        self.traced(Operation::DeleteMany, "", |inner| inner.delete_many(keys), |_| 0)
    }

    fn filters(&self) -> bool {
        self.inner.filters()
    }

    fn filter(&self, key: &Key, asked: &FilterAsk) -> Result<FilterMatches> {
        let act = |inner: &dyn ObjectStore| inner.filter(key, asked);
        self.traced(Operation::Get, key.as_str(), act, FilterMatches::bytes)
    }

    fn clock(&self) -> Option<std::time::SystemTime> {
        self.inner.clock()
    }

    fn forget(&self, key: &Key) {
        self.inner.forget(key);
    }

    fn spend_reserve(&self) -> bool {
        self.inner.spend_reserve()
    }
}

#[derive(Debug)]
struct TraceStream {
    inner: Box<dyn PutStream>,
    key: Key,
    record: Arc<Record>,
}

impl PutStream for TraceStream {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let began = self.record.begin();
        let answer = self.inner.write(bytes);
        self.record.note(
            Operation::StreamWrite,
            self.key.as_str(),
            bytes.len() as u64,
            answer.is_ok(),
            began,
        );
        answer
    }

    fn write_bytes(&mut self, bytes: Bytes) -> Result<()> {
        let len = bytes.len() as u64;
        let began = self.record.begin();
        let answer = self.inner.write_bytes(bytes);
        self.record.note(Operation::StreamWrite, self.key.as_str(), len, answer.is_ok(), began);
        answer
    }

    fn finish(self: Box<Self>) -> Result<PutResult> {
        let began = self.record.begin();
        let answer = self.inner.finish();
        self.record.note(Operation::StreamFinish, self.key.as_str(), 0, answer.is_ok(), began);
        answer
    }

    fn abort(self: Box<Self>) -> Result<()> {
        let began = self.record.begin();
        let answer = self.inner.abort();
        self.record.note(Operation::StreamAbort, self.key.as_str(), 0, answer.is_ok(), began);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, ObjectStoreExt};

    #[test]
    fn conforms() {
        crate::conformance::run(|| Arc::new(TraceStore::new(Arc::new(MemoryStore::new()))));
        let outer = tempfile::tempdir().unwrap();
        crate::conformance::run(|| {
            let dir = tempfile::tempdir_in(outer.path()).unwrap().keep();
            Arc::new(TraceStore::new(Arc::new(crate::DirStore::open(dir, Default::default()).unwrap())))
        });
    }

    #[test]
    fn every_operation_is_counted_with_its_bytes() {
        let key = Key::new("a/b").unwrap();
        let store = TraceStore::new(Arc::new(MemoryStore::new()));
        store.start_journal();
        store.put(&key, "12345".into(), PutMode::Create).unwrap();
        store.put(&key, "1234567".into(), PutMode::Create).unwrap_err();
        store.get(&key, Some(1..3)).unwrap();
        store.get_into(&key, 0, &mut [0; 4]).unwrap();
        store.head(&key).unwrap();
        store.list("a", None).count();
        let mut stream = store.put_stream(&key).unwrap();
        stream.write(b"123").unwrap();
        stream.write_bytes(Bytes::from_static(b"45678")).unwrap();
        stream.finish().unwrap();
        store.put_stream(&key).unwrap().abort().unwrap();
        store.delete(&key).unwrap();
        store.delete_many(&[]).unwrap();
        let expected = [
            (Operation::Put, 2, 1, 5),
            (Operation::Get, 1, 0, 2),
            (Operation::GetInto, 1, 0, 4),
            (Operation::Head, 1, 0, 0),
            (Operation::List, 1, 0, 0),
            (Operation::StreamStart, 2, 0, 0),
            (Operation::StreamWrite, 2, 0, 8),
            (Operation::StreamFinish, 1, 0, 0),
            (Operation::StreamAbort, 1, 0, 0),
            (Operation::Delete, 1, 0, 0),
            (Operation::DeleteMany, 1, 0, 0),
            (Operation::Open, 0, 0, 0),
        ];
        for (operation, requests, errors, bytes) in expected {
            assert_eq!(store.count(operation), Count { requests, errors, bytes }, "{operation}");
        }
        assert_eq!(store.requests(), 14);
        assert_eq!(store.sum(Operation::is_mutating).bytes, 13);
        let journal = store.take_journal();
        assert_eq!(journal.len(), 14);
        let refused = Call { operation: Operation::Put, key: "a/b".into(), bytes: 0, ok: false, time: 2..3 };
        assert_eq!(journal[1], refused);
        assert_eq!((round_trips(&journal), most_at_once(&journal)), (14, 1));
        store.reset();
        assert_eq!(store.requests(), 0);
    }

    #[test]
    fn concurrent_calls_are_one_round_trip() {
        let store = TraceStore::new(Arc::new(crate::LatencyStore::new(
            Arc::new(MemoryStore::new()),
            crate::Pace { per_request: std::time::Duration::from_millis(100), ..Default::default() },
        )));
        store.start_journal();
        let key = Key::new("a").unwrap();
        store.put(&key, "1".into(), PutMode::Create).unwrap();
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| store.get(&key, None).unwrap());
            }
        });
        store.head(&key).unwrap();
        let journal = store.take_journal();
        assert_eq!((journal.len(), round_trips(&journal), most_at_once(&journal)), (6, 3, 4));
        assert_eq!((round_trips(&[]), most_at_once(&[])), (0, 0));
    }

    #[test]
    fn the_table_of_operations_is_in_order() {
        for (i, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, i);
        }
    }
}
