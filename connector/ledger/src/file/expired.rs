//! Removes expired hidden containers of a folder, whatever the container's own name was: it may not exist any more, or lead
//! to another file.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use crate::clock;
use crate::error::{Error, Result};
use crate::file::file_io::OsFile;
use crate::file::open::{name, storage_clock};
use crate::file::replaced;
use crate::file::replaced::hidden::{HiddenName, parse};
use crate::file::temporary::{is_unshared, sweep_copy, sweep_unshared};
use crate::hidden_names::folder;
use crate::locks::Mutex;
use crate::paths::followed;
use crate::timekeeping::{StorageClock, at_most};

/// The number of entries of a folder that are read while a program waits for another operation.
const MAX_ENTRIES: usize = 4096;
/// The interval in microseconds after which a process searches a folder again.
const INTERVAL: u64 = 3_600_000_000;
/// The number of folders for which a process remembers the time of its last search.
const MAX_FOLDERS: usize = 64;

/// The suffix of the name of the journal of a copy.
const COPY: &[u8] = b".h5lake-copy";
/// The suffix of the name of a new container, until the container gets its own name.
const NEW_FILE: &[u8] = b".h5lake-new";
/// The time for which files of a killed copy, or of a killed creator without locks, stay, in microseconds.
const LEFTOVER_LIFETIME: u64 = 86_400_000_000;

/// The time of the last search of each folder.
static LOOKED: LazyLock<Mutex<HashMap<PathBuf, u64>>> = LazyLock::new(Mutex::default);

/// Returns whether this process has not searched a folder lately, and records a search at the time `now`. The lock may be held by a thread
/// of a parent process, which a forked child does not have, so it is not waited for.
fn is_time(folder: &Path, now: u64) -> bool {
    let Some(mut looked) = LOOKED.try_lock() else { return false };
    if looked.get(folder).is_some_and(|then| then.abs_diff(now) < INTERVAL) {
        return false;
    }
    if looked.len() >= MAX_FOLDERS {
        looked.clear();
    }
    looked.insert(folder.to_owned(), now);
    true
}

/// Removes some expired containers next to a container that is opened for writing, from time to time. `newest` returns the
/// time of that container's newest version.
pub(super) fn sweep_sometimes(path: &Path, clock: StorageClock, newest: impl FnOnce() -> u64) {
    let now = clock.now();
    if is_time(folder(path), now) {
        sweep_at(path, now, newest);
    }
}

/// Removes some containers that have expired according to the clock and the newest version.
pub(super) fn sweep_at(path: &Path, now: u64, newest: impl FnOnce() -> u64) {
    if let Ok(real) = followed(path) {
        sweep(folder(&real), at_most(now, newest()), MAX_ENTRIES);
    }
}

/// Removes all expired containers next to a name, by the clock of the file system.
pub(crate) fn sweep_beside(path: &Path) -> Result<()> {
    let target = name(path);
    let fail = |e| Error::io(&target, "looking for replaced containers", &e);
    let real = followed(path).map_err(fail)?;
    let folder = folder(&real);
    let file = Arc::new(tempfile::tempfile_in(folder).map_err(fail)?);
    sweep(folder, storage_clock(&OsFile::new(file, 0)).now(), usize::MAX);
    Ok(())
}

/// Removes the expired containers of a folder, among the first `most` entries; `now` is in microseconds.
pub(super) fn sweep(folder: &Path, now: u64, most: usize) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.take(most).flatten() {
        let file_name = entry.file_name();
        if file_name.as_bytes().starts_with(b".") && file_name.as_bytes().ends_with(COPY) {
            if is_a_day_old(&entry.path(), now) {
                sweep_copy(&entry.path());
            }
            continue;
        }
        if is_new(file_name.as_bytes()) {
            sweep_leftover(&entry.path(), now);
            continue;
        }
        if let Some(name) = said(file_name.as_bytes()) {
            replaced::sweep_one(&entry.path(), &name, now);
        }
    }
}

/// Removes a file that was left at least a day ago by a creator that has died.
pub(super) fn sweep_leftover(path: &Path, now: u64) {
    if is_a_day_old(path, now) {
        sweep_unshared(path);
    }
}

/// Returns whether a file name is that of a container that is being created.
fn is_new(name: &[u8]) -> bool {
    name.starts_with(b".") && name.ends_with(NEW_FILE) || is_unshared(name)
}

/// Returns whether a path leads to a regular file that was last written at least a day ago.
fn is_a_day_old(path: &Path, now: u64) -> bool {
    let Ok(meta) = path.symlink_metadata() else { return false };
    let written = meta.modified().map_or(u64::MAX, clock::since_1970);
    meta.is_file() && written.saturating_add(LEFTOVER_LIFETIME) <= now
}

/// Parses a hidden name.
fn said(name: &[u8]) -> Option<HiddenName> {
    const MIDDLE: &[u8] = b".h5lake-";
    let at = name.windows(MIDDLE.len()).rposition(|part| part == MIDDLE)?;
    (at > 0 && name[0] == b'.').then(|| parse(&name[at + MIDDLE.len()..]))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::options::{Access, Options, Replace};
    use std::time::Duration;

    const SECOND: u64 = 1_000_000;

    fn make(path: &Path) -> [u8; 16] {
        let opts = Options { retention: Some(Duration::from_secs(50)), ..Options::default() };
        let l = Ledger::create_file(path, Replace::Atomically, opts).unwrap();
        let id = l.identity().id;
        l.close().unwrap();
        id
    }

    fn count(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Containers that were replaced or deleted under several names, one of which is gone.
    fn folder_with_some() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a.h5"), dir.path().join("b".repeat(100)));
        for path in [&first, &first, &second, &second] {
            make(path);
        }
        let opts = Options { retention: Some(Duration::from_secs(50)), ..Options::default() };
        Ledger::remove_file(&second, &opts).unwrap();
        assert_eq!(count(dir.path()), 4);
        (dir, first)
    }

    #[test]
    fn opening_for_writing_removes_expired_containers() {
        let (dir, path) = folder_with_some();
        let open = |access| drop(Ledger::open_file(&path, access, Options::default()).unwrap());
        clock::wrong::BY.set(55_000_000);
        open(Access::ReadOnly);
        assert_eq!(count(dir.path()), 4, "a reader changes nothing");
        open(Access::ReadWrite);
        assert_eq!(count(dir.path()), 1);
        // The folder is searched again only after the interval.
        make(&path);
        clock::wrong::BY.set(0);
        assert_eq!(count(dir.path()), 2);
        let now = clock::now();
        assert!(!is_time(dir.path(), now) && is_time(&dir.path().join("elsewhere"), now));
    }

    #[test]
    fn only_expired_containers_are_removed() {
        let (dir, _) = folder_with_some();
        let like_one = dir.path().join(format!(".x.h5lake-replaced-{}-1", "0".repeat(32)));
        std::fs::write(&like_one, "something else").unwrap();
        sweep(dir.path(), clock::now(), usize::MAX);
        sweep(dir.path(), clock::now() + 60 * SECOND, 0);
        assert_eq!(count(dir.path()), 5);
        sweep(dir.path(), clock::now() + 60 * SECOND, usize::MAX);
        assert_eq!(count(dir.path()), 2);
        assert!(like_one.exists());
    }

    /// A pipe with a hidden name, and one with the name of a journal.
    #[test]
    fn nothing_waits_for_the_other_end_of_a_pipe() {
        let (dir, path) = folder_with_some();
        let pipe = |name: &str| {
            nix::unistd::mkfifo(&dir.path().join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
        };
        let hidden = format!(".{}.h5lake-replaced-{:032x}-1", path.file_name().unwrap().display(), 7);
        pipe(&hidden);
        sweep(dir.path(), clock::now() + 60 * SECOND, usize::MAX);
        assert!(dir.path().join(&hidden).exists());
        assert!(replaced::list(&path).unwrap().iter().all(|found| found.id != 7u128.to_be_bytes()));
        pipe(".new.h5.h5lake-copy");
        pipe(".new.h5.h5lake-new");
        use crate::origin::Origin;
        let origin = Origin { id: [1; 16], version: 1, time: 1, host: "node".into(), pid: 1 };
        let opts = Options { journal_bytes: 1, ..Options::default() };
        let copied = Ledger::create_copy_file(&dir.path().join("new.h5"), opts, &origin, |l, _| {
            let value = l.write_payload(&[7; 400_000])?.to_bytes();
            l.note_copied(b"k", &value, 400_000)
        });
        copied.unwrap().ledger.close().unwrap();
    }

    /// The clock of the file system decides.
    #[test]
    fn a_wrong_clock_removes_nothing() {
        let (dir, path) = folder_with_some();
        clock::wrong::BY.set(3650 * 86_400_000_000);
        sweep_beside(&path).unwrap();
        drop(Ledger::open_file(&path, Access::ReadWrite, Options::default()).unwrap());
        clock::wrong::BY.set(0);
        assert_eq!(count(dir.path()), 4);
    }

    #[test]
    fn files_of_an_unfinished_copy_are_removed_after_a_day() {
        use crate::origin::Origin;
        let origin = Origin { id: [1; 16], version: 1, time: 1, host: "node".into(), pid: 1 };
        let opts = Options { journal_bytes: 50_000, ..Options::default() };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let day = 24 * 3600 * SECOND;
        let copied = Ledger::create_copy_file(&path, opts, &origin, |l, _| {
            let value = l.write_payload(&[7; 400_000])?.to_bytes();
            l.note_copied(b"k", &value, 400_000)?;
            assert_eq!(count(dir.path()), 2);
            sweep(dir.path(), clock::now() + 2 * day, usize::MAX);
            assert_eq!(count(dir.path()), 2, "it is under way");
            Err(l.fail(crate::ErrorKind::Conflict))
        });
        copied.unwrap_err();
        sweep(dir.path(), clock::now() + day - 60 * SECOND, usize::MAX);
        assert_eq!(count(dir.path()), 2);
        sweep(dir.path(), clock::now() + day + 60 * SECOND, usize::MAX);
        assert_eq!(count(dir.path()), 0);
    }
}
