//! Tests of sessions, event by event. The simulator tests schedules of several sessions.

use std::sync::Arc;

use bytes::Bytes;

use super::apply::apply;
use super::change::{By, Change, Commit, NewContainer, Reject};
use super::events::{Action, Event, Outcome};
use super::ids::{ContainerId, Nonce, ObjectId, SessionId};
use super::manifest::Manifest;
use super::records::{Data, Gained, Notes, Segment, SegmentRef, Segments};
use super::session::{Entry, Mode, Session, State};
use crate::address::{Address, PageRef};

const ID: ContainerId = ContainerId([1; 16]);

fn by(session: u64, count: u64) -> By {
    By { container: ID, nonce: Nonce { session: SessionId(session), count }, is_alone: false, process: None }
}

fn commit(on: u64, segment: Option<SegmentRef>) -> Change {
    Change::Commit(Box::new(Commit {
        on,
        time: 1,
        note: Bytes::new(),
        data: Data { notes: Notes::default(), author: Bytes::new(), entries: Bytes::from_static(&[0]) },
        other_sessions: Vec::new(),
        stored: None,
        numbers: None,
        joins: None,
        leaves: false,
        closes: false,
        segment,
        members: Vec::new(),
        conditions: Vec::new(),
        segments: Segments::default(),
        tables: None,
    }))
}

/// Returns a session that knows a manifest.
fn session(mode: Mode, on: &Arc<Manifest>) -> Session<u64> {
    let mut session = Session::new(SessionId(1), ID, mode);
    assert!(session.step(Event::Loaded(on.clone(), on.sequence)).is_empty());
    session
}

fn empty() -> Arc<Manifest> {
    Arc::new(Manifest { id: ID, ..Manifest::absent() })
}

fn next(m: &Manifest, change: &Change, by: &By) -> Arc<Manifest> {
    Arc::new(apply(m, change, by).unwrap())
}

/// Submits a change and returns the manifest of its swap.
fn swapped(session: &mut Session<u64>, change: Change) -> Arc<Manifest> {
    match &session.step(Event::Submit(change))[..] {
        [Action::Swap { manifest, .. }] => manifest.clone(),
        other => panic!("{other:?}"),
    }
}

fn reported(actions: &[Action<u64>]) -> &Outcome {
    match actions {
        [Action::Report(outcome)] => outcome,
        other => panic!("{other:?}"),
    }
}

/// Returns a segment of the inline records, under the name of an object.
fn segment(m: &Manifest, number: u64) -> (SegmentRef, Segments) {
    let segment: Segment = m.line.segment(u64::MAX).unwrap();
    let object = ObjectId { session: SessionId(2), number };
    let (bytes, crc) = segment.encode();
    let place = Address { location: object.page(), offset: 0, length: bytes.len() as u64 };
    let at = segment.reference(PageRef { place, crc }).unwrap();
    let mut read = Segments::default();
    read.insert(&at, Arc::new(segment));
    (at, read)
}

#[test]
fn a_commit_names_payloads_of_listed_sessions_only() {
    let joined = |session, on: &Arc<Manifest>| next(on, &Change::Join { day: 1 }, &by(session, 1));
    let object = ObjectId { session: SessionId(2), number: 1 };
    let Change::Commit(mut change) = commit(0, None) else { unreachable!("it is a commit") };
    change.data.notes.gained = vec![Gained { object, bytes: 5, stood: 1 }];
    change.other_sessions = vec![SessionId(2)];
    let change = Change::Commit(change);
    let first = joined(1, &empty());
    assert_eq!(apply(&first, &change, &by(1, 2)), Err(Reject::NotListed));
    let both = joined(2, &first);
    assert!(apply(&both, &change, &by(1, 2)).is_ok());
    let expelled = Change::Expel { sessions: vec![SessionId(2)], copies: Vec::new() };
    let expelled = next(&both, &expelled, &by(1, 3));
    assert_eq!(apply(&expelled, &change, &by(1, 2)), Err(Reject::NotListed));
}

#[test]
fn a_doubt_waits_for_every_segment_behind_the_view() {
    let joined = next(&empty(), &Change::Join { day: 1 }, &by(2, 1));
    let mut writer = session(Mode::Shared, &joined);
    let mine = swapped(&mut writer, commit(0, None));
    assert!(matches!(writer.step(Event::Doubt)[..], [Action::Load]));
    let (first, first_read) = segment(&mine, 1);
    let other = next(&mine, &commit(mine.sequence, Some(first)), &by(2, 2));
    let (second, second_read) = segment(&other, 2);
    let newest = next(&other, &commit(other.sequence, Some(second)), &by(2, 3));
    let asked = |actions: &[Action<u64>]| match actions {
        [Action::Read(segments)] => segments.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(&writer.step(Event::Loaded(newest.clone(), 9))), [first, second]);
    assert_eq!(asked(&writer.step(Event::Read(second_read))), [first]);
    let actions = writer.step(Event::Read(first_read));
    assert_eq!(reported(&actions), &Outcome::Done { sequence: Some(mine.sequence), numbers: None });
}

#[test]
fn only_the_same_bytes_follow_a_doubt_while_the_token_is_the_same() {
    let on = empty();
    let mut writer = session(Mode::Shared, &on);
    let sent = swapped(&mut writer, commit(0, None));
    writer.step(Event::Doubt);
    let again = writer.step(Event::Loaded(on.clone(), on.sequence));
    assert!(matches!(&again[..], [Action::Swap { manifest, .. }] if *manifest == sent));
    writer.step(Event::Abandon);
    writer.step(Event::Doubt);
    let cancel = writer.step(Event::Loaded(on.clone(), on.sequence));
    let Some(Action::Swap { over: 0, manifest }) = cancel.first() else { panic!("{cancel:?}") };
    assert!(manifest.line.tail[0].parts[0].is_cancelled());
    assert_eq!(reported(&writer.step(Event::Swapped(1))), &Outcome::NotCommitted);
}

#[test]
fn a_refused_swap_changed_nothing_unless_the_same_bytes_were_sent_before() {
    let on = empty();
    let mut writer = session(Mode::Exclusive, &on);
    swapped(&mut writer, commit(0, None));
    assert_eq!(reported(&writer.step(Event::Refused)), &Outcome::NotCommitted);
    swapped(&mut writer, commit(0, None));
    writer.step(Event::Doubt);
    assert!(matches!(writer.step(Event::Loaded(on.clone(), on.sequence))[..], [Action::Swap { .. }]));
    assert!(matches!(writer.step(Event::Refused)[..], [Action::Load]), "the first one may arrive yet");
    assert!(matches!(writer.state(), State::Doubt(_)));
}

#[test]
fn a_container_is_made_with_its_session_and_its_first_version() {
    let first = Some((7, Bytes::from_static(b"who"), Bytes::from_static(&[0])));
    let new = NewContainer {
        id: ID,
        retention: 9,
        joins: Some(3),
        first,
        has_sources: true,
        ..NewContainer::default()
    };
    let mut writer = Session::new(SessionId(1), ContainerId::ABSENT, Mode::Exclusive);
    writer.step(Event::Loaded(Arc::new(Manifest::absent()), 0));
    let made = swapped(&mut writer, Change::Create(Box::new(new)));
    assert!(made.lists(SessionId(1)) && made.has_sources && made.line.retention == 9);
    assert_eq!((made.line.number, made.line.version), (1, made.sequence));
    writer.step(Event::Swapped(1));
    assert_eq!((writer.entry(), writer.container()), (Entry::Listed, ID));
    assert!(writer.next_object().is_some());
}

/// A commit to the absent container would take effect again after the next deletion, because every deletion leaves the same absent
/// container.
#[test]
fn nothing_is_committed_to_a_container_that_is_absent() {
    let absent = Arc::new(Manifest::absent());
    let mut writer = Session::new(SessionId(1), ContainerId::ABSENT, Mode::Shared);
    writer.step(Event::Loaded(absent, 0));
    for change in
        [commit(0, None), Change::Join { day: 1 }, Change::Numbers { on: 0, least: 0, count: 1, joins: None }]
    {
        assert_eq!(reported(&writer.step(Event::Submit(change))), &Outcome::Rejected(Reject::Replaced));
    }
    let create = Change::Create(Box::new(NewContainer { id: ID, created: 5, ..NewContainer::default() }));
    assert_eq!(swapped(&mut writer, create).id, ID);
}

#[test]
fn another_version_fences_an_exclusive_writer_and_is_merged_by_a_shared_one() {
    let on = empty();
    let other = next(&on, &commit(0, None), &by(2, 1));
    for mode in [Mode::Exclusive, Mode::Shared] {
        let mut writer = session(mode, &on);
        swapped(&mut writer, commit(0, None));
        writer.step(Event::Doubt);
        let actions = writer.step(Event::Loaded(other.clone(), 7));
        match mode {
            Mode::Exclusive => {
                assert_eq!(reported(&actions), &Outcome::Fenced);
                assert_eq!(*writer.state(), State::Fenced);
                assert!(writer.step(Event::Submit(commit(1, None))).is_empty());
            }
            Mode::Shared => {
                assert!(matches!(&actions[..], [Action::Prepare { why: Reject::Moved, .. }]), "{actions:?}");
                let again = writer.step(Event::Prepared(commit(other.sequence, None)));
                assert!(matches!(&again[..], [Action::Swap { over: 7, .. }]), "{again:?}");
            }
        }
    }
}

#[test]
fn a_session_puts_objects_after_it_has_joined_and_never_joins_again() {
    let on = empty();
    let mut writer = session(Mode::Shared, &on);
    assert_eq!(writer.next_object(), None);
    assert_eq!(writer.day_to_join(5), Some(5));
    let joined = swapped(&mut writer, Change::Join { day: 5 });
    assert_eq!(writer.next_object(), None);
    writer.step(Event::Swapped(1));
    assert_eq!((writer.entry(), writer.day_to_join(5)), (Entry::Listed, None));
    assert_eq!(writer.next_object(), Some(ObjectId { session: SessionId(1), number: 1 }));
    let again = writer.step(Event::Submit(Change::Join { day: 5 }));
    assert_eq!(reported(&again), &Outcome::Rejected(Reject::NotListed));
    let expel = Change::Expel { sessions: vec![SessionId(1)], copies: Vec::new() };
    let expelled = next(&joined, &expel, &by(2, 1));
    writer.step(Event::Loaded(expelled.clone(), 2));
    let place =
        Address { location: ObjectId { session: SessionId(1), number: 1 }.page(), offset: 0, length: 9 };
    let fold = Change::FoldTags {
        page: Some(PageRef { place, crc: 1 }),
        seen: Box::new((*expelled.references).clone()),
    };
    assert_eq!(reported(&writer.step(Event::Submit(fold))), &Outcome::Expelled);
    assert_eq!(writer.next_object(), None);
    assert_eq!(*writer.state(), State::Expelled);
}
