//! Merges that other writers overtake, and elements that are truncated and grow again: no change is lost with another
//! one.

use super::branches::{begin, is_whole, name, on_branch, prepared};
use super::many::{all, apart, check, chunked, find, open, part, writers_that};
use super::*;

fn put(p: &Place, start: u64, value: u8) {
    let c = apart(p);
    open(&c, b"d").write(&part(start, 1), &[value; 4]).unwrap();
}

fn number(c: &Arc<Container>, at: usize) -> u8 {
    all(&open(c, b"d"))[at * 4]
}

/// When the branch is staged, no writer has changed the chunk that the branch wrote.
#[test]
fn a_merge_keeps_concurrently_written_elements_of_a_chunk() {
    for p in prepared() {
        let b = on_branch(&p, Access::ReadWrite);
        open(&b, b"d").write(&part(0, 1), &[9; 4]).unwrap();
        drop(b);
        let concurrent_commit = || put(&p, 5, 1);
        Container::merge_branch_after(&p.target, name(), &Options::default(), concurrent_commit).unwrap();
        let c = check(&p);
        assert_eq!([0, 1, 5].map(|at| number(&c, at)), [9, 7, 1]);
    }
}

#[test]
fn a_merge_reports_conflicts_with_concurrent_writes() {
    for p in prepared() {
        let b = on_branch(&p, Access::ReadWrite);
        open(&b, b"d").write(&part(0, 1), &[9; 4]).unwrap();
        open(&b, b"d").set_extent(&[90]).unwrap();
        drop(b);
        for at in [0, 95] {
            let concurrent_commit = || put(&p, at, 1);
            let e = Container::merge_branch_after(&p.target, name(), &Options::default(), concurrent_commit)
                .unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Conflict, "{at}: {e}");
            assert_eq!(number(&check(&p), at as usize), 1);
            put(&p, at, 7);
        }
        let merged = on_branch(&p, Access::ReadOnly);
        assert_eq!((number(&merged, 0), all(&open(&merged, b"d")).len()), (9, 360));
        is_whole(&p);
    }
}

#[test]
fn a_branch_with_a_concurrent_commit_is_not_deleted() {
    for p in prepared() {
        let b = on_branch(&p, Access::ReadWrite);
        open(&b, b"plain").write(&part(0, 20_000), &[9; 80_000]).unwrap();
        b.flush().unwrap();
        let concurrent_commit = || {
            open(&b, b"plain").write(&part(10_000, 20_000), &[8; 80_000]).unwrap();
            b.flush().unwrap();
        };
        let e = Container::delete_branch_after(&p.target, name(), &Options::default(), concurrent_commit)
            .unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
        drop(b);
        is_whole(&p);
        Container::merge_branch(&p.target, name(), &Options::default()).unwrap();
        let plain = all(&open(&check(&p), b"plain"));
        assert_eq!((plain[0], plain[39_999], plain[40_000], plain[119_999], plain[120_000]), (9, 9, 8, 8, 3));
    }
}

/// Both delete the last blob of a segment; the main line creates another segment.
#[test]
fn a_merge_takes_no_new_heap_segment_for_an_old_one() {
    for p in places() {
        let c = p.create();
        let owner = dataset(&c, b"d", chunked(100, 10, false)).object().id();
        let old = c.heap_put(owner, &[1; 3000]).unwrap();
        drop(c);
        begin(&p);
        let b = on_branch(&p, Access::ReadWrite);
        b.heap_delete(&old).unwrap();
        drop(b);
        let c = p.open(Access::ReadWrite);
        c.heap_delete(&old).unwrap();
        c.flush().unwrap();
        let new = [500, 3000, 5000].map(|length| c.heap_put(owner, &vec![2; length]).unwrap());
        drop(c);
        Container::merge_branch(&p.target, name(), &Options::default()).unwrap();
        let c = check(&p);
        for (id, length) in new.iter().zip([500, 3000, 5000]) {
            let mut blob = vec![0; length];
            c.heap_get(id, &mut blob).unwrap();
            assert!(blob == vec![2; length]);
        }
        drop(c);
        let c = p.open(Access::ReadWrite);
        new.iter().for_each(|id| c.heap_delete(id).unwrap());
        drop(c);
        is_whole(&p);
    }
}

#[test]
fn truncated_elements_stay_truncated_after_regrowth() {
    for p in places() {
        let [a, b] = writers_that(&p, OnConflict::Last, |c| {
            dataset(c, b"d", chunked(100, 10, false)).write(&Selection::All, &[8; 400]).unwrap();
        });
        let d = open(&a, b"d");
        d.set_extent(&[90]).unwrap();
        d.set_extent(&[100]).unwrap();
        d.write(&part(90, 1), &[1; 4]).unwrap();
        assert_eq!(all(&d)[360..], [[1; 4].as_slice(), &[0; 36]].concat());
        open(&b, b"d").write(&part(90, 1), &[5; 4]).unwrap();
        b.flush().unwrap();
        a.flush().unwrap();
        drop((a, b, d));
        assert_eq!(all(&open(&check(&p), b"d"))[360..], [[1; 4].as_slice(), &[0; 36]].concat());
    }
}

/// The writer that deletes the object has unlinked it already, and deletes it in a separate commit.
#[test]
fn a_comment_on_a_remotely_unlinked_object_is_a_conflict() {
    for p in places() {
        let [a, b] = writers_that(&p, OnConflict::Fail, |c| {
            dataset(c, b"d", chunked(100, 10, false)).write(&Selection::All, &[8; 400]).unwrap();
        });
        // While the writer has the dataset open, it is not deleted.
        let held = open(&b, b"d");
        let id = find(&a, b"d");
        b.link_delete(b.root(), b"d").unwrap();
        b.flush().unwrap();
        a.set_comment(id, Some(b"kept?")).unwrap();
        let e = a.flush().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
        drop((held, a, b));
    }
}
