//! A store that counts its requests and logs them.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::meter::{Meter, Reading, retries};
use crate::{
    Capabilities, Condition, Etag, FilterAsk, FilterMatches, GetResult, Key, ListPage, ObjectMeta,
    ObjectStore, PutMode, PutPayload, PutResult, PutStream, Result,
};

/// The kind of a request in statistics and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Reads an object or a part of it.
    Get,
    /// Writes an object. An object that is written in pieces counts once, when it is finished or aborted.
    Put,
    /// Reads an object's metadata.
    Head,
    /// Lists a page of keys.
    List,
    /// Deletes objects, one or many.
    Delete,
}

impl RequestKind {
    /// Every kind, in the order of the declaration.
    pub const ALL: [RequestKind; 5] = [Self::Get, Self::Put, Self::Head, Self::List, Self::Delete];

    /// Returns a short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// The counters of the requests to a store through one [`ObservedStore`].
#[derive(Debug, Default)]
pub struct Requests {
    kinds: [Meter; RequestKind::ALL.len()],
    retries: AtomicU64,
}

impl Requests {
    /// Returns the counts of one kind of request.
    pub fn read(&self, kind: RequestKind) -> Reading {
        self.kinds[kind as usize].read()
    }

    /// Returns the number of requests that were sent again, because an answer was lost or requested a later retry.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }
}

/// Counts requests with their bytes and times, logs each one at the level `debug`, and passes it on.
#[derive(Clone, Debug)]
pub struct ObservedStore {
    inner: Arc<dyn ObjectStore>,
    requests: Arc<Requests>,
}

/// A request, or the calls that together make one.
struct Request<'a> {
    kind: RequestKind,
    key: &'a str,
    bytes: u64,
    time: Duration,
    retries: u64,
}

impl ObservedStore {
    /// Observes the requests to `inner` from now on.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        ObservedStore { inner, requests: Arc::default() }
    }

    fn observed<T>(
        &self,
        kind: RequestKind,
        key: &str,
        act: impl FnOnce(&dyn ObjectStore) -> Result<T>,
        bytes: impl FnOnce(&T) -> u64,
    ) -> Result<T> {
        let (begun, before) = (Instant::now(), retries());
        let answer = act(&*self.inner);
        let request = Request {
            kind,
            key,
            bytes: answer.as_ref().map_or(0, bytes),
            time: begun.elapsed(),
            retries: retries() - before,
        };
        note(&self.requests, &*self.inner, request, &answer);
        answer
    }
}

/// Returns a key or a URL in the form in which the log shows it: without the part after a `?`, because a program may
/// use a signed URL as a name.
pub fn without_query(name: &str) -> Cow<'_, str> {
    match name.split_once('?') {
        Some((before, _)) => format!("{before}?…").into(),
        None => name.into(),
    }
}

/// Counts a request, and logs it. The log shows only the kind of an error, because its text may quote the server.
fn note<T>(requests: &Requests, store: &dyn ObjectStore, request: Request<'_>, answer: &Result<T>) {
    let Request { kind, key, bytes, time, retries } = request;
    requests.kinds[kind as usize].note(bytes, answer.is_ok(), time);
    requests.retries.fetch_add(retries, Ordering::Relaxed);
    if tracing::enabled!(tracing::Level::DEBUG) {
        let outcome = answer.as_ref().map_or_else(|error| error.kind().to_string(), |_| "ok".to_owned());
        let (store, kind, microseconds) = (store.name(), kind.name(), time.as_micros() as u64);
        let key = without_query(key);
        let key: &str = &key;
        tracing::debug!(store, kind, key, bytes, microseconds, outcome, retries, "request");
    }
}

impl ObjectStore for ObservedStore {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn place_of(&self, key: &str) -> String {
        self.inner.place_of(key)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn honours(&self, condition: Condition) -> bool {
        self.inner.honours(condition)
    }

    fn why_not(&self, condition: Condition) -> Option<String> {
        self.inner.why_not(condition)
    }

    fn keeps_noncurrent(&self, key: &Key) -> Result<Option<bool>> {
        self.inner.keeps_noncurrent(key)
    }

    fn why_not_key(&self, key: &Key) -> Option<String> {
        self.inner.why_not_key(key)
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        let bytes = |got: &GetResult| got.bytes.len() as u64;
        self.observed(RequestKind::Get, key.as_str(), |inner| inner.get(key, range), bytes)
    }

    fn get_unchanged(&self, key: &Key, range: Range<u64>, version: &ObjectMeta) -> Result<GetResult> {
        let bytes = |got: &GetResult| got.bytes.len() as u64;
        let get = |inner: &dyn ObjectStore| inner.get_unchanged(key, range, version);
        self.observed(RequestKind::Get, key.as_str(), get, bytes)
    }

    fn get_if_changed(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> Result<Option<GetResult>> {
        let bytes = |got: &Option<GetResult>| got.as_ref().map_or(0, |got| got.bytes.len() as u64);
        let get = |inner: &dyn ObjectStore| inner.get_if_changed(key, range, known);
        self.observed(RequestKind::Get, key.as_str(), get, bytes)
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        let len = buf.len() as u64;
        self.observed(RequestKind::Get, key.as_str(), |inner| inner.get_into(key, offset, buf), |_| len)
    }

    fn get_each(&self, key: &Key, range: Range<u64>, take: &mut dyn FnMut(&[u8])) -> Result<ObjectMeta> {
        let len = range.end.saturating_sub(range.start);
        self.observed(RequestKind::Get, key.as_str(), |inner| inner.get_each(key, range, take), |_| len)
    }

    fn scatters(&self) -> bool {
        self.inner.scatters()
    }

    fn get_scattered(&self, key: &Key, offset: u64, parts: &mut [&mut [u8]]) -> Result<ObjectMeta> {
        let len = parts.iter().map(|part| part.len() as u64).sum();
        let get = |inner: &dyn ObjectStore| inner.get_scattered(key, offset, parts);
        self.observed(RequestKind::Get, key.as_str(), get, |_| len)
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.observed(RequestKind::Head, key.as_str(), |inner| inner.head(key), |_| 0)
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        let len = payload.len();
        self.observed(RequestKind::Put, key.as_str(), |inner| inner.put(key, payload, mode), |_| len)
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        let (begun, before) = (Instant::now(), retries());
        let stream = self.inner.put_stream(key)?;
        Ok(Box::new(ObservedStream {
            stream,
            store: self.clone(),
            key: key.clone(),
            bytes: 0,
            time: begun.elapsed(),
            retries: retries() - before,
        }))
    }

    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage> {
        let act = |inner: &dyn ObjectStore| inner.list_page(prefix, start_after, limit);
        self.observed(RequestKind::List, prefix, act, |_| 0)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.observed(RequestKind::Delete, key.as_str(), |inner| inner.delete(key), |()| 0)
    }

    fn delete_many(&self, keys: &[Key]) -> Result<()> {
        let first = keys.first().map_or("", Key::as_str);
        self.observed(RequestKind::Delete, first, |inner| inner.delete_many(keys), |()| 0)
    }

    fn filters(&self) -> bool {
        self.inner.filters()
    }

    fn filter(&self, key: &Key, asked: &FilterAsk) -> Result<FilterMatches> {
        let act = |inner: &dyn ObjectStore| inner.filter(key, asked);
        self.observed(RequestKind::Get, key.as_str(), act, FilterMatches::bytes)
    }

    fn clock(&self) -> Option<SystemTime> {
        self.inner.clock()
    }

    fn forget(&self, key: &Key) {
        self.inner.forget(key);
    }

    fn spend_reserve(&self) -> bool {
        self.inner.spend_reserve()
    }

    fn requests(&self) -> Option<Arc<Requests>> {
        Some(self.requests.clone())
    }
}

/// An object that is put in pieces. It counts as one request, with the total time of its calls.
#[derive(Debug)]
struct ObservedStream {
    stream: Box<dyn PutStream>,
    store: ObservedStore,
    key: Key,
    bytes: u64,
    time: Duration,
    retries: u64,
}

impl ObservedStream {
    fn timed<T>(&mut self, act: impl FnOnce(&mut dyn PutStream) -> Result<T>) -> Result<T> {
        let (begun, before) = (Instant::now(), retries());
        let answer = act(&mut *self.stream);
        self.time += begun.elapsed();
        self.retries += retries() - before;
        answer
    }
}

/// Counts a finished or aborted stream.
fn note_end<T>(
    store: &ObservedStore,
    key: &Key,
    (bytes, time, retries): (u64, Duration, u64),
    answer: &Result<T>,
) {
    let request = Request { kind: RequestKind::Put, key: key.as_str(), bytes, time, retries };
    note(&store.requests, &*store.inner, request, answer);
}

impl PutStream for ObservedStream {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.timed(|stream| stream.write(bytes))
    }

    fn write_bytes(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.timed(|stream| stream.write_bytes(bytes))
    }

    fn finish(self: Box<Self>) -> Result<PutResult> {
        let Self { stream, store, key, bytes, time, retries: earlier } = *self;
        let (begun, before) = (Instant::now(), retries());
        let answer = stream.finish();
        let cost = (bytes, time + begun.elapsed(), earlier + retries() - before);
        note_end(&store, &key, cost, &answer);
        answer
    }

    fn abort(self: Box<Self>) -> Result<()> {
        let Self { stream, store, key, time, retries: earlier, .. } = *self;
        let (begun, before) = (Instant::now(), retries());
        let answer = stream.abort();
        let cost = (0, time + begun.elapsed(), earlier + retries() - before);
        note_end(&store, &key, cost, &answer);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, ObjectStoreExt};

    #[test]
    fn conforms() {
        crate::conformance::run(|| Arc::new(ObservedStore::new(Arc::new(MemoryStore::new()))));
    }

    #[test]
    fn the_query_of_a_url_is_not_shown() {
        assert_eq!(without_query("a/b.h5"), "a/b.h5");
        assert_eq!(without_query("b.h5?X-Amz-Signature=secret&x?y"), "b.h5?…");
    }

    #[test]
    fn each_kind_is_counted_with_its_bytes() {
        let key = Key::new("a/b").unwrap();
        let store = ObservedStore::new(Arc::new(MemoryStore::new()));
        store.put(&key, "12345".into(), PutMode::Create).unwrap();
        store.put(&key, "1234567".into(), PutMode::Create).unwrap_err();
        let mut stream = store.put_stream(&key).unwrap();
        stream.write(b"123").unwrap();
        stream.write_bytes(Bytes::from_static(b"45678")).unwrap();
        stream.finish().unwrap();
        store.put_stream(&key).unwrap().abort().unwrap();
        store.get(&key, Some(1..3)).unwrap();
        store.get_into(&key, 0, &mut [0; 4]).unwrap();
        store.get_each(&key, 0..8, &mut |_| ()).unwrap();
        store.get(&Key::new("none").unwrap(), None).unwrap_err();
        store.head(&key).unwrap();
        store.list("a", None).count();
        store.delete(&key).unwrap();
        store.delete_many(&[]).unwrap();
        let requests = store.requests().unwrap();
        let expected = [(4, 1, 14), (4, 1, 13), (1, 0, 0), (1, 0, 0), (2, 0, 0)];
        for (kind, expected) in RequestKind::ALL.into_iter().zip(expected) {
            let shown = requests.read(kind);
            assert_eq!((shown.calls, shown.errors, shown.bytes), expected, "{}", kind.name());
            assert!(shown.total >= shown.longest);
        }
        assert_eq!(requests.retries(), 0);
    }
}
