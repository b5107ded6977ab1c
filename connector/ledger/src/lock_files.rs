//! Lock files: locks of processes that write a container together on a file system without locks.
//!
//! The processes of one program (MPI) agree on a folder beside the container. The commit lock and the checkpoint lock are
//! files in it, which a process creates with `O_EXCL` and deletes. Each process has one more file, which lists the
//! sequences that the process has pinned and the bytes that it has reserved. It replaces this file by a rename. Both
//! operations are atomic on network file systems, and need no lock server.
//!
//! Other programs do not see lock files. If a process dies, its lists stay, and protect bytes that it may have written.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::clock;
use crate::error::{Error, Result};
use crate::hidden_names::{folder, followed_sibling};
use crate::locks::Mutex;

/// The part of the folder's name that says what it is. The number of the run follows.
const RUN: &str = "run-";
/// The number of hexadecimal digits of a run.
const RUN_DIGITS: usize = 16;
/// The file of the commit lock.
pub(crate) const COMMIT: &str = "commit";
/// The file of the checkpoint lock.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// The end of the name under which a process writes its list before it replaces the old list.
const NEW: &str = ".new";
/// The last line of a complete list.
const END: &str = "end";
/// An upper bound of the length of a list, in bytes.
const MAX_LIST_BYTES: u64 = 16 << 20;

/// The lock files of one run of a program, as one of its processes uses them
/// ([`Options::lock_files`](crate::Options::lock_files)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockFiles {
    folder: PathBuf,
    run: u64,
    rank: u32,
}

impl LockFiles {
    /// Returns the lock files beside a container, for the process with this rank. `run` is the same random number in all
    /// processes.
    pub fn beside(container: &Path, run: u64, rank: u32) -> Self {
        let folder = followed_sibling(container, &format!("{RUN}{run:016x}"));
        Self { folder, run, rank }
    }

    /// Draws a random number for a run. It is not 0.
    ///
    /// # Errors
    /// `Io` if the system has no random numbers.
    pub fn draw_run() -> Result<u64> {
        Ok(u64::from_le_bytes(clock::random("")?).max(1))
    }

    /// Returns the number of the run.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Creates the folder. Only one process of the program calls this, before any process opens the container. Folders of
    /// earlier runs are deleted: if such a run still writes, its next commit fails. The last process that closes the
    /// container deletes the folder.
    ///
    /// # Errors
    /// `PermissionDenied`, `NoSpace` or `Io` if the folder cannot be created.
    pub fn make(&self) -> Result<()> {
        self.remove_earlier();
        std::fs::create_dir(&self.folder).map_err(|e| self.failed("creating", &e))
    }

    /// Returns whether a process of the program still has the container open.
    pub fn are_in_use(&self) -> bool {
        self.folder.exists()
    }

    fn remove_earlier(&self) {
        // The folders differ in the number of the run alone.
        let name = self.folder.file_name().unwrap_or_default().as_bytes();
        let prefix = &name[..name.len().saturating_sub(RUN_DIGITS)];
        let Ok(entries) = std::fs::read_dir(folder(&self.folder)) else { return };
        for entry in entries.flatten() {
            let is_run = entry.file_name().as_bytes().strip_prefix(prefix).is_some_and(is_number);
            if is_run && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path());
            }
        }
    }

    fn failed(&self, doing: &str, e: &io::Error) -> Error {
        Error::io(&self.folder.display().to_string(), doing, e)
    }
}

fn is_number(text: &[u8]) -> bool {
    text.len() == RUN_DIGITS && text.iter().all(u8::is_ascii_hexdigit)
}

/// Deletes the files that processes make in a folder of lock files, and the folder if nothing else is in it.
fn remove(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        if [COMMIT, CHECKPOINT].contains(&name) || rank_of(name.trim_end_matches(NEW)).is_some() {
            let _folder_stays = std::fs::remove_file(entry.path());
        }
    }
    let _has_foreign_files = std::fs::remove_dir(folder);
}

/// Returns the rank of the process to which a list with this name belongs.
fn rank_of(name: &str) -> Option<u32> {
    name.parse().ok().filter(|rank: &u32| rank.to_string() == name)
}

/// The pins and reservations of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct List {
    /// Pinned sequences.
    pub(crate) pins: BTreeSet<u64>,
    /// Reserved ranges of the file: offset and length.
    pub(crate) regions: BTreeSet<(u64, u64)>,
}

impl List {
    fn encode(&self) -> String {
        let pins = self.pins.iter().map(|sequence| format!("pin {sequence}\n"));
        let regions = self.regions.iter().map(|(offset, length)| format!("region {offset} {length}\n"));
        pins.chain(regions).chain([format!("{END}\n")]).collect()
    }

    fn decode(text: &str) -> Option<Self> {
        let mut list = Self::default();
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next_back() != Some(END) {
            return None;
        }
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["pin", sequence] => _ = list.pins.insert(sequence.parse().ok()?),
                ["region", offset, length] => {
                    _ = list.regions.insert((offset.parse().ok()?, length.parse().ok()?));
                }
                _ => return None,
            }
        }
        Some(list)
    }
}

/// The locks that this process holds by lock files. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct HeldFiles {
    files: LockFiles,
    list: Mutex<List>,
}

impl HeldFiles {
    /// Enters this process into the folder, with an empty list.
    pub(crate) fn enter(files: &LockFiles) -> Result<Self> {
        match std::fs::create_dir(&files.folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(files.failed("entering", &e)),
            _ => (),
        }
        let held = Self { files: files.clone(), list: Mutex::default() };
        held.change(|_| ()).map_err(|e| files.failed("entering", &e))?;
        Ok(held)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.folder.join(name)
    }

    /// Takes a lock. Returns false if another process holds it.
    pub(crate) fn take(&self, name: &str) -> io::Result<bool> {
        match File::create_new(self.path(name)) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Releases a lock that this process holds.
    pub(crate) fn release(&self, name: &str) {
        let _lock_stays_after_an_error = std::fs::remove_file(self.path(name));
    }

    /// Changes the list of this process. When this returns without an error, all processes see the change. After an error
    /// the list is as before.
    pub(crate) fn change(&self, change: impl FnOnce(&mut List)) -> io::Result<()> {
        let mut list = self.list.lock();
        let mut changed = list.clone();
        change(&mut changed);
        let name = self.files.rank.to_string();
        let new = self.path(&format!("{name}{NEW}"));
        std::fs::write(&new, changed.encode())?;
        std::fs::rename(&new, self.path(&name))?;
        *list = changed;
        Ok(())
    }

    /// Returns the lists of all other processes.
    pub(crate) fn other_lists(&self) -> io::Result<Vec<List>> {
        let mut lists = Vec::new();
        for entry in std::fs::read_dir(&self.files.folder)? {
            let entry = entry?;
            let rank = entry.file_name().to_str().and_then(rank_of);
            if rank.is_none_or(|rank| rank == self.files.rank) {
                continue;
            }
            let mut text = String::new();
            match File::open(entry.path()) {
                Ok(file) => file.take(MAX_LIST_BYTES).read_to_string(&mut text)?,
                // The process of this list has closed the container.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a damaged lock file");
            lists.push(List::decode(&text).ok_or_else(damaged)?);
        }
        Ok(lists)
    }
}

impl Drop for HeldFiles {
    fn drop(&mut self) {
        self.release(&self.files.rank.to_string());
        // The lists of other processes are still in it, unless this is the last process.
        let _is_in_use = std::fs::remove_dir(&self.files.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_what_was_written_and_a_truncated_list_is_refused() {
        let list = List { pins: BTreeSet::from([3, 7]), regions: BTreeSet::from([(4096, 65536)]) };
        let text = list.encode();
        assert_eq!(List::decode(&text), Some(list));
        assert_eq!(List::decode(&List::default().encode()), Some(List::default()));
        for length in 0..text.len() {
            assert_eq!(List::decode(&text[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn a_process_sees_the_lists_of_other_processes_until_they_close() {
        let dir = tempfile::tempdir().unwrap();
        let container = dir.path().join("run.h5");
        let files = |rank| LockFiles::beside(&container, 1, rank);
        files(0).make().unwrap();
        let [first, second] = [0, 1].map(|rank| HeldFiles::enter(&files(rank)).unwrap());
        second.change(|list| _ = list.pins.insert(5)).unwrap();
        assert_eq!(first.other_lists().unwrap(), [List { pins: BTreeSet::from([5]), ..List::default() }]);
        assert_eq!(second.other_lists().unwrap(), [List::default()]);
        assert!(first.take(COMMIT).unwrap() && !second.take(COMMIT).unwrap());
        first.release(COMMIT);
        assert!(second.take(COMMIT).unwrap());
        second.release(COMMIT);
        drop(second);
        assert!(first.other_lists().unwrap().is_empty());
        drop(first);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the last process deletes the folder");
    }

    #[test]
    fn a_new_run_ends_the_commits_of_an_earlier_one_and_leaves_foreign_files() {
        let dir = tempfile::tempdir().unwrap();
        let container = dir.path().join("run.h5");
        let files = |run| LockFiles::beside(&container, run, 0);
        files(1).make().unwrap();
        let earlier = HeldFiles::enter(&files(1)).unwrap();
        files(2).make().unwrap();
        assert!(earlier.take(COMMIT).is_err() && earlier.change(|_| ()).is_err());
        drop(earlier);
        let foreign = [files(2).folder.join("notes.txt"), dir.path().join(".run.h5.h5lake-run-mine")];
        foreign.iter().for_each(|path| std::fs::write(path, "mine").unwrap());
        files(3).make().unwrap();
        assert!(foreign.iter().all(|path| path.exists()));
    }
}
