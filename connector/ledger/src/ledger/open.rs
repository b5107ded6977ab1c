//! Creates, opens, probes and removes containers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_stores::staged::{About, Leftover, Role};
use object_stores::{Key, ObjectStore};

use super::Ledger;
use super::branch::Opener;
use crate::branches::BRANCH;
use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::file::{ByteSource, OpenedFile, Replacing};
use crate::limits::{MAX_KEY, MAX_VALUE};
use crate::options::{
    Access, At, Drained, KeptName, LockHolder, LockPolicy, Options, Probe, Replace, Replaced, ReplacedObject,
    Version, Writers,
};
use crate::storage::Storage;
use crate::store::listing::{self, StoreListing};
use crate::store::{self};
use crate::tags::TAG;
use crate::wal::record;

/// A callback that stages the deletion of an entry and of its payloads. Its arguments are the ledger, the key and the value.
pub type Forget<'a> = &'a dyn Fn(&Ledger, &[u8], Bytes) -> Result<()>;

/// The number of map entries that are read in one batch.
const ENTRIES_PER_SCAN: usize = 1024;

/// Turns `NotFound` into `NoFolder` if the folder of `path` does not exist.
fn without_folder(error: Error, path: &Path) -> Error {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    match (error.kind(), folder) {
        (ErrorKind::NotFound, Some(folder)) => {
            Error::new(error.target(), ErrorKind::NoFolder { folder: folder.display().to_string() })
        }
        _ => error,
    }
}

impl Ledger {
    /// Creates a new container in a file and opens it for writing.
    ///
    /// When this returns, the file is complete (and synced under `SyncPolicy::Commit`). The container is created under a temporary name in
    /// the same folder and then renamed, so that the path leads to the complete old container or to the complete new container at any time.
    /// Symbolic links are followed, permissions are retained, and readers keep the file that they have open.
    ///
    /// # Errors
    /// `AlreadyExists` under `Replace::Fail`; `Locked` if a writer has the old container open; `IsADirectory`, `PermissionDenied`,
    /// `NoSpace`, `NoFolder` from the file system. After an error the path leads to the same container as before.
    pub fn create_file(path: &Path, replace: Replace, opts: Options) -> Result<Self> {
        Self::create_file_holding(path, replace, opts, &[])
    }

    /// Creates a container like [`create_file`](Self::create_file) that contains `entries` from its first version on: no reader sees the
    /// container without them.
    ///
    /// # Errors
    /// The errors of [`create_file`](Self::create_file); `Invalid` if a key or a value is too long.
    pub fn create_file_holding(
        path: &Path,
        replace: Replace,
        opts: Options,
        entries: &[(Bytes, Bytes)],
    ) -> Result<Self> {
        Self::create_file_over(path, replace, opts, entries, &|ledger, key, _| ledger.delete(key))
    }

    /// Creates a container like [`create_file_holding`](Self::create_file_holding), for callers that free the payloads of the old
    /// container. If the folder cannot be written, the old container itself is opened: `forget` is called with each entry of its map except
    /// tags and branches, and stages the deletion of the entry and of its payloads. Then `entries` are staged, and nothing is committed, so
    /// that the path leads to the old content until the first commit. Concurrent writers observe only each other's commits, so for a
    /// concurrent writer the new content is committed at once.
    ///
    /// # Errors
    /// The errors of [`create_file_holding`](Self::create_file_holding); the errors of `forget`; `AccessDenied` if the new container cannot
    /// be written into the old file.
    pub fn create_file_over(
        path: &Path,
        replace: Replace,
        opts: Options,
        entries: &[(Bytes, Bytes)],
        forget: Forget<'_>,
    ) -> Result<Self> {
        let stage =
            |ledger: &Self| entries.iter().try_for_each(|(key, value)| ledger.put(key, value.clone()));
        let fill = |storage| {
            let ledger = Self::start(Box::new(storage), Access::ReadWrite, &opts)?;
            stage(&ledger)?;
            ledger.commit()?;
            Ok(ledger)
        };
        let over = |storage| {
            let alone = Options { writers: Writers::One, ..opts.clone() };
            let ledger = Self::start(Box::new(storage), Access::ReadWrite, &alone)?;
            ledger.forget_all(forget)?;
            stage(&ledger)?;
            if opts.writers == Writers::One {
                return Ok(ledger);
            }
            ledger.commit()?;
            ledger.close_committed()?;
            Self::open_file(path, Access::ReadWrite, opts.clone())
        };
        file::create(path, replace, &opts, &fill, &over).map_err(|e| without_folder(e, path))
    }

    /// Calls `forget` with each entry of the map except tags and branches.
    fn forget_all(&self, forget: Forget<'_>) -> Result<()> {
        let mut after: Option<Bytes> = None;
        loop {
            let page = self.scan_prefix(b"", after.as_deref(), ENTRIES_PER_SCAN)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, value) in page {
                if !matches!(key.first(), Some(&(TAG | BRANCH))) {
                    forget(self, &key, value)?;
                }
            }
        }
    }

    /// Opens the container in a file.
    ///
    /// # Errors
    /// `NotFound`, `NotAContainer`, `NewerFormat`, `Corrupt`; for writers also `Locked` and `PermissionDenied`.
    pub fn open_file(path: &Path, access: Access, opts: Options) -> Result<Self> {
        Self::open_at(opts, access, &|opts, access, tagged| {
            let mut storage = file::open(path, access, opts, None)?;
            storage.tagged = tagged.map(Box::new);
            Self::start(Box::new(storage), access, opts)
        })
    }

    /// Opens the version that `opts.at` requests. A writer opens the newest version or its branch, or gets an error.
    fn open_at(opts: Options, access: Access, open: &Opener<'_>) -> Result<Self> {
        match opts.at {
            Some(At::Branch(name)) => Self::open_branch(name, &opts, access, open),
            Some(At::Replaced(_)) => open(&opts, access, None),
            Some(at) if access == Access::ReadOnly => Self::open_past(at, &opts, open),
            _ => open(&opts, access, None),
        }
    }

    /// Opens the container in a byte source for reading. `name` is the name of the source in errors.
    ///
    /// # Errors
    /// `NotAContainer`, `NewerFormat`, `Corrupt`; the errors of the source.
    pub fn open_source(name: &str, source: Arc<dyn ByteSource>, opts: Options) -> Result<Self> {
        Self::open_at(opts, Access::ReadOnly, &|opts, _, tagged| {
            let mut storage = file::source::open(name, source.clone(), opts)?;
            storage.tagged = tagged.map(Box::new);
            Self::start(Box::new(storage), Access::ReadOnly, opts)
        })
    }

    /// Determines from the first bytes of a source whether it contains a container.
    ///
    /// # Errors
    /// The errors of the source.
    pub fn probe_source(source: &dyn ByteSource, name: &str) -> Result<Probe> {
        file::source::probe(source, name)
    }

    /// Determines from the first bytes of a file whether it contains a container. Takes no lock and changes nothing.
    ///
    /// # Errors
    /// The errors of reading the file, except that a missing file is not an error.
    pub fn probe_file(path: &Path) -> Result<Probe> {
        file::probe(path)
    }

    /// Probes a file like [`probe_file`](Self::probe_file) and returns the opened file of a container. The file is opened for writing if
    /// `access` requests it and the permissions allow it. [`open_looked_at`](Self::open_looked_at) uses this file and does not have to open
    /// it again.
    ///
    /// # Errors
    /// The errors of [`probe_file`](Self::probe_file).
    pub fn look_at_file(path: &Path, access: Access) -> Result<(Probe, Option<OpenedFile>)> {
        file::look(path, access)
    }

    /// Opens the container in a file that [`look_at_file`](Self::look_at_file) has opened. A reader gets the container in the opened file,
    /// whatever is at `path` by now; a writer gets the container that is at `path`. For an old version or a branch, the file at `path` is
    /// opened again.
    ///
    /// # Errors
    /// The errors of [`open_file`](Self::open_file).
    pub fn open_looked_at(path: &Path, opened: OpenedFile, access: Access, opts: Options) -> Result<Self> {
        // Two handles that share one file descriptor would share its pins.
        if (access == Access::ReadOnly && opts.at.is_some()) || matches!(opts.at, Some(At::Branch(_))) {
            drop(opened);
            return Self::open_file(path, access, opts);
        }
        let storage = file::open(path, access, &opts, Some(opened))?;
        Self::start(Box::new(storage), access, &opts)
    }

    /// Removes the file of a container. Open handles keep their file. If the options or the container specify a retention time, the
    /// container is retained for that time and can be [restored](Self::restore_file).
    ///
    /// # Errors
    /// `NotAContainer` if the file is no container (it is not removed); `NotFound`.
    pub fn remove_file(path: &Path, opts: &Options) -> Result<()> {
        file::remove(path, opts)
    }

    /// Retains the container at a path before another file takes its name, for the retention time that the options or the container
    /// specify. No writer can open the container until the returned value is dropped. Returns `None` if there is no container at the path.
    ///
    /// # Errors
    /// `Locked` while a writer has it open; `PermissionDenied` if the container is not writable.
    pub fn replacing_file(path: &Path, opts: &Options) -> Result<Option<Replacing>> {
        file::replaced::begin(path, opts)
    }

    /// Returns the retained containers that were at a path and were replaced or deleted, the most recently replaced first.
    ///
    /// # Errors
    /// The errors of listing the folder.
    pub fn replaced_files(path: &Path) -> Result<Vec<Replaced>> {
        file::replaced::list(path)
    }

    /// Removes the replaced and deleted containers in the folder of a path that have passed their retention time, regardless of the path
    /// that led to them.
    ///
    /// # Errors
    /// The errors of creating a file in the folder; its modification time provides the current time.
    pub fn sweep_replaced_files(path: &Path) -> Result<()> {
        file::expired::sweep_beside(path)
    }

    /// Makes a path lead to one of its [retained containers](Self::replaced_files), in one atomic step. The container that is at the path
    /// now becomes a retained container: for its retention time, or for a day if no retention time was requested. A retained file that has
    /// another name is copied, because it may be open, and change, under that name.
    ///
    /// # Errors
    /// `NotFound` if the container is not retained; `AlreadyExists` under `Replace::Fail` if the path exists; `Locked` while a writer has
    /// the container at the path open; `NotAContainer` if the path leads to anything else (it is not replaced).
    pub fn restore_file(path: &Path, kept: &KeptName, replace: Replace, opts: &Options) -> Result<()> {
        file::replaced::restore(path, kept, replace, opts)
    }

    /// Creates a new container in an object store and opens it for writing.
    ///
    /// When this returns, the head object names the new container, and all processes find it. It is as durable as the objects of the store;
    /// with a staging directory it is in that directory. Replacing swaps the manifest of the old container for that of the new one; the
    /// objects of the old container are retained for the retention time, as if it had been [removed](Self::remove_objects).
    ///
    /// # Errors
    /// `AlreadyExists` unless under `Replace::Atomically`; `Locked` if a writer has the old container open; `Conflict` if other processes
    /// changed the head object repeatedly; `Store`.
    pub fn create_objects(
        store: Arc<dyn ObjectStore>,
        key: &str,
        replace: Replace,
        opts: Options,
    ) -> Result<Self> {
        Self::start_made(Box::new(store::create(store, key, replace, &opts, None)?), &opts)
    }

    /// Creates a container like [`create_objects`](Self::create_objects) that contains `entries` from its first version on: no reader sees
    /// the container without them, and they cost no additional round trip.
    ///
    /// # Errors
    /// The errors of [`create_objects`](Self::create_objects); `Invalid` if a key or a value is too long.
    pub fn create_objects_holding(
        store: Arc<dyn ObjectStore>,
        key: &str,
        replace: Replace,
        opts: Options,
        entries: Vec<(Bytes, Bytes)>,
    ) -> Result<Self> {
        if let Some((key, value)) = entries.iter().find(|(k, v)| k.len() > MAX_KEY || v.len() > MAX_VALUE) {
            let why = format!("a key of {} bytes, a value of {}", key.len(), value.len());
            return Err(Error::invalid(&store.name(), why));
        }
        let entries: BTreeMap<_, _> = entries.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let entries = record::encode_changes(entries.iter());
        let storage = Box::new(store::create(store, key, replace, &opts, Some(&entries))?);
        Self::start_made(storage, &opts)
    }

    /// Opens a container that was just created. Returns `Conflict` if another process has replaced it in the meantime.
    pub(super) fn start_made(storage: Box<dyn Storage>, opts: &Options) -> Result<Self> {
        let target = storage.target().to_owned();
        Self::start(storage, Access::ReadWrite, opts).map_err(|e| match e.kind() {
            ErrorKind::Gone => Error::new(&target, ErrorKind::Conflict),
            _ => e,
        })
    }

    /// Opens the container in an object store.
    ///
    /// # Errors
    /// `NotFound`, `NotAContainer`, `NewerFormat`, `Corrupt`, `Store`; for writers also `Locked`.
    pub fn open_objects(
        store: Arc<dyn ObjectStore>,
        key: &str,
        access: Access,
        opts: Options,
    ) -> Result<Self> {
        let open = |opts: &Options, access, _| {
            Self::start(Box::new(store::open(store.clone(), key, access, opts)?), access, opts)
        };
        match opts.at {
            Some(At::Branch(name)) => Self::open_branch(name, &opts, access, &open),
            // The storage resolves versions and tags itself.
            _ => open(&opts, access, None),
        }
    }

    /// Returns whether a key names a pack or page object of a container: such objects have random names, are put once and never change, so
    /// that a cached copy stays valid.
    pub fn is_immutable_object(key: &Key) -> bool {
        store::is_immutable(key)
    }

    /// The role of an object in the container with the key `container`, for a [staging directory](object_stores::StagedStore).
    pub fn role_of_object(container: &str, key: &Key) -> Role {
        store::role_of(container, key)
    }

    /// Uploads the pending uploads of a crashed writer to the store of its container, while holding the lock of that container.
    ///
    /// # Errors
    /// `Locked` while another writer has the container open; `Stranded` if the changes cannot be uploaded because another writer has
    /// committed since or the container was deleted or replaced (they stay in the staging directory); `Store`.
    pub fn drain_leftover(
        store: &Arc<dyn ObjectStore>,
        leftover: Leftover,
        lock: LockPolicy,
        patience: Duration,
    ) -> Result<Drained> {
        store::drain(store, leftover, lock, patience)
    }

    /// Removes the note about discarded pending uploads from the lock object of a container. The note keeps out writers that check for
    /// pending uploads.
    ///
    /// # Errors
    /// `Locked` while a writer has the container open; `Store`.
    pub fn forget_leftover(store: &Arc<dyn ObjectStore>, about: &About, queue: &str) -> Result<()> {
        store::forget(store, about, queue)
    }

    /// Determines from the first bytes of an object whether it contains a container.
    ///
    /// # Errors
    /// `Invalid` if `key` is not a valid key; `Store`.
    pub fn probe_objects(store: &dyn ObjectStore, key: &str) -> Result<Probe> {
        store::probe(store, key)
    }

    /// Lists the containers of an object store from its keys alone: one request for each page of keys. With `whole`, the containers in
    /// folders are listed, too.
    ///
    /// # Errors
    /// `Store`.
    pub fn list_objects(store: &dyn ObjectStore, whole: bool) -> Result<StoreListing> {
        listing::list(store, whole)
    }

    /// Returns the newest version of each of several containers, or `None` for a container without commits. A few containers are read
    /// at the same time.
    pub fn newest_versions_of_objects(
        store: &Arc<dyn ObjectStore>,
        keys: &[&str],
    ) -> Vec<Result<Option<Version>>> {
        listing::newest_versions(store, keys)
    }

    /// Probes the objects at several keys like [`probe_objects`](Self::probe_objects), in parallel. Each key has its own result.
    pub fn probe_each_object(store: &Arc<dyn ObjectStore>, keys: &[&str]) -> Vec<Result<Probe>> {
        listing::probes(store, keys)
    }

    /// Removes a container from an object store. Its objects are retained for its retention time, for readers that have it open and for
    /// [`restore_objects`](Self::restore_objects); in a store in memory they are retained as long as a handle has it open.
    ///
    /// # Errors
    /// `NotFound`; `NotAContainer` if the object is no container (it is not removed); `Locked` while a writer has it open; `Store`.
    pub fn remove_objects(store: &Arc<dyn ObjectStore>, key: &str) -> Result<()> {
        store::remove(store, key)
    }

    /// Returns the retained containers that a key led to before, the most recently replaced first.
    ///
    /// # Errors
    /// `Invalid` if `key` is not a valid key; `Store`.
    pub fn replaced_objects(store: &dyn ObjectStore, key: &str) -> Result<Vec<ReplacedObject>> {
        store::replaced_of(store, key)
    }

    /// Restores a container that was replaced or deleted: the container with an id that begins with `id`, or the most recent one if `id` is
    /// empty. The container that the key leads to now is replaced, and retained for its own retention time.
    ///
    /// # Errors
    /// `NotFound` if no such container is retained; `Invalid` if several ids begin with `id`; `Locked` while a writer has the present
    /// container open; `NotAContainer` if the key leads to anything else (it is not replaced); `Conflict`, `Store`.
    pub fn restore_objects(store: &Arc<dyn ObjectStore>, key: &str, id: &str) -> Result<ReplacedObject> {
        store::restore(store, key, id)
    }

    /// Deletes the containers of a key that have passed their retention time, objects of containers that neither the head object nor a
    /// tombstone names, once all of these objects are older than a day, and the entries of copies that began before yesterday.
    ///
    /// # Errors
    /// `Invalid` if `key` is not a valid key; `Store`.
    pub fn sweep_replaced_objects(store: &Arc<dyn ObjectStore>, key: &str) -> Result<()> {
        store::sweep_name(store, key)
    }

    /// Returns the writer that holds the lock of a container in an object store; `None` if there is no lock.
    ///
    /// # Errors
    /// `NotFound`, `NotAContainer`, `Store`.
    pub fn lock_holder(store: &dyn ObjectStore, key: &str) -> Result<Option<LockHolder>> {
        store::lock_holder(store, key)
    }

    /// Takes the lock of a container in an object store away from the holder that [`lock_holder`](Self::lock_holder) returned. Once another
    /// writer commits, the uncommitted changes of the former holder are lost: its next commit fails with an error.
    ///
    /// # Errors
    /// `NotFound`, `NotAContainer`, `Store`; `Locked` if another writer holds the lock by now.
    pub fn break_lock(store: &dyn ObjectStore, key: &str, found: &LockHolder) -> Result<()> {
        store::break_lock(store, key, found)
    }
}
