//! Checks the entries of branches together with their base versions: counts of links and attributes, and targets of
//! links. Only the entries of branches are scanned, and the entries that they replace are looked up.

use super::objects::{decoded, wrong};
use super::tags;
use bytes::Bytes;
use h5lake_container::{Options, Target};
use h5lake_ledger::verify::{Finding, Item, Severity, Verifier, Versions};
use h5lake_ledger::{Access, At, Branch, ErrorKind, Ledger, Tag, branch_entry};
use h5lake_records::Result;
use h5lake_records::keys;
use h5lake_records::record::{AttributeRecord, HeaderRecord, LinkRecord};
use std::collections::BTreeMap;

/// The kind of findings in the base version of a branch.
const BASE: &str = "base of a branch";

/// Checks all branches of the newest version.
///
/// # Errors
/// Those of reading, except damage.
pub(super) fn check(
    verifier: &mut Verifier,
    target: &Target,
    options: &Options,
    versions: Versions,
) -> Result<()> {
    let branches = match verifier.ledger().branches() {
        Ok(branches) => branches,
        Err(e) if is_reported(&e) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let tags = tags::all(verifier)?;
    for branch in branches {
        match tags.iter().find(|tag| tag.name == branch.name.tag()) {
            // Its entry is damaged, which was reported before.
            Some(Tag { version: None, .. }) => (),
            Some(Tag { version: Some(version), .. }) if version.number == branch.base => {
                check_one(verifier, target, options, versions, &branch)?;
            }
            _ => verifier.findings.add(baseless(&branch)),
        }
    }
    Ok(())
}

/// Checks one branch against its base. Damage to the base was reported with its tag, unless only the newest version is
/// checked.
fn check_one(
    verifier: &mut Verifier,
    target: &Target,
    options: &Options,
    versions: Versions,
    branch: &Branch,
) -> Result<()> {
    let at = Some(At::Tag(branch.name.tag()));
    let ledger = h5lake_ledger::Options { at, salvage: false, ..options.ledger.clone() };
    let checked = target
        .open_ledger(Access::ReadOnly, ledger)
        .and_then(|base| BranchCheck::of(verifier, &base, branch));
    match checked {
        Ok(found) => found.into_iter().for_each(|finding| verifier.findings.add(finding)),
        Err(e) if e.kind() == h5lake_records::ErrorKind::Corrupt => {
            if versions == Versions::Newest {
                let why = format!("{e}; so the branch '{}' is not checked", branch.name);
                verifier.findings.add(Finding::new(Severity::Damage, BASE, "", why));
            }
        }
        // The branch was merged or deleted meanwhile.
        Err(e) if e.kind() == h5lake_records::ErrorKind::OutOfRange => (),
        Err(e) => return Err(e),
    }
    Ok(())
}

/// Returns the finding for a branch with a missing tag, or with a tag that names another version.
fn baseless(branch: &Branch) -> Finding {
    let (name, tag) = (branch.name, branch.name.tag());
    let why = format!("the branch '{name}' began with version {}, which no tag '{tag}' keeps", branch.base);
    Finding::new(Severity::Damage, BASE, "", why)
}

fn is_reported(e: &h5lake_ledger::Error) -> bool {
    matches!(e.kind(), ErrorKind::Corrupt { .. })
}

/// Changes that a branch makes to an object's counts.
#[derive(Default)]
struct Change {
    /// Additional links to the object and uses of it, and the number of those in the branch's own entries.
    links: i64,
    named: u64,
    /// Additional links in the object, and additional attributes.
    members: i64,
    attributes: i64,
    /// True if the branch has entries that belong to the object.
    is_owner: bool,
    /// Its header, if the branch has changed or deleted it.
    header: Option<Option<HeaderRecord>>,
}

/// The check of one branch.
struct BranchCheck<'a> {
    base: &'a Ledger,
    prefix: Vec<u8>,
    changes: BTreeMap<u64, Change>,
    found: Vec<Finding>,
}

/// Returns the objects that a value leads to: as a link, or as committed types.
fn targets(letter: u8, value: Bytes) -> std::result::Result<Vec<u64>, String> {
    Ok(match letter {
        keys::LINK => decoded::<LinkRecord>(value)?.hard.into_iter().collect(),
        keys::ATTRIBUTE => {
            decoded::<AttributeRecord>(value)?.datatype.and_then(|t| t.committed).into_iter().collect()
        }
        keys::HEADER => decoded::<HeaderRecord>(value)?.committed_type().into_iter().collect(),
        _ => Vec::new(),
    })
}

impl<'a> BranchCheck<'a> {
    fn of(verifier: &Verifier, base: &'a Ledger, branch: &Branch) -> Result<Vec<Finding>> {
        if base.version() != branch.base {
            return Ok(Vec::new());
        }
        let prefix = Ledger::branch_prefix(branch.name);
        let mut check = Self { base, prefix: prefix.clone(), changes: BTreeMap::new(), found: Vec::new() };
        // The prefix ends with a zero byte.
        let upper = [&prefix[..prefix.len() - 1], &[1]].concat();
        let mut scan = verifier.scan(&prefix, Some(&upper));
        while let Some(item) = scan.step()? {
            // A branch with damaged entries cannot be judged, and the ledger has reported the damage.
            let Item::Entry(stored, entry) = item else { return Ok(Vec::new()) };
            let Ok(Some((key, value))) = branch_entry(&stored, &entry) else { return Ok(Vec::new()) };
            if !check.add(key, value)? {
                return Ok(check.found);
            }
        }
        check.compare()?;
        Ok(check.found)
    }

    fn bad(&mut self, severity: Severity, kind: &'static str, key: &[u8], why: String) {
        self.found.push(wrong(severity, kind, &[&self.prefix, key].concat(), why));
    }

    /// Adds an entry. Returns false if it cannot be read.
    fn add(&mut self, key: &[u8], value: Option<Bytes>) -> Result<bool> {
        let (Some(&letter), Some(id)) = (key.first(), keys::id(key)) else { return Ok(true) };
        let before = self.base.get(key)?;
        let all = [(before.clone(), -1), (value.clone(), 1)];
        for (value, step) in all.into_iter().filter_map(|(value, step)| Some((value?, step))) {
            let found = match targets(letter, value) {
                Ok(found) => found,
                Err(why) => {
                    self.bad(Severity::Damage, "entry of a branch", key, why);
                    return Ok(false);
                }
            };
            for target in found {
                let change = self.changes.entry(target).or_default();
                change.links += step;
                change.named += u64::from(step > 0);
            }
        }
        let more = i64::from(value.is_some()) - i64::from(before.is_some());
        let change = self.changes.entry(id).or_default();
        match letter {
            keys::LINK => change.members += more,
            keys::ATTRIBUTE => change.attributes += more,
            keys::HEADER => change.header = Some(value.and_then(|value| decoded(value).ok())),
            _ => (),
        }
        let is_owned = matches!(letter, keys::LINK | keys::ATTRIBUTE | keys::BLOCK);
        self.changes.entry(id).or_default().is_owner |= is_owned && more >= 0;
        Ok(true)
    }

    fn header_of_base(&self, id: u64) -> Result<Option<HeaderRecord>> {
        Ok(self.base.get(&keys::of(keys::HEADER, id))?.and_then(|value| decoded(value).ok()))
    }

    fn compare(&mut self) -> Result<()> {
        for (id, change) in std::mem::take(&mut self.changes) {
            let before = self.header_of_base(id)?;
            let now = change.header.clone().unwrap_or_else(|| before.clone());
            let key = keys::of(keys::HEADER, id);
            match now {
                None if change.is_owner => {
                    let why = "the object that something in the branch belongs to is missing there";
                    self.bad(Severity::Damage, "object", &key, why.into());
                }
                None if change.named > 0 => {
                    let why =
                        format!("{} links or uses in the branch lead to it, and it is missing", change.named);
                    self.bad(Severity::Damage, "reference", &key, why);
                }
                None => (),
                Some(now) => self.compare_counts(&key, before.as_ref(), &now, &change),
            }
        }
        Ok(())
    }

    fn compare_counts(
        &mut self,
        key: &[u8],
        before: Option<&HeaderRecord>,
        now: &HeaderRecord,
        change: &Change,
    ) {
        let added = |count: u64, more: i64| count.saturating_add_signed(more);
        let had = before.map_or(0, |h| h.attribute_count);
        let members = |h: &HeaderRecord| h.group.as_ref().map_or(0, |g| g.link_count);
        let counts = [
            ("attributes", added(had, change.attributes), now.attribute_count),
            ("links", added(before.map_or(0, members), change.members), members(now)),
        ];
        for (what, has, says) in counts.into_iter().filter(|(_, has, says)| has != says) {
            self.bad(
                Severity::Damage,
                "object",
                key,
                format!("it says that it has {says} {what}, and has {has}"),
            );
        }
        let says = u64::from(now.link_count);
        let has = added(before.map_or(0, |h| h.link_count.into()), change.links);
        if change.named > says {
            let why = format!(
                "it says that {says} links and uses lead to it, and {} in the branch do",
                change.named
            );
            self.bad(Severity::Damage, "object", key, why);
        } else if has != says {
            let why = format!(
                "it says that {says} links and uses lead to it, and {has} do (H5Oincr_refcount does that, too)"
            );
            self.bad(Severity::Warning, "object", key, why);
        }
    }
}
