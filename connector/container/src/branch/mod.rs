//! Branches: merging one into the main line, and deleting one.

mod deleted;
mod staging;

use crate::chunk::block_store::extents_of;
use crate::container::open_ledger;
use crate::{Access, Container, Error, ErrorKind, OnConflict, Options, Result, Target};
use bytes::Bytes;
use h5lake_ledger::{At, Branch, BranchName, Extent, Ledger, ShownEntry, Writers, branch_entry};
use std::sync::Arc;

/// What a merge did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedBranch {
    /// The branch as it was.
    pub branch: Branch,
    /// The version of the main line that has it.
    pub version: u64,
    /// Entries in which the branch differed from its base.
    pub entries: u64,
}

/// An entry of a branch.
pub(crate) struct BranchEntry {
    /// Where it lies in the map.
    stored: Bytes,
    /// Its key in the main line.
    key: Bytes,
    /// `None` where the branch has nothing under the key.
    value: Option<Bytes>,
}

/// What an entry of the map gives a branch.
fn entry_of<'k>(stored: &'k [u8], entry: &Bytes) -> Result<Option<ShownEntry<'k>>> {
    branch_entry(stored, entry).map_err(|why| Error::corrupt(format!("the entry {stored:02x?}: {why}")))
}

/// The payloads of an entry of the map, also of a branch's.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn payloads_of(key: &[u8], value: &Bytes) -> Result<Vec<Extent>> {
    match entry_of(key, value)? {
        Some((key, Some(value))) => extents_of(key, value),
        Some((_, None)) => Ok(Vec::new()),
        None => extents_of(key, value.clone()),
    }
}

/// Opens the main line beside whoever else has it open, as one of many writers.
fn open_main(target: &Target, options: &Options) -> Result<Arc<Container>> {
    let ledger =
        h5lake_ledger::Options { at: None, salvage: false, writers: Writers::Many, ..options.ledger.clone() };
    // A merge takes over all of a branch, or nothing: none of it stays behind.
    let on_conflict = match options.on_conflict {
        OnConflict::Last => OnConflict::Last,
        OnConflict::Fail | OnConflict::Merge => OnConflict::Fail,
    };
    let options = Options { ledger, on_conflict, opened: None, ..options.clone() };
    Container::open_apart(target, Access::ReadWrite, &options)
}

impl Container {
    /// Merges a branch into the main line by the rules of many writers. Of what both changed, the branch counts if the last one is to
    /// win. When this returns, one commit has all of its changes, and the branch is deleted. Objects that it deleted go in a commit
    /// behind that.
    ///
    /// # Errors
    /// `NoSuchBranch`; `Conflict`, naming what both changed: then nothing is merged, and the branch stays; `Locked` while a
    /// single writer has the container open; those of reading and of committing.
    pub fn merge_branch(target: &Target, name: BranchName, options: &Options) -> Result<MergedBranch> {
        Self::merge_branch_after(target, name, options, || ())
    }

    /// The same; `is_staged` is called when all is staged and nothing committed.
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
        let base = open_ledger(target, Access::ReadOnly, None, &of_base)?;
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

    /// Deletes a branch, and gives back the room of what it wrote. When this returns, it is gone.
    ///
    /// # Errors
    /// `NoSuchBranch`; `Conflict` if it was committed to meanwhile: then it stays; `Locked` while a single writer has the container
    /// open; those of reading and of committing.
    pub fn delete_branch(target: &Target, name: BranchName, options: &Options) -> Result<Branch> {
        Self::delete_branch_after(target, name, options, || ())
    }

    /// The same; `is_staged` is called when all is staged and nothing committed.
    pub(crate) fn delete_branch_after(
        target: &Target,
        name: BranchName,
        options: &Options,
        is_staged: impl FnOnce(),
    ) -> Result<Branch> {
        let main = open_main(target, options)?;
        let branch = main.ledger.branch_named(name)?;
        let is_of_base = main.ledger.base_holds(name)?;
        // Who commits to it meanwhile is met as by a merge.
        main.state().others.merges(&branch);
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

    /// Flushes. If the store gives no answer, asks once more what became of the commit.
    fn flush_settled(&self) -> Result<()> {
        match self.flush() {
            // After a conflict nothing is staged any more.
            Err(error) if error.kind() == ErrorKind::Io && self.has_changes() => self.flush(),
            done => done,
        }
    }

    /// After a failure forgets what is staged: the end of this handle would commit it, or would settle a commit that got no answer by
    /// making it.
    fn all_or_nothing<T>(&self, done: Result<T>) -> Result<T> {
        if done.is_err() {
            if let Err(error) = self.forget_batch(&mut self.state()) {
                // Then it can commit nothing.
                tracing::warn!("{}: what was staged could not be given up: {error}", self.name());
            }
            self.abandon("the branch could not be merged or deleted");
        }
        done
    }

    /// Gives back the payloads of a value, but for some.
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

    /// Gives every entry of a branch, in the order of their keys.
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
