//! The temporary name of a container that is being created.
//!
//! There is one such name for each name of a container. So the next process that creates or writes a container of that name
//! finds the file of a dead creator, and removes it. The writer's lock shows if the creator is alive, because the lock ends
//! with its process.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use object_stores::open_regular;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::clock;
use crate::error::{Error, Result};
use crate::file::file_io::OsFile;
use crate::file::locks::Locks;
use crate::file::open::{is_at, locked};
use crate::file::replaced::{Leaving, swap_back, swap_in};
use crate::hidden_names::{folder, sibling};
use crate::options::{LockPolicy, Options, SyncPolicy, Writers};
use crate::paths::followed;

/// The suffix of the hidden name of a container that is being created.
const NEW: &str = "new";
/// The suffix of the hidden name of the journal of a copy.
pub(crate) const JOURNAL: &str = "copy";

/// The action if another file has the name that a file is about to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rename {
    /// Fail.
    New,
    /// Replace the other file.
    Replace,
}

/// The process that may create a container under a name.
pub(super) enum Turn {
    Ours(Temporary, Locks),
    /// Another process is creating it. The error names that process.
    Busy(Error),
}

/// A file under a temporary name, which is removed when this value is dropped.
pub(super) struct Temporary {
    file: Arc<File>,
    id: (u64, u64),
    path: PathBuf,
    options: Box<Options>,
    stays: bool,
}

impl Temporary {
    /// Creates and locks the temporary file for `real`, after it has removed the file of a dead creator.
    pub(super) fn make(real: &Path, opts: &Options, target: &str) -> Result<Turn> {
        let fail = |e: io::Error| Error::io(target, "creating", &e);
        let mut path = match opts.lock {
            // Without a lock, other creators would take this file for one of a dead creator.
            LockPolicy::Off => unshared_name(real, target)?,
            _ => sibling(real, NEW),
        };
        let file = match new_file(&path, opts) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                match sweep(&path, Some(real), opts, target) {
                    Leftover::Swept => new_file(&path, opts),
                    Leftover::InUse(e) => return Ok(Turn::Busy(e)),
                    Leftover::Unknown => {
                        path = unshared_name(real, target)?;
                        new_file(&path, opts)
                    }
                }
            }
            other => other,
        };
        let file = match file {
            Ok(file) => Arc::new(file),
            // Another creator removed the old file and created its own first.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(Turn::Busy(Error::new(target, crate::ErrorKind::locked(None))));
            }
            Err(e) => return Err(fail(e)),
        };
        let meta = file.metadata().map_err(|e| Error::io(target, "identifying", &e))?;
        let id = (meta.dev(), meta.ino());
        let made = Self { file, id, path, options: Box::new(opts.clone()), stays: false };
        // Locked before the file gets its name, so that no other process can lock it in between.
        match Locks::of_writer(&made.file, opts, target)? {
            Some(locks) if is_at(&made.path, made.id) => {
                if made.is_found_again() {
                    // This journal belongs to another copy, and the temporary file of that copy was removed.
                    let _another_has_it = std::fs::remove_file(sibling(real, JOURNAL));
                }
                Ok(Turn::Ours(made, locks))
            }
            // Between creation and lock, another creator took the file for one of a dead creator.
            _ => Ok(Turn::Busy(Error::new(target, crate::ErrorKind::locked(None)))),
        }
    }

    /// Locks the temporary file that a dead creator left for `real`, without changing it. Returns `None` if there is no
    /// such file, or if it is unknown whether the creator is dead.
    pub(super) fn take_over(real: &Path, opts: &Options, target: &str) -> Result<Option<Turn>> {
        let path = sibling(real, NEW);
        let Ok(Some(file)) = open_left(&path).map(|file| file.map(Arc::new)) else { return Ok(None) };
        let Some(meta) = file.metadata().ok().filter(is_own) else { return Ok(None) };
        let left =
            Self { file, id: (meta.dev(), meta.ino()), path, options: Box::new(opts.clone()), stays: true };
        Ok(match Locks::writer(&left.file, opts.lock, Writers::One, target)? {
            Some(locks) if locks.work() && is_at(&left.path, left.id) => Some(Turn::Ours(left, locks)),
            Some(_) => None,
            None => {
                let raw = OsFile::new(left.file.clone(), opts.user_block);
                Some(Turn::Busy(locked(target, &raw)))
            }
        })
    }

    /// Returns whether the next creator searches for the file under this name.
    pub(super) fn is_found_again(&self) -> bool {
        self.path.as_os_str().as_bytes().ends_with(NEW.as_bytes())
    }

    /// Keeps the file for the next creator, which may continue with it.
    pub(super) fn stay(&mut self) {
        self.stays = true;
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(super) fn id(&self) -> (u64, u64) {
        self.id
    }

    /// Gives the file its name in one step. After an error the name leads to the same file as before.
    pub(super) fn publish(self, real: &Path, rename: Rename, sync: SyncPolicy) -> io::Result<()> {
        self.check_there()?;
        match (sync, rename) {
            (SyncPolicy::Process, Rename::Replace) => std::fs::rename(&self.path, real),
            (SyncPolicy::Process, Rename::New) => rename_new(&self.path, real),
            (SyncPolicy::Commit, Rename::Replace) => {
                self.file.sync_all()?;
                self.exchange_synced(real)
            }
            (SyncPolicy::Commit, Rename::New) => {
                self.file.sync_all()?;
                rename_new(&self.path, real)?;
                sync_folder(real).inspect_err(|_| {
                    if is_at(real, self.id) {
                        let _what_can_be_done = std::fs::remove_file(real);
                    }
                })
            }
        }
    }

    /// Publishes the file as [`publish`](Self::publish) does, over a file that is retained under a hidden name. Returns false if
    /// another file has the name `real` by now; that file retains the name.
    pub(super) fn publish_keeping(
        mut self,
        real: &Path,
        leaving: &Leaving,
        sync: SyncPolicy,
    ) -> io::Result<bool> {
        self.check_there()?;
        if sync == SyncPolicy::Commit {
            self.file.sync_all()?;
        }
        let Some(hidden) = swap_in(&mut self.path, leaving.replacing(), real, leaving)? else {
            return Ok(false);
        };
        if sync == SyncPolicy::Commit
            && let Err(e) = sync_folder(real)
        {
            swap_back(&hidden, real)?;
            // It is removed under that name.
            self.path = hidden;
            return Err(e);
        }
        Ok(true)
    }

    fn check_there(&self) -> io::Result<()> {
        match is_at(&self.path, self.id) {
            true => Ok(()),
            false => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "somebody removed the new file before it had its name",
            )),
        }
    }

    /// Replaces the old file, which has the temporary name until the folder is synced.
    fn exchange_synced(&self, real: &Path) -> io::Result<()> {
        let exchange = || exchange(&self.path, real);
        match exchange() {
            Ok(()) => (),
            Err(e) if is_unsupported(&e) => {
                std::fs::rename(&self.path, real)?;
                return sync_folder(real);
            }
            Err(e) => return Err(e),
        }
        if let Err(e) = sync_folder(real) {
            exchange()?;
            return Err(e);
        }
        let _swept_later = std::fs::remove_file(&self.path);
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.stays || !is_at(&self.path, self.id) {
            return;
        }
        // A process that had the file open for writing may have released its lock, and another creator may be about to
        // remove the file.
        let again = Locks::writer(&self.file, self.options.lock, Writers::One, "");
        if !matches!(again, Ok(None)) && is_at(&self.path, self.id) {
            let _swept_later = std::fs::remove_file(&self.path);
        }
    }
}

/// Returns a name that no other creator uses or searches for.
fn unshared_name(real: &Path, target: &str) -> Result<PathBuf> {
    let random: [u8; 8] = clock::random(target)?;
    Ok(sibling(real, &format!("{NEW}-{:016x}", u64::from_le_bytes(random))))
}

/// Returns whether a file name has the form that [`unshared_name`] produces.
pub(super) fn is_unshared(name: &[u8]) -> bool {
    let hidden = std::str::from_utf8(name).ok().filter(|name| name.starts_with('.'));
    let random = hidden.and_then(|name| name.rsplit_once(".h5lake-new-")).map(|(_, random)| random);
    random.is_some_and(|random| random.len() == 16 && random.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn new_file(path: &Path, opts: &Options) -> io::Result<File> {
    #[cfg(test)]
    if IS_READ_ONLY.get() {
        return Err(Errno::EACCES.into());
    }
    // The umask is applied to the mode.
    File::options().read(true).write(true).create_new(true).mode(opts.file_mode).open(path)
}

/// Opens the file of an earlier creator. Returns `None` if it is no regular file.
fn open_left(path: &Path) -> io::Result<Option<File>> {
    Ok(open_regular(path, OpenOptions::new().read(true).write(true))?.map(|(file, _)| file))
}

/// Returns whether a file belongs to this user and has no other name. In a folder of several users, any user can create a
/// file of any name, or a link to one.
pub(super) fn is_own(meta: &Metadata) -> bool {
    meta.is_file() && meta.uid() == nix::unistd::geteuid().as_raw() && meta.nlink() == 1
}

/// The state of a temporary file of an earlier creator.
enum Leftover {
    /// Its creator was dead, and the file has been removed.
    Swept,
    /// Its creator is alive.
    InUse(Error),
    /// It is unknown whether the creator is alive.
    Unknown,
}

/// Removes the file of a dead creator next to the container that a path leads to. The file can be as large as that
/// container.
pub(super) fn sweep_beside(path: &Path, opts: &Options, target: &str) {
    if opts.lock != LockPolicy::Off
        && let Ok(real) = followed(path)
    {
        let _by_the_next = sweep(&sibling(&real, NEW), Some(&real), opts, target);
    }
}

/// Removes the temporary file of a creator that has died; `real` is the name for which the file was intended.
fn sweep(path: &Path, real: Option<&Path>, opts: &Options, target: &str) -> Leftover {
    let file = match open_left(path) {
        Ok(Some(file)) => Arc::new(file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Leftover::Swept,
        _ => return Leftover::Unknown,
    };
    let Ok(meta) = file.metadata() else { return Leftover::Unknown };
    // A file with a second name may be a container in use, unless the second name is the one for which the file was
    // intended.
    let was_published = || real.is_some_and(|real| is_at(real, (meta.dev(), meta.ino())));
    if meta.nlink() > 1 && !was_published() {
        return Leftover::Unknown;
    }
    let locks = match Locks::writer(&file, opts.lock, Writers::One, target) {
        Ok(Some(locks)) if locks.work() && meta.is_file() => locks,
        Ok(None) => return Leftover::InUse(locked(target, &OsFile::new(file, opts.user_block))),
        _ => return Leftover::Unknown,
    };
    // If its creator finished meanwhile, the file has another name by now, or none.
    let gone = !is_at(path, (meta.dev(), meta.ino())) || {
        let _it_leads_nowhere_then = journal_of(path).map(std::fs::remove_file);
        std::fs::remove_file(path).is_ok()
    };
    locks.release_writer();
    if gone { Leftover::Swept } else { Leftover::Unknown }
}

/// Returns the path of the journal that belongs to a temporary file, if it can have one.
fn journal_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.as_bytes().strip_suffix(NEW.as_bytes())?;
    Some(path.with_file_name(OsStr::from_bytes(&[name, JOURNAL.as_bytes()].concat())))
}

/// Removes the file of a dead creator, by any of its temporary names.
pub(super) fn sweep_unshared(path: &Path) {
    let _by_the_next = sweep(path, None, &Options::default(), "");
}

/// Removes the files of a killed copy, by the path of its journal. Files of a running copy stay.
pub(super) fn sweep_copy(journal: &Path) {
    let Some(name) = journal.file_name().and_then(|name| name.as_bytes().strip_suffix(JOURNAL.as_bytes()))
    else {
        return;
    };
    let new = journal.with_file_name(OsStr::from_bytes(&[name, NEW.as_bytes()].concat()));
    if matches!(sweep(&new, None, &Options::default(), ""), Leftover::Swept) {
        let _by_the_next = std::fs::remove_file(journal);
    }
}

/// Exchanges two names of one file system.
pub(super) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    #[cfg(test)]
    if NO_EXCHANGE.get() {
        return Err(Errno::EINVAL.into());
    }
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).map_err(io::Error::from)
}

pub(super) fn is_unsupported(e: &io::Error) -> bool {
    let errno = e.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP))
}

/// Renames a file to a name that no file has. rustix makes the system call itself: glibc has the function only from 2.28
/// on, and a plugin that needs it could not be loaded with an older glibc.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    let renamed = renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE);
    match renamed.map_err(io::Error::from) {
        Err(e) if is_unsupported(&e) => {
            std::fs::hard_link(from, to)?;
            let _swept_later = std::fs::remove_file(from);
            Ok(())
        }
        other => other,
    }
}

pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    SYNCED_FOLDERS.set(SYNCED_FOLDERS.get() + 1);
    File::open(folder(path))?.sync_all()
}

#[cfg(test)]
thread_local! {
    /// If set, no file can be created in any folder.
    pub(super) static IS_READ_ONLY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// If set, the file system cannot exchange names.
    pub(super) static NO_EXCHANGE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// The number of times that this thread synced a folder.
    pub(super) static SYNCED_FOLDERS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Replace;
    use crate::file::create::create;
    use crate::file::expired;
    use crate::file::open::open;
    use crate::options::Access;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn failing(_: crate::file::FileStorage) -> Result<()> {
        Err(Error::invalid("x", "no"))
    }

    fn all_options() -> Vec<Options> {
        let opts = |sync, lock| Options { sync, lock, ..Options::default() };
        let of = |sync| [opts(sync, LockPolicy::BestEffort), opts(sync, LockPolicy::Off)];
        [of(SyncPolicy::Process), of(SyncPolicy::Commit)].concat()
    }

    #[test]
    fn a_failed_creation_leaves_no_name_and_no_file() {
        for opts in all_options() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.h5");
            for replace in [Replace::Fail, Replace::Atomically] {
                create(&path, replace, &opts, &failing, &failing).unwrap_err();
                assert!(names(dir.path()).is_empty(), "{opts:?}");
            }
            std::fs::write(&path, "old").unwrap();
            create(&path, Replace::Atomically, &opts, &failing, &failing).unwrap_err();
            assert_eq!(std::fs::read(&path).unwrap(), b"old", "{opts:?}");
            assert_eq!(names(dir.path()), ["a.h5"], "{opts:?}");
            create(&path, Replace::Atomically, &opts, &|_| Ok(()), &|_| Ok(())).unwrap();
            assert_eq!(names(dir.path()), ["a.h5"], "{opts:?}");
            assert_ne!(std::fs::read(&path).unwrap(), b"old", "{opts:?}");
        }
    }

    #[test]
    fn files_of_a_dead_creator_are_removed_and_files_of_a_live_creator_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let left = sibling(&path, "new");
        std::fs::write(&left, "cut off").unwrap();
        let fill = |_| {
            // Another creator finds that this one is alive.
            let other = Temporary::make(&path, &Options::default(), "x").unwrap();
            assert!(matches!(other, Turn::Busy(_)));
            assert!(left.exists() && !path.exists());
            Ok(())
        };
        create(&path, Replace::Fail, &Options::default(), &fill, &fill).unwrap();
        assert_eq!(names(dir.path()), ["a.h5"]);
        // Without locks it is unknown whether the creator is dead, so the file stays.
        std::fs::write(&left, "cut off").unwrap();
        let unlocked = Options { lock: LockPolicy::Off, ..Options::default() };
        create(&path, Replace::Atomically, &unlocked, &|_| Ok(()), &|_| Ok(())).unwrap();
        assert_eq!(std::fs::read(&left).unwrap(), b"cut off");
    }

    /// Two creators at the same time, one that ignores locks and one that uses them.
    #[test]
    fn creators_without_locks_share_no_hidden_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let unlocked = Options { lock: LockPolicy::Off, ..Options::default() };
        let fill = |first| {
            for opts in [Options::default(), unlocked.clone()] {
                let fill = |_| {
                    let names = names(dir.path());
                    assert!(
                        names.iter().filter(|name| name.contains("h5lake-new")).count() == 2,
                        "{names:?}"
                    );
                    Ok(())
                };
                create(&path, Replace::Atomically, &opts, &fill, &fill).unwrap();
            }
            std::fs::remove_file(&path).unwrap();
            let made = Temporary::make(&path, &unlocked, "x").unwrap();
            let Turn::Ours(gone, _) = made else { panic!("nobody else uses its name") };
            std::fs::rename(&gone.path, dir.path().join("elsewhere")).unwrap();
            std::fs::write(&gone.path, "another's").unwrap();
            let hidden = gone.path.clone();
            gone.publish(&path, Rename::New, SyncPolicy::Process).unwrap_err();
            assert!(hidden.exists() && !path.exists());
            std::fs::remove_file(hidden).unwrap();
            std::fs::remove_file(dir.path().join("elsewhere")).unwrap();
            Ok(first)
        };
        create(&path, Replace::Fail, &unlocked, &fill, &fill).unwrap();
        assert_eq!(names(dir.path()), ["a.h5"]);
    }

    #[test]
    fn files_of_a_creator_without_locks_are_removed_after_a_day() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let left = unshared_name(&path, "x").unwrap();
        assert!(is_unshared(left.file_name().unwrap().as_bytes()));
        for other in ["a.h5lake-new-0123456789abcdef", ".a.h5lake-new", ".a.h5lake-new-0123456789abcdeg"] {
            assert!(!is_unshared(other.as_bytes()), "{other}");
        }
        std::fs::write(&left, "cut off").unwrap();
        let sweep = |hours: u64| expired::sweep(dir.path(), clock::now() + hours * 3_600_000_000, usize::MAX);
        sweep(23);
        let creator =
            Locks::writer(&Arc::new(to_write(&left)), LockPolicy::BestEffort, Writers::One, "x").unwrap();
        sweep(25);
        assert!(left.exists());
        drop(creator);
        sweep(25);
        assert!(!left.exists());
    }

    /// Any user can give another user's file a hidden name, if several users may write to the folder.
    #[test]
    fn a_hidden_name_of_a_file_with_another_name_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a.h5"), dir.path().join("precious.h5"));
        drop(create(&other, Replace::Fail, &Options::default(), &Ok, &Ok).unwrap());
        let before = std::fs::read(&other).unwrap();
        let hidden = sibling(&path, "new");
        std::fs::hard_link(&other, &hidden).unwrap();
        // A lock on that file would exclude its own writer.
        let in_use = open(&other, Access::ReadWrite, &Options::default(), None).unwrap();
        drop(create(&path, Replace::Fail, &Options::default(), &Ok, &Ok).unwrap());
        drop(in_use);
        drop(open(&path, Access::ReadWrite, &Options::default(), None).unwrap());
        assert!(hidden.exists() && std::fs::read(&other).unwrap() == before);
        std::fs::remove_file(&hidden).unwrap();
        std::os::unix::fs::symlink("precious.h5", &hidden).unwrap();
        drop(create(&path, Replace::Atomically, &Options::default(), &Ok, &Ok).unwrap());
        assert!(hidden.is_symlink() && std::fs::read(&other).unwrap() == before);
    }

    #[test]
    fn a_writer_removes_files_of_a_dead_creator() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("a.h5"), dir.path().join("link.h5"));
        let (left, opts) = (sibling(&path, "new"), Options::default());
        drop(create(&path, Replace::Fail, &opts, &Ok, &Ok).unwrap());
        std::os::unix::fs::symlink("a.h5", &link).unwrap();
        for (by, writers) in [(&path, Writers::One), (&path, Writers::Many), (&link, Writers::One)] {
            let opts = Options { writers, ..opts.clone() };
            std::fs::write(&left, "cut off").unwrap();
            drop(open(by, Access::ReadOnly, &opts, None).unwrap());
            assert!(left.exists(), "a reader changes nothing");
            let creator = Locks::writer(&Arc::new(to_write(&left)), opts.lock, writers, "x").unwrap();
            drop(open(by, Access::ReadWrite, &opts, None).unwrap());
            assert!(left.exists(), "its creator lives");
            drop(creator);
            drop(open(by, Access::ReadWrite, &opts, None).unwrap());
            assert!(!left.exists(), "{by:?} {writers:?}");
        }
    }

    fn to_write(path: &Path) -> File {
        File::options().read(true).write(true).open(path).unwrap()
    }

    #[test]
    fn long_names_have_short_hidden_ones() {
        let long = |last: &str| PathBuf::from(format!("/d/{}{last}", "x".repeat(250)));
        let hidden = sibling(&long("1"), "new");
        assert!(hidden.file_name().unwrap().len() < 100);
        assert_ne!(hidden, sibling(&long("2"), "new"));
        assert_eq!(sibling(Path::new("a.h5"), "new"), Path::new("./.a.h5.h5lake-new"));
    }
}
