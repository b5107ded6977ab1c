//! Objects as files below a local directory, shared by any number of processes.
//!
//! The object `a/b` is the ordinary file `ROOT/a/b`, with exactly the object's bytes. The only other entry in the root
//! is `.object-store`, which contains files that are being written and the locks.
//!
//! # Why it is atomic
//!
//! A file that is visible under a key is never written to again. A put fills a file of its own in
//! `ROOT/.object-store/tmp` and then gives it the key's name in one step: `rename` for [`PutMode::Overwrite`],
//! `renameat2(RENAME_NOREPLACE)` for [`PutMode::Create`] (a hard link if the file system has no such rename), which
//! fails if the name is taken by any process. A reader opens a file once and reads that file, so it sees one version
//! whatever happens to the name.
//!
//! [`PutMode::Update`] compares and renames under an exclusive `flock` that belongs to the key (one of 256 lock files,
//! by a hash of the key). Every step that could change an existing key takes the same lock: overwriting, finishing a
//! stream, deleting. A create needs no lock: it has an effect only if the key has no object, and then no update
//! succeeds. So between the comparison of an update and its rename no process can change the key's file. A put without
//! a condition is a create if the key has no object, and takes the lock only if the key has one.
//!
//! The lock files are in `.object-store/locks` of the folder that holds the container, or the object itself. That
//! folder depends on the path of the object alone, and not on the root. So stores with nested roots use the same locks,
//! and no store uses a file above its own root.
//!
//! # Symbolic links
//!
//! Each name below the root is resolved relative to a descriptor of the root, and no symbolic link
//! in the name is followed, neither among the objects nor in `.object-store`. (The path of the root
//! itself may contain a symbolic link.) Only regular files are opened. The store deletes only files
//! with names of its own. In a folder with the sticky bit, where every user can make
//! `.object-store`, the folder `.object-store` has to belong to the user, or to the owner of the
//! folder around it.
//!
//! # Why an etag means one version
//!
//! An etag is (inode, modification time, length) of the file. Inode numbers are reused at once, and kernels stamp files
//! with a clock that may tick only every few milliseconds, so with the kernel's time a replaced version and its
//! replacement could have the same etag. The store therefore stamps each file itself with the clock's nanoseconds,
//! before it gives the file its name. If the file to be replaced does not have an earlier time (the clock was set back,
//! the writers overtook each other, or the file system stores coarse times), the store stamps the new file again until
//! its time is later, under the key's lock. So versions that replace each other have strictly increasing times. After a
//! delete an etag could recur only with the same inode, length and nanosecond. The next file with the same inode gets a
//! later time, unless the clock is set back to that very nanosecond, or the file system stores coarse times and the
//! delete and the put fall into the same tick.
//!
//! # Durability
//!
//! With [`Sync::Process`] a put that has returned survives the death of the process, but not a crash of the machine.
//! With [`Sync::Power`] the file is synced before it gets its name, and the directories above it afterwards. An update
//! renames over the old file instead of exchanging the two names, because ext4 writes the new file's data before such a
//! rename takes effect (`auto_da_alloc`): a power loss then leaves either the old object or the new one with
//! [`Sync::Process`], too. An exchange takes 0.09 ms instead of 2.9 ms for 12 KB, but can leave an empty file.
//!
//! # When it is full
//!
//! A deletion of a container's data first has to write metadata. So the store reserves space with a file of a megabyte,
//! `ROOT/.object-store/reserve`, which [`ObjectStore::spend_reserve`] removes. The store creates the file again once
//! there is free space.
//!
//! # Limits
//!
//! - `a` and `a/b` cannot both be objects, since a name is a file or a directory.
//! - A process that is stopped while it has a lock blocks other writers. Each of them waits for a minute, and fails
//!   with [`ErrorKind::Locked`].
//! - No key may have a segment `.object-store`.
//! - File systems that fold case or normalise Unicode (macOS, some mounts) fold keys.
//! - On a network file system a put is as atomic as its `rename`, `link` and `flock`. If the answer to a create was
//!   lost and the client's kernel repeated the request, the create may fail with [`ErrorKind::AlreadyExists`] although
//!   it won. A caller that has to know puts content that only it can have written, and reads the object back.

mod files;
mod listing;
mod locks;
mod own_folder;
mod reserve;
mod staging;
mod stream;

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::beneath::{Beneath, Existing, NewFile, is_link};
use crate::monotonic;
use crate::store::{check_exact, resolve_range};
use crate::{
    Capabilities, Condition, Error, ErrorKind, Etag, GetResult, Key, ListPage, ObjectMeta, ObjectStore,
    Operation, PutMode, PutPayload, PutResult, PutStream, Result,
};
use files::{Occupant, etag_of, meta_of};
pub use locks::Locking;
use locks::Locks;
use reserve::Reserve;
use staging::Staging;

/// The number of times that a put checks again a name that other writers change.
const MAX_ROUNDS: u32 = 1000;

/// The failures that a put in a directory survives once it has returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// The death of the process. Nothing is synced; the kernel writes at a time of its choice.
    #[default]
    Process,
    /// A power loss: file and directories are synced before a put returns.
    Power,
}

/// A store in a local directory. See the [module](self) for how and why it works.
///
/// Any number of instances, in any number of processes, may use one directory.
#[derive(Clone, Debug)]
pub struct DirStore {
    shared: Arc<Root>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    sync: Sync,
    staging: Staging,
    locks: Locks,
    /// True if the directory has to be made before the first object.
    is_missing: AtomicBool,
    reserve: Reserve,
    /// The file system's clock when a file was last stamped, and the monotonic time of that.
    clock: Mutex<Option<(SystemTime, Duration)>>,
}

impl Root {
    /// Opens the directory; `None` if it is missing.
    fn open(&self) -> std::io::Result<Option<Beneath>> {
        match Beneath::open(&self.path) {
            Ok(root) => Ok(Some(root)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Records the time of a file that was changed just now.
    fn see_clock(&self, found: &fs::Metadata) {
        *self.clock.lock() = Some((files::changed(found), monotonic::now()));
    }
}

impl DirStore {
    /// Opens the store in the directory `path`. If the directory is missing, the first put makes it, with its parents;
    /// a caller that only reads leaves no trace. Locks are [required](Locking::Required).
    ///
    /// # Errors
    /// If `path` cannot be read or is no directory.
    pub fn open(path: impl AsRef<Path>, sync: Sync) -> Result<DirStore> {
        Self::open_with(path, sync, Locking::Required)
    }

    /// Opens the store as [`open`](Self::open) does, with the given use of locks.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, sync: Sync, locking: Locking) -> Result<DirStore> {
        let path = path.as_ref();
        // Absolute, so that a change of the working directory does not move the store.
        let (root, is_missing) =
            files::find_root(path).map_err(|e| Error::io(Operation::Open, e).in_store(display_name(path)))?;
        let (staging, reserve) = (Staging::new(&root, locking), Reserve::new(&root));
        let is_missing = AtomicBool::new(is_missing);
        Ok(DirStore {
            shared: Arc::new(Root {
                path: root,
                sync,
                staging,
                locks: Locks::new(locking),
                is_missing,
                reserve,
                clock: Mutex::default(),
            }),
        })
    }

    /// Returns the absolute path of the directory.
    pub fn root(&self) -> &Path {
        &self.shared.path
    }

    /// Removes unfinished files of dead processes, and returns their number. A store does this by itself before its
    /// first put, for files older than an hour; this function does it at once. Files that a living process writes are
    /// not removed, because the process holds a lock on them.
    ///
    /// # Errors
    /// If the directory cannot be read or files in it cannot be removed.
    pub fn sweep(&self, older_than: std::time::Duration) -> Result<usize> {
        let swept = self.shared.staging.sweep(older_than);
        swept.map_err(|e| Error::io(Operation::Delete, e).in_store(self.name()))
    }

    fn error(&self, kind: ErrorKind, operation: Operation, key: &Key) -> Error {
        Error::new(kind, operation).at(key).in_store(self.name())
    }

    fn io_error(&self, error: std::io::Error, operation: Operation, key: &Key) -> Error {
        if !is_link(&error) {
            return Error::io(operation, error).at(key).in_store(self.name());
        }
        self.error(ErrorKind::Unsupported, operation, key).because(
            "a folder below the store's directory, or '.object-store' in it, is a symbolic link, and none is followed there; \
             replace the link by a folder",
        )
    }

    fn check_key(&self, operation: Operation, key: &Key) -> Result<()> {
        match self.why_not_key(key) {
            None => Ok(()),
            Some(why) => Err(self.error(ErrorKind::InvalidArgument, operation, key).because(why)),
        }
    }

    /// Opens the object's file for reading. The metadata is of the very file that was opened.
    fn open_object(&self, operation: Operation, key: &Key) -> Result<(File, fs::Metadata)> {
        self.check_key(operation, key)?;
        let opened = self.shared.open().and_then(|root| match root {
            Some(root) => files::open_regular(&root, key),
            None => Ok(None),
        });
        match opened {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(self.error(ErrorKind::NotFound, operation, key)),
            Err(e) => Err(self.io_error(e, operation, key)),
        }
    }

    fn read_part(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        file: &File,
        found: &fs::Metadata,
    ) -> Result<GetResult> {
        let range = resolve_range(range, found.len()).map_err(|e| e.at(key).in_store(self.name()))?;
        let bytes = files::read_range(file, range).map_err(|e| self.io_error(e, Operation::Get, key))?;
        Ok(GetResult { meta: meta_of(key, found), bytes: Bytes::from(bytes) })
    }

    /// Creates a new file that is not yet visible.
    fn stage(&self, operation: Operation, key: &Key) -> Result<NewFile> {
        self.check_key(operation, key)?;
        let make = || {
            // The directory is made only once: if a user removes the directory of an open store, that is on purpose.
            if self.shared.is_missing.load(Ordering::Acquire) {
                files::make_root(&self.shared.path, self.shared.sync)?;
                self.shared.is_missing.store(false, Ordering::Release);
            }
            self.shared.locks.check(&Beneath::open(&self.shared.path)?, key)?;
            self.shared.staging.new_file()
        };
        let staged = make().map_err(|e| self.io_error(e, operation, key))?;
        self.shared.reserve.keep_once();
        Ok(staged)
    }

    /// Gives a filled file the key's name, if the mode's condition holds: the moment of the put.
    fn publish(
        &self,
        operation: Operation,
        key: &Key,
        mut staged: NewFile,
        mode: &PutMode,
    ) -> Result<PutResult> {
        let io = |e| self.io_error(e, operation, key);
        let root = Beneath::open(&self.shared.path).map_err(io)?;
        // The file is synced before the lock is taken, because syncing is slow.
        let mut stamped = self.stamp(&staged, None).map_err(io)?;
        let mut locked = None;
        // A round other than the second is lost only to another writer, or to a delete.
        for _ in 0..MAX_ROUNDS {
            let replaced = self.occupant(&root, operation, key)?;
            self.check_mode(operation, key, mode, replaced.as_ref())?;
            if replaced.is_some() && locked.is_none() {
                locked = self.shared.locks.lock(&root, key).map_err(io)?;
                continue;
            }
            if replaced.as_ref().is_some_and(|replaced| files::is_not_later(&stamped, replaced)) {
                stamped = self.stamp(&staged, replaced.as_ref()).map_err(io)?;
            }
            self.shared.see_clock(&stamped);
            let existing = if replaced.is_some() { Existing::Replace } else { Existing::Keep };
            match files::give_name(&root, key, staged, existing).map_err(io)? {
                Some(unnamed) => staged = unnamed,
                None => {
                    drop(locked);
                    self.sync_directories(&root, operation, key)?;
                    return Ok(PutResult { etag: Some(etag_of(&stamped)) });
                }
            }
        }
        Err(self.error(ErrorKind::Unavailable, operation, key).because("other writers were faster each time"))
    }

    /// Stamps a file with a time later than that of the file it replaces, and syncs it if puts are to survive a loss of power.
    fn stamp(&self, staged: &NewFile, replaced: Option<&fs::Metadata>) -> std::io::Result<fs::Metadata> {
        let stamped = files::stamp(staged.file(), replaced)?;
        if self.shared.sync == Sync::Power {
            staged.file().sync_all()?;
        }
        Ok(stamped)
    }

    /// Checks the condition of a put against the file that has the name.
    fn check_mode(
        &self,
        operation: Operation,
        key: &Key,
        mode: &PutMode,
        replaced: Option<&fs::Metadata>,
    ) -> Result<()> {
        match mode {
            PutMode::Create if replaced.is_some() => {
                Err(self.error(ErrorKind::AlreadyExists, operation, key))
            }
            PutMode::Update(expected) if replaced.map(etag_of).as_ref() != Some(expected) => {
                Err(self.error(ErrorKind::PreconditionFailed, operation, key))
            }
            _ => Ok(()),
        }
    }

    /// Returns the file that has the key's name now. Returns an error if something that is not an object has the name,
    /// or if the name is below an object. An empty directory (from a writer that died, or lost to a delete) is removed:
    /// it holds no object, so the name is free.
    fn occupant(&self, root: &Beneath, operation: Operation, key: &Key) -> Result<Option<fs::Metadata>> {
        let blocked = |why: &str| Err(self.error(ErrorKind::Unsupported, operation, key).because(why));
        match files::occupant(root, key) {
            Ok(Occupant::Nothing) => Ok(None),
            Ok(Occupant::Object(meta)) => Ok(Some(meta)),
            Ok(Occupant::Directory) if files::remove_empty(root, key.as_str()) => Ok(None),
            Ok(Occupant::Directory) => {
                blocked("there are objects below this key, and a name is a file or a directory")
            }
            Ok(Occupant::BelowObject) => {
                blocked("a part of this key is an object, and a name is a file or a directory")
            }
            Ok(Occupant::Foreign) => blocked(
                "a symbolic link, or something else that is neither a file nor a directory, is in the way",
            ),
            Err(e) => Err(self.io_error(e, operation, key)),
        }
    }

    /// Returns the file that has the key's name now; `None` also if the root is missing.
    fn occupant_if_any(&self, operation: Operation, key: &Key) -> Result<Option<fs::Metadata>> {
        match self.shared.open().map_err(|e| self.io_error(e, operation, key))? {
            Some(root) => self.occupant(&root, operation, key),
            None => Ok(None),
        }
    }

    fn sync_directories(&self, root: &Beneath, operation: Operation, key: &Key) -> Result<()> {
        if self.shared.sync != Sync::Power {
            return Ok(());
        }
        // The put has had its effect already, so whatever the cause, the outcome is uncertain, which `Io` expresses.
        files::sync_parents(root, key).map_err(|e| self.error(ErrorKind::Io, operation, key).with_source(e))
    }
}

impl ObjectStore for DirStore {
    fn name(&self) -> String {
        display_name(&self.shared.path)
    }

    fn why_not_key(&self, key: &Key) -> Option<String> {
        let is_reserved = key.segments().any(|segment| segment == own_folder::RESERVED);
        is_reserved.then(|| "'.object-store' is reserved for the store itself".to_owned())
    }

    fn place_of(&self, key: &str) -> String {
        let path = self.shared.path.join(key);
        match path.to_str() {
            Some(path) => format!("file:{path}"),
            // Display replaces every byte that is not valid UTF-8 by the same character, so that different paths would
            // get the same name.
            None => format!("file:{:?}", path.as_os_str()),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { nested_keys: false, persistent: true, near: false, remote: false, keeps_pieces: false }
    }

    fn honours(&self, _: Condition) -> bool {
        true
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        let (file, found) = self.open_object(Operation::Get, key)?;
        self.read_part(key, range, &file, &found)
    }

    fn get_if_changed(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> Result<Option<GetResult>> {
        let (file, found) = self.open_object(Operation::Get, key)?;
        if known.is_still(Some(&etag_of(&found))) {
            return Ok(None);
        }
        self.read_part(key, range, &file, &found).map(Some)
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        let (file, found) = self.open_object(Operation::GetInto, key)?;
        check_exact(offset, buf.len() as u64, found.len()).map_err(|e| e.at(key).in_store(self.name()))?;
        file.read_exact_at(buf, offset).map_err(|e| self.io_error(e, Operation::GetInto, key))?;
        Ok(meta_of(key, &found))
    }

    fn scatters(&self) -> bool {
        true
    }

    fn get_scattered(&self, key: &Key, offset: u64, parts: &mut [&mut [u8]]) -> Result<ObjectMeta> {
        let (file, found) = self.open_object(Operation::GetInto, key)?;
        let length = parts.iter().map(|part| part.len() as u64).sum();
        check_exact(offset, length, found.len()).map_err(|e| e.at(key).in_store(self.name()))?;
        let mut at = offset;
        for part in parts {
            file.read_exact_at(part, at).map_err(|e| self.io_error(e, Operation::GetInto, key))?;
            at += part.len() as u64;
        }
        Ok(meta_of(key, &found))
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.check_key(Operation::Head, key)?;
        let io = |e| self.io_error(e, Operation::Head, key);
        let found = match self.shared.open().map_err(io)? {
            Some(root) => files::occupant(&root, key).map_err(io)?,
            None => Occupant::Nothing,
        };
        match found {
            Occupant::Object(found) => Ok(meta_of(key, &found)),
            _ => Err(self.error(ErrorKind::NotFound, Operation::Head, key)),
        }
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        self.check_key(Operation::Put, key)?;
        // The loser of a race for a large object need not write it first; `publish` checks again.
        if mode == PutMode::Create && self.occupant_if_any(Operation::Put, key)?.is_some() {
            return Err(self.error(ErrorKind::AlreadyExists, Operation::Put, key));
        }
        let mut staged = self.stage(Operation::Put, key)?;
        let write = files::write_pieces(staged.file_mut(), payload.pieces());
        write.map_err(|e| self.io_error(e, Operation::Put, key))?;
        self.publish(Operation::Put, key, staged, &mode)
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        let staged = self.stage(Operation::StreamStart, key)?;
        // Reports early that the key cannot be an object; `finish` checks again.
        self.occupant_if_any(Operation::StreamStart, key)?;
        Ok(Box::new(stream::DirStream::new(self.clone(), key.clone(), staged)))
    }

    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage> {
        let failed = |e| Error::io(Operation::List, e).in_store(self.name());
        let Some(root) = self.shared.open().map_err(failed)? else { return Ok(ListPage::default()) };
        listing::page(&root, prefix, start_after, limit.max(1)).map_err(failed)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        let io = |e| self.io_error(e, Operation::Delete, key);
        self.check_key(Operation::Delete, key)?;
        let Some(root) = self.shared.open().map_err(io)? else { return Ok(()) };
        // Most deletes of a missing object need no lock (and no permission to write a lock file).
        if !matches!(files::occupant(&root, key).map_err(io)?, Occupant::Object(_)) {
            return Ok(());
        }
        let Some(locked) = self.shared.locks.lock(&root, key).map_err(io)? else { return Ok(()) };
        files::remove(&root, key).map_err(io)?;
        drop(locked);
        self.sync_directories(&root, Operation::Delete, key)?;
        files::prune_parents(&root, key);
        self.shared.reserve.keep_again();
        Ok(())
    }

    fn clock(&self) -> Option<SystemTime> {
        let seen = || *self.shared.clock.lock();
        if seen().is_none() {
            // The file is never given a name.
            let staged = self.stage(Operation::Put, &Key::new("clock").ok()?).ok()?;
            self.shared.see_clock(&staged.file().metadata().ok()?);
        }
        let (then, since) = seen()?;
        then.checked_add(monotonic::now().saturating_sub(since))
    }

    fn spend_reserve(&self) -> bool {
        self.shared.reserve.spend()
    }
}

fn display_name(path: &Path) -> String {
    format!("file://{}", path.display())
}

#[cfg(test)]
mod tests;
