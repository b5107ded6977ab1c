//! Verifies a container: all structures of the ledger, and the consistency of its values. `h5lake verify`.
//!
//! References and ids of blobs within elements of datasets are not checked, and neither is the output of filters, which
//! is only compared with its checksum.

mod branches;
pub(crate) mod cursor;
mod names;
mod objects;
#[cfg(test)]
mod overtaken_tests;
#[cfg(test)]
mod tag_tests;
mod tags;
#[cfg(test)]
mod tests;

pub(crate) use cursor::Cursor;
pub(crate) use names::named;
pub(crate) use objects::{LOST, attribute, decoded};

use bytes::Bytes;
use h5lake_container::payloads_of;
use h5lake_container::{Options, Target};
use h5lake_ledger::Extent;
use h5lake_ledger::verify::{Content, Finding, Verifier};
pub use h5lake_ledger::verify::{Counts, Severity, Versions};
use h5lake_records::distinct;
use h5lake_records::{Error, ErrorKind, Result};
use std::collections::HashSet;

/// Number of restarts of a check after writers deleted data that it read.
const MAX_CHECKS: u32 = 10;

/// Damage as two checks find it: its kind, its place, its cause, and the affected object.
type DamagedPlace = (&'static str, String, String, String);

/// A finding with the names of the affected objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyFinding {
    /// The severity.
    pub severity: Severity,
    /// The kind of structure: "head slot", "page", "payload", "link", …
    pub kind: &'static str,
    /// The place: bytes of the file, or an object of the store and bytes in it. Empty if no place is known.
    pub at: String,
    /// The error.
    pub why: String,
    /// The affected object: "chunk [0, 30] of /g/data", "attribute units of /g", … Empty if no object is affected.
    pub what: String,
    /// The HDF5 path of the affected object.
    pub path: Option<String>,
    /// The coordinates of the first element of an affected chunk.
    pub chunk: Option<Vec<u64>>,
    /// The affected attribute.
    pub attribute: Option<String>,
    /// True if the newest version is affected; otherwise only older versions are.
    pub newest: bool,
    /// The tag of the affected version, unless a version that was checked before is affected as well. `branch-` and a
    /// name for the base of a branch.
    pub tag: Option<String>,
}

/// The result of a check.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The findings, at most [`MAX_FINDINGS`](h5lake_ledger::verify::MAX_FINDINGS).
    pub found: Vec<VerifyFinding>,
    /// Number of further findings.
    pub more: u64,
    /// Number of findings, including further ones, that are damage.
    pub damaged: u64,
    /// Numbers of structures that the ledger checked.
    pub counts: Counts,
    /// Number of objects with readable headers.
    pub objects: u64,
    /// The version that was checked.
    pub version: u64,
    /// True if the newest version cannot be opened, so that an older one was checked.
    pub is_salvaged: bool,
}

impl Report {
    /// Returns whether there is no damage.
    pub fn is_whole(&self) -> bool {
        self.damaged == 0
    }

    /// Retains the damage that an earlier check found too, and the warnings. Returns whether such damage was found.
    fn leave_confirmed(&mut self, before: &HashSet<DamagedPlace>) -> bool {
        let is_again = |f: &VerifyFinding| f.damaged_place().is_none_or(|place| before.contains(&place));
        let confirmed = |f: &&VerifyFinding| f.severity == Severity::Damage && is_again(f);
        self.damaged = self.found.iter().filter(confirmed).count() as u64;
        self.found.retain(is_again);
        self.damaged > 0
    }
}

/// The payloads of values, for the ledger's check.
struct Values;

impl Content for Values {
    fn payloads(&self, key: &[u8], value: &Bytes) -> std::result::Result<Vec<Extent>, String> {
        let all = payloads_of(key, value).map_err(|e| {
            // The key is reported separately.
            let text = e.to_string();
            text.split_once("]: ").map_or_else(|| text.clone(), |(_, why)| why.to_owned())
        })?;
        // Several fragments may be in one extent.
        Ok(distinct(&all))
    }
}

/// Opens a container for a check.
pub(crate) fn open(
    target: &Target,
    options: &Options,
) -> Result<std::result::Result<Verifier, h5lake_ledger::verify::Findings>> {
    Ok(match target {
        Target::File(path) => Verifier::open_file(path, &options.ledger)?,
        Target::Objects { store, key, .. } => Verifier::open_objects(store, key, &options.ledger)?,
    })
}

/// Checks every checksum, reference, count and free range of a container, and changes nothing. The check takes no writer's lock,
/// so other writers may write meanwhile. `progress` is called with the number of bytes that were read, and with the approximate
/// total.
///
/// One version is checked. In a file, a pin protects the version. In an object store, a writer may delete objects of the version
/// once the retention time is over, so that an object is missing although nothing is damaged. If a writer has advanced that far,
/// the findings are discarded and the newest version is checked instead. Damage that the check of another version finds again at
/// the same place is real damage, because no version needs an object that a writer deleted before.
///
/// # Errors
/// If the container cannot be opened for another reason than damage, or a read fails; `Gone` if writers repeatedly deleted
/// objects of the checked version.
pub fn verify(
    target: &Target,
    options: &Options,
    versions: Versions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report> {
    let mut doubted = HashSet::new();
    for _ in 0..MAX_CHECKS {
        let (mut report, is_overtaken) = match check_once(target, options, versions, progress) {
            Err(e) if e.kind() == ErrorKind::Gone => continue,
            checked => checked?,
        };
        if report.is_whole() || !is_overtaken {
            return Ok(report);
        }
        let found = report.found.iter().filter_map(VerifyFinding::damaged_place).collect();
        if report.leave_confirmed(&doubted) {
            return Ok(report);
        }
        doubted = found;
    }
    let text = format!(
        "cannot verify {}: writers reclaimed each version that was read ({MAX_CHECKS} attempts); verify it while no \
         writer is at work, or set a retention time that is longer than a check takes",
        target.name()
    );
    Err(Error::new(ErrorKind::Gone, text))
}

/// Checks the newest version once, and the older versions. Also returns whether a writer may have deleted some objects meanwhile.
fn check_once(
    target: &Target,
    options: &Options,
    versions: Versions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Report, bool)> {
    let mut verifier = match open(target, options)? {
        Ok(verifier) => verifier,
        Err(findings) => {
            let found = findings.list.into_iter().map(VerifyFinding::unnamed).collect();
            let (more, damaged) = (findings.more, findings.damaged);
            return Ok((Report { found, more, damaged, ..Report::default() }, false));
        }
    };
    let size = verifier.size()?;
    verifier.check(&Values, versions, &mut |done| progress(done, size))?;
    tags::check(&mut verifier, target, options, versions, &mut |done| progress(done, size))?;
    let objects = objects::check(&mut verifier)?;
    branches::check(&mut verifier, target, options, versions)?;
    let (list, more, damaged) = {
        let all = std::mem::take(&mut verifier.findings);
        (all.list, all.more, all.damaged)
    };
    let report = Report {
        found: names::named(&verifier, list)?,
        more,
        damaged,
        counts: verifier.counts,
        objects,
        version: verifier.ledger().version(),
        is_salvaged: verifier.is_salvaged(),
    };
    let is_overtaken = !report.is_whole() && verifier.is_overtaken()?;
    Ok((report, is_overtaken))
}

impl VerifyFinding {
    /// Returns the damage that this finding reports; `None` for a warning.
    fn damaged_place(&self) -> Option<DamagedPlace> {
        let is_damage = self.severity == Severity::Damage;
        is_damage.then(|| (self.kind, self.at.clone(), self.why.clone(), self.what.clone()))
    }

    fn unnamed(f: Finding) -> Self {
        let Finding { severity, kind, at, why, hit, .. } = f;
        Self {
            severity,
            kind,
            at,
            why,
            newest: hit.is_newest(),
            tag: hit.tag().map(|name| name.to_string()),
            what: String::new(),
            path: None,
            chunk: None,
            attribute: None,
        }
    }
}
