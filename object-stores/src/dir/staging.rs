//! The store's own corner of the root: files being written, and the locks.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tempfile::NamedTempFile;

use crate::Key;

/// The one name that no key may hold.
pub(super) const RESERVED: &str = ".object-store";

/// How an unfinished file's name begins. Its writer has looked, once it had the lock, that no sweep was faster: so one without a
/// lock is of a dead writer, however young it is.
const PREFIX: &str = "write-";
/// How old a file of any other name is before a store removes it by itself. Earlier versions of h5lake make such ones, which are
/// without their lock for a moment.
const ABANDONED_AGE: Duration = Duration::from_secs(3600);
/// How often a writer makes another file because a sweep has taken the one before.
const MAX_ATTEMPTS: u32 = 100;
/// How long a lock is waited for. Whoever holds one makes some system calls and gives it back, unless its process was stopped.
const MAX_LOCK_TIME: Duration = Duration::from_secs(60);
/// The pauses between tries for a lock: the first, and the longest, to which they grow.
const PAUSES: [Duration; 2] = [Duration::from_micros(20), Duration::from_millis(1)];

/// `ROOT/.object-store`: made when something is written for the first time, so that a store that
/// is only read leaves no trace.
#[derive(Debug)]
pub(super) struct Staging {
    root: PathBuf,
    files: PathBuf,
    locks: PathBuf,
    swept: AtomicBool,
    /// How long a lock is waited for.
    pub(super) max_lock_time: Duration,
}

/// An exclusive lock of a key (and of those keys that share its lock file), in each store that the object is in. Ends when
/// dropped, and with its process.
#[derive(Debug)]
pub(super) struct Locked(Vec<LockFile>);

impl Drop for Locked {
    fn drop(&mut self) {
        for lock in &self.0 {
            // Closing would do, but not if a fork has copied the descriptor meanwhile.
            let _ = lock.file.unlock();
        }
    }
}

/// An open lock file, locked or not.
#[derive(Debug)]
struct LockFile {
    file: File,
    path: PathBuf,
}

impl Staging {
    pub(super) fn new(root: &Path) -> Self {
        let own = root.join(RESERVED);
        Staging {
            root: root.to_path_buf(),
            files: own.join("tmp"),
            locks: own.join("locks"),
            swept: AtomicBool::new(false),
            max_lock_time: MAX_LOCK_TIME,
        }
    }

    /// A new, empty file on the root's file system, locked while it is open so that a sweep knows
    /// its writer lives, and removed when dropped.
    pub(super) fn new_file(&self) -> io::Result<NamedTempFile> {
        let file = with_directory(&self.files, || new_locked(&self.files))?;
        if !self.swept.swap(true, Ordering::Relaxed) {
            let _ = sweep(&self.files, |name| if is_own_name(name) { Duration::ZERO } else { ABANDONED_AGE });
        }
        Ok(file)
    }

    /// Waits for the key's lock, for a minute at most: a process that was stopped may keep it for as long as it likes.
    ///
    /// A directory above the root may be a store, too, and so may one below it that the object is in:
    /// who opens those has to meet the same lock. Each makes its own lock file before it looks for others', so that of two at
    /// least one sees the other's, and takes them from the top down.
    pub(super) fn lock(&self, key: &Key) -> io::Result<Locked> {
        let own = with_directory(&self.locks, || open_lock(&self.locks, key))?;
        let mut files: Vec<LockFile> =
            above(&self.root).filter_map(|root| self.foreign_lock(root, key)).collect();
        files.reverse();
        files.push(own);
        let parts = key.as_str().match_indices('/').map(|(at, _)| at);
        files.extend(parts.filter_map(|at| self.foreign_lock(&self.root.join(&key.as_str()[..at]), key)));
        // Gives back those that it has if another one cannot be had.
        let locked = Locked(files);
        let since = Instant::now();
        locked.0.iter().try_for_each(|lock| lock.wait(since, self.max_lock_time))?;
        Ok(locked)
    }

    /// The lock file of the object in the store of another root, if that is one. Whoever may not use it does without, as a reader of
    /// that store would.
    fn foreign_lock(&self, root: &Path, key: &Key) -> Option<LockFile> {
        let locks = root.join(RESERVED).join("locks");
        if !locks.is_dir() {
            return None;
        }
        let object = self.root.join(key.as_str());
        let key = Key::new(object.strip_prefix(root).ok()?.to_str()?).ok()?;
        open_lock(&locks, &key).ok()
    }

    /// Removes unfinished files whose writer is gone.
    pub(super) fn sweep(&self, older_than: Duration) -> io::Result<usize> {
        sweep(&self.files, |_| older_than)
    }
}

fn is_own_name(name: &OsStr) -> bool {
    name.as_bytes().starts_with(PREFIX.as_bytes())
}

/// The directories above one, the nearest first.
fn above(path: &Path) -> impl Iterator<Item = &Path> {
    path.ancestors().skip(1)
}

/// A new file under its lock. A sweep may remove it before the lock is had: then another one is made.
fn new_locked(directory: &Path) -> io::Result<NamedTempFile> {
    for _ in 0..MAX_ATTEMPTS {
        let file = tempfile::Builder::new()
            .prefix(PREFIX)
            // As any new file of the user: `umask` decides, not the 0600 of temporary files.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory)?;
        match file.as_file().try_lock() {
            Ok(()) if file.as_file().metadata()?.nlink() > 0 => return Ok(file),
            Ok(()) | Err(TryLockError::WouldBlock) => (),
            // Where locks do not work, sweeping does not either, and no harm is done.
            Err(TryLockError::Error(_)) => return Ok(file),
        }
    }
    Err(io::Error::other("another process removes each new file of the store"))
}

fn open_lock(locks: &Path, key: &Key) -> io::Result<LockFile> {
    // A new descriptor each time: `flock` belongs to the open file, so that threads exclude
    // each other as processes do.
    let path = locks.join(format!("{:02x}", stripe(key)));
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
    Ok(LockFile { file, path })
}

impl LockFile {
    /// Waits for the lock, no longer than `most` since a moment. The system's own wait for it has no end, so it is tried again
    /// and again. A signal that the program handles is no reason to give up.
    ///
    /// # Errors
    /// `ResourceBusy` if others hold it all the time; what the system says where locks do not work.
    fn wait(&self, since: Instant, most: Duration) -> io::Result<()> {
        let [mut pause, longest] = PAUSES;
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(e)) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                Err(_) if since.elapsed() >= most => return Err(self.busy(most)),
                Err(_) => std::thread::sleep(pause),
            }
            pause = longest.min(pause * 2);
        }
    }

    fn busy(&self, waited: Duration) -> io::Error {
        let (path, seconds) = (self.path.display(), waited.as_secs_f32());
        let why = format!(
            "the lock {path} was held for {seconds} seconds: a process that was stopped while it wrote may have it; \
             it is free once that process goes on or ends"
        );
        io::Error::new(io::ErrorKind::ResourceBusy, why)
    }
}

/// Removes unfinished files whose writer is gone, and that are as old as `older_than` says for their name.
fn sweep(files: &Path, older_than: impl Fn(&OsStr) -> Duration) -> io::Result<usize> {
    let entries = match fs::read_dir(files) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        if remove_abandoned(&entry.path(), older_than(&entry.file_name()))? {
            removed += 1;
        }
    }
    Ok(removed)
}

fn remove_abandoned(path: &Path, older_than: Duration) -> io::Result<bool> {
    // Gone meanwhile: published or removed by its writer, or by another sweep.
    let gone = |e: io::Error| if e.kind() == io::ErrorKind::NotFound { Ok(false) } else { Err(e) };
    let (file, found) = match crate::open_regular(path, OpenOptions::new().read(true)) {
        Ok(Some(opened)) => opened,
        Ok(None) => return Ok(false),
        Err(e) => return gone(e),
    };
    let age = SystemTime::now().duration_since(found.modified()?).unwrap_or_default();
    if age < older_than {
        return Ok(false);
    }
    match file.try_lock() {
        Ok(()) => fs::remove_file(path).map(|()| true).or_else(gone),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Does `make`, and once more after making `directory` if that is missing. The root itself is not
/// made anew: whoever removed it meant it.
fn with_directory<T>(directory: &Path, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match make() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            for path in directory.parent().into_iter().chain([directory]) {
                match fs::create_dir(path) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                    _ => {}
                }
            }
            make()
        }
        answer => answer,
    }
}

/// Which of 256 locks is the key's. Part of the store's protocol, since all processes have to
/// agree: the lowest byte of the key's 64-bit FNV-1a hash (Fowler, Noll, Vo; RFC 9923).
fn stripe(key: &Key) -> u8 {
    let hash = key
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    hash as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        // From the published test vectors: "a" gives 0xaf63dc4c8601ec8c, "foobar" 0x85944171f73967e8.
        assert_eq!(stripe(&Key::new("a").unwrap()), 0x8c);
        assert_eq!(stripe(&Key::new("foobar").unwrap()), 0xe8);
    }
}
