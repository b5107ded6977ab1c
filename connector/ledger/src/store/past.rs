//! Old versions: lists them, and finds the data of one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fetch::Fetcher;
use super::note::mark_of;
use super::view::{NewCommits, Reported, converted, number_of_base};
use crate::address::PageRef;
use crate::core::history::{Era, Mark, locate};
use crate::core::line::Line;
use crate::core::manifest::Manifest;
use crate::core::reclaim::is_held;
use crate::core::records::{Content, Record, SegmentRef, Segments};
use crate::core::references::Tag;
use crate::core::runs::{Run, Table, runs_with};
use crate::error::{Error, ErrorKind, Result};
use crate::options::At;
use crate::storage::{Checkpoint, RemoteCommits};

/// Up to this number of runs are read in parallel. Among more runs, a binary search finds the run that contains a version.
const MAX_RUNS_AT_ONCE: usize = 4;

/// Returns the eras of runs, which are read in parallel.
fn eras<'r>(runs: impl IntoIterator<Item = &'r Run>, fetcher: &Fetcher) -> Result<Vec<Era>> {
    let runs: Vec<Run> = runs.into_iter().copied().collect();
    let pages: Vec<PageRef> = runs.iter().map(|run| run.page).collect();
    let mut table = Table::<Era>::default();
    for (run, bytes) in runs.iter().zip(fetcher.pages(&pages)?) {
        table.load(*run, &bytes).map_err(|why| fetcher.corrupt("history", why))?;
    }
    Ok(table.iter().cloned().collect())
}

/// Returns the marks of the versions that the line itself contains: that of its root, and those over the root.
pub(super) fn own_marks(line: &Line, segments: &mut Segments, fetcher: &Fetcher) -> Result<Vec<Mark>> {
    let from = line.base().saturating_sub(1);
    let records = fetcher.record_heads(line, (from, line.version), segments)?;
    Ok(records.iter().filter(|record| record.is_version()).map(|record| Mark::of(record)).collect())
}

/// Returns the records of the versions after `from` up to `to`, as [`Fetcher::records`] does. A checkpoint removes records from the line of a
/// container with many segments although they are young, but the history has the records of each retained version.
///
/// # Errors
/// `Gone` if neither the line nor the history has all of these records.
pub(super) fn records_since(
    manifest: &Manifest,
    (from, to): (u64, u64),
    segments: &mut Segments,
    fetcher: &Fetcher,
) -> Result<Vec<Arc<Record>>> {
    let line = &manifest.line;
    if line.reaches(from) {
        return fetcher.records(line, (from, to), segments);
    }
    let end = line.records_from;
    let runs = manifest.tables.history.iter().filter(|run| run.last > from && run.first < end);
    let older = eras(runs, fetcher)?;
    let older = older.iter().flat_map(|era| &era.segments).filter(|at| at.last > from && at.first < end);
    // A segment with records of two eras belongs to both.
    let older: BTreeMap<u64, SegmentRef> = older.map(|at| (at.first, *at)).collect();
    let mut read = Segments::default();
    fetcher.segments(&older.values().copied().collect::<Vec<_>>(), &mut read)?;
    let stored = older.values().filter_map(|at| read.get(at)).flat_map(|segment| &segment.records);
    let older = stored.filter(|record| record.version > from && record.version < end).cloned();
    let newer = fetcher.record_heads(line, (end - 1, to), segments)?;
    let all: BTreeMap<u64, Arc<Record>> = older.chain(newer).map(|record| (record.version, record)).collect();
    let gone = || Error::new(&fetcher.target, ErrorKind::Gone);
    // Each record of a version names the version before it, which shows whether one is missing.
    let mut last = from;
    for record in all.values().filter(|record| record.is_version()) {
        if record.previous != last {
            return Err(gone());
        }
        last = record.version;
    }
    if last != to {
        return Err(gone());
    }
    fetcher.completed(all.into_values().collect())
}

/// Returns whether the commit of a record is contained in the root of the same swap.
pub(super) fn is_in_root(record: &Record) -> bool {
    record.parts.iter().any(|part| part.content == Content::InRoot)
}

/// Returns how many of the last runs are certainly needed for a number of versions: a run has at most as many versions as
/// sequences.
fn needed_for(versions: usize, runs: &[&Run]) -> usize {
    let mut at_most = 0_u64;
    let is_needed = |run: &&&Run| {
        let was_enough = at_most >= versions as u64;
        at_most = at_most.saturating_add(run.last.saturating_sub(run.first).saturating_add(1));
        !was_enough
    };
    runs.iter().rev().take_while(is_needed).count()
}

/// Returns the marks of up to `most` versions from the horizon on, newest first. These versions are complete.
pub(super) fn marks(
    manifest: &Manifest,
    most: usize,
    segments: &mut Segments,
    fetcher: &Fetcher,
) -> Result<Vec<Mark>> {
    let line = &manifest.line;
    let mut found = own_marks(line, segments, fetcher)?;
    found.reverse();
    let mut runs: Vec<&Run> = manifest.tables.history.iter().filter(|run| run.last >= line.horizon).collect();
    runs.sort_unstable_by_key(|run| run.last);
    while found.len() < most && !runs.is_empty() {
        let needed = needed_for(most - found.len(), &runs);
        let newest = runs.split_off(runs.len() - needed);
        found.extend(eras(newest, fetcher)?.into_iter().flat_map(|era| era.marks));
    }
    found.sort_unstable_by_key(|mark| std::cmp::Reverse(mark.version));
    found.dedup_by_key(|mark| mark.version);
    found.retain(|mark| mark.version >= line.horizon);
    found.truncate(most);
    Ok(found)
}

/// The condition of a search for the newest version up to a limit.
#[derive(Debug, Clone, Copy)]
enum UpTo {
    Number(u64),
    Time(u64),
}

impl UpTo {
    fn includes(self, mark: &Mark) -> bool {
        match self {
            Self::Number(number) => mark.number <= number,
            Self::Time(time) => mark.time <= time,
        }
    }

    /// Returns whether the search ends below the root of the line for certain. A line has at most one version for each record.
    fn ends_below(self, line: &Line) -> bool {
        let stored = line.segments.iter().filter(|at| at.last >= line.base()).map(|at| at.count).sum::<u64>();
        let records = stored.saturating_add(line.tail.len() as u64);
        matches!(self, Self::Number(number) if number <= line.number.saturating_sub(records))
    }

    /// Returns the least and the greatest sequence that the found version can have. Each version has a sequence of its own, so that a
    /// version's sequence is at least its number, and rises from version to version at least as the number does.
    fn sequences(self, line: &Line) -> (u64, u64) {
        match self {
            Self::Number(number) => (number, line.version.saturating_sub(line.number.saturating_sub(number))),
            Self::Time(_) => (0, line.version),
        }
    }
}

/// Finds the newest version for which `up_to` is true, and returns its mark with the eras that were read around it.
fn find(
    manifest: &Manifest,
    up_to: UpTo,
    segments: &mut Segments,
    fetcher: &Fetcher,
) -> Result<Option<(Mark, Vec<Era>)>> {
    let line = &manifest.line;
    if !up_to.ends_below(line) {
        let own = own_marks(line, segments, fetcher)?;
        if let Some(mark) = own.into_iter().rev().find(|mark| up_to.includes(mark)) {
            return Ok(Some((mark, Vec::new())));
        }
    }
    let (least, greatest) = up_to.sequences(line);
    let may_have = |run: &&Run| run.last >= least && run.first <= greatest;
    let mut runs: Vec<&Run> = manifest.tables.history.iter().filter(may_have).collect();
    runs.sort_unstable_by_key(|run| run.first);
    let newest_in = |eras: &[Era]| {
        let marks = eras.iter().flat_map(|era| &era.marks);
        marks.filter(|mark| up_to.includes(mark)).max_by_key(|mark| mark.version).cloned()
    };
    if runs.len() <= MAX_RUNS_AT_ONCE {
        let all = eras(runs, fetcher)?;
        return Ok(newest_in(&all).map(|mark| (mark, all)));
    }
    let (mut from, mut to, mut best) = (0, runs.len(), None);
    while from < to {
        let middle = from + (to - from) / 2;
        let read = eras([runs[middle]], fetcher)?;
        match newest_in(&read) {
            Some(mark) => {
                best = Some((mark, read));
                from = middle + 1;
            }
            None => to = middle,
        }
    }
    Ok(best)
}

/// A version that was looked up.
#[derive(Debug, Clone)]
pub(super) struct Past {
    pub(super) mark: Mark,
    /// Eras that were read for the search. They contain that of the version unless it is in the line itself or was found by a tag.
    near: Vec<Era>,
}

/// Looks up a version. `tags` are all tags of the manifest.
///
/// # Errors
/// `NoSuchVersion`, which names the versions that can be opened; `NoSuchTag`.
pub(super) fn look_up(
    manifest: &Manifest,
    at: At,
    tags: &[Tag],
    segments: &mut Segments,
    fetcher: &Fetcher,
) -> Result<Past> {
    let none = |segments: &mut Segments| not_kept(manifest, at, segments, fetcher);
    let found = match at {
        At::Version(number) => {
            let is_it = |mark: &Mark| mark.number == number;
            let found = find(manifest, UpTo::Number(number), segments, fetcher)?;
            let tagged = || tags.iter().map(|tag| &tag.mark).find(|mark| is_it(mark)).cloned();
            found.filter(|(mark, _)| is_it(mark)).or_else(|| tagged().map(|mark| (mark, Vec::new())))
        }
        At::Time(time) => find(manifest, UpTo::Time(time), segments, fetcher)?,
        At::Tag(name) => {
            let found = tags.iter().find(|tag| tag.name.as_str() == name.as_str());
            let none = || no_such_tag(&name.to_string(), tags, fetcher);
            Some((found.ok_or_else(none)?.mark.clone(), Vec::new()))
        }
        At::Branch(_) | At::Replaced(_) => None,
    };
    match found {
        Some((mark, near)) if is_held(manifest, mark.version, tags.iter()) => Ok(Past { mark, near }),
        _ => Err(none(segments)?),
    }
}

fn no_such_tag(name: &str, tags: &[Tag], fetcher: &Fetcher) -> Error {
    let mut tags: Vec<String> = tags.iter().map(|tag| tag.name.as_str().to_owned()).collect();
    tags.sort_unstable();
    Error::new(&fetcher.target, ErrorKind::NoSuchTag { name: name.to_owned(), tags })
}

/// Returns the error for a version that is not retained.
pub(super) fn not_kept(
    manifest: &Manifest,
    at: At,
    segments: &mut Segments,
    fetcher: &Fetcher,
) -> Result<Error> {
    let kept = marks(manifest, usize::MAX, segments, fetcher)?;
    let number = |mark: Option<&Mark>| mark.map_or(0, |mark| mark.number);
    let kind = ErrorKind::NoSuchVersion {
        asked: at.to_string(),
        kept: (number(kept.last()), number(kept.first())),
        since: kept.last().map_or(0, |mark| mark.time),
    };
    Ok(Error::new(&fetcher.target, kind))
}

/// Returns the commits that a handle needs to show an old version.
pub(super) fn commits_of_past(
    manifest: &Manifest,
    past: &Past,
    segments: &mut Segments,
    fetcher: &Fetcher,
) -> Result<NewCommits> {
    let (line, version) = (&manifest.line, past.mark.version);
    let mut read = Vec::new();
    if version < line.base() && locate(manifest, version, past.near.iter()).is_none() {
        read = eras(runs_with(&manifest.tables.history, version), fetcher)?;
    }
    let located = locate(manifest, version, past.near.iter().chain(&read));
    let located = located.ok_or_else(|| fetcher.corrupt("history", "a version that is kept is not in it"))?;
    if let Err(unread) = located.records(segments) {
        fetcher.segments(&unread, segments)?;
    }
    let unread = |_| fetcher.corrupt("segment", "it is not there although it was read");
    let records: Vec<Arc<Record>> = located
        .records(segments)
        .map_err(unread)?
        .into_iter()
        .map(|record| Arc::new(record.clone()))
        .collect();
    let records = fetcher.completed(records)?;
    let base = match records.iter().any(|record| record.is_version()) {
        true => number_of_base(line, &records),
        false => past.mark.number,
    };
    let root = located.root;
    let commits = RemoteCommits {
        version: past.mark.number,
        restart: Some(Checkpoint { version: base, root: root.page }),
        records: converted(&records, fetcher)?,
        mark: Some(mark_of(&past.mark)),
        ..RemoteCommits::default()
    };
    Ok(NewCommits {
        commits,
        reported: Reported { version, number: past.mark.number, root, nonce: None },
        records,
    })
}
