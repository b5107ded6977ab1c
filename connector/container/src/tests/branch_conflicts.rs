//! Merges of branches with concurrent moves, new groups, truncations and deletions of the main line: nothing is lost,
//! and the advice works.

use super::branches::{begin, is_whole, merge, name, on_branch, prepared, take_free_space};
use super::many::{all, check, chunked, conflict, find, open, part, there, writers, writers_that};
use super::*;

const BOTH: [OnConflict; 2] = [OnConflict::Fail, OnConflict::Last];

fn merge_with(p: &Place, on_conflict: OnConflict) -> Result<MergedBranch> {
    Container::merge_branch(&p.target, name(), &Options { on_conflict, ..Options::default() })
}

/// Checks that the merge is refused with each conflict policy, does not offer `conflict=last`, and reports these words.
fn is_refused(p: &Place, words: &[&str]) {
    for on_conflict in BOTH {
        let e = merge_with(p, on_conflict).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
        let text = e.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{on_conflict:?}: {text}");
        assert!(!text.contains("H5LAKE_CONFLICT=last"), "{on_conflict:?}: {text}");
    }
    is_whole(p);
}

#[test]
fn a_chunk_that_became_partial_is_not_filtered() {
    let make = |c: &Arc<Container>| {
        let spec = DatasetSpec { unfiltered_edges: true, ..chunked(25, 10, true) };
        dataset(c, b"e", spec).write(&part(0, 1), &[1; 4]).unwrap();
    };
    let wanted = [&[1; 4][..], &[0; 44], &[9; 8], &[0; 4]].concat();
    for p in places() {
        make(&p.create());
        begin(&p);
        let b = on_branch(&p, Access::ReadWrite);
        open(&b, b"e").write(&part(12, 2), &[9; 8]).unwrap();
        drop(b);
        let c = p.open(Access::ReadWrite);
        open(&c, b"e").set_extent(&[15]).unwrap();
        drop(c);
        merge(&p).unwrap();
        assert_eq!(all(&open(&check(&p), b"e")), wanted);
        is_whole(&p);
        let [a, b] = writers(&p, make);
        open(&b, b"e").write(&part(12, 2), &[9; 8]).unwrap();
        open(&a, b"e").set_extent(&[15]).unwrap();
        a.flush().unwrap();
        b.flush().unwrap();
        drop((a, b));
        assert_eq!(all(&open(&check(&p), b"e")), wanted);
        is_whole(&p);
    }
}

#[test]
fn a_group_to_which_the_branch_refers_does_not_become_the_main_lines() {
    for is_element in [false, true] {
        for p in prepared() {
            let b = on_branch(&p, Access::ReadWrite);
            let new = group(&b, b.root(), b"new", CreationOrder::default());
            if is_element {
                let mut spec = dataset_spec(8, simple(&[1], &[1]), Layout::Contiguous);
                spec.datatype.has_references = true;
                dataset(&b, b"to", spec).write(&Selection::All, &new.0.to_le_bytes()).unwrap();
            } else {
                let mut spec = attr_spec(8, 1);
                spec.datatype.has_references = true;
                b.attr_create(find(&b, b"g"), b"to", spec).unwrap().write(&new.0.to_le_bytes()).unwrap();
            }
            drop(b);
            let c = p.open(Access::ReadWrite);
            group(&c, c.root(), b"new", CreationOrder::default());
            drop(c);
            is_refused(&p, &["/, link 'new', was changed", "(references in the branch lead to its group"]);
            let b = on_branch(&p, Access::ReadWrite);
            b.link_move(b.root(), b"new", b.root(), b"ours", None).unwrap();
            drop(b);
            merge(&p).unwrap();
            let c = check(&p);
            assert!(find(&c, b"ours") == new && there(&c, b"new"));
            drop(c);
            is_whole(&p);
        }
    }
}

/// The branch has the object at its old place, and another object under its new name.
#[test]
fn an_object_moved_on_the_main_line_is_not_deleted_by_name() {
    for into_group in [false, true] {
        for p in prepared() {
            let b = on_branch(&p, Access::ReadWrite);
            // This prevents the merge of a new group of the main line with that group.
            group(&b, b.root(), b"moved", tracked());
            drop(b);
            let c = p.open(Access::ReadWrite);
            let path: &[u8] = if into_group { b"moved/d" } else { b"moved" };
            if into_group {
                let above = group(&c, c.root(), b"moved", CreationOrder::default());
                c.link_move(c.root(), b"d", above, b"d", None).unwrap();
            } else {
                c.link_move(c.root(), b"d", c.root(), b"moved", None).unwrap();
            }
            drop(c);
            is_refused(&p, &["/, link 'moved', was changed", "(give it another name in the branch"]);
            assert_eq!(all(&open(&check(&p), path)), [7; 400]);
            let b = on_branch(&p, Access::ReadWrite);
            b.link_move(b.root(), b"moved", b.root(), b"ours", None).unwrap();
            drop(b);
            merge(&p).unwrap();
            let c = check(&p);
            assert!(all(&open(&c, path)) == [7; 400] && there(&c, b"ours"));
            drop(c);
            is_whole(&p);
        }
    }
}

#[test]
fn the_last_writer_does_not_delete_a_moved_object() {
    for p in places() {
        let [a, b] = writers_that(&p, OnConflict::Last, |c| {
            dataset(c, b"d", chunked(100, 10, false)).write(&Selection::All, &[7; 400]).unwrap();
        });
        group(&b, b.root(), b"moved", CreationOrder::default());
        a.link_move(a.root(), b"d", a.root(), b"moved", None).unwrap();
        a.flush().unwrap();
        assert!(conflict(&b).contains("/, link 'moved', was changed by another writer"));
        drop((a, b));
        assert_eq!(all(&open(&check(&p), b"moved")), [7; 400]);
        is_whole(&p);
    }
}

#[test]
fn elements_truncated_on_the_main_line_do_not_reappear() {
    for p in prepared() {
        let b = on_branch(&p, Access::ReadWrite);
        let d = open(&b, b"d");
        d.set_extent(&[200]).unwrap();
        d.write(&part(100, 100), &[5; 400]).unwrap();
        drop((b, d));
        let c = p.open(Access::ReadWrite);
        open(&c, b"d").set_extent(&[45]).unwrap();
        drop(c);
        is_refused(
            &p,
            &["/d, its dimensions ([100] to [45]),", "(set the dimensions that the main line has"],
        );
        assert_eq!(open(&on_branch(&p, Access::ReadOnly), b"d").space().dims(), [200]);
        // A truncation by both sides counts as one change.
        let b = on_branch(&p, Access::ReadWrite);
        open(&b, b"d").set_extent(&[45]).unwrap();
        drop(b);
        merge(&p).unwrap();
        assert_eq!(all(&open(&check(&p), b"d")), [7; 180]);
        is_whole(&p);
    }
}

#[test]
fn equal_renames_of_both_lines_are_one_change() {
    const LARGE: usize = 60_000;
    for p in places() {
        let c = p.create();
        let g = group(&c, c.root(), b"g", tracked());
        group(&c, g, b"below", CreationOrder::default());
        group(&c, c.root(), b"other", CreationOrder::default());
        c.attr_create(g, b"small", attr_spec(1, 3)).unwrap().write(&[5; 3]).unwrap();
        c.attr_create(g, b"large", attr_spec(1, LARGE as u64)).unwrap().write(&[5; LARGE]).unwrap();
        drop(c);
        begin(&p);
        let rename = |c: &Arc<Container>| {
            let g = find(c, b"g");
            c.link_move(g, b"below", g, b"above", None).unwrap();
            c.link_move(c.root(), b"other", g, b"other", None).unwrap();
            // One new name sorts before the old name, and one after it.
            c.attr_rename(g, b"small", b"little").unwrap();
            c.attr_rename(g, b"large", b"much").unwrap();
        };
        let b = on_branch(&p, Access::ReadWrite);
        rename(&b);
        drop(b);
        let c = p.open(Access::ReadWrite);
        rename(&c);
        drop(c);
        merge(&p).unwrap();
        let c = check(&p);
        assert!(there(&c, b"g/above") && there(&c, b"g/other"));
        assert!(!there(&c, b"g/below") && !there(&c, b"other"));
        assert_eq!(c.attr_open(find(&c, b"g"), b"little").unwrap().read().unwrap()[..], [5; 3]);
        drop(c);
        is_whole(&p);
        let c = p.open(Access::ReadWrite);
        take_free_space(&c);
        // Its space was not reused.
        assert_eq!(c.attr_open(find(&c, b"g"), b"much").unwrap().read().unwrap(), vec![5; LARGE]);
        drop(c);
        is_whole(&p);
    }
}

#[test]
fn a_conflicting_rename_in_the_branch_can_be_undone() {
    type Change = fn(&Arc<Container>);
    let cases: [(Change, Change, Change, &str); 2] = [
        (
            |b| b.link_move(find(b, b"g"), b"below", find(b, b"g"), b"ours", None).unwrap(),
            |c| c.link_move(find(c, b"g"), b"below", c.root(), b"theirs", None).unwrap(),
            |b| b.link_move(find(b, b"g"), b"ours", find(b, b"g"), b"below", None).unwrap(),
            "/g, link 'below', was changed",
        ),
        (
            |b| b.attr_rename(find(b, b"g"), b"x", b"y").unwrap(),
            |c| c.attr_open(find(c, b"g"), b"x").unwrap().write(&[6; 3]).unwrap(),
            |b| b.attr_rename(find(b, b"g"), b"y", b"x").unwrap(),
            "/g, attribute 'x', was changed",
        ),
    ];
    for (rename, change, back, expected) in cases {
        for p in prepared() {
            let b = on_branch(&p, Access::ReadWrite);
            rename(&b);
            group(&b, b.root(), b"kept", CreationOrder::default());
            drop(b);
            let c = p.open(Access::ReadWrite);
            change(&c);
            let value = c.attr_open(find(&c, b"g"), b"x").unwrap().read().unwrap().to_vec();
            let is_moved = there(&c, b"theirs");
            drop(c);
            is_refused(&p, &[expected, "(move it back in the branch)"]);
            let b = on_branch(&p, Access::ReadWrite);
            back(&b);
            drop(b);
            merge(&p).unwrap();
            let c = check(&p);
            assert!(there(&c, b"kept") && !there(&c, b"g/ours"));
            assert_eq!((there(&c, b"theirs"), there(&c, b"g/below")), (is_moved, !is_moved));
            assert_eq!(c.attr_open(find(&c, b"g"), b"x").unwrap().read().unwrap(), value);
            drop(c);
            is_whole(&p);
        }
    }
}

/// The objects that the branch moved out of it would be in both places.
#[test]
fn a_new_link_to_an_object_the_branch_deleted_is_a_conflict() {
    for p in prepared() {
        let b = on_branch(&p, Access::ReadWrite);
        b.link_move(find(&b, b"g"), b"below", b.root(), b"below", None).unwrap();
        b.link_delete(b.root(), b"g").unwrap();
        drop(b);
        let c = p.open(Access::ReadWrite);
        c.link_create(c.root(), b"again", LinkTarget::Hard(find(&c, b"g")), CharSet::Utf8).unwrap();
        drop(c);
        is_refused(
            &p,
            &[
                ", which the branch deleted, was changed in the main line too",
                "(take its new link in the main line away",
            ],
        );
        let c = p.open(Access::ReadWrite);
        assert!(there(&c, b"again/below") && !there(&c, b"below"));
        c.link_delete(c.root(), b"again").unwrap();
        drop(c);
        merge_with(&p, OnConflict::Last).unwrap();
        let c = check(&p);
        assert!(there(&c, b"below") && !there(&c, b"g") && !there(&c, b"again"));
        drop(c);
        is_whole(&p);
    }
}
