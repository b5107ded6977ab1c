//! Group commits: several writers commit in one version. Used if the batch is independent of all changes that other
//! writers may be committing, and if the store is remote, so that commits one after another would take long.

use super::is_wanted;
use crate::container::State;
use crate::{Container, Result};
use bytes::Bytes;
use h5lake_records::keys;
use std::collections::BTreeSet;

/// Maximum number of keys of a batch in a group commit.
const MAX_KEYS: usize = 4096;

impl Container {
    /// Commits the staged and merged changes. Returns false if another writer committed first, or changed a key that
    /// the batch depends on.
    pub(super) fn commit_merged(&self, s: &mut State) -> Result<bool> {
        let Some(conditions) = self.group_conditions(s) else {
            return Ok(self.ledger.try_commit()?.is_some());
        };
        let Some((_, changes)) = self.ledger.commit_in_group(&conditions, &is_wanted)? else {
            return Ok(false);
        };
        if !changes.is_empty() {
            self.ledger.note_contention();
        }
        self.note_changes(s, changes);
        // The staged changes need no merge with these remote changes.
        s.remote.theirs.clear();
        s.remote.blocks.clear();
        s.remote.changed = Default::default();
        Ok(true)
    }

    /// Returns the keys with which the batch would have to be merged, if it is one that can go into a group commit.
    fn group_conditions(&self, s: &State) -> Option<Vec<Bytes>> {
        let is_slow = !self.near() && self.ledger.is_contended();
        // Tests in multi-writer mode cover both ways to commit.
        let is_tested = cfg!(test) && self.ledger.version().is_multiple_of(2);
        // A leader does not check the sessions of payloads that were offered to another writer.
        let is_worth_it = (is_slow || is_tested) && self.ledger.commits_in_groups() && !self.has_sharers();
        if !is_worth_it || !s.remote.batch.is_empty() || !s.remote.conflicts.is_empty() {
            return None;
        }
        let staged = self.ledger.staged(b"");
        if staged.is_empty() || staged.len() > MAX_KEYS {
            return None;
        }
        conditions_of(staged.iter().map(|(key, _)| key))
    }
}

/// Returns the keys on which staged keys depend, or `None` if the batch cannot go into a group commit.
///
/// A block depends on the header of its dataset: on the dimensions, and on the existence of the header. If the header or the attributes of
/// an object are changed, the batch depends on all of its entries. Keys of other kinds are refused, because they depend on several keys of
/// each other: links, heaps and orphan marks.
///
/// Every batch depends on all orphan marks: an object in a group that lost its last link gets a mark of its own only
/// when it is deleted, and no key of an object shows which groups lead to it by how many links.
fn conditions_of<'a>(staged: impl Iterator<Item = &'a Bytes>) -> Option<Vec<Bytes>> {
    let mut conditions = BTreeSet::from([Bytes::from_static(&[keys::ORPHAN])]);
    for key in staged {
        let (letter, id) = (*key.first()?, keys::id(key)?);
        let of = |letter| Bytes::from(keys::of(letter, id));
        match letter {
            keys::BLOCK => conditions.extend([key.clone(), of(keys::HEADER)]),
            keys::HEADER | keys::ATTRIBUTE => {
                let all =
                    [keys::HEADER, keys::ATTRIBUTE, keys::LINK, keys::BLOCK, keys::SEGMENT, keys::USAGE];
                conditions.extend(all.map(of));
            }
            _ => return None,
        }
    }
    Some(conditions.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_depend_on_themselves_their_header_and_marks() {
        let block = Bytes::from(keys::block(7, &[1, 2]));
        let header = Bytes::from(keys::of(keys::HEADER, 7));
        let marks = Bytes::from_static(&[keys::ORPHAN]);
        assert_eq!(conditions_of([&block].into_iter()), Some(vec![block.clone(), header, marks]));
    }

    #[test]
    fn links_and_heaps_go_into_no_group() {
        for letter in [keys::LINK, keys::SEGMENT, keys::USAGE, keys::ORPHAN, keys::TAG] {
            let key = Bytes::from(keys::of(letter, 7));
            assert_eq!(conditions_of([&key].into_iter()), None);
        }
        assert_eq!(conditions_of([&Bytes::from_static(keys::NEXT_OBJECT)].into_iter()), None);
    }
}
