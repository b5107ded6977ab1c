//! The lock object that keeps a second writer away.
//!
//! It is a courtesy: a writer whose lease was taken is stopped by the log, whose next record it cannot create. Losing the lease
//! costs it what it has not committed, so a writer that lives keeps it: one that is idle has it renewed in the background, and a
//! process that can be seen to live loses it to nobody.

mod keeper;
mod note;
mod rest;

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_stores::deadline::{self, TimedOperation};
use object_stores::{
    Condition, Etag, GetResult, Key, ObjectStore, ObjectStoreExt, PutMode, PutPayload, StagedStore,
};

use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::file::superblock::myself;
use crate::liveness::{Life, ProcessIdentity};
use crate::locks::Mutex;
use crate::objects::lease::note::Note;
use crate::objects::manifest::{MAX_LOCK_OBJECT_BYTES, Names, put_over, store_error};
use crate::objects::{lock, store_clock};
use crate::options::LockHolder;
use crate::process;

/// For how long a writer that nobody can see has the container without saying so again.
pub(super) const TERM: Duration = Duration::from_secs(60);
/// It says so again after this.
pub(super) const RENEW_INTERVAL: Duration = Duration::from_secs(20);

/// So often a lock object is created that others give back at that very moment.
const MAX_CREATES: u32 = 3;

/// How often a lock object is read that makes no sense, another one each time.
const MAX_LOOKS: usize = 4;

/// The leases that live handles of this process hold: one of this process that is not here belongs to a handle that died
/// without returning it.
static LIVE: LazyLock<Mutex<HashSet<[u8; 16]>>> = LazyLock::new(Mutex::default);

fn seconds() -> u64 {
    clock::now() / 1_000_000
}

/// What a lease is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To go on writing: behind all that the writer before has committed.
    Write,
    /// To bring what that one staged to the store.
    Drain,
}

/// What a lease that is held is.
#[derive(Debug)]
struct HeldLease {
    store: Arc<dyn ObjectStore>,
    key: Key,
    target: String,
    note: Note,
    etag: Option<Etag>,
    /// When it was last put; and the same by the wall clock, which goes on while the machine sleeps.
    renewed: (Instant, u64),
    released: bool,
    /// The lock object of a dead writer that tells where the rest of its versions lies.
    before: Option<Bytes>,
}

/// A lease that this handle holds.
#[derive(Debug)]
pub(crate) struct Lease {
    held: Arc<Mutex<HeldLease>>,
    nonce: [u8; 16],
    /// The process that took it.
    owner: u32,
}

/// A container's lock object, if there is one.
fn find(store: &dyn ObjectStore, names: &Names, target: &str) -> Result<Option<GetResult>> {
    look_at(store, &names.key("lock", target)?, target)
}

/// A lock object as it lies in the store. A damaged one protects nobody; one that was damaged on its way has to be told from it,
/// by another answer.
fn look_at(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<Option<GetResult>> {
    let mut strange = None;
    for _ in 0..MAX_LOOKS {
        let found = store.get_whole_opt(key, MAX_LOCK_OBJECT_BYTES).map_err(|e| store_error(target, &e))?;
        let Some(lock) = found else { return Ok(None) };
        if Note::decode(&lock.bytes).is_ok() || strange.as_ref() == Some(&lock.bytes) {
            return Ok(Some(lock));
        }
        strange = Some(lock.bytes);
    }
    Err(Error::corrupt(target, "lock object", "each answer of the store is another one"))
}

/// Whether a container's lock object keeps writers away now.
pub(crate) fn check_free(store: &dyn ObjectStore, names: &Names, target: &str) -> Result<()> {
    match find(store, names, target)? {
        Some(found) => stale_or_locked(store, names, &found, target),
        None => Ok(()),
    }
}

/// The same for who opens it for writing: neither may a dead writer have left a rest elsewhere.
pub(crate) fn check_free_to_write(store: &dyn ObjectStore, names: &Names, target: &str) -> Result<()> {
    let Some(found) = find(store, names, target)? else { return Ok(()) };
    stale_or_locked(store, names, &found, target)?;
    rest::check(store, names, &found.bytes, target).map(drop)
}

/// Whether a container's lock object is there, its writer is dead, and all that any writer has staged of it is in the store.
pub(crate) fn is_of_dead_writer(store: &dyn ObjectStore, names: &Names, target: &str) -> Result<bool> {
    let Some(found) = find(store, names, target)? else { return Ok(false) };
    match stale_or_locked(store, names, &found, target) {
        // What waits in a stage was committed, though the store has nothing of it.
        Ok(()) => Ok(rest::check(store, names, &found.bytes, target).is_ok_and(|rests| rests.is_empty())),
        Err(e) if matches!(e.kind(), ErrorKind::Locked { .. }) => Ok(false),
        Err(e) => Err(e),
    }
}

fn stale_or_locked(store: &dyn ObjectStore, names: &Names, found: &GetResult, target: &str) -> Result<()> {
    // A damaged lock protects nobody.
    let Ok(note) = Note::decode(&found.bytes) else { return Ok(()) };
    let stale = match note.life() {
        Life::Alive => false,
        Life::Dead => true,
        Life::Unknown => is_past(store, names, found, &note, target)?,
    };
    match stale {
        true => Ok(()),
        false => Err(Error::new(target, ErrorKind::locked(Some(note.holder)))),
    }
}

/// Whether a lease was renewed too long ago, by the store's clock. One from the future is not renewed by anybody either: the
/// store's clock was set back since. Earlier versions of h5lake gave up a lease at the time that it says itself.
fn is_past(
    store: &dyn ObjectStore,
    names: &Names,
    found: &GetResult,
    note: &Note,
    target: &str,
) -> Result<bool> {
    let now = store_clock::now(store, &names.head, target)?;
    if note.identity.is_none() && note.until < clock::since_1970(now) / 1_000_000 {
        return Ok(true);
    }
    let away = now.duration_since(found.meta.modified).unwrap_or_else(|e| e.duration());
    Ok(away > TERM)
}

/// Who holds a container.
pub(crate) fn holder(store: &dyn ObjectStore, names: &Names, target: &str) -> Result<Option<LockHolder>> {
    let Some(found) = find(store, names, target)? else { return Ok(None) };
    let note = Note::decode(&found.bytes).ok();
    Ok(Some(LockHolder {
        lives: note.as_ref().and_then(|note| match note.life() {
            Life::Alive => Some(true),
            Life::Dead => Some(false),
            Life::Unknown => None,
        }),
        stage: note.as_ref().and_then(|note| note.rests.first()).map(|rest| rest.folder.clone()),
        nonce: note.as_ref().map(|note| note.nonce),
        holder: note.map(|note| note.holder),
    }))
}

/// Whether a container's lock object tells that operations may wait in a queue.
pub(crate) fn tells_of(store: &dyn ObjectStore, names: &Names, queue: &str, target: &str) -> Result<bool> {
    let rests = find(store, names, target)?.map(|found| rest::told(&found.bytes)).unwrap_or_default();
    Ok(rests.iter().any(|rest| rest.queue.as_deref() == Some(queue)))
}

/// Takes a lease away from the one that was found; another one's stays.
pub(crate) fn take_away(
    store: &dyn ObjectStore,
    names: &Names,
    found: &LockHolder,
    target: &str,
) -> Result<()> {
    match holder(store, names, target)? {
        None => return Ok(()),
        Some(now) if now.nonce == found.nonce => (),
        Some(now) => return Err(Error::new(target, ErrorKind::locked(now.holder))),
    }
    store.delete(&names.key("lock", target)?).map_err(|e| store_error(target, &e))
}

impl Lease {
    pub(crate) fn take(store: &Arc<dyn ObjectStore>, names: &Names, target: &str) -> Result<Self> {
        Self::take_for(store, names, target, Purpose::Write)
    }

    /// Takes the lease to bring to the store what a dead writer staged.
    pub(crate) fn take_to_drain(store: &Arc<dyn ObjectStore>, names: &Names, target: &str) -> Result<Self> {
        Self::take_for(store, names, target, Purpose::Drain)
    }

    fn take_for(store: &Arc<dyn ObjectStore>, names: &Names, target: &str, purpose: Purpose) -> Result<Self> {
        let mut held = HeldLease::new(store, names, target)?;
        match held.put_first(names, purpose) {
            // Who opens a container in a full store may be about to delete from it.
            Err(e) if e.is_full() && store.spend_reserve() => {
                held.put_first(names, purpose)?;
            }
            done => done?,
        }
        Ok(Self::of(held))
    }

    /// Takes the lease of a container that nobody else knows of yet: there is nothing to be in the way.
    pub(crate) fn take_new(store: &Arc<dyn ObjectStore>, names: &Names, target: &str) -> Result<Self> {
        let mut held = HeldLease::new(store, names, target)?;
        let put = put_over(store.as_ref(), &held.key, held.note.encode(), None);
        held.etag = put.map_err(|e| store_error(target, &e))?;
        Ok(Self::of(held))
    }

    fn of(held: HeldLease) -> Self {
        let (nonce, persistent) = (held.note.nonce, held.store.capabilities().persistent);
        lock(&LIVE).insert(nonce);
        let held = Arc::new(Mutex::new(held));
        if persistent {
            keeper::keep(&held);
        }
        Self { held, nonce, owner: process::id() }
    }

    /// Before a commit: prolongs the lease when it runs out.
    pub(crate) fn renew(&mut self) -> Result<()> {
        lock(&self.held).renew_if_due()
    }

    /// As [`begin_unguarded`](Self::begin_unguarded), before a head; `None` where the store refuses a head that comes late.
    ///
    /// # Errors
    /// Those of [`begin_unguarded`](Self::begin_unguarded).
    pub(crate) fn begin_unguarded_head(&self) -> Result<Option<TimedOperation>> {
        let is_guarded = lock(&self.held).store.honours(Condition::Update);
        if is_guarded { Ok(None) } else { self.begin_unguarded().map(Some) }
    }

    /// Renews the lease if it runs out, and tells until when nobody else can take it.
    ///
    /// # Errors
    /// `Conflict` if it is another's; those of the store.
    fn check_held(&self) -> Result<Instant> {
        let mut held = lock(&self.held);
        held.renew_if_due()?;
        let until = Instant::now() + TERM.saturating_sub(held.age());
        held.check_ours()?;
        Ok(until)
    }

    /// Right before a put that would replace whatever is there. What is put within the operation that this begins arrives before
    /// anybody else can take the lease, or its outcome is unknown.
    ///
    /// # Errors
    /// `Conflict` if the lease is another's; those of the store.
    pub(crate) fn begin_unguarded(&self) -> Result<TimedOperation> {
        let until = self.check_held()?;
        Ok(deadline::begin_within(until.saturating_duration_since(Instant::now())))
    }

    /// Whether the lock object is still this lease's. This asks the store.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn is_ours(&self) -> Result<bool> {
        lock(&self.held).is_ours()
    }

    /// Gives the lease back, when all that the writer staged has arrived. It is renewed until then.
    pub(crate) fn release(self) -> Result<()> {
        let (store, target) = {
            let held = lock(&self.held);
            (held.store.clone(), held.target.clone())
        };
        if let Some(Err(e)) = store.stage().map(StagedStore::drain) {
            self.leave()?;
            return Err(store_error(&target, &e));
        }
        lock(&self.held).release()
    }

    /// Leaves the lock object where it is: it tells that the writer's stage holds more than what arrived.
    pub(crate) fn leave(self) -> Result<()> {
        lock(&self.held).released = true;
        Ok(())
    }

    /// Has the lock object tell of the writer's own stage alone: what dead writers left has arrived.
    pub(crate) fn forget_rests(&self) -> Result<()> {
        lock(&self.held).forget_rests()
    }

    /// Gives the lease back after a queue was drained: to the dead writer, if its lock object tells of other queues, too.
    pub(crate) fn release_drained(self, queue: &str) -> Result<()> {
        lock(&self.held).release_drained(queue)
    }

    /// Gives the lease back as it was taken: to a dead writer whose rest did not arrive.
    pub(crate) fn put_back(self) -> Result<()> {
        lock(&self.held).put_back()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A forked child has a copy of what its parent holds.
        if self.owner != process::id() {
            return;
        }
        let mut held = lock(&self.held);
        // Whoever did not wait for what is staged does not wait now.
        let is_stuck = held.store.stage().is_some_and(StagedStore::is_stuck);
        held.released |= is_stuck;
        if let Err(e) = held.release() {
            tracing::debug!(error = %e, "a lease was not given back");
        }
        drop(held);
        lock(&LIVE).remove(&self.nonce);
    }
}

impl HeldLease {
    fn new(store: &Arc<dyn ObjectStore>, names: &Names, target: &str) -> Result<Self> {
        let until = seconds() + TERM.as_secs();
        let (nonce, identity) = (clock::random(target)?, ProcessIdentity::myself());
        Ok(Self {
            store: store.clone(),
            key: names.key("lock", target)?,
            target: target.into(),
            note: Note { holder: myself(), nonce, until, identity, rests: rest::own(store.as_ref()) },
            etag: None,
            renewed: (Instant::now(), seconds()),
            released: false,
            before: None,
        })
    }

    fn put_first(&mut self, names: &Names, purpose: Purpose) -> Result<()> {
        let mut bytes = self.note.encode();
        let mut found = None;
        if self.store.honours(Condition::Create) {
            for _ in 0..MAX_CREATES {
                if self.create(&bytes)? {
                    return Ok(());
                }
                found = self.look()?;
                if found.is_some() {
                    break;
                }
                // It was given back meanwhile: who creates it next has it, and nobody else.
            }
            if found.is_none() {
                return Err(Error::new(&self.target, ErrorKind::locked(None)));
            }
        } else {
            found = self.look()?;
        }
        let mut old = None;
        if let Some(found) = found {
            // A repeated put may have met its own effect.
            if found.bytes != bytes {
                stale_or_locked(self.store.as_ref(), names, &found, &self.target)?;
                let rests = match purpose {
                    Purpose::Write => rest::check(self.store.as_ref(), names, &found.bytes, &self.target)?,
                    Purpose::Drain => rest::told(&found.bytes),
                };
                self.before = (!rests.is_empty()).then(|| found.bytes.clone());
                // Who dies before they have arrived leaves a lock object that tells of them.
                self.note.rests = rest::own(self.store.as_ref()).into_iter().chain(rests).collect();
                bytes = self.note.encode();
            }
            old = found.meta.etag;
        }
        let put = put_over(self.store.as_ref(), &self.key, bytes, old.as_ref());
        self.etag = put.map_err(|e| match e.kind() {
            object_stores::ErrorKind::PreconditionFailed => Error::new(&self.target, ErrorKind::locked(None)),
            _ => store_error(&self.target, &e),
        })?;
        Ok(())
    }

    /// Creates the lock object; false if there is one.
    fn create(&mut self, bytes: &[u8]) -> Result<bool> {
        let payload = PutPayload::copy_from(bytes);
        match self.store.put(&self.key, payload, PutMode::Create) {
            Ok(r) => {
                self.etag = r.etag;
                Ok(true)
            }
            Err(e) if e.kind() == object_stores::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(store_error(&self.target, &e)),
        }
    }

    fn look(&self) -> Result<Option<GetResult>> {
        look_at(self.store.as_ref(), &self.key, &self.target)
    }

    /// How long ago it was put, by the clock that says more.
    fn age(&self) -> Duration {
        let (since, then) = self.renewed;
        since.elapsed().max(Duration::from_secs(seconds().abs_diff(then)))
    }

    fn is_due(&self) -> bool {
        !self.released && self.age() >= RENEW_INTERVAL
    }

    fn renew_if_due(&mut self) -> Result<()> {
        if !self.is_due() {
            return Ok(());
        }
        let now = (Instant::now(), seconds());
        let note = Note { until: now.1 + TERM.as_secs(), ..self.note.clone() };
        let mut put = self.put_over_own(note.encode().into())?;
        let changed = |e: &object_stores::Error| e.kind() == object_stores::ErrorKind::PreconditionFailed;
        if put.as_ref().is_err_and(changed) && self.is_ours()? {
            put = put_over(self.store.as_ref(), &self.key, note.encode(), self.etag.as_ref());
        }
        self.etag = put.map_err(|e| store_error(&self.target, &e))?;
        (self.note, self.renewed) = (note, now);
        Ok(())
    }

    /// Puts the lock object over what this lease put. Where the store does not refuse one that comes late, it looks before: somebody
    /// else may have taken the lease of a process that slept.
    fn put_over_own(&mut self, bytes: Bytes) -> Result<object_stores::Result<Option<Etag>>> {
        self.check_unguarded()?;
        Ok(put_over(self.store.as_ref(), &self.key, bytes, self.etag.as_ref()))
    }

    /// Where no condition guards what is put, the lock alone keeps two writers apart. Fails if it is not this one's any more.
    fn check_unguarded(&mut self) -> Result<()> {
        if self.store.honours(Condition::Update) { Ok(()) } else { self.check_ours() }
    }

    fn check_ours(&mut self) -> Result<()> {
        match self.is_ours()? {
            true => Ok(()),
            false => Err(Error::new(&self.target, ErrorKind::Conflict)),
        }
    }

    /// Whether the lease that is there is this one: an earlier renewal may have arrived and seemed to have failed.
    fn is_ours(&mut self) -> Result<bool> {
        let Some(found) = self.look()? else { return Ok(false) };
        let is_ours = Note::decode(&found.bytes).is_ok_and(|note| note.nonce == self.note.nonce);
        if is_ours {
            self.etag = found.meta.etag;
        }
        Ok(is_ours)
    }

    fn forget_rests(&mut self) -> Result<()> {
        let note = Note { rests: rest::own(self.store.as_ref()), ..self.note.clone() };
        if note != self.note {
            let put = self.put_over_own(note.encode().into())?;
            self.etag = put.map_err(|e| store_error(&self.target, &e))?;
            (self.note, self.before) = (note, None);
        }
        Ok(())
    }

    fn release_drained(&mut self, queue: &str) -> Result<()> {
        let before = self.before.as_ref().and_then(|bytes| Note::decode(bytes).ok());
        let Some(mut before) = before else { return self.release() };
        // What earlier builds do not name is all that was in the folder.
        before.rests.retain(|rest| rest.queue.as_deref().is_some_and(|told| told != queue));
        if before.rests.is_empty() {
            return self.release();
        }
        self.before = Some(before.encode().into());
        self.put_back()
    }

    fn put_back(&mut self) -> Result<()> {
        let Some(before) = self.before.clone() else { return self.release() };
        self.released = true;
        let put = self.put_over_own(before)?;
        put.map(drop).map_err(|e| store_error(&self.target, &e))
    }

    fn release(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.released, true) {
            return Ok(());
        }
        // Somebody else may have taken it meanwhile, and it is not ours to delete. Where no condition guards the head, the lock alone
        // keeps two writers apart, and is looked at always: a user may have taken it away.
        let may_be_anothers = self.age() + RENEW_INTERVAL >= TERM || !self.store.honours(Condition::Update);
        if may_be_anothers && !self.is_ours()? {
            return Ok(());
        }
        self.store.delete(&self.key).map_err(|e| store_error(&self.target, &e))
    }
}

#[cfg(test)]
mod tests;
