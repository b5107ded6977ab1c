//! Group commits of the writers of a remote store.

use super::many::{all, apart, check, chunked, find, open, options, part, there, writers_that};
use super::*;
use object_stores::{LatencyStore, MemoryStore, ObjectStoreExt, Pace};
use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const WRITERS: u64 = 8;
const COMMITS: u64 = 12;
const CHUNK: u64 = 50;

fn far() -> (Place, Arc<MemoryStore>) {
    let inner = Arc::new(MemoryStore::new());
    let pace = Pace { per_request: Duration::from_millis(4), ..Pace::default() };
    let store = Arc::new(LatencyStore::new(inner.clone(), pace));
    let target = Target::Objects { store, key: "c.h5".into(), url: "far".into() };
    (Place::at(target), inner)
}

/// Returns the number of queued commits in the store.
fn queued(store: &MemoryStore) -> usize {
    store.list("", None).filter(|object| object.as_ref().unwrap().key.as_str().contains("/queue/")).count()
}

/// Runs a writer that changes its chunk, an attribute of its own group, and every third time an element that all
/// writers change.
fn write(p: &Place, n: u64, together: &Barrier, conflicts: &AtomicU64) {
    let c = Container::open_apart(&p.target, Access::ReadWrite, &options()).unwrap();
    let d = open(&c, b"d");
    let own = find(&c, format!("g{n}").as_bytes());
    let attribute = c.attr_open(own, b"x").unwrap();
    together.wait();
    for turn in 1..=COMMITS {
        loop {
            let value = [turn as u8; 4 * CHUNK as usize];
            d.write(&part(n * CHUNK, CHUNK), &value).unwrap();
            match turn % 3 {
                0 => d.write(&part(WRITERS * CHUNK, 1), &[n as u8; 4]).unwrap(),
                1 => attribute.write(&[turn as u8]).unwrap(),
                _ => (),
            }
            match c.flush() {
                Ok(()) => break,
                Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict, "{e}"),
            }
            conflicts.fetch_add(1, Ordering::Relaxed);
        }
        // Committed elements are visible to their writer, and no other writer changes them.
        assert!(all(&d)[(4 * n * CHUNK) as usize..][..4 * CHUNK as usize].iter().all(|b| *b == turn as u8));
    }
}

#[test]
fn disjoint_commits_are_grouped_and_overlapping_ones_are_merged_or_refused() {
    let (p, store) = far();
    let c = p.create_with(options());
    dataset(&c, b"d", chunked((WRITERS + 1) * CHUNK, CHUNK, true));
    for n in 0..WRITERS {
        let g = group(&c, c.root(), format!("g{n}").as_bytes(), CreationOrder::default());
        c.attr_create(g, b"x", attr_spec(1, 1)).unwrap().write(&[0]).unwrap();
    }
    c.flush().unwrap();
    drop(c);
    let (together, conflicts) = (Barrier::new(WRITERS as usize), AtomicU64::new(0));
    std::thread::scope(|s| {
        for n in 0..WRITERS {
            let (p, together, conflicts) = (&p, &together, &conflicts);
            s.spawn(move || write(p, n, together, conflicts));
        }
    });
    let c = check(&p);
    let found = all(&open(&c, b"d"));
    assert!(found[..4 * (WRITERS * CHUNK) as usize].iter().all(|b| *b == COMMITS as u8));
    for n in 0..WRITERS {
        let value = c.attr_open(find(&c, format!("g{n}").as_bytes()), b"x").unwrap().read().unwrap();
        assert_eq!(value[..], [10]);
    }
    // Each successful flush is in a version; most share their version with other flushes.
    let versions = c.ledger.version();
    assert!(versions < WRITERS * COMMITS, "{versions} versions");
    assert!(conflicts.into_inner() > 0, "the element of all was fought for");
    assert_eq!(queued(&store), 0, "nothing is left in the queue");
}

/// Commits `between` by another writer after a writer has read the remote commits and before its own queued commit.
fn queue_around(p: &Place, b: &Container, between: impl Fn()) -> Result<()> {
    // Commits on even versions are queued in tests.
    while !b.ledger.version().is_multiple_of(2) {
        let other = apart(p);
        other.set_comment(other.root(), Some(&[b'0' + b.ledger.version() as u8 % 10])).unwrap();
        other.flush().unwrap();
        b.ledger.advance(&|_| false).unwrap();
    }
    let is_first = Cell::new(true);
    b.commit_shared(&|_| {
        if is_first.replace(false) {
            between();
        }
        Ok(())
    })
    .flatten()
}

fn deep(c: &Arc<Container>) {
    let above = group(c, c.root(), b"g0", CreationOrder::default());
    let g = group(c, above, b"in", CreationOrder::default());
    let d = c.create_dataset(chunked(10, 10, false)).unwrap();
    c.link_create(g, b"d", LinkTarget::Hard(d.id()), CharSet::Utf8).unwrap();
    d.container().dataset(d.id()).unwrap().write(&Selection::All, &[1; 40]).unwrap();
    group(c, c.root(), b"other", CreationOrder::default());
}

/// The record of the deletion mentions neither the dataset nor the group that it is in.
#[test]
fn a_write_below_a_remotely_deleted_group_is_a_conflict() {
    for is_open in [true, false] {
        for is_moved in [true, false] {
            let p = memory();
            let [a, b] = writers_that(&p, OnConflict::Merge, deep);
            if is_moved {
                a.link_move(a.root(), b"g0", find(&a, b"other"), b"moved", None).unwrap();
                a.flush().unwrap();
                b.refresh().unwrap();
            }
            let path: &[u8] = if is_moved { b"other/moved" } else { b"g0" };
            let d = open(&b, &[path, b"/in/d"].concat());
            d.write(&Selection::All, &[2; 40]).unwrap();
            let held = is_open.then(|| a.open_object(find(&a, path)).unwrap());
            let e = queue_around(&p, &b, || {
                let name: &[u8] = if is_moved { b"other" } else { b"g0" };
                a.link_delete(a.root(), name).unwrap();
                a.flush().unwrap();
            });
            let e = e.unwrap_err();
            assert!(e.kind() == ErrorKind::Conflict && e.to_string().contains("which was deleted"), "{e}");
            drop((d, held));
            a.flush().unwrap();
            drop((a, b));
            assert!(!there(&check(&p), path));
        }
    }
}

/// One of several links is removed: the objects below it stay, and so do the elements written there.
#[test]
fn a_write_below_a_group_with_a_remaining_link_is_committed() {
    let p = memory();
    let [a, b] = writers_that(&p, OnConflict::Fail, |c| {
        deep(c);
        let g = LinkTarget::Hard(find(c, b"g0/in"));
        c.link_create(find(c, b"other"), b"again", g, CharSet::Utf8).unwrap();
    });
    open(&b, b"g0/in/d").write(&Selection::All, &[2; 40]).unwrap();
    queue_around(&p, &b, || {
        a.link_delete(a.root(), b"g0").unwrap();
        a.flush().unwrap();
    })
    .unwrap();
    drop((a, b));
    assert_eq!(all(&open(&check(&p), b"other/again/d")), [2; 40]);
}

/// Otherwise each new object of a writer would break all queued commits.
#[test]
fn creating_objects_stages_no_deletion_mark() {
    for p in places() {
        let [a, b] = writers_that(&p, OnConflict::Fail, deep);
        group(&a, a.root(), b"new", CreationOrder::default());
        dataset(&a, b"set", chunked(10, 10, false));
        assert!(a.ledger.staged(&[keys::ORPHAN]).is_empty());
        a.flush().unwrap();
        // An orphan mark that was committed is removed with a new link.
        let unlinked = b.create_group(GroupSpec::default()).unwrap();
        b.flush().unwrap();
        b.link_create(b.root(), b"late", LinkTarget::Hard(unlinked.id()), CharSet::Utf8).unwrap();
        b.flush().unwrap();
        drop((unlinked, a, b));
        let c = check(&p);
        assert!(there(&c, b"new") && there(&c, b"set") && there(&c, b"late"));
    }
}
