//! A store in memory for tests, in which a seed decides the order and the fate of every request.
//!
//! [`SimStore::run`] runs several actors, each in a thread of its own. A request of any thread waits until the
//! scheduler gives it its turn, and only one thread runs at a time. So a seed determines the history, provided that the
//! work of the actors between two requests depends only on the answers. The scheduler also decides what the network
//! does to a request ([`Faults`]): the request is lost, its answer is lost, it arrives after its caller has got an
//! error, or it arrives twice.
//!
//! Requests outside of a run take effect at once, and never fail.
//!
//! ```
//! # use object_stores::{Key, ObjectStore, PutMode};
//! use object_stores::sim::{Faults, SimStore};
//!
//! let store = SimStore::new(7, Faults::NONE);
//! let key = Key::new("winner").unwrap();
//! let create = |name: &'static str| store.put(&key, name.into(), PutMode::Create).is_ok();
//! let won = store.run(vec!["a", "b"].into_iter().map(|name| move || create(name)).collect());
//! assert_eq!(won.iter().filter(|won| **won).count(), 1);
//! ```
//!
//! # Threads that an actor starts
//!
//! A thread that an actor starts joins the run with its first request. The scheduler decides only when every thread of
//! the run waits for its turn, has ended, or sleeps: for a lock, for another thread, or for time to pass.

#![allow(clippy::panic, reason = "a run reports by panicking, like every test")]

mod chance;
mod faults;
mod scheduler;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

pub use self::chance::Chance;
use self::faults::Fate;
pub use self::faults::Faults;
use self::scheduler::Scheduler;
pub use self::scheduler::Step;
use crate::{
    Capabilities, Condition, Error, ErrorKind, Etag, GetResult, Key, ListPage, MemoryStore, ObjectMeta,
    ObjectStore, Operation, PutMode, PutPayload, PutResult, PutStream, Result,
};

/// A store with a scheduler that delays, loses and repeats its requests. See the [module](self).
///
/// Clones share their objects and the scheduler.
#[derive(Clone, Debug)]
pub struct SimStore {
    objects: MemoryStore,
    scheduler: Arc<Scheduler>,
}

/// The effect of a request. It may be applied more than once.
type Effect<T> = dyn Fn(&MemoryStore) -> Result<T> + Send;

impl SimStore {
    /// Returns an empty store. Runs with the same `seed` and the same actors are identical.
    pub fn new(seed: u64, faults: Faults) -> Self {
        SimStore { objects: MemoryStore::with_name("simulated"), scheduler: Scheduler::new(seed, faults) }
    }

    /// Returns the objects as a store without scheduler and faults.
    pub fn beneath(&self) -> Arc<dyn ObjectStore> {
        Arc::new(self.objects.clone())
    }

    /// Runs each actor in a thread, and returns their answers in order, once all have ended. Requests that are still in
    /// flight then either arrive or are lost.
    ///
    /// # Panics
    /// If an actor panics. The seed and the last steps are printed.
    pub fn run<T: Send, F: FnOnce() -> T + Send>(&self, actors: Vec<F>) -> Vec<T> {
        self.scheduler.run(&self.objects, actors)
    }

    /// Returns the steps of all runs, in order.
    pub fn steps(&self) -> Vec<Step> {
        self.scheduler.steps()
    }

    /// Performs a read, which the network may lose.
    fn read<T>(
        &self,
        operation: Operation,
        key: &str,
        act: impl FnOnce(&MemoryStore) -> Result<T>,
    ) -> Result<T> {
        match self.scheduler.turn(operation, key) {
            Some(Fate::Passed { is_slow }) => {
                let answer = act(&self.objects);
                self.scheduler.answer(is_slow);
                answer
            }
            Some(fate) => Err(self.failed(operation, key, fate)),
            None => act(&self.objects),
        }
    }

    /// Performs a change, which the network may lose, delay and repeat.
    fn change<T: 'static>(&self, operation: Operation, key: &str, effect: Box<Effect<T>>) -> Result<T> {
        let Some(fate) = self.scheduler.turn(operation, key) else { return effect(&self.objects) };
        match fate {
            Fate::Passed { is_slow } => {
                let answer = effect(&self.objects);
                self.scheduler.answer(is_slow);
                answer
            }
            Fate::Lost => Err(self.failed(operation, key, fate)),
            Fate::Unanswered => {
                let _unanswered = effect(&self.objects);
                Err(self.failed(operation, key, fate))
            }
            Fate::Late => {
                self.under_way(operation, key, effect);
                Err(self.failed(operation, key, fate))
            }
            // The client gets no answer, and sends the request again.
            Fate::SentAgain => {
                let _unanswered = effect(&self.objects);
                self.scheduler.answer(true);
                effect(&self.objects)
            }
            Fate::Repeated => {
                let answer = effect(&self.objects);
                self.under_way(operation, key, effect);
                answer
            }
        }
    }

    /// Schedules the request to take effect at a later time.
    fn under_way<T: 'static>(&self, operation: Operation, key: &str, effect: Box<Effect<T>>) {
        let arrive = move |objects: &MemoryStore| effect(objects).is_ok();
        self.scheduler.send_late(operation, key, Box::new(arrive));
    }

    fn failed(&self, operation: Operation, key: &str, fate: Fate) -> Error {
        let error = Error::new(ErrorKind::Timeout, operation).in_store(self.name());
        let error = error.because(format!("the simulated network: {}", fate.name()));
        match Key::new(key) {
            Ok(key) => error.at(&key),
            Err(_) => error,
        }
    }
}

impl ObjectStore for SimStore {
    fn name(&self) -> String {
        self.objects.name()
    }

    fn place_of(&self, key: &str) -> String {
        self.objects.place_of(key)
    }

    fn capabilities(&self) -> Capabilities {
        self.objects.capabilities()
    }

    fn honours(&self, condition: Condition) -> bool {
        self.objects.honours(condition)
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        self.read(Operation::Get, key.as_str(), |objects| objects.get(key, range))
    }

    fn get_if_changed(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> Result<Option<GetResult>> {
        self.read(Operation::Get, key.as_str(), |objects| objects.get_if_changed(key, range, known))
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        self.read(Operation::GetInto, key.as_str(), |objects| objects.get_into(key, offset, buf))
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.read(Operation::Head, key.as_str(), |objects| objects.head(key))
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        let at = key.clone();
        let effect = move |objects: &MemoryStore| objects.put(&at, payload.clone(), mode.clone());
        self.change(Operation::Put, key.as_str(), Box::new(effect))
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        Ok(Box::new(SimStream { store: self.clone(), key: key.clone(), pieces: PutPayload::new() }))
    }

    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage> {
        self.read(Operation::List, prefix, |objects| objects.list_page(prefix, start_after, limit))
    }

    fn delete(&self, key: &Key) -> Result<()> {
        let at = key.clone();
        self.change(Operation::Delete, key.as_str(), Box::new(move |objects| objects.delete(&at)))
    }

    fn delete_many(&self, keys: &[Key]) -> Result<()> {
        let (all, first) = (keys.to_vec(), keys.first().map_or("", Key::as_str));
        self.change(Operation::DeleteMany, first, Box::new(move |objects| objects.delete_many(&all)))
    }
}

/// An object that is put in pieces. It becomes one request when it is finished.
#[derive(Debug)]
struct SimStream {
    store: SimStore,
    key: Key,
    pieces: PutPayload,
}

impl PutStream for SimStream {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_bytes(Bytes::copy_from_slice(bytes))
    }

    fn write_bytes(&mut self, bytes: Bytes) -> Result<()> {
        self.pieces.push(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<PutResult> {
        let SimStream { store, key, pieces } = *self;
        let at = key.clone();
        let effect = move |objects: &MemoryStore| objects.put(&at, pieces.clone(), PutMode::Overwrite);
        store.change(Operation::StreamFinish, key.as_str(), Box::new(effect))
    }

    fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
