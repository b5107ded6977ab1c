//! Origins of copies: they count for one version of one container, and nothing that is committed later, by whomever,
//! keeps one that is not true.
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

/// A container that shows the origin.
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
        // Not by keeping it, nor by a tag, nor for one who opens it.
        l.keep_origin().unwrap();
        assert_eq!(l.staged_bytes(), 0);
        l.tag(TagName::new("t").unwrap(), None, Tagging::default()).unwrap();
        assert_eq!(l.copy_state().unwrap(), written);
        l.close().unwrap();
        assert_eq!(place.open(Access::ReadOnly, &opts()).copy_state().unwrap(), written);
        // The old version shows it still.
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

/// A number of a version is known when nobody else commits.
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

/// As a build copies it that does not know what it is.
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

#[test]
fn versions_are_known_by_more_than_their_numbers() {
    for (place, other) in places().into_iter().zip(places()) {
        let [l, twin] = [&place, &other].map(|p| p.try_create(Replace::Fail, &opts()).unwrap());
        (1..6).for_each(|n| assert_eq!(commit(&l, n), commit(&twin, n)));
        for version in 1..=5 {
            let [a, b] = [&l, &twin].map(|l| l.origin_of(version).unwrap().unwrap());
            assert_eq!((a.version, b.version), (version, version));
            assert!(a.id != b.id && a.time != b.time, "{a:?} {b:?}");
            assert_eq!(a.host, b.host);
        }
        assert_eq!(l.origin_of(6).unwrap(), None);
        // The same whether records or a base lead to it.
        let before: Vec<_> = (1..=5).map(|version| l.origin_of(version).unwrap()).collect();
        l.vacuum().unwrap();
        commit(&l, 9);
        let after: Vec<_> = (1..=5).map(|version| l.origin_of(version).unwrap()).collect();
        assert_eq!(before, after);
    }
}
