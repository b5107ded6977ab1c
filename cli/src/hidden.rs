//! Hidden names of h5lake, the temporary folders of the tool, and the deletion of temporaries that a killed tool left behind.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{SigSet, Signal, raise};

use crate::Failure;
use crate::helper::{Remover, wait_for_starter};

/// The mark in all hidden names of h5lake.
const MARK: &[u8] = b".h5lake-";
/// The words behind the mark in hidden names in the folder of a container `NAME`, as in `.NAME.h5lake-new`. They are defined in `temporary.rs` and
/// `replaced.rs` of the ledger.
const BESIDE_A_CONTAINER: [&[u8]; 4] = [b"new", b"copy", b"replaced", b"replacing"];
/// The word behind the mark in the names of pointer files that [`restore`](crate::restore) sets aside.
const POINTER: &[u8] = b"pointer";
/// The words behind the mark in names of temporaries of the tool and of its Python package (`_temporary.py`). A `-` follows.
const TEMPORARIES: [&str; 6] = ["conversion", "adoption", "references", "zarr", "parquet", "icechunk"];
/// The age at which an abandoned temporary is deleted. It is the same as in the ledger.
const LEFTOVER_LIFETIME: Duration = Duration::from_secs(86_400);
/// The number of further attempts to delete a temporary, and their interval. They take two seconds in all.
const MAX_REMOVALS: u32 = 100;
const REMOVAL_INTERVAL: Duration = Duration::from_millis(20);
/// The number of entries of a folder that are checked for abandoned temporaries.
const MAX_ENTRIES: usize = 4096;

/// Returns whether h5lake uses this name for its own files next to the files of a user.
pub fn is_of_h5lake(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let Some(at) = name.windows(MARK.len()).rposition(|part| part == MARK) else { return false };
    let what = &name[at + MARK.len()..];
    // The name of a pointer file that was set aside does not begin with a dot, so that users see the file.
    let beside = || name.starts_with(b".") && BESIDE_A_CONTAINER.iter().any(|known| is_kind(what, known));
    at == 0 || is_kind(what, POINTER) || beside()
}

/// Returns whether a text is a word, alone or followed by a `-`.
fn is_kind(text: &[u8], word: &[u8]) -> bool {
    text.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest[0] == b'-')
}

/// Returns whether a name is that of a temporary of the tool or of its Python package.
fn is_temporary(name: &OsStr) -> bool {
    let what = name.as_bytes().strip_prefix(MARK);
    what.is_some_and(|what| TEMPORARIES.iter().any(|kind| is_kind(what, kind.as_bytes())))
}

/// Returns 16 random digits. A process id would not be unique, because processes on several machines or in several containers may have the
/// same one.
pub fn random() -> io::Result<String> {
    let mut random = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(format!("{:016x}", u64::from_le_bytes(random)))
}

/// Returns a new name for a temporary of a kind in a folder.
pub fn temporary_name(folder: &Path, kind: &str) -> io::Result<PathBuf> {
    debug_assert!(TEMPORARIES.contains(&kind), "{kind} is not swept");
    std::path::absolute(folder.join(format!(".h5lake-{kind}-{}", random()?)))
}

/// A temporary folder. It is deleted with its content when the value is dropped or this process is killed. Only the owner can read it.
pub struct TemporaryFolder {
    path: PathBuf,
    /// The process that deletes the folder if this process is killed. It is dropped last, after the folder was deleted.
    _remover: Option<Remover>,
}

impl TemporaryFolder {
    /// Creates the folder, and deletes old temporaries next to it. `of` is the file to be made, which an error names.
    pub fn make(folder: &Path, kind: &str, of: &Path) -> Result<Self, Failure> {
        let create = |path: PathBuf| {
            DirBuilder::new().mode(0o700).create(&path)?;
            // If the process cannot be started, a killed tool leaves a folder that is deleted later as an abandoned temporary.
            let _remover = Remover::start(&path).ok();
            Ok(Self { path, _remover })
        };
        let made = temporary_name(folder, kind).and_then(create);
        let made = made.map_err(|error| format!("{}: {error}", of.display()))?;
        made.sweep_beside();
        Ok(made)
    }

    /// Returns the path of a file in the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Deletes abandoned temporaries of this user next to the folder. The modification time of the folder gives the present time of the file
    /// system's clock.
    fn sweep_beside(&self) {
        let (Ok(own), Some(folder)) = (self.path.metadata(), self.path.parent()) else { return };
        let now = own.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        sweep(folder, own.uid(), now);
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _remaining_files_are_swept_later = fs::remove_dir_all(&self.path);
    }
}

/// Deletes the temporary that contains the path or that is the path. Deletes nothing else.
pub fn remove_temporary_of(path: &Path) {
    path.ancestors().take(2).for_each(remove_temporary);
}

/// Deletes a temporary, and nothing that has another name. Repeats the attempt, because another process or thread may still create files in
/// the folder, which prevents its deletion.
pub fn remove_temporary(place: &Path) {
    if !place.file_name().is_some_and(is_temporary) {
        return;
    }
    remove(place);
    for _ in 0..MAX_REMOVALS {
        if place.symlink_metadata().is_err() {
            break;
        }
        std::thread::sleep(REMOVAL_INTERVAL);
        remove(place);
    }
}

/// Runs the process of a [`Remover`].
pub fn remove_when_starter_is_gone(temporary: &Path) {
    // Signals are blocked, because a batch system sends them to all processes of a job at once.
    let _it_may_end_early = SigSet::all().thread_block();
    wait_for_starter();
    // The temporary may be in another temporary, which must not be deleted.
    remove_temporary(temporary);
}

/// Starts a thread in a helper process that waits for the end of the process that started the helper. Then it deletes the temporary that
/// contains the path, and kills the helper. It kills instead of exiting, because exit handlers must not run while libhdf5 runs in another
/// thread.
pub fn end_with_starter(made: PathBuf) {
    std::thread::spawn(move || {
        wait_for_starter();
        remove_temporary_of(&made);
        let _not_reached = raise(Signal::SIGKILL);
    });
}

fn remove(path: &Path) {
    let is_folder = path.symlink_metadata().is_ok_and(|found| found.is_dir());
    // The next sweep deletes what could not be deleted here.
    let _left = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

fn sweep(folder: &Path, owner: u32, now: SystemTime) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.take(MAX_ENTRIES).flatten() {
        let path = entry.path();
        if is_temporary(&entry.file_name()) && is_leftover(&path, owner, now, &mut { MAX_ENTRIES }) {
            remove(&path);
        }
    }
}

/// Returns whether a file belongs to the owner and was last changed at least a day ago, and whether the same holds for all files in a
/// folder. Returns false for a folder with more than `most` entries.
fn is_leftover(path: &Path, owner: u32, now: SystemTime, most: &mut usize) -> bool {
    let Ok(found) = path.symlink_metadata() else { return false };
    let is_old = |changed: SystemTime| now.duration_since(changed).is_ok_and(|age| age >= LEFTOVER_LIFETIME);
    if found.uid() != owner || !found.modified().is_ok_and(is_old) {
        return false;
    }
    if !found.is_dir() {
        return true;
    }
    let Ok(mut entries) = fs::read_dir(path) else { return false };
    entries.all(|entry| {
        *most = most.saturating_sub(1);
        *most > 0 && entry.is_ok_and(|entry| is_leftover(&entry.path(), owner, now, most))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use h5lake_ledger::{Ledger, Options, Origin, Replace};

    fn names(folder: &Path) -> Vec<std::ffi::OsString> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_temporary_goes_while_another_thread_writes_there() {
        let dir = tempfile::tempdir().unwrap();
        let folder = temporary_name(dir.path(), "adoption").unwrap();
        fs::create_dir(&folder).unwrap();
        let made = folder.join("made.h5");
        std::thread::scope(|scope| {
            // The thread tries 2,000 times to create a file, which fails once the folder is deleted.
            scope.spawn(|| (0..2_000).for_each(|n| drop(File::create(folder.join(n.to_string())))));
            remove_temporary_of(&made);
        });
        assert!(!folder.exists());
    }

    #[test]
    fn names_of_users_are_not_those_of_h5lake() {
        for name in [
            ".a.h5",
            "a.h5",
            ".h5lake",
            "a.h5lake-data.h5",
            "a.h5.h5lake-new",
            ".my.h5lake-news",
            "h5lake-conversion-1",
        ] {
            assert!(!is_of_h5lake(OsStr::new(name)), "{name}");
        }
        for name in [
            ".a.h5.h5lake-new-0123",
            ".a.h5.h5lake-replacing-0123-45",
            "..h5lake-conversion-1.h5.h5lake-new",
            ".h5lake-zarr-1",
            "a.h5.0123.h5lake-pointer",
        ] {
            assert!(is_of_h5lake(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn names_hidden_by_the_ledger_are_recognized() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let options = Options { retention: Some(Duration::from_secs(50)), ..Options::default() };
        for _ in 0..2 {
            Ledger::create_file(&path, Replace::Atomically, options.clone()).unwrap().close().unwrap();
        }
        Ledger::remove_file(&path, &options).unwrap();
        let all_hidden = |count: usize| {
            let left = names(dir.path());
            assert!(left.len() == count && left.iter().all(|name| is_of_h5lake(name)), "{left:?}");
        };
        all_hidden(2);
        let origin = Origin { id: [1; 16], version: 1, time: 1, host: "node".into(), pid: 1 };
        let of_copy = Options { journal_bytes: 1, ..Options::default() };
        let copied =
            Ledger::create_copy_file(&path, of_copy, &origin, |to, _| -> h5lake_ledger::Result<()> {
                let value = to.write_payload(&[7; 400_000])?.to_bytes();
                to.note_copied(b"k", &value, 400_000)?;
                all_hidden(4);
                Ok(())
            });
        copied.unwrap().ledger.close().unwrap();
    }

    #[test]
    fn only_abandoned_temporaries_are_removed_after_a_day() {
        let dir = tempfile::tempdir().unwrap();
        for kind in TEMPORARIES {
            let left = temporary_name(dir.path(), kind).unwrap();
            fs::create_dir(&left).unwrap();
            fs::write(left.join("made.h5"), "half").unwrap();
        }
        fs::write(dir.path().join(".h5lake-references-0123.json"), "half").unwrap();
        fs::write(dir.path().join(".h5lake-mine"), "precious").unwrap();
        let owner = dir.path().metadata().unwrap().uid();
        sweep(dir.path(), owner, SystemTime::now() + LEFTOVER_LIFETIME - Duration::from_secs(60));
        sweep(dir.path(), owner + 1, SystemTime::now() + 2 * LEFTOVER_LIFETIME);
        assert_eq!(names(dir.path()).len(), TEMPORARIES.len() + 2);
        sweep(dir.path(), owner, SystemTime::now() + LEFTOVER_LIFETIME + Duration::from_secs(60));
        assert_eq!(names(dir.path()), [".h5lake-mine"]);
    }

    #[test]
    fn a_folder_with_a_new_file_is_not_abandoned() {
        let dir = tempfile::tempdir().unwrap();
        let left = temporary_name(dir.path(), "zarr").unwrap();
        fs::create_dir_all(left.join("x")).unwrap();
        let owner = dir.path().metadata().unwrap().uid();
        let later = SystemTime::now() + 2 * LEFTOVER_LIFETIME;
        File::create(left.join("x/0")).unwrap().set_modified(later).unwrap();
        sweep(dir.path(), owner, later);
        assert!(left.exists());
    }

    #[test]
    fn only_temporaries_are_removed_with_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let folder = TemporaryFolder::make(dir.path(), "adoption", Path::new("a.h5")).unwrap();
        let (made, users) = (folder.join("made.h5"), dir.path().join("a.h5"));
        fs::write(&made, "half").unwrap();
        fs::write(&users, "whole").unwrap();
        remove_temporary_of(&users);
        assert!(users.exists() && made.exists());
        remove_temporary_of(&made);
        assert_eq!(names(dir.path()), ["a.h5"]);
    }
}
