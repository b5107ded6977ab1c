//! Tests of a process with a wrong clock. The containers are in a directory, and its file system has a clock of its own.

use std::sync::Arc;
use std::time::Duration;

use object_stores::{DirStore, ObjectStore, dir::Sync};

use crate::clock::{self, wrong};
use crate::ledger::Ledger;
use crate::options::{Access, At, Options, Replace};

const DAY: i64 = 86_400_000_000;
const KEY: &str = "c.h5";

fn set(l: &Ledger, value: &'static str) {
    l.put(b"k", value).unwrap();
    l.commit().unwrap();
}

#[test]
fn a_wrong_clock_costs_no_version_and_no_time() {
    for days in [2, 3650, -400] {
        let dir = tempfile::tempdir().unwrap();
        let store =
            || -> Arc<dyn ObjectStore> { Arc::new(DirStore::open(dir.path(), Sync::Process).unwrap()) };
        let opts = Options { retention: Some(Duration::from_secs(3600)), ..Options::default() };
        let open =
            |access, at| Ledger::open_objects(store(), KEY, access, Options { at, ..opts.clone() }).unwrap();
        let l = Ledger::create_objects(store(), KEY, Replace::Fail, opts.clone()).unwrap();
        set(&l, "right");
        let (first, then) = (l.version(), clock::now());
        l.close().unwrap();
        std::thread::sleep(Duration::from_millis(30));
        for _ in 0..2 {
            wrong::BY.set(days * DAY);
            let l = open(Access::ReadWrite, None);
            for _ in 0..3 {
                set(&l, "wrong");
                l.vacuum().unwrap();
            }
            l.close().unwrap();
            wrong::BY.set(0);
        }
        let l = open(Access::ReadWrite, None);
        set(&l, "right again");
        l.vacuum().unwrap();
        let listed = l.versions(usize::MAX).unwrap();
        for v in listed.iter().filter(|v| v.number >= first) {
            assert!(v.time.abs_diff(clock::now()) < 60_000_000, "{days}: {v:?}");
            open(Access::ReadOnly, Some(At::Version(v.number)));
        }
        assert!(listed.iter().any(|v| v.number == first), "{days}: {listed:?}");
        let old = open(Access::ReadOnly, Some(At::Time(then)));
        assert_eq!((old.version(), old.get(b"k").unwrap().unwrap()), (first, "right".into()), "{days}");
    }
}

/// A container that is created by a process with a wrong clock.
#[test]
fn a_creation_by_a_wrong_clock_has_the_right_time() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> =
        Arc::new(DirStore::open(dir.path().join("new"), Sync::Process).unwrap());
    wrong::BY.set(3650 * DAY);
    let first = vec![("k".into(), "v".into())];
    let l = Ledger::create_objects_holding(store, KEY, Replace::Fail, Options::default(), first).unwrap();
    l.commit_to_close().unwrap();
    wrong::BY.set(0);
    assert!(l.versions(usize::MAX).unwrap().iter().all(|v| v.time.abs_diff(clock::now()) < 60_000_000));
}
