//! Publications: versions that are retained because other programs have references to their bytes.

use super::{Ledger, Tag};
use crate::error::{Error, ErrorKind, Result};
use crate::options::At;
use crate::tags::{TagName, Tagging};

/// The result of publishing a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The tag that protects the version.
    pub tag: Tag,
    /// True if this call created the tag; false if the version was already published.
    pub is_new: bool,
}

/// The number of attempts to publish a version while other writers withdraw its publication.
const MAX_TRIES: u32 = 16;

impl Ledger {
    /// Publishes a version (the newest version for `None`) in a commit of its own. When this returns, the publication is committed: the
    /// bytes of the version's extents stay at their offsets until the publication is withdrawn ([`Ledger::untag`]). If the version is
    /// already published, its tag gets a later time and is otherwise unchanged.
    ///
    /// Several programs may therefore publish one version at the same time. A program that created the tag and then does not need it
    /// deletes it by [`Ledger::untag_if_unchanged`], which leaves the tag in place if another program published the version later.
    ///
    /// # Errors
    /// The errors of [`Ledger::tag`].
    pub fn publish(&self, at: Option<At>) -> Result<Publication> {
        let version = self.version_of(at)?;
        let name = TagName::publication(version);
        for _ in 0..MAX_TRIES {
            match self.tag(name, Some(At::Version(version)), Tagging::default()) {
                Err(e) if matches!(e.kind(), ErrorKind::TagExists { .. }) => (),
                made => return made.map(|tag| Publication { tag, is_new: true }),
            }
            // If the tag is missing, it was withdrawn in the meantime, and the next attempt creates it.
            if let Some(tag) = self.renew_tag(&name)? {
                return Ok(Publication { tag, is_new: false });
            }
        }
        Err(self.fail(ErrorKind::Conflict))
    }

    /// Returns the number of the version that `at` names.
    fn version_of(&self, at: Option<At>) -> Result<u64> {
        self.refresh()?;
        match at {
            None => Ok(self.version()),
            Some(At::Version(version)) => Ok(version),
            Some(At::Time(time)) => {
                let found = self.versions(usize::MAX)?.into_iter().find(|version| version.time <= time);
                found.map(|version| version.number).ok_or_else(|| self.not_kept(At::Time(time)))
            }
            Some(at @ (At::Branch(_) | At::Replaced(_))) => {
                let first = if matches!(at, At::Branch(_)) { "merge" } else { "restore" };
                let why = format!("{at} cannot be published; {first} it first, or publish a copy");
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
