//! What a handle was told of a container, and what it has to be told to see a newer manifest.

use std::sync::Arc;

use super::fetch::{Fetcher, commit_record};
use super::note::mark_of;
use crate::codec::Decoded;
use crate::core::history::Mark;
use crate::core::ids::Nonce;
use crate::core::lines::{Line, MAIN, Root};
use crate::core::manifest::Manifest;
use crate::core::records::{Record, Segments};
use crate::error::{Error, ErrorKind, Result};
use crate::register::Token;
use crate::storage::{Checkpoint, RemoteCommits};

/// The version that the map above the storage has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// The sequence of the version's swap.
    pub(super) version: u64,
    pub(super) number: u64,
    pub(super) root: Option<Root>,
    /// The nonce of the version's commit, for a version over the root: a program may have put older objects back, whose history
    /// went on another way.
    pub(super) nonce: Option<Nonce>,
}

/// The newest manifest that a handle knows, and what it was told of it.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) manifest: Arc<Manifest>,
    pub(super) token: Token,
    pub(super) segments: Segments,
    pub(super) told: Option<Told>,
}

/// The main line.
pub(super) fn main_line(manifest: &Manifest) -> &Line {
    // A decoded manifest has it, and so has each that a change makes.
    manifest.line(MAIN).map_or(&manifest.lines[0], |line| line)
}

/// How many versions the line had up to its root, by the records over it.
pub(super) fn number_of_base(line: &Line, over: &[Arc<Record>]) -> u64 {
    let first = over.iter().find(|record| record.is_version());
    first.map_or(line.number, |record| record.number.saturating_sub(1))
}

/// Records as the map takes them in.
fn converted(records: &[Arc<Record>], fetcher: &Fetcher) -> Result<Vec<crate::wal::record::CommitRecord>> {
    let convert = |record: &Arc<Record>| commit_record(record).transpose();
    let all: Decoded<_> = records.iter().filter_map(convert).collect();
    all.map_err(|why| fetcher.corrupt("record", why))
}

/// The nonce of the last commit of a record.
pub(super) fn nonce_of(record: &Record) -> Option<Nonce> {
    record.parts.last().map(|part| part.nonce)
}

/// Whether a line has the very version that was told, and not another one of its sequence.
fn is_in(line: &Line, told: &Told, segments: &mut Segments, fetcher: &Fetcher) -> Result<bool> {
    if told.version <= line.base() || told.version > line.version {
        return Ok(told.version <= line.version);
    }
    let records = fetcher.records(line, (told.version - 1, told.version), segments)?;
    let found = records.iter().find(|record| record.is_version());
    Ok(found.is_some_and(|record| told.nonce.is_none() || nonce_of(record) == told.nonce))
}

/// News of a line, with the records that they were made of.
pub(super) struct News {
    pub(super) commits: RemoteCommits,
    pub(super) told: Told,
    /// The records that were not told before, oldest first.
    pub(super) records: Vec<Arc<Record>>,
}

/// What is new on a line since what was told, up to version number `last` if that can be had; `None` if nothing is. One of many
/// writers also wants the records below a new root.
///
/// # Errors
/// `Gone` if an object is not there, which a newer manifest may do without, and if one of many writers needs records that were
/// forgotten.
pub(super) fn news(
    line: &Line,
    told: Option<Told>,
    last: u64,
    wants_skipped: bool,
    segments: &mut Segments,
    fetcher: &Fetcher,
) -> Result<Option<News>> {
    let is_other = told.is_some_and(|told| told.version > line.version)
        || matches!(told, Some(told) if told.root == line.root && !is_in(line, &told, segments, fetcher)?);
    let follows = |told: &Told| told.root == line.root && !is_other;
    if let Some(told) = told.filter(follows) {
        let mut records = fetcher.records(line, (told.version, line.version), segments)?;
        records.retain(|record| record.number <= last);
        let Some(newest) = records.iter().rev().find(|record| record.is_version()) else { return Ok(None) };
        let (version, number) = (newest.version, newest.number);
        let nonce = nonce_of(newest);
        let commits = RemoteCommits {
            version: number,
            records: converted(&records, fetcher)?,
            ..RemoteCommits::default()
        };
        return Ok(Some(News { commits, told: Told { version, number, root: told.root, nonce }, records }));
    }
    let mut over = fetcher.records(line, (line.base(), line.version), segments)?;
    let base = number_of_base(line, &over);
    over.retain(|record| record.number <= last.max(base));
    let newest = over.iter().rev().find(|record| record.is_version());
    let (version, number) = newest.map_or((line.base(), base), |record| (record.version, record.number));
    let nonce = newest.and_then(|record| nonce_of(record));
    let mut skipped = Vec::new();
    if let Some(told) = told.filter(|told| wants_skipped && told.version < line.base()) {
        if !line.reaches(told.version) {
            return Err(Error::new(&fetcher.target, ErrorKind::Gone));
        }
        skipped = fetcher.records(line, (told.version, line.base()), segments)?;
    }
    let is_new = |record: &&Arc<Record>| told.is_none_or(|told| record.version > told.version);
    let records: Vec<_> = skipped.iter().chain(&over).filter(is_new).cloned().collect();
    // A root that contains a commit does not tell which keys it changed.
    let skipped = converted(&skipped, fetcher).map_err(|_| Error::new(&fetcher.target, ErrorKind::Gone))?;
    let mark = newest.map(|record| mark_of(&Mark::of(record)));
    let commits = RemoteCommits {
        version: number,
        restart: Some(Checkpoint { version: base, root: line.root.and_then(|root| root.page) }),
        records: converted(&over, fetcher)?,
        skipped,
        is_other,
        mark,
        ..RemoteCommits::default()
    };
    Ok(Some(News { commits, told: Told { version, number, root: line.root, nonce }, records }))
}
