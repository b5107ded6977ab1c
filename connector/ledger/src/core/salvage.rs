//! Salvage: recovers a container with a damaged head object from a copy of a manifest and from segments.
//!
//! A copy of a manifest is put after its swap is known, and segments hold only records of accepted manifests. So
//! salvage returns a state that the container had, never uncommitted changes. Any missing commit is newer than the last
//! copy or segment.

use std::sync::Arc;

use super::ids::Nonce;
use super::line::Line;
use super::manifest::Manifest;
use super::records::{Content, Record, Segment};

/// The distance of the new sequence from every sequence that was found.
pub(crate) const SEQUENCE_GAP: u64 = 1 << 32;

/// Continues a copy of a manifest, the newest that can be read, with the records of segments, whether or not the copy
/// names these segments. Returns the manifest to be put; `nonce` is that of its swap.
pub(crate) fn salvage(copy: &Manifest, found: &[Segment], nonce: Nonce) -> Manifest {
    let mut x = copy.clone();
    let records = || found.iter().flat_map(|segment| &segment.records);
    let newest = records().map(|record| record.version).max().unwrap_or(0);
    continue_line(Arc::make_mut(&mut x.line), found);
    // The new sequence is far above all used sequences, so no name and no nonce of the lost manifests is used again.
    x.sequence = copy.sequence.max(newest) + SEQUENCE_GAP;
    x.sessions.clear();
    x.nonce = nonce;
    x
}

/// Appends the records that follow the newest version of the line.
fn continue_line(line: &mut Line, found: &[Segment]) {
    let mut records: Vec<&Arc<Record>> = found.iter().flat_map(|segment| &segment.records).collect();
    records.sort_unstable_by_key(|record| record.version);
    for record in records.into_iter().filter(|record| is_complete(record)) {
        // Rule: a record follows only the version that it was made over.
        let follows = rule!(SalvageFollows, record.previous == line.version);
        if follows && record.version > line.version {
            line.version = record.version;
            line.number = record.number;
            line.time = record.time;
            line.tail.push(record.clone());
        }
    }
}

/// Returns whether a record has its content, and not a root that no manifest names any more.
fn is_complete(record: &Record) -> bool {
    record.is_version() && !record.parts.iter().any(|part| part.content == Content::InRoot)
}
