//! Branches: merging a branch into the main line, and deleting a branch.

mod deleted;
mod staging;

use crate::{Access, Container, Error, ErrorKind, OnConflict, Options, Result, Target};
use bytes::Bytes;
use h5lake_ledger::{At, Branch, BranchName, Extent, Ledger, ShownEntry, Writers, branch_entry};
use h5lake_records::extents_of;
use std::sync::Arc;

/// The result of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedBranch {
    /// The branch before the merge.
    pub branch: Branch,
    /// The version of the main line that contains the branch.
    pub version: u64,
    /// Number of entries in which the branch differed from its base.
    pub entries: u64,
}

/// An entry of a branch.
pub(crate) struct BranchEntry {
    /// Its key as stored.
    stored: Bytes,
    /// Its key in the main line.
    key: Bytes,
    /// Its value; `None` if the branch has deleted the entry.
    value: Option<Bytes>,
}

/// Decodes a stored entry of a branch; `None` for an entry of the main line.
fn entry_of<'k>(stored: &'k [u8], entry: &Bytes) -> Result<Option<ShownEntry<'k>>> {
    branch_entry(stored, entry).map_err(|why| Error::corrupt(format!("the entry {stored:02x?}: {why}")))
}

/// Returns the payloads of an entry of the main line or of a branch.
///
/// # Errors
/// `Corrupt`.
pub fn payloads_of(key: &[u8], value: &Bytes) -> Result<Vec<Extent>> {
    match entry_of(key, value)? {
        Some((key, Some(value))) => extents_of(key, value),
        Some((_, None)) => Ok(Vec::new()),
        None => extents_of(key, value.clone()),
    }
}

/// Opens the main line as a shared writer, in addition to all its open handles.
fn open_main(target: &Target, options: &Options) -> Result<Arc<Container>> {
    let ledger =
        h5lake_ledger::Options { at: None, salvage: false, writers: Writers::Many, ..options.ledger.clone() };
    // A merge takes over all changes of a branch, or none.
    let on_conflict = match options.on_conflict {
        OnConflict::Last => OnConflict::Last,
        OnConflict::Fail | OnConflict::Merge => OnConflict::Fail,
    };
    let options = Options { ledger, on_conflict, opened: None, ..options.clone() };
    Container::open_apart(target, Access::ReadWrite, &options)
}

impl Container {
    /// Merges a branch into the main line by the rules of multi-writer mode. If both changed the same object, the
    /// branch wins only with `OnConflict::Last`. When this returns, one commit has all changes of the branch, and the
    /// branch is deleted. Objects that the branch deleted are deleted in a later commit.
    ///
    /// # Errors
    /// `NoSuchBranch`; `Conflict`, which names the objects that both changed: then nothing is merged, and the branch
    /// stays; `Locked` while an exclusive writer has the container open; those of reading and of committing.
    pub fn merge_branch(target: &Target, name: BranchName, options: &Options) -> Result<MergedBranch> {
        Self::merge_branch_after(target, name, options, || ())
    }

    /// Merges a branch like [`merge_branch`](Self::merge_branch); `is_staged` is called after everything is staged and
    /// before anything is committed.
    pub(crate) fn merge_branch_after(
        target: &Target,
        name: BranchName,
        options: &Options,
        is_staged: impl FnOnce(),
    ) -> Result<MergedBranch> {
        let main = open_main(target, options)?;
        let branch = main.ledger.branch_named(name)?;
        let at = Some(At::Tag(name.tag()));
        let of_base = Options {
            ledger: h5lake_ledger::Options { at, salvage: false, ..options.ledger.clone() },
            ..options.clone()
        };
        let base = target.open_ledger(Access::ReadOnly, of_base.ledger)?;
        if base.identity() != main.ledger.identity() {
            let text = format!("{}: was replaced meanwhile; nothing is merged", main.name());
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        let staged = main.stage_branch(&base, &branch);
        drop(base);
        is_staged();
        let entries =
            main.all_or_nothing(staged.and_then(|entries| main.flush_settled().map(|()| entries)))?;
        main.ledger.look_at_tags(name);
        let version = main.ledger.version();
        Ok(MergedBranch { branch, version, entries })
    }

    /// Deletes a branch, and frees the space of its changes. When this returns, the branch is deleted.
    ///
    /// # Errors
    /// `NoSuchBranch`; `Conflict` if it was committed to meanwhile: then it stays; `Locked` while an exclusive writer
    /// has the container open; those of reading and of committing.
    pub fn delete_branch(target: &Target, name: BranchName, options: &Options) -> Result<Branch> {
        Self::delete_branch_after(target, name, options, || ())
    }

    /// Deletes a branch like [`delete_branch`](Self::delete_branch); `is_staged` is called after everything is staged
    /// and before anything is committed.
    pub(crate) fn delete_branch_after(
        target: &Target,
        name: BranchName,
        options: &Options,
        is_staged: impl FnOnce(),
    ) -> Result<Branch> {
        let main = open_main(target, options)?;
        let branch = main.ledger.branch_named(name)?;
        let is_of_base = main.ledger.base_holds(name)?;
        // A concurrent commit to the branch is detected as in a merge.
        main.state().remote.merges(&branch);
        let staged = main.each_of_branch(name, |entry| {
            if let Some(value) = entry.value {
                main.free_unless(&entry.key, value, &is_of_base)?;
            }
            Ok(main.ledger.delete(&entry.stored)?)
        });
        let staged = staged.and_then(|()| Ok(main.ledger.stage_end_of_branch(name)?));
        is_staged();
        main.all_or_nothing(staged.and_then(|()| main.flush_settled()))?;
        main.ledger.look_at_tags(name);
        Ok(branch)
    }

    /// Flushes. If the outcome of the commit is unknown, flushes once more to find it out.
    fn flush_settled(&self) -> Result<()> {
        match self.flush() {
            // After a conflict nothing is staged any more.
            Err(error) if error.kind() == ErrorKind::Io && self.has_changes() => self.flush(),
            done => done,
        }
    }

    /// Discards the staged changes after a failure, because the end of this handle would commit them, or would resolve
    /// a commit of unknown outcome by making it.
    fn all_or_nothing<T>(&self, done: Result<T>) -> Result<T> {
        if done.is_err() {
            if let Err(error) = self.forget_batch(&mut self.state()) {
                // The handle can commit nothing then.
                tracing::warn!("{}: what was staged could not be given up: {error}", self.name());
            }
            self.abandon("the branch could not be merged or deleted");
        }
        done
    }

    /// Frees the payloads of a value, except those for which `is_kept` returns true.
    fn free_unless(&self, key: &[u8], value: Bytes, is_kept: &dyn Fn(&Extent) -> bool) -> Result<()> {
        let mut freed: Vec<Extent> = Vec::new();
        for extent in extents_of(key, value)? {
            if !is_kept(&extent) && !freed.contains(&extent) {
                self.ledger.free_payload(&extent)?;
                freed.push(extent);
            }
        }
        Ok(())
    }

    /// Passes every entry of a branch to `take`, in the order of their keys.
    fn each_of_branch(
        &self,
        name: BranchName,
        mut take: impl FnMut(BranchEntry) -> Result<()>,
    ) -> Result<()> {
        self.each(&Ledger::branch_prefix(name), |stored, entry| {
            let Some((key, value)) = entry_of(&stored, &entry)? else { return Ok(()) };
            let key = stored.slice_ref(key);
            take(BranchEntry { stored, key, value })
        })
    }
}
