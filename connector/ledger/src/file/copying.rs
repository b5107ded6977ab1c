//! Copies into a file that continue an earlier attempt: in its temporary file, by the journal next to it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::file::create::{check_user_block, empty_in};
use crate::file::file_io::OsFile;
use crate::file::journal::{FileJournal, FoundJournal};
use crate::file::locks::Locks;
use crate::file::log;
use crate::file::open::{OpenedFile, container, name, storage, storage_clock};
use crate::file::temporary::{JOURNAL, Rename, Temporary, Turn};
use crate::file::writer::FileWriter;
use crate::file::{FileStorage, lock};
use crate::hidden_names::sibling;
use crate::journal::{EarlierTry, JournalHeader};
use crate::locks::Mutex;
use crate::options::Options;
use crate::origin::Origin;

/// The number of attempts while other processes create files under the same name.
const MAX_ATTEMPTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// The result of filling a new container.
pub(crate) enum Filled<T> {
    /// The container is committed.
    Whole(T),
    /// The copy was abandoned. `stays` says if its files stay for the next attempt.
    GivenUp { stays: bool },
}

/// Fills a new container, or continues that of an earlier attempt. A container of version 1 is already complete.
pub(crate) type Fill<'a, T> = &'a mut dyn FnMut(FileStorage, EarlierTry) -> Result<Filled<T>>;

/// Creates a container that is a copy of `origin`, or continues an earlier attempt. Returns `None` if the copy was
/// abandoned.
pub(crate) fn create_copy<T>(
    path: &Path,
    opts: &Options,
    origin: &Origin,
    fill: Fill<'_, T>,
) -> Result<Option<T>> {
    let target = name(path);
    if std::fs::symlink_metadata(path).is_ok() {
        return Err(Error::new(&target, ErrorKind::AlreadyExists));
    }
    check_user_block(&target, opts.user_block)?;
    let copying = Copying { path, opts, origin, target: &target };
    let mut busy = None;
    for _ in 0..MAX_ATTEMPTS {
        match copying.turn()? {
            Ok((temporary, storage, earlier)) => return copying.make(temporary, storage, earlier, fill),
            Err(e) => busy = Some(e),
        }
        std::thread::sleep(PAUSE);
    }
    Err(busy.unwrap_or_else(|| Error::new(&target, ErrorKind::locked(None))))
}

struct Copying<'a> {
    path: &'a Path,
    opts: &'a Options,
    origin: &'a Origin,
    target: &'a str,
}

/// A temporary file, its storage and its content; or the error that names the process that holds it.
type Taken = std::result::Result<(Temporary, FileStorage, EarlierTry), Error>;

impl Copying<'_> {
    fn turn(&self) -> Result<Taken> {
        let mut earlier = EarlierTry::None;
        match Temporary::take_over(self.path, self.opts, self.target)? {
            Some(Turn::Ours(temporary, locks)) => match self.go_on(&temporary, locks)? {
                Ok((storage, earlier)) => return Ok(Ok((temporary, storage, earlier))),
                Err(why) => earlier = why.map_or(EarlierTry::None, EarlierTry::Discarded),
            },
            Some(Turn::Busy(e)) => return Ok(Err(e)),
            None => (),
        }
        match Temporary::make(self.path, self.opts, self.target)? {
            Turn::Ours(temporary, locks) => {
                let storage = self.begin(&temporary, locks)?;
                Ok(Ok((temporary, storage, earlier)))
            }
            Turn::Busy(e) => Ok(Err(e)),
        }
    }

    fn journal_path(&self) -> std::path::PathBuf {
        sibling(self.path, JOURNAL)
    }

    /// Creates an empty container in a new temporary file.
    fn begin(&self, temporary: &Temporary, locks: Locks) -> Result<FileStorage> {
        let is_found_again = temporary.is_found_again() && locks.work();
        let storage = empty_in(temporary.file().clone(), temporary.id(), locks, self.opts, self.target)?;
        if is_found_again {
            let header = JournalHeader { copy: storage.fixed.id, origin: self.origin.clone() };
            *lock(&storage.journal) =
                Some(FileJournal::new(self.journal_path(), header, self.opts.file_mode));
        }
        Ok(storage)
    }

    /// Opens the temporary file of an earlier attempt. If it cannot be continued, returns the reason, or `None` if there is
    /// nothing to report.
    #[allow(clippy::type_complexity, reason = "said once")]
    fn go_on(
        &self,
        temporary: &Temporary,
        locks: Locks,
    ) -> Result<std::result::Result<(FileStorage, EarlierTry), Option<&'static str>>> {
        let file = temporary.file();
        let length = file.metadata().map_err(|e| Error::io(self.target, "identifying", &e))?.len();
        let path = self.journal_path();
        let is_there = path.symlink_metadata().is_ok();
        let damaged = is_there.then_some("the journal of an earlier try is damaged");
        let base = self.opts.user_block;
        let fixed = container(file, length, self.target).ok().filter(|fixed| fixed.base == base);
        let (Some(fixed), Some(found)) = (fixed, FoundJournal::read(&path, length.saturating_sub(base)))
        else {
            return Ok(Err(damaged));
        };
        if found.header.origin != *self.origin {
            return Ok(Err(Some("an earlier try was of another version or container")));
        }
        let raw = OsFile::new(file.clone(), base);
        let slot = log::newest_slot(&raw, self.target);
        let (true, Ok(slot)) = (found.header.copy == fixed.id, slot) else { return Ok(Err(damaged)) };
        let Ok((journal, end)) = FileJournal::behind(path, &found) else { return Ok(Err(damaged)) };
        FileWriter::leave_note(&raw);
        let clock = storage_clock(&raw);
        let opened = OpenedFile { file: Arc::clone(file), fixed, id: temporary.id(), is_writable: true };
        let mut storage = storage(self.target.into(), opened, locks, Some(clock), self.opts);
        storage.earlier_end = (slot.version == 0).then_some(end);
        storage.journal = Mutex::new(Some(journal));
        Ok(Ok((storage, EarlierTry::Continues(found.values.into_iter().collect()))))
    }

    fn make<T>(
        &self,
        mut temporary: Temporary,
        storage: FileStorage,
        earlier: EarlierTry,
        fill: Fill<'_, T>,
    ) -> Result<Option<T>> {
        match fill(storage, earlier)? {
            Filled::Whole(made) => {
                let published = temporary.publish(self.path, Rename::New, self.opts.sync);
                published.map_err(|e| Error::io(self.target, "creating", &e))?;
                let _swept_later = std::fs::remove_file(self.journal_path());
                Ok(Some(made))
            }
            Filled::GivenUp { stays } => {
                if stays {
                    temporary.stay();
                }
                Ok(None)
            }
        }
    }
}
