//! The tags of a container: their entries, and the versions that they keep.

use super::Values;
use crate::{Options, Result, Target};
use h5lake_ledger::verify::{Finding, Severity, Verifier, Versions};
use h5lake_ledger::{Access, At, ErrorKind, Ledger, Tag, TagName};

/// The tags of the version that is checked; none where a page of the map is damaged, which was found before.
///
/// # Errors
/// Those of reading, but for damage.
pub(super) fn all(verifier: &Verifier) -> Result<Vec<Tag>> {
    match verifier.ledger().tags() {
        Err(e) if matches!(e.kind(), ErrorKind::Corrupt { .. }) => Ok(Vec::new()),
        tags => Ok(tags?),
    }
}

/// Checks the entries of all tags, and what their versions need.
///
/// # Errors
/// Those of reading, but for damage.
pub(super) fn check(
    verifier: &mut Verifier,
    target: &Target,
    options: &Options,
    versions: Versions,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    // What leads to tags is not known to be whole where the newest version cannot be opened.
    let reads_versions = versions == Versions::All && !verifier.is_salvaged();
    for tag in all(verifier)? {
        if tag.version.is_none() {
            let why = "its entry is none, so no room is reclaimed; delete the tag with 'h5lake tag --delete'";
            verifier.findings.add(Finding::new(Severity::Damage, "tag", format!("tag {}", tag.name), why));
        } else if reads_versions {
            let open = || open_at(target, options, tag.name);
            verifier.check_tagged(tag.name, &open, &Values, progress)?;
        }
    }
    Ok(())
}

/// Opens the version of a tag.
fn open_at(target: &Target, options: &Options, name: TagName) -> h5lake_ledger::Result<Ledger> {
    let at = Some(At::Tag(name));
    let opts = h5lake_ledger::Options { at, salvage: false, ..options.ledger.clone() };
    match target {
        Target::File(path) => Ledger::open_file(path, Access::ReadOnly, opts),
        Target::Objects { store, key, .. } => {
            Ledger::open_objects(store.clone(), key, Access::ReadOnly, opts)
        }
    }
}
