//! Checks the tags of a container: their entries, and the versions that they retain.

use super::Values;
use h5lake_container::{Options, Target};
use h5lake_ledger::verify::{Finding, Item, Severity, Verifier, Versions};
use h5lake_ledger::{Access, At, BranchName, ErrorKind, Ledger, Tag, TagName};
use h5lake_records::Result;
use h5lake_records::keys;

/// Returns the tags of the checked version; none if a page is damaged, which was reported before.
///
/// # Errors
/// Those of reading, except damage.
pub(super) fn all(verifier: &Verifier) -> Result<Vec<Tag>> {
    match verifier.ledger().tags() {
        Err(e) if matches!(e.kind(), ErrorKind::Corrupt { .. }) => Ok(Vec::new()),
        tags => Ok(tags?),
    }
}

/// Checks the entries of all tags, and the data that their versions need.
///
/// # Errors
/// Those of reading, except damage.
pub(super) fn check(
    verifier: &mut Verifier,
    target: &Target,
    options: &Options,
    versions: Versions,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    names(verifier)?;
    // If the newest version cannot be opened, the entries that lead to the versions of tags may be incomplete.
    let reads_versions = versions == Versions::All && !verifier.is_salvaged();
    for tag in all(verifier)? {
        if tag.version.is_none() {
            let why =
                "its entry is none, so no space is reclaimed; delete the tag with 'h5lake tag --delete'";
            verifier.findings.add(Finding::new(Severity::Damage, "tag", format!("tag {}", tag.name), why));
        } else if reads_versions {
            let open = || open_at(target, options, tag.name);
            verifier.check_tagged(tag.name, &open, &Values, progress)?;
        }
    }
    Ok(())
}

/// Checks the names of tags and branches, and the records of branches. An invalid entry hides all other tags or
/// branches from their listing.
///
/// # Errors
/// Those of reading, except damage.
fn names(verifier: &mut Verifier) -> Result<()> {
    let mut found = Vec::new();
    for (kind, rule, lower, upper) in [
        ("tag", TagName::RULE, &[keys::TAG][..], &[keys::TAG + 1][..]),
        ("branch", BranchName::RULE, &[keys::BRANCH, 0], &[keys::BRANCH, 1]),
    ] {
        let mut scan = verifier.scan(lower, Some(upper));
        while let Some(item) = scan.step()? {
            // Damage to pages was reported before.
            let Item::Entry(key, _) = item else { continue };
            let name = &key[lower.len()..];
            let damage = |why: String| {
                Finding::new(Severity::Damage, kind, format!("{kind} {}", name.escape_ascii()), why)
            };
            let text = std::str::from_utf8(name).unwrap_or_default();
            let is_name = match kind {
                "tag" => TagName::new(text).is_some(),
                _ => BranchName::new(text).is_some(),
            };
            if !is_name {
                found.push(damage(format!(
                    "its name is none ({rule}), so no {kind} can be listed; 'h5lake repair' makes a container without it"
                )));
            } else if let Some(branch) = BranchName::new(text).filter(|_| kind == "branch")
                && let Err(e) = verifier.ledger().branch_named(branch)
                && let ErrorKind::Corrupt { why, .. } = e.kind()
            {
                found.push(damage(format!("its record is none: {why}")));
            }
        }
    }
    found.into_iter().for_each(|finding| verifier.findings.add(finding));
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
