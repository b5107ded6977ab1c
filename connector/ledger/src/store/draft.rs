//! Containers that are found when they are whole, or never.
//!
//! The head lists such a container before it puts its first object. Its manifest is a draft in memory until it is whole, and then
//! takes the head's place in one swap.

use std::sync::Arc;
use std::time::Duration;

use object_stores::ObjectStore;

use super::committer::{Committer, failure, load};
use super::fetch::Fetcher;
use super::names::Names;
use super::open::{head_key, lease_for, new_container, open_writer};
use super::writer::Writer;
use super::{ObjectStorage, head};
use crate::clock;
use crate::core::apply::apply;
use crate::core::change::{By, Change};
use crate::core::events::Outcome;
use crate::core::ids::{ContainerId, Nonce};
use crate::core::manifest::Manifest;
use crate::core::session::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::options::Options;
use crate::register::{self, DraftRegister};

/// What a draft needs to become a container.
#[derive(Debug)]
pub(super) struct Draft {
    /// The session that lists the container in the head.
    committer: Committer,
    fetcher: Fetcher,
}

/// Begins a container that nobody finds before it is whole.
///
/// # Errors
/// `AlreadyExists`; `Locked`; those of the store.
pub(crate) fn create_whole(store: Arc<dyn ObjectStore>, key: &str, opts: &Options) -> Result<ObjectStorage> {
    let target: Arc<str> = head::target_of(store.as_ref(), key).into();
    let key = head_key(key, &target)?;
    let lease = lease_for(&store, &key, opts, &target)?;
    let real = register::open_to_write(&store, &key, &target, head::sequence_of)?;
    let (now, token) = match load(real.as_ref(), &target) {
        Ok((now, token)) if now.is_absent() => (now, token),
        _ => return Err(Error::new(&target, ErrorKind::AlreadyExists)),
    };
    let new = new_container(store.as_ref(), opts, None, &target)?;
    let id = new.id;
    let names = Names::new(key.clone(), id, &target)?;
    let fetcher = Fetcher { store: store.clone(), names, target: target.clone() };
    let mut committer = Committer::new(real, target.clone(), now.id, Mode::Exclusive, (now, token))?;
    let day = clock::now() / clock::micros(Duration::from_secs(86_400));
    make(&mut committer, &fetcher, Change::BeginCopy { id, day })?;
    let by =
        By { container: ContainerId::ABSENT, nonce: Nonce { session: committer.session.id(), count: 0 } };
    let first = Manifest { sequence: committer.known().sequence, ..Manifest::absent() };
    let manifest = apply(&first, &Change::Create(Box::new(new)), &by);
    let manifest = manifest.map_err(|why| failure(&Outcome::Rejected(why), &target))?;
    let register = Arc::new(DraftRegister::new(manifest.encode().into()));
    let found = load(register.as_ref(), &target)?;
    let writer = Committer::new(register.clone(), target.clone(), id, Mode::Exclusive, found.clone())?;
    let storage = open_writer(store, key, target, register, found, (writer, lease), opts)?;
    *storage.draft.lock() = Some(Draft { committer, fetcher });
    Ok(storage)
}

fn make(committer: &mut Committer, fetcher: &Fetcher, change: Change) -> Result<()> {
    match committer.submit(change, fetcher, &mut |_, _| Ok(None))? {
        Outcome::Done { .. } => Ok(()),
        Outcome::NotCommitted | Outcome::Rejected(_) => {
            Err(Error::new(&fetcher.target, ErrorKind::AlreadyExists))
        }
        other => Err(failure(&other, &fetcher.target)),
    }
}

impl ObjectStorage {
    /// Lets the name lead to what was a draft. When this returns, the container is there, whole.
    pub(super) fn publish(&self) -> Result<()> {
        let mut draft = self.draft.lock();
        let Some(d) = &mut *draft else { return Ok(()) };
        self.with_view(|w, view| {
            w.end_session(view)?;
            let whole = w.committer.known();
            make(&mut d.committer, &d.fetcher, Change::FinishCopy(Box::new((*whole).clone())))?;
            w.committer = d.committer.next(self.id, w.mode)?;
            view.manifest = w.committer.known();
            if let Some(told) = &mut view.told {
                told.root = super::view::main_line(&view.manifest).root;
            }
            Ok(())
        })?;
        *draft = None;
        Ok(())
    }

    /// Deletes a draft: nobody has seen it.
    pub(super) fn discard_draft(&self) -> Result<()> {
        let Some(mut d) = self.draft.lock().take() else { return Ok(()) };
        self.with_view(|w, _| {
            Writer::rollback(w);
            Ok(())
        })?;
        let copies = vec![self.id];
        make(&mut d.committer, &d.fetcher, Change::Expel { sessions: Vec::new(), copies })?;
        super::open::delete_lake(self.store.as_ref(), &self.names, &self.target)
    }
}
