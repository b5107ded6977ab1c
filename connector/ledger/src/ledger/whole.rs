//! Containers that appear complete, or not at all.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use object_stores::ObjectStore;

use super::Ledger;
use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::options::{Access, LockPolicy, Options, Replace};
use crate::storage_kinds::StorageKinds;
use crate::store::{self, ObjectStorage};

impl Ledger {
    /// Creates a new container in a file and lets `fill` stage its entries and payloads. The container gets its name once `fill` has
    /// returned and all changes are committed. After an error no new file exists, and no reader ever sees an incomplete container.
    ///
    /// # Errors
    /// The errors of `fill`; the errors of [`create_file`](Self::create_file) under `Replace::Fail`.
    pub fn create_whole_file<E: From<Error>>(
        path: &Path,
        opts: Options,
        fill: impl FnOnce(&Ledger) -> std::result::Result<(), E>,
    ) -> std::result::Result<Self, E> {
        let (once, failed) = (RefCell::new(Some(fill)), RefCell::new(None));
        let make = |storage| -> Result<Self> {
            let ledger = Self::start(Box::new(storage), Access::ReadWrite, &opts)?;
            let fill = once.borrow_mut().take();
            // Under `Replace::Fail` a creator that lost a race against another creator does not try again.
            let fill = fill.ok_or_else(|| ledger.fail(ErrorKind::AlreadyExists))?;
            if let Err(e) = fill(&ledger) {
                *failed.borrow_mut() = Some(e);
                return Err(ledger.fail(ErrorKind::NotFound));
            }
            ledger.commit()?;
            Ok(ledger)
        };
        let made = file::create(path, Replace::Fail, &opts, &make, &make);
        match failed.into_inner() {
            Some(e) => Err(e),
            None => Ok(made?),
        }
    }

    /// Creates a container in an object store like [`create_whole_file`](Self::create_whole_file): the container appears with its only
    /// commit, by one swap of the head object.
    ///
    /// # Errors
    /// The errors of `fill`; the errors of [`create_objects`](Self::create_objects) under `Replace::Fail`.
    pub fn create_whole_objects<E: From<Error>>(
        store: Arc<dyn ObjectStore>,
        key: &str,
        opts: Options,
        fill: impl FnOnce(&Ledger) -> std::result::Result<(), E>,
    ) -> std::result::Result<Self, E> {
        let opts = Options { lock: LockPolicy::default(), ..opts };
        let storage = Box::new(store::create_whole(store, key, &opts)?);
        let ledger = Self::start_made(storage, &opts)?;
        match fill(&ledger).and_then(|()| Ok(ledger.commit_whole()?)) {
            Ok(()) => Ok(ledger),
            Err(e) => {
                ledger.give_up_new();
                Err(e)
            }
        }
    }
}

impl Ledger {
    /// Commits the staged changes of a container that must appear complete, and publishes the container under its name.
    pub(super) fn commit_whole(&self) -> Result<()> {
        self.commit()?;
        self.storage.as_objects().map_or(Ok(()), ObjectStorage::publish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_stores::{FaultStore, MemoryStore, ObjectStoreExt, Rule, Select, Timing};

    fn half(l: &Ledger) -> Result<()> {
        l.put(b"k", "v")?;
        let e = l.write_payload(&vec![3; 20 << 20])?;
        l.put(b"p", e.to_bytes())?;
        Err(l.fail(ErrorKind::Conflict))
    }

    fn whole(l: &Ledger) -> Result<()> {
        assert!(half(l).is_err());
        Ok(())
    }

    #[test]
    fn a_container_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let opts = Options::default();
        assert!(Ledger::create_whole_file(&path, opts.clone(), half).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let seen = |l: &Ledger| {
            assert!(!path.exists());
            whole(l)
        };
        Ledger::create_whole_file(&path, opts.clone(), seen).unwrap().close().unwrap();
        let l = Ledger::open_file(&path, Access::ReadOnly, opts.clone()).unwrap();
        assert_eq!(l.get(b"k").unwrap().unwrap(), "v");

        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        assert!(Ledger::create_whole_objects(store.clone(), "a", opts.clone(), half).is_err());
        assert_eq!(store.list("a.lake/", None).count(), 0);
        assert_eq!(Ledger::probe_objects(store.as_ref(), "a").unwrap(), crate::Probe::NotFound);
        let seen = |l: &Ledger| {
            let found = Ledger::probe_objects(store.as_ref(), "a").unwrap();
            assert_eq!(found, crate::Probe::NotFound);
            whole(l)
        };
        Ledger::create_whole_objects(store.clone(), "a", opts.clone(), seen).unwrap().close().unwrap();
        let l = Ledger::open_objects(store.clone(), "a", Access::ReadOnly, opts.clone()).unwrap();
        assert_eq!(l.get(b"k").unwrap().unwrap(), "v");
        let again = Ledger::create_whole_objects(store, "a", opts, whole).unwrap_err();
        assert_eq!(*again.kind(), ErrorKind::AlreadyExists);
    }

    /// The outcome of the swap is unknown to the writer. Afterwards the container is complete, or nothing of it exists.
    #[test]
    fn a_creation_of_unknown_outcome_is_complete_or_absent() {
        for timing in Timing::ALL {
            let inner: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
            let faulty = FaultStore::new(inner.clone());
            let unanswered = |l: &Ledger| {
                let kind = object_stores::ErrorKind::Timeout;
                faulty.inject(Rule::fail_nth(Select::Mutating, 0, timing, kind));
                faulty.inject(Rule::fail_nth(Select::Reading, 0, Timing::Before, kind));
                l.put(b"k", "v")
            };
            let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
            let e = Ledger::create_whole_objects(store, "a", Options::default(), unanswered).unwrap_err();
            assert!(matches!(e.kind(), ErrorKind::Store { .. }), "{e}");
            let left: Vec<_> = inner.list("a.lake/", None).map(|meta| meta.unwrap().key).collect();
            assert!(left.is_empty(), "{timing:?}: {left:?}");
            if Ledger::probe_objects(inner.as_ref(), "a").unwrap() == crate::Probe::Container {
                let l = Ledger::open_objects(inner, "a", Access::ReadOnly, Options::default()).unwrap();
                assert_eq!(l.get(b"k").unwrap().unwrap(), "v");
            }
        }
    }

    /// Another writer creates a container of the same name first. That container stays, and this writer leaves no objects behind.
    #[test]
    fn a_late_creator_leaves_no_objects() {
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let opts = Options::default();
        let raced = |l: &Ledger| {
            let unlocked = Options { lock: LockPolicy::Off, ..Options::default() };
            let other = Ledger::create_objects(store.clone(), "a", Replace::Fail, unlocked)?;
            other.put(b"k", "other")?;
            other.commit()?;
            other.close()?;
            whole(l)
        };
        let refused = Ledger::create_whole_objects(store.clone(), "a", opts.clone(), raced).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::AlreadyExists | ErrorKind::Conflict), "{refused}");
        let lakes: std::collections::HashSet<String> = store
            .list("a.lake/", None)
            .map(|m| m.unwrap().key.as_ref().split('/').nth(1).unwrap().to_owned())
            .collect();
        assert!(lakes.is_empty(), "the other one is all in its head: {lakes:?}");
        let l = Ledger::open_objects(store, "a", Access::ReadOnly, opts).unwrap();
        assert_eq!(l.get(b"k").unwrap().unwrap(), "other");
    }
}
