//! Room that is kept for when the file system is full.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FallocateFlags, fallocate};

use super::staging::RESERVED;

/// Enough for the commit that deletes something, and for a checkpoint of it.
const RESERVE_BYTES: u32 = 1 << 20;

/// `ROOT/.object-store/reserve`: a file that is there for its room only. Many processes may share it; whoever spends it first has it.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// This process has looked whether it is there.
    looked: AtomicBool,
    /// This process has spent it, and it has not come back.
    spent: AtomicBool,
}

impl Reserve {
    pub(super) fn new(root: &Path) -> Self {
        let path = root.join(RESERVED).join("reserve");
        Reserve { path, looked: AtomicBool::new(false), spent: AtomicBool::new(false) }
    }

    /// Before a process puts its first object: sees to it that the reserve is there.
    pub(super) fn keep_once(&self) {
        if !self.looked.swap(true, Ordering::Relaxed) && !self.path.exists() {
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
        let was_there = fs::remove_file(&self.path).is_ok();
        if was_there {
            self.spent.store(true, Ordering::Relaxed);
        }
        was_there
    }

    fn keep(&self) {
        match self.make() {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                // A part of it would be taken for all. Where the file system knows no such files, there is none.
                let _it_is_of_no_use = fs::remove_file(&self.path);
            }
            _ => self.spent.store(false, Ordering::Relaxed),
        }
    }

    fn make(&self) -> io::Result<()> {
        let file = File::create_new(&self.path)?;
        fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES.into())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn it_is_spent_once_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(RESERVED)).unwrap();
        let reserve = Reserve::new(dir.path());
        reserve.keep_once();
        let found = fs::metadata(&reserve.path).unwrap();
        assert!(
            found.len() == u64::from(RESERVE_BYTES) && found.blocks() * 512 >= u64::from(RESERVE_BYTES),
            "it takes room"
        );
        assert!(reserve.spend() && !reserve.spend());
        reserve.keep_once();
        assert!(!reserve.path.exists(), "what was just given up is not taken back at once");
        reserve.keep_again();
        assert!(reserve.spend());
        // Another process has brought it back.
        Reserve::new(dir.path()).keep_once();
        reserve.keep_again();
        assert!(reserve.path.exists() && !reserve.spent.load(Ordering::Relaxed));
    }
}
