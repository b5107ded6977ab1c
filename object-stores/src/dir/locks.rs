//! The locks of keys.
//!
//! The lock of an object is one of 256 files in `.object-store/locks` of the folder that holds the object's container, or the
//! object itself. That folder depends on the object's path alone. So stores with nested roots use the same lock for an object
//! that both stores contain, and no store uses a file above its own root.

use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::own_folder::{self, RESERVED};
use crate::Key;
use crate::beneath::{Beneath, is_same};

/// The folder of locks in [`RESERVED`].
pub(super) const LOCKS: &str = "locks";
/// The longest wait for a lock. A process that has one makes some system calls and releases it, unless it was stopped.
const MAX_LOCK_TIME: Duration = Duration::from_secs(60);
/// The pauses between tries for a lock: the first, and the longest, to which they grow.
const PAUSES: [Duration; 2] = [Duration::from_micros(20), Duration::from_millis(1)];
/// The suffix of the name of the folder with the parts of a container (docs/format.md, "Objects of a name").
const PARTS: &str = ".lake";
/// The lock of a container's writer, directly below `NAME.lake`.
const LEASE: &str = "lease";

/// The use of locks in a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Locking {
    /// A put fails if the file system has no locks.
    #[default]
    Required,
    /// Locks are used if the file system has them. Otherwise the caller ensures that there is a single writer.
    BestEffort,
    /// No lock is taken. The caller ensures that there is a single writer.
    Off,
}

/// An exclusive lock of a key (and of the keys that share its lock file). It ends when it is dropped, and with its
/// process.
#[derive(Debug)]
pub(super) struct Locked(Option<File>);

impl Drop for Locked {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            // Closing the file also releases the lock, unless a fork has copied the descriptor meanwhile.
            let _ = file.unlock();
        }
    }
}

/// The locks of a store's keys.
#[derive(Debug)]
pub(super) struct Locks {
    pub(super) locking: Locking,
    /// The longest wait for a lock.
    pub(super) max_time: Duration,
    /// True once the lock folder of the first put was found usable.
    is_checked: AtomicBool,
}

impl Locks {
    pub(super) fn new(locking: Locking) -> Self {
        Locks { locking, max_time: MAX_LOCK_TIME, is_checked: AtomicBool::new(false) }
    }

    /// Checks before the first put that the folder of the key's lock is not a symbolic link, so that opening a
    /// container for writing fails, and not its first commit.
    ///
    /// # Errors
    /// Those of opening the folder.
    pub(super) fn check(&self, root: &Beneath, key: &Key) -> io::Result<()> {
        if self.locking == Locking::Off || self.is_checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        match root.folder(format!("{}/{RESERVED}/{LOCKS}", shown(home_of(key).0))) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => self.is_checked.store(true, Ordering::Relaxed),
        }
        Ok(())
    }

    /// Waits for the key's lock, for a minute at most, because a stopped process may hold it for any time. Returns
    /// `None` if the folder of the object was removed, and the object with it.
    ///
    /// # Errors
    /// `ResourceBusy` if other processes hold the lock all the time, and those of making its file.
    pub(super) fn lock(&self, root: &Beneath, key: &Key) -> io::Result<Option<Locked>> {
        if self.locking == Locking::Off {
            return Ok(Some(Locked(None)));
        }
        let (home, below) = home_of(key);
        let name = format!("{:02x}", stripe(below));
        let since = Instant::now();
        loop {
            let locks = match own_folder::make(root, home, LOCKS) {
                Err(e) if e.kind() == io::ErrorKind::NotFound && !home.is_empty() => return Ok(None),
                other => other?,
            };
            let file = match open_or_make(&locks, &name) {
                Ok(file) => file,
                // The folder was emptied and removed since it was opened.
                Err(e) if e.kind() == io::ErrorKind::NotFound && since.elapsed() < self.max_time => continue,
                Err(e) => return Err(e),
            };
            if !self.wait(&file, since, || format!("{}/{RESERVED}/{LOCKS}/{name}", shown(home)))? {
                return Ok(Some(Locked(None)));
            }
            // Another process may have removed the file between its opening and its lock.
            let found = file.metadata()?;
            if locks.metadata(&name).is_ok_and(|named| is_same(&named, &found)) {
                return Ok(Some(Locked(Some(file))));
            }
        }
    }

    /// Waits for the lock of a file until it is acquired, or until the longest wait since `since` is over. The lock is
    /// tried repeatedly, because the operating system's own wait has no time limit. A signal that the program handles
    /// does not end the wait. Returns false if the file system has no locks and none are required.
    fn wait(&self, file: &File, since: Instant, name: impl Fn() -> String) -> io::Result<bool> {
        let [mut pause, longest] = PAUSES;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(true),
                Err(TryLockError::Error(e)) if e.kind() != io::ErrorKind::Interrupted => {
                    return if self.locking == Locking::Required {
                        Err(without_locks(&e))
                    } else {
                        Ok(false)
                    };
                }
                Err(_) if since.elapsed() >= self.max_time => return Err(busy(&name(), self.max_time)),
                Err(_) => std::thread::sleep(pause),
            }
            pause = longest.min(pause * 2);
        }
    }
}

/// Returns the error of a file system without locks.
pub(super) fn without_locks(e: &io::Error) -> io::Error {
    let code = e.raw_os_error().unwrap_or_default();
    let why = format!(
        "the file system has no locks (errno = {code}), so that nothing keeps two writers apart; \
         if this process is the only writer, set HDF5_USE_FILE_LOCKING=BEST_EFFORT or FALSE; several writers need locks"
    );
    io::Error::new(io::ErrorKind::Unsupported, why)
}

fn busy(name: &str, waited: Duration) -> io::Error {
    let seconds = waited.as_secs_f32();
    let why = format!(
        "the lock {name} was held for {seconds} seconds: a process that was stopped while it wrote may have it; \
         it is free once that process continues or ends"
    );
    io::Error::new(io::ErrorKind::ResourceBusy, why)
}

fn shown(home: &str) -> &str {
    if home.is_empty() { "." } else { home }
}

/// Opens a lock file, and makes it if it is missing. Every user who may make names in the folder of locks may use the file.
fn open_or_make(locks: &Beneath, name: &str) -> io::Result<File> {
    let kind_is_wrong =
        || io::Error::other(format!("{RESERVED}/{LOCKS}/{name} is no regular file; remove it"));
    // A new descriptor each time: `flock` belongs to the open file, so that threads exclude each other as processes do.
    match locks.file(name, OFlags::RDWR) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        other => return other?.map(|(file, _)| file).ok_or_else(kind_is_wrong),
    }
    match locks.create(name, 0o666) {
        Ok(file) => {
            let mode = locks.own_metadata()?.mode() & 0o666;
            file.set_permissions(Permissions::from_mode(mode))?;
            Ok(file)
        }
        // Another process made it meanwhile.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            locks.file(name, OFlags::RDWR)?.map(|(file, _)| file).ok_or_else(kind_is_wrong)
        }
        Err(e) => Err(e),
    }
}

/// Removes the lock files of a folder that contains nothing else, so that the folder can be removed. Returns whether
/// the folder is empty afterwards. A lock that a process holds is not removed, and neither is a folder that is the root
/// of a store.
pub(super) fn remove_idle(root: &Beneath, home: &str) -> io::Result<bool> {
    let folder = root.folder(home)?;
    let has_only = |folder: &Beneath, name: &str| -> io::Result<bool> {
        for entry in folder.entries()? {
            if entry?.name != name {
                return Ok(false);
            }
        }
        Ok(true)
    };
    if !has_only(&folder, RESERVED)? {
        return Ok(false);
    }
    let own = folder.folder(RESERVED)?;
    if !has_only(&own, LOCKS)? {
        return Ok(false);
    }
    let locks = own.folder(LOCKS)?;
    for entry in locks.entries()? {
        let name = entry?.name;
        let is_own = name.to_str().is_some_and(is_lock_name);
        let Some((file, _)) = locks.file(&name, OFlags::RDWR)?.filter(|_| is_own) else { return Ok(false) };
        if file.try_lock().is_err() {
            return Ok(false);
        }
        locks.remove_file(&name)?;
    }
    own.remove_folder(LOCKS)?;
    folder.remove_folder(RESERVED)?;
    Ok(true)
}

fn is_lock_name(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns the folder in which the lock of a key lies, and the key relative to that folder. All parts `NAME.lake/…` of a
/// container are locked in the folder that contains NAME, so that no lock folder appears among the parts, and none is made and
/// removed with the parts. A key that is no part of a container is locked in its own folder.
fn home_of(key: &Key) -> (&str, &str) {
    let text = key.as_str();
    let mut end = text.len();
    while let Some(at) = text[..end].rfind('/') {
        let (folder, rest) = (&text[..at], &text[at + 1..]);
        let next = rest.split('/').next().unwrap_or_default();
        if folder.ends_with(PARTS) && (rest == LEASE || rest.contains('/') && is_part(next)) {
            return split_last(folder, text);
        }
        end = at;
    }
    split_last(text, text)
}

/// Returns the folder of `path`, and the part of `text` after that folder. `text` begins with `path`.
fn split_last<'a>(path: &str, text: &'a str) -> (&'a str, &'a str) {
    path.rfind('/').map_or(("", text), |at| (&text[..at], &text[at + 1..]))
}

/// Returns whether a name is one that a container makes directly below `NAME.lake`.
fn is_part(name: &str) -> bool {
    let is_id = name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id || matches!(name, "clock" | "replaced")
}

/// Returns the number of a key's lock among 256. The number is part of the store's protocol, since all processes have to agree: the
/// lowest byte of the 64-bit FNV-1a hash (Fowler, Noll, Vo; RFC 9923) of the key as seen from the folder of its lock.
fn stripe(key: &str) -> u8 {
    let hash = key
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
        assert_eq!(stripe("a"), 0x8c);
        assert_eq!(stripe("foobar"), 0xe8);
    }

    #[test]
    fn the_lock_of_an_object_lies_in_one_folder_for_stores_of_all_roots() {
        let id = "0123456789abcdef0123456789abcdef";
        for (path, folder) in [
            ("a/b/c.h5".to_owned(), "a/b"),
            ("a/b/c.h5.lake/lease".to_owned(), "a/b"),
            (format!("a/b/c.h5.lake/{id}/0123456789abcdef-1"), "a/b"),
            (format!("a/b/c.h5.lake/clock/{id}"), "a/b"),
            (format!("a/my.lake/c.h5.lake/{id}/copy/header"), "a/my.lake"),
            ("a/my.lake/c.h5".to_owned(), "a/my.lake"),
            // The names are no names of parts.
            ("a/my.lake/x/c.h5".to_owned(), "a/my.lake/x"),
            (format!("a/my.lake/{id}"), "a/my.lake"),
        ] {
            for root in ["", "a/", &format!("{folder}/")] {
                let key = Key::new(path.strip_prefix(root).unwrap()).unwrap();
                let (home, below) = home_of(&key);
                assert_eq!(format!("{root}{home}").trim_end_matches('/'), folder, "{path} in {root}");
                assert_eq!(format!("{folder}/{below}"), path, "{path} in {root}");
            }
        }
    }
}
