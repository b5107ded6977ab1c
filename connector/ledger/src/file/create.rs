//! Creates a container's file.
//!
//! The container is created under a temporary name in the same folder, up to its first version, and then gets its own name
//! in one step. So at every instant that name leads to the complete old container, to the complete new one, or to nothing.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::file::file_io::{FileIo, OsFile};
use crate::file::locks::Locks;
use crate::file::open::{
    OpenedFile, container, in_objects, is_at, is_head_of_store, locked_for_good, name, not_ours,
    recognised_base, storage, storage_clock,
};
use crate::file::superblock::{self, Fixed, Slot};
use crate::file::temporary::{Rename, Temporary, Turn};
use crate::file::writer::FileWriter;
use crate::file::{FileStorage, permissions, replaced};
use crate::options::{Options, Replace, Writers};
use crate::paths::{followed, kind_of};
use crate::timekeeping::{StorageClock, at_most};

/// The number of attempts while other processes create and replace files under the same name.
const MAX_ATTEMPTS: u32 = 200;
/// The longest pause between attempts.
const MAX_PAUSE: Duration = Duration::from_millis(10);

pub(super) fn check_user_block(target: &str, bytes: u64) -> Result<()> {
    if bytes != 0 && (bytes < 512 || !bytes.is_power_of_two()) {
        let why = format!("a user block of {bytes} bytes; 0 or a power of two from 512 on is possible");
        return Err(Error::invalid(target, why));
    }
    Ok(())
}

/// Returns the superblock of a new container.
pub(crate) fn fresh(
    target: &str,
    user_block: u64,
    sources: bool,
    time: StorageClock,
) -> Result<(Fixed, Slot)> {
    let created = time.now();
    let id = clock::random(target)?;
    let fixed = Fixed { id, base: user_block, created, tags: false, sources };
    let slot = Slot { time: created, end: superblock::DATA, base_end: superblock::DATA, ..Slot::default() };
    Ok((fixed, slot))
}

/// A function that opens a container and fills it.
pub(crate) type Fill<'a, T> = &'a dyn Fn(FileStorage) -> Result<T>;

/// Creates a container. `fill` opens it and commits its first version. The container gets its name after that, and no name
/// if `fill` fails. `fill` is called again if another creator was faster. If the folder is not writable, `over` opens the
/// old container, and replaces its content by one commit.
pub(crate) fn create<T>(
    path: &Path,
    replace: Replace,
    opts: &Options,
    fill: Fill<'_, T>,
    over: Fill<'_, T>,
) -> Result<T> {
    let target = name(path);
    let creation = Creation { path, replace, opts, target: &target, fill, over };
    let mut holder = None;
    for n in 0..MAX_ATTEMPTS {
        match creation.attempt()? {
            Attempt::Done(made) => return Ok(made),
            Attempt::Changed => (),
            Attempt::Barred(e) => return Err(e),
            Attempt::Busy(e) => {
                holder = Some(e);
                std::thread::sleep(MAX_PAUSE.min(Duration::from_micros(100 << n.min(10))));
            }
        }
    }
    Err(holder.unwrap_or_else(|| Error::new(&target, ErrorKind::locked(None))))
}

/// The result of an attempt to create a container.
enum Attempt<T> {
    Done(T),
    /// Another file appeared under the name meanwhile.
    Changed,
    /// Another creator is making a container for this name.
    Busy(Error),
    /// No file can be created in the folder, or get a name there.
    Barred(Error),
}

impl<T> Attempt<T> {
    /// Returns the result for an error of creating a file in the folder.
    fn barred(e: Error) -> Result<Self> {
        match e.kind() {
            ErrorKind::PermissionDenied { .. } => Ok(Self::Barred(e)),
            _ => Err(e),
        }
    }
}

/// The file that has the name of a new container.
struct Old {
    file: Arc<File>,
    meta: Metadata,
}

impl Old {
    fn id(&self) -> (u64, u64) {
        (self.meta.dev(), self.meta.ino())
    }
}

struct Creation<'a, T> {
    path: &'a Path,
    replace: Replace,
    opts: &'a Options,
    target: &'a str,
    fill: Fill<'a, T>,
    over: Fill<'a, T>,
}

impl<T> Creation<'_, T> {
    fn fail(&self, e: &io::Error) -> Error {
        Error::io(self.target, "creating", e)
    }

    fn attempt(&self) -> Result<Attempt<T>> {
        let exists = std::fs::symlink_metadata(self.path);
        if self.replace != Replace::Atomically && exists.is_ok() {
            return Err(Error::new(self.target, ErrorKind::AlreadyExists));
        }
        let real = match exists {
            Ok(meta) if meta.is_symlink() => followed(self.path).map_err(|e| self.fail(&e))?,
            _ => self.path.to_path_buf(),
        };
        match File::options().read(true).write(true).open(&real) {
            Ok(file) => {
                let meta = file.metadata().map_err(|e| self.fail(&e))?;
                self.attempt_over(&real, Old { meta, file: Arc::new(file) })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => match self.beside(&real, None) {
                Err(e) if *e.kind() == ErrorKind::AlreadyExists && self.replace == Replace::Atomically => {
                    Ok(Attempt::Changed)
                }
                other => other,
            },
            Err(e) => Err(self.fail(&e)),
        }
    }

    /// Replaces a file. The file's lock is held until the new file has the name, so that of two processes that replace at
    /// the same time one fails.
    fn attempt_over(&self, real: &Path, old: Old) -> Result<Attempt<T>> {
        let guard = self.lock_replaceable(real, &old)?;
        let made = if is_at(real, old.id()) { self.beside(real, Some(&old)) } else { Ok(Attempt::Changed) };
        match made {
            Ok(Attempt::Barred(e)) => self.in_the_file(old, guard, &e).map(Attempt::Done),
            other => {
                guard.release_writer();
                other
            }
        }
    }

    /// Locks a file that is about to be replaced. Returns an error if a writer has it open, or if it is no regular file.
    fn lock_replaceable(&self, real: &Path, Old { file, meta }: &Old) -> Result<Locks> {
        if !meta.is_file() {
            return Err(not_ours(self.target, kind_of(meta)));
        }
        // Without the head object, no file would refer to the other objects of the container.
        if is_head_of_store(file, meta.len(), self.target) {
            return Err(in_objects(real));
        }
        match Locks::writer(file, self.opts.lock, Writers::One, self.target)? {
            Some(locks) => Ok(locks),
            None => {
                let base = recognised_base(file, meta.len(), self.target);
                Err(locked_for_good(self.target, file, &OsFile::new(file.clone(), base)))
            }
        }
    }

    /// Creates the complete container in a temporary file, and gives it the name in one step.
    fn beside(&self, real: &Path, old: Option<&Old>) -> Result<Attempt<T>> {
        check_user_block(self.target, self.opts.user_block)?;
        let (temporary, locks) = match Temporary::make(real, self.opts, self.target) {
            Ok(Turn::Ours(temporary, locks)) => (temporary, locks),
            Ok(Turn::Busy(e)) => return Ok(Attempt::Busy(e)),
            Err(e) => return Attempt::barred(e),
        };
        if let Some(old) = old {
            permissions::keep(&old.file, &old.meta, temporary.file()).map_err(|e| self.fail(&e))?;
        }
        let (file, id) = (temporary.file().clone(), temporary.id());
        let made = (self.fill)(self.empty(file.clone(), id, locks)?)?;
        let leaving = match old {
            Some(old) => {
                replaced::forget(real, &old.file);
                let now = || self.clock_of(temporary.file()).now();
                replaced::leaving(&old.file, self.opts, now, self.target)?
            }
            None => None,
        };
        let published = match (&leaving, old) {
            (Some(leaving), _) => temporary.publish_keeping(real, leaving, self.opts.sync),
            (None, Some(_)) => temporary.publish(real, Rename::Replace, self.opts.sync).map(|()| true),
            (None, None) => temporary.publish(real, Rename::New, self.opts.sync).map(|()| true),
        };
        match published {
            Ok(true) => (),
            Ok(false) => return Ok(Attempt::Changed),
            Err(e) => return Attempt::barred(self.fail(&e)),
        }
        if let (Some(_), Some(old)) = (leaving, old) {
            let now = self.clock_of(&file).now();
            replaced::sweep(real, at_most(now, replaced::newest_time(&old.file)));
        }
        Ok(Attempt::Done(made))
    }

    /// Creates the container in the existing file, because the folder is not writable. A container gets the new content as
    /// its next version. The content of any other file is overwritten, unless it is a damaged container that has to be
    /// retained.
    fn in_the_file(&self, old: Old, guard: Locks, barred: &Error) -> Result<T> {
        let made = match container(&old.file, old.meta.len(), self.target) {
            Ok(fixed) => self.over_container(&old, fixed, guard, barred),
            Err(e) => {
                guard.release_writer();
                Err(e)
            }
        };
        match made {
            Err(e) if is_unreadable(&e) && replaced::is_to_stay(&old.file, self.opts) => {
                let barred = io::Error::from_raw_os_error(barred.errno().unwrap_or(1));
                Err(replaced::cannot_stay(self.target, &barred))
            }
            Err(e) if is_unreadable(&e) => self.in_place(old),
            made => made,
        }
    }

    /// Replaces the content of a container, which is locked. The id, tags, branches and user block of the container are retained.
    fn over_container(&self, old: &Old, fixed: Fixed, guard: Locks, barred: &Error) -> Result<T> {
        if let Err(e) = self.check_fits(&fixed, barred) {
            guard.release_writer();
            return Err(e);
        }
        let opts = Options { writers: Writers::One, ..self.opts.clone() };
        let raw = OsFile::new(old.file.clone(), fixed.base);
        let noted = FileWriter::leave_note(&raw);
        let clock = if noted { storage_clock(&raw) } else { StorageClock::default() };
        let opened = OpenedFile { file: old.file.clone(), fixed, id: old.id(), is_writable: true };
        (self.over)(storage(self.target.into(), opened, guard, Some(clock), &opts))
    }

    /// Returns an error for a new container that cannot be stored in the file of the old container.
    fn check_fits(&self, fixed: &Fixed, barred: &Error) -> Result<()> {
        let Options { user_block, sources, .. } = *self.opts;
        let why = if user_block != fixed.base {
            format!("a user block of {} bytes, and not of {user_block}", fixed.base)
        } else if sources && !fixed.sources {
            "a form that cannot refer to native files".to_owned()
        } else {
            return Ok(());
        };
        let what = format!(
            "cannot replace the container, because its folder cannot be written, and the file has {why}; allow writing to the folder, or \
             create the container in another one"
        );
        Err(Error::new(self.target, ErrorKind::AccessDenied { errno: barred.errno().unwrap_or(13), what }))
    }

    /// Overwrites a file. This is not atomic; it has the same effect as `open(O_TRUNC)`.
    fn in_place(&self, old: Old) -> Result<T> {
        check_user_block(self.target, self.opts.user_block)?;
        let locks = Locks::of_writer(&old.file, self.opts, self.target)?;
        let locks = locks.ok_or_else(|| Error::new(self.target, ErrorKind::locked(None)))?;
        old.file.set_len(0).map_err(|e| Error::io(self.target, "emptying", &e))?;
        let id = old.id();
        (self.fill)(self.empty(old.file, id, locks)?)
    }

    /// Returns the clock of the file system, from a file that was changed just now.
    fn clock_of(&self, file: &Arc<File>) -> StorageClock {
        storage_clock(&OsFile::new(file.clone(), 0))
    }

    /// Writes the superblock of an empty container into a file that was changed just now.
    fn empty(&self, file: Arc<File>, id: (u64, u64), locks: Locks) -> Result<FileStorage> {
        empty_in(file, id, locks, self.opts, self.target)
    }
}

/// Returns whether an error means that a file holds no container that can be opened.
fn is_unreadable(e: &Error) -> bool {
    use ErrorKind::{Corrupt, EarlierFormat, NewerFormat, NotAContainer, WrongStorage};
    matches!(
        e.kind(),
        Corrupt { .. }
            | EarlierFormat { .. }
            | NewerFormat { .. }
            | NotAContainer { .. }
            | WrongStorage { .. }
    )
}

/// Writes the superblock of an empty container into a file that was changed just now.
pub(super) fn empty_in(
    file: Arc<File>,
    id: (u64, u64),
    locks: Locks,
    opts: &Options,
    target: &str,
) -> Result<FileStorage> {
    let time = storage_clock(&OsFile::new(file.clone(), 0));
    let (fixed, slot) = fresh(target, opts.user_block, opts.sources, time)?;
    let opened = OpenedFile { file, fixed, id, is_writable: true };
    let storage = storage(target.into(), opened, locks, Some(time), opts);
    write_new(storage.raw.as_ref(), &storage.fixed, &slot, target)?;
    Ok(storage)
}

/// Writes the superblock of a new container, through a file that writes it again after a failed sync.
fn write_new(raw: &dyn FileIo, fixed: &Fixed, slot: &Slot, target: &str) -> Result<()> {
    let mut bytes = superblock::new_head(fixed, slot);
    let note = superblock::encode_note(&superblock::myself());
    bytes[superblock::NOTE as usize..superblock::NOTE as usize + note.len()].copy_from_slice(&note);
    raw.write_at(&bytes, 0).map_err(|e| Error::io(target, "writing the head", &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::open::{find, open, still_there};
    use crate::file::resync::resyncing;
    use crate::file::sim_file::SimFile;
    use crate::options::{Access, LockPolicy, SyncPolicy};

    #[test]
    fn a_new_head_survives_a_sync_that_fails_once() {
        let f = SimFile::of(Vec::new());
        let raw = resyncing(Arc::new(f.clone()), SyncPolicy::Commit, Writers::One);
        let (fixed, slot) = fresh("x", 0, false, StorageClock::default()).unwrap();
        write_new(raw.as_ref(), &fixed, &slot, "x").unwrap();
        f.fail_syncs(1, 1, false);
        raw.sync().unwrap();
        let left = f.after_power_loss(|| false);
        assert_eq!(Fixed::decode(&left[..superblock::FIXED], "x").unwrap(), fixed);
        // The superblock of a new file is written in that way.
        let dir = tempfile::tempdir().unwrap();
        let opts = Options { sync: SyncPolicy::Commit, ..Options::default() };
        create(&dir.path().join("a.h5"), Replace::Fail, &opts, &Ok, &Ok).unwrap();
        assert!(opts.statistics.writes.read().bytes >= superblock::DATA);
    }

    /// If a folder is not writable, a new container is created in the file of the old one.
    #[test]
    fn a_writer_knows_the_container_that_it_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        create(&path, Replace::Fail, &Options::default(), &Ok, &Ok).unwrap();
        let opened = find(&path, Access::ReadWrite, "x").unwrap();
        assert!(still_there(&path, &opened).is_some());
        for user_block in [0, 2048] {
            let opts = Options { user_block, ..Options::default() };
            let (replace, fill) = (Replace::Atomically, &Ok);
            let creation = Creation { path: &path, replace, opts: &opts, target: "x", fill, over: fill };
            let old = Old { file: opened.file.clone(), meta: opened.file.metadata().unwrap() };
            creation.in_place(old).unwrap();
            assert!(still_there(&path, &opened).is_none(), "{user_block}");
        }
        let unlocked = Options { lock: LockPolicy::Off, ..Options::default() };
        assert_eq!(open(&path, Access::ReadWrite, &unlocked, Some(opened)).unwrap().fixed.base, 2048);
    }
}
