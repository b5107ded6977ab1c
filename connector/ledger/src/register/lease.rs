//! The lease of a container: an object that names the writer.
//!
//! It is a courtesy: a second writer that opens the container fails at once, and its error names the first one. The lease decides
//! nothing. A writer that lost it without noticing is stopped by its next swap.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use object_stores::{
    Condition, ErrorKind as StoreErrorKind, Etag, GetResult, Key, ObjectStore, ObjectStoreExt, PutMode,
    PutPayload,
};

use crate::checksum::{seal, unseal};
use crate::clock::{self, Moment};
use crate::codec::{Decoded, Reader, put_string, put_varint};
use crate::error::{Error, ErrorKind, Holder, Result, store_error};
use crate::liveness::{Life, ProcessIdentity, myself};
use crate::locks::Mutex;
use crate::process;

/// The time for which a writer that nobody can see keeps its lease without renewing it.
const TERM: Duration = Duration::from_secs(60);
/// A writer renews its lease after this time.
const RENEW_INTERVAL: Duration = Duration::from_secs(20);
/// Bytes of a lease object that make sense.
const MAX_LEASE_BYTES: u64 = 64 << 10;
/// The first bytes of a lease object.
const SIGNATURE: &[u8] = b"h5lL";

/// The leases that this process holds. A lease of this process that is not here was not released when its holder ended.
static HELD: LazyLock<Mutex<HashSet<[u8; 16]>>> = LazyLock::new(Mutex::default);

/// The content of a lease object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    holder: Holder,
    nonce: [u8; 16],
    /// Missing on a system that does not tell.
    identity: Option<ProcessIdentity>,
}

impl Note {
    fn encode(&self) -> Vec<u8> {
        let mut out = SIGNATURE.to_vec();
        put_string(&mut out, self.holder.host.as_bytes());
        put_varint(&mut out, u64::from(self.holder.pid));
        put_varint(&mut out, self.holder.since);
        out.extend_from_slice(&self.nonce);
        if let Some(identity) = &self.identity {
            identity.encode(&mut out);
        }
        seal(&mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(unseal(bytes)?.0);
        if r.take(SIGNATURE.len())? != SIGNATURE {
            return Err("not a lease");
        }
        let host = String::from_utf8_lossy(r.string()?).into_owned();
        let pid = u32::try_from(r.varint()?).map_err(|_| "an impossible process id")?;
        let holder = Holder { host, pid, since: r.number()? };
        let nonce = r.id()?;
        let identity = if r.remaining() == 0 { None } else { Some(ProcessIdentity::read(&mut r)?) };
        Ok(Self { holder, nonce, identity })
    }

    /// Returns whether the holder can still be writing.
    fn life(&self) -> Life {
        if HELD.lock().contains(&self.nonce) {
            return Life::Alive;
        }
        match self.identity.as_ref().map(|identity| identity.life(self.holder.pid)) {
            Some(Life::Alive) if self.holder.pid == process::id() => Life::Dead,
            Some(life) => life,
            None => Life::Unknown,
        }
    }
}

/// Returns the writer that has the lease, if there is one that may be alive.
///
/// # Errors
/// Those of the store.
pub fn holder(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<Option<Holder>> {
    let found = find(store, key, target)?;
    Ok(found.and_then(|found| living(store, &found)))
}

fn find(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<Option<GetResult>> {
    store.get_whole_opt(key, MAX_LEASE_BYTES).map_err(|e| store_error(target, &e))
}

/// The holder of a lease object, unless it is dead or has not renewed the lease in time. A damaged object protects nobody.
fn living(store: &dyn ObjectStore, found: &GetResult) -> Option<Holder> {
    let note = Note::decode(&found.bytes).ok()?;
    let is_past = || {
        let now = store.clock().unwrap_or_else(SystemTime::now);
        // A lease from the future is not renewed by anybody either: a clock was set back.
        now.duration_since(found.meta.modified).unwrap_or_else(|e| e.duration()) > TERM
    };
    let is_stale = match note.life() {
        Life::Alive => false,
        Life::Dead => true,
        Life::Unknown => is_past(),
    };
    (!is_stale).then_some(note.holder)
}

/// A lease that this process holds. It is released when this is dropped.
#[derive(Debug)]
pub struct Lease {
    store: Arc<dyn ObjectStore>,
    key: Key,
    target: Arc<str>,
    note: Note,
    etag: Option<Etag>,
    renewed: Moment,
    is_released: bool,
    /// A forked child has a copy of its parent's lease, and must not release it.
    owner: u32,
}

impl Lease {
    /// Takes the lease that the object `key` is.
    ///
    /// # Errors
    /// `Locked` with the holder if another writer has it; those of the store.
    pub fn take(store: &Arc<dyn ObjectStore>, key: Key, target: &str) -> Result<Self> {
        let note =
            Note { holder: myself(), nonce: clock::random(target)?, identity: ProcessIdentity::myself() };
        let found = find(store.as_ref(), &key, target)?;
        if let Some(holder) = found.as_ref().and_then(|found| living(store.as_ref(), found)) {
            return Err(Error::new(target, ErrorKind::locked(Some(holder))));
        }
        let mut lease = Self {
            store: store.clone(),
            key,
            target: target.into(),
            note,
            etag: None,
            renewed: Moment::now(),
            is_released: true,
            owner: process::id(),
        };
        lease.put(found.map(|found| found.meta.etag))?;
        lease.is_released = false;
        HELD.lock().insert(lease.note.nonce);
        Ok(lease)
    }

    /// The time for which no other writer takes the lease of this process, if it is not seen to be dead.
    pub fn left(&self) -> Duration {
        TERM.saturating_sub(self.renewed.elapsed())
    }

    /// Renews the lease if that is due.
    ///
    /// # Errors
    /// `Conflict` if another writer has taken it; those of the store.
    pub fn renew_if_due(&mut self) -> Result<()> {
        if self.renewed.elapsed() < RENEW_INTERVAL {
            return Ok(());
        }
        self.check()?;
        let now = Moment::now();
        self.put(Some(self.etag.clone()))?;
        self.renewed = now;
        Ok(())
    }

    /// Checks that the object is still this lease.
    ///
    /// # Errors
    /// `Conflict` if another writer has taken the lease; those of the store.
    pub fn check(&mut self) -> Result<()> {
        match self.is_own()? {
            true => Ok(()),
            false => Err(Error::new(&self.target, ErrorKind::Conflict)),
        }
    }

    fn is_own(&mut self) -> Result<bool> {
        let Some(found) = find(self.store.as_ref(), &self.key, &self.target)? else { return Ok(false) };
        let is_own = Note::decode(&found.bytes).is_ok_and(|note| note.nonce == self.note.nonce);
        if is_own {
            self.etag = found.meta.etag;
        }
        Ok(is_own)
    }

    /// Puts the object over the one that was found, which has this etag; without one, over nothing.
    fn put(&mut self, over: Option<Option<Etag>>) -> Result<()> {
        let mode = match over {
            None if self.store.honours(Condition::Create) => PutMode::Create,
            Some(Some(etag)) if self.store.honours(Condition::Update) => PutMode::Update(etag),
            _ => PutMode::Overwrite,
        };
        match self.store.put(&self.key, PutPayload::from(self.note.encode()), mode) {
            Ok(put) => self.etag = put.etag,
            // The answer to an attempt that took effect may have been lost.
            Err(e) => match self.is_own() {
                Ok(true) => (),
                Ok(false) if is_refusal(&e) => {
                    let holder = holder(self.store.as_ref(), &self.key, &self.target)?;
                    return Err(Error::new(&self.target, ErrorKind::locked(holder)));
                }
                _ => return Err(store_error(&self.target, &e)),
            },
        }
        Ok(())
    }

    /// Releases the lease. Without a condition on deletes, another writer that takes a lease which has run out may lose its own here.
    ///
    /// # Errors
    /// Those of the store.
    pub fn release(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.is_released, true) || self.owner != process::id() {
            return Ok(());
        }
        HELD.lock().remove(&self.note.nonce);
        if self.is_own()? {
            self.store.delete(&self.key).map_err(|e| store_error(&self.target, &e))?;
        }
        Ok(())
    }
}

fn is_refusal(e: &object_stores::Error) -> bool {
    matches!(e.kind(), StoreErrorKind::AlreadyExists | StoreErrorKind::PreconditionFailed)
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Err(e) = self.end() {
            tracing::debug!(error = %e, "a lease was not released");
        }
    }
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
        let note = Note { holder, nonce: [9; 16], identity };
        store.put(&key(), note.encode().into(), PutMode::Overwrite).unwrap();
    }

    #[test]
    fn a_second_writer_is_told_of_the_first_one() {
        let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let bare: Arc<dyn ObjectStore> =
            Arc::new(FaultStore::new(memory.clone()).without_create().without_update());
        for store in [&memory, &bare] {
            let lease = Lease::take(store, key(), "c").unwrap();
            let told = Lease::take(store, key(), "c").unwrap_err();
            let ErrorKind::Locked { holder: Some(holder), .. } = told.kind() else { panic!("{told}") };
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
        // Its process began at another time than this one, and so is gone.
        let me = ProcessIdentity::myself().unwrap();
        let dead = Note { holder: myself(), nonce: [9; 16], identity: Some(me) };
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
    fn a_lease_whose_answer_was_lost_is_held() {
        let faults = FaultStore::new(Arc::new(MemoryStore::new()));
        let store: Arc<dyn ObjectStore> = Arc::new(faults.clone());
        let mutating = Select::Mutating;
        faults.inject(Rule::fail_nth(mutating, 0, Timing::After, object_stores::ErrorKind::Timeout));
        Lease::take(&store, key(), "c").unwrap().check().unwrap();
        faults.inject(Rule::fail_nth(mutating, 0, Timing::Before, object_stores::ErrorKind::Timeout));
        assert!(matches!(Lease::take(&store, key(), "c").unwrap_err().kind(), ErrorKind::Store { .. }));
        drop(Lease::take(&store, key(), "c").unwrap());
    }

    #[test]
    fn notes_round_trip() {
        for identity in [None, ProcessIdentity::myself()] {
            let note = Note { holder: myself(), nonce: [3; 16], identity };
            assert_eq!(Note::decode(&note.encode()).unwrap(), note);
        }
    }
}
