//! Checks all that a container stores, without changing anything: `h5lake verify`.
//!
//! A [`Verifier`] is a reader of one snapshot. It takes no writer's lock, and pins what it reads. It knows heads, records,
//! pages, payloads and room; what values mean is the business of a [`Content`].
//!
//! Memory: pages of one way from the root to a leaf, the log as every reader has it, at most `claims::BOUND` bytes of claimed
//! runs (more go to a temporary file), at most `MAX_SEEN` fingerprints of what was checked, and [`MAX_FINDINGS`] findings.

mod check;
pub(crate) mod claims;
mod spilled;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_stores::ObjectStore;

use crate::codec::hex;
use crate::error::{Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::layers::Layer;
use crate::options::{Access, Options};
use crate::place::{Place, Room};
use crate::record::Record;
use crate::space::{Pointer, Space};
use crate::{Ledger, file, objects};

pub(crate) use self::check::claimed_twice;
pub(crate) use self::claims::Claims;
pub use self::claims::Tally;
pub use self::walk::{Item, Scan};

/// Things that are remembered as checked, so that several versions that share them are checked in one go. Beyond it they are
/// checked again for each version.
const MAX_SEEN: usize = 1 << 22;
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
    /// Whether the newest version is hit; else only older ones are.
    pub newest: bool,
}

impl Finding {
    /// A finding in the newest version.
    pub fn new(
        severity: Severity,
        kind: &'static str,
        at: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self { severity, kind, at: at.into(), why: why.into(), key: None, keys: None, newest: true }
    }

    pub(crate) fn damage(kind: &'static str, at: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Severity::Damage, kind, at, why)
    }

    pub(crate) fn warning(kind: &'static str, at: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Severity::Warning, kind, at, why)
    }

    pub(crate) fn of(self, newest: bool) -> Self {
        Self { newest, ..self }
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
    fn take_back(&mut self, n: usize) {
        let gone = self.list.drain(n.min(self.list.len())..);
        self.damaged -= gone.filter(|f| f.severity == Severity::Damage).count() as u64;
    }
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Versions that can be opened.
    pub versions: u64,
    /// Records.
    pub records: u64,
    /// Pages of the map.
    pub pages: u64,
    /// Entries of the newest version's map.
    pub entries: u64,
    /// Payloads.
    pub payloads: u64,
    /// Bytes whose checksums were verified.
    pub bytes: u64,
}

/// What values of the map mean, as far as a check has to know it.
pub trait Content {
    /// The payloads that a value holds, or what is wrong with the value.
    ///
    /// # Errors
    /// What is wrong.
    fn payloads(&self, key: &[u8], value: &Bytes) -> std::result::Result<Vec<Extent>, String>;
}

/// Is told from time to time how many bytes a check has read.
pub type Progress<'p> = &'p mut dyn FnMut(u64);

/// One base and the records behind it, as a space hands them to a check.
#[derive(Debug)]
pub(crate) struct Epoch {
    pub(crate) root: Option<Pointer>,
    /// The base's own version can be opened.
    pub(crate) base_is_whole: bool,
    /// Oldest first: the record, where it lies, and whether its version can be opened.
    pub(crate) records: Vec<(Record, Place, bool)>,
    /// It is the newest.
    pub(crate) newest: bool,
}

/// What a check asks of a space beside reading.
pub(crate) trait Audit {
    /// Checks what leads to versions, and makes sure that the versions stay whole meanwhile. Returns how many [epochs](Epoch)
    /// there are, of which the first is the newest one. `all`: older versions are checked, too.
    fn begin(&mut self, all: bool, claims: &mut Claims, out: &mut Findings) -> Result<usize>;
    /// An epoch, newest first; `None` if its room was used again meanwhile.
    fn epoch(&mut self, n: usize, out: &mut Findings) -> Result<Option<Epoch>>;
    /// Whether what an epoch needs was used again meanwhile.
    fn is_overtaken(&self, n: usize) -> Result<bool>;
    /// Compares what is in use with what should be.
    fn room(&mut self, claims: &mut Claims, out: &mut Findings) -> Result<()>;
}

/// A check of one container. See the [module](self).
#[derive(Debug)]
pub struct Verifier {
    ledger: Ledger,
    /// What was found so far.
    pub findings: Findings,
    /// What was looked at so far.
    pub counts: Counts,
    claims: Claims,
    seen: Seen,
    /// The newest version cannot be opened, and this is what salvage shows.
    salvaged: bool,
    log: Layer,
    root: Option<Pointer>,
}

/// Fingerprints of what was checked.
#[derive(Debug, Default)]
struct Seen {
    hashes: RandomState,
    all: HashSet<u64>,
}

impl Seen {
    /// Takes a thing in; false if it was there.
    fn add(&mut self, thing: &impl Hash) -> bool {
        let hash = self.hashes.hash_one(thing);
        if self.all.len() >= MAX_SEEN { !self.all.contains(&hash) } else { self.all.insert(hash) }
    }
}

/// Where a place is, for people.
pub(crate) fn place_name(p: &Place) -> String {
    let (from, to) = (p.offset, p.offset.saturating_add(p.length).saturating_sub(1));
    let within = |room: fmt::Arguments<'_>| format!("{room}, bytes {from} to {to}");
    match p.room {
        Room::File => format!("bytes {from} to {to}"),
        Room::Log(n) => within(format_args!("log/{n:016x}")),
        Room::Pack(id) => within(format_args!("pack/{}", hex(&id))),
        Room::Page(id) => within(format_args!("page/{}", hex(&id))),
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

impl Verifier {
    /// Opens the container in a file for a check.
    ///
    /// # Errors
    /// Those of opening, but for damage, which is found; then there is a verifier of what is left, or `Err` with what was found
    /// where nothing is.
    pub fn open_file(path: &Path, options: &Options) -> Result<std::result::Result<Self, Findings>> {
        Self::open(options, |o| Ok(Box::new(file::open(path, Access::ReadOnly, o, None)?)))
    }

    /// Opens the container in an object store for a check.
    ///
    /// # Errors
    /// As for [`open_file`](Self::open_file).
    pub fn open_objects(
        store: &Arc<dyn ObjectStore>,
        key: &str,
        options: &Options,
    ) -> Result<std::result::Result<Self, Findings>> {
        Self::open(options, |o| Ok(Box::new(objects::open(store.clone(), key, Access::ReadOnly, o)?)))
    }

    fn open(
        options: &Options,
        space: impl Fn(&Options) -> Result<Box<dyn Space>>,
    ) -> Result<std::result::Result<Self, Findings>> {
        let mut findings = Findings::default();
        let plain = Options { salvage: false, at: None, ..options.clone() };
        let mut salvaged = false;
        let opened = space(&plain).and_then(|s| Ledger::start_afresh(s, Access::ReadOnly, &plain));
        let ledger = match opened {
            Ok(ledger) => ledger,
            Err(e) => {
                let ErrorKind::Corrupt { at, why, .. } = e.kind() else { return Err(e) };
                findings.add(Finding::damage("newest version", at, format!("{why}; it cannot be opened")));
                salvaged = true;
                let salvage = Options { salvage: true, ..plain };
                match space(&salvage).and_then(|s| Ledger::start_afresh(s, Access::ReadOnly, &salvage)) {
                    Ok(ledger) => ledger,
                    Err(e) if why_damaged(&e).is_some() => return Ok(Err(findings)),
                    Err(e) => return Err(e),
                }
            }
        };
        let (counts, seen) = (Counts::default(), Seen::default());
        let (log, root) = {
            let state = ledger.lock();
            (state.log.clone(), state.root)
        };
        Ok(Ok(Self { ledger, findings, counts, claims: Claims::default(), seen, salvaged, log, root }))
    }

    /// The snapshot that is checked.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether an older version than the newest is checked, because that cannot be opened.
    pub fn is_salvaged(&self) -> bool {
        self.salvaged
    }

    /// Bytes that the container takes: what a [`Progress`] comes to, about.
    ///
    /// # Errors
    /// Those of the file system or the store.
    pub fn size(&self) -> Result<u64> {
        self.ledger.size()
    }
}
