//! Origins of copies: an origin is valid for one version of one container. After a later commit by any writer, no
//! origin is shown that is not true any more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Place, places};
use h5lake_ledger::{Access, At, CopyState, Ledger, Options, Origin, Replace, TagName, Tagging, Writers};

fn opts() -> Options {
    Options { retention: Some(Duration::from_secs(3600)), ..Options::default() }
}

fn origin() -> Origin {
    Origin { id: [7; 16], version: 12, time: 1 << 50, host: "node".into(), pid: 4711 }
}

fn commit(l: &Ledger, n: u8) -> u64 {
    l.put(b"k", vec![n; 9]).unwrap();
    l.commit().unwrap()
}

/// Creates a container that shows the origin.
fn copy(place: &Place) -> Ledger {
    let l = place.create(&opts());
    commit(&l, 1);
    l.put(b"k", "copied").unwrap();
    l.set_origin(origin()).unwrap();
    l.commit().unwrap();
    l
}

#[test]
fn an_origin_counts_until_the_next_commit() {
    for place in places() {
        let l = copy(&place);
        assert_eq!(l.copy_state().unwrap(), CopyState::Shows(origin()));
        assert_eq!(l.vacuum().map(|_| l.copy_state().unwrap()).unwrap(), CopyState::Shows(origin()));
        l.close().unwrap();
        let l = place.open(Access::ReadWrite, &opts());
        assert_eq!(l.copy_state().unwrap(), CopyState::Shows(origin()));
        let made = l.version();
        commit(&l, 2);
        let written = CopyState::Written { made };
        assert_eq!(l.copy_state().unwrap(), written);
        // Neither keeping the origin nor a tag nor an open changes the origin.
        l.keep_origin().unwrap();
        assert_eq!(l.staged_bytes(), 0);
        l.tag(TagName::new("t").unwrap(), None, Tagging::default()).unwrap();
        assert_eq!(l.copy_state().unwrap(), written);
        l.close().unwrap();
        assert_eq!(place.open(Access::ReadOnly, &opts()).copy_state().unwrap(), written);
        // The old version still shows the origin.
        let old = Options { at: Some(At::Version(made)), ..opts() };
        assert_eq!(place.open(Access::ReadOnly, &old).copy_state().unwrap(), CopyState::Shows(origin()));
    }
}

#[test]
fn tags_keep_an_origin_and_what_fails_stages_none() {
    for place in places() {
        let l = copy(&place);
        let name = TagName::new("t").unwrap();
        l.tag(name, None, Tagging::default()).unwrap();
        assert_eq!(l.copy_state().unwrap(), CopyState::Shows(origin()));
        assert!(l.tag(name, None, Tagging::default()).is_err());
        l.tag(name, None, Tagging { replace: true, ..Tagging::default() }).unwrap();
        l.untag(name).unwrap();
        assert_eq!(l.copy_state().unwrap(), CopyState::Shows(origin()));
        assert!(l.untag(name).is_err());
        assert_eq!(l.staged_bytes(), 0);
    }
}

/// The number of the next version is known only if no other writer commits.
#[test]
fn many_writers_keep_no_origin() {
    for place in places() {
        let made = copy(&place).version();
        let many = Options { writers: Writers::Many, ..opts() };
        let [a, b] = [(); 2].map(|()| place.open(Access::ReadWrite, &many));
        b.put(b"other", "x").unwrap();
        a.tag(TagName::new("t").unwrap(), None, Tagging::default()).unwrap();
        b.commit().unwrap();
        assert_eq!(b.copy_state().unwrap(), CopyState::Written { made });
        let reader = place.open(Access::ReadOnly, &opts());
        assert_eq!(reader.copy_state().unwrap(), CopyState::Written { made });
    }
}

/// The container is copied by a program that does not know origins.
#[test]
fn an_origin_is_that_of_one_container() {
    let entries = {
        let place = Place::file();
        let l = place.create(&opts());
        l.set_origin(origin()).unwrap();
        l.commit().unwrap();
        l.scan_prefix(b"", None, 10).unwrap()
    };
    for place in places() {
        let l = place.create(&opts());
        entries.iter().for_each(|(key, value)| l.put(key, value.clone()).unwrap());
        assert_eq!(l.commit().unwrap(), 1);
        assert_eq!(l.copy_state().unwrap(), CopyState::NotACopy);
        let value = l.get(b"S").unwrap().unwrap();
        l.put(b"S", value.slice(..value.len() - 1)).unwrap();
        l.commit().unwrap();
        assert!(matches!(l.copy_state().unwrap_err().kind(), h5lake_ledger::ErrorKind::Corrupt { .. }));
    }
}

/// Returns the origin that a copy of a version would record.
fn origin_at(place: &Place, version: u64) -> Option<Origin> {
    place.open(Access::ReadOnly, &Options { at: Some(At::Version(version)), ..opts() }).origin().unwrap()
}

#[test]
fn versions_are_known_by_more_than_their_numbers() {
    for (place, other) in places().into_iter().zip(places()) {
        let [l, twin] = [&place, &other].map(|p| p.try_create(Replace::Fail, &opts()).unwrap());
        let empty = place.open(Access::ReadOnly, &opts());
        assert_eq!((empty.version(), empty.origin().unwrap()), (0, None));
        (1..6).for_each(|n| assert_eq!(commit(&l, n), commit(&twin, n)));
        for version in 1..=5 {
            let [a, b] = [&place, &other].map(|p| origin_at(p, version).unwrap());
            assert_eq!((a.version, b.version), (version, version));
            assert!(a.id != b.id && a.time != b.time, "{a:?} {b:?}");
            assert_eq!(a.host, b.host);
        }
        // The origin is the same whether records or a checkpoint lead to the version.
        let before: Vec<_> = (1..=5).map(|version| origin_at(&place, version)).collect();
        l.vacuum().unwrap();
        commit(&l, 9);
        let after: Vec<_> = (1..=5).map(|version| origin_at(&place, version)).collect();
        assert_eq!(before, after);
    }
}

/// A writer commits between the opening of a reader and the query of the origin, often enough to make checkpoints.
#[test]
fn an_origin_is_that_of_the_version_in_use_whatever_is_committed_meanwhile() {
    for checkpoint_records in [1, 3, u64::MAX] {
        let many = Options { checkpoint_records, ..opts() };
        for place in places() {
            let l = place.create(&many);
            let mut readers = Vec::new();
            for n in 1..40 {
                commit(&l, n);
                readers.push(place.open(Access::ReadOnly, &many));
            }
            for r in &readers {
                let origin = r.origin().unwrap().unwrap();
                assert_eq!(origin.version, r.version());
                assert_eq!(Some(origin), origin_at(&place, r.version()));
            }
            // One reader advances.
            assert!(readers[0].refresh().unwrap());
            assert_eq!(readers[0].origin().unwrap(), origin_at(&place, l.version()));
        }
    }
}

#[test]
fn a_version_that_a_tag_alone_keeps_has_the_origin_that_it_had() {
    let short = Options { retention: Some(Duration::ZERO), checkpoint_records: 1, ..opts() };
    for place in places() {
        let l = place.create(&short);
        let tagged = commit(&l, 1);
        let before = place.open(Access::ReadOnly, &short).origin().unwrap();
        l.tag(TagName::new("t").unwrap(), None, Tagging::default()).unwrap();
        for n in 2..9 {
            commit(&l, n);
        }
        l.vacuum().unwrap();
        assert!(before.is_some());
        assert_eq!(origin_at(&place, tagged), before);
    }
}
