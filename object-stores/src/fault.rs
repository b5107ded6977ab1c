//! A store that fails on demand, to test how the layers above handle failures.
//!
//! There are two ways to use it. A [`Rule`] makes single calls fail. [`FaultStore::crash_at`] simulates the death of
//! the process at its nth mutating call. A test that first counts the mutating calls of a scenario
//! ([`FaultStore::mutations`]) can simulate a crash at each of them in turn:
//!
//! ```
//! # use std::sync::Arc;
//! # use object_stores::{FaultStore, Key, MemoryStore, ObjectStore, PutMode, Timing};
//! fn scenario(store: &dyn ObjectStore) -> object_stores::Result<()> {
//!     store.put(&Key::new("data")?, "bytes".into(), PutMode::Create)?;
//!     store.put(&Key::new("head")?, "data".into(), PutMode::Create)?;
//!     Ok(())
//! }
//! let counted = FaultStore::new(Arc::new(MemoryStore::new()));
//! scenario(&counted)?;
//! for n in 0..counted.mutations() {
//!     for timing in Timing::ALL {
//!         let inner = Arc::new(MemoryStore::new());
//!         let dying = FaultStore::new(inner.clone());
//!         dying.crash_at(n, timing);
//!         assert!(scenario(&dying).is_err());
//!         // The next process has to find a consistent state in `inner`.
//!         if inner.head(&Key::new("head")?).is_ok() {
//!             assert!(inner.head(&Key::new("data")?).is_ok());
//!         }
//!     }
//! }
//! # Ok::<(), object_stores::Error>(())
//! ```

mod plan;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

pub use plan::{Damage, Fault, Rule, Select, Timing};
use plan::{Plan, Verdict};

use crate::{
    Capabilities, Condition, Error, ErrorKind, Etag, FilterAsk, FilterMatches, GetResult, Key, ListPage,
    ObjectMeta, ObjectStore, Operation, PutMode, PutPayload, PutResult, PutStream, Result,
};

/// Fails as its rules demand, and passes all other calls on. Clones share rules and counters. See the [module](self).
#[derive(Clone, Debug)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<Mutex<Plan>>,
    is_near: bool,
    /// Conditions that this store does not honour, even if the inner store does.
    lacks: [Option<Condition>; 2],
}

impl FaultStore {
    /// Wraps `inner`, without any rule yet.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        // No caller may rely on bytes that a rule may damage on their way.
        FaultStore { inner, plan: Arc::default(), is_near: false, lacks: [None; 2] }
    }

    /// Makes the store as near as the inner one. This is for faults of changes only: no rule may damage a read.
    #[must_use]
    pub fn as_near(mut self) -> Self {
        self.is_near = self.inner.capabilities().near;
        self
    }

    /// Makes the store one that cannot create conditionally.
    #[must_use]
    pub fn without_create(mut self) -> Self {
        self.lacks[0] = Some(Condition::Create);
        self
    }

    /// Makes the store one that cannot update conditionally. It still returns etags.
    #[must_use]
    pub fn without_update(mut self) -> Self {
        self.lacks[1] = Some(Condition::Update);
        self
    }

    /// Adds a rule. The rule counts calls from now on. If several rules strike the same call, the oldest one applies.
    pub fn inject(&self, rule: Rule) {
        self.plan.lock().inject(rule);
    }

    /// Simulates the death of the process at the `n`th mutating call (the first is 0) since the store was made or
    /// [cleared](Self::clear): before, during or after the effect of the call. That call and every later one, including
    /// reads, fails with [`ErrorKind::Unavailable`].
    pub fn crash_at(&self, n: u64, timing: Timing) {
        self.plan.lock().crash_at(n, timing);
    }

    /// Returns whether the crash has happened.
    pub fn is_crashed(&self) -> bool {
        self.plan.lock().is_crashed()
    }

    /// Removes all rules and the crash, and resets the counters.
    pub fn clear(&self) {
        *self.plan.lock() = Plan::default();
    }

    /// Returns the number of calls so far that `select` covers, including failed ones.
    pub fn calls(&self, select: Select) -> u64 {
        self.plan.lock().calls(select)
    }

    /// Returns the number of mutating calls so far, including failed ones.
    pub fn mutations(&self) -> u64 {
        self.calls(Select::Mutating)
    }

    /// Returns the number of faults that have struck.
    pub fn struck(&self) -> u64 {
        self.plan.lock().struck()
    }

    fn next(&self, operation: Operation) -> Verdict {
        self.plan.lock().next(operation)
    }

    fn injected(&self, kind: ErrorKind, operation: Operation, key: Option<&Key>, what: &str) -> Error {
        let error = Error::new(kind, operation).in_store(self.inner.name()).because(what);
        match key {
            Some(key) => error.at(key),
            None => error,
        }
    }

    /// Counts a get, and returns the damage that its answer gets.
    ///
    /// # Errors
    /// The error that the rules demand for the get.
    fn damage_of_get(&self, key: &Key) -> Result<Option<Damage>> {
        match self.next(Operation::Get) {
            Verdict::Pass => Ok(None),
            Verdict::Damage(damage) => Ok(Some(damage)),
            Verdict::Fail(_, kind) => Err(self.injected(kind, Operation::Get, Some(key), "injected fault")),
        }
    }

    /// Performs `act`, or fails, or both. `part` performs the part of the effect that a fault in the middle leaves; an
    /// atomic effect leaves none.
    fn apply<T>(
        &self,
        (operation, key): (Operation, Option<&Key>),
        act: impl FnOnce() -> Result<T>,
        part: impl FnOnce() -> Result<()>,
    ) -> Result<T> {
        let Verdict::Fail(timing, kind) = self.next(operation) else { return act() };
        let what = match timing {
            Timing::Before => "injected fault, before the effect",
            Timing::During => {
                part()?;
                "injected fault, in the middle of the effect"
            }
            Timing::After => {
                act()?;
                "injected fault, the effect happened and the answer was dropped"
            }
        };
        Err(self.injected(kind, operation, key, what))
    }
}

/// Applies the damage, if any, to an answer.
fn damaged(got: GetResult, damage: Option<Damage>) -> GetResult {
    match damage {
        Some(damage) => GetResult { bytes: damage.applied_to(got.bytes), ..got },
        None => got,
    }
}

fn atomic() -> Result<()> {
    Ok(())
}

impl ObjectStore for FaultStore {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn place_of(&self, key: &str) -> String {
        self.inner.place_of(key)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { near: self.is_near, remote: !self.is_near, ..self.inner.capabilities() }
    }

    fn honours(&self, condition: Condition) -> bool {
        !self.lacks.contains(&Some(condition)) && self.inner.honours(condition)
    }

    fn why_not(&self, condition: Condition) -> Option<String> {
        self.inner.why_not(condition)
    }

    fn why_not_key(&self, key: &Key) -> Option<String> {
        self.inner.why_not_key(key)
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        let damage = self.damage_of_get(key)?;
        self.inner.get(key, range).map(|got| damaged(got, damage))
    }

    fn get_if_changed(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> Result<Option<GetResult>> {
        let damage = self.damage_of_get(key)?;
        Ok(self.inner.get_if_changed(key, range, known)?.map(|got| damaged(got, damage)))
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        match self.next(Operation::GetInto) {
            Verdict::Pass => self.inner.get_into(key, offset, buf),
            Verdict::Fail(_, kind) => {
                Err(self.injected(kind, Operation::GetInto, Some(key), "injected fault"))
            }
            Verdict::Damage(damage) => {
                let meta = self.inner.get_into(key, offset, buf)?;
                match damage.strike(buf) {
                    kept if kept == buf.len() => Ok(meta),
                    kept => {
                        // The buffer may contain anything after the bytes that a truncated transfer delivered.
                        buf[kept..].fill(0xAA);
                        let what = format!("injected fault, cut after {kept} bytes");
                        Err(self.injected(ErrorKind::ShortRead, Operation::GetInto, Some(key), &what))
                    }
                }
            }
        }
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.apply((Operation::Head, Some(key)), || self.inner.head(key), atomic)
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        let lacking = match mode {
            PutMode::Overwrite => false,
            PutMode::Create => self.lacks[0].is_some(),
            PutMode::Update(_) => self.lacks[1].is_some(),
        };
        let act = || match lacking {
            false => self.inner.put(key, payload, mode),
            true => {
                let what = "the store cannot put on this condition";
                Err(self.injected(ErrorKind::Unsupported, Operation::Put, Some(key), what))
            }
        };
        self.apply((Operation::Put, Some(key)), act, atomic)
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        let inner = self.apply((Operation::StreamStart, Some(key)), || self.inner.put_stream(key), atomic)?;
        Ok(Box::new(FaultStream { inner, key: key.clone(), store: self.clone(), failed: false }))
    }

    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage> {
        let act = || self.inner.list_page(prefix, start_after, limit);
        self.apply((Operation::List, None), act, atomic)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.apply((Operation::Delete, Some(key)), || self.inner.delete(key), atomic)
    }

    fn delete_many(&self, keys: &[Key]) -> Result<()> {
        let half = || self.inner.delete_many(&keys[..keys.len() / 2]);
        self.apply((Operation::DeleteMany, keys.first()), || self.inner.delete_many(keys), half)
    }

    fn filters(&self) -> bool {
        self.inner.filters()
    }

    fn filter(&self, key: &Key, asked: &FilterAsk) -> Result<FilterMatches> {
        self.apply((Operation::Get, Some(key)), || self.inner.filter(key, asked), atomic)
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
struct FaultStream {
    inner: Box<dyn PutStream>,
    key: Key,
    store: FaultStore,
    failed: bool,
}

impl FaultStream {
    fn write_piece(&mut self, bytes: Bytes) -> Result<()> {
        let FaultStream { inner, key, store, .. } = self;
        let inner = std::cell::RefCell::new(inner);
        let half = bytes.slice(..bytes.len() / 2);
        let act = || inner.borrow_mut().write_bytes(bytes);
        let part = || inner.borrow_mut().write_bytes(half);
        let answer = store.apply((Operation::StreamWrite, Some(key)), act, part);
        self.failed |= answer.is_err();
        answer
    }
}

impl PutStream for FaultStream {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_piece(Bytes::copy_from_slice(bytes))
    }

    fn write_bytes(&mut self, bytes: Bytes) -> Result<()> {
        self.write_piece(bytes)
    }

    fn finish(self: Box<Self>) -> Result<PutResult> {
        let FaultStream { inner, key, store, failed } = *self;
        if failed {
            // A real stream is broken after a failed write, so a caller that continues gets an error.
            let what = "an earlier write has failed, so the stream can only be aborted";
            return Err(store.injected(
                ErrorKind::InvalidArgument,
                Operation::StreamFinish,
                Some(&key),
                what,
            ));
        }
        store.apply((Operation::StreamFinish, Some(&key)), || inner.finish(), atomic)
    }

    fn abort(self: Box<Self>) -> Result<()> {
        let FaultStream { inner, key, store, .. } = *self;
        store.apply((Operation::StreamAbort, Some(&key)), || inner.abort(), atomic)
    }
}
