//! Detects changes that other code or another program made to the open file of a container.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;

use super::{FileStorage, lock, log};
use crate::error::{Error, ErrorKind, Result, Tampering};
use crate::file::intrusion::{self, Identity};
use crate::file::superblock::{FIXED, Fixed, Slot};
use crate::signatures::SIGNATURE;

impl FileStorage {
    /// Returns the error that describes the change of the open file, if the change explains `e`. Otherwise a file would be
    /// reported as damaged although it is not.
    pub(super) fn explained(&self, e: Error) -> Error {
        use ErrorKind as K;
        let found = match e.kind() {
            K::Tampered { how: how @ (Tampering::DescriptorClosed { .. } | Tampering::Replaced { .. }) } => {
                Some(*how)
            }
            K::Tampered { .. } | K::Corrupt { .. } | K::Io { .. } => self.tampering(),
            // The other writer may have shortened the file.
            K::Conflict | K::Broken { .. } => {
                self.tampering().filter(|how| !matches!(how, Tampering::Truncated { .. }))
            }
            _ => None,
        };
        found.map_or(e, |how| self.tampered(how))
    }

    pub(super) fn tampered(&self, how: Tampering) -> Error {
        self.gone.store(true, Ordering::Relaxed);
        Error::new(&self.target, ErrorKind::Tampered { how })
    }

    /// Returns the change of the open file, if this process can detect one.
    fn tampering(&self) -> Option<Tampering> {
        let checked = self.raw.check().err().and_then(|e| Tampering::of(&e));
        if matches!(checked, Some(Tampering::DescriptorClosed { .. })) {
            return checked;
        }
        let mut head = [0; FIXED];
        let is_other = match self.raw.read_at(&mut head, 0) {
            Ok(()) => !self.is_own_head(&head),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(_) => return None,
        };
        match is_other {
            true => Some(Tampering::Replaced { is_overwritten: self.has_begun_to_write() }),
            false => checked.or_else(|| self.truncation()),
        }
    }

    /// Returns whether a writer has written since its last commit.
    fn has_begun_to_write(&self) -> bool {
        let writer = self.writer.as_ref().and_then(|writer| writer.try_lock());
        writer.is_some_and(|writer| writer.as_ref().is_some_and(|w| w.has_begun()))
    }

    /// True unless the first bytes belong to another container, or to no container. Damage to the container's own superblock is
    /// no replacement.
    fn is_own_head(&self, head: &[u8; FIXED]) -> bool {
        head.starts_with(SIGNATURE) && Fixed::decode(head, "").map_or(true, |found| found.id == self.fixed.id)
    }

    fn newest(&self) -> Option<Slot> {
        log::newest_slot(self.raw.as_ref(), &self.target).ok()
    }

    /// Returns the truncation of a file that is shorter than its newest commit slot says, if the file was complete when it
    /// was opened.
    fn truncation(&self) -> Option<Tampering> {
        let seen = (*lock(&self.seen))?;
        let newest = self.newest();
        let raw = self.raw.as_ref();
        // A writer may shorten the file during this check.
        if newest.is_some_and(|newest| log::check_length(raw, &newest, &self.target).is_ok()) {
            return None;
        }
        let (length, least) = (raw.len().ok()?, newest.unwrap_or(seen).end);
        let whole = |bytes: u64| bytes.saturating_add(self.fixed.base);
        (length < least).then(|| Tampering::Truncated { length: whole(length), least: whole(least) })
    }

    /// Returns the error for a reader if an older copy of the container was put into the file, so that the file no longer has the reader's
    /// version.
    pub(super) fn older_copy(&self) -> Option<Error> {
        let seen = (*lock(&self.seen)).filter(|_| self.writer.is_none() && !self.shows_old_version())?;
        is_behind(&self.newest()?, &seen)
            .then(|| self.tampered(Tampering::Replaced { is_overwritten: false }))
    }

    /// Returns whether the file still has the version that this handle shows, so that another open of the file may share
    /// the handle.
    pub(crate) fn is_current(&self) -> bool {
        if self.raw.check().is_err() {
            return false;
        }
        // No state is compared when a damaged container is salvaged.
        if self.options.salvage {
            return true;
        }
        let Ok(found) = self.read_fixed() else { return false };
        let Some(newest) = self.newest().filter(|_| found.id == self.fixed.id) else { return false };
        let shown = match &self.writer {
            _ if self.shows_old_version() => None,
            // A writer that is busy is not waited for.
            Some(writer) => writer.try_lock().and_then(|w| w.as_ref().map(|w| w.head)),
            None => *lock(&self.seen),
        };
        shown.is_none_or(|shown| !is_behind(&newest, &shown))
    }

    /// Returns whether this handle shows an old version. Old versions are found through the history, and not through commit
    /// slots.
    fn shows_old_version(&self) -> bool {
        self.options.at.is_some() || self.tagged.is_some()
    }

    /// Checks that the descriptor of an own handle leads to the container's file.
    pub(super) fn check_handle(&self, file: &File) -> Result<()> {
        let checked = self.file.map_or(Ok(()), |id| intrusion::check(file, &Identity::of(id), 0));
        // The file that commits are read from has the time of birth, too: a new file may have the inode of a deleted one.
        let is_closed = |e: &io::Error| matches!(Tampering::of(e), Some(Tampering::DescriptorClosed { .. }));
        let checked =
            checked.and_then(|()| self.raw.check().or_else(|e| if is_closed(&e) { Err(e) } else { Ok(()) }));
        checked.map_err(|e| Error::io(&self.target, "using the file", &e))
    }
}

/// Returns whether a file with the newest commit slot `newest` is older than a file with the commit slot `shown`, or has another history.
fn is_behind(newest: &Slot, shown: &Slot) -> bool {
    let is_other = || (newest.version, newest.time) != (shown.version, shown.time);
    newest.sequence < shown.sequence || (newest.sequence == shown.sequence && is_other())
}

impl Drop for FileStorage {
    /// Does not close a descriptor again that other code closed, because its number may belong to a file of that code.
    fn drop(&mut self) {
        let handle = lock(&self.handle).take();
        if let Some(file) = handle.filter(|file| self.check_handle(file).is_err()) {
            std::mem::forget(file);
        }
    }
}
