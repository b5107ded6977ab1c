//! The space that a store reserves for the case that the file system is full.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FallocateFlags, fallocate};

use super::own_folder;
use crate::beneath::Beneath;

/// The length of the reserve, in bytes: enough for the commit of a deletion and for a checkpoint of it.
const RESERVE_BYTES: u32 = 1 << 20;
/// The name of the reserve in the store's own folder.
const NAME: &str = "reserve";

/// `ROOT/.object-store/reserve`: a file that only occupies space. Processes share it, and the first process that needs
/// the space releases it.
#[derive(Debug)]
pub(super) struct Reserve {
    root: PathBuf,
    /// True if this process has checked whether the file exists.
    looked: AtomicBool,
    /// True if this process has released the space and the file has not been made again since.
    spent: AtomicBool,
}

impl Reserve {
    pub(super) fn new(root: &Path) -> Self {
        Reserve { root: root.to_path_buf(), looked: AtomicBool::new(false), spent: AtomicBool::new(false) }
    }

    /// Returns the store's own folder, if it exists and can be used.
    fn folder(&self) -> Option<Beneath> {
        own_folder::open(&Beneath::open(&self.root).ok()?).ok()?
    }

    /// Makes the reserve, if it is missing, before a process puts its first object.
    pub(super) fn keep_once(&self) {
        if !self.looked.swap(true, Ordering::Relaxed) {
            self.keep();
        }
    }

    /// Makes the reserve again when space may have become free, if this process has released it.
    pub(super) fn keep_again(&self) {
        if self.spent.load(Ordering::Relaxed) {
            self.keep();
        }
    }

    /// Removes the reserve; returns whether it existed.
    pub(super) fn spend(&self) -> bool {
        let is_there = |own: &Beneath| own.metadata(NAME).is_ok_and(|found| found.is_file());
        let was_there = self.folder().filter(is_there).is_some_and(|own| own.remove_file(NAME).is_ok());
        if was_there {
            self.spent.store(true, Ordering::Relaxed);
        }
        was_there
    }

    fn keep(&self) {
        let Some(own) = self.folder() else { return };
        if own.metadata(NAME).is_err() {
            match make(&own) {
                // A part of the reserve would be mistaken for the whole. If the file system cannot allocate space,
                // there is no reserve.
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    let _it_is_of_no_use = own.remove_file(NAME);
                    return;
                }
                _ => {}
            }
        }
        self.spent.store(false, Ordering::Relaxed);
    }
}

fn make(own: &Beneath) -> io::Result<()> {
    let file = own.create(NAME, 0o666)?;
    fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES.into())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::dir::own_folder::RESERVED;

    #[test]
    fn the_reserve_is_spent_once_and_restored() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(RESERVED)).unwrap();
        let reserve = Reserve::new(dir.path());
        let path = dir.path().join(RESERVED).join(NAME);
        reserve.keep_once();
        let found = fs::metadata(&path).unwrap();
        assert!(
            found.len() == u64::from(RESERVE_BYTES) && found.blocks() * 512 >= u64::from(RESERVE_BYTES),
            "it occupies no space"
        );
        assert!(reserve.spend() && !reserve.spend());
        reserve.keep_once();
        assert!(!path.exists(), "a reserve that was just released is allocated again at once");
        reserve.keep_again();
        assert!(reserve.spend());
        // Another process has made the file again.
        Reserve::new(dir.path()).keep_once();
        reserve.keep_again();
        assert!(path.exists() && !reserve.spent.load(Ordering::Relaxed));
    }
}
