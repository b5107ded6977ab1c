//! Settling: decides from a loaded manifest whether a swap took effect.
//!
//! Every answer to a swap but "swapped" is a doubt. While a load shows the token that the swap was conditional on, the
//! swap may still take effect. Once a load shows another token, this one function decides for every kind of change.

use super::change::{By, Change, NewTables};
use super::line::Found;
use super::manifest::Manifest;
use super::records::{SegmentRef, Segments};

/// The outcome of a change, as far as a manifest shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The change took effect, by the swap with this sequence if that is known.
    Mine(Option<u64>),
    /// The cancel record exists: the change never takes effect.
    Cancelled,
    /// The change did not take effect, and no swap that was sent can still make it take effect.
    NotMine,
    /// The manifest no longer shows whether the change took effect.
    Undecided,
    /// As `Undecided`, for a change that may be made again. The objects that it names must not be deleted.
    Unknown,
    /// These segments must be read first.
    Unread(Vec<SegmentRef>),
    /// The references page must be read first, and the change must be prepared with it.
    Unprepared,
}

/// Decides whether a change took effect. `view` is a sequence up to which no swap can have the change's nonce.
pub(crate) fn settle(m: &Manifest, change: &Change, by: &By, view: u64, segments: &Segments) -> Verdict {
    if !rule!(SwapNonce, true; false) {
        return if m.sequence == view + 1 { Verdict::Mine(Some(m.sequence)) } else { Verdict::NotMine };
    }
    if let Some(tables) = change.new_tables().filter(|_| !change.has_record()) {
        return settle_tables(m, change, tables, by);
    }
    match change.has_record() {
        true if m.id == by.container => settle_record(m, by, view, segments),
        true => Verdict::Undecided,
        false => settle_other(m, change, by),
    }
}

/// Decides a change with a record: the nonce is searched in the records.
fn settle_record(m: &Manifest, by: &By, view: u64, segments: &Segments) -> Verdict {
    match m.line.find(by.nonce, view, segments) {
        Found::Record(_, part) if part.is_cancelled() => Verdict::Cancelled,
        Found::Record(version, _) => Verdict::Mine(Some(version)),
        Found::Absent => Verdict::NotMine,
        // Rule: records that no longer reach the view leave a commit undecided.
        Found::Trimmed => rule!(UndecidedTrimmed, Verdict::Undecided; Verdict::NotMine),
        Found::Unread(segments) => Verdict::Unread(segments),
    }
}

/// Decides a change of tables without a record: by the tables of the manifest. Names of pages are used once.
fn settle_tables(m: &Manifest, change: &Change, tables: &NewTables, by: &By) -> Verdict {
    if m.nonce == by.nonce {
        return Verdict::Mine(Some(m.sequence));
    }
    let (is_same, is_reclaim) = (m.id == by.container, matches!(change, Change::Reclaim(_)));
    // Rule: after a doubt a reclaim deletes only if its tables are the newest: otherwise a restore may have revived its extents.
    let is_newest = is_same && m.tables.usage == Some(tables.usage);
    if is_newest || is_reclaim && !rule!(ReclaimByTables, true; false) {
        return Verdict::Mine(None);
    }
    // Rule: the tables from which the change was made show that it did not take effect. Later tables show nothing.
    match rule!(TablesProve, is_same && m.tables.since == tables.read) {
        true => Verdict::NotMine,
        false => Verdict::Unknown,
    }
}

/// Decides a change without a record, by its effect or by the manifest's nonce.
fn settle_other(m: &Manifest, change: &Change, by: &By) -> Verdict {
    let is_newest = m.nonce == by.nonce;
    let is_there = match change {
        _ if is_newest => return Verdict::Mine(Some(m.sequence)),
        Change::Join { .. } => m.lists(by.nonce.session),
        Change::Leave => !m.lists(by.nonce.session),
        Change::Expel { sessions, copies } => {
            !sessions.iter().any(|id| m.lists(*id))
                && !copies.iter().any(|(id, by)| m.copier(*id) == Some(*by))
        }
        Change::Tag(c) => match m.references.all(&c.read) {
            Some(mut tags) => tags.any(|tag| tag.id == by.nonce),
            None => return Verdict::Unprepared,
        },
        Change::Untag { since, .. } if m.references.since != *since => return Verdict::Unprepared,
        Change::Untag { id, is_stored: true, .. } => m.references.removed.contains(id),
        Change::Untag { id, .. } => !m.references.added.iter().any(|tag| rule!(TagById, tag.id == *id)),
        // Rule: a block of numbers belongs to the session that has the nonce of the manifest.
        Change::Numbers { .. } => rule!(NumbersByNonce, false; true),
        Change::Create(c) => m.id == c.id,
        Change::Delete { .. } => m.id != by.container,
        Change::BeginCopy { id, .. } => m.copier(*id) == Some(by.nonce.session),
        // Another session may have continued the copy under the same id.
        Change::FinishCopy { copy, .. } => m.id == copy.id && m.maker == by.nonce.session,
        // It may be made again: a second cancel record of a nonce changes nothing.
        Change::CancelQueued { .. } | Change::FoldTags { .. } => false,
        Change::Checkpoint(_) | Change::Reclaim(_) | Change::Commit(_) | Change::Cancel => false,
    };
    if is_there { Verdict::Mine(None) } else { Verdict::NotMine }
}
