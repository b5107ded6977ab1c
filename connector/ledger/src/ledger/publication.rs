//! Publications: versions that stay because programs outside keep references to their bytes.

use super::{Ledger, Tag};
use crate::error::{Error, ErrorKind, Result};
use crate::options::At;
use crate::tags::{TagName, Tagging};

/// What publishing a version did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The tag that holds the version.
    pub tag: Tag,
    /// Whether this call made the tag; else the version was published before.
    pub is_new: bool,
}

/// How often a version is published whose publication others withdraw meanwhile.
const MAX_TRIES: u32 = 16;

impl Ledger {
    /// Publishes a version, the newest one for `None`, in a commit of its own. When this returns, the publication is committed:
    /// the bytes of the version's extents stay where they are until it is withdrawn ([`Ledger::untag`]). Of a version that is
    /// published already the tag gets a later time, and stays as it is else.
    ///
    /// So several programs may publish one version at the same time. Who made the tag, and then has no use for it, deletes it by
    /// [`Ledger::untag_if_unchanged`]: that leaves it to everyone whose call returned later.
    ///
    /// # Errors
    /// As for [`Ledger::tag`].
    pub fn publish(&self, at: Option<At>) -> Result<Publication> {
        let version = self.version_of(at)?;
        let name = TagName::publication(version);
        for _ in 0..MAX_TRIES {
            match self.tag(name, Some(At::Version(version)), Tagging::default()) {
                Err(e) if matches!(e.kind(), ErrorKind::TagExists { .. }) => (),
                made => return made.map(|tag| Publication { tag, is_new: true }),
            }
            // Without one it was withdrawn meanwhile.
            if let Some(tag) = self.renew_tag(&name)? {
                return Ok(Publication { tag, is_new: false });
            }
        }
        Err(self.fail(ErrorKind::Conflict))
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
            Some(at @ (At::Branch(_) | At::Replaced(_))) => {
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
