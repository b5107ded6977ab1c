//! Restores a container that was replaced or deleted.

use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_stores::open_regular;

use super::hidden::{Form, HiddenName};
use super::{
    CHANGED, Leaving, MAX_ATTEMPTS, MIN_STAY, cannot_stay, forget, leaving, list, lock_to_replace, stay,
    storage_now, swap_in, sync_name,
};
use crate::error::{Error, ErrorKind, Result};
use crate::file::locks::Locks;
use crate::file::open::{is_at, name, not_ours};
use crate::file::permissions;
use crate::file::temporary::{Rename, Temporary, Turn, rename_new};
use crate::options::{KeptName, Options, Replace, Replaced};
use crate::paths::followed;

/// The kind of a file that a restored container does not replace, for the error text.
const NOT_REPLACED: &str = "a file of another kind, which is not replaced; rename that file first";

/// Makes a path lead to a retained container again; see [`Ledger::restore_file`](crate::Ledger::restore_file).
pub(crate) fn restore(path: &Path, kept: &KeptName, replace: Replace, opts: &Options) -> Result<()> {
    let target = name(path);
    let fail = |e: io::Error| Error::io(&target, "restoring", &e);
    let real = followed(path).map_err(fail)?;
    let none = || Error::new(&target, ErrorKind::NotFound);
    let found = list(&real)?.into_iter().find(|found| found.name == *kept).ok_or_else(none)?;
    let (file, meta) =
        open_regular(&found.path, File::options().read(true).write(true)).map_err(fail)?.ok_or_else(none)?;
    let restoration = Restoration { real: &real, found, file: Arc::new(file), meta, opts, target: &target };
    for _ in 0..MAX_ATTEMPTS {
        let present = match File::options().read(true).write(true).open(&real) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Ok(_) if replace != Replace::Atomically => {
                return Err(Error::new(&target, ErrorKind::AlreadyExists));
            }
            other => Some(Arc::new(other.map_err(fail)?)),
        };
        let is_done = match present {
            None => restoration.to_free_name()?,
            Some(present) => restoration.over_locked(&present)?,
        };
        if is_done {
            return sync_name(&real, opts, &target);
        }
    }
    Err(Error::new(&target, ErrorKind::locked(None)))
}

struct Restoration<'a> {
    real: &'a Path,
    found: Replaced,
    /// The retained container.
    file: Arc<File>,
    meta: Metadata,
    opts: &'a Options,
    target: &'a str,
}

impl Restoration<'_> {
    fn fail(&self, e: &io::Error) -> Error {
        Error::io(self.target, "restoring", e)
    }

    /// Returns whether the retained file has another name, under which it may be open and may change.
    fn has_other_name(&self) -> bool {
        self.meta.nlink() > 1
    }

    /// Restores to a path without a file. Returns false if a file exists there by now.
    fn to_free_name(&self) -> Result<bool> {
        let named = match self.has_other_name() {
            false => rename_new(&self.found.path, self.real),
            true => self.publish_copy(|copy| copy.publish(self.real, Rename::New, self.opts.sync))?,
        };
        match named {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            named => named.map(|()| true).map_err(|e| self.fail(&e)),
        }
    }

    /// Restores over a container, which is locked meanwhile and retained in turn. Returns false if the path leads to
    /// another file by now.
    fn over_locked(&self, present: &Arc<File>) -> Result<bool> {
        let Some(guard) = lock_to_replace(present, self.opts, self.target)? else {
            return Err(not_ours(self.target, NOT_REPLACED));
        };
        let done = self.over(present);
        guard.release_writer();
        done
    }

    fn over(&self, present: &Arc<File>) -> Result<bool> {
        let meta = present.metadata().map_err(|e| self.fail(&e))?;
        if !is_at(self.real, (meta.dev(), meta.ino())) {
            return Ok(false);
        }
        forget(self.real, present);
        let asked = stay(present, self.opts.retention, self.target)?.map(|(_, time)| time);
        let time = asked.unwrap_or_default().max(MIN_STAY);
        let kept = Options { retention: Some(time), ..self.opts.clone() };
        let leaving = leaving(present, &kept, || storage_now(self.real), self.target)?;
        let leaving = leaving.ok_or_else(|| not_ours(self.target, NOT_REPLACED))?;
        match self.has_other_name() {
            false => self.exchange(&leaving),
            true => {
                let over = |copy: Temporary| copy.publish_keeping(self.real, &leaving, self.opts.sync);
                self.publish_copy(over)?.map_err(|e| cannot_stay(self.target, &e))
            }
        }
    }

    /// Both containers have the names of retained containers until the exchange is over, so that a kill loses neither
    /// container.
    fn exchange(&self, leaving: &Leaving) -> Result<bool> {
        let until = leaving.until.max(self.found.until / 1_000_000);
        let waits_as = HiddenName { form: Form::Replaced, id: self.found.id, until };
        let mut hidden: PathBuf = self.found.path.clone();
        let swapped = swap_in(&mut hidden, waits_as, self.real, leaving);
        swapped.map(|left| left.is_some()).map_err(|e| cannot_stay(self.target, &e))
    }

    /// Publishes a copy of a retained file that has another name, because writes under that name must not change the
    /// restored container. No writer has the retained file open meanwhile. The hidden name of the retained file remains
    /// until its retention time is over.
    fn publish_copy<T>(&self, publish: impl FnOnce(Temporary) -> io::Result<T>) -> Result<io::Result<T>> {
        let Some(guard) = lock_to_replace(&self.file, self.opts, self.target)? else {
            return Err(not_ours(self.target, CHANGED));
        };
        let published = self.copy().map(|(copy, locks)| {
            let published = publish(copy);
            locks.release_writer();
            published
        });
        guard.release_writer();
        published
    }

    fn copy(&self) -> Result<(Temporary, Locks)> {
        let (temporary, locks) = match Temporary::make(self.real, self.opts, self.target)? {
            Turn::Ours(temporary, locks) => (temporary, locks),
            Turn::Busy(e) => return Err(e),
        };
        // Each attempt reads from the beginning.
        let mut from = &*self.file;
        let copied = from
            .seek(SeekFrom::Start(0))
            .and_then(|_| io::copy(&mut from, &mut &**temporary.file()))
            .and_then(|_| permissions::keep(&self.file, &self.meta, temporary.file()));
        copied.map(|()| (temporary, locks)).map_err(|e| self.fail(&e))
    }
}
