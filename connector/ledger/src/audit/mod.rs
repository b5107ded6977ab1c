//! What a check of a container asks of a storage, and what it finds.

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

/// Findings that are kept; more are counted.
pub const MAX_FINDINGS: usize = 100_000;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is lost: room that nobody uses, objects that nothing names.
    Warning,
    /// Stored bytes are not what was written, or contradict each other.
    Damage,
}

/// Which versions need what is looked at, and are hit by damage to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HitVersions {
    /// The newest, and perhaps older ones.
    Newest,
    /// Older ones alone.
    OlderOnly,
    /// That which a tag keeps, and no other that was checked before.
    Tagged(TagName),
}

impl HitVersions {
    /// Whether the newest version is among them.
    pub fn is_newest(self) -> bool {
        self == Self::Newest
    }

    /// The tag that keeps the version that is hit.
    pub fn tag(self) -> Option<TagName> {
        match self {
            Self::Tagged(name) => Some(name),
            Self::Newest | Self::OlderOnly => None,
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The kind of structure: "head slot", "record", "page", "payload", …
    pub kind: &'static str,
    /// Where: bytes of the file, or an object and bytes in it.
    pub at: String,
    /// What is wrong.
    pub why: String,
    /// The key whose value is hit.
    pub key: Option<Bytes>,
    /// The keys that are hit, from one on and before another, where a page of the map is: nobody knows which there were.
    pub keys: Option<(Bytes, Option<Bytes>)>,
    /// Which versions are hit.
    pub hit: HitVersions,
}

impl Finding {
    /// A finding in the newest version.
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

/// What was found, and how much was looked at.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The findings, at most [`MAX_FINDINGS`].
    pub list: Vec<Finding>,
    /// How many there were beyond these.
    pub more: u64,
    /// How many of all are damage.
    pub damaged: u64,
}

impl Findings {
    /// Adds one.
    pub fn add(&mut self, found: Finding) {
        self.damaged += u64::from(found.severity == Severity::Damage);
        if self.list.len() < MAX_FINDINGS {
            self.list.push(found);
        } else {
            self.more += 1;
        }
    }

    /// Takes all behind the first `n` back.
    pub(crate) fn take_back(&mut self, n: usize) {
        let gone = self.list.drain(n.min(self.list.len())..);
        self.damaged -= gone.filter(|f| f.severity == Severity::Damage).count() as u64;
    }
}

/// One base and the records behind it, as a storage hands them to a check.
#[derive(Debug)]
pub(crate) struct Epoch {
    pub(crate) root: Option<PageRef>,
    /// The base's own version can be opened.
    pub(crate) base_is_whole: bool,
    /// Oldest first: the record, where it lies, and whether its version can be opened.
    pub(crate) records: Vec<(CommitRecord, Address, bool)>,
    /// Whether the newest version needs it.
    pub(crate) hit: HitVersions,
}

/// Which versions are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versions {
    /// All versions that can be opened.
    #[default]
    All,
    /// The newest one.
    Newest,
}

/// What a check asks of a storage beside reading.
pub(crate) trait Audit {
    /// Checks what leads to versions, and makes sure that the versions stay whole meanwhile. Returns how many [epochs](Epoch)
    /// there are, of which the first is the newest one.
    fn begin(&mut self, versions: Versions, claims: &mut Claims, out: &mut Findings) -> Result<usize>;
    /// An epoch, newest first; `None` if its room was used again meanwhile.
    fn epoch(&mut self, n: usize, out: &mut Findings) -> Result<Option<Epoch>>;
    /// Returns whether data of an epoch was, or may have been, overwritten meanwhile. For epoch 0, the newest version: whether
    /// the container has advanced so far that a writer may have deleted some of the data.
    fn is_overtaken(&self, n: usize) -> Result<bool>;
    /// Compares what is in use, and what tags list, with what should be.
    fn unclaimed(
        &mut self,
        claims: &mut Claims,
        tags: &[(TagName, TagEntry)],
        out: &mut Findings,
    ) -> Result<()>;
}

/// Where a place is, for people.
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

/// What an error of reading says is wrong, if it is damage; other errors may pass.
pub fn why_damaged(e: &Error) -> Option<String> {
    match e.kind() {
        ErrorKind::Corrupt { why, .. } => Some(why.clone()),
        // An object that should be there.
        ErrorKind::NotFound => Some("it is missing".into()),
        ErrorKind::Store { what, .. } if what.contains("fewer bytes") => Some(what.clone()),
        _ => None,
    }
}

/// The error for bytes that two claim.
pub(crate) fn claimed_twice(c: Claim) -> Finding {
    let place = Address { location: c.location, offset: c.offset, length: c.end - c.offset };
    Finding::damage("room", place_name(&place), "two parts of the newest version are said to be there")
}
