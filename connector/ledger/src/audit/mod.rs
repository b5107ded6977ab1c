//! The interface between a check of a container and its storage, and the findings of a check.

pub(crate) mod claims;
pub(crate) mod spilled;

use std::fmt;

use bytes::Bytes;

use self::claims::Claim;
pub(crate) use self::claims::Claims;
use crate::address::{Address, Location, PageRef};
use crate::codec::hex;
use crate::error::{Error, ErrorKind, Result};
use crate::tags::{TagEntry, TagName};
use crate::wal::record::CommitRecord;

/// The maximum number of findings that are recorded; further findings are only counted.
pub const MAX_FINDINGS: usize = 100_000;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// No data is lost: unused space, or objects that no manifest names.
    Warning,
    /// Stored bytes differ from the bytes that were written, or contradict each other.
    Damage,
}

/// The versions that need the checked bytes, and are affected by damage to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HitVersions {
    /// The newest version, and perhaps older versions.
    Newest,
    /// Only older versions.
    OlderOnly,
    /// The version that a tag retains, and no other version that was checked before.
    Tagged(TagName),
}

impl HitVersions {
    /// Returns whether the newest version is affected.
    pub fn is_newest(self) -> bool {
        self == Self::Newest
    }

    /// Returns the tag that retains the affected version.
    pub fn tag(self) -> Option<TagName> {
        match self {
            Self::Tagged(name) => Some(name),
            Self::Newest | Self::OlderOnly => None,
        }
    }
}

/// One finding of a check: damage, or a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The severity of the finding.
    pub severity: Severity,
    /// The kind of structure, for example "head slot", "record", "page" or "payload".
    pub kind: &'static str,
    /// The location: bytes of the file, or an object and bytes in it.
    pub at: String,
    /// The fault.
    pub why: String,
    /// The key of the affected value.
    pub key: Option<Bytes>,
    /// The range of keys that a damaged page of the map may have had: from a first key, up to and without a second one.
    /// The keys that existed in the range are not known.
    pub keys: Option<(Bytes, Option<Bytes>)>,
    /// The affected versions.
    pub hit: HitVersions,
}

impl Finding {
    /// Returns a finding in the newest version.
    pub fn new(
        severity: Severity,
        kind: &'static str,
        at: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            kind,
            at: at.into(),
            why: why.into(),
            key: None,
            keys: None,
            hit: HitVersions::Newest,
        }
    }

    pub(crate) fn damage(kind: &'static str, at: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Severity::Damage, kind, at, why)
    }

    pub(crate) fn warning(kind: &'static str, at: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Severity::Warning, kind, at, why)
    }

    pub(crate) fn of(self, hit: HitVersions) -> Self {
        Self { hit, ..self }
    }
}

/// The findings of a check, and their counts.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The findings, at most [`MAX_FINDINGS`].
    pub list: Vec<Finding>,
    /// The number of further findings, which are not recorded.
    pub more: u64,
    /// The number of all findings that are damage.
    pub damaged: u64,
}

impl Findings {
    /// Adds a finding.
    pub fn add(&mut self, found: Finding) {
        self.damaged += u64::from(found.severity == Severity::Damage);
        if self.list.len() < MAX_FINDINGS {
            self.list.push(found);
        } else {
            self.more += 1;
        }
    }

    /// Removes all findings after the first `n`.
    pub(crate) fn take_back(&mut self, n: usize) {
        let gone = self.list.drain(n.min(self.list.len())..);
        self.damaged -= gone.filter(|f| f.severity == Severity::Damage).count() as u64;
    }
}

/// One checkpoint and the records after it, as a storage passes them to a check.
#[derive(Debug)]
pub(crate) struct Epoch {
    pub(crate) root: Option<PageRef>,
    /// True if the checkpoint's own version can be opened.
    pub(crate) base_is_whole: bool,
    /// The records, oldest first: each record, its address, and whether its version can be opened.
    pub(crate) records: Vec<(CommitRecord, Address, bool)>,
    /// The versions that need this epoch.
    pub(crate) hit: HitVersions,
}

/// The versions that a check covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versions {
    /// All versions that can be opened.
    #[default]
    All,
    /// The newest one.
    Newest,
}

/// The operations of a storage that a check needs besides reading.
pub(crate) trait Audit {
    /// Checks the structures that lead to versions, and protects the versions from reclamation during the check.
    /// Returns the number of [epochs](Epoch), the first of which is the newest.
    fn begin(&mut self, versions: Versions, claims: &mut Claims, out: &mut Findings) -> Result<usize>;
    /// Returns an epoch; they are numbered from the newest. Returns `None` if the space of the epoch was reused
    /// meanwhile.
    fn epoch(&mut self, n: usize, out: &mut Findings) -> Result<Option<Epoch>>;
    /// Returns whether data of an epoch was, or may have been, overwritten meanwhile. For epoch 0, the newest version: whether
    /// the container has advanced so far that a writer may have deleted some of the data.
    fn is_overtaken(&self, n: usize) -> Result<bool>;
    /// Compares the space in use, and the space that tags list, with the space that was claimed during the check.
    fn unclaimed(
        &mut self,
        claims: &mut Claims,
        tags: &[(TagName, TagEntry)],
        out: &mut Findings,
    ) -> Result<()>;
}

/// Formats an address for users.
pub(crate) fn place_name(p: &Address) -> String {
    let (from, to) = (p.offset, p.offset.saturating_add(p.length).saturating_sub(1));
    let within = |location: fmt::Arguments<'_>| format!("{location}, bytes {from} to {to}");
    match p.location {
        Location::File => format!("bytes {from} to {to}"),
        Location::Pack(id) => within(format_args!("pack/{}", hex(&id))),
        Location::Page(id) => within(format_args!("page/{}", hex(&id))),
        Location::Source(number) => within(format_args!("source {number}")),
    }
}

/// Returns the fault that an error of reading reports, if the error is damage. Other errors may be transient.
pub fn why_damaged(e: &Error) -> Option<String> {
    match e.kind() {
        ErrorKind::Corrupt { why, .. } => Some(why.clone()),
        // An object that should exist is missing.
        ErrorKind::NotFound => Some("it is missing".into()),
        ErrorKind::Store { what, .. } if what.contains("fewer bytes") => Some(what.clone()),
        _ => None,
    }
}

/// Returns the finding for bytes that two parts of the container claim.
pub(crate) fn claimed_twice(c: Claim) -> Finding {
    let place = Address { location: c.location, offset: c.offset, length: c.end - c.offset };
    Finding::damage("space", place_name(&place), "two parts of the newest version are said to be there")
}
