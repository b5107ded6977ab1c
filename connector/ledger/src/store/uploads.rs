//! Packs on their way into the store.
//!
//! A full pack is put by a thread of its own while the caller fills the next one. There are few at a time: a caller that
//! fills packs faster than the store takes them waits.

use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use object_stores::{Etag, Key, ObjectStore, PutMode, PutPayload};

use crate::address::{Address, Location};

/// Packs under way at the same time; with the one being filled, this bounds the memory: 72 MiB.
const MAX_UPLOADS: usize = 8;

/// The content's version, where the store has any.
pub(super) type PutAnswer = object_stores::Result<Option<Etag>>;

/// Is told what came to be in the store: its room, its version, and its length.
pub(crate) type Arrived<'a> = dyn FnMut(Location, Option<Etag>, u64) + 'a;

#[derive(Debug)]
struct Upload {
    location: Location,
    key: Key,
    bytes: Bytes,
    /// `None` when it is over and failed.
    thread: Option<JoinHandle<PutAnswer>>,
}

/// Packs that were started and are not known to be in the store.
#[derive(Debug)]
pub(crate) struct Uploads {
    all: Vec<Upload>,
    /// How many were started, and how many of these are in the store: the first ones.
    started: u64,
    arrived: u64,
    /// The process that the threads are in.
    owner: u32,
}

fn put(store: &dyn ObjectStore, key: &Key, bytes: Bytes) -> PutAnswer {
    // The name is random and new, so there is nothing to replace and a repetition is harmless.
    store.put(key, PutPayload::from(bytes), PutMode::Overwrite).map(|put| put.etag)
}

impl Upload {
    /// Waits for it; after a failure, tries once more in this thread.
    fn finish(&mut self, store: &dyn ObjectStore) -> PutAnswer {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Ok(etag))) => Ok(etag),
            // It failed, or panicked, or had failed before: then this is the repeated commit's try.
            _ => put(store, &self.key, self.bytes.clone()),
        }
    }
}

impl Default for Uploads {
    fn default() -> Self {
        Self { all: Vec::new(), started: 0, arrived: 0, owner: crate::process::id() }
    }
}

impl Uploads {
    /// Starts one, after having waited for the oldest if there are many. To a store in memory it is put at once.
    pub(crate) fn start(
        &mut self,
        store: &Arc<dyn ObjectStore>,
        location: Location,
        key: Key,
        bytes: Bytes,
        arrived: &mut Arrived<'_>,
    ) -> object_stores::Result<()> {
        let mut waited = Ok(());
        if self.all.len() >= MAX_UPLOADS {
            waited = self.finish_oldest(store.as_ref(), arrived);
        }
        if store.capabilities().near
            && let Ok(etag) = put(store.as_ref(), &key, bytes.clone())
        {
            arrived(location, etag, bytes.len() as u64);
            self.started += 1;
            // Those that failed are put before the next commit, and it is not known when.
            self.arrived += u64::from(self.all.is_empty());
            return waited;
        }
        let (to, at, what) = (store.clone(), key.clone(), bytes.clone());
        let spawned =
            std::thread::Builder::new().name("h5lake-pack".into()).spawn(move || put(to.as_ref(), &at, what));
        // Without a thread it is put when somebody waits for it.
        self.all.push(Upload { location, key, bytes, thread: spawned.ok() });
        self.started += 1;
        waited
    }

    /// How many were started.
    pub(crate) fn started(&self) -> u64 {
        self.started
    }

    /// How many of these, the first ones, are known to be in the store.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Takes in those that are over, without waiting for the others.
    pub(crate) fn harvest(
        &mut self,
        store: &dyn ObjectStore,
        arrived: &mut Arrived<'_>,
    ) -> object_stores::Result<()> {
        let is_over = |u: &Upload| u.thread.as_ref().is_some_and(JoinHandle::is_finished);
        while self.all.first().is_some_and(is_over) {
            self.finish_oldest(store, arrived)?;
        }
        Ok(())
    }

    fn finish_oldest(
        &mut self,
        store: &dyn ObjectStore,
        arrived: &mut Arrived<'_>,
    ) -> object_stores::Result<()> {
        if let Some(first) = self.all.first_mut() {
            let etag = first.finish(store)?;
            let done = self.all.remove(0);
            self.arrived += 1;
            arrived(done.location, etag, done.bytes.len() as u64);
        }
        Ok(())
    }

    /// Waits for all. What failed stays, to be tried again.
    pub(crate) fn finish(
        &mut self,
        store: &dyn ObjectStore,
        arrived: &mut Arrived<'_>,
    ) -> object_stores::Result<()> {
        while !self.all.is_empty() {
            self.finish_oldest(store, arrived)?;
        }
        Ok(())
    }

    /// Waits for all and forgets them, failed or not. What arrived up to the first that failed is known then.
    pub(crate) fn give_up(&mut self) {
        let mut is_first = true;
        for mut u in self.all.drain(..) {
            let put = u.thread.take().map(JoinHandle::join);
            is_first &= matches!(put, Some(Ok(Ok(_))));
            self.arrived += u64::from(is_first);
        }
    }

    /// A part of a pack that is under way.
    pub(crate) fn part(&self, place: &Address, offset: u64, len: usize) -> Option<&[u8]> {
        let u = self.all.iter().find(|u| u.location == place.location)?;
        let from = usize::try_from(place.offset + offset).ok()?;
        u.bytes.get(from..from.checked_add(len)?)
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        // A forked child has none of the threads: waiting for one would take for ever.
        if crate::process::id() == self.owner {
            self.give_up();
        }
    }
}
