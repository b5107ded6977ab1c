//! Compares tagged versions with a model: each keeps its content through commits, reclamation and crashes, until its
//! tag is deleted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::work::{Map, content, stage};
use common::{Place, places};
use h5lake_ledger::{Access, At, ErrorKind, Ledger, LockPolicy, Options, Tag, TagName, Tagging, Writers};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Op {
    Commit(u8),
    /// Tags the version that is this many versions before the newest, under one of a few names.
    Tag(u8, u8),
    Untag(u8),
    Vacuum,
    Reopen,
    Crash,
    Look,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (1u8..8).prop_map(Op::Commit),
        3 => (0u8..3, 0u8..4).prop_map(|(name, back)| Op::Tag(name, back)),
        1 => (0u8..3).prop_map(Op::Untag),
        1 => Just(Op::Vacuum),
        1 => Just(Op::Reopen),
        1 => Just(Op::Crash),
        2 => Just(Op::Look),
    ]
}

fn name(text: &str) -> TagName {
    TagName::new(text).unwrap()
}

struct Run {
    place: Place,
    opts: Options,
    writers: Vec<Ledger>,
    /// The states, indexed by version.
    states: Vec<Map>,
    tags: BTreeMap<TagName, u64>,
    turn: usize,
}

impl Run {
    fn new(place: Place, opts: Options) -> Self {
        let mut writers = vec![place.create(&opts)];
        if opts.writers == Writers::Many {
            writers.push(place.open(Access::ReadWrite, &opts));
        }
        Run { place, opts, writers, states: vec![Map::new()], tags: BTreeMap::new(), turn: 0 }
    }

    fn at(&self, at: At) -> h5lake_ledger::Result<Ledger> {
        self.place.try_open(Access::ReadOnly, &Options { at: Some(at), cache_bytes: 0, ..self.opts.clone() })
    }

    /// Returns the next writer in turn, at the newest version.
    fn writer(&mut self) -> &Ledger {
        self.turn = (self.turn + 1) % self.writers.len();
        if self.writers.len() > 1 {
            let advanced = self.writers[self.turn].advance(&|_| false);
            if advanced.is_err_and(|e| *e.kind() == ErrorKind::Gone) {
                self.writers[self.turn] = self.place.open(Access::ReadWrite, &self.opts);
            }
        }
        &self.writers[self.turn]
    }

    fn commit(&mut self) {
        let (mut state, n) = (self.states.last().unwrap().clone(), self.states.len() as u64);
        let l = self.writer();
        stage(l, &mut state, n).unwrap();
        if l.commit().unwrap() == n {
            self.states.push(state);
        }
    }

    fn tag(&mut self, n: u8, back: u8) {
        let newest = self.states.len() as u64 - 1;
        let asked = newest.saturating_sub(u64::from(back));
        let (name, number) = (name(&format!("tag-{n}")), asked.max(1));
        if newest == 0 {
            return;
        }
        let known: Vec<u64> = self.tags.values().copied().collect();
        match self.writer().tag(
            name,
            Some(At::Version(number)),
            Tagging { replace: true, ..Tagging::default() },
        ) {
            Ok(tag) => {
                assert_eq!(tag.version.unwrap().number, number);
                self.tags.insert(name, number);
                self.note_version_of_a_tag();
            }
            Err(e) => {
                let is_missing = matches!(e.kind(), ErrorKind::NoSuchVersion { .. });
                assert!(
                    is_missing && number < newest && !known.contains(&number),
                    "{number} of {newest}: {e}"
                );
                // Another writer of a file may have reclaimed the version first. The tag was then made and deleted.
                let now = self.place.open(Access::ReadOnly, &self.opts).version() as usize;
                self.states.resize(now + 1, self.states.last().unwrap().clone());
                self.tags.retain(|n, _| *n != name || now as u64 == newest);
            }
        }
    }

    /// Records a change of the tags. It makes a version in a file; in a store it only changes the manifest.
    fn note_version_of_a_tag(&mut self) {
        if matches!(self.place, Place::File(..)) {
            self.states.push(self.states.last().unwrap().clone());
        }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Commit(n) => (0..n).for_each(|_| self.commit()),
            Op::Tag(n, back) => self.tag(n, back),
            Op::Untag(n) => {
                let name = name(&format!("tag-{n}"));
                let there = self.tags.remove(&name).is_some();
                match self.writer().untag(name) {
                    Ok(()) => self.note_version_of_a_tag(),
                    Err(e) => assert!(!there && matches!(e.kind(), ErrorKind::NoSuchTag { .. }), "{e}"),
                }
            }
            Op::Vacuum if self.writers.len() > 1 => (),
            Op::Vacuum => drop(self.writer().vacuum().unwrap()),
            Op::Reopen => {
                self.writers.drain(..).for_each(|l| l.close().unwrap());
                self.open_writers();
            }
            Op::Crash => self.crash(),
            Op::Look => self.look(),
        }
    }

    fn open_writers(&mut self) {
        let count = if self.opts.writers == Writers::Many { 2 } else { 1 };
        self.writers = (0..count).map(|_| self.place.open(Access::ReadWrite, &self.opts)).collect();
    }

    fn crash(&mut self) {
        if let Place::File(_, path) = &self.place {
            // The state after the death of a process. The lock stays with the file that has lost its name.
            let copy = path.with_extension("copy");
            std::fs::copy(path, &copy).unwrap();
            std::fs::rename(&copy, path).unwrap();
        }
        std::mem::forget(std::mem::take(&mut self.writers));
        self.open_writers();
    }

    fn look(&self) {
        let newest = self.place.open(Access::ReadOnly, &self.opts);
        assert!(content(&newest).unwrap() == *self.states.last().unwrap(), "the newest");
        let listed: BTreeMap<TagName, u64> =
            newest.tags().unwrap().into_iter().map(|tag| (tag.name, tag.version.unwrap().number)).collect();
        assert_eq!(listed, self.tags);
        for (name, number) in &self.tags {
            for at in [At::Tag(*name), At::Version(*number)] {
                let old = self.at(at).unwrap();
                assert_eq!(old.version(), *number, "{name}");
                assert!(
                    content(&old).unwrap() == self.states[*number as usize],
                    "{name} of version {number}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_tagged_version_is_unchanged(
        ops in proptest::collection::vec(op(), 1..30),
        checkpoint_bytes in prop_oneof![Just(0u64), Just(3000), Just(1 << 20)],
        spill_bytes in prop_oneof![Just(900u64), Just(u64::MAX)],
        writers in prop_oneof![Just(Writers::One), Just(Writers::Many)],
        retention in prop_oneof![Just(Some(Duration::ZERO)), Just(Some(Duration::from_millis(5))), Just(None)],
    ) {
        for place in places() {
            // A crash leaves a lease in a store. No writer competes for the lease here.
            let lock = if matches!(place, Place::File(..)) || writers == Writers::Many { LockPolicy::Required } else { LockPolicy::Off };
            let mut r = Run::new(place, Options { checkpoint_bytes, spill_bytes, retention, lock, writers, ..Options::default() });
            for op in &ops {
                r.step(*op);
            }
            r.look();
        }
    }
}

fn eager() -> Options {
    Options { retention: Some(Duration::ZERO), checkpoint_bytes: 20_000, ..Options::default() }
}

/// Replaces a payload of 100,000 bytes, `times` times.
fn overwrite(l: &Ledger, times: u64) {
    for n in 0..times {
        let old = l.get(b"payload").unwrap().map(|v| h5lake_ledger::Extent::decode(&v[1..]).unwrap().0);
        let new = l.write_payload(&common::work::data(n, 100_000)).unwrap();
        let mut value = vec![1];
        new.encode(&mut value);
        l.put(b"payload", value).unwrap();
        old.iter().for_each(|old| l.free_payload(old).unwrap());
        l.commit().unwrap();
    }
}

#[test]
fn an_old_tag_holds_its_own_space_and_no_more() {
    for place in places() {
        let l = place.create(&eager());
        overwrite(&l, 3);
        let tag = l.tag(name("paper"), None, Tagging::default()).unwrap();
        let before = l.size().unwrap();
        overwrite(&l, 100);
        l.vacuum().unwrap();
        let after = l.size().unwrap();
        // Objects in a store in memory are deleted a while after they are not needed any more.
        assert!(after < before + 1_500_000, "{before} bytes, then {after} with a tag of {}", tag.bytes);
        assert!((100_000..=before).contains(&l.held_bytes().unwrap()), "{}", l.held_bytes().unwrap());
        let at = Options { at: Some(At::Tag(name("paper"))), ..eager() };
        let content_of = |l: &Ledger| content(l).unwrap()[&b"payload"[..]].clone();
        assert_eq!(content_of(&place.open(Access::ReadOnly, &at)), common::work::data(2, 100_000));
        l.untag(name("paper")).unwrap();
        l.vacuum().unwrap();
        assert_eq!(l.held_bytes().unwrap(), 0);
        overwrite(&l, 20);
        l.vacuum().unwrap();
        let e = place.try_open(Access::ReadOnly, &at).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::NoSuchTag { .. }), "{e}");
        assert!(l.size().unwrap() < before + 200_000, "{} of {before}", l.size().unwrap());
    }
}

/// A store has no record of the readers of a tagged version.
#[test]
fn the_error_of_a_reader_mentions_the_deleted_tag() {
    for place in places().into_iter().filter(|place| !matches!(place, Place::File(..))) {
        let l = place.create(&eager());
        overwrite(&l, 3);
        l.tag(name("paper"), None, Tagging::default()).unwrap();
        let at = Options { at: Some(At::Tag(name("paper"))), cache_bytes: 0, ..eager() };
        let reader = place.open(Access::ReadOnly, &at);
        overwrite(&l, 30);
        l.vacuum().unwrap();
        content(&reader).unwrap();
        l.untag(name("paper")).unwrap();
        overwrite(&l, 30);
        l.vacuum().unwrap();
        let error = content(&reader).unwrap_err().to_string();
        assert!(error.contains("the tag that kept this version was deleted"), "{error}");
    }
}

/// Each commit is checkpointed at once, and reclaims space. A writer must not take the commit of its tag for another
/// writer's commit.
#[test]
fn a_shared_writer_tags_the_newest_version() {
    for place in places() {
        let opts = Options { writers: Writers::Many, checkpoint_bytes: 0, ..eager() };
        let l = place.create(&opts);
        for n in 0..20 {
            overwrite(&l, 1);
            let tag = l.tag(name("newest"), None, Tagging { replace: true, ..Tagging::default() }).unwrap();
            // A change of the tags of a file is a version.
            let versions_of_a_round = if matches!(place, Place::File(..)) { 2 } else { 1 };
            assert_eq!(tag.version.unwrap().number, versions_of_a_round * n + 1);
        }
    }
}

#[test]
fn tags_are_refused_with_a_reason() {
    for place in places() {
        let l = place.create(&eager());
        overwrite(&l, 30);
        let kind = |e: h5lake_ledger::Error| e.kind().clone();
        l.tag(name("a"), None, Tagging::default()).unwrap();
        let taken = kind(l.tag(name("a"), None, Tagging::default()).unwrap_err());
        assert!(matches!(taken, ErrorKind::TagExists { version: 30, .. }), "{taken:?}");
        let gone = kind(l.tag(name("b"), Some(At::Version(99)), Tagging::default()).unwrap_err());
        assert!(matches!(gone, ErrorKind::NoSuchVersion { .. }), "{gone:?}");
        let missing = kind(l.untag(name("b")).unwrap_err());
        assert!(matches!(&missing, ErrorKind::NoSuchTag { tags, .. } if tags[..] == ["a"]), "{missing:?}");
        l.put(b"k", "staged").unwrap();
        assert!(matches!(
            kind(l.tag(name("b"), None, Tagging::default()).unwrap_err()),
            ErrorKind::Invalid { .. }
        ));
        l.rollback().unwrap();
        // A version that is retained only by a tag can get another name.
        overwrite(&l, 30);
        l.tag(name("b"), Some(At::Version(30)), Tagging::default()).unwrap();
        l.untag(name("a")).unwrap();
        overwrite(&l, 30);
        let at = Options { at: Some(At::Tag(name("b"))), ..eager() };
        assert_eq!(place.open(Access::ReadOnly, &at).version(), 30);
        let e = place.try_open(Access::ReadWrite, &at).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::OldVersion { .. }), "{e}");
    }
}

#[test]
fn a_tag_goes_when_its_time_is_over_and_not_before() {
    let many = Options { writers: Writers::Many, ..eager() };
    let both =
        [eager(), many].into_iter().flat_map(|opts| places().into_iter().map(move |p| (p, opts.clone())));
    for (place, opts) in both {
        let l = place.create(&opts);
        overwrite(&l, 3);
        let keep = |seconds| Tagging { keep: Some(Duration::from_secs(seconds)), ..Tagging::default() };
        let over = l.tag(name("over"), None, keep(0)).unwrap();
        let later = l.tag(name("later"), Some(At::Version(3)), keep(3_600)).unwrap();
        l.tag(name("for-ever"), Some(At::Tag(name("over"))), Tagging::default()).unwrap();
        let lasts = |tag: &h5lake_ledger::Tag| tag.until.unwrap() - tag.tagged;
        assert_eq!((lasts(&over), lasts(&later)), (0, 3_600_000_000));
        overwrite(&l, 5);
        assert_eq!(l.delete_ended_tags().unwrap(), [name("over")]);
        let version = l.version();
        assert!(l.delete_ended_tags().unwrap().is_empty());
        assert_eq!(l.version(), version, "nothing is committed for nothing");
        let left = l.tags().unwrap();
        let left: Vec<_> = left.iter().map(|tag| (tag.name.as_str(), tag.until.is_some())).collect();
        assert_eq!(left, [("for-ever", false), ("later", true)]);
        let at = Options { at: Some(At::Tag(name("later"))), ..eager() };
        assert_eq!(place.open(Access::ReadOnly, &at).version(), 3);
        l.put(b"k", "staged").unwrap();
        l.untag(name("later")).unwrap_err();
        l.rollback().unwrap();
        // A retention time without an end is limited to the latest possible time.
        let long = Tagging { replace: true, keep: Some(Duration::MAX) };
        assert_eq!(l.tag(name("later"), None, long).unwrap().until, Some(1 << 61));
    }
}

/// A failed publication is withdrawn by its maker, unless another publication of the version was made meanwhile.
#[test]
fn a_publication_is_withdrawn_by_its_maker_only_while_nobody_else_needs_it() {
    for writers in [Writers::One, Writers::Many] {
        for place in places() {
            let opts = Options { writers, ..eager() };
            let l = place.create(&opts);
            overwrite(&l, 3);
            let made = l.publish(None).unwrap();
            let version = made.tag.version.as_ref().unwrap().number;
            assert_eq!((made.is_new, version), (true, 3));
            let another = (writers == Writers::Many).then(|| place.open(Access::ReadWrite, &opts));
            let again = another.as_ref().unwrap_or(&l).publish(Some(At::Version(version))).unwrap();
            assert!(!again.is_new && again.tag.tagged > made.tag.tagged, "{again:?} after {made:?}");
            assert_eq!(
                Tag { tagged: made.tag.tagged, ..again.tag.clone() },
                made.tag,
                "nothing else changes"
            );
            let before = place.open(Access::ReadOnly, &opts).version();
            assert!(!l.untag_if_unchanged(&made.tag).unwrap(), "the other one needs it");
            let r = place.open(Access::ReadOnly, &opts);
            assert_eq!((r.version(), r.tags().unwrap()), (before, vec![again.tag.clone()]));
            // Overwritten data is retained as long as the later publication exists.
            overwrite(&l, 20);
            let old = Options { at: Some(At::Version(version)), ..opts.clone() };
            let payload = content(&place.open(Access::ReadOnly, &old)).unwrap()[&b"payload"[..]].clone();
            assert_eq!(payload, common::work::data(2, 100_000));
            assert!(l.untag_if_unchanged(&again.tag).unwrap());
            assert!(l.tags().unwrap().is_empty() && !l.untag_if_unchanged(&again.tag).unwrap());
        }
    }
}

#[test]
fn a_tag_that_cannot_be_read_holds_everything() {
    for place in places().into_iter().filter(|place| matches!(place, Place::File(..))) {
        let l = place.create(&eager());
        overwrite(&l, 3);
        l.tag(name("good"), None, Tagging::default()).unwrap();
        l.put(b"Tbad", &b"hostile bytes"[..]).unwrap();
        l.commit().unwrap();
        l.close().unwrap();
        let l = place.open(Access::ReadWrite, &eager());
        let before = l.size().unwrap();
        overwrite(&l, 30);
        l.vacuum().unwrap();
        assert!(l.size().unwrap() > before + 2_500_000, "nothing is reclaimed");
        let listed: Vec<bool> = l.tags().unwrap().iter().map(|tag| tag.version.is_some()).collect();
        assert_eq!(listed, [false, true]);
        let bad = Options { at: Some(At::Tag(name("bad"))), ..eager() };
        let e = place.try_open(Access::ReadOnly, &bad).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::Corrupt { .. }), "{e}");
        l.untag(name("bad")).unwrap();
        l.vacuum().unwrap();
        overwrite(&l, 5);
        l.vacuum().unwrap();
        assert!(l.size().unwrap() < before + 1_500_000, "{} of {before}", l.size().unwrap());
        let good = Options { at: Some(At::Tag(name("good"))), ..eager() };
        assert_eq!(place.open(Access::ReadOnly, &good).version(), 3);
    }
}

#[test]
fn a_reader_keeps_its_version_after_the_tag_is_deleted() {
    let place = Place::file();
    let l = place.create(&eager());
    overwrite(&l, 3);
    l.tag(name("paper"), None, Tagging::default()).unwrap();
    overwrite(&l, 10);
    let at = Options { at: Some(At::Tag(name("paper"))), cache_bytes: 0, ..eager() };
    let old = place.open(Access::ReadOnly, &at);
    l.untag(name("paper")).unwrap();
    overwrite(&l, 30);
    assert_eq!(content(&old).unwrap()[&b"payload"[..]], common::work::data(2, 100_000));
    old.close().unwrap();
}
