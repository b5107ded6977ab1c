//! Files that are being written. They are in `.object-store/tmp` of the root, and get their names when they are
//! complete.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

use super::locks::{Locking, without_locks};
use super::own_folder;
use crate::beneath::{Beneath, NewFile};

/// The folder of unfinished files in the store's own folder.
const FILES: &str = "tmp";
/// The prefix of the name of an unfinished file that its writer has locked. Once it has the lock, the writer checks
/// that no sweep has removed the file before. So such a file without a lock is a dead writer's, however young it is.
const LOCKED: &str = "write-";
/// The prefix of the name of an unfinished file without a lock.
const UNLOCKED: &str = "put-";
/// The age at which a store removes an unfinished file without a lock on its own.
const ABANDONED_AGE: Duration = Duration::from_secs(3600);
/// The number of files that a writer makes because a sweep has removed the file before it was locked.
const MAX_ATTEMPTS: u32 = 100;

/// The unfinished files of a store.
#[derive(Debug)]
pub(super) struct Staging {
    root: PathBuf,
    locking: Locking,
    swept: AtomicBool,
}

impl Staging {
    pub(super) fn new(root: &Path, locking: Locking) -> Self {
        Staging { root: root.to_path_buf(), locking, swept: AtomicBool::new(false) }
    }

    /// Makes an empty file on the root's file system. The file is locked while it is open, so that a sweep can see that
    /// its writer is alive. The file is removed when it is dropped.
    ///
    /// # Errors
    /// `Unsupported` if locks are required and the file system has none; `NotFound` if the root was removed.
    pub(super) fn new_file(&self) -> io::Result<NewFile> {
        let root = Beneath::open(&self.root)?;
        let folder = Arc::new(own_folder::make(&root, "", FILES)?);
        let file = self.new_locked(&folder)?;
        if !self.swept.swap(true, Ordering::Relaxed) {
            let _ =
                sweep(&folder, |name| if name.starts_with(LOCKED) { Duration::ZERO } else { ABANDONED_AGE });
        }
        Ok(file)
    }

    /// Makes a file and locks it. If a sweep removes the file before it is locked, another file is made.
    fn new_locked(&self, folder: &Arc<Beneath>) -> io::Result<NewFile> {
        // The umask applies as to any new file of the user.
        let unlocked = || NewFile::make(folder, UNLOCKED, 0o666);
        if self.locking == Locking::Off {
            return unlocked();
        }
        for _ in 0..MAX_ATTEMPTS {
            let file = NewFile::make(folder, LOCKED, 0o666)?;
            match file.file().try_lock() {
                Ok(()) if file.has_its_name() => return Ok(file),
                Ok(()) | Err(TryLockError::WouldBlock) => (),
                Err(TryLockError::Error(e)) if self.locking == Locking::Required => {
                    return Err(without_locks(&e));
                }
                Err(TryLockError::Error(_)) => return unlocked(),
            }
        }
        Err(io::Error::other("another process removes each new file of the store"))
    }

    /// Removes unfinished files of dead writers.
    pub(super) fn sweep(&self, older_than: Duration) -> io::Result<usize> {
        let missing = |e: io::Error| if e.kind() == io::ErrorKind::NotFound { Ok(0) } else { Err(e) };
        let root = match Beneath::open(&self.root) {
            Ok(root) => root,
            Err(e) => return missing(e),
        };
        let Some(own) = own_folder::open(&root)? else { return Ok(0) };
        match own.folder(FILES) {
            Ok(files) => sweep(&files, |_| older_than),
            Err(e) => missing(e),
        }
    }
}

/// Returns whether a store uses this name for an unfinished file. A file with any other name does not belong to the
/// store.
fn is_own_name(name: &str) -> bool {
    let rest = [LOCKED, UNLOCKED].iter().find_map(|prefix| name.strip_prefix(prefix));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Removes unfinished files of dead writers that are at least as old as `older_than` requires for their name.
fn sweep(files: &Beneath, older_than: impl Fn(&str) -> Duration) -> io::Result<usize> {
    let mut removed = 0;
    for entry in files.entries()? {
        let name = entry?.name;
        let Some(name) = name.to_str().filter(|name| is_own_name(name)) else { continue };
        if remove_abandoned(files, name, older_than(name))? {
            removed += 1;
        }
    }
    Ok(removed)
}

fn remove_abandoned(files: &Beneath, name: &str, older_than: Duration) -> io::Result<bool> {
    // The file is gone: its writer published or removed it, or another sweep removed it.
    let gone = |e: io::Error| if e.kind() == io::ErrorKind::NotFound { Ok(false) } else { Err(e) };
    let (file, found) = match files.file(name, OFlags::RDONLY) {
        Ok(Some(opened)) => opened,
        Ok(None) => return Ok(false),
        Err(e) => return gone(e),
    };
    let age = SystemTime::now().duration_since(found.modified()?).unwrap_or_default();
    if age < older_than {
        return Ok(false);
    }
    match file.try_lock() {
        Ok(()) => files.remove_file(name).map(|()| true).or_else(gone),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e),
    }
}
