//! Several writers of one container.

use super::*;
use h5lake_ledger::Writers;

pub(crate) fn options() -> Options {
    let ledger = h5lake_ledger::Options { writers: Writers::Many, ..Default::default() };
    Options { ledger, ..Options::default() }
}

/// Creates and closes a container, and opens it by several writers.
pub(crate) fn writers<const N: usize>(p: &Place, make: impl FnOnce(&Arc<Container>)) -> [Arc<Container>; N] {
    writers_that(p, OnConflict::Fail, make)
}

/// Like [`writers`], with this conflict policy.
pub(crate) fn writers_that<const N: usize>(
    p: &Place,
    on_conflict: OnConflict,
    make: impl FnOnce(&Arc<Container>),
) -> [Arc<Container>; N] {
    let c = p.create_with(options());
    make(&c);
    drop(c);
    let options = Options { on_conflict, ..options() };
    std::array::from_fn(|_| Container::open_apart(&p.target, Access::ReadWrite, &options).unwrap())
}

pub(crate) fn apart(p: &Place) -> Arc<Container> {
    Container::open_apart(&p.target, Access::ReadWrite, &options()).unwrap()
}

pub(crate) fn conflict(c: &Container) -> String {
    let e = c.flush().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    c.flush().unwrap();
    e.to_string()
}

pub(crate) fn find(c: &Container, path: &[u8]) -> ObjectId {
    match c.resolve(c.root(), path, LastLink::Follow, 16).unwrap() {
        Resolution::Object { id } => id,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn there(c: &Container, path: &[u8]) -> bool {
    matches!(c.resolve(c.root(), path, LastLink::Follow, 16), Ok(Resolution::Object { .. }))
}

pub(crate) fn open(c: &Arc<Container>, path: &[u8]) -> Arc<Dataset> {
    c.dataset(find(c, path)).unwrap()
}

pub(crate) fn part(start: u64, count: u64) -> Selection {
    Selection::Hyperslab { start: vec![start], stride: vec![1], count: vec![count], block: vec![1] }
}

pub(crate) fn all(d: &Dataset) -> Vec<u8> {
    let mut out = vec![0; (d.space().points().unwrap() * d.datatype().size) as usize];
    d.read(&Selection::All, &mut out).unwrap();
    out
}

pub(crate) fn chunked(n: u64, chunk: u64, gzip: bool) -> DatasetSpec {
    let mut spec = dataset_spec(4, simple(&[n], &[UNLIMITED]), Layout::Chunked { chunk: vec![chunk] });
    if gzip {
        spec.filters = vec![Filter { id: 1, flags: 0, name: Vec::new(), client_data: vec![4] }];
    }
    spec
}

/// Checks that everything that a new reader finds is consistent: counts match the content, and nothing is orphaned.
pub(crate) fn check(p: &Place) -> Arc<Container> {
    let c = p.open(Access::ReadOnly);
    let mut pending = vec![c.root()];
    let mut seen = std::collections::HashMap::from([(c.root().0, 1u32)]);
    while let Some(g) = pending.pop() {
        let info = c.object_info(g).unwrap();
        assert_eq!(info.attribute_count, c.attrs(g, Index::Name, Order::Native).unwrap().len() as u64);
        if info.kind != ObjectKind::Group {
            if info.kind == ObjectKind::Dataset {
                all(&c.dataset(g).unwrap());
            }
            continue;
        }
        let links = c.links(g, Index::Name, Order::Native).unwrap();
        let tracked = c.group_info(g).unwrap();
        assert_eq!(tracked.link_count, links.len() as u64);
        let mut orders: Vec<_> = links.iter().filter_map(|l| l.creation_order).collect();
        orders.sort_unstable();
        orders.dedup();
        assert!(orders.len() == links.len() || !tracked.link_order.tracked, "orders are given twice");
        assert!(orders.last().is_none_or(|o| *o < tracked.max_creation_order));
        for l in links {
            if let LinkTarget::Hard(id) = l.target {
                let count = seen.entry(id.0).or_default();
                *count += 1;
                if *count == 1 {
                    pending.push(id);
                }
            }
        }
    }
    for (id, links) in &seen {
        assert_eq!(c.object_info(ObjectId(*id)).unwrap().link_count, *links, "object {id:#x}");
    }
    for key in keys_of(&c) {
        let owned = [b'O', b'L', b'A', b'B'].contains(&key[0]);
        let id = owned.then(|| u64::from_be_bytes(key[1..9].try_into().unwrap()));
        assert!(id.is_none_or(|id| seen.contains_key(&id)), "{key:02x?} belongs to nothing");
        assert!(key[0] != b'Z', "{key:02x?} is left over");
    }
    c
}

#[test]
fn new_objects_and_attributes_of_all_writers_exist() {
    for p in places() {
        let [a, b] = writers(&p, |c| {
            group(c, c.root(), b"shared", tracked());
        });
        for (n, c) in [&a, &b].into_iter().enumerate() {
            let shared = find(c, b"shared");
            for i in 0..50 {
                let name = format!("{n}-{i}");
                let g = group(c, shared, name.as_bytes(), CreationOrder::default());
                c.attr_create(g, b"x", attr_spec(1, 3)).unwrap().write(&[n as u8; 3]).unwrap();
                c.attr_create(shared, name.as_bytes(), attr_spec(1, 1)).unwrap().write(&[i]).unwrap();
            }
            let d = dataset(c, format!("d{n}").as_bytes(), chunked(1000, 100, n == 0));
            d.write(&Selection::All, &vec![n as u8 + 1; 4000]).unwrap();
        }
        a.flush().unwrap();
        assert!(!there(&b, b"d0"));
        b.flush().unwrap();
        // A writer that commits sees the commits of other writers.
        assert!(there(&b, b"d0") && there(&b, b"shared/0-7"));
        assert!(a.refresh().unwrap() && there(&a, b"d1"));
        drop((a, b));
        let c = check(&p);
        assert_eq!(c.group_info(find(&c, b"shared")).unwrap().link_count, 100);
        assert_eq!(all(&open(&c, b"d1")), [2; 4000]);
        let shared = find(&c, b"shared");
        let orders: Vec<_> = c.links(shared, Index::CreationOrder, Order::Increasing).unwrap();
        assert_eq!(
            orders.iter().map(|l| l.creation_order.unwrap()).collect::<Vec<_>>(),
            (0..100).collect::<Vec<_>>()
        );
    }
}

#[test]
fn parts_of_one_chunk_are_merged() {
    for p in places() {
        for gzip in [false, true] {
            let [a, b, c] = writers(&p, |c| {
                dataset(c, b"d", chunked(30_000, 20_000, gzip)).write(&part(5, 10), &[9; 40]).unwrap();
            });
            let open_all = [&a, &b, &c].map(|c| open(c, b"d"));
            for round in 0..3u8 {
                for (n, d) in open_all.iter().enumerate() {
                    let from = 1000 + 100 * n as u64;
                    d.write(&part(from, 100), &[10 * round + n as u8 + 1; 400]).unwrap();
                    // Long runs are written past the cache.
                    d.write(&part(20_000 + 3000 * n as u64, 3000), &[20 * round + n as u8 + 1; 12_000])
                        .unwrap();
                }
                [&a, &b, &c].iter().for_each(|c| c.flush().unwrap());
            }
            let mut wanted = vec![0u8; 120_000];
            wanted[20..60].fill(9);
            for n in 0..3 {
                wanted[4000 + 400 * n..4400 + 400 * n].fill(21 + n as u8);
                wanted[80_000 + 12_000 * n..92_000 + 12_000 * n].fill(41 + n as u8);
            }
            assert!(all(&open_all[2]) == wanted);
            a.refresh().unwrap();
            assert!(all(&open_all[0]) == wanted);
            drop((open_all, a, b, c));
            assert!(all(&open(&check(&p), b"d")) == wanted);
        }
    }
}

#[test]
fn equal_elements_conflict_and_other_changes_merge_on_request() {
    for p in places() {
        for gzip in [false, true] {
            let [a, b] =
                writers_that(&p, OnConflict::Merge, |c| drop(dataset(c, b"d", chunked(100, 50, gzip))));
            open(&a, b"d").write(&part(10, 10), &[1; 40]).unwrap();
            let d = open(&b, b"d");
            d.write(&part(15, 10), &[2; 40]).unwrap();
            d.write(&part(60, 2), &[3; 8]).unwrap();
            group(&b, b.root(), b"g", CreationOrder::default());
            a.flush().unwrap();
            let text = conflict(&b);
            assert!(
                text.contains("/d, 5 of the elements [15] to [19], was changed by another writer (host "),
                "{text}"
            );
            assert!(text.contains(&format!("process {}) in version", std::process::id())), "{text}");
            let mut wanted = vec![0u8; 400];
            wanted[40..80].fill(1);
            wanted[80..100].fill(2);
            wanted[240..248].fill(3);
            assert!(all(&d) == wanted && there(&b, b"g"));
            // The writer has seen the remote elements now, and may overwrite them.
            d.write(&part(15, 5), &[2; 20]).unwrap();
            b.flush().unwrap();
            wanted[60..80].fill(2);
            drop((d, a, b));
            assert!(all(&open(&check(&p), b"d")) == wanted);
        }
    }
}

#[test]
fn the_last_writer_wins_on_request() {
    for p in places() {
        let [a] = writers(&p, |c| {
            dataset(c, b"d", chunked(100, 50, true));
            c.attr_create(c.root(), b"x", attr_spec(1, 5000)).unwrap().write(&[0; 5000]).unwrap();
        });
        let last = Options { on_conflict: OnConflict::Last, ..options() };
        let b = Container::open_apart(&p.target, Access::ReadWrite, &last).unwrap();
        for (n, c) in [&a, &b].into_iter().enumerate() {
            let n = n as u8 + 1;
            open(c, b"d").write(&part(10 * u64::from(n), 20), &[n; 80]).unwrap();
            c.attr_open(c.root(), b"x").unwrap().write(&[n; 5000]).unwrap();
            c.attr_create(c.root(), b"new", attr_spec(1, 1)).unwrap().write(&[n]).unwrap();
            dataset(c, b"g", chunked(10, 10, false));
            c.set_comment(c.root(), Some(&[b'0' + n])).unwrap();
        }
        a.flush().unwrap();
        let replaced = find(&a, b"g");
        b.flush().unwrap();
        drop((a, b));
        // An object that lost its only link is deleted by the next exclusive writer.
        p.open(Access::ReadWrite);
        let c = check(&p);
        let mut wanted = vec![0u8; 400];
        wanted[40..80].fill(1);
        wanted[80..160].fill(2);
        assert!(all(&open(&c, b"d")) == wanted);
        assert_eq!(c.attr_open(c.root(), b"x").unwrap().read().unwrap(), vec![2; 5000]);
        assert_eq!(c.attr_open(c.root(), b"new").unwrap().read().unwrap(), vec![2; 1]);
        assert_eq!(c.comment(c.root()).unwrap().unwrap(), b"2");
        assert!(find(&c, b"g") != replaced);
    }
}

/// Creates an attribute of one string, in libhdf5's layout.
fn string_attribute(c: &Arc<Container>, name: &[u8], text: &[u8], before: usize) {
    let mut spec = attr_spec(20, 1);
    (spec.datatype.class, spec.datatype.has_heap) = (3, true);
    let a = c.attr_create(c.root(), name, spec).unwrap();
    let mut heap = InlineHeap::default();
    // The place of the blob differs.
    heap.put(&vec![0; before]);
    let id = heap.put(text);
    let value = [&(text.len() as u32).to_le_bytes()[..], &id].concat();
    a.write_with_heap(&value, &heap).unwrap();
}

#[test]
fn equal_texts_are_no_conflict() {
    for p in places() {
        let [a, b] = writers(&p, |_| ());
        for (n, c) in [&a, &b].into_iter().enumerate() {
            string_attribute(c, b"same", b"text", n);
            string_attribute(c, b"other", [b"one", b"two"][n], 0);
        }
        a.flush().unwrap();
        let text = conflict(&b);
        assert!(text.contains("/, attribute 'other',") && !text.contains("'same'"), "{text}");
    }
}

#[test]
fn names_attributes_comments_and_shapes_conflict() {
    for p in places() {
        let [a, b] = writers_that(&p, OnConflict::Merge, |c| {
            group(c, c.root(), b"old", CreationOrder::default());
            dataset(c, b"d", chunked(100, 10, false)).write(&Selection::All, &[7; 400]).unwrap();
            c.attr_create(c.root(), b"x", attr_spec(1, 1)).unwrap();
            c.attr_create(c.root(), b"y", attr_spec(1, 1)).unwrap();
        });
        // Equal changes by both writers are no conflict.
        for c in [&a, &b] {
            c.attr_open(c.root(), b"x").unwrap().write(&[5]).unwrap();
            c.attr_create(c.root(), b"same", attr_spec(1, 2)).unwrap().write(&[1, 2]).unwrap();
            c.link_create(c.root(), b"soft", LinkTarget::Soft(b"d".to_vec()), CharSet::Ascii).unwrap();
            c.link_delete(c.root(), b"old").unwrap();
            c.set_comment(c.root(), Some(b"both")).unwrap();
        }
        a.flush().unwrap();
        b.flush().unwrap();
        drop(check(&p));
        for (n, c) in [&a, &b].into_iter().enumerate() {
            let n = n as u8;
            c.refresh().unwrap();
            // Groups that were created with different properties are not merged.
            group(c, c.root(), b"twice", CreationOrder { tracked: n == 0, indexed: false });
            group(c, c.root(), &[b'o', n], CreationOrder::default());
            c.attr_open(c.root(), b"x").unwrap().write(&[10 + n]).unwrap();
            c.attr_create(c.root(), b"new", attr_spec(1, 1)).unwrap().write(&[n]).unwrap();
            c.set_comment(find(c, b"d"), Some(&[b'a' + n])).unwrap();
            if n == 0 {
                c.attr_delete(c.root(), b"y").unwrap();
                open(c, b"d").set_extent(&[200]).unwrap();
            } else {
                c.attr_open(c.root(), b"y").unwrap().write(&[1]).unwrap();
                open(c, b"d").set_extent(&[50]).unwrap();
            }
        }
        a.flush().unwrap();
        let text = conflict(&b);
        for part in [
            "/, link 'twice',",
            "/, attribute 'x',",
            "/, attribute 'new',",
            "/d, its comment,",
            "/, attribute 'y',",
            "/d, its dimensions ([100] to [200]),",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert_eq!(open(&b, b"d").space().dims(), [200]);
        drop((a, b));
        p.open(Access::ReadWrite);
        let c = check(&p);
        assert!(there(&c, &[b'o', 0]) && there(&c, &[b'o', 1]));
        assert_eq!(c.attr_open(c.root(), b"x").unwrap().read().unwrap(), vec![10]);
        assert!(!c.attr_exists(c.root(), b"y").unwrap());
        assert_eq!(all(&open(&c, b"d"))[..400], [7; 400]);
    }
}

#[test]
fn concurrent_growth_and_truncation() {
    for p in places() {
        for gzip in [false, true] {
            let [a, b] = writers_that(&p, OnConflict::Merge, |c| {
                for name in [b"grow", b"cutA"] {
                    dataset(c, name, chunked(100, 30, gzip)).write(&Selection::All, &[7; 400]).unwrap();
                }
            });
            let (x, y) = (open(&a, b"grow"), open(&b, b"grow"));
            x.set_extent(&[150]).unwrap();
            y.set_extent(&[200]).unwrap();
            x.write(&part(100, 50), &[1; 200]).unwrap();
            y.write(&part(150, 50), &[2; 200]).unwrap();
            // The first writer shrinks the dataset, the other one has written outside: a conflict is reported.
            open(&a, b"cutA").set_extent(&[40]).unwrap();
            open(&b, b"cutA").write(&part(20, 60), &[8; 240]).unwrap();
            a.flush().unwrap();
            let text = conflict(&b);
            assert!(text.contains("/cutA, 20 of the elements [40] to [59],"), "{text}");
            drop((x, y, a, b));
            let c = check(&p);
            let wanted = [vec![7; 400], vec![1; 200], vec![2; 200]].concat();
            assert!(all(&open(&c, b"grow")) == wanted);
            assert!(all(&open(&c, b"cutA")) == [vec![7; 80], vec![8; 80]].concat());
            drop(c);
            let c = p.open(Access::ReadWrite);
            let d = open(&c, b"cutA");
            d.set_extent(&[100]).unwrap();
            assert!(all(&d)[160..] == [0; 240], "it shows what was cut off");
        }
    }
}

#[test]
fn a_deleted_object_stays_deleted_and_its_writer_gets_a_conflict() {
    for p in places() {
        let [a, b] = writers_that(&p, OnConflict::Merge, |c| {
            dataset(c, b"d", chunked(100, 10, false)).write(&Selection::All, &[7; 400]).unwrap();
            let g = group(c, c.root(), b"g", CreationOrder::default());
            group(c, g, b"in", CreationOrder::default());
            dataset(c, b"kept", chunked(100, 10, false));
        });
        a.link_delete(a.root(), b"d").unwrap();
        a.link_delete(a.root(), b"g").unwrap();
        let d = open(&b, b"d");
        d.write(&part(0, 40), &[1; 160]).unwrap();
        let g = find(&b, b"g");
        group(&b, g, b"new", CreationOrder::default());
        b.attr_create(g, b"x", attr_spec(1, 6000)).unwrap().write(&[1; 6000]).unwrap();
        b.link_create(b.root(), b"again", LinkTarget::Hard(d.object().id()), CharSet::Ascii).unwrap();
        b.link_create(g, b"kept", LinkTarget::Hard(find(&b, b"kept")), CharSet::Ascii).unwrap();
        open(&b, b"kept").write(&part(0, 1), &[3; 4]).unwrap();
        a.flush().unwrap();
        let text = conflict(&b);
        assert!(
            text.contains(": /, link 'again',")
                && text.contains("; /d, which was deleted, was changed by another writer"),
            "{text}"
        );
        assert!(text.contains("; /g, which was deleted,") && !text.contains("'kept'"), "{text}");
        drop((d, a, b));
        p.open(Access::ReadWrite);
        let c = check(&p);
        assert!(!there(&c, b"d") && !there(&c, b"g") && !there(&c, b"again"));
        assert_eq!(all(&open(&c, b"kept"))[..5], [3, 3, 3, 3, 0]);
    }
}

#[test]
fn blobs_of_many_writers_live_as_long_as_they_are_used() {
    for p in places() {
        let mut first = Vec::new();
        let [a, b] = writers(&p, |c| {
            let d = dataset(c, b"d", dataset_spec(16, simple(&[60], &[60]), Layout::Contiguous));
            let ids: Vec<_> = (0..60u8).map(|n| c.heap_put(d.object().id(), &[n; 100]).unwrap()).collect();
            d.write(&Selection::All, &ids.concat()).unwrap();
            first = ids;
        });
        for (n, c) in [&a, &b].into_iter().enumerate() {
            let d = open(c, b"d");
            for (i, old) in first.iter().enumerate().skip(n * 20).take(20) {
                let id = c.heap_put(d.object().id(), &[100 + i as u8; 3000]).unwrap();
                c.heap_delete(old).unwrap();
                d.write(&part(i as u64, 1), &id).unwrap();
            }
        }
        a.flush().unwrap();
        b.flush().unwrap();
        // Both writers replace the same attribute.
        for c in [&a, &b] {
            c.refresh().unwrap();
            let d = open(c, b"d");
            let id = c.heap_put(d.object().id(), b"one of both").unwrap();
            c.heap_delete(&first[50]).unwrap();
            d.write(&part(50, 1), &id).unwrap();
        }
        a.flush().unwrap();
        conflict(&b);
        drop((a, b));
        let c = check(&p);
        let ids = all(&open(&c, b"d"));
        for (i, id) in ids.chunks_exact(16).enumerate() {
            let id: [u8; 16] = id.try_into().unwrap();
            let wanted = match i {
                0..40 => vec![100 + i as u8; 3000],
                50 => b"one of both".to_vec(),
                _ => vec![i as u8; 100],
            };
            let mut out = vec![0; c.heap_len(&id).unwrap() as usize];
            c.heap_get(&id, &mut out).unwrap();
            assert!(out == wanted, "blob {i}");
        }
    }
}

#[test]
fn space_of_several_writers_is_freed_after_all_close() {
    let p = file();
    let length = 8 << 20;
    let data = |seed: u8| -> Vec<u8> { (0..length).map(|n| (n as u8) ^ seed ^ (n >> 11) as u8).collect() };
    let spec = |n: u64| dataset_spec(1, simple(&[n], &[n]), Layout::Contiguous);
    let [a, b] = writers(&p, |c| {
        dataset(c, b"a", spec(length));
        dataset(c, b"b", spec(length));
    });
    for round in 0..4 {
        for (c, name) in [(&a, b"a"), (&b, b"b")] {
            open(c, name).write(&Selection::All, &data(round + name[0])).unwrap();
            c.flush().unwrap();
        }
    }
    // Readers of the present version retain it.
    let reader = p.open(Access::ReadOnly);
    let left = a.space_left_for_writers() + b.space_left_for_writers();
    assert!(left > 2 * length, "{left}");
    let before = a.size().unwrap();
    let target = &p.target;
    Container::compact_left(target, &options(), left).unwrap();
    drop(a);
    Container::compact_left(target, &options(), left).unwrap();
    assert_eq!(b.size().unwrap(), before, "while somebody writes, nothing is moved");
    drop(b);
    Container::compact_left(target, &options(), left).unwrap();
    for name in [b"a", b"b"] {
        assert!(all(&open(&reader, name)) == data(3 + name[0]));
    }
    drop(reader);
    // The space that the reader retained is free now.
    Container::compact_left(target, &options(), left).unwrap();
    let c = check(&p);
    for name in [b"a", b"b"] {
        assert!(all(&open(&c, name)) == data(3 + name[0]));
    }
    let after = c.size().unwrap();
    assert!(after <= 2 * length + length / 8, "{before} became {after}");
    // A small amount is not worth opening the container.
    Container::compact_left(target, &options(), 1).unwrap();
}

#[test]
fn shrinking_a_remotely_deleted_dataset_is_a_conflict() {
    for p in places() {
        let [a, b] = writers(&p, |c| {
            dataset(c, b"d", chunked(100, 10, false)).write(&Selection::All, &[7; 400]).unwrap();
        });
        open(&b, b"d").set_extent(&[15]).unwrap();
        a.link_delete(a.root(), b"d").unwrap();
        a.flush().unwrap();
        let text = conflict(&b);
        assert!(text.contains("/d, which was deleted,"), "{text}");
        drop((a, b));
        check(&p);
    }
}

/// Changes of the structure wait for a collective commit. The extents that they free are in use until then.
#[test]
fn a_commit_of_elements_frees_nothing_for_pending_changes() {
    let noise = |salt: u64| -> Vec<u8> {
        (0..400_000u64).map(|i| ((i + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
    };
    let mut options = options();
    options.ledger.retention = Some(std::time::Duration::ZERO);
    for place in places() {
        for is_abandoned in [true, false] {
            let c = place.create_with(options.clone());
            for name in [b"d", b"e"] {
                dataset(&c, name, chunked(100_000, 50_000, false)).write(&Selection::All, &noise(1)).unwrap();
            }
            c.flush().unwrap();
            open(&c, b"d").set_extent(&[50_000]).unwrap();
            for salt in 2..6 {
                open(&c, b"e").write(&Selection::All, &noise(salt)).unwrap();
                c.commit_elements().unwrap();
            }
            if is_abandoned {
                c.abandon("the program ends");
            } else {
                c.flush().unwrap();
            }
            drop(c);
            let alone = Options {
                ledger: h5lake_ledger::Options { writers: Writers::One, ..options.ledger.clone() },
                ..options.clone()
            };
            Container::open(&place.target, Access::ReadWrite, alone).unwrap().vacuum().unwrap();
            let c = check(&place);
            let wanted = if is_abandoned { noise(1) } else { noise(1)[..200_000].to_vec() };
            assert!(all(&open(&c, b"d")) == wanted, "abandoned: {is_abandoned}");
            assert!(all(&open(&c, b"e")) == noise(5), "abandoned: {is_abandoned}");
        }
    }
}

#[test]
fn a_refresh_without_changes_retains_no_remote_changes() {
    for p in places() {
        let [a, b] = writers(&p, |c| drop(dataset(c, b"d", chunked(100, 10, false))));
        for n in 0..20u8 {
            let name = [b'g', n + 1];
            group(&a, a.root(), &name, CreationOrder::default());
            open(&a, b"d").write(&part(u64::from(n), 1), &[n; 4]).unwrap();
            a.flush().unwrap();
            a.link_delete(a.root(), &name).unwrap();
            a.flush().unwrap();
            b.refresh().unwrap();
            assert_eq!(b.state().remote.remembered(), 0);
        }
        // The staged changes are merged with all later commits.
        b.attr_create(b.root(), b"x", attr_spec(1, 1)).unwrap();
        a.attr_create(a.root(), b"y", attr_spec(1, 1)).unwrap();
        a.flush().unwrap();
        b.refresh().unwrap();
        assert!(b.state().remote.remembered() > 0);
        b.flush().unwrap();
        drop((a, b));
        check(&p);
    }
}
