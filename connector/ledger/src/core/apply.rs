//! Applying changes: the function from one manifest to the next.
//!
//! Every precondition is checked on the very manifest that the swap replaces. A rejected change leaves nothing behind.

use std::sync::Arc;

use bytes::Bytes;

use super::change::{
    Applied, By, Change, Checkpoint, Commit, NewContainer, NewTables, NewTag, Reclaim, Reject,
};
use super::group;
use super::ids::Nonce;
use super::life;
use super::line::{Line, MAX_OLDER_RECORDS, MergedSegment, Root};
use super::manifest::{CopyEntry, MAX_NUMBERS, MAX_SESSIONS, Manifest, SessionEntry, TableRefs};
use super::reclaim::{Holders, is_held, raise_horizon};
use super::records::{Content, Data, MAX_CLOSING_RECORD, MAX_CURRENT_RECORD, MAX_NOTE, Part, Record};
use super::references::{MAX_INLINE_REFERENCES, MAX_TAGS, ReadTags, References, Tag};
use super::runs::{MAX_RUNS, Run};
use crate::address::PageRef;

/// Applies a change to the manifest `before`, and returns the next manifest.
///
/// # Errors
/// The reason why the change does not apply.
pub(crate) fn apply(before: &Manifest, change: &Change, by: &By) -> Result<Manifest, Reject> {
    // A copy may begin over any container, because an abandoned copy may outlive the container that it began over.
    let is_of_any = matches!(change, Change::BeginCopy { .. });
    if before.id != by.container && !is_of_any {
        return Err(Reject::Replaced);
    }
    // Rule: nothing is committed to the absent container, which returns with each deletion.
    let makes_container =
        is_of_any || matches!(change, Change::Create(_) | Change::FinishCopy { .. } | Change::Expel { .. });
    if !rule!(AbsentIsEmpty, !before.is_absent() || makes_container) {
        return Err(Reject::Replaced);
    }
    // Rule: the manifest swapped over lists the session of the objects that it names, and the sessions that put payloads for it.
    let is_listed = !change.names_objects()
        || (before.lists(by.nonce.session)
            && change.other_sessions().iter().all(|session| before.lists(*session)));
    if !rule!(SessionListed, is_listed) {
        return Err(Reject::NotListed);
    }
    let mut x = before.clone();
    x.sequence += 1;
    // Rule: swaps have a nonce, so no two manifests have the same bytes.
    x.nonce = rule!(SwapNonce, by.nonce; Nonce::default());
    change_manifest(&mut x, change, by)?;
    if let Some(day) = change.joins() {
        join(&mut x, by, day)?;
    }
    if change.leaves() {
        x.sessions.retain(|entry| entry.id != by.nonce.session);
    }
    debug_assert!(x.sequence > before.sequence);
    Ok(x)
}

fn change_manifest(x: &mut Manifest, change: &Change, by: &By) -> Applied {
    match change {
        Change::Commit(c) => commit(x, c, by),
        Change::Cancel => cancel(x, by),
        Change::CancelQueued { on, nonces } => cancel_queued(x, *on, nonces),
        Change::Checkpoint(c) => checkpoint(x, c, by),
        Change::Tag(c) => tag(x, c, by),
        Change::Untag { id, is_stored, since } => untag(x, *id, *is_stored, *since),
        Change::FoldTags { page, seen } => fold_tags(x, *page, seen),
        Change::Numbers { on, least, count, .. } => {
            if x.line.version != *on {
                return Err(Reject::Moved);
            }
            take_numbers(x, x.numbers.max(*least), *count)
        }
        Change::Join { .. } | Change::Leave => Ok(()),
        Change::Expel { sessions, copies } => {
            x.sessions.retain(|entry| !sessions.contains(&entry.id));
            x.copies.retain(|entry| !copies.contains(&(entry.id, entry.session)));
            Ok(())
        }
        Change::Reclaim(c) => reclaim(x, c),
        Change::Create(new) => {
            life::create(x, new);
            create_first(x, new, by)
        }
        Change::Delete { on } => life::delete(x, *on),
        Change::BeginCopy { id, day, over } => {
            let session = by.nonce.session;
            life::begin_copy(x, CopyEntry { id: *id, session, day: *day }, *over)
        }
        Change::FinishCopy { copy, replaces } => life::finish_copy(x, copy, *replaces, by.nonce.session),
    }
}

// Sessions and numbers

fn join(x: &mut Manifest, by: &By, day: u64) -> Applied {
    let (id, is_alone, process) = (by.nonce.session, by.is_alone, by.process);
    if let Err(at) = x.sessions.binary_search_by_key(&id, |entry| entry.id) {
        if x.sessions.len() >= MAX_SESSIONS {
            return Err(Reject::Full("sessions"));
        }
        x.sessions.insert(at, SessionEntry { id, day, is_alone, process });
    }
    Ok(())
}

/// Raises the numbers counter to the end of a block.
fn take_numbers(x: &mut Manifest, first: u64, count: u64) -> Applied {
    let next = first.checked_add(count).filter(|next| *next <= MAX_NUMBERS);
    x.numbers = x.numbers.max(next.ok_or(Reject::Full("numbers of objects"))?);
    Ok(())
}

/// Rule: the numbers counter is still the one that the commit has seen.
fn check_numbers(x: &Manifest, seen: u64) -> Applied {
    if rule!(NumbersSeen, x.numbers == seen) { Ok(()) } else { Err(Reject::NumbersMoved) }
}

// Records

/// Appends a record with these parts, which makes a new version.
fn append(line: &mut Line, sequence: u64, (time, note): (u64, &Bytes), parts: Vec<Part>) {
    debug_assert!(note.len() <= MAX_NOTE && line.version < sequence);
    line.number += 1;
    let (previous, number) = (line.version, line.number);
    let record = Record { version: sequence, previous, number, time, note: note.clone(), parts };
    line.tail.push(Arc::new(record));
    line.version = sequence;
    line.time = line.time.max(time);
}

fn part(data: &Data, stored: Option<PageRef>, by: &By) -> Part {
    let content = match stored {
        Some(page) => Content::Stored { page, data: Some(Arc::new(data.clone())) },
        None => Content::Inline(data.clone()),
    };
    Part { nonce: by.nonce, content }
}

/// Appends the first version of a new container.
fn create_first(x: &mut Manifest, new: &NewContainer, by: &By) -> Applied {
    let Some((time, note, entries)) = &new.first else { return Ok(()) };
    let sequence = x.sequence;
    let line = Arc::make_mut(&mut x.line);
    let data = Data { entries: entries.clone(), ..Data::default() };
    append(line, sequence, (*time, note), vec![part(&data, None, by)]);
    check_inline(line, MAX_CURRENT_RECORD)
}

fn commit(x: &mut Manifest, c: &Commit, by: &By) -> Applied {
    if let Some((seen, count)) = c.numbers {
        check_numbers(x, seen)?;
        take_numbers(x, seen, count)?;
    }
    let mut parts = group::select(x, (&c.data, &c.conditions), &c.members, &c.segments);
    let sequence = x.sequence;
    let line = Arc::make_mut(&mut x.line);
    // Rule: a commit follows the version that it was merged with.
    if !rule!(CommitOn, line.version == c.on) {
        return Err(Reject::Moved);
    }
    if line.tail.iter().any(|record| record.part(by.nonce).is_some()) {
        return Err(Reject::Recorded);
    }
    parts.push(part(&c.data, c.stored, by));
    if let Some(segment) = &c.segment {
        line.name_segment(segment);
    }
    append(line, sequence, (c.time, &c.note), parts);
    check_inline(line, if c.closes { MAX_CLOSING_RECORD } else { MAX_CURRENT_RECORD })?;
    let Some(tables) = &c.tables else { return Ok(()) };
    check_tables(x, tables)?;
    set_tables(x, tables)
}

/// Returns an error if the inline records are too long for a manifest.
fn check_inline(line: &Line, longest: usize) -> Applied {
    if line.tail.last().is_some_and(|record| record.size() > longest) {
        return Err(Reject::Full("the current record; put its content as an object first"));
    }
    match line.older_bytes() > MAX_OLDER_RECORDS {
        true => Err(Reject::Full("inline records; put a segment first")),
        false => Ok(()),
    }
}

fn cancel(x: &mut Manifest, by: &By) -> Applied {
    let sequence = x.sequence;
    let line = Arc::make_mut(&mut x.line);
    // The session looks for the nonce in segments before it proposes a cancel record.
    if line.tail.iter().any(|record| record.part(by.nonce).is_some()) {
        return Err(Reject::Recorded);
    }
    append_cancelled(line, sequence, &[by.nonce]);
    Ok(())
}

/// Appends a record that says that the commits of these nonces were cancelled. It makes no version.
fn append_cancelled(line: &mut Line, sequence: u64, nonces: &[Nonce]) {
    let parts = nonces.iter().map(|nonce| Part { nonce: *nonce, content: Content::Cancelled }).collect();
    let (previous, number) = (line.version, line.number);
    let record = Record { version: sequence, previous, number, time: 0, note: Bytes::new(), parts };
    line.tail.push(Arc::new(record));
}

fn cancel_queued(x: &mut Manifest, on: u64, nonces: &[Nonce]) -> Applied {
    let sequence = x.sequence;
    let line = Arc::make_mut(&mut x.line);
    // Rule: a queued commit of another session is cancelled only if it has no record yet.
    if !rule!(CancelUnrecorded, line.version == on) {
        return Err(Reject::Moved);
    }
    append_cancelled(line, sequence, nonces);
    check_inline(line, MAX_CURRENT_RECORD)
}

// Tables and roots

/// Rule: new tables replace the tables that they were made from. So a new root replaces the root that it was made from, because a swap that
/// sets a root sets tables.
fn check_tables(x: &Manifest, new: &NewTables) -> Applied {
    if rule!(TablesAsSeen, x.tables.since == new.read) { Ok(()) } else { Err(Reject::Stale) }
}

/// Sets the tables of the manifest.
fn set_tables(x: &mut Manifest, new: &NewTables) -> Applied {
    let placed = |runs: &[Run]| {
        let mut runs = runs.to_vec();
        runs.iter_mut().filter(|run| run.placed == 0).for_each(|run| run.placed = x.sequence);
        // Entries that die by this very swap are encoded without their death.
        runs.iter_mut()
            .filter(|run| run.placed == x.sequence)
            .for_each(|run| run.last = run.last.max(x.sequence));
        runs
    };
    let (dead, history) = (placed(&new.dead), placed(&new.history));
    if dead.len() > MAX_RUNS || history.len() > MAX_RUNS {
        return Err(Reject::Full("pages of tables"));
    }
    x.tables = Arc::new(TableRefs { since: x.sequence, usage: Some(new.usage), dead, history });
    Ok(())
}

/// Sets a root with the base `base`. All records up to `behind` must be in segments, because an era names only segments.
fn set_root(
    line: &mut Line,
    root: Option<PageRef>,
    base: u64,
    segment: Option<&MergedSegment>,
    behind: u64,
) -> Applied {
    if let Some(segment) = segment {
        line.name_merged(segment);
    }
    let is_inline = line.tail.iter().any(|record| record.version > line.base() && record.version <= behind);
    if is_inline || behind > line.version {
        return Err(Reject::Stale);
    }
    line.root = Root { page: root, base };
    Ok(())
}

fn checkpoint(x: &mut Manifest, c: &Checkpoint, by: &By) -> Applied {
    check_tables(x, &c.tables)?;
    if let Some(seen) = c.numbers {
        check_numbers(x, seen)?;
    }
    let sequence = x.sequence;
    let line = Arc::make_mut(&mut x.line);
    let Some((time, note)) = &c.commit else {
        set_root(line, c.root, c.base, c.segment.as_ref(), c.base)?;
        // Rule: records after the base of a new root stay.
        if rule!(RecordsKept, false; true) {
            line.tail.retain(|record| record.version <= c.base);
        }
        line.trim(c.records_from);
        return set_tables(x, &c.tables);
    };
    if line.version != c.base {
        return Err(Reject::Moved);
    }
    set_root(line, c.root, sequence, c.segment.as_ref(), c.base)?;
    append(line, sequence, (*time, note), vec![Part { nonce: by.nonce, content: Content::InRoot }]);
    line.trim(c.records_from);
    set_tables(x, &c.tables)
}

// References

/// Rule: the version that a tag names is held by the manifest that the swap replaces.
fn check_held(x: &Manifest, version: u64, read: &ReadTags) -> Applied {
    let tags = x.references.all(read).ok_or(Reject::Stale)?;
    if rule!(HeldNow, is_held(x, version, tags)) { Ok(()) } else { Err(Reject::NotHeld) }
}

fn tag(x: &mut Manifest, c: &NewTag, by: &By) -> Applied {
    check_held(x, c.mark.version, &c.read)?;
    let replaces = c.replaces.map(|(id, _)| id);
    let is_other = |tag: &Tag| tag.name == c.name && Some(tag.id) != replaces;
    let is_taken = x.references.all(&c.read).map(|mut tags| tags.any(is_other));
    if is_taken.ok_or(Reject::Stale)? {
        return Err(Reject::NameTaken);
    }
    if x.references.all(&c.read).is_none_or(|tags| tags.count() >= MAX_TAGS) {
        return Err(Reject::Full("tags and publications; delete some first"));
    }
    if x.references.inline_bytes() > MAX_INLINE_REFERENCES {
        return Err(Reject::Full("inline references; fold them into a page"));
    }
    let references = Arc::make_mut(&mut x.references);
    if let Some((id, is_stored)) = c.replaces {
        references.remove(id, is_stored);
    }
    references.added.push(Tag {
        name: c.name.clone(),
        id: by.nonce,
        mark: c.mark.clone(),
        made: c.made,
        until: c.until,
        publication: c.publication.clone(),
    });
    Ok(())
}

fn untag(x: &mut Manifest, id: Nonce, is_stored: bool, since: u64) -> Applied {
    if x.references.since != since {
        return Err(Reject::Stale);
    }
    let references = &x.references;
    // Rule: changes identify a tag by its id, never by its name.
    let meant = rule!(TagById, id; references.added.first().map_or(id, |tag| tag.id));
    let is_there = match is_stored {
        true => !references.removed.contains(&meant),
        false => references.added.iter().any(|tag| tag.id == meant),
    };
    if !is_there {
        return Err(Reject::NoSuchTag);
    }
    Arc::make_mut(&mut x.references).remove(meant, is_stored);
    Ok(())
}

fn fold_tags(x: &mut Manifest, page: Option<PageRef>, seen: &References) -> Applied {
    if *x.references != *seen {
        return Err(Reject::Stale);
    }
    let since = x.sequence;
    x.references = Arc::new(References { since, page, ..References::default() });
    Ok(())
}

// Reclaim

fn reclaim(x: &mut Manifest, c: &Reclaim) -> Applied {
    check_tables(x, &c.tables)?;
    raise_horizon(x, c.horizon);
    let references = x.references.clone();
    let tags = references.all(&c.read).ok_or(Reject::Stale)?;
    let holders = Holders::of(x, tags);
    // Rule: a reclaim is planned on the manifest that it makes.
    if !rule!(ReclaimOnCurrent, c.holders.cover(&holders)) {
        return Err(Reject::Stale);
    }
    set_tables(x, &c.tables)
}
