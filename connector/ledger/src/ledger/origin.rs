//! The origin of a copy: the container and the version that it was copied from.

use super::Ledger;
use crate::error::{Error, Result};
use crate::options::Access;
use crate::origin::{CopyState, ORIGIN, Origin, OriginEntry};

impl Ledger {
    /// Returns the version that this reader sees, in the form that a copy of the version records. Only the reader's own snapshot is used,
    /// so that versions that are committed or reclaimed in the meantime have no effect. Returns `None` for a branch, for a container
    /// without a version, for a writer, and if [salvage](crate::Options::salvage) found a version without its time and author.
    ///
    /// # Errors
    /// Read errors; `Gone` if a writer reclaimed the version.
    pub fn origin(&self) -> Result<Option<Origin>> {
        let (version, mark) = {
            let s = self.lock();
            (s.version, s.mark.clone().filter(|mark| mark.version == s.version))
        };
        if version == 0 || self.branch.is_some() || self.access == Access::ReadWrite {
            return Ok(None);
        }
        let mark = match mark {
            None => self.storage.mark_of_snapshot(version)?,
            known => known,
        };
        Ok(mark.map(|mark| Origin::of(self.identity().id, &mark)))
    }

    /// Returns the version that this container is a copy of, as of its last commit.
    ///
    /// # Errors
    /// `Corrupt`; read errors.
    pub fn copy_state(&self) -> Result<CopyState> {
        let Some(value) = self.get(ORIGIN)? else { return Ok(CopyState::NotACopy) };
        let damaged = |why| Error::corrupt(self.storage.target(), "origin", why);
        let OriginEntry { copy, made, origin } = OriginEntry::decode(&value).map_err(damaged)?;
        Ok(match copy == self.identity().id {
            false => CopyState::NotACopy,
            true if made != self.version() => CopyState::Written { made },
            true => CopyState::Shows(origin),
        })
    }

    /// Stages the record that the version of the next commit is a copy of `origin`. The record is valid for that version alone: any later
    /// commit invalidates it.
    ///
    /// # Errors
    /// The errors of [`put`](Ledger::put).
    pub fn set_origin(&self, origin: Origin) -> Result<()> {
        let entry = OriginEntry { copy: self.identity().id, made: self.version() + 1, origin };
        self.put(ORIGIN, entry.encode())
    }

    /// Stages the record that the version of the next commit still has the origin of this version, for commits that change no content. Does
    /// nothing for a concurrent writer, because another writer may commit first.
    ///
    /// # Errors
    /// The errors of [`put`](Ledger::put) and of [`copy_state`](Ledger::copy_state).
    pub fn keep_origin(&self) -> Result<()> {
        if self.is_multi_writer {
            return Ok(());
        }
        match self.copy_state()? {
            CopyState::Shows(origin) => self.set_origin(origin),
            CopyState::NotACopy | CopyState::Written { .. } => Ok(()),
        }
    }
}
