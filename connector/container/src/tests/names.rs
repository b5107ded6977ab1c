//! Names that other writers used meanwhile: a merge compares the state in the version that a batch began with to the state in the
//! newest version.

use super::checks::{Versions, verify};
use super::many::{check, chunked, conflict, find, open, there, writers, writers_that};
use super::*;

fn order() -> CreationOrder {
    CreationOrder::default()
}

fn rename(c: &Container, from: &[u8], to: &[u8]) {
    c.link_move(c.root(), from, c.root(), to, None).unwrap();
}

/// Creates an object or attribute under the name `x`.
type Make = fn(&Arc<Container>);

const MAKES: [Make; 4] = [
    |c| {
        group(c, c.root(), b"x", order());
    },
    |c| drop(dataset(c, b"x", chunked(10, 10, false))),
    |c| c.link_create(c.root(), b"x", LinkTarget::Soft(b"/d".to_vec()), CharSet::Utf8).unwrap(),
    |c| rename(c, b"d", b"x"),
];

#[test]
fn a_remotely_created_and_removed_name_is_free() {
    for p in places() {
        for on_conflict in [OnConflict::Fail, OnConflict::Merge, OnConflict::Last] {
            for made in &MAKES[..3] {
                for new in MAKES {
                    let start = |c: &Arc<Container>| drop(dataset(c, b"d", chunked(10, 10, false)));
                    let [a, b] = writers_that(&p, on_conflict, start);
                    new(&b);
                    made(&a);
                    a.flush().unwrap();
                    a.link_delete(a.root(), b"x").unwrap();
                    a.flush().unwrap();
                    let target = b.link(b.root(), b"x").unwrap().unwrap().target;
                    b.flush().unwrap();
                    drop((a, b));
                    let c = check(&p);
                    assert_eq!(c.link(c.root(), b"x").unwrap().unwrap().target, target);
                    let report = verify(&p.target, &Options::default(), Versions::All, &mut |_, _| ());
                    assert!(report.unwrap().is_whole());
                }
            }
        }
    }
}

#[test]
fn a_removed_name_is_free_after_an_earlier_lookup() {
    for p in places() {
        let [a, b] = writers(&p, |_| ());
        dataset(&b, b"x", chunked(10, 10, false)).write(&Selection::All, &[7; 40]).unwrap();
        group(&a, a.root(), b"x", order());
        a.flush().unwrap();
        b.refresh().unwrap();
        a.link_delete(a.root(), b"x").unwrap();
        a.flush().unwrap();
        b.flush().unwrap();
        assert_eq!(super::many::all(&open(&b, b"x")), [7; 40]);
        drop((a, b));
        drop(check(&p));
    }
}

#[test]
fn a_remotely_created_and_removed_attribute_name_is_free() {
    for p in places() {
        for bytes in [1, 9000] {
            let [a, b] = writers(&p, |c| {
                c.attr_create(c.root(), b"y", attr_spec(1, 1)).unwrap().write(&[1]).unwrap();
            });
            let data = vec![2; bytes as usize];
            b.attr_create(b.root(), b"x", attr_spec(1, bytes)).unwrap().write(&data).unwrap();
            a.attr_create(a.root(), b"x", attr_spec(1, 9000)).unwrap().write(&[3; 9000]).unwrap();
            let text = text_attribute(&a, a.root(), b"z", b"a text");
            a.flush().unwrap();
            drop(text);
            for name in [b"x", b"z"] {
                a.attr_delete(a.root(), name).unwrap();
            }
            a.flush().unwrap();
            // Another writer that restores the original value makes no change either: the deletion in this batch applies.
            for value in [5, 1] {
                a.attr_open(a.root(), b"y").unwrap().write(&[value]).unwrap();
                a.flush().unwrap();
            }
            b.attr_delete(b.root(), b"y").unwrap();
            b.flush().unwrap();
            drop((a, b));
            let c = check(&p);
            assert_eq!(c.attr_open(c.root(), b"x").unwrap().read().unwrap(), data);
            assert!(c.attr_open(c.root(), b"y").is_err());
            let report = verify(&p.target, &Options::default(), Versions::All, &mut |_, _| ()).unwrap();
            assert!(report.found.is_empty(), "{:#?}", report.found);
        }
    }
}

#[test]
fn a_name_of_another_object_is_a_conflict() {
    for p in places() {
        let [a, b] = writers(&p, |c| {
            group(c, c.root(), b"x", order());
        });
        rename(&b, b"x", b"y");
        a.link_delete(a.root(), b"x").unwrap();
        a.flush().unwrap();
        group(&a, a.root(), b"x", order());
        a.flush().unwrap();
        conflict(&b);
        assert!(there(&b, b"x") && !there(&b, b"y"));
        drop((a, b));
        drop(check(&p));
    }
}

#[test]
fn a_new_group_does_not_join_an_old_one_that_was_moved_to_its_name() {
    for p in places() {
        for on_conflict in [OnConflict::Fail, OnConflict::Merge, OnConflict::Last] {
            let [a, b] = writers_that(&p, on_conflict, |c| {
                let old = group(c, c.root(), b"old", order());
                group(c, old, b"from old", order());
            });
            let new = group(&b, b.root(), b"g", order());
            group(&b, new, b"from new", order());
            rename(&a, b"old", b"g");
            a.flush().unwrap();
            let text = conflict(&b);
            assert!(text.contains("/, link 'g', was changed by another writer (host "), "{text}");
            drop((a, b));
            drop(p.open(Access::ReadWrite));
            let c = check(&p);
            assert!(there(&c, b"g/from old") && !there(&c, b"g/from new"), "{on_conflict:?}");
        }
    }
}

#[test]
fn a_new_group_does_not_join_one_that_its_writer_saw_under_another_name() {
    for p in places() {
        let [a, b] = writers(&p, |_| ());
        group(&b, b.root(), b"staged", order());
        group(&a, a.root(), b"h", order());
        a.flush().unwrap();
        assert!(b.refresh().unwrap() && there(&b, b"h"));
        group(&b, b.root(), b"g", order());
        rename(&a, b"h", b"g");
        a.flush().unwrap();
        let text = conflict(&b);
        assert!(text.contains("/, link 'g', was changed by another writer"), "{text}");
        drop((a, b));
        drop(check(&p));
    }
}

#[test]
fn an_old_group_moved_into_a_joined_group_is_not_joined_with_a_new_one() {
    for p in places() {
        let [a, b] = writers(&p, |c| {
            group(c, c.root(), b"old", order());
        });
        let [g, h] = [&a, &b].map(|c| group(c, c.root(), b"g", order()));
        a.link_move(a.root(), b"old", g, b"sub", None).unwrap();
        let sub = group(&b, h, b"sub", order());
        group(&b, sub, b"from new", order());
        a.flush().unwrap();
        let text = conflict(&b);
        assert!(text.contains("/g, link 'sub', was changed by another writer"), "{text}");
        assert!(there(&b, b"g/sub") && !there(&b, b"g/sub/from new"));
        drop((a, b));
        drop(check(&p));
    }
}

/// A writer that fills a group under a temporary name and then renames the group has created it, as far as other writers can
/// observe.
#[test]
fn new_groups_of_one_name_are_joined_despite_earlier_names() {
    for p in places() {
        let [a, b] = writers(&p, |_| ());
        let temporary = group(&a, a.root(), b"temporary", order());
        group(&a, temporary, b"from a", order());
        a.flush().unwrap();
        rename(&a, b"temporary", b"g");
        a.flush().unwrap();
        let g = group(&b, b.root(), b"g", order());
        group(&b, g, b"from b", order());
        b.flush().unwrap();
        drop((a, b));
        let c = check(&p);
        assert!(there(&c, b"g/from a") && there(&c, b"g/from b"));
        assert_eq!(c.group_info(find(&c, b"g")).unwrap().link_count, 2);
    }
}
