//! The lease of a container: an object that names the writer.
//!
//! The lease is advisory: a second writer that opens the container fails at once, and its error names the first writer.
//! No commit depends on the lease. A writer that lost its lease without noticing is stopped by its next swap. A
//! background thread renews the lease of an idle writer. No other writer takes the lease of a process that is known to
//! live.

mod keeper;
mod note;
mod pending_queues;

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_stores::{
    Condition, ErrorKind as StoreErrorKind, Etag, GetResult, Key, ObjectStore, ObjectStoreExt, PutMode,
    PutPayload, StagedStore,
};

use self::note::Note;
use crate::clock::{self, Moment};
use crate::error::{Error, ErrorKind, Holder, Result, store_error};
use crate::liveness::{Life, ProcessIdentity, myself};
use crate::locks::Mutex;
use crate::options::LockHolder;
use crate::process;

/// The time for which a writer keeps its lease without renewing it, if the store's users cannot see whether the writer
/// lives.
const TERM: Duration = Duration::from_secs(60);
/// A writer renews its lease after this time.
const RENEW_INTERVAL: Duration = Duration::from_secs(20);
/// The maximum length of a lease object in bytes.
const MAX_LEASE_BYTES: u64 = 64 << 10;
/// The maximum number of reads of a lease object that is not valid, if each read returns different bytes.
const MAX_LOOKS: usize = 4;
/// The maximum number of puts of a lease object whose effect is unknown.
const MAX_PUTS: u32 = 5;

/// The nonces of the leases that this process holds. A lease that names this process and is not in this set was not
/// released when its holder ended.
static HELD: LazyLock<Mutex<HashSet<[u8; 16]>>> = LazyLock::new(Mutex::default);

/// The purpose for which a lease is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Writing, after all versions that the previous writer committed.
    Write,
    /// Uploading the pending operations that a dead writer staged.
    Drain,
}

/// Returns the writer that has the lease, if there is one that may be alive.
///
/// # Errors
/// The errors of the store.
pub fn holder(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<Option<Holder>> {
    let found = find(store, key, target)?;
    Ok(found.and_then(|found| living(store, &found)))
}

/// Checks that no lease excludes this writer: neither the lease of a writer that may be alive, nor operations that a
/// dead writer staged elsewhere.
///
/// # Errors
/// `Locked`, `Staged`; the errors of the store.
pub(crate) fn check_free(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<()> {
    let Some(found) = find(store, key, target)? else { return Ok(()) };
    match living(store, &found) {
        Some(holder) => Err(Error::new(target, ErrorKind::locked(Some(holder)))),
        None => pending_queues::check(store, &found.bytes, target).map(drop),
    }
}

/// Returns the lease object in the store. A damaged lease object protects no writer. If two reads of a lease object that is not valid
/// return different bytes, the object was damaged in transit, so the read is repeated.
fn find(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<Option<GetResult>> {
    let mut strange = None;
    for _ in 0..MAX_LOOKS {
        let found = store.get_whole_opt(key, MAX_LEASE_BYTES).map_err(|e| store_error(target, &e))?;
        let Some(lease) = found else { return Ok(None) };
        if Note::decode(&lease.bytes).is_ok() || strange.as_ref() == Some(&lease.bytes) {
            return Ok(Some(lease));
        }
        strange = Some(lease.bytes);
    }
    Err(Error::corrupt(target, "lease object", "each answer of the store is another one"))
}

/// Returns the holder of a lease object, unless the holder is dead or has not renewed the lease in time.
fn living(store: &dyn ObjectStore, found: &GetResult) -> Option<Holder> {
    let note = Note::decode(&found.bytes).ok()?;
    let is_past = || {
        let now = store.clock().unwrap_or_else(SystemTime::now);
        // A lease with a time in the future counts as not renewed, too: a clock was set back.
        now.duration_since(found.meta.modified).unwrap_or_else(|e| e.duration()) > TERM
    };
    let is_stale = match note.life() {
        Life::Alive => false,
        Life::Dead => true,
        Life::Unknown => is_past(),
    };
    (!is_stale).then_some(note.holder)
}

/// Returns the holder that the lease object names, whether or not that process lives; `None` if no lease object exists.
///
/// # Errors
/// The errors of the store.
pub(crate) fn lock_holder(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<Option<LockHolder>> {
    let Some(found) = find(store, key, target)? else { return Ok(None) };
    let note = Note::decode(&found.bytes).ok();
    Ok(Some(LockHolder {
        lives: note.as_ref().and_then(|note| match note.life() {
            Life::Alive => Some(true),
            Life::Dead => Some(false),
            Life::Unknown => None,
        }),
        stage: note.as_ref().and_then(|note| note.queues.first()).map(|pending| pending.folder.clone()),
        nonce: note.as_ref().map(|note| note.nonce),
        holder: note.map(|note| note.holder),
    }))
}

/// Takes the lease away from the writer that an earlier read found in it.
///
/// # Errors
/// `Locked` if another writer has it by now; the errors of the store.
pub(crate) fn take_away(store: &dyn ObjectStore, key: &Key, was: &LockHolder, target: &str) -> Result<()> {
    match lock_holder(store, key, target)? {
        None => return Ok(()),
        Some(now) if now.nonce == was.nonce => (),
        Some(now) => return Err(Error::new(target, ErrorKind::locked(now.holder))),
    }
    store.delete(key).map_err(|e| store_error(target, &e))
}

/// Returns whether the writer that a lease object names is known to be dead, and all operations that it staged were
/// uploaded.
///
/// # Errors
/// The errors of the store.
pub(crate) fn is_of_dead_writer(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<bool> {
    let Some(found) = find(store, key, target)? else { return Ok(false) };
    let is_dead = Note::decode(&found.bytes).is_ok_and(|note| note.life() == Life::Dead);
    Ok(is_dead && pending_queues::check(store, &found.bytes, target).is_ok_and(|queues| queues.is_empty()))
}

/// Returns whether a lease object names a queue that may have pending uploads.
///
/// # Errors
/// The errors of the store.
pub(crate) fn names_queue(store: &dyn ObjectStore, key: &Key, queue: &str, target: &str) -> Result<bool> {
    let queues =
        find(store, key, target)?.map(|found| pending_queues::named(&found.bytes)).unwrap_or_default();
    Ok(queues.iter().any(|pending| pending.queue == queue))
}

/// A lease that this process holds. Dropping it releases the lease.
#[derive(Debug)]
pub struct Lease {
    held: Arc<Mutex<HeldLease>>,
    nonce: [u8; 16],
    /// The process that took the lease. A forked child has a copy of its parent's lease, and must not release it.
    owner: u32,
}

/// The state of a lease that this process holds.
#[derive(Debug)]
struct HeldLease {
    store: Arc<dyn ObjectStore>,
    key: Key,
    target: Arc<str>,
    note: Note,
    etag: Option<Etag>,
    renewed: Moment,
    released: bool,
    /// The lease object of a dead writer, which names the staging directories of its pending uploads.
    before: Option<Bytes>,
}

impl Lease {
    /// Takes the lease with the object `key`.
    ///
    /// # Errors
    /// `Locked` with the holder if another writer has the lease; `Staged` if commits of a dead writer are staged on
    /// another machine or in another directory; the errors of the store.
    pub fn take(store: &Arc<dyn ObjectStore>, key: Key, target: &str) -> Result<Self> {
        Self::take_for(store, key, target, Purpose::Write)
    }

    /// Takes the lease in order to upload the operations that a dead writer staged.
    pub(crate) fn take_to_drain(store: &Arc<dyn ObjectStore>, key: Key, target: &str) -> Result<Self> {
        Self::take_for(store, key, target, Purpose::Drain)
    }

    fn take_for(store: &Arc<dyn ObjectStore>, key: Key, target: &str, purpose: Purpose) -> Result<Self> {
        let queues = pending_queues::own(store.as_ref());
        let identity = ProcessIdentity::myself();
        let note = Note { holder: myself(), nonce: clock::random(target)?, identity, queues };
        let mut held = HeldLease {
            store: store.clone(),
            key,
            target: target.into(),
            note,
            etag: None,
            renewed: Moment::now(),
            released: false,
            before: None,
        };
        match held.put_first(purpose) {
            // A process that opens a container in a full store may be about to delete data from it, so the reserve is
            // released.
            Err(e) if e.is_full() && store.spend_reserve() => held.put_first(purpose)?,
            done => done?,
        }
        let (nonce, is_persistent) = (held.note.nonce, store.capabilities().persistent);
        HELD.lock().insert(nonce);
        let held = Arc::new(Mutex::new(held));
        if is_persistent {
            keeper::keep(&held);
        }
        Ok(Self { held, nonce, owner: process::id() })
    }

    /// Returns the time for which no other writer takes the lease of this process, unless it is known to be dead.
    pub fn left(&self) -> Duration {
        TERM.saturating_sub(self.held.lock().renewed.elapsed())
    }

    /// Renews the lease if the renewal is due.
    ///
    /// # Errors
    /// `Conflict` if another writer has taken it; the errors of the store.
    pub fn renew_if_due(&mut self) -> Result<()> {
        self.held.lock().renew_if_due()
    }

    /// Checks that the lease object in the store is still this lease.
    ///
    /// # Errors
    /// `Conflict` if another writer has taken the lease; the errors of the store.
    pub fn check(&mut self) -> Result<()> {
        self.held.lock().check_own()
    }

    /// Releases the lease after all operations that the writer staged were uploaded. In a store without conditional
    /// deletes, this may delete the lease of another writer that took over an expired lease meanwhile.
    ///
    /// # Errors
    /// The errors of the store.
    pub fn release(self) -> Result<()> {
        let (store, target) = {
            let held = self.held.lock();
            (held.store.clone(), held.target.clone())
        };
        if let Some(Err(e)) = store.stage().map(StagedStore::drain) {
            // The lease object keeps naming the writer's staging directory, which has operations that were not
            // uploaded.
            self.held.lock().released = true;
            return Err(store_error(&target, &e));
        }
        self.held.lock().release()
    }

    /// Rewrites the lease object so that it names the writer's own staging directory alone, because all operations of
    /// dead writers were uploaded.
    pub(crate) fn forget_queues(&self) -> Result<()> {
        self.held.lock().forget_queues()
    }

    /// Releases the lease after a queue was drained. If the dead writer's lease object names other queues, too, the
    /// lease returns to the dead writer.
    pub(crate) fn release_drained(self, queue: &str) -> Result<()> {
        self.held.lock().release_drained(queue)
    }

    /// Restores the previous lease object, which belongs to a dead writer with pending operations that were not uploaded.
    pub(crate) fn put_back(self) -> Result<()> {
        self.held.lock().put_back()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.owner != process::id() {
            return;
        }
        let mut held = self.held.lock();
        // If the uploads are stuck, an earlier wait for them has failed. A drop does not wait again, and leaves the lease
        // object, which names the pending uploads.
        held.released |= held.store.stage().is_some_and(StagedStore::is_stuck);
        if let Err(e) = held.release() {
            tracing::debug!(error = %e, "a lease was not released");
        }
        drop(held);
        HELD.lock().remove(&self.nonce);
    }
}

impl HeldLease {
    /// Puts the first lease object of this lease. If another writer's lease is released between a refused put and the read of the holder,
    /// tries again.
    fn put_first(&mut self, purpose: Purpose) -> Result<()> {
        let queues = self.note.queues.clone();
        for _ in 1..MAX_LOOKS {
            match self.try_put_first(purpose) {
                Err(e) if matches!(e.kind(), ErrorKind::Locked { holder: None, .. }) => {
                    self.note.queues.clone_from(&queues);
                }
                done => return done,
            }
        }
        self.try_put_first(purpose)
    }

    fn try_put_first(&mut self, purpose: Purpose) -> Result<()> {
        // Usually no lease object exists.
        if self.store.honours(Condition::Create) {
            match self.put(None) {
                Err(e) if matches!(e.kind(), ErrorKind::Locked { .. }) => (),
                done => return done,
            }
        }
        let found = find(self.store.as_ref(), &self.key, &self.target)?;
        let Some(found) = found else { return self.put(None) };
        if let Some(holder) = living(self.store.as_ref(), &found) {
            return Err(Error::new(&self.target, ErrorKind::locked(Some(holder))));
        }
        let queues = match purpose {
            Purpose::Write => pending_queues::check(self.store.as_ref(), &found.bytes, &self.target)?,
            Purpose::Drain => pending_queues::named(&found.bytes),
        };
        self.before = (!queues.is_empty()).then(|| found.bytes.clone());
        // If this process dies before these operations are uploaded, its lease object still names them.
        self.note.queues.extend(queues);
        self.put(Some(found.meta.etag))
    }

    /// Puts the lease object in place of the object that was read, which has this etag; if `over` is `None`, there was
    /// no object.
    fn put(&mut self, over: Option<Option<Etag>>) -> Result<()> {
        let mode = match over {
            None if self.store.honours(Condition::Create) => PutMode::Create,
            Some(Some(etag)) if self.store.honours(Condition::Update) => PutMode::Update(etag),
            _ => PutMode::Overwrite,
        };
        for attempt in 1.. {
            let e = match self.store.put(&self.key, PutPayload::from(self.note.encode()), mode.clone()) {
                Ok(put) => {
                    self.etag = put.etag;
                    break;
                }
                Err(e) => e,
            };
            // The store may have applied the put although its answer was lost.
            match self.is_own() {
                Ok(true) => break,
                Ok(false) if is_refusal(&e) => {
                    let holder = holder(self.store.as_ref(), &self.key, &self.target)?;
                    return Err(Error::new(&self.target, ErrorKind::locked(holder)));
                }
                Ok(false) if e.kind().is_ambiguous() && attempt < MAX_PUTS => (),
                // A refusal says only that there is a lease object, which could not be read.
                Err(unread) if is_refusal(&e) => return Err(unread),
                _ => return Err(store_error(&self.target, &e)),
            }
        }
        Ok(())
    }

    fn age(&self) -> Duration {
        self.renewed.elapsed()
    }

    fn is_due(&self) -> bool {
        !self.released && self.age() >= RENEW_INTERVAL
    }

    fn renew_if_due(&mut self) -> Result<()> {
        if !self.is_due() {
            return Ok(());
        }
        self.check_own()?;
        let now = Moment::now();
        self.put(Some(self.etag.clone()))?;
        self.renewed = now;
        Ok(())
    }

    fn check_own(&mut self) -> Result<()> {
        if self.is_own()? {
            return Ok(());
        }
        // There is no lease of this writer left to release.
        self.released = true;
        Err(Error::new(&self.target, ErrorKind::Conflict))
    }

    fn is_own(&mut self) -> Result<bool> {
        let Some(found) = find(self.store.as_ref(), &self.key, &self.target)? else { return Ok(false) };
        let is_own = Note::decode(&found.bytes).is_ok_and(|note| note.nonce == self.note.nonce);
        if is_own {
            self.etag = found.meta.etag;
        }
        Ok(is_own)
    }

    fn forget_queues(&mut self) -> Result<()> {
        let queues = pending_queues::own(self.store.as_ref());
        if queues != self.note.queues {
            self.check_own()?;
            self.note.queues = queues;
            self.put(Some(self.etag.clone()))?;
            self.before = None;
        }
        Ok(())
    }

    fn release_drained(&mut self, queue: &str) -> Result<()> {
        let before = self.before.as_ref().and_then(|bytes| Note::decode(bytes).ok());
        let Some(mut before) = before else { return self.release() };
        before.queues.retain(|pending| pending.queue != queue);
        if before.queues.is_empty() {
            return self.release();
        }
        self.before = Some(before.encode().into());
        self.put_back()
    }

    fn put_back(&mut self) -> Result<()> {
        let Some(before) = self.before.clone() else { return self.release() };
        self.released = true;
        self.check_own()?;
        let mode = match self.etag.clone().filter(|_| self.store.honours(Condition::Update)) {
            Some(etag) => PutMode::Update(etag),
            None => PutMode::Overwrite,
        };
        let put = self.store.put(&self.key, PutPayload::from(before), mode);
        put.map(drop).map_err(|e| store_error(&self.target, &e))
    }

    fn release(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.released, true) {
            return Ok(());
        }
        // Another writer may have taken the lease meanwhile, and its object must not be deleted. The read is omitted
        // while no other writer can have taken it.
        let may_be_taken = self.age() + RENEW_INTERVAL >= TERM || !self.store.honours(Condition::Update);
        if may_be_taken && !self.is_own()? {
            return Ok(());
        }
        self.store.delete(&self.key).map_err(|e| store_error(&self.target, &e))
    }
}

fn is_refusal(e: &object_stores::Error) -> bool {
    matches!(e.kind(), StoreErrorKind::AlreadyExists | StoreErrorKind::PreconditionFailed)
}

#[cfg(test)]
mod tests {
    use object_stores::{FaultStore, MemoryStore, Rule, Select, Timing};

    use super::*;

    fn key() -> Key {
        Key::new("c.lake/lease").unwrap()
    }

    /// Puts the lease of a writer that is not this process.
    fn foreign(store: &dyn ObjectStore, identity: Option<ProcessIdentity>) {
        let holder = Holder { host: "elsewhere".into(), pid: 7, since: 1 };
        let note = Note { holder, nonce: [9; 16], identity, queues: Vec::new() };
        store.put(&key(), note.encode().into(), PutMode::Overwrite).unwrap();
    }

    #[test]
    fn the_error_of_a_second_writer_names_the_first_writer() {
        let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let bare: Arc<dyn ObjectStore> =
            Arc::new(FaultStore::new(memory.clone()).without_create().without_update());
        for store in [&memory, &bare] {
            let lease = Lease::take(store, key(), "c").unwrap();
            let refused = Lease::take(store, key(), "c").unwrap_err();
            let ErrorKind::Locked { holder: Some(holder), .. } = refused.kind() else { panic!("{refused}") };
            assert_eq!(holder.pid, process::id());
            lease.release().unwrap();
            drop(Lease::take(store, key(), "c").unwrap());
            foreign(store.as_ref(), None);
            assert!(matches!(Lease::take(store, key(), "c").unwrap_err().kind(), ErrorKind::Locked { .. }));
            store.delete(&key()).unwrap();
        }
    }

    #[test]
    fn a_lease_of_a_dead_writer_or_a_damaged_one_protects_nobody() {
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        // The start time of this process differs from the one in the note, so the process in the note is dead.
        let me = ProcessIdentity::myself().unwrap();
        let dead = Note { holder: myself(), nonce: [9; 16], identity: Some(me), queues: Vec::new() };
        store.put(&key(), dead.encode().into(), PutMode::Overwrite).unwrap();
        assert_eq!(holder(store.as_ref(), &key(), "c").unwrap(), None, "no handle of this process holds it");
        drop(Lease::take(&store, key(), "c").unwrap());
        store.put(&key(), "no lease".into(), PutMode::Overwrite).unwrap();
        drop(Lease::take(&store, key(), "c").unwrap());
        assert!(store.head_opt(&key()).unwrap().is_none(), "released");
    }

    #[test]
    fn a_writer_notices_that_its_lease_was_taken_and_leaves_the_other_one_s() {
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let mut lease = Lease::take(&store, key(), "c").unwrap();
        lease.check().unwrap();
        assert!(lease.left() > TERM - RENEW_INTERVAL);
        foreign(store.as_ref(), None);
        assert_eq!(*lease.check().unwrap_err().kind(), ErrorKind::Conflict);
        drop(lease);
        assert!(store.head_opt(&key()).unwrap().is_some());
    }

    #[test]
    fn a_lease_with_a_lost_answer_is_held() {
        let faults = FaultStore::new(Arc::new(MemoryStore::new()));
        let store: Arc<dyn ObjectStore> = Arc::new(faults.clone());
        let mutating = Select::Mutating;
        faults.inject(Rule::fail_nth(mutating, 0, Timing::After, object_stores::ErrorKind::Timeout));
        Lease::take(&store, key(), "c").unwrap().check().unwrap();
        let timeout = object_stores::ErrorKind::Timeout;
        faults.inject(Rule::fail_nth(mutating, 0, Timing::Before, timeout));
        drop(Lease::take(&store, key(), "c").unwrap());
        let always = u64::from(MAX_PUTS);
        faults.inject(Rule { times: always, ..Rule::fail_nth(mutating, 0, Timing::Before, timeout) });
        assert!(matches!(Lease::take(&store, key(), "c").unwrap_err().kind(), ErrorKind::Store { .. }));
        drop(Lease::take(&store, key(), "c").unwrap());
    }

    /// The lease object of a dead writer refuses a create. If the read after that fails, the failure is reported, and not
    /// the refusal, which says nothing about the container.
    #[test]
    fn a_lease_that_cannot_be_read_is_a_failure_of_the_store() {
        let faults = FaultStore::new(Arc::new(MemoryStore::new()));
        let store: Arc<dyn ObjectStore> = Arc::new(faults.clone());
        let me = ProcessIdentity::myself().unwrap();
        let dead = Note { holder: myself(), nonce: [9; 16], identity: Some(me), queues: Vec::new() };
        store.put(&key(), dead.encode().into(), PutMode::Overwrite).unwrap();
        let get = Select::One(object_stores::Operation::Get);
        faults.inject(Rule::fail_nth(get, 0, Timing::Before, object_stores::ErrorKind::Timeout));
        let e = Lease::take(&store, key(), "c").unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::Store { .. }), "{e}");
        drop(Lease::take(&store, key(), "c").unwrap());
    }

    #[test]
    fn notes_round_trip() {
        for identity in [None, ProcessIdentity::myself()] {
            let note = Note { holder: myself(), nonce: [3; 16], identity, queues: Vec::new() };
            assert_eq!(Note::decode(&note.encode()).unwrap(), note);
        }
    }
}
