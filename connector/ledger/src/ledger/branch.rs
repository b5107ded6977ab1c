//! Branches: changes that are kept beside the main line, over the version that they began with.

use std::ops::Bound;

use bytes::Bytes;

use super::branch_view::BranchView;
use super::{Ledger, State};
use crate::branches::{BRANCH, BranchName, BranchRecord, is_of_branches};
use crate::error::{Error, ErrorKind, Result};
use crate::memtable::range_of;
use crate::options::{Access, At, Options, Writers};
use crate::storage::RemoteCommits;
use crate::tags::{Held, MAX_TAGS, TagEntry, TagName};
use crate::wal::record::Author;

/// Opens a container with these options: to read, at the version of an entry if that is given.
pub(super) type Opener<'o> = dyn Fn(&Options, Access, Option<TagEntry>) -> Result<Ledger> + 'o;

/// A branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The name.
    pub name: BranchName,
    /// The version that it began with.
    pub base: u64,
    /// When it was made, in microseconds since 1970-01-01 UTC.
    pub made: u64,
    /// When it was committed to last, likewise.
    pub changed: u64,
    /// How often it was committed to.
    pub commits: u64,
    /// Host name of the machine that made it.
    pub host: String,
    /// Process id of who made it.
    pub pid: u32,
}

impl Branch {
    fn of(name: BranchName, record: BranchRecord) -> Self {
        let BranchRecord { base, made, changed, commits, author, .. } = record;
        Self { name, base, made, changed, commits, host: author.host.to_string(), pid: author.pid }
    }
}

impl Ledger {
    /// The branches of the version that this handle sees, in the order of their names.
    ///
    /// # Errors
    /// `Corrupt`; those of reading.
    pub fn branches(&self) -> Result<Vec<Branch>> {
        let (lower, upper) = ([BRANCH, 0], [BRANCH, 1]);
        let bounds = (Bound::Included(&lower[..]), Bound::Excluded(&upper[..]));
        let found = self.layers(&self.lock()).scan(bounds.0, bounds.1, MAX_TAGS + 1)?;
        let read = |(key, value): &(Bytes, Bytes)| {
            let name =
                BranchName::of_record_key(key).ok_or_else(|| self.damaged_branch("a name that is none"))?;
            Ok(Branch::of(name, self.decoded_record(value)?))
        };
        found.iter().map(read).collect()
    }

    fn damaged_branch(&self, why: &str) -> Error {
        Error::corrupt(self.storage.target(), "the record of a branch", why)
    }

    fn decoded_record(&self, bytes: &[u8]) -> Result<BranchRecord> {
        BranchRecord::decode(bytes).map_err(|why| self.damaged_branch(why))
    }

    /// One branch.
    ///
    /// # Errors
    /// `NoSuchBranch`; those of reading.
    pub fn branch_named(&self, name: BranchName) -> Result<Branch> {
        self.record_of(name).map(|record| Branch::of(name, record))
    }

    fn record_of(&self, name: BranchName) -> Result<BranchRecord> {
        let record = self.get(&name.record_key())?.ok_or_else(|| self.no_such_branch(name))?;
        self.decoded_record(&record)
    }

    fn no_such_branch(&self, name: BranchName) -> Error {
        let branches = match self.branches() {
            Ok(branches) => branches.into_iter().map(|branch| branch.name.to_string()).collect(),
            Err(error) => return error,
        };
        self.fail(ErrorKind::NoSuchBranch { name: name.to_string(), branches })
    }

    /// Begins a branch with a version, the newest one for `None`. When this returns, the branch is committed; the version stays as
    /// long as the branch does.
    ///
    /// # Errors
    /// `BranchExists`; as for [`tag`](Ledger::tag).
    pub fn create_branch(&self, name: BranchName, at: Option<At>) -> Result<Branch> {
        if self.get(&name.record_key())?.is_some() {
            return Err(self.fail(ErrorKind::BranchExists { name: name.to_string() }));
        }
        self.tag_for_branch(name, at).map_err(|error| match error.kind() {
            ErrorKind::TagExists { name: tag, .. } => {
                let why = format!(
                    "the tag '{tag}' is there, and holds no branch; delete it with 'h5lake tag --delete', or choose another name"
                );
                Error::invalid(self.storage.target(), why)
            }
            _ => error,
        })?;
        self.branch_named(name)
    }

    /// Stages the record of a new branch, whose base a tag's entry leads to.
    pub(super) fn stage_branch_record(&self, name: BranchName, entry: &TagEntry) -> Result<()> {
        let id = crate::clock::random(self.storage.target())?;
        let (base, made) = (entry.mark.version, entry.tagged);
        let record = BranchRecord { id, base, made, changed: made, commits: 0, author: Author::myself() };
        self.put(&name.record_key(), record.encode())
    }

    /// Stages the end of a branch without entries: its record goes, and the tag of its base.
    ///
    /// # Errors
    /// As for [`delete`](Ledger::delete).
    pub fn stage_end_of_branch(&self, name: BranchName) -> Result<()> {
        self.delete(&name.record_key())?;
        // A reference goes when the end of the branch is committed.
        if self.storage.has_references() { Ok(()) } else { self.delete(&name.tag().key()) }
    }

    /// Lets go of the room that tags do not hold any more, when a [branch has ended](Self::stage_end_of_branch).
    pub fn look_at_tags(&self, ended: BranchName) {
        self.hold_tags_if_any(&self.lock());
        if !self.storage.has_references() {
            return;
        }
        let is_gone = self.get(&ended.record_key()).is_ok_and(|record| record.is_none());
        if is_gone && let Err(e) = self.storage.remove_references(&[ended.tag()]) {
            tracing::warn!(error = %e, tag = %ended.tag(), "the tag of a branch that has ended was not removed");
        }
    }

    /// What the keys of a branch's entries begin with: for who merges or deletes the branch.
    pub fn branch_prefix(name: BranchName) -> Vec<u8> {
        name.prefix()
    }

    /// Whether a payload is held by the tag of a branch's base: then the branch has not written it.
    ///
    /// # Errors
    /// `NoSuchTag`; those of reading.
    pub fn base_holds(&self, name: BranchName) -> Result<impl Fn(&crate::Extent) -> bool + use<>> {
        let held = self.held_by_base(name)?;
        Ok(move |e: &crate::Extent| held.has_place(e.place()))
    }

    fn held_by_base(&self, name: BranchName) -> Result<Held> {
        let entry = self.found_tag(&|tag, _| *tag == name.tag())?;
        let mut entry = entry.ok_or_else(|| self.not_found(&name.tag()))?;
        if self.storage.has_references() {
            entry.objects = self.storage.held_by_reference(&name.tag())?.0;
        }
        Ok(Held::by([&entry]))
    }

    /// What the keys of each branch's entries begin with, and the room of its base, as far as that can be read.
    pub(crate) fn branch_bases(&self) -> Vec<(Vec<u8>, Held)> {
        let all = self.branches().unwrap_or_default();
        all.iter()
            .filter_map(|branch| Some((branch.name.prefix(), self.held_by_base(branch.name).ok()?)))
            .collect()
    }

    /// Opens a branch: a writer of it is one of many.
    pub(super) fn open_branch(
        name: BranchName,
        opts: &Options,
        access: Access,
        open: &Opener<'_>,
    ) -> Result<Self> {
        let opts = Options { at: None, salvage: false, writers: Writers::Many, ..opts.clone() };
        let mut ledger = open(&opts, access, None)?;
        let id = ledger.record_of(name)?.id;
        let held = ledger.held_by_base(name)?;
        let at = At::Tag(name.tag());
        let base = match ledger.storage.has_references() {
            true => open(
                &Options { at: Some(at), writers: Writers::One, ..opts.clone() },
                Access::ReadOnly,
                None,
            )?,
            false => Self::open_past(at, &opts, open)?,
        };
        if base.identity() != ledger.identity() {
            return Err(ledger.fail(ErrorKind::Conflict));
        }
        ledger.branch =
            Some(Box::new(BranchView { name, id, prefix: name.prefix(), base: Box::new(base), held }));
        Ok(ledger)
    }

    /// Stages the record of this handle's branch, if something else of it is staged.
    ///
    /// # Errors
    /// `BranchGone` if it was merged or deleted.
    pub(crate) fn note_branch_commit(&self, s: &mut State) -> Result<()> {
        let Some(branch) = &self.branch else { return Ok(()) };
        let staged = range_of(&s.staged, Bound::Included(&branch.prefix), Bound::Unbounded).next();
        if !staged.is_some_and(|(key, _)| key.as_ref().starts_with(&branch.prefix)) {
            return Ok(());
        }
        let key = branch.name.record_key();
        let record = self.below(s).get(&key)?.ok_or_else(|| self.branch_is_gone(branch))?;
        let mut record = self.decoded_record(&record)?;
        if record.id != branch.id {
            return Err(self.branch_is_gone(branch));
        }
        record.commits = record.commits.saturating_add(1).min(1 << 61);
        record.changed = self.storage.present()?;
        self.stage_stored(s, &key, Some(record.encode().into()));
        Ok(())
    }

    /// Whether news end the branch that this handle shows.
    ///
    /// # Errors
    /// `BranchGone` if they do; those of reading.
    pub(crate) fn check_branch(&self, commits: &RemoteCommits) -> Result<()> {
        let Some(branch) = &self.branch else { return Ok(()) };
        let key = branch.name.record_key();
        let mut last = None;
        for record in commits.skipped.iter().chain(&commits.records) {
            for (changed, stored) in record.changes().map_err(|why| self.damaged(why))? {
                if changed == key {
                    last = Some(stored.over(None).is_ok_and(|value| !self.is_of(branch, value.as_ref())));
                }
            }
        }
        let is_gone = match (last, commits.restart) {
            (Some(is_gone), _) => is_gone,
            (None, Some(base)) => !self.is_of(branch, self.tree(base.root).get(&key)?.as_ref()),
            (None, None) => false,
        };
        if is_gone { Err(self.branch_is_gone(branch)) } else { Ok(()) }
    }

    /// Whether a record is that of a branch, and not of another one of its name.
    fn is_of(&self, branch: &BranchView, record: Option<&Bytes>) -> bool {
        record
            .and_then(|record| BranchRecord::decode(record).ok())
            .is_some_and(|record| record.id == branch.id)
    }

    /// Refuses to delete or move the tag of a branch's base.
    pub(super) fn check_holds_no_branch(&self, tag: &TagName) -> Result<()> {
        let Some(name) = BranchName::of_tag(tag) else { return Ok(()) };
        if self.get(&name.record_key())?.is_none() {
            return Ok(());
        }
        let why =
            format!("the tag '{tag}' holds what the branch '{name}' began with; delete the branch instead");
        Err(Error::invalid(self.storage.target(), why))
    }

    /// Whether another writer changed a branch's record or entry meanwhile that is staged here.
    pub fn is_branch_contested(&self) -> bool {
        self.lock().unmerged.keys().any(|key| is_of_branches(key))
    }
}
