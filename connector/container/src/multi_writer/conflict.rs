//! Conflicts that a merge found, and their messages.

use super::RemoteChange;
use crate::container::State;
use crate::{Container, Error, ErrorKind, Result};
use h5lake_records::ObjectId;
use h5lake_records::keys;
use h5lake_records::record::{self, LinkRecord};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Deref;

/// Number of conflicts that an error names. Of further conflicts it gives only the number.
const MAX_NAMED_CONFLICTS: usize = 8;
/// Number of links that are searched for the path of an object.
const MAX_SEARCHED_LINKS: usize = 100_000;

/// A change of this writer that conflicts with an earlier commit of another writer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conflict {
    id: u64,
    what: String,
    by: String,
    settle: Settle,
    /// True if nothing of the batch can be committed, even with `OnConflict::Merge` or `OnConflict::Last`.
    pub(super) is_whole: bool,
}

/// The way in which the author of a branch resolves a conflict of its merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settle {
    /// Elements, attributes and comments: write the same content, which counts as one change.
    Write,
    /// A link: both sides may remove it, or use different names.
    Rename,
    /// A link of the main line to an object that it moved, and that no other link leads to.
    KeepMoved,
    /// A new group that is not merged with the group of the main line, because references of the branch lead to it.
    Referred,
    /// Dimensions: set equal dimensions, which count as one change.
    Resize,
    /// Dimensions of the branch that include elements truncated by the main line.
    Regrow,
    /// An object that the main line deleted: delete it in the branch, too.
    Delete,
    /// An object that the branch deleted and to which the main line has made a new link.
    Unlink,
    /// A move: move the object back.
    MoveBack,
    /// Variable-length data that cannot be distinguished from that of the base.
    Copy,
    /// Only `conflict=last` resolves it, so that the branch wins.
    Overrule,
}

impl Settle {
    /// Returns the advice for the author of a branch.
    fn advice(self) -> &'static str {
        match self {
            Self::Write => " (write in the branch what the main line has)",
            Self::Rename | Self::KeepMoved => {
                " (give it another name in the branch, or undo its change there)"
            }
            Self::Referred => " (references in the branch lead to its group: give that another name there)",
            Self::Resize | Self::Regrow => " (set the dimensions that the main line has in the branch)",
            Self::Delete => " (delete it in the branch, too; a copy of it under another name stays)",
            Self::Unlink => " (take its new link in the main line away; a copy of it stays)",
            Self::MoveBack => " (move it back in the branch)",
            Self::Copy => {
                " (in the branch, copy the object to another name and delete it, then let the branch count)"
            }
            Self::Overrule => "",
        }
    }

    /// Returns whether `conflict=last` resolves the conflict.
    fn can_overrule(self) -> bool {
        matches!(self, Self::Write | Self::Rename | Self::Resize | Self::Overrule)
    }
}

impl Conflict {
    /// Creates a conflict. `what` follows the object's path in the message, as ", attribute x" or "/name".
    fn new(id: u64, what: String, their: Option<&RemoteChange>, settle: Settle) -> Self {
        let by = their.map_or_else(String::new, |t| match t.host.is_empty() {
            // A merge compares two versions, so it does not know the authors of the commits between them.
            true => " in the main line too".to_owned(),
            false => {
                format!(" by another writer (host {}, process {}) in version {}", t.host, t.pid, t.version)
            }
        });
        Self { id, what, by, settle, is_whole: false }
    }
}

/// The conflicts of a batch, without duplicates.
#[derive(Default)]
pub(crate) struct Conflicts {
    all: Vec<Conflict>,
    known: HashSet<(u64, String, String)>,
}

impl Deref for Conflicts {
    type Target = [Conflict];

    fn deref(&self) -> &[Conflict] {
        &self.all
    }
}

impl Conflicts {
    /// Notes a conflict. If an earlier attempt of the merge noted the same conflict, it becomes the last one. If two
    /// resolutions apply, the stricter one wins.
    fn note(&mut self, conflict: Conflict) {
        let (mut is_whole, mut settle) = (conflict.is_whole, conflict.settle);
        if !self.known.insert((conflict.id, conflict.what.clone(), conflict.by.clone())) {
            let is_other =
                |c: &Conflict| (c.id, &c.what, &c.by) != (conflict.id, &conflict.what, &conflict.by);
            self.all.retain(|c| {
                if !is_other(c) {
                    is_whole |= c.is_whole;
                    settle = if c.settle.can_overrule() { settle } else { c.settle };
                }
                is_other(c)
            });
        }
        self.all.push(Conflict { is_whole, settle, ..conflict });
    }
}

impl Container {
    pub(super) fn conflict(&self, s: &mut State, key: &[u8], id: u64, what: String, settle: Settle) {
        let c = Conflict::new(id, what, s.remote.theirs.get(key), settle);
        s.remote.conflicts.note(c);
    }

    /// Notes a conflict that prevents the commit of the whole batch.
    pub(super) fn whole_conflict(
        &self,
        s: &mut State,
        id: u64,
        what: String,
        their: Option<&RemoteChange>,
        settle: Settle,
    ) {
        s.remote.conflicts.note(Conflict { is_whole: true, ..Conflict::new(id, what, their, settle) });
    }

    /// Returns the text that says what became of a branch with conflicts, and how to resolve them.
    pub(super) fn after_refused_merge(&self, branch: &str, conflicts: &[Conflict]) -> String {
        let mut text = format!("Nothing is merged; the branch '{branch}' stays as it is. Settle it there");
        if !self.last_wins() && conflicts.iter().all(|c| c.settle.can_overrule()) {
            text.push_str(", or let the branch count (H5LAKE_CONFLICT=last)");
        }
        text.push_str(", and merge again");
        text
    }

    /// Marks the conflict that was noted last as one that prevents the commit of the whole batch.
    pub(super) fn conflict_is_whole(&self, s: &mut State) {
        if let Some(last) = s.remote.conflicts.all.last_mut() {
            last.is_whole = true;
        }
    }

    /// Returns an error for the conflicts, if there are any. `then` says what became of the batch.
    pub(super) fn conflict_error(&self, s: &mut State, conflicts: &[Conflict], then: &str) -> Result<()> {
        if conflicts.is_empty() {
            return Ok(());
        }
        let paths = self.paths(s, conflicts.iter().map(|c| c.id).collect());
        let is_branch = s.remote.branch.is_some();
        let named = conflicts.iter().take(MAX_NAMED_CONFLICTS).map(|c| {
            let path = paths.get(&c.id).cloned().unwrap_or_else(|| format!("object {:#x}", c.id));
            // A description that continues the path begins with a slash.
            let path = if path == "/" && c.what.starts_with('/') { "" } else { &path };
            let advice = if is_branch { c.settle.advice() } else { "" };
            format!("{path}{} was changed{}{advice}", c.what, c.by)
        });
        let mut text = format!("{}: {}", self.name(), named.collect::<Vec<_>>().join("; "));
        if conflicts.len() > MAX_NAMED_CONFLICTS {
            text.push_str(&format!("; and {} more", conflicts.len() - MAX_NAMED_CONFLICTS));
        }
        text.push_str(". ");
        text.push_str(then);
        Err(Error::new(ErrorKind::Conflict, text))
    }

    /// Returns the paths of objects, as far as a bounded search finds them.
    fn paths(&self, s: &mut State, mut wanted: HashSet<u64>) -> HashMap<u64, String> {
        let mut found = HashMap::new();
        if wanted.remove(&ObjectId::ROOT.0) {
            found.insert(ObjectId::ROOT.0, "/".to_owned());
        }
        let mut pending = VecDeque::from([(ObjectId::ROOT.0, String::new())]);
        let mut seen = HashSet::from([ObjectId::ROOT.0]);
        let mut searched = 0;
        while let Some((group, path)) = pending.pop_front() {
            let mut entries = Vec::new();
            // An object in an unreadable group has no path; the conflict is reported nevertheless.
            let _best_effort = self.each(&keys::of(keys::LINK, group), |key, value| {
                let r: LinkRecord = record::decode(value, String::new)?;
                let name = String::from_utf8_lossy(keys::name(&key, &r.name)).into_owned();
                entries.extend(r.hard.map(|id| (id, name)));
                Ok(())
            });
            for (id, name) in entries {
                searched += 1;
                if wanted.is_empty() || searched > MAX_SEARCHED_LINKS {
                    return found;
                }
                if !seen.insert(id) {
                    continue;
                }
                let path = format!("{path}/{name}");
                if wanted.remove(&id) {
                    found.insert(id, path.clone());
                }
                if self.header(s, crate::ObjectId(id)).is_ok_and(|h| h.group.is_some()) {
                    pending.push_back((id, path));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_conflict_is_reported_once_and_last() {
        let of = |id, is_whole| Conflict { is_whole, ..Conflict::new(id, "x".into(), None, Settle::Write) };
        let mut conflicts = Conflicts::default();
        [of(1, true), of(2, false), of(1, false)].into_iter().for_each(|c| conflicts.note(c));
        assert_eq!(conflicts[..], [of(2, false), of(1, true)]);
    }

    #[test]
    fn the_stricter_resolution_wins() {
        let of = |settle| Conflict::new(1, "x".into(), None, settle);
        for both in [[Settle::Rename, Settle::Referred], [Settle::Referred, Settle::Rename]] {
            let mut conflicts = Conflicts::default();
            both.into_iter().for_each(|settle| conflicts.note(of(settle)));
            assert_eq!(conflicts[..], [of(Settle::Referred)]);
        }
    }
}
