//! Packs that are being uploaded.
//!
//! A full pack is put by a thread of its own while the caller fills the next one. The number of uploads is limited: a caller that fills
//! packs faster than the store accepts them waits.

use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use object_stores::{Etag, Key, ObjectStore, PutMode, PutPayload};

use crate::address::{Address, Location};

/// The maximum number of parallel uploads. Together with the pack that is being filled, it limits the memory: to 72 MiB.
const MAX_UPLOADS: usize = 8;

/// The etag of the object, if the store has etags.
pub(super) type PutAnswer = object_stores::Result<Option<Etag>>;

/// A callback for each pack that is in the store: its location, etag and length.
pub(crate) type Arrived<'a> = dyn FnMut(Location, Option<Etag>, u64) + 'a;

#[derive(Debug)]
struct Upload {
    location: Location,
    key: Key,
    bytes: Bytes,
    /// `None` if the upload has failed, or the thread could not be started.
    thread: Option<JoinHandle<PutAnswer>>,
}

/// Packs that were started, and are not known to be in the store.
#[derive(Debug)]
pub(crate) struct Uploads {
    all: Vec<Upload>,
    /// The number of packs that were started, and the number of the first ones among them that are in the store.
    started: u64,
    arrived: u64,
    /// The process that runs the threads.
    owner: u32,
}

fn put(store: &dyn ObjectStore, key: &Key, bytes: Bytes) -> PutAnswer {
    // The name is random and new, so the put replaces nothing, and a repetition is harmless.
    store.put(key, PutPayload::from(bytes), PutMode::Overwrite).map(|put| put.etag)
}

impl Upload {
    /// Waits for the upload. If it failed, puts the pack once more in this thread.
    fn finish(&mut self, store: &dyn ObjectStore) -> PutAnswer {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Ok(etag))) => Ok(etag),
            // The upload failed or panicked, or failed before. This put is then that of the repeated commit.
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
    /// Starts an upload. If there are many, waits for the oldest one first. In a store in memory the pack is put at once.
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
            // If earlier uploads failed, they are put before the next commit at an unknown time, so this pack cannot be counted.
            self.arrived += u64::from(self.all.is_empty());
            return waited;
        }
        let (to, at, what) = (store.clone(), key.clone(), bytes.clone());
        let spawned =
            std::thread::Builder::new().name("h5lake-pack".into()).spawn(move || put(to.as_ref(), &at, what));
        // Without a thread the pack is put when a caller waits for it.
        self.all.push(Upload { location, key, bytes, thread: spawned.ok() });
        self.started += 1;
        waited
    }

    /// Returns the number of packs that were started.
    pub(crate) fn started(&self) -> u64 {
        self.started
    }

    /// Returns the number of the first packs among them that are known to be in the store.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Accounts for finished uploads, up to the first one that is still running.
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

    /// Waits for all uploads. Those that failed remain, and can be tried again.
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

    /// Returns whether an upload is not over yet.
    pub(crate) fn is_running(&self) -> bool {
        self.all.iter().any(|u| u.thread.as_ref().is_some_and(|thread| !thread.is_finished()))
    }

    /// Waits for all uploads and forgets them. Returns whether none of them failed. Packs before the first failure count as arrived.
    pub(crate) fn give_up(&mut self) -> bool {
        let mut is_first = true;
        for mut u in self.all.drain(..) {
            let put = u.thread.take().map(JoinHandle::join);
            is_first &= matches!(put, Some(Ok(Ok(_))));
            self.arrived += u64::from(is_first);
        }
        is_first
    }

    /// Returns a part of a pack that is being uploaded.
    pub(crate) fn part(&self, place: &Address, offset: u64, len: usize) -> Option<&[u8]> {
        let u = self.all.iter().find(|u| u.location == place.location)?;
        let from = usize::try_from(place.offset + offset).ok()?;
        u.bytes.get(from..from.checked_add(len)?)
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        // A forked child has none of the threads, so waiting for them would never end.
        if crate::process::id() == self.owner {
            self.give_up();
        }
    }
}
