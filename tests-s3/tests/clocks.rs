//! Writers with clocks that differ much from the server's: versions have the server's time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::fresh;
use h5lake_ledger::{Access, At, Ledger, Options, Replace, Version, Writers};
use h5lake_tests_s3::{Behaviour, Server};
use object_stores::ObjectStore;

const DAY: i64 = 86_400;
const KEY: &str = "c.h5";
/// The tolerance in microseconds, for whole seconds and a slow machine.
const NEAR: u64 = 30_000_000;

fn micros(ahead: i64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
    u64::try_from(now).unwrap().saturating_add_signed(ahead * 1_000_000)
}

fn set(l: &Ledger, value: &'static str) {
    l.put(b"k", value).unwrap();
    l.commit().unwrap();
}

/// Runs the test with servers that have clocks different from this process's clock, which is ahead by a day, ahead by 5
/// years, behind by 10 years, or right.
fn with_servers(test: impl Fn(i64, &dyn Fn() -> Arc<dyn ObjectStore>)) {
    for ahead in [-DAY, -5 * 365 * DAY, 3650 * DAY, 0] {
        let server = Server::start(Behaviour { ahead, ..Behaviour::default() }).unwrap();
        test(ahead, &|| fresh(&server));
    }
}

fn check(versions: &[Version], ahead: i64) {
    assert!(!versions.is_empty());
    for v in versions {
        assert!(v.time.abs_diff(micros(ahead)) < NEAR, "{ahead}: {v:?}");
    }
}

#[test]
fn versions_have_the_server_time() {
    with_servers(|ahead, fresh| {
        for writers in [Writers::One, Writers::Many] {
            let store = fresh();
            let opts = Options { writers, retention: Some(Duration::from_secs(3600)), ..Options::default() };
            let open = |access, at| {
                Ledger::open_objects(store.clone(), KEY, access, Options { at, ..opts.clone() }).unwrap()
            };
            let l = Ledger::create_objects(store.clone(), KEY, Replace::Atomically, opts.clone()).unwrap();
            set(&l, "first");
            l.close().unwrap();
            for value in ["second", "third"] {
                let l = open(Access::ReadWrite, None);
                set(&l, value);
                // With several writers, vacuum cannot know whether objects without a reference belong to another
                // writer.
                if writers == Writers::One {
                    l.vacuum().unwrap();
                }
                l.close().unwrap();
            }
            let l = open(Access::ReadOnly, None);
            let versions = l.versions(usize::MAX).unwrap();
            check(&versions, ahead);
            for v in versions.iter().filter(|v| v.number > 0) {
                assert_eq!(open(Access::ReadOnly, Some(At::Time(v.time))).version(), v.number, "{ahead}");
            }
        }
    });
}

/// The first record is sent before the server has returned its time.
#[test]
fn the_first_version_has_the_server_time() {
    with_servers(|ahead, fresh| {
        let store = fresh();
        let first = vec![("k".into(), "v".into())];
        let opts = Options::default();
        let l = Ledger::create_objects_holding(store.clone(), KEY, Replace::Fail, opts, first).unwrap();
        l.commit_to_close().unwrap();
        drop(l);
        let l = Ledger::open_objects(store, KEY, Access::ReadOnly, Options::default()).unwrap();
        assert_eq!(l.get(b"k").unwrap().unwrap(), "v");
        check(&l.versions(usize::MAX).unwrap(), ahead);
    });
}

/// A proxy's or a broken server's time is ignored.
#[test]
fn a_store_knows_the_time_after_its_first_answer() {
    let server = Server::start(Behaviour { ahead: 2 * DAY, ..Behaviour::default() }).unwrap();
    let store = fresh(&server);
    assert_eq!(store.clock(), None);
    server.take_requests();
    store.list_page("", None, 1).unwrap();
    let shown = store.clock().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert!(u64::try_from(shown.as_micros()).unwrap().abs_diff(micros(2 * DAY)) < NEAR, "{shown:?}");
    assert_eq!(server.take_requests().len(), 1, "it costs no request");
}
