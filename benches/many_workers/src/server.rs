//! A remote store: its requests take a round trip, and it answers a limited number of requests per second.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use h5lake_ledger::locks::Mutex;
use object_stores::{
    Capabilities, Condition, Etag, GetResult, Key, ListPage, MemoryStore, ObjectMeta, ObjectStore, PutMode,
    PutPayload, PutResult, PutStream, Result,
};

/// The price class of a request.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A put or a list.
    Dear,
    /// A read.
    Cheap,
    /// A delete.
    Free,
}

/// The state that all clients share: the objects, and the schedule of a busy server.
#[derive(Debug)]
pub struct Server {
    objects: MemoryStore,
    round_trip: Duration,
    /// The time between two requests that the server accepts, if it is limited.
    turn: Option<Duration>,
    free_at: Mutex<Instant>,
    /// The accepted requests: those with a high price at S3 (puts and lists), reads, and deletes.
    pub requests: [AtomicU64; 3],
    /// The number of requests that were delayed.
    pub throttled: AtomicU64,
}

impl Server {
    /// Returns a server that answers after `round_trip`, and answers at most `requests_per_second` requests; 0 for no
    /// limit.
    pub fn new(round_trip: Duration, requests_per_second: f64) -> Self {
        Server {
            objects: MemoryStore::new(),
            round_trip,
            turn: (requests_per_second > 0.0).then(|| Duration::from_secs_f64(1.0 / requests_per_second)),
            free_at: Mutex::new(Instant::now()),
            requests: Default::default(),
            throttled: AtomicU64::new(0),
        }
    }

    /// Waits for half a round trip, waits until the server accepts the request, and waits for the other half.
    fn serve<T>(&self, kind: Kind, work: impl FnOnce(&MemoryStore) -> T) -> T {
        self.requests[kind as usize].fetch_add(1, Ordering::Relaxed);
        thread::sleep(self.round_trip / 2);
        if let Some(turn) = self.turn {
            let now = Instant::now();
            let mine = {
                let mut free_at = self.free_at.lock();
                let mine = (*free_at).max(now);
                *free_at = mine + turn;
                mine
            };
            if mine > now {
                self.throttled.fetch_add(1, Ordering::Relaxed);
                thread::sleep(mine - now);
            }
        }
        let answer = work(&self.objects);
        thread::sleep(self.round_trip / 2);
        answer
    }
}

/// The server as one worker sees it. The workers are in one process here. Each has a store name of its own, so that
/// they do not share an open container, as separate processes would not.
#[derive(Clone, Debug)]
pub struct Client {
    server: Arc<Server>,
    number: usize,
    /// True if the client's requests take time and are counted.
    is_timed: Arc<AtomicBool>,
}

impl Client {
    /// Returns client `number`, the requests of which take no time at first. This allows a quick creation of the
    /// container, and opens by a thousand workers of one process, which wait for each other in a way that a thousand
    /// processes would not.
    pub fn new(server: &Arc<Server>, number: usize) -> Self {
        Client { server: server.clone(), number, is_timed: Arc::default() }
    }

    /// Adds the delay of a remote store to requests from now on.
    pub fn begin(&self) {
        self.is_timed.store(true, Ordering::Relaxed);
    }

    fn ask<T>(&self, kind: Kind, work: impl FnOnce(&MemoryStore) -> T) -> T {
        if self.is_timed.load(Ordering::Relaxed) {
            self.server.serve(kind, work)
        } else {
            work(&self.server.objects)
        }
    }
}

impl ObjectStore for Client {
    fn name(&self) -> String {
        format!("simulated:{}", self.number)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { near: false, remote: true, ..self.server.objects.capabilities() }
    }

    fn honours(&self, condition: Condition) -> bool {
        self.server.objects.honours(condition)
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        self.ask(Kind::Cheap, |objects| objects.get(key, range))
    }

    fn get_if_changed(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> Result<Option<GetResult>> {
        self.ask(Kind::Cheap, |objects| objects.get_if_changed(key, range, known))
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        self.ask(Kind::Cheap, |objects| objects.get_into(key, offset, buf))
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.ask(Kind::Cheap, |objects| objects.head(key))
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        self.ask(Kind::Dear, |objects| objects.put(key, payload, mode))
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        self.ask(Kind::Dear, |objects| objects.put_stream(key))
    }

    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage> {
        self.ask(Kind::Dear, |objects| objects.list_page(prefix, start_after, limit))
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.ask(Kind::Free, |objects| objects.delete(key))
    }

    fn delete_many(&self, keys: &[Key]) -> Result<()> {
        self.ask(Kind::Free, |objects| objects.delete_many(keys))
    }
}
