//! Room that is kept for when the file system is full.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FallocateFlags, fallocate};

use super::own_folder;
use crate::beneath::Beneath;

/// Enough for the commit that deletes something, and for a checkpoint of it.
const RESERVE_BYTES: u32 = 1 << 20;
/// The name of the reserve in the store's own folder.
const NAME: &str = "reserve";

/// `ROOT/.object-store/reserve`: a file that is there for its room only. Many processes may share it; whoever spends it first has it.
#[derive(Debug)]
pub(super) struct Reserve {
    root: PathBuf,
    /// This process has looked whether it is there.
    looked: AtomicBool,
    /// This process has spent it, and it has not come back.
    spent: AtomicBool,
}

impl Reserve {
    pub(super) fn new(root: &Path) -> Self {
        Reserve { root: root.to_path_buf(), looked: AtomicBool::new(false), spent: AtomicBool::new(false) }
    }

    /// The store's own folder, if it is there and can be used.
    fn folder(&self) -> Option<Beneath> {
        own_folder::open(&Beneath::open(&self.root).ok()?).ok()?
    }

    /// Before a process puts its first object: sees to it that the reserve is there.
    pub(super) fn keep_once(&self) {
        if !self.looked.swap(true, Ordering::Relaxed) {
            self.keep();
        }
    }

    /// When room may have come back: sees to it if this process has spent it.
    pub(super) fn keep_again(&self) {
        if self.spent.load(Ordering::Relaxed) {
            self.keep();
        }
    }

    /// Removes it; whether it was there.
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
                // A part of it would be taken for all. Where the file system knows no such files, there is none.
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
    fn it_is_spent_once_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(RESERVED)).unwrap();
        let reserve = Reserve::new(dir.path());
        let path = dir.path().join(RESERVED).join(NAME);
        reserve.keep_once();
        let found = fs::metadata(&path).unwrap();
        assert!(
            found.len() == u64::from(RESERVE_BYTES) && found.blocks() * 512 >= u64::from(RESERVE_BYTES),
            "it takes room"
        );
        assert!(reserve.spend() && !reserve.spend());
        reserve.keep_once();
        assert!(!path.exists(), "what was just given up is not taken back at once");
        reserve.keep_again();
        assert!(reserve.spend());
        // Another process has brought it back.
        Reserve::new(dir.path()).keep_once();
        reserve.keep_again();
        assert!(path.exists() && !reserve.spent.load(Ordering::Relaxed));
    }
}
