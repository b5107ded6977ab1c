//! Old versions: lists them, and finds the data of one.

use std::sync::Arc;

use super::fetch::Fetcher;
use super::note::mark_of;
use super::view::{News, Told, main_line, number_of_base};
use crate::codec::Decoded;
use crate::core::history::{Era, Mark, locate};
use crate::core::lines::{Line, MAIN};
use crate::core::manifest::Manifest;
use crate::core::reclaim::is_gone;
use crate::core::records::{Content, Record, Segments};
use crate::core::references::Tag;
use crate::core::runs::{Run, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::options::At;
use crate::storage::{Checkpoint, RemoteCommits};

/// Up to this number of runs are read completely. Among more runs, a binary search finds the run that contains a version.
const MAX_RUNS_AT_ONCE: usize = 4;

/// Returns the eras of a run.
fn eras(run: &Run, fetcher: &Fetcher) -> Result<Vec<Era>> {
    let bytes = fetcher.page(&run.page)?;
    let mut table = Table::<Era>::default();
    table.load(*run, &bytes).map_err(|why| fetcher.corrupt("history", why))?;
    Ok(table.iter().cloned().collect())
}

/// Returns the marks of the versions that a line itself contains: that of its root, and those over the root.
pub(super) fn own_marks(line: &Line, segments: &mut Segments, fetcher: &Fetcher) -> Result<Vec<Mark>> {
    let from = line.base().saturating_sub(1);
    let records = fetcher.records(line, (from, line.version), segments)?;
    Ok(records.iter().filter(|record| record.is_version()).map(|record| Mark::of(record)).collect())
}

/// Returns whether the commit of a record is contained in the root of the same swap.
pub(super) fn is_in_root(record: &Record) -> bool {
    record.parts.iter().any(|part| part.content == Content::InRoot)
}

/// Returns the marks of up to `most` versions from the horizon on, newest first. These versions are complete.
pub(super) fn marks(
    manifest: &Manifest,
    most: usize,
    segments: &mut Segments,
    fetcher: &Fetcher,
) -> Result<Vec<Mark>> {
    let line = main_line(manifest);
    let mut found = own_marks(line, segments, fetcher)?;
    found.reverse();
    let mut runs: Vec<&Run> = manifest.tables.history.iter().filter(|run| run.last >= line.horizon).collect();
    runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.last));
    for run in runs {
        if found.len() >= most {
            break;
        }
        let mut older: Vec<Mark> = eras(run, fetcher)?
            .into_iter()
            .filter(|era| era.line == line.id)
            .flat_map(|era| era.marks)
            .collect();
        older.sort_unstable_by_key(|mark| std::cmp::Reverse(mark.version));
        found.extend(older);
    }
    found.sort_unstable_by_key(|mark| std::cmp::Reverse(mark.version));
    found.dedup_by_key(|mark| mark.version);
    found.retain(|mark| mark.version >= line.horizon);
    found.truncate(most);
    Ok(found)
}

/// Finds the newest mark for which `is_at_most` is true, and returns it with the eras around it. `is_at_most` must be true for all marks
/// that are older than this one.
fn find(
    manifest: &Manifest,
    is_at_most: impl Fn(&Mark) -> bool,
    segments: &mut Segments,
    fetcher: &Fetcher,
) -> Result<Option<(Mark, Vec<Era>)>> {
    let line = main_line(manifest);
    if let Some(mark) = own_marks(line, segments, fetcher)?.into_iter().rev().find(&is_at_most) {
        return Ok(Some((mark, all_eras_of(manifest, line.base(), fetcher)?)));
    }
    let mut runs: Vec<&Run> = manifest.tables.history.iter().collect();
    runs.sort_unstable_by_key(|run| run.first);
    let newest_in = |eras: &[Era]| {
        let marks = eras.iter().filter(|era| era.line == line.id).flat_map(|era| &era.marks);
        marks.filter(|mark| is_at_most(mark)).max_by_key(|mark| mark.version).cloned()
    };
    let (mut from, mut to, mut best) = (0, runs.len(), None);
    if runs.len() <= MAX_RUNS_AT_ONCE {
        let mut all = Vec::new();
        for run in &runs {
            all.extend(eras(run, fetcher)?);
        }
        return Ok(newest_in(&all).map(|mark| (mark, all)));
    }
    while from < to {
        let middle = from + (to - from) / 2;
        let read = eras(runs[middle], fetcher)?;
        match newest_in(&read) {
            Some(mark) => {
                best = Some((mark, middle));
                from = middle + 1;
            }
            None => to = middle,
        }
    }
    let Some((mark, at)) = best else { return Ok(None) };
    // The version that ends an era is the base of the next one.
    let mut near = eras(runs[at], fetcher)?;
    if let Some(next) = runs.get(at + 1) {
        near.extend(eras(next, fetcher)?);
    }
    Ok(Some((mark, near)))
}

/// Returns the eras that may contain a version.
fn all_eras_of(manifest: &Manifest, version: u64, fetcher: &Fetcher) -> Result<Vec<Era>> {
    let mut found = Vec::new();
    for run in crate::core::runs::runs_with(&manifest.tables.history, version) {
        found.extend(eras(run, fetcher)?);
    }
    Ok(found)
}

/// A version that was looked up.
#[derive(Debug, Clone)]
pub(super) struct Past {
    pub(super) mark: Mark,
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
            let found = find(manifest, |mark| mark.number <= number, segments, fetcher)?;
            let tagged = || tags.iter().map(|tag| &tag.mark).find(|mark| is_it(mark)).cloned();
            found.map(|(mark, _)| mark).filter(is_it).or_else(tagged)
        }
        At::Time(time) => find(manifest, |mark| mark.time <= time, segments, fetcher)?.map(|(mark, _)| mark),
        At::Tag(name) => {
            let found = tags.iter().find(|tag| tag.name.as_str() == name.as_str());
            let none = || no_such_tag(&name.to_string(), tags, fetcher);
            Some(found.ok_or_else(none)?.mark.clone())
        }
        At::Branch(_) | At::Replaced(_) => None,
    };
    match found {
        Some(mark) if !is_gone(manifest, (MAIN, mark.version), tags.iter()) => Ok(Past { mark }),
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
pub(super) fn told_of(
    manifest: &Manifest,
    past: &Past,
    segments: &mut Segments,
    fetcher: &Fetcher,
) -> Result<News> {
    let (line, version) = (main_line(manifest), past.mark.version);
    let near = all_eras_of(manifest, version, fetcher)?;
    let located = locate(manifest, line.id, version, near.iter());
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
    let convert = |record: &Arc<Record>| super::fetch::commit_record(record).transpose();
    let over: Decoded<_> = records.iter().filter_map(convert).collect();
    let root = located.root;
    let commits = RemoteCommits {
        version: past.mark.number,
        restart: Some(Checkpoint { version: base, root: root.and_then(|root| root.page) }),
        records: over.map_err(|why| fetcher.corrupt("record", why))?,
        mark: Some(mark_of(&past.mark)),
        ..RemoteCommits::default()
    };
    Ok(News { commits, told: Told { version, number: past.mark.number, root, nonce: None }, records })
}
