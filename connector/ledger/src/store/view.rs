//! The version that a handle has observed, and the commits that it needs to observe a newer manifest.

use std::sync::Arc;

use super::fetch::{Fetcher, commit_record};
use super::note::mark_of;
use super::past;
use crate::codec::Decoded;
use crate::core::history::Mark;
use crate::core::ids::Nonce;
use crate::core::line::{Line, Root};
use crate::core::manifest::Manifest;
use crate::core::records::{Record, Segments};
use crate::error::{Error, ErrorKind, Result};
use crate::register::Token;
use crate::storage::{Checkpoint, RemoteCommits};

/// The version that was reported to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reported {
    /// The sequence of the version's swap.
    pub(super) version: u64,
    pub(super) number: u64,
    pub(super) root: Root,
    /// The nonce of the version's commit, for a version over the root. It detects that a program has restored older objects, after which
    /// another version may have the same sequence.
    pub(super) nonce: Option<Nonce>,
}

/// The newest manifest that a handle knows, and the version of it that was reported to the ledger.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) manifest: Arc<Manifest>,
    pub(super) token: Token,
    pub(super) segments: Segments,
    pub(super) reported: Option<Reported>,
}

/// Returns the number of versions that the line had up to its root, according to the records over the root.
pub(super) fn number_of_base(line: &Line, over: &[Arc<Record>]) -> u64 {
    let first = over.iter().find(|record| record.is_version());
    first.map_or(line.number, |record| record.number.saturating_sub(1))
}

/// Converts records for the ledger.
pub(super) fn converted(
    records: &[Arc<Record>],
    fetcher: &Fetcher,
) -> Result<Vec<crate::wal::record::CommitRecord>> {
    let convert = |record: &Arc<Record>| commit_record(record).transpose();
    let all: Decoded<_> = records.iter().filter_map(convert).collect();
    all.map_err(|why| fetcher.corrupt("record", why))
}

/// Returns the nonce of the last commit of a record.
pub(super) fn nonce_of(record: &Record) -> Option<Nonce> {
    record.parts.last().map(|part| part.nonce)
}

/// Returns whether the line contains the observed version itself, and not another version with the same sequence. The line must not contain
/// it if a program has put an older head object back. A version whose record is gone counts as contained.
fn is_in(line: &Line, reported: &Reported, segments: &mut Segments, fetcher: &Fetcher) -> Result<bool> {
    if reported.version > line.version {
        return Ok(false);
    }
    if reported.nonce.is_none() || reported.version == 0 || !line.reaches(reported.version - 1) {
        return Ok(true);
    }
    let records = fetcher.record_heads(line, (reported.version - 1, reported.version), segments)?;
    let found = records.iter().find(|record| record.is_version());
    Ok(found.is_some_and(|record| nonce_of(record) == reported.nonce))
}

/// Returns the error of a concurrent writer whose version is no longer in the container. Its staged changes belong to that version.
fn put_back(fetcher: &Fetcher) -> Error {
    let why = "an older state of the container was put back; what was not committed before is not in it";
    Error::new(&fetcher.target, ErrorKind::Broken { why: why.into() })
}

/// Remote commits, with the records from which they were made.
pub(super) struct NewCommits {
    pub(super) commits: RemoteCommits,
    pub(super) reported: Reported,
    /// The records that were not reported before, oldest first.
    pub(super) records: Vec<Arc<Record>>,
}

/// Returns the commits since the version `reported`, up to version number `last` if possible; `None` if there are no new ones. A
/// concurrent writer also needs the records below a new root.
///
/// # Errors
/// `Gone` if an object is missing that a newer manifest may not need, and if a concurrent writer needs records that the container no longer
/// has.
/// `Broken` if the line no longer contains the version that a concurrent writer has observed.
pub(super) fn new_commits(
    manifest: &Manifest,
    reported: Option<Reported>,
    last: u64,
    wants_skipped: bool,
    segments: &mut Segments,
    fetcher: &Fetcher,
) -> Result<Option<NewCommits>> {
    let line = &manifest.line;
    let is_other = matches!(reported, Some(reported) if !is_in(line, &reported, segments, fetcher)?);
    if is_other && wants_skipped {
        return Err(put_back(fetcher));
    }
    let follows = |reported: &Reported| reported.root == line.root && !is_other;
    if let Some(reported) = reported.filter(follows) {
        let mut records = fetcher.records(line, (reported.version, line.version), segments)?;
        records.retain(|record| record.number <= last);
        let Some(newest) = records.iter().rev().find(|record| record.is_version()) else { return Ok(None) };
        let (version, number) = (newest.version, newest.number);
        let nonce = nonce_of(newest);
        let commits = RemoteCommits {
            version: number,
            records: converted(&records, fetcher)?,
            ..RemoteCommits::default()
        };
        return Ok(Some(NewCommits {
            commits,
            reported: Reported { version, number, root: reported.root, nonce },
            records,
        }));
    }
    let mut over = fetcher.records(line, (line.base(), line.version), segments)?;
    let base = number_of_base(line, &over);
    over.retain(|record| record.number <= last.max(base));
    let newest = over.iter().rev().find(|record| record.is_version());
    let (version, number) = newest.map_or((line.base(), base), |record| (record.version, record.number));
    // The record of the root's version may still be inline.
    let of_version = newest.or_else(|| line.tail.iter().find(|record| record.version == version));
    let nonce = of_version.filter(|record| record.is_version()).and_then(|record| nonce_of(record));
    let mut skipped = Vec::new();
    if let Some(reported) = reported.filter(|reported| wants_skipped && reported.version < line.base()) {
        skipped = past::records_since(manifest, (reported.version, line.base()), segments, fetcher)?;
    }
    let is_new = |record: &&Arc<Record>| reported.is_none_or(|reported| record.version > reported.version);
    let records: Vec<_> = skipped.iter().chain(&over).filter(is_new).cloned().collect();
    // The record of a commit that the root contains does not show which keys the commit changed.
    let skipped = converted(&skipped, fetcher).map_err(|_| Error::new(&fetcher.target, ErrorKind::Gone))?;
    let mark = newest.map(|record| mark_of(&Mark::of(record)));
    let commits = RemoteCommits {
        version: number,
        restart: Some(Checkpoint { version: base, root: line.root.page }),
        records: converted(&over, fetcher)?,
        skipped,
        is_other,
        mark,
        ..RemoteCommits::default()
    };
    Ok(Some(NewCommits { commits, reported: Reported { version, number, root: line.root, nonce }, records }))
}
