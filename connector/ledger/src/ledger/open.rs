//! Making, opening, recognising and removing containers.

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

/// Stages the deletion of an entry and of its payloads. The arguments are the ledger, the key and the value.
pub type Forget<'a> = &'a dyn Fn(&Ledger, &[u8], Bytes) -> Result<()>;

/// The number of map entries that are read at once.
const ENTRIES_PER_SCAN: usize = 1024;

/// Where nothing had to be there but a folder, that is what was not found.
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
    /// Makes a new container in a file and opens it for writing.
    ///
    /// When this returns, the file is there, whole (and synced under `SyncPolicy::Commit`). The container is made under a
    /// temporary name in the same folder and then renamed: at every instant the path leads to the old container or to the new
    /// one, both whole. Symbolic links are followed, permissions kept, and readers keep what they had open.
    ///
    /// # Errors
    /// `AlreadyExists` under `Replace::Fail`; `Locked` if a writer has the old container open; `IsADirectory`,
    /// `PermissionDenied`, `NoSpace`, `NoFolder` from the file system. After an error the path leads to what it led to before.
    pub fn create_file(path: &Path, replace: Replace, opts: Options) -> Result<Self> {
        Self::create_file_holding(path, replace, opts, &[])
    }

    /// The same, with these entries in its map from the beginning: nobody ever sees the container without them.
    ///
    /// # Errors
    /// As for [`create_file`](Self::create_file); `Invalid` for keys and values beyond the bounds.
    pub fn create_file_holding(
        path: &Path,
        replace: Replace,
        opts: Options,
        entries: &[(Bytes, Bytes)],
    ) -> Result<Self> {
        Self::create_file_over(path, replace, opts, entries, &|ledger, key, _| ledger.delete(key))
    }

    /// Makes a container like [`create_file_holding`](Self::create_file_holding), for callers that free the payloads of the old
    /// container. If the folder cannot be written, the old container itself is opened: `forget` is called with each entry of its
    /// map except tags and branches, and stages the deletion of the entry and of its payloads. Then `entries` are staged, and
    /// nothing is committed: the path leads to the old content until the first commit. Shared writers observe only commits of
    /// each other; for shared writers the new content is committed at once.
    ///
    /// # Errors
    /// As for [`create_file_holding`](Self::create_file_holding); those of `forget`; `AccessDenied` where the new container cannot lie
    /// in the old file.
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
    /// `NotFound`, `NotAContainer`, `NewerFormat`, `Corrupt`; for writers `Locked` and `PermissionDenied`.
    pub fn open_file(path: &Path, access: Access, opts: Options) -> Result<Self> {
        Self::open_at(opts, access, &|opts, access, tagged| {
            let mut storage = file::open(path, access, opts, None)?;
            storage.tagged = tagged.map(Box::new);
            Self::start(Box::new(storage), access, opts)
        })
    }

    /// Opens the version that the options ask for; a writer opens the newest one, or is told why not.
    fn open_at(opts: Options, access: Access, open: &Opener<'_>) -> Result<Self> {
        match opts.at {
            Some(At::Branch(name)) => Self::open_branch(name, &opts, access, open),
            Some(At::Replaced(_)) => open(&opts, access, None),
            Some(at) if access == Access::ReadOnly => Self::open_past(at, &opts, open),
            _ => open(&opts, access, None),
        }
    }

    /// Opens the container in bytes that something else reads, for reading. `name` is what errors call it.
    ///
    /// # Errors
    /// `NotAContainer`, `NewerFormat`, `Corrupt`; the source's own.
    pub fn open_source(name: &str, source: Arc<dyn ByteSource>, opts: Options) -> Result<Self> {
        Self::open_at(opts, Access::ReadOnly, &|opts, _, tagged| {
            let mut storage = file::source::open(name, source.clone(), opts)?;
            storage.tagged = tagged.map(Box::new);
            Self::start(Box::new(storage), Access::ReadOnly, opts)
        })
    }

    /// Says what such bytes hold from the first ones.
    ///
    /// # Errors
    /// The source's own.
    pub fn probe_source(source: &dyn ByteSource, name: &str) -> Result<Probe> {
        file::source::probe(source, name)
    }

    /// Says what a path holds from its first bytes. Takes no lock and changes nothing.
    ///
    /// # Errors
    /// Those of reading a file, other than its absence.
    pub fn probe_file(path: &Path) -> Result<Probe> {
        file::probe(path)
    }

    /// Says the same, and hands a container's file over as it was opened for that, for writing where `access` asks for it and the
    /// file may be written: [`open_looked_at`](Self::open_looked_at) needs not look for it again.
    ///
    /// # Errors
    /// As for [`probe_file`](Self::probe_file).
    pub fn look_at_file(path: &Path, access: Access) -> Result<(Probe, Option<OpenedFile>)> {
        file::look(path, access)
    }

    /// Opens the container in a file that was [looked at](Self::look_at_file): for reading whatever lies at `path` by now, for
    /// writing what lies there.
    ///
    /// # Errors
    /// As for [`open_file`](Self::open_file).
    pub fn open_looked_at(path: &Path, opened: OpenedFile, access: Access, opts: Options) -> Result<Self> {
        // Two handles of one open file would share its pins.
        if (access == Access::ReadOnly && opts.at.is_some()) || matches!(opts.at, Some(At::Branch(_))) {
            drop(opened);
            return Self::open_file(path, access, opts);
        }
        let storage = file::open(path, access, &opts, Some(opened))?;
        Self::start(Box::new(storage), access, &opts)
    }

    /// Removes a container's file. Handles that have it open keep it. Where the options or the container ask for a retention
    /// time, it stays for that time, and can be [restored](Self::restore_file).
    ///
    /// # Errors
    /// `NotAContainer` for anything else, which stays; `NotFound`.
    pub fn remove_file(path: &Path, opts: &Options) -> Result<()> {
        file::remove(path, opts)
    }

    /// Keeps the container at a path before something else takes its name, for the retention time that the options or the
    /// container ask for. No writer can open it until the answer is dropped. `None` where no container lies there.
    ///
    /// # Errors
    /// `Locked` while a writer has it open; `PermissionDenied` for a container that may not be written.
    pub fn replacing_file(path: &Path, opts: &Options) -> Result<Option<Replacing>> {
        file::replaced::begin(path, opts)
    }

    /// The containers that lay at a path, were replaced or deleted, and are kept; the last to go first.
    ///
    /// # Errors
    /// Those of listing the folder.
    pub fn replaced_files(path: &Path) -> Result<Vec<Replaced>> {
        file::replaced::list(path)
    }

    /// Removes the containers in a path's folder that were replaced or deleted, whatever path led to them, and that are not to be
    /// kept any longer.
    ///
    /// # Errors
    /// Those of making a file there, whose time tells what time it is.
    pub fn sweep_replaced_files(path: &Path) -> Result<()> {
        file::expired::sweep_beside(path)
    }

    /// Lets a path lead, in one step, to one of the [containers that lay there before](Self::replaced_files). The container that
    /// lies there now is retained as a replaced container: for the retention time, or for a day if no retention time was
    /// requested. A kept file that has another name is copied, because it may be open, and change, under that name.
    ///
    /// # Errors
    /// `NotFound` if it is not kept; `AlreadyExists` under `Replace::Fail`, if something lies at the path; `Locked` while a
    /// writer has that open; `NotAContainer` for anything else, which stays.
    pub fn restore_file(path: &Path, kept: &KeptName, replace: Replace, opts: &Options) -> Result<()> {
        file::replaced::restore(path, kept, replace, opts)
    }

    /// Makes a new container in an object store and opens it for writing.
    ///
    /// When this returns, the head object names the new container, and all processes find it. It is as durable as the store makes
    /// objects; with a stage it is in the folder of the stage. Replacing swaps the manifest of the old container for that of the new one;
    /// the old container's objects stay for the retention time, as if it was [removed](Self::remove_objects).
    ///
    /// # Errors
    /// `AlreadyExists` unless under `Replace::Atomically`; `Locked` if a writer has the old container open; `Conflict` if other
    /// processes changed the head object again and again; `Store`.
    pub fn create_objects(
        store: Arc<dyn ObjectStore>,
        key: &str,
        replace: Replace,
        opts: Options,
    ) -> Result<Self> {
        Self::start_made(Box::new(store::create(store, key, replace, &opts, None)?), &opts)
    }

    /// The same, with these entries in its map from the beginning: nobody ever sees the container without them, and they cost
    /// no round trip of their own.
    ///
    /// # Errors
    /// As for [`create_objects`](Self::create_objects); `Invalid` for keys and values beyond the bounds.
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

    /// Opens what was just made. If another process has put its own over it meanwhile, that is a conflict.
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
    /// `NotFound`, `NotAContainer`, `NewerFormat`, `Corrupt`, `Store`; for writers `Locked`.
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
            // The storage finds versions and tags by itself.
            _ => open(&opts, access, None),
        }
    }

    /// Whether a key is one of a container's packs or pages: objects with random names that are put once and never change, so
    /// that whoever has a copy needs no other.
    pub fn is_immutable_object(key: &Key) -> bool {
        store::is_immutable(key)
    }

    /// What an object is to the container whose key is `container`, for a store that [stages](object_stores::StagedStore) changes.
    pub fn role_of_object(container: &str, key: &Key) -> Role {
        store::role_of(container, key)
    }

    /// Brings to a store what a dead writer of one of its containers had staged, under that container's lock.
    ///
    /// # Errors
    /// `Locked` while another writer has the container open; `Stranded` for what cannot arrive, which stays where it is: another writer
    /// has committed since, or the container was deleted or replaced; `Store`.
    pub fn drain_leftover(
        store: &Arc<dyn ObjectStore>,
        leftover: Leftover,
        lock: LockPolicy,
        patience: Duration,
    ) -> Result<Drained> {
        store::drain(store, leftover, lock, patience)
    }

    /// Has the lock object of a container not tell any more of a queue that was thrown away: it keeps writers away who look for that.
    ///
    /// # Errors
    /// `Locked` while a writer has the container open; `Store`.
    pub fn forget_leftover(store: &Arc<dyn ObjectStore>, about: &About, queue: &str) -> Result<()> {
        store::forget(store, about, queue)
    }

    /// Says what a key holds from its first bytes.
    ///
    /// # Errors
    /// `Invalid` for what is no key; `Store`.
    pub fn probe_objects(store: &dyn ObjectStore, key: &str) -> Result<Probe> {
        store::probe(store, key)
    }

    /// Lists the containers of an object store, from its keys alone: one request for a page of keys. With `whole`, the containers in
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

    /// Says what the objects at some keys are from their first bytes, several side by side. Each key has its own result.
    pub fn probe_each_object(store: &Arc<dyn ObjectStore>, keys: &[&str]) -> Vec<Result<Probe>> {
        listing::probes(store, keys)
    }

    /// Removes a container from an object store. Its objects stay for its retention time, for readers that have it open and for
    /// [`restore_objects`](Self::restore_objects); in a store in memory as long as a handle has it open.
    ///
    /// # Errors
    /// `NotFound`; `NotAContainer` for anything else, which stays; `Locked` while a writer has it open; `Store`.
    pub fn remove_objects(store: &Arc<dyn ObjectStore>, key: &str) -> Result<()> {
        store::remove(store, key)
    }

    /// The containers that a key led to and that are kept, the one that was replaced last first.
    ///
    /// # Errors
    /// `Invalid` for what is no key; `Store`.
    pub fn replaced_objects(store: &dyn ObjectStore, key: &str) -> Result<Vec<ReplacedObject>> {
        store::replaced_of(store, key)
    }

    /// Brings back a container that was replaced or deleted: the one whose id begins with `id`, the last one for an empty `id`.
    /// What the key leads to now is replaced by it, and kept for its own retention time.
    ///
    /// # Errors
    /// `NotFound` where there is none; `Invalid` where several have such an id; `Locked` while a writer has open what is there
    /// now; `NotAContainer` if that is something else, which stays; `Conflict`, `Store`.
    pub fn restore_objects(store: &Arc<dyn ObjectStore>, key: &str, id: &str) -> Result<ReplacedObject> {
        store::restore(store, key, id)
    }

    /// Deletes the containers that a key led to and whose retention time is over; objects of containers that neither the head object nor
    /// a tombstone names, once all are older than a day; and the entries of copies that began before yesterday.
    ///
    /// # Errors
    /// `Invalid` for what is no key; `Store`.
    pub fn sweep_replaced_objects(store: &Arc<dyn ObjectStore>, key: &str) -> Result<()> {
        store::sweep_name(store, key)
    }

    /// Who has the container in an object store open for writing, as its lock says; `None` where there is no lock.
    ///
    /// # Errors
    /// `NotFound`, `NotAContainer`, `Store`.
    pub fn lock_holder(store: &dyn ObjectStore, key: &str) -> Result<Option<LockHolder>> {
        store::lock_holder(store, key)
    }

    /// Takes the lock of a container in an object store away from who was [found](Self::lock_holder) to have it. What that writer has not committed is lost to
    /// it when another one commits: its next commit fails, and says so.
    ///
    /// # Errors
    /// `NotFound`, `NotAContainer`, `Store`; `Locked` if somebody else has it by now.
    pub fn break_lock(store: &dyn ObjectStore, key: &str, found: &LockHolder) -> Result<()> {
        store::break_lock(store, key, found)
    }
}
