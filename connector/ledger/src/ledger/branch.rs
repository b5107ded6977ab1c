//! Branches: changes that are stored beside the main line, on top of the version that they began with.

use std::ops::Bound;

use bytes::Bytes;

use super::branch_view::BranchView;
use super::{Ledger, State};
use crate::author::Author;
use crate::branches::{BRANCH, BranchName, BranchRecord, is_of_branches};
use crate::error::{Error, ErrorKind, Result};
use crate::memtable::range_of;
use crate::options::{Access, At, Options, Writers};
use crate::storage::RemoteCommits;
use crate::storage_kinds::StorageKinds;
use crate::tags::{Held, MAX_TAGS, TagEntry, TagName};

/// Opens a container with these options and this access, at the version of the entry if an entry is given.
pub(super) type Opener<'o> = dyn Fn(&Options, Access, Option<TagEntry>) -> Result<Ledger> + 'o;

/// A branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The name.
    pub name: BranchName,
    /// The version that the branch began with.
    pub base: u64,
    /// The time at which the branch was created, in microseconds since 1970-01-01 UTC.
    pub made: u64,
    /// The time of the last commit to the branch, in the same unit.
    pub changed: u64,
    /// The number of commits to the branch.
    pub commits: u64,
    /// The host name of the machine that created the branch.
    pub host: String,
    /// The process id of the process that created the branch.
    pub pid: u32,
    /// The login name or number of the user who created the branch; empty if it is not known.
    pub user: String,
    /// The program that created the branch, and its script, without folders; empty if it is not known.
    pub program: String,
    /// The message that the program gave; empty if it gave none.
    pub message: String,
}

impl Branch {
    fn of(name: BranchName, record: BranchRecord) -> Self {
        let BranchRecord { base, made, changed, commits, author, .. } = record;
        let [host, user, program, message] =
            [author.host, author.user, author.program, author.message].map(|text| text.to_string());
        Self { name, base, made, changed, commits, host, pid: author.pid, user, program, message }
    }
}

impl Ledger {
    /// Returns the branches of the version that this handle sees, in the order of their names.
    ///
    /// # Errors
    /// `Corrupt`; read errors.
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

    /// Returns the branch with a name.
    ///
    /// # Errors
    /// `NoSuchBranch`; read errors.
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

    /// Creates a branch that begins with a version (the newest version for `None`). When this returns, the branch is committed, and the
    /// version is retained as long as the branch exists.
    ///
    /// # Errors
    /// `BranchExists`; the errors of [`tag`](Ledger::tag).
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

    /// Stages the record of a new branch. `entry` is the entry of the tag that protects its base.
    pub(super) fn stage_branch_record(&self, name: BranchName, entry: &TagEntry) -> Result<()> {
        let id = crate::clock::random(self.storage.target())?;
        let (base, made) = (entry.mark.version, entry.tagged);
        let record = BranchRecord { id, base, made, changed: made, commits: 0, author: Author::myself() };
        self.put(&name.record_key(), record.encode())
    }

    /// Stages the deletion of a branch that has no entries: of its record, and of the tag of its base.
    ///
    /// # Errors
    /// The errors of [`delete`](Ledger::delete).
    pub fn stage_end_of_branch(&self, name: BranchName) -> Result<()> {
        self.delete(&name.record_key())?;
        // A reference is removed after the deletion of the branch is committed (see [`look_at_tags`](Self::look_at_tags)).
        if self.is_in_store() { Ok(()) } else { self.delete(&name.tag().key()) }
    }

    /// Releases the space that tags no longer protect, after the [deletion of a branch](Self::stage_end_of_branch) was committed.
    pub fn look_at_tags(&self, ended: BranchName) {
        self.hold_tags_if_any(&self.lock());
        let Some(objects) = self.storage.as_objects() else { return };
        let is_gone = self.get(&ended.record_key()).is_ok_and(|record| record.is_none());
        if is_gone && let Err(e) = objects.remove_references(&[ended.tag()]) {
            tracing::warn!(error = %e, tag = %ended.tag(), "the tag of a branch that has ended was not removed");
        }
    }

    /// Returns the prefix of the keys of a branch's entries, for code that merges or deletes the branch.
    pub fn branch_prefix(name: BranchName) -> Vec<u8> {
        name.prefix()
    }

    /// Returns a function that tells whether the tag of a branch's base protects a payload. The branch has not written such a payload.
    ///
    /// # Errors
    /// `NoSuchTag`; read errors.
    pub fn base_holds(&self, name: BranchName) -> Result<impl Fn(&crate::Extent) -> bool + use<>> {
        let held = self.held_by_base(name)?;
        Ok(move |e: &crate::Extent| held.has_place(e.place()))
    }

    fn held_by_base(&self, name: BranchName) -> Result<Held> {
        let entry = self.found_tag(&|tag, _| *tag == name.tag())?;
        let mut entry = entry.ok_or_else(|| self.not_found(&name.tag()))?;
        if let Some(objects) = self.storage.as_objects() {
            entry.objects = objects.held_by_tag(&name.tag())?.0;
        }
        Ok(Held::by([&entry]))
    }

    /// Returns the key prefix of each branch, and the space of its base, for the branches that can be read.
    pub(crate) fn branch_bases(&self) -> Vec<(Vec<u8>, Held)> {
        let all = self.branches().unwrap_or_default();
        all.iter()
            .filter_map(|branch| Some((branch.name.prefix(), self.held_by_base(branch.name).ok()?)))
            .collect()
    }

    /// Opens a branch. A writer of a branch is a concurrent writer.
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
        let base = match ledger.is_in_store() {
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

    /// Stages a new record of this handle's branch if other changes of the branch are staged.
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

    /// Checks whether remote commits end the branch that this handle shows.
    ///
    /// # Errors
    /// `BranchGone` if they do; read errors.
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

    /// Returns whether a record is the record of this branch, and not of another branch with the same name.
    fn is_of(&self, branch: &BranchView, record: Option<&Bytes>) -> bool {
        record
            .and_then(|record| BranchRecord::decode(record).ok())
            .is_some_and(|record| record.id == branch.id)
    }

    /// Returns an error if the tag belongs to the base of a branch, because such a tag must not be deleted or moved.
    pub(super) fn check_holds_no_branch(&self, tag: &TagName) -> Result<()> {
        let Some(name) = BranchName::of_tag(tag) else { return Ok(()) };
        if self.get(&name.record_key())?.is_none() {
            return Ok(());
        }
        let why =
            format!("the tag '{tag}' holds what the branch '{name}' began with; delete the branch instead");
        Err(Error::invalid(self.storage.target(), why))
    }

    /// Returns whether another writer changed a record or an entry of a branch that this handle has staged.
    pub fn is_branch_contested(&self) -> bool {
        self.lock().unmerged.keys().any(|key| is_of_branches(key))
    }
}
