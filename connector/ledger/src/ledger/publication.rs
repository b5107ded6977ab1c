//! Publications: versions that stay because programs outside keep references to their bytes.

use super::{Ledger, Tag, Tagging};
use crate::error::{Error, ErrorKind, Result};
use crate::options::At;
use crate::tags::TagName;

impl Ledger {
    /// Publishes a version, the newest one for `None`, in a commit of its own. When this returns, the publication is committed:
    /// the bytes of the version's extents stay where they are until it is withdrawn ([`Ledger::untag`]). A version that is
    /// published already stays so, and nothing is committed.
    ///
    /// # Errors
    /// As for [`Ledger::tag`].
    pub fn publish(&self, at: Option<At>) -> Result<Tag> {
        let version = self.version_of(at)?;
        let name = TagName::publication(version);
        match self.tag(name, Some(At::Version(version)), Tagging::default()) {
            Err(e) if matches!(e.kind(), ErrorKind::TagExists { .. }) => {
                let there = self.tags()?.into_iter().find(|tag| tag.name == name);
                there.ok_or(e)
            }
            made => made,
        }
    }

    /// The number of the version that is meant.
    fn version_of(&self, at: Option<At>) -> Result<u64> {
        self.refresh()?;
        match at {
            None => Ok(self.version()),
            Some(At::Version(version)) => Ok(version),
            Some(At::Time(time)) => {
                let found = self.versions(usize::MAX)?.into_iter().find(|version| version.time <= time);
                found.map(|version| version.number).ok_or_else(|| self.not_kept(At::Time(time)))
            }
            Some(at @ At::Branch(_)) => {
                let why = format!("{at} cannot be published; merge it first, or publish a copy");
                Err(Error::invalid(self.storage().target(), why))
            }
            Some(At::Tag(name)) => {
                let found = self.tags()?.into_iter().find(|tag| tag.name == name);
                let version = found.and_then(|tag| tag.version);
                version.map(|version| version.number).ok_or_else(|| self.not_found(&name))
            }
        }
    }
}
