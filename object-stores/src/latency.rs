//! A store that delays its answers.

use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use crate::{
    Capabilities, Condition, Etag, FilterAsk, FilterMatches, GetResult, Key, ListPage, ObjectMeta,
    ObjectStore, PutMode, PutPayload, PutResult, PutStream, Result,
};

/// The speed of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// The time that every request takes. A write of a stream does not count as a request, because a real store buffers
    /// writes.
    pub per_request: Duration,
    /// The number of bytes of content per second, for each caller; `None` is unlimited.
    pub bytes_per_second: Option<u64>,
}

impl Pace {
    /// Returns the time that a transfer of `bytes` takes, without the request itself.
    fn transfer(&self, bytes: u64) -> Duration {
        match self.bytes_per_second {
            Some(rate) if rate > 0 => {
                Duration::try_from_secs_f64(bytes as f64 / rate as f64).unwrap_or(Duration::MAX)
            }
            _ => Duration::ZERO,
        }
    }
}

/// Delays every call as a distant store would, and passes it on. Callers wait in parallel, not one after the other, so
/// parallel requests pay off as they do remotely.
#[derive(Clone, Debug)]
pub struct LatencyStore {
    inner: Arc<dyn ObjectStore>,
    pace: Pace,
}

impl LatencyStore {
    /// Wraps `inner` so that it has the given speed.
    pub fn new(inner: Arc<dyn ObjectStore>, pace: Pace) -> Self {
        LatencyStore { inner, pace }
    }

    fn request(&self) {
        wait(self.pace.per_request);
    }
}

/// Returns the result of `work` at the `shortest` latency, or at 4, 16 and 64 times this latency until a result is
/// `wanted`. Requests that run in parallel are seen to do so once the latency is long compared with the pauses of a
/// busy machine; requests that wait for each other never are.
pub fn at_longer_latencies<T>(
    shortest: Duration,
    wanted: impl Fn(&T) -> bool,
    mut work: impl FnMut(Duration) -> T,
) -> T {
    for factor in [1, 4, 16] {
        let found = work(shortest * factor);
        if wanted(&found) {
            return found;
        }
    }
    work(shortest * 64)
}

fn wait(time: Duration) {
    if !time.is_zero() {
        thread::sleep(time);
    }
}

impl ObjectStore for LatencyStore {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn place_of(&self, key: &str) -> String {
        self.inner.place_of(key)
    }

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
        self.request();
        let got = self.inner.get(key, range)?;
        wait(self.pace.transfer(got.bytes.len() as u64));
        Ok(got)
    }

    fn get_if_changed(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> Result<Option<GetResult>> {
        self.request();
        let got = self.inner.get_if_changed(key, range, known)?;
        wait(self.pace.transfer(got.as_ref().map_or(0, |got| got.bytes.len() as u64)));
        Ok(got)
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        self.request();
        let meta = self.inner.get_into(key, offset, buf)?;
        wait(self.pace.transfer(buf.len() as u64));
        Ok(meta)
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.request();
        self.inner.head(key)
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        self.request();
        wait(self.pace.transfer(payload.len()));
        self.inner.put(key, payload, mode)
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        self.request();
        Ok(Box::new(LatencyStream { inner: self.inner.put_stream(key)?, pace: self.pace }))
    }

    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage> {
        self.request();
        self.inner.list_page(prefix, start_after, limit)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.request();
        self.inner.delete(key)
    }

    fn delete_many(&self, keys: &[Key]) -> Result<()> {
        self.request();
        self.inner.delete_many(keys)
    }

    fn filters(&self) -> bool {
        self.inner.filters()
    }

    fn filter(&self, key: &Key, asked: &FilterAsk) -> Result<FilterMatches> {
        self.request();
        let found = self.inner.filter(key, asked)?;
        wait(self.pace.transfer(found.bytes()));
        Ok(found)
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
struct LatencyStream {
    inner: Box<dyn PutStream>,
    pace: Pace,
}

impl PutStream for LatencyStream {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        wait(self.pace.transfer(bytes.len() as u64));
        self.inner.write(bytes)
    }

    fn write_bytes(&mut self, bytes: Bytes) -> Result<()> {
        wait(self.pace.transfer(bytes.len() as u64));
        self.inner.write_bytes(bytes)
    }

    fn finish(self: Box<Self>) -> Result<PutResult> {
        wait(self.pace.per_request);
        self.inner.finish()
    }

    fn abort(self: Box<Self>) -> Result<()> {
        wait(self.pace.per_request);
        self.inner.abort()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::MemoryStore;

    #[test]
    fn conforms() {
        let pace = Pace { per_request: Duration::from_micros(20), bytes_per_second: Some(1 << 30) };
        crate::conformance::run(|| Arc::new(LatencyStore::new(Arc::new(MemoryStore::new()), pace)));
    }

    #[test]
    fn concurrent_requests_have_independent_latencies() {
        let key = Key::new("a").unwrap();
        let inner = Arc::new(MemoryStore::new());
        inner.put(&key, vec![0; 1000].into(), PutMode::Overwrite).unwrap();
        let per_request = Duration::from_millis(40);
        let store = LatencyStore::new(inner.clone(), Pace { per_request, bytes_per_second: None });
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| store.head(&key).unwrap());
            }
        });
        assert!(start.elapsed() >= per_request && start.elapsed() < per_request * 20);
        let slow = LatencyStore::new(inner, Pace { bytes_per_second: Some(20_000), ..Pace::default() });
        let start = Instant::now();
        slow.get(&key, None).unwrap();
        slow.get_into(&key, 0, &mut [0; 500]).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(75));
    }
}
