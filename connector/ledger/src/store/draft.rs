//! Containers that are not published before they are complete.
//!
//! The head object lists such a container before its first object is put. The container's manifest is a draft in memory until the container
//! is complete. Then the draft replaces the manifest of the head object in one swap.

use std::sync::Arc;

use object_stores::{Key, ObjectStore};

use super::committer::{Committer, failure, load};
use super::copying::{delete_given_up, expel};
use super::fetch::Fetcher;
use super::leftovers;
use super::names::Names;
use super::open::{head_key, is_foreign, lease_for, new_container, open_writer};
use super::store_clock::today;
use super::writer::Writer;
use super::{ObjectStorage, head};
use crate::clock;
use crate::core::apply::apply;
use crate::core::change::{By, Change, NewContainer, Reject};
use crate::core::events::Outcome;
use crate::core::ids::{ContainerId, Nonce};
use crate::core::manifest::Manifest;
use crate::core::session::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::liveness;
use crate::options::Options;
use crate::register::{self, DraftRegister, Lease};

/// The state that is needed to publish a draft.
#[derive(Debug)]
pub(super) struct Draft {
    /// The session that lists the container in the head object.
    committer: Committer,
    fetcher: Fetcher,
}

/// The beginning of a container that is not published before it is complete.
pub(super) struct Beginning<'a> {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) key: Key,
    pub(super) target: Arc<str>,
    /// The session that lists containers in progress in the head object.
    pub(super) committer: Committer,
    opts: &'a Options,
    lease: Option<Lease>,
}

impl<'a> Beginning<'a> {
    /// Takes the lease of a name that leads to no container.
    ///
    /// # Errors
    /// `AlreadyExists`; `Locked`; those of the store.
    pub(super) fn new(store: Arc<dyn ObjectStore>, key: &str, opts: &'a Options) -> Result<Self> {
        let target: Arc<str> = head::target_of(store.as_ref(), key).into();
        let key = head_key(key, &target)?;
        let lease = lease_for(&store, &key, opts, &target)?;
        // A complete copy may be among the pending uploads, although the head object only lists its container so far.
        let (lease, _) = leftovers::recover(&store, &key, lease, &target)?;
        let real = register::open_to_write(&store, &key, &target, head::sequence_of)?;
        let (now, token) = match load(real.as_ref(), &target) {
            Ok((now, token)) if now.is_absent() => (now, token),
            Err(e) if !is_foreign(&e) && !matches!(e.kind(), ErrorKind::Corrupt { .. }) => return Err(e),
            _ => return Err(Error::new(&target, ErrorKind::AlreadyExists)),
        };
        let committer = Committer::new(real, target.clone(), now.id, Mode::Exclusive, (now, token))?;
        Ok(Self { store, key, target, committer, opts, lease })
    }

    /// Returns whether this process holds the lease of the name. Then another process can make a container of this name only without the
    /// lease, and must expect that it is taken over.
    pub(super) fn has_lease(&self) -> bool {
        self.lease.is_some()
    }

    pub(super) fn fetcher(&self, names: Names) -> Fetcher {
        Fetcher::new(self.store.clone(), names, self.target.clone())
    }

    /// Lists a new container in the head object, and returns its storage.
    pub(super) fn begin(mut self) -> Result<ObjectStorage> {
        let id = ContainerId(clock::random(&self.target)?);
        let names = Names::new(self.key.clone(), id, &self.target)?;
        let fetcher = self.fetcher(names);
        let day = today(self.store.as_ref());
        make(&mut self.committer, &fetcher, Change::BeginCopy { id, day, over: None })?;
        self.storage(id)
    }

    /// Returns the storage of a container that the head object lists as this session's.
    pub(super) fn storage(self, id: ContainerId) -> Result<ObjectStorage> {
        let target = self.target;
        let names = Names::new(self.key.clone(), id, &target)?;
        let fetcher = Fetcher::new(self.store.clone(), names, target.clone());
        let new = NewContainer { id, ..new_container(self.store.as_ref(), self.opts, None, &target)? };
        let nonce = Nonce { session: self.committer.session.id(), count: 0 };
        let process = liveness::process_of_session();
        let by = By { container: ContainerId::ABSENT, nonce, is_alone: true, process };
        let first = Manifest { sequence: self.committer.known().sequence, ..Manifest::absent() };
        let manifest = apply(&first, &Change::Create(Box::new(new)), &by);
        let manifest = manifest.map_err(|why| failure(&Outcome::Rejected(why), &target))?;
        let register = Arc::new(DraftRegister::new(manifest.encode().into()));
        let found = load(register.as_ref(), &target)?;
        let writer = Committer::new(register.clone(), target.clone(), id, Mode::Exclusive, found.clone())?;
        let made = (writer, self.lease);
        let storage = open_writer(self.store, self.key, target, register, found, made, self.opts)?;
        *storage.draft.lock() = Some(Draft { committer: self.committer, fetcher });
        Ok(storage)
    }
}

/// Begins a container that is not published before it is complete.
///
/// # Errors
/// `AlreadyExists`; `Locked`; those of the store.
pub(crate) fn create_whole(store: Arc<dyn ObjectStore>, key: &str, opts: &Options) -> Result<ObjectStorage> {
    Beginning::new(store, key, opts)?.begin()
}

/// Makes a change of the copies in progress that a head object lists.
///
/// # Errors
/// `AlreadyExists` if a container has appeared under the name; `Conflict` if another session has taken over the copy, or has replaced the
/// container of the name; those of the store.
pub(super) fn make(committer: &mut Committer, fetcher: &Fetcher, change: Change) -> Result<()> {
    let was_absent = committer.session.container() == ContainerId::ABSENT;
    match committer.submit(change, fetcher, &mut |_, _| Ok(None))? {
        Outcome::Done { .. } => Ok(()),
        Outcome::Rejected(Reject::Replaced) if was_absent && !committer.known().is_absent() => {
            Err(Error::new(&fetcher.target, ErrorKind::AlreadyExists))
        }
        // The copy no longer belongs to this session.
        Outcome::NotCommitted | Outcome::Rejected(_) | Outcome::Expelled => {
            Err(Error::new(&fetcher.target, ErrorKind::Conflict))
        }
        other => Err(failure(&other, &fetcher.target)),
    }
}

impl ObjectStorage {
    /// Publishes a draft under its name. When this returns, the complete container can be found.
    pub(crate) fn publish(&self) -> Result<()> {
        let mut draft = self.draft.lock();
        let Some(d) = &mut *draft else { return Ok(()) };
        self.with_view(|w, view| {
            if let Some(journal) = &mut w.journal {
                journal.note_commit();
            }
            w.end_session(view)?;
            let whole = w.committer.known();
            let copy = Box::new((*whole).clone());
            make(&mut d.committer, &d.fetcher, Change::FinishCopy { copy, replaces: None })?;
            w.committer = d.committer.next(self.id, w.mode)?;
            view.manifest = w.committer.known();
            if let Some(reported) = &mut view.reported {
                reported.root = view.manifest.line.root;
            }
            Ok(())
        })?;
        *draft = None;
        Ok(())
    }

    /// Deletes a draft, which no other process can have seen.
    pub(super) fn discard_draft(&self) -> Result<()> {
        let Some(mut d) = self.draft.lock().take() else { return Ok(()) };
        self.with_view(|w, _| {
            Writer::rollback(w);
            Ok(())
        })?;
        if d.committer.is_in_doubt() {
            d.committer.abandon(&d.fetcher)?;
        }
        let known = expel(&mut d.committer, &d.fetcher, self.id)?;
        delete_given_up(self.store.as_ref(), &known, &self.names, self.id, &self.target)
    }
}
