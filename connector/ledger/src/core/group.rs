//! Groups: queued commits, and the selection of those that a leader includes in its swap.
//!
//! A queued commit is an object that a leader reads. Its conditions are prefixes of keys: the commit needs no merge as
//! long as no key with such a prefix was changed since its view. The member recognises its commit by the nonce in a
//! record. Only a cancel record ends a queued commit, because a leader may have read the object at any time.

use std::sync::Arc;

use bytes::Bytes;

use super::frame;
use super::ids::Nonce;
use super::line::{Found, Line};
use super::manifest::Manifest;
use super::records::{
    Content, Data, MAX_CURRENT_RECORD, MAX_PARTS, Part, Record, SegmentRef, Segments, visit_keys,
};
use crate::codec::{Decoded, Reader, put_string, put_varint};

/// The maximum length of a queued commit, in bytes.
pub(crate) const MAX_QUEUED_BYTES: usize = 1 << 20;
const MAGIC: &[u8; 4] = b"h5lQ";
const MAX_CONDITIONS: usize = 1 << 16;
/// The maximum size of a member in a record without its content, in bytes.
const MEMBER_BYTES: usize = 64;

/// A commit that waits for a leader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    pub(crate) nonce: Nonce,
    /// The sequence of the manifest that its session knew: the commit was merged with all records up to there.
    pub(crate) view: u64,
    pub(crate) data: Data,
    /// Prefixes of keys that must not have changed since the view.
    pub(crate) conditions: Vec<Bytes>,
}

impl Member {
    /// Encodes the queue object.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = frame::begin(MAGIC);
        self.nonce.encode(&mut out);
        put_varint(&mut out, self.view);
        frame::put_list(&mut out, &self.conditions, |prefix, out| put_string(out, prefix));
        self.data.encode(&mut out);
        frame::end(&mut out);
        out
    }

    /// Decodes a queue object.
    ///
    /// # Errors
    /// The reason why the bytes are not a queued commit.
    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        if bytes.len() > MAX_QUEUED_BYTES {
            return Err("a queued commit is longer than it can be");
        }
        let mut r = frame::open(bytes, MAGIC)?;
        let (nonce, view) = (Nonce::read(&mut r)?, r.number()?);
        let condition = |r: &mut Reader<'_>| r.string().map(Bytes::copy_from_slice);
        let conditions = frame::read_list(&mut r, (1, MAX_CONDITIONS), condition)?;
        let data = Data::read(&mut r)?;
        r.end()?;
        visit_keys(&data.entries, |_| true)?;
        Ok(Self { nonce, view, data, conditions })
    }
}

fn breaks(conditions: &[Bytes], key: &[u8]) -> bool {
    conditions.iter().any(|prefix| key.starts_with(prefix))
}

/// Returns the parts of the members that a leader includes in its swap over `manifest`. `own` are the leader's content
/// and conditions, and `segments` are the segments that the leader has read.
pub(crate) fn select(
    manifest: &Manifest,
    (own, own_conditions): (&Data, &[Bytes]),
    members: &[Member],
    segments: &Segments,
) -> Vec<Part> {
    let mut taken: Vec<&Member> = Vec::new();
    let mut size = own.size() + MEMBER_BYTES;
    for member in members {
        let is_apart = taken.iter().all(|other| are_apart(member, (&other.data, &other.conditions)))
            && are_apart(member, (own, own_conditions));
        let is_new = taken.iter().all(|other| other.nonce != member.nonce);
        let more = member.data.size() + MEMBER_BYTES;
        let fits = taken.len() + 1 < MAX_PARTS && size + more <= MAX_CURRENT_RECORD;
        if fits && is_new && is_apart && is_open(manifest, member, segments) {
            size += more;
            taken.push(member);
        }
    }
    let part = |m: &Member| Part { nonce: m.nonce, content: Content::Inline(m.data.clone()) };
    taken.into_iter().map(part).collect()
}

/// Returns those of the queued commits that may still be committed. An error names the segments that must be
/// read first.
pub(crate) fn undecided(
    line: &Line,
    queued: &[Member],
    segments: &Segments,
) -> Result<Vec<Nonce>, Vec<SegmentRef>> {
    let mut nonces = Vec::new();
    for member in queued {
        match line.find(member.nonce, member.view, segments) {
            Found::Absent => nonces.push(member.nonce),
            Found::Unread(unread) => return Err(unread),
            // No leader includes a member if the records do not reach its view.
            Found::Record(..) | Found::Trimmed => (),
        }
    }
    nonces.truncate(MAX_PARTS);
    Ok(nonces)
}

/// Returns whether a commit changes no key that begins with one of the conditions; `None` if its entries cannot be read.
fn spares(data: &Data, conditions: &[Bytes]) -> Option<bool> {
    visit_keys(&data.entries, |key| !breaks(conditions, key)).ok()
}

/// Returns whether an inline record after `view` is known to change a key that begins with one of the conditions. Then no leader includes a
/// queued commit with this view and these conditions any more.
pub(crate) fn is_broken(line: &Line, view: u64, conditions: &[Bytes]) -> bool {
    let newer = line.tail.iter().filter(|record| record.version > view);
    let mut data = newer.flat_map(|record| &record.parts).filter_map(Part::data);
    data.any(|data| spares(data, conditions) == Some(false))
}

/// Returns whether all of the records are known to change no key that begins with one of the conditions. The keys of a long record are unknown
/// if its content was not read.
pub(crate) fn are_spared<'r>(
    records: impl IntoIterator<Item = &'r Arc<Record>>,
    conditions: &[Bytes],
) -> bool {
    let parts = records.into_iter().flat_map(|record| &record.parts).filter(|part| !part.is_cancelled());
    parts.map(Part::data).all(|data| data.and_then(|data| spares(data, conditions)) == Some(true))
}

/// Returns whether neither of two commits changes a key that the other commit depends on.
fn are_apart(one: &Member, (other, conditions): (&Data, &[Bytes])) -> bool {
    spares(other, &one.conditions) == Some(true) && spares(&one.data, conditions) == Some(true)
}

/// Returns whether a queued commit may follow the newest version.
fn is_open(manifest: &Manifest, member: &Member, segments: &Segments) -> bool {
    let line = &manifest.line;
    let found = line.find(member.nonce, member.view, segments);
    if matches!(found, Found::Unread(_)) {
        return false;
    }
    // Rule: a leader leaves out a member that has a record, be it a commit or a cancel record.
    let is_new = rule!(LeaderRecords, !matches!(found, Found::Record(..)));
    // Rule: a leader leaves out a member if the records do not reach its view.
    let is_covered = rule!(LeaderView, line.reaches(member.view));
    // Rule: a leader leaves out a member with objects if its session is not listed.
    let is_listed =
        rule!(LeaderSession, !member.data.names_objects() || manifest.lists(member.nonce.session));
    // Rule: a leader leaves out a member if a key of its conditions was changed since its view.
    is_new && is_covered && is_listed && rule!(LeaderConditions, is_unbroken(line, member, segments))
}

fn is_unbroken(line: &Line, member: &Member, segments: &Segments) -> bool {
    let records = line.records((member.view, u64::MAX), segments);
    records.is_ok_and(|records| are_spared(records, &member.conditions))
}
