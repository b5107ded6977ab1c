//! Costs of the core: bytes of a manifest, pages of tables, and the limits that the core enforces.

use std::sync::Arc;

use bytes::Bytes;

use super::apply::apply;
use super::change::{By, Change, Commit, NewTag, Reject};
use super::events::{Action, Event, Outcome};
use super::group::Member;
use super::history::{Era, Mark};
use super::ids::{ContainerId, Name, Nonce, ObjectId, SessionId};
use super::line::{
    Line, MANY_SEGMENTS, MAX_MERGED_SEGMENT, MAX_OLDER_RECORDS, MergedSegment, Root, WANTED_OLDER_RECORDS,
};
use super::manifest::{MAX_SESSIONS, Manifest};
use super::records::{Data, MAX_CURRENT_RECORD, Notes, Record, SegmentRef, Segments};
use super::references::{MAX_INLINE_REFERENCES, ReadTags, WANTED_INLINE_REFERENCES};
use super::runs::{MAX_RUNS, Run, Table, runs_with};
use super::session::{Mode, Session};
use super::usage::{NOW, Tables};
use crate::address::{Address, PageRef};

const ID: ContainerId = ContainerId([1; 16]);
/// The size that a manifest without records should not exceed, so that a poll fits into the first flight of a
/// connection.
const WANTED_MANIFEST_BYTES: usize = 12 << 10;

fn by(session: u64, count: u64) -> By {
    By { container: ID, nonce: Nonce { session: SessionId(session), count }, is_alone: false, process: None }
}

fn empty() -> Manifest {
    Manifest { id: ID, ..Manifest::absent() }
}

fn page(number: u64, length: u64) -> PageRef {
    let object = ObjectId { session: SessionId(u64::MAX), number };
    PageRef { place: Address { location: object.page(), offset: 0, length }, crc: 1 }
}

/// Returns a commit of a value of this many bytes.
fn commit(on: u64, bytes: usize) -> Change {
    Change::Commit(Box::new(Commit {
        on,
        time: 1_800_000_000_000_000,
        note: Bytes::from_static(b"a-host-name.example.org 12345"),
        data: Data { notes: Notes::default(), author: Bytes::new(), entries: vec![0; bytes].into() },
        other_sessions: Vec::new(),
        stored: None,
        numbers: None,
        joins: None,
        leaves: false,
        closes: false,
        segment: None,
        members: Vec::new(),
        conditions: Vec::new(),
        segments: Segments::default(),
        tables: None,
    }))
}

fn tag(n: u64) -> Change {
    Change::Tag(Box::new(NewTag {
        name: Name::new(&format!("a-tag-with-a-name-of-usual-length-{n}")).unwrap(),
        mark: Mark::default(),
        made: 1_800_000_000_000_000,
        until: None,
        publication: None,
        replaces: None,
        read: ReadTags::default(),
    }))
}

#[test]
fn a_tag_takes_at_most_200_bytes() {
    let m = apply(&empty(), &tag(1), &by(1, 1)).unwrap();
    let more = m.encode().len() - empty().encode().len();
    assert!(more <= 200, "{more}");
}

#[test]
fn commits_with_segments_keep_the_manifest_small() {
    let mut m = empty();
    for n in 1..=50 {
        let join = Change::Join { day: 20_000 };
        m = apply(&m, &join, &by(n << 40, 1)).unwrap();
    }
    let (mut largest, mut sent, mut segments) = (0, 0, 0);
    for n in 0..1000 {
        let on = m.line.version;
        let line = &m.line;
        // The session puts a segment between two commits, and the next one names it.
        let segment = line.wants_segment().then(|| line.segment(u64::MAX).unwrap());
        let segment = segment.map(|s| s.reference(page(n, s.encode().0.len() as u64)).unwrap());
        segments += u64::from(segment.is_some());
        let Change::Commit(c) = commit(on, 500) else { unreachable!() };
        m = apply(&m, &Change::Commit(Box::new(Commit { segment, ..*c })), &by(1 << 40, n + 2)).unwrap();
        let older = m.line.older_bytes();
        assert!(older <= WANTED_OLDER_RECORDS + 1000, "{older}");
        (largest, sent) = (largest.max(m.encode().len()), sent + m.encode().len());
    }
    assert!(largest <= WANTED_MANIFEST_BYTES + 2000, "{largest} bytes, {segments} segments");
    assert!(sent <= 16 << 20, "{sent} bytes for 1000 commits");
}

#[test]
fn bounds_are_kept() {
    let mut m = empty();
    let long = apply(&m, &commit(0, MAX_CURRENT_RECORD + 1), &by(1, 1)).unwrap_err();
    assert!(matches!(long, Reject::Full(why) if why.contains("current record")));
    let mut count = 0;
    let full = loop {
        count += 1;
        match apply(&m, &commit(m.line.version, 10_000), &by(1, count)) {
            Ok(next) => m = next,
            Err(why) => break why,
        }
    };
    assert!(matches!(full, Reject::Full(why) if why.contains("segment")));
    assert!((26..29).contains(&count), "{count} commits, at most {MAX_OLDER_RECORDS} bytes");
    let mut m = empty();
    let mut tags = 0;
    while let Ok(next) = apply(&m, &tag(tags), &by(1, tags + 1)) {
        (m, tags) = (next, tags + 1);
    }
    let inline = m.references.inline_bytes();
    assert!(inline > MAX_INLINE_REFERENCES && inline < MAX_INLINE_REFERENCES + 200);
    assert!(m.references.wants_fold() && WANTED_INLINE_REFERENCES < inline);
    let mut m = empty();
    for n in 0..MAX_SESSIONS as u64 {
        m = apply(&m, &Change::Join { day: 1 }, &by(n, 1)).unwrap();
    }
    assert_eq!(apply(&m, &Change::Join { day: 1 }, &by(1 << 40, 1)), Err(Reject::Full("sessions")));
}

#[test]
fn a_group_fits_the_current_record() {
    let base = apply(&empty(), &commit(0, 10), &by(1, 1)).unwrap();
    let Change::Commit(c) = commit(1, 1000) else { unreachable!() };
    let freed = vec![Address::file(0, 1); 250];
    // Each commit deletes a key of its own.
    let padded = |k: u8| Data {
        author: Bytes::new(),
        notes: Notes { gained: Vec::new(), freed: freed.clone() },
        entries: Bytes::copy_from_slice(&[1, 0, 1, k]),
    };
    let member = |k: u8| Member {
        nonce: by(u64::from(k) + 2, 1).nonce,
        view: 1,
        data: padded(k),
        conditions: Vec::new(),
    };
    let data = Data { notes: Notes::default(), author: Bytes::new(), entries: Bytes::from_static(&[0]) };
    let leader = Commit { members: (0..20).map(member).collect(), data, ..*c };
    let m = apply(&base, &Change::Commit(Box::new(leader)), &by(1, 2)).unwrap();
    let record = m.line.tail.last().unwrap();
    assert!(record.parts.len() > 3 && record.parts.len() < 20, "{} commits", record.parts.len());
    assert!(record.size() <= MAX_CURRENT_RECORD);
}

#[test]
fn a_commit_that_takes_numbers_is_not_queued() {
    let Change::Commit(c) = commit(0, 10) else { unreachable!() };
    let change = Change::Commit(Box::new(Commit { numbers: Some((1, 5)), ..*c }));
    let mut session = Session::<u64>::new(SessionId(1), ID, Mode::Shared);
    session.step(Event::Loaded(Arc::new(empty()), 7));
    let actions = session.step(Event::Queued(change));
    assert!(matches!(&actions[..], [Action::Report(Outcome::Rejected(Reject::NotQueueable))]), "{actions:?}");
}

/// Returns a history of 100,000 versions, with a checkpoint after each 500 versions.
fn long_history() -> (Vec<Run>, Vec<u64>) {
    let (mut runs, mut stored): (Vec<Run>, Vec<(u64, Vec<u8>)>) = (Vec::new(), Vec::new());
    let mut put = Vec::new();
    for n in 0..200_u64 {
        let mut table = Table::<Era>::default();
        for run in &runs {
            let bytes = &stored
                .iter()
                .find(|(at, _)| page(*at, 0).place.location == run.page.place.location)
                .unwrap()
                .1;
            table.load(*run, bytes).unwrap();
        }
        let (base, end) = (n * 500, (n + 1) * 500);
        let mark = |version| Mark {
            version,
            number: version,
            time: 1_800_000_000_000_000,
            note: Bytes::from_static(b"a-host 123"),
        };
        let root = Root { page: Some(page(1 << 30, 99)), base };
        let segments = vec![SegmentRef { page: page(1 << 31, 9), first: base + 1, last: end, count: 500 }];
        table.push(Era { root, end, segments, marks: (base + 1..=end).map(mark).collect() });
        table.absorb();
        let (kept, new) = table.finish();
        let new = new.unwrap();
        let length = new.bytes.len() as u64;
        put.push(length);
        let page = PageRef { crc: new.crc, ..page(n, length) };
        runs =
            kept.into_iter().chain([Run { page, placed: n + 1, first: new.first, last: new.last }]).collect();
        stored.push((n, new.bytes));
    }
    (runs, put)
}

#[test]
fn a_hundred_thousand_versions_are_few_pages() {
    let (runs, put) = long_history();
    assert!(runs.len() <= 18 && runs.len() < MAX_RUNS, "{} pages", runs.len());
    assert_eq!(runs_with(&runs, 50_001).count(), 1);
    let bytes: u64 = runs.iter().map(|run| run.page.place.length).sum();
    let written: u64 = put.iter().sum();
    assert!(written < 12 * bytes, "{written} bytes written for {bytes}");
}

#[test]
fn a_segment_is_named_only_over_its_records() {
    let mut m = empty();
    for n in 1..=3 {
        m = apply(&m, &commit(m.line.version, 10), &by(1, n)).unwrap();
    }
    let line: &Line = &m.line;
    let at = line.segment(2).unwrap().reference(page(1, 9)).unwrap();
    let mut named = line.clone();
    assert!(named.name_segment(&at));
    assert_eq!((named.tail.len(), named.segments.len()), (1, 1));
    assert!(!named.name_segment(&at), "the records have left the tail");
    let mut moved = line.clone();
    Arc::make_mut(&mut moved.tail[0]).version = 9;
    assert!(!moved.name_segment(&at));
}

/// Returns a line with its records in segments of the given numbers of records and inline, and the segments.
fn line_of(sizes: &[usize], inline: usize) -> (Line, Segments) {
    let (mut m, mut read) = (empty(), Segments::default());
    for (n, size) in sizes.iter().chain([&inline]).enumerate() {
        for _ in 0..*size {
            let nonce = m.sequence + 1;
            m = apply(&m, &commit(m.line.version, 10), &by(1, nonce)).unwrap();
        }
        if n < sizes.len() {
            let line = Arc::make_mut(&mut m.line);
            let segment = line.segment(u64::MAX).unwrap();
            let at = segment.reference(page(n as u64, 500)).unwrap();
            assert!(line.name_segment(&at));
            read.insert(&at, segment.into());
        }
    }
    (Arc::unwrap_or_clone(m.line), read)
}

fn versions(records: &[Arc<Record>]) -> Vec<u64> {
    records.iter().map(|record| record.version).collect()
}

#[test]
fn a_checkpoint_merges_the_segments_of_its_era() {
    let (line, read) = line_of(&[2, 3], 4);
    let first = line.segments[0].first;
    let (segment, replaces) = line.merged_segment(line.version - 1, &read).unwrap();
    assert_eq!(versions(&segment.records), (first..line.version).collect::<Vec<_>>());
    let merged = MergedSegment { at: segment.reference(page(9, 9)).unwrap(), replaces };
    let mut named = line.clone();
    assert!(replaces == 2 && named.name_merged(&merged));
    assert_eq!((named.segments.as_slice(), versions(&named.tail)), (&[merged.at][..], vec![line.version]));
    assert!(!named.name_merged(&merged), "it replaces what is there only");
    // Another session has put the inline records into a segment of its own meanwhile.
    let mut overtaken = line.clone();
    let own = line.segment(line.version - 1).unwrap().reference(page(8, 9)).unwrap();
    assert!(overtaken.name_segment(&own) && !overtaken.name_merged(&merged));
    assert_eq!(overtaken.segments.len(), 3);
    // Segments that were not read are not merged.
    assert!(overtaken.merged_segment(line.version - 1, &read).is_none(), "it was not read");
    let (line, read) = line_of(&[2, 3, 4], 0);
    assert_eq!(line.merged_segment(line.version, &read).unwrap().1, 3);
    assert_eq!(line.merged_segment(line.version - 1, &read).unwrap().1, 2);
    assert!(line.merged_segment(line.segments[0].last, &read).is_none(), "one segment stays as it is");
}

#[test]
fn merged_segments_are_bounded_and_lie_over_the_root() {
    let (mut line, read) = line_of(&[2, 3, 2], 1);
    line.segments[1].page.place.length = MAX_MERGED_SEGMENT;
    assert_eq!(line.merged_segment(line.version, &read).unwrap().1, 1);
    line.segments[1].page.place.length = 1;
    line.root = Root { page: None, base: line.segments[0].last };
    assert_eq!(line.merged_segment(line.version, &read).unwrap().1, 2);
    line.root = Root { page: None, base: line.version };
    assert!(line.merged_segment(line.version, &read).is_none());
}

/// Commits that overtake checkpoints leave segments below the root. Without merging them, the line would soon have too many segments, and
/// would remove young records.
#[test]
fn a_checkpoint_of_a_line_with_many_segments_merges_those_below_the_root() {
    let (mut line, read) = line_of(&[1; MANY_SEGMENTS], 2);
    line.root = Root { page: None, base: line.segments[MANY_SEGMENTS - 3].last };
    assert_eq!(line.merged_segment(line.version, &read).unwrap().1, 2, "few segments");
    let (mut line, read) = line_of(&[1; MANY_SEGMENTS + 1], 2);
    let base = line.segments[MANY_SEGMENTS - 2].last;
    line.root = Root { page: None, base };
    let (segment, replaces) = line.merged_segment(line.version, &read).unwrap();
    assert_eq!(replaces, MANY_SEGMENTS + 1);
    assert_eq!(segment.records.len(), MANY_SEGMENTS + 3);
    assert!(line.merged_segment(base, &read).is_none(), "no era ends");
    assert_eq!(line.unread_to_merge(line.version, &Segments::default()).len(), MANY_SEGMENTS + 1);
    // Long segments remain.
    line.segments[3].page.place.length = MAX_MERGED_SEGMENT;
    assert_eq!(line.merged_segment(line.version, &read).unwrap().1, MANY_SEGMENTS - 3);
}

#[test]
fn segments_of_earlier_eras_die_when_a_checkpoint_replaces_them() {
    let (mut line, read) = line_of(&[1; MANY_SEGMENTS + 1], 2);
    let mut tables = Tables::default();
    let mut era = line.clone();
    // The checkpoint of the first era has entered its segments into the dead list, except one, which a commit named later.
    let base = line.segments[MANY_SEGMENTS - 2].last;
    era.segments.remove(4);
    tables.end_era(&era, &era, base, &[]).unwrap();
    line.root = Root { page: None, base };
    let (segment, replaces) = line.merged_segment(line.version, &read).unwrap();
    let merged = MergedSegment { at: segment.reference(page(99, 9)).unwrap(), replaces };
    let mut after = line.clone();
    assert!(after.name_merged(&merged));
    tables.end_era(&line, &after, line.version, &[]).unwrap();
    let mut places: Vec<_> = tables.dead.iter().map(|dead| (dead.place, dead.death)).collect();
    let mut wanted: Vec<_> =
        line.segments.iter().chain([&merged.at]).map(|at| (at.page.place, NOW)).collect();
    let by_object = |(place, _): &(Address, u64)| ObjectId::of(place);
    places.sort_unstable_by_key(by_object);
    wanted.sort_unstable_by_key(by_object);
    assert_eq!(places, wanted);
    for at in line.segments.iter().chain([&merged.at]) {
        let usage = tables.usage[&ObjectId::of(&at.page.place).unwrap()];
        assert_eq!((usage.birth, usage.named), (at.first, at.page.place.length));
    }
}
