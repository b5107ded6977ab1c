//! Checks all that a container stores, without changing anything: `h5lake verify`.
//!
//! A [`Verifier`] is a reader of one snapshot. It takes no writer's lock, and pins what it reads. It knows heads, records,
//! pages, payloads and room; what values mean is the business of a [`Content`].
//!
//! Memory: pages of one way from the root to a leaf, the log as every reader has it, at most `claims::BOUND` bytes of claimed
//! runs (more go to a temporary file), at most `MAX_SEEN` fingerprints of what was checked, and [`MAX_FINDINGS`] findings.

mod check;
mod tagged;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, RandomState};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_stores::ObjectStore;

use crate::TagName;
use crate::address::PageRef;
use crate::audit::Claims;
use crate::error::{ErrorKind, Result};
use crate::extent::Extent;
use crate::memtable::Memtable;
use crate::options::{Access, Options};
use crate::storage::Storage;
use crate::{Ledger, file, store};

pub use self::walk::{Item, Scan};
pub use crate::audit::Versions;
pub use crate::audit::claims::Tally;
pub use crate::audit::{Finding, Findings, HitVersions, MAX_FINDINGS, Severity, why_damaged};

/// Things that are remembered as checked, so that several versions that share them are checked in one go. Beyond it they are
/// checked again for each version.
const MAX_SEEN: usize = 1 << 22;
/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Versions that can be opened.
    pub versions: u64,
    /// Tags whose versions were checked, those of branches' bases too.
    pub tags: u64,
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

/// A check of one container. See the [module](self).
#[derive(Debug)]
pub struct Verifier {
    ledger: Ledger,
    /// What was found so far.
    pub findings: Findings,
    /// What was looked at so far.
    pub counts: Counts,
    claims: Claims,
    seen: CheckedExtents,
    /// The newest version cannot be opened, and this is what salvage shows.
    salvaged: bool,
    log: Memtable,
    root: Option<PageRef>,
}

/// Fingerprints of what was checked.
#[derive(Debug, Default)]
struct CheckedExtents {
    hashes: RandomState,
    all: HashSet<u64>,
}

impl CheckedExtents {
    /// Takes a thing in; false if it was there.
    fn add(&mut self, thing: &impl Hash) -> bool {
        let hash = self.hashes.hash_one(thing);
        if self.all.len() >= MAX_SEEN { !self.all.contains(&hash) } else { self.all.insert(hash) }
    }

    /// Takes a thing out: not all of it was checked.
    fn forget(&mut self, thing: &impl Hash) {
        self.all.remove(&self.hashes.hash_one(thing));
    }
}

/// The log of a handle, and the root of the base below it.
fn shown(ledger: &Ledger) -> (Memtable, Option<PageRef>) {
    let state = ledger.lock();
    (state.log.clone(), state.root)
}

impl Verifier {
    /// The names of tags that the container keeps beside its map, as one in a store does.
    ///
    /// # Errors
    /// Those of reading them.
    pub fn references(&self) -> Result<Vec<TagName>> {
        if !self.ledger.storage().has_references() {
            return Ok(Vec::new());
        }
        Ok(self.ledger.storage().references()?.into_iter().map(|(name, _)| name).collect())
    }

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
        Self::open(options, |o| Ok(Box::new(store::open(store.clone(), key, Access::ReadOnly, o)?)))
    }

    fn open(
        options: &Options,
        storage: impl Fn(&Options) -> Result<Box<dyn Storage>>,
    ) -> Result<std::result::Result<Self, Findings>> {
        let mut findings = Findings::default();
        let plain = Options { salvage: false, at: None, ..options.clone() };
        let mut salvaged = false;
        let opened = storage(&plain).and_then(|s| Ledger::start_afresh(s, Access::ReadOnly, &plain));
        let ledger = match opened {
            Ok(ledger) => ledger,
            Err(e) => {
                let ErrorKind::Corrupt { at, why, .. } = e.kind() else { return Err(e) };
                findings.add(Finding::damage("newest version", at, format!("{why}; it cannot be opened")));
                salvaged = true;
                let salvage = Options { salvage: true, ..plain };
                match storage(&salvage).and_then(|s| Ledger::start_afresh(s, Access::ReadOnly, &salvage)) {
                    Ok(ledger) => ledger,
                    Err(e) if why_damaged(&e).is_some() => return Ok(Err(findings)),
                    Err(e) => return Err(e),
                }
            }
        };
        let (counts, seen) = (Counts::default(), CheckedExtents::default());
        let (log, root) = shown(&ledger);
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

    /// Returns whether a writer has moved on since this check opened the container, so that it may have reclaimed some of
    /// the checked version, or whether the container was replaced or deleted. In a file a pin keeps writers from reclaiming.
    ///
    /// # Errors
    /// Those of reading the head.
    pub fn is_overtaken(&self) -> Result<bool> {
        self.ledger.storage().audit().map_or(Ok(false), |audit| audit.is_overtaken(0))
    }

    /// Bytes that the container takes: what a [`Progress`] comes to, about.
    ///
    /// # Errors
    /// Those of the file system or the store.
    pub fn size(&self) -> Result<u64> {
        self.ledger.size()
    }
}
