//! The lock object that keeps a second writer away.
//!
//! It is a courtesy: a writer that slept past its lease is stopped by the log, whose next record it cannot create.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use object_stores::{Condition, Etag, Key, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use crate::clock;
use crate::codec::{Decoded, Reader, put_string, put_varint};
use crate::error::{Error, ErrorKind, Holder, Result};
use crate::file::head::myself;
use crate::objects::head::{LONGEST_NOTE, put_over, store_error};
use crate::record::{seal, unseal};

/// Seconds for which a writer has the container without saying so again.
const TERM: u64 = 60;
/// Renewed by the first commit when this many seconds or fewer are left.
const RENEW_AT: u64 = 40;

/// The leases that live handles of this process hold: one of this process that is not here belongs to a handle that died
/// without returning it.
static LIVE: LazyLock<Mutex<HashSet<[u8; 16]>>> = LazyLock::new(Mutex::default);

fn live() -> std::sync::MutexGuard<'static, HashSet<[u8; 16]>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    holder: Holder,
    nonce: [u8; 16],
    /// Seconds since 1970.
    until: u64,
}

impl Note {
    fn encode(&self) -> Vec<u8> {
        let mut out = b"h5lW".to_vec();
        put_string(&mut out, self.holder.host.as_bytes());
        put_varint(&mut out, u64::from(self.holder.pid));
        put_varint(&mut out, self.holder.since);
        out.extend_from_slice(&self.nonce);
        put_varint(&mut out, self.until);
        seal(&mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(unseal(bytes)?.0);
        if r.take(4)? != b"h5lW" {
            return Err("not a lock");
        }
        let host = String::from_utf8_lossy(r.string()?).into_owned();
        let pid = u32::try_from(r.varint()?).map_err(|_| "no pid")?;
        let since = r.varint()?;
        Ok(Self { holder: Holder { host, pid, since }, nonce: r.id()?, until: r.varint()? })
    }

    /// Whether whoever wrote this cannot be writing any more.
    fn is_stale(&self) -> bool {
        let me = myself();
        if self.until < seconds() {
            return true;
        }
        if self.holder.host != me.host {
            return false;
        }
        if self.holder.pid == me.pid {
            return !live().contains(&self.nonce);
        }
        // Linux shows every process there; where it does not, only time frees the lock.
        let proc = std::path::Path::new("/proc");
        proc.join("self").exists() && !proc.join(self.holder.pid.to_string()).exists()
    }
}

fn seconds() -> u64 {
    clock::now() / 1_000_000
}

/// A lease that this handle holds.
#[derive(Debug)]
pub(crate) struct Lease {
    store: Arc<dyn ObjectStore>,
    key: Key,
    target: String,
    note: Note,
    etag: Option<Etag>,
}

/// Whether a container's lock object keeps writers away now.
pub(crate) fn check_free(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<()> {
    match store.get_whole_opt(key, LONGEST_NOTE) {
        Ok(Some(found)) => stale_or_locked(&found.bytes, target),
        Ok(None) => Ok(()),
        Err(e) => Err(store_error(target, &e)),
    }
}

fn stale_or_locked(bytes: &Bytes, target: &str) -> Result<()> {
    match Note::decode(bytes) {
        // A damaged lock protects nobody.
        Err(_) => Ok(()),
        Ok(note) if note.is_stale() => Ok(()),
        Ok(note) => Err(Error::new(target, ErrorKind::Locked { holder: Some(note.holder) })),
    }
}

impl Lease {
    pub(crate) fn take(store: &Arc<dyn ObjectStore>, key: Key, target: &str) -> Result<Self> {
        let mut lease = Self::of(store, key, target)?;
        lease.put_first()?;
        live().insert(lease.note.nonce);
        Ok(lease)
    }

    /// Takes the lease of a container that nobody else knows of yet: there is nothing to be in the way.
    pub(crate) fn take_new(store: &Arc<dyn ObjectStore>, key: Key, target: &str) -> Result<Self> {
        let mut lease = Self::of(store, key, target)?;
        let put = put_over(store.as_ref(), &lease.key, lease.note.encode(), None);
        lease.etag = put.map_err(|e| store_error(target, &e))?;
        live().insert(lease.note.nonce);
        Ok(lease)
    }

    fn of(store: &Arc<dyn ObjectStore>, key: Key, target: &str) -> Result<Self> {
        let note = Note { holder: myself(), nonce: clock::random(target)?, until: seconds() + TERM };
        Ok(Self { store: store.clone(), key, target: target.into(), note, etag: None })
    }

    fn put_first(&mut self) -> Result<()> {
        let bytes = self.note.encode();
        if self.store.honours(Condition::Create) {
            let payload = PutPayload::from(bytes.clone());
            match self.store.put(&self.key, payload, PutMode::Create) {
                Ok(r) => {
                    self.etag = r.etag;
                    return Ok(());
                }
                Err(e) if e.kind() == object_stores::ErrorKind::AlreadyExists => (),
                Err(e) => return Err(store_error(&self.target, &e)),
            }
        }
        let found = self.store.get_whole_opt(&self.key, LONGEST_NOTE);
        let found = found.map_err(|e| store_error(&self.target, &e))?;
        let mut old = None;
        if let Some(found) = found {
            // A repeated put may have met its own effect.
            if found.bytes != bytes {
                stale_or_locked(&found.bytes, &self.target)?;
            }
            old = found.meta.etag;
        }
        let put = put_over(self.store.as_ref(), &self.key, bytes, old.as_ref());
        self.etag = put.map_err(|e| match e.kind() {
            object_stores::ErrorKind::PreconditionFailed => {
                Error::new(&self.target, ErrorKind::Locked { holder: None })
            }
            _ => store_error(&self.target, &e),
        })?;
        Ok(())
    }

    /// Before a commit: prolongs the lease when it runs out.
    pub(crate) fn renew(&mut self) -> Result<()> {
        let now = seconds();
        if self.note.until > now + RENEW_AT {
            return Ok(());
        }
        let note = Note { until: now + TERM, ..self.note.clone() };
        let put = put_over(self.store.as_ref(), &self.key, note.encode(), self.etag.as_ref());
        self.etag = put.map_err(|e| store_error(&self.target, &e))?;
        self.note = note;
        Ok(())
    }
}

impl Lease {
    /// Gives the lease back.
    pub(crate) fn release(self) -> Result<()> {
        live().remove(&self.note.nonce);
        // After the term somebody else may have taken it, and it is not ours to delete.
        if self.note.until <= seconds() + 1 {
            return Ok(());
        }
        self.store.delete(&self.key).map_err(|e| store_error(&self.target, &e))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        live().remove(&self.note.nonce);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_stale_when_its_holder_is_gone() {
        let mut note = Note { holder: myself(), nonce: [5; 16], until: seconds() + 50 };
        assert_eq!(Note::decode(&note.encode()), Ok(note.clone()));
        assert!(note.is_stale(), "a handle of this process that died");
        live().insert([5; 16]);
        assert!(!note.is_stale());
        note.holder.host = "elsewhere".into();
        assert!(!note.is_stale());
        note.until = seconds() - 1;
        assert!(note.is_stale());
        live().remove(&[5; 16]);
    }

    /// Who slept past its lease finds out before it commits that somebody else has taken it.
    #[test]
    fn a_lost_lease_is_noticed_when_it_is_renewed() {
        let store: Arc<dyn ObjectStore> = Arc::new(object_stores::MemoryStore::new());
        let key = || Key::new("lock").unwrap();
        let mut first = Lease::take(&store, key(), "x").unwrap();
        assert!(matches!(Lease::take(&store, key(), "x").unwrap_err().kind(), ErrorKind::Locked { .. }));
        first.renew().unwrap();
        // Its time runs out while it sleeps.
        first.note.until = seconds() - 5;
        let put = store.put(&key(), PutPayload::from(first.note.encode()), PutMode::Overwrite).unwrap();
        first.etag = put.etag;
        let second = Lease::take(&store, key(), "x").unwrap();
        assert_eq!(*first.renew().unwrap_err().kind(), ErrorKind::Conflict);
        // Nor does it give back what is another's.
        first.release().unwrap();
        assert!(store.get_opt(&key(), None).unwrap().is_some());
        second.release().unwrap();
        assert!(store.get_opt(&key(), None).unwrap().is_none());
        // Where nobody wanted it meanwhile, it goes on.
        let mut third = Lease::take(&store, key(), "x").unwrap();
        third.note.until = seconds() - 5;
        third.renew().unwrap();
        assert!(third.note.until > seconds());
    }
}
