//! What a container is a copy of.

use super::Ledger;
use crate::error::{Error, Result};
use crate::options::Version;
use crate::origin::{CopyState, ORIGIN, Origin, OriginEntry};

impl Ledger {
    /// A kept version as a copy of it remembers it. The handle has to see the newest version, because that has the
    /// tags. `None` for a version that is not kept.
    ///
    /// # Errors
    /// Those of reading.
    pub fn origin_of(&self, version: u64) -> Result<Option<Origin>> {
        let newest = self.storage.versions(1)?.first().map_or(0, |v| v.number);
        let most = usize::try_from(newest.saturating_sub(version)).unwrap_or(usize::MAX).saturating_add(1);
        let is_it = |v: &Version| v.number == version;
        let found = match self.storage.versions(most)?.into_iter().find(is_it) {
            None => self.tags()?.into_iter().filter_map(|tag| tag.version).find(is_it),
            found => found,
        };
        Ok(found.map(|v| Origin::of(self.identity().id, v)))
    }

    /// What this container is a copy of, as it was last committed.
    ///
    /// # Errors
    /// `Corrupt`; those of reading.
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

    /// Stages that the version which the next commit makes shows this and nothing else. It counts for that version
    /// alone: whatever is committed later makes it void.
    ///
    /// # Errors
    /// As for [`put`](Ledger::put).
    pub fn set_origin(&self, origin: Origin) -> Result<()> {
        let entry = OriginEntry { copy: self.identity().id, made: self.version() + 1, origin };
        self.put(ORIGIN, entry.encode())
    }

    /// Stages that the version which the next commit makes still shows what this one shows: for commits that change no
    /// content. Does nothing where others write too, who may be first.
    ///
    /// # Errors
    /// As for [`put`](Ledger::put), and for [`copy_state`](Ledger::copy_state).
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
