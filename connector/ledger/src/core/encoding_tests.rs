//! Encodings of the core: they round trip, each value has exactly one encoding, and hostile bytes are refused.

use std::sync::Arc;

use bytes::Bytes;

use super::frame;
use super::history::{Era, Mark};
use super::ids::{ContainerId, Name, Nonce, ObjectId, SessionId, SessionProcess};
use super::line::{Line, Root};
use super::manifest::{CopyEntry, MAX_SESSIONS, Manifest, SessionEntry, TableRefs};
use super::records::{Content, Data, Gained, Notes, Part, Record, Segment, SegmentRef};
use super::references::{References, Tag};
use super::runs::{Run, RunItem, Table};
use super::usage::{Dead, NOW};
use crate::address::{Address, PageRef};
use crate::checksum::checksum;
use crate::codec::NEWER;

fn object(number: u64) -> ObjectId {
    ObjectId { session: SessionId(0x0123_4567_89ab_cdef), number }
}

fn page(number: u64) -> PageRef {
    PageRef { place: Address { location: object(number).page(), offset: 0, length: 100 + number }, crc: 7 }
}

fn nonce(count: u64) -> Nonce {
    Nonce { session: SessionId(5), count }
}

fn record(version: u64) -> Arc<Record> {
    let notes = Notes {
        gained: vec![Gained { object: object(9), bytes: 5, stood: 3 }],
        freed: vec![Address { location: object(8).pack(), offset: 1, length: 2 }],
    };
    let data = Data { notes, author: Bytes::new(), entries: Bytes::from_static(b"\x01\x01\x01a\x01b") };
    let contents = [
        Content::Inline(data),
        Content::Stored { page: page(30), data: None },
        Content::InRoot,
        Content::Cancelled,
    ];
    let part = |(n, content)| Part { nonce: nonce(version * 10 + n), content };
    let parts = (0..).zip(contents).map(part).collect();
    Arc::new(Record {
        version,
        previous: version - 1,
        number: version,
        time: 77,
        note: Bytes::from_static(b"who"),
        parts,
    })
}

fn tag(name: &str, id: u64) -> Tag {
    let publication = (id == 2).then(|| Bytes::from_static(b"doi:10.1234/5"));
    let name = Name::new(name).unwrap();
    Tag {
        name,
        id: nonce(id),
        mark: Mark { version: 12, number: 11, time: 7, note: Bytes::from_static(b"who") },
        made: 9,
        until: Some(10),
        publication,
    }
}

/// Returns a manifest with at least one item of every kind.
fn sample() -> Manifest {
    let line = Line {
        version: 15,
        number: 12,
        time: 77,
        root: Root { page: Some(page(1)), base: 10 },
        horizon: 3,
        records_from: 5,
        segments: vec![SegmentRef { page: page(2), first: 5, last: 12, count: 4 }],
        tail: vec![record(13), record(15)],
        retention: 600_000,
    };
    let run = |n| Run { page: page(n), placed: 11, first: 1, last: 9 };
    Manifest {
        id: ContainerId([7; 16]),
        has_sources: true,
        created: 1_000_000,
        sequence: 20,
        nonce: nonce(3),
        numbers: 1 << 20,
        sessions: vec![
            SessionEntry {
                id: SessionId(5),
                day: 20_000,
                is_alone: true,
                process: Some(SessionProcess { system: u64::MAX, pid: 70_000, start: 1 << 40 }),
            },
            SessionEntry { id: SessionId(6), day: 1, is_alone: false, process: None },
        ],
        maker: SessionId(5),
        copies: vec![CopyEntry { id: ContainerId([8; 16]), session: SessionId(9), day: 20_001 }],
        line: Arc::new(line),
        references: Arc::new(References {
            since: 8,
            page: Some(page(3)),
            added: vec![tag("a", 1), tag("b-2", 2)],
            removed: vec![nonce(9)],
        }),
        tables: Arc::new(TableRefs {
            since: 14,
            usage: Some(page(4)),
            dead: vec![run(5)],
            history: vec![run(6)],
        }),
    }
}

fn reseal(bytes: &mut [u8]) {
    let fixed = checksum(&bytes[..60]);
    bytes[60..64].copy_from_slice(&fixed.to_le_bytes());
    let body = bytes.len() - 4;
    let crc = checksum(&bytes[..body]);
    bytes[body..].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_manifest_round_trips() {
    for manifest in [sample(), Manifest::absent()] {
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }
}

#[test]
fn the_fixed_part_keeps_its_meaning_in_all_formats() {
    let bytes = sample().encode();
    assert_eq!(&bytes[..16], crate::signatures::SIGNATURE);
    assert_eq!(bytes[16..20], 2_u32.to_le_bytes());
    assert_eq!(bytes[20..28], [0; 8]);
    assert_eq!(bytes[28..44], [7; 16]);
    assert_eq!(bytes[44..52], [0; 8]);
    assert_eq!(bytes[52..60], 1_000_000_u64.to_le_bytes());
    assert_eq!(bytes[60..64], checksum(&bytes[..60]).to_le_bytes());
    let of_a_file = crate::file::superblock::Fixed::decode(&bytes, "x").unwrap();
    assert_eq!((of_a_file.id, of_a_file.base, of_a_file.created), ([7; 16], 0, 1_000_000));
}

#[test]
fn damage_anywhere_in_a_manifest_is_refused() {
    let good = sample().encode();
    for n in 0..good.len() {
        let mut bad = good.clone();
        bad[n] ^= 0x10;
        assert!(Manifest::decode(&bad).is_err(), "byte {n}");
        assert!(Manifest::decode(&good[..n]).is_err(), "cut at {n}");
    }
}

/// A correct checksum does not prove that a writer made the bytes. All accepted bytes are the one encoding of their
/// value, and no stated length makes the decoder allocate more than the bytes justify.
#[test]
fn hostile_bytes_are_refused_or_canonical() {
    let good = sample().encode();
    let mut accepted = 0;
    for n in 0..good.len() - 4 {
        for value in [0, 1, 2, 0x7f, 0x80, 0xff, good[n].wrapping_add(1)] {
            let mut bad = good.clone();
            bad[n] = value;
            reseal(&mut bad);
            if let Ok(manifest) = Manifest::decode(&bad) {
                accepted += 1;
                assert_eq!(manifest.encode(), bad, "byte {n} as {value:#x}");
            }
        }
    }
    assert!(accepted > 100, "only the checksum was checked: {accepted}");
}

#[test]
fn impossible_manifests_are_refused() {
    let refuse = |change: &dyn Fn(&mut Manifest), why: &str| {
        let mut manifest = sample();
        change(&mut manifest);
        assert_eq!(Manifest::decode(&manifest.encode()).unwrap_err(), why);
    };
    let entry = |n| SessionEntry { id: SessionId(n), day: 0, is_alone: false, process: None };
    refuse(&|m| m.sessions.reverse(), "sessions or copies are out of order");
    refuse(
        &|m| m.sessions = (0..=MAX_SESSIONS as u64).map(entry).collect(),
        "a list is longer than it can be",
    );
    refuse(&|m| m.sequence = 14, "a version is newer than the manifest");
    let line = |m: &mut Manifest, change: &dyn Fn(&mut Line)| change(Arc::make_mut(&mut m.line));
    refuse(&|m| line(m, &|line| line.horizon = 21), "a version is newer than the manifest");
    refuse(&|m| line(m, &|line| line.version = 9), "impossible versions of a line");
    refuse(&|m| line(m, &|line| line.number = 16), "impossible versions of a line");
    refuse(&|m| line(m, &|line| line.records_from = 12), "impossible versions of a line");
    refuse(&|m| line(m, &|line| line.tail.reverse()), "entries are out of order");
    refuse(&|m| Arc::make_mut(&mut m.tables).since = 10, "a page of a table that is newer than the table");
}

#[test]
fn compressed_and_encrypted_frames_are_refused_as_newer() {
    let (bytes, _) = Segment { records: vec![record(3)] }.encode();
    for at in [4, 5] {
        let mut other = bytes.clone();
        other[at] = 1;
        let body = other.len() - 4;
        let crc = checksum(&other[..body]);
        other[body..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Segment::decode(&other).unwrap_err(), NEWER);
    }
}

#[test]
fn another_number_of_lines_is_refused_as_newer() {
    let good = Manifest::absent().encode();
    // The count of lines follows those of sessions and copies, which are 0, and numbers, which is 1.
    let at = 64 + 2 + 1 + 1 + 9 + 8 + 1 + 2;
    assert_eq!(good[at - 3..=at], [1, 0, 0, 1]);
    for count in [0, 2] {
        let mut other = good.clone();
        other[at] = count;
        reseal(&mut other);
        assert_eq!(Manifest::decode(&other).unwrap_err(), NEWER);
    }
}

#[test]
fn a_segment_round_trips_and_is_the_one_that_is_named() {
    let segment = Segment { records: vec![record(13), record(15)] };
    let (bytes, crc) = segment.encode();
    let at = segment.reference(PageRef { crc, ..page(2) }).unwrap();
    assert_eq!((at.first, at.last, at.count), (13, 15, 2));
    assert_eq!(Segment::decode(&bytes).as_ref(), Ok(&segment));
    assert_eq!(Segment::decode_as(&bytes, &at), Ok(segment));
    assert!(Segment::decode_as(&bytes, &SegmentRef { last: 16, ..at }).is_err());
    assert!(Segment::decode_as(&bytes, &SegmentRef { page: page(2), ..at }).is_err());
}

fn round_trip<T: RunItem + std::fmt::Debug + PartialEq>(items: &[T], placed: u64) -> Vec<T> {
    let mut table = Table::default();
    items.iter().for_each(|item| table.push(item.clone()));
    assert!(table.absorb().is_empty());
    let (kept, new) = table.finish();
    let new = new.unwrap();
    assert!(kept.is_empty());
    let run = Run { page: PageRef { crc: new.crc, ..page(1) }, placed, first: new.first, last: new.last };
    let mut read = Table::<T>::default();
    read.load(run, &new.bytes).unwrap();
    for n in 0..new.bytes.len() {
        assert!(Table::<T>::default().load(run, &new.bytes[..n]).is_err());
    }
    read.iter().cloned().collect()
}

#[test]
fn dead_lists_round_trip_and_say_when_their_swap_was() {
    let dead = |death| Dead { place: page(3).place, birth: 4, death };
    let needless = |n| Dead { birth: n, ..dead(n) };
    assert_eq!(round_trip(&[dead(9), dead(NOW), needless(NOW)], 12), [dead(9), dead(12), needless(12)]);
    let mut bytes = frame::begin(Dead::MAGIC);
    frame::put_list(&mut bytes, &[dead(3)], Dead::encode);
    let crc = frame::end(&mut bytes);
    let run = Run { page: PageRef { crc, ..page(1) }, placed: 5, first: 0, last: 9 };
    assert_eq!(Table::<Dead>::default().load(run, &bytes).unwrap_err(), "an impossible entry of a dead list");
}

#[test]
fn eras_round_trip() {
    let mark = Mark { version: 5, number: 4, time: 8, note: Bytes::from_static(b"who") };
    let segments = vec![SegmentRef { page: page(2), first: 5, last: 12, count: 4 }];
    let root = Root { page: Some(page(1)), base: 4 };
    let era = Era { root, end: 13, segments, marks: vec![mark] };
    let first = Era { root: Root::default(), end: 4, segments: Vec::new(), marks: Vec::new() };
    assert_eq!(round_trip(&[era.clone(), first.clone()], 20), [era, first]);
}

#[test]
fn names_are_short_and_plain() {
    let long = "a".repeat(64);
    for good in ["a", "A.b_c-9", &long] {
        assert_eq!(Name::new(good).unwrap().as_str(), good);
    }
    for bad in ["", ".a", "-a", "a b", "a/b", "ä", &"a".repeat(65)] {
        assert_eq!(Name::new(bad), None, "{bad}");
    }
}
