//! Conflicts that two writers must detect: lost updates, halves of operations, cycles, unnoticed deletions.

use super::many::{all, check, chunked, conflict, find, open, part, there, writers, writers_that};
use super::*;

const ALL: [OnConflict; 3] = [OnConflict::Fail, OnConflict::Merge, OnConflict::Last];

fn conflict_text(c: &Container) -> String {
    conflict(c)
}

fn soft(to: &[u8]) -> LinkTarget {
    LinkTarget::Soft(to.to_vec())
}

fn rename(c: &Container, from: &[u8], to: &[u8]) {
    c.link_move(c.root(), from, c.root(), to, None).unwrap();
}

/// Moves a child of the root into a group.
fn put_into(c: &Container, name: &[u8], group: &[u8]) {
    c.link_move(c.root(), name, find(c, group), name, None).unwrap();
}

fn element(d: &Dataset, n: u64) -> u8 {
    let mut out = [0; 4];
    d.read(&part(n, 1), &mut out).unwrap();
    out[0]
}

#[test]
fn a_batch_in_conflict_commits_nothing_and_a_retry_succeeds() {
    for p in places() {
        for gzip in [false, true] {
            let [a, b] = writers(&p, |c| drop(dataset(c, b"d", chunked(100, 50, gzip))));
            open(&a, b"d").write(&part(10, 10), &[1; 40]).unwrap();
            let d = open(&b, b"d");
            let write_all = || {
                d.write(&part(15, 10), &[2; 40]).unwrap();
                d.write(&part(60, 2), &[3; 8]).unwrap();
                let g = group(&b, b.root(), b"g", CreationOrder::default());
                b.attr_create(g, b"long", attr_spec(1, 9000)).unwrap().write(&[1; 9000]).unwrap();
                text_attribute(&b, g, b"text", b"some text");
                b.set_comment(b.root(), Some(b"by b")).unwrap();
            };
            write_all();
            d.set_extent(&[120]).unwrap();
            a.flush().unwrap();
            let text = conflict_text(&b);
            assert!(text.contains("/d, 5 of the elements [15] to [19], was changed by another"), "{text}");
            assert!(text.contains("Nothing of this batch is committed"), "{text}");
            // The writer sees the newest version, also through its open objects.
            let mut wanted = vec![0u8; 400];
            wanted[40..80].fill(1);
            assert!(all(&d) == wanted && !there(&b, b"g") && b.comment(b.root()).unwrap().is_none());
            assert_eq!(d.space().dims(), [100]);
            drop(check(&p));
            write_all();
            b.flush().unwrap();
            wanted[60..100].fill(2);
            wanted[240..248].fill(3);
            drop((d, a, b));
            let c = check(&p);
            assert!(all(&open(&c, b"d")) == wanted && there(&c, b"g"));
        }
    }
}

#[test]
fn equal_increments_after_a_read_are_a_conflict() {
    for p in places() {
        for on_conflict in [OnConflict::Fail, OnConflict::Merge] {
            for gzip in [false, true] {
                let [a, b] = writers_that(&p, on_conflict, |c| {
                    dataset(c, b"d", chunked(100, 50, gzip)).write(&part(7, 1), &[5; 4]).unwrap();
                    let x = c.attr_create(c.root(), b"x", attr_spec(1, 1)).unwrap();
                    x.write(&[5]).unwrap();
                    c.set_comment(c.root(), Some(b"5")).unwrap();
                });
                for c in [&a, &b] {
                    let d = open(c, b"d");
                    assert_eq!(element(&d, 7), 5);
                    d.write(&part(7, 1), &[6; 4]).unwrap();
                    let x = c.attr_open(c.root(), b"x").unwrap();
                    assert_eq!(x.read().unwrap()[0], 5);
                    x.write(&[6]).unwrap();
                    assert_eq!(c.comment(c.root()).unwrap().unwrap(), b"5");
                    c.set_comment(c.root(), Some(b"6")).unwrap();
                }
                a.flush().unwrap();
                let text = conflict_text(&b);
                for part in ["/d, 1 of the elements [7] to [7],", "/, attribute 'x',", "/, its comment,"] {
                    assert!(text.contains(part), "{part} is not in {text}");
                }
                // Reads before the flush no longer count.
                for c in [&a, &b] {
                    c.refresh().unwrap();
                    open(c, b"d").write(&part(7, 1), &[9; 4]).unwrap();
                    c.attr_open(c.root(), b"x").unwrap().write(&[9]).unwrap();
                    c.flush().unwrap();
                }
            }
        }
    }
}

/// Sets an attribute like h5py: under another name, which is then renamed over the old one.
#[test]
fn an_attribute_recreated_after_a_read_is_a_conflict() {
    for p in places() {
        let [a, b] = writers(&p, |c| {
            c.attr_create(c.root(), b"n", attr_spec(1, 1)).unwrap().write(&[5]).unwrap();
        });
        for c in [&a, &b] {
            let next = c.attr_open(c.root(), b"n").unwrap().read().unwrap()[0] + 1;
            c.attr_create(c.root(), b"temporary", attr_spec(1, 1)).unwrap().write(&[next]).unwrap();
            c.attr_delete(c.root(), b"n").unwrap();
            c.attr_rename(c.root(), b"temporary", b"n").unwrap();
        }
        a.flush().unwrap();
        assert!(conflict_text(&b).contains("/, attribute 'n', was changed by another writer"));
        assert_eq!(b.attrs(b.root(), Index::Name, Order::Native).unwrap().len(), 1);
    }
}

#[test]
fn equal_writes_without_reads_are_merged() {
    for p in places() {
        let [a, b] = writers(&p, |c| {
            dataset(c, b"d", chunked(100, 50, false));
            c.attr_create(c.root(), b"x", attr_spec(1, 1)).unwrap();
        });
        for c in [&a, &b] {
            let d = open(c, b"d");
            d.write(&part(7, 3), &[6; 12]).unwrap();
            // Other elements of the same block may be read.
            assert_eq!(element(&d, 20), 0);
            // The writer's own elements may be read as well.
            assert_eq!(element(&d, 7), 6);
            c.attr_open(c.root(), b"x").unwrap().write(&[6]).unwrap();
            c.attr_create(c.root(), b"new", attr_spec(1, 1)).unwrap().write(&[6]).unwrap();
            c.link_create(c.root(), b"soft", soft(b"d"), CharSet::Utf8).unwrap();
        }
        a.flush().unwrap();
        b.flush().unwrap();
        drop((a, b));
        check(&p);
    }
}

#[test]
fn an_append_counts_as_a_read_of_the_extent() {
    for p in places() {
        for rows in [2, 5] {
            let [a, b] = writers(&p, |c| drop(dataset(c, b"d", chunked(10, 4, false))));
            let (x, y) = (open(&a, b"d"), open(&b, b"d"));
            x.set_extent(&[12]).unwrap();
            x.write(&part(10, 2), &[1; 8]).unwrap();
            y.set_extent(&[10 + rows]).unwrap();
            y.write(&part(10, rows), &vec![1; 4 * rows as usize]).unwrap();
            a.flush().unwrap();
            let text = conflict_text(&b);
            assert!(text.contains("/d, its dimensions ([10] to [12]), was changed by another"), "{text}");
            let end = y.space().dims()[0];
            y.set_extent(&[end + rows]).unwrap();
            y.write(&part(end, rows), &vec![2; 4 * rows as usize]).unwrap();
            b.flush().unwrap();
            drop((x, y, a, b));
            let wanted = [vec![0; 40], vec![1; 8], vec![2; 4 * rows as usize]].concat();
            assert!(all(&open(&check(&p), b"d")) == wanted);
        }
    }
}

#[test]
fn a_move_is_atomic() {
    for p in places() {
        for on_conflict in ALL {
            let [a, b] = writers_that(&p, on_conflict, |c| {
                dataset(c, b"e", chunked(10, 10, false)).write(&part(0, 1), &[7; 4]).unwrap();
                group(c, c.root(), b"g", CreationOrder::default());
                c.link_create(c.root(), b"s", soft(b"e"), CharSet::Utf8).unwrap();
                c.attr_create(c.root(), b"x", attr_spec(1, 1)).unwrap().write(&[7]).unwrap();
            });
            let names: [(&[u8], &[u8]); 3] = [(b"e", b"m"), (b"g", b"n"), (b"s", b"o")];
            for (_, to) in names {
                dataset(&a, to, chunked(5, 5, false));
            }
            a.attr_create(a.root(), b"y", attr_spec(1, 2)).unwrap();
            a.flush().unwrap();
            for (from, to) in names {
                rename(&b, from, to);
            }
            b.attr_rename(b.root(), b"x", b"y").unwrap();
            let kept = match on_conflict {
                OnConflict::Last => {
                    b.flush().unwrap();
                    b"m"
                }
                _ => {
                    assert!(conflict_text(&b).contains("/, link 'm',"));
                    b"e"
                }
            };
            drop((a, b));
            p.open(Access::ReadWrite);
            let c = check(&p);
            assert_eq!(element(&open(&c, kept), 0), 7, "{on_conflict:?}");
            let name: &[u8] = if on_conflict == OnConflict::Last { b"y" } else { b"x" };
            assert_eq!(c.attr_open(c.root(), name).unwrap().read().unwrap()[0], 7);
            let left = c.links(c.root(), Index::Name, Order::Native).unwrap().len();
            assert_eq!(left, if on_conflict == OnConflict::Last { 3 } else { 6 });
        }
    }
}

/// Nothing was moved, so nothing of a move can be lost.
#[test]
fn a_move_that_failed_is_no_move() {
    for p in places() {
        let [a, b] = writers_that(&p, OnConflict::Last, |c| {
            c.link_create(c.root(), b"s", soft(b"d"), CharSet::Utf8).unwrap();
            c.link_create(c.root(), b"taken", soft(b"e"), CharSet::Utf8).unwrap();
        });
        let e = b.link_move(b.root(), b"s", b.root(), b"taken", None).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::AlreadyExists, "{e}");
        for c in [&a, &b] {
            c.link_delete(c.root(), b"s").unwrap();
            c.flush().unwrap();
        }
        drop((a, b));
        let c = check(&p);
        assert_eq!(c.links(c.root(), Index::Name, Order::Native).unwrap().len(), 1);
    }
}

/// More objects than the number of authors that a writer distinguishes.
#[test]
fn an_unchanged_object_is_deleted_despite_many_remote_commits() {
    let p = memory();
    let [a, b] = writers_that(&p, OnConflict::Merge, |c| {
        group(c, c.root(), b"g", CreationOrder::default());
        group(c, c.root(), b"h", CreationOrder::default());
        group(c, c.root(), b"many", CreationOrder::default());
    });
    let many = find(&a, b"many");
    for n in 0..17_000 {
        group(&a, many, format!("{n}").as_bytes(), CreationOrder::default());
    }
    a.set_comment(find(&a, b"h"), Some(b"new")).unwrap();
    a.flush().unwrap();
    b.link_delete(b.root(), b"g").unwrap();
    b.flush().unwrap();
    b.link_delete(b.root(), b"h").unwrap();
    b.flush().unwrap();
    drop((a, b));
    assert!(!there(&check(&p), b"g"));
}

#[test]
fn a_hard_link_and_a_deletion_are_a_move_too() {
    for p in places() {
        for on_conflict in [OnConflict::Fail, OnConflict::Merge] {
            let [a, b] = writers_that(&p, on_conflict, |c| drop(dataset(c, b"e", chunked(10, 10, false))));
            dataset(&a, b"m", chunked(5, 5, false));
            a.flush().unwrap();
            b.link_create(b.root(), b"m", LinkTarget::Hard(find(&b, b"e")), CharSet::Utf8).unwrap();
            b.link_delete(b.root(), b"e").unwrap();
            conflict_text(&b);
            drop((a, b));
            assert_eq!(open(&check(&p), b"e").space().dims(), [10]);
        }
    }
}

#[test]
fn a_move_into_a_deleted_group_is_a_conflict() {
    for p in places() {
        for on_conflict in ALL {
            for is_open in [false, true] {
                let [a, b] = writers_that(&p, on_conflict, |c| {
                    dataset(c, b"e", chunked(10, 10, false)).write(&part(0, 1), &[7; 4]).unwrap();
                    let g = group(c, c.root(), b"g", CreationOrder::default());
                    group(c, g, b"in", CreationOrder::default());
                });
                // While the group is open there, it has lost its link and is not deleted yet.
                let held = is_open.then(|| a.open_object(find(&a, b"g")).unwrap());
                a.link_delete(a.root(), b"g").unwrap();
                a.flush().unwrap();
                put_into(&b, b"e", b"g/in");
                let text = conflict_text(&b);
                assert!(text.contains("which was deleted,"), "{text}");
                drop(held);
                a.flush().unwrap();
                drop((a, b));
                let c = check(&p);
                assert_eq!(element(&open(&c, b"e"), 0), 7);
                assert!(!there(&c, b"g"));
            }
        }
    }
}

#[test]
fn an_object_taken_by_two_writers_is_a_conflict() {
    for p in places() {
        let [a, b] = writers(&p, |c| {
            for name in [b"job1", b"job2"] {
                group(c, c.root(), name, CreationOrder::default());
            }
            c.attr_create(c.root(), b"token", attr_spec(1, 1)).unwrap();
        });
        a.link_delete(a.root(), b"job1").unwrap();
        b.link_delete(b.root(), b"job1").unwrap();
        a.flush().unwrap();
        assert!(conflict_text(&b).contains("/, link 'job1',"));
        rename(&a, b"job2", b"of a");
        rename(&b, b"job2", b"of b");
        a.flush().unwrap();
        assert!(conflict_text(&b).contains("/, link 'job2',"));
        for c in [&a, &b] {
            c.attr_delete(c.root(), b"token").unwrap();
        }
        a.flush().unwrap();
        assert!(conflict_text(&b).contains("/, attribute 'token',"));
        drop((a, b));
        let c = check(&p);
        assert!(there(&c, b"of a") && !there(&c, b"of b"));
    }
}

#[test]
fn moves_of_two_writers_make_no_cycle() {
    for p in places() {
        for on_conflict in ALL {
            for by_links in [false, true] {
                let [a, b] = writers_that(&p, on_conflict, |c| {
                    for name in [b"run1", b"run2", b"run3"] {
                        let g = group(c, c.root(), name, CreationOrder::default());
                        group(c, g, b"data", CreationOrder::default());
                    }
                });
                let into = |c: &Arc<Container>, name: &[u8], to: &[u8]| {
                    if by_links {
                        let id = LinkTarget::Hard(find(c, name));
                        c.link_create(find(c, to), name, id, CharSet::Utf8).unwrap();
                        c.link_delete(c.root(), name).unwrap();
                    } else {
                        put_into(c, name, to);
                    }
                };
                into(&a, b"run1", b"run2");
                a.flush().unwrap();
                into(&b, b"run2", b"run1/data");
                let text = conflict_text(&b);
                assert!(
                    text.contains("/run2, which the moves of two writers would make unreachable"),
                    "{text}"
                );
                // Moves that are compatible are both made.
                into(&a, b"run2", b"run3");
                group(&b, b.root(), b"new", CreationOrder::default());
                into(&b, b"run3", b"new");
                a.flush().unwrap();
                b.flush().unwrap();
                drop((a, b));
                assert!(there(&check(&p), b"new/run3/run2/run1/data"));
            }
        }
    }
}

#[test]
fn remotely_changed_objects_are_not_deleted_silently() {
    for p in places() {
        for on_conflict in ALL {
            for way in 0..6 {
                let [a, b] = writers_that(&p, on_conflict, |c| {
                    let g = group(c, c.root(), b"g", CreationOrder::default());
                    let d = c.create_dataset(chunked(10, 10, false)).unwrap();
                    c.link_create(g, b"d", LinkTarget::Hard(d.id()), CharSet::Utf8).unwrap();
                    group(c, c.root(), b"other", CreationOrder::default());
                });
                match way {
                    0 => open(&a, b"g/d").write(&part(0, 1), &[7; 4]).unwrap(),
                    1 => drop(a.attr_create(find(&a, b"g/d"), b"x", attr_spec(1, 1)).unwrap()),
                    2 => drop(group(&a, find(&a, b"g"), b"new", CreationOrder::default())),
                    3 => put_into(&a, b"other", b"g"),
                    4 => open(&a, b"g/d").set_extent(&[20]).unwrap(),
                    _ => drop(group(&a, a.root(), b"elsewhere", CreationOrder::default())),
                }
                a.flush().unwrap();
                b.link_delete(b.root(), b"g").unwrap();
                let is_reported = on_conflict != OnConflict::Last && way < 5;
                if is_reported {
                    let text = conflict_text(&b);
                    assert!(text.contains("/g, which this batch deletes, was changed by"), "{text}");
                } else {
                    b.flush().unwrap();
                }
                drop((a, b));
                assert_eq!(there(&check(&p), b"g/d"), is_reported, "{on_conflict:?} {way}");
            }
        }
    }
}

#[test]
fn two_writers_cannot_remove_both_links_of_an_object() {
    for p in places() {
        let [a, b] = writers(&p, |c| {
            let d = dataset(c, b"one", chunked(10, 10, false));
            c.link_create(c.root(), b"two", LinkTarget::Hard(d.object().id()), CharSet::Utf8).unwrap();
        });
        a.link_delete(a.root(), b"one").unwrap();
        b.link_delete(b.root(), b"two").unwrap();
        a.flush().unwrap();
        conflict_text(&b);
        drop((a, b));
        assert!(there(&check(&p), b"two"));
    }
}

#[test]
fn remotely_written_elements_are_not_truncated_silently() {
    for p in places() {
        for on_conflict in ALL {
            for (gzip, regrow) in [(false, false), (false, true), (true, false), (true, true)] {
                let [a, b] = writers_that(&p, on_conflict, |c| {
                    let d = dataset(c, b"d", chunked(100, 30, gzip));
                    d.write(&part(0, 50), &[7; 200]).unwrap();
                });
                let d = open(&b, b"d");
                for from in [10, 35, 75] {
                    open(&a, b"d").write(&part(from, 3), &[8; 12]).unwrap();
                    a.flush().unwrap();
                    d.set_extent(&[40]).unwrap();
                    if regrow {
                        d.set_extent(&[100]).unwrap();
                    }
                    if from < 40 || on_conflict == OnConflict::Last {
                        b.flush().unwrap();
                        d.set_extent(&[100]).unwrap();
                        b.flush().unwrap();
                    } else {
                        let text = conflict_text(&b);
                        assert!(
                            text.contains("3 of the elements [75] to [77], which this batch cuts"),
                            "{text}"
                        );
                        assert_eq!(d.space().dims(), [100]);
                    }
                    a.refresh().unwrap();
                }
                drop((d, a, b));
                let mut wanted = [vec![7; 160], vec![0; 240]].concat();
                wanted[40..52].fill(8);
                wanted[140..152].fill(8);
                // With `OnConflict::Last`, a batch that grows the dataset again has not seen these elements, and leaves them in
                // place.
                if on_conflict != OnConflict::Last || regrow {
                    wanted[300..312].fill(8);
                }
                assert!(all(&open(&check(&p), b"d")) == wanted, "{on_conflict:?} {gzip} {regrow}");
            }
        }
    }
}

#[test]
fn objects_of_a_dropped_batch_close_without_harm() {
    for p in places() {
        let c = p.create();
        text_attribute(&c, c.root(), b"text", b"some text");
        drop(c);
        let [a, b] = [(); 2].map(|()| super::many::apart(&p));
        let old = b.attr_open(b.root(), b"text").unwrap();
        b.attr_delete(b.root(), b"text").unwrap();
        let new = b.create_group(GroupSpec::default()).unwrap();
        let made = text_attribute(&b, b.root(), b"made", b"other text");
        b.set_comment(b.root(), Some(b"b")).unwrap();
        a.set_comment(a.root(), Some(b"a")).unwrap();
        a.flush().unwrap();
        conflict_text(&b);
        assert!(made.read().is_err() && b.object_info(new.id()).is_err());
        drop((old, new, made));
        b.flush().unwrap();
        drop((a, b));
        let c = check(&p);
        assert_eq!(text_of(&c.attr_open(c.root(), b"text").unwrap()), b"some text");
    }
}

/// Small chunks of a large batch do not stay in memory until they are committed, and are in the file only once.
#[test]
fn staged_chunks_of_a_shared_writer_take_little_memory() {
    const CHUNKS: u64 = 24_000;
    for p in places() {
        let [a] = writers(&p, |c| drop(dataset(c, b"d", chunked(CHUNKS * 256, 256, false))));
        let d = open(&a, b"d");
        for n in 0..CHUNKS / 100 {
            d.write(&part(n * 25_600, 25_600), &[(n % 250) as u8 + 1; 102_400]).unwrap();
            // The staged bytes are 1 KiB a chunk up to a bound, and some bytes a chunk beyond it.
            assert!(a.ledger.staged_bytes() < (5 << 20) + n * 100 * 110, "{n}: {}", a.ledger.staged_bytes());
        }
        a.flush().unwrap();
        drop((d, a));
        let c = p.open(Access::ReadOnly);
        let size = c.size().unwrap();
        assert!(size < CHUNKS * 1024 * 8 / 5, "{size}");
        let d = open(&c, b"d");
        assert!((0..CHUNKS / 100).all(|n| element(&d, n * 25_600 + 25_599) == (n % 250) as u8 + 1));
    }
}
