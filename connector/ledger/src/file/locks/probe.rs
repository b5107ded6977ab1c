//! Finds out whether the processes of a program see each other's locks.
//!
//! A file system may have no locks (Lustre with `noflock`), or locks that processes on other nodes do not see
//! (`localflock`). Then two writers damage a container. So one process locks a small file beside the container, and all
//! other processes check that they see this lock.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::file::locks::sys::{self, is_unsupported, uninterrupted};
use crate::hidden_names::followed_sibling;

fn path_of(container: &Path, run: u64) -> PathBuf {
    followed_sibling(container, &format!("locks-{run:016x}"))
}

/// The result of locking the small file.
#[derive(Debug)]
pub enum ProbeLock {
    /// The file is locked until this is dropped. It is deleted then.
    Held(HeldProbe),
    /// The file system has no locks.
    Unsupported,
    /// The file could not be created or locked, for another reason.
    Unknown,
}

/// A locked small file.
#[derive(Debug)]
pub struct HeldProbe {
    locked: File,
    path: PathBuf,
}

impl Drop for HeldProbe {
    fn drop(&mut self) {
        let _is_small = std::fs::remove_file(&self.path);
    }
}

impl ProbeLock {
    /// Creates and locks the small file beside a container. `run` is a random number that all processes know.
    pub fn hold(container: &Path, run: u64) -> Self {
        let path = path_of(container, run);
        let Ok(file) = File::create_new(&path) else { return Self::Unknown };
        let held = HeldProbe { locked: file, path };
        match uninterrupted(|| sys::set(&held.locked, sys::EXCLUSIVE, 0)) {
            Ok(()) => Self::Held(held),
            Err(e) if is_unsupported(e) => Self::Unsupported,
            Err(_) => Self::Unknown,
        }
    }
}

/// The answer of a process that searches for the lock of another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenLock {
    /// The process sees the lock.
    Seen,
    /// The process sees the file, and no lock on it.
    Unseen,
    /// The process does not see the file: the folder is not shared.
    NoFile,
}

impl SeenLock {
    /// Checks whether this process sees the lock that another process holds with [`ProbeLock::hold`].
    pub fn of(container: &Path, run: u64) -> Self {
        let Ok(file) = File::open(path_of(container, run)) else { return Self::NoFile };
        match uninterrupted(|| sys::find(&file, 0, 1)) {
            Ok(Some(_)) => Self::Seen,
            Ok(None) | Err(_) => Self::Unseen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_seen_while_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let container = dir.path().join("run.h5");
        let held = ProbeLock::hold(&container, 1);
        assert!(matches!(held, ProbeLock::Held(_)));
        assert_eq!(SeenLock::of(&container, 1), SeenLock::Seen);
        assert_eq!(SeenLock::of(&container, 2), SeenLock::NoFile);
        std::fs::write(path_of(&container, 2), "").unwrap();
        assert_eq!(SeenLock::of(&container, 2), SeenLock::Unseen);
        drop(held);
        assert_eq!(SeenLock::of(&container, 1), SeenLock::NoFile);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
