//! Checks everything that a container stores, without changing anything: `h5lake verify`.
//!
//! A [`Verifier`] is a reader of one snapshot. It does not take the writer's lock, and it pins the snapshot that it
//! reads. It understands superblocks, manifests, records, pages, payloads and space; a [`Content`] interprets the
//! values of the map.
//!
//! Memory: the pages on one path from the root to a leaf, the log as every reader has it, at most
//! `claims::MAX_RUN_MEMORY_BYTES` bytes of claimed runs (further runs go to a temporary file), at most `MAX_SEEN`
//! fingerprints of checked extents, and [`MAX_FINDINGS`] findings.

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
use crate::storage_kinds::StorageKinds;
use crate::{Ledger, file, store};

pub use self::walk::{Item, Scan};
pub use crate::audit::Versions;
pub use crate::audit::claims::Tally;
pub use crate::audit::{Finding, Findings, HitVersions, MAX_FINDINGS, Severity, why_damaged};

/// The maximum number of fingerprints of checked extents and pages. They allow versions that share an extent to be
/// checked in one pass. Beyond this number, extents are checked again for each version.
const MAX_SEEN: usize = 1 << 22;
/// The numbers of checked items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Versions that can be opened.
    pub versions: u64,
    /// Tags with versions that were checked, including the tags of branches' bases.
    pub tags: u64,
    /// Records.
    pub records: u64,
    /// Pages of the map.
    pub pages: u64,
    /// Entries of the newest version's map.
    pub entries: u64,
    /// Payloads.
    pub payloads: u64,
    /// Bytes with verified checksums.
    pub bytes: u64,
}

/// Interprets the values of the map for a check.
pub trait Content {
    /// Returns the payloads that a value refers to.
    ///
    /// # Errors
    /// The fault of the value.
    fn payloads(&self, key: &[u8], value: &Bytes) -> std::result::Result<Vec<Extent>, String>;
}

/// A callback that receives the number of bytes read so far, from time to time.
pub type Progress<'p> = &'p mut dyn FnMut(u64);

/// A check of one container. See the [module](self).
#[derive(Debug)]
pub struct Verifier {
    ledger: Ledger,
    /// The findings so far.
    pub findings: Findings,
    /// The numbers of items that were checked so far.
    pub counts: Counts,
    claims: Claims,
    seen: CheckedExtents,
    /// True if the newest version cannot be opened, and `ledger` is the version that salvage found.
    salvaged: bool,
    log: Memtable,
    root: Option<PageRef>,
}

/// Fingerprints of the extents and pages that were checked.
#[derive(Debug, Default)]
struct CheckedExtents {
    hashes: RandomState,
    all: HashSet<u64>,
}

impl CheckedExtents {
    /// Adds an item. Returns false if the item was there already.
    fn add(&mut self, thing: &impl Hash) -> bool {
        let hash = self.hashes.hash_one(thing);
        if self.all.len() >= MAX_SEEN { !self.all.contains(&hash) } else { self.all.insert(hash) }
    }

    /// Removes an item, because it was not checked completely.
    fn forget(&mut self, thing: &impl Hash) {
        self.all.remove(&self.hashes.hash_one(thing));
    }
}

/// Returns the log of a handle, and the root of the checkpoint below the log.
fn shown(ledger: &Ledger) -> (Memtable, Option<PageRef>) {
    let state = ledger.lock();
    (state.log.clone(), state.root)
}

impl Verifier {
    /// Returns the names of tags that the container stores beside its map, as a container in a store does.
    ///
    /// # Errors
    /// The errors of reading these objects.
    pub fn references(&self) -> Result<Vec<TagName>> {
        let Some(objects) = self.ledger.storage().as_objects() else { return Ok(Vec::new()) };
        Ok(objects.all_references(true)?.into_iter().map(|(name, _)| name).collect())
    }

    /// Opens the container in a file for a check.
    ///
    /// # Errors
    /// The errors of opening, except damage, which becomes a finding. If an older version can be opened despite the damage,
    /// the verifier checks that version; otherwise the inner `Err` has the findings.
    pub fn open_file(path: &Path, options: &Options) -> Result<std::result::Result<Self, Findings>> {
        Self::open(options, |o| Ok(Box::new(file::open(path, Access::ReadOnly, o, None)?)))
    }

    /// Opens the container in an object store for a check.
    ///
    /// # Errors
    /// The errors of [`open_file`](Self::open_file).
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

    /// Returns the handle of the snapshot that is checked.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns whether an older version is checked because the newest version cannot be opened.
    pub fn is_salvaged(&self) -> bool {
        self.salvaged
    }

    /// Returns whether a writer may have reclaimed parts of the checked version since this check opened the container, or whether the
    /// container was replaced or deleted. In a file, a pin protects the version.
    ///
    /// # Errors
    /// The errors of reading the superblock or manifest.
    pub fn is_overtaken(&self) -> Result<bool> {
        self.ledger.storage().audit().map_or(Ok(false), |audit| audit.is_overtaken(0))
    }

    /// Returns the bytes that the container takes, which is approximately the final value passed to a [`Progress`].
    ///
    /// # Errors
    /// The errors of the file system or the store.
    pub fn size(&self) -> Result<u64> {
        self.ledger.size()
    }
}
