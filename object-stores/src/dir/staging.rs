//! The store's own corner of the root: files being written, and the locks.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use crate::Key;

/// The one name that no key may hold.
pub(super) const RESERVED: &str = ".object-store";

/// How old an unfinished file without a living writer is before a store removes it by itself. A
/// new file is without its lock for a moment, so this must not be near zero.
const ABANDONED: Duration = Duration::from_secs(3600);

/// `ROOT/.object-store`: made when something is written for the first time, so that a store that
/// is only read leaves no trace.
#[derive(Debug)]
pub(super) struct Staging {
    files: PathBuf,
    locks: PathBuf,
    swept: AtomicBool,
}

/// An exclusive lock of a key (and of those keys that share its lock file). Ends when dropped, and
/// with its process.
#[derive(Debug)]
pub(super) struct Locked(File);

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing would do, but not if a fork has copied the descriptor meanwhile.
        let _ = self.0.unlock();
    }
}

impl Staging {
    pub(super) fn new(root: &Path) -> Self {
        let own = root.join(RESERVED);
        Staging { files: own.join("tmp"), locks: own.join("locks"), swept: AtomicBool::new(false) }
    }

    /// A new, empty file on the root's file system, locked while it is open so that a sweep knows
    /// its writer lives, and removed when dropped.
    pub(super) fn new_file(&self) -> io::Result<NamedTempFile> {
        let make = || {
            tempfile::Builder::new()
                .prefix("put-")
                // As any new file of the user: `umask` decides, not the 0600 of temporary files.
                .permissions(Permissions::from_mode(0o666))
                .tempfile_in(&self.files)
        };
        let file = with_directory(&self.files, make)?;
        // Where locks do not work, sweeping does not either, and no harm is done.
        let _ = file.as_file().try_lock();
        if !self.swept.swap(true, Ordering::Relaxed) {
            let _ = self.sweep(ABANDONED);
        }
        Ok(file)
    }

    /// Waits for the key's lock.
    pub(super) fn lock(&self, key: &Key) -> io::Result<Locked> {
        let path = self.locks.join(format!("{:02x}", stripe(key)));
        // A new descriptor each time: `flock` belongs to the open file, so that threads exclude
        // each other as processes do.
        let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = with_directory(&self.locks, open)?;
        file.lock()?;
        Ok(Locked(file))
    }

    /// Removes unfinished files whose writer is gone.
    pub(super) fn sweep(&self, older_than: Duration) -> io::Result<usize> {
        let entries = match fs::read_dir(&self.files) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            other => other?,
        };
        let mut removed = 0;
        for entry in entries {
            if remove_abandoned(&entry?.path(), older_than)? {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn remove_abandoned(path: &Path, older_than: Duration) -> io::Result<bool> {
    // Gone meanwhile: published or removed by its writer, or by another sweep.
    let gone = |e: io::Error| if e.kind() == io::ErrorKind::NotFound { Ok(false) } else { Err(e) };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) => return gone(e),
    };
    let age = SystemTime::now().duration_since(file.metadata()?.modified()?).unwrap_or_default();
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
