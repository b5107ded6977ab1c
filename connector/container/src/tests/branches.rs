//! Branches: their visible state, and the results of merges.

use super::many::{all, check, chunked, find, open, part, there};
use super::*;
use h5lake_ledger::{At, BranchName, Ledger, TagName, Tagging};

pub(super) fn name() -> BranchName {
    BranchName::new("fix").unwrap()
}

pub(super) fn main_ledger(p: &Place, access: Access) -> Ledger {
    match &p.target {
        Target::File(path) => Ledger::open_file(path, access, Default::default()),
        Target::Objects { store, key, .. } => {
            Ledger::open_objects(store.clone(), key, access, Default::default())
        }
    }
    .unwrap()
}

pub(super) fn begin(p: &Place) {
    let ledger = main_ledger(p, Access::ReadWrite);
    ledger.create_branch(name(), None).unwrap();
    ledger.close().unwrap();
}

pub(super) fn on_branch(p: &Place, access: Access) -> Arc<Container> {
    let ledger = h5lake_ledger::Options { at: Some(At::Branch(name())), ..Default::default() };
    Container::open(&p.target, access, Options { ledger, ..Options::default() }).unwrap()
}

pub(super) fn merge(p: &Place) -> Result<MergedBranch> {
    Container::merge_branch(&p.target, name(), &Options::default())
}

/// Creates a container with a group, a chunked dataset of 100 numbers, a contiguous one, attributes and strings; and a
/// branch.
pub(super) fn prepared() -> Vec<Place> {
    let places = places();
    for p in &places {
        let c = p.create();
        let g = group(&c, c.root(), b"g", tracked());
        group(&c, g, b"below", CreationOrder::default());
        c.attr_create(g, b"x", attr_spec(1, 3)).unwrap().write(&[1; 3]).unwrap();
        dataset(&c, b"d", chunked(100, 10, true)).write(&Selection::All, &[7; 400]).unwrap();
        let plain = dataset_spec(4, simple(&[50_000], &[50_000]), Layout::Contiguous);
        dataset(&c, b"plain", plain).write(&Selection::All, &[3; 200_000]).unwrap();
        drop(c);
        begin(p);
    }
    places.into()
}

pub(super) fn is_whole(p: &Place) {
    let report =
        super::checks::verify(&p.target, &Options::default(), super::checks::Versions::All, &mut |_, _| ())
            .unwrap();
    assert!(report.is_whole() && report.found.is_empty(), "{:?}", report.found);
}

/// Writes to freed space, which damages anything that still needs it.
pub(super) fn take_free_space(c: &Arc<Container>) {
    for n in 0..4 {
        let d = dataset(c, format!("{n}").as_bytes(), chunked(30_000, 30_000, false));
        d.write(&Selection::All, &[n; 120_000]).unwrap();
        c.flush().unwrap();
    }
}

#[test]
fn a_branch_shows_its_changes_and_the_main_line_does_not() {
    for p in prepared() {
        let b = on_branch(&p, Access::ReadWrite);
        open(&b, b"d").write(&part(5, 20), &[9; 80]).unwrap();
        open(&b, b"plain").write(&part(0, 10), &[8; 40]).unwrap();
        let g = find(&b, b"g");
        group(&b, g, b"new", CreationOrder::default());
        b.attr_create(g, b"y", attr_spec(1, 1)).unwrap().write(&[5]).unwrap();
        b.link_delete(g, b"below").unwrap();
        b.flush().unwrap();
        drop(b);
        is_whole(&p);
        let b = on_branch(&p, Access::ReadOnly);
        assert!(there(&b, b"g/new") && !there(&b, b"g/below"));
        assert_eq!(b.attrs(find(&b, b"g"), Index::Name, Order::Native).unwrap().len(), 2);
        let names: Vec<_> = b.links(find(&b, b"g"), Index::Name, Order::Native).unwrap();
        assert_eq!(names.iter().map(|l| l.name.to_vec()).collect::<Vec<_>>(), [b"new".to_vec()]);
        let (d, plain) = (all(&open(&b, b"d")), all(&open(&b, b"plain")));
        assert_eq!((&d[..20], &d[20..100], &d[100..]), (&[7; 20][..], &[9; 80][..], &[7; 300][..]));
        assert_eq!((&plain[..40], plain[40..].iter().all(|v| *v == 3)), (&[8; 40][..], true));
        let c = check(&p);
        assert!(!there(&c, b"g/new") && there(&c, b"g/below"));
        assert_eq!(all(&open(&c, b"d")), [7; 400]);
        assert_eq!(all(&open(&c, b"plain")), vec![3; 200_000]);
    }
}

#[test]
fn a_merge_takes_over_everything_and_ends_the_branch() {
    for p in prepared() {
        let b = on_branch(&p, Access::ReadWrite);
        open(&b, b"d").write(&part(5, 20), &[9; 80]).unwrap();
        open(&b, b"plain").write(&part(0, 20_000), &[8; 80_000]).unwrap();
        let g = find(&b, b"g");
        group(&b, g, b"new", CreationOrder::default());
        dataset(&b, b"more", chunked(100, 10, false)).write(&Selection::All, &[4; 400]).unwrap();
        b.attr_create(g, b"y", attr_spec(1, 1)).unwrap().write(&[5]).unwrap();
        b.link_delete(g, b"below").unwrap();
        drop(b);
        // Meanwhile the main line changes other objects, and other elements of the same chunk.
        let c = p.open(Access::ReadWrite);
        open(&c, b"d").write(&part(26, 3), &[6; 12]).unwrap();
        group(&c, find(&c, b"g"), b"theirs", CreationOrder::default());
        c.attr_create(find(&c, b"g"), b"z", attr_spec(1, 1)).unwrap().write(&[1]).unwrap();
        drop(c);
        let merged = merge(&p).unwrap();
        assert!(merged.entries > 5, "{merged:?}");
        let c = check(&p);
        assert!(there(&c, b"g/new") && there(&c, b"g/theirs") && !there(&c, b"g/below"));
        assert_eq!(c.attrs(find(&c, b"g"), Index::Name, Order::Native).unwrap().len(), 3);
        let d = all(&open(&c, b"d"));
        assert_eq!((&d[20..100], &d[100..104], &d[104..116]), (&[9; 80][..], &[7; 4][..], &[6; 12][..]));
        assert_eq!(all(&open(&c, b"more")), [4; 400]);
        assert!(all(&open(&c, b"plain"))[..80_000].iter().all(|v| *v == 8));
        drop(c);
        let ledger = main_ledger(&p, Access::ReadOnly);
        assert!(ledger.branches().unwrap().is_empty() && ledger.tags().unwrap().is_empty());
        assert!(keys_of(&p.open(Access::ReadOnly)).iter().all(|key| key[0] != keys::BRANCH));
        is_whole(&p);
    }
}

#[test]
fn conflicts_refuse_the_merge_and_name_the_objects() {
    type Change = fn(&Arc<Container>);
    let cases: [(Change, Change, &str); 9] = [
        (
            |b| open(b, b"d").write(&part(5, 2), &[9; 8]).unwrap(),
            |c| open(c, b"d").write(&part(6, 2), &[6; 8]).unwrap(),
            "/d, 1 of the elements [6] to [6],",
        ),
        (
            |b| b.link_delete(find(b, b"g"), b"below").unwrap(),
            |c| _ = group(c, find(c, b"g/below"), b"deep", CreationOrder::default()),
            "/g/below",
        ),
        (
            |b| _ = group(b, find(b, b"g/below"), b"deep", CreationOrder::default()),
            |c| c.link_delete(find(c, b"g"), b"below").unwrap(),
            "/g/below",
        ),
        (
            |b| b.attr_create(find(b, b"g"), b"y", attr_spec(1, 1)).unwrap().write(&[5]).unwrap(),
            |c| c.attr_create(find(c, b"g"), b"y", attr_spec(1, 1)).unwrap().write(&[6]).unwrap(),
            "/g, attribute 'y',",
        ),
        (
            |b| open(b, b"d").set_extent(&[200]).unwrap(),
            |c| open(c, b"d").set_extent(&[150]).unwrap(),
            "/d, its dimensions",
        ),
        (
            |b| open(b, b"d").set_extent(&[50]).unwrap(),
            |c| open(c, b"d").write(&part(90, 2), &[6; 8]).unwrap(),
            "which this batch cuts off",
        ),
        (
            |b| [50, 100].iter().for_each(|n| open(b, b"d").set_extent(&[*n]).unwrap()),
            |c| open(c, b"d").write(&part(90, 2), &[6; 8]).unwrap(),
            "which this batch cuts off",
        ),
        (
            |b| [55, 100].iter().for_each(|n| open(b, b"d").set_extent(&[*n]).unwrap()),
            |c| open(c, b"d").write(&part(57, 1), &[6; 4]).unwrap(),
            "/d, 1 of the elements [57] to [57],",
        ),
        (
            |b| open(b, b"d").set_extent(&[15]).unwrap(),
            |c| c.link_delete(c.root(), b"d").unwrap(),
            "/d, which was deleted,",
        ),
    ];
    for (ours, theirs, expected) in cases {
        for p in prepared() {
            let b = on_branch(&p, Access::ReadWrite);
            ours(&b);
            dataset(&b, b"more", chunked(100, 10, false)).write(&Selection::All, &[4; 400]).unwrap();
            drop(b);
            let c = p.open(Access::ReadWrite);
            theirs(&c);
            drop(c);
            let before = keys_of(&p.open(Access::ReadOnly));
            let e = merge(&p).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
            let text = e.to_string();
            assert!(
                text.contains(expected) && text.contains("Nothing is merged; the branch 'fix' stays"),
                "{text}"
            );
            assert_eq!(keys_of(&p.open(Access::ReadOnly)), before);
            assert!(!there(&check(&p), b"more") && there(&on_branch(&p, Access::ReadOnly), b"more"));
            is_whole(&p);
        }
    }
}

#[test]
fn a_deletion_removes_exactly_the_subtree() {
    for p in prepared() {
        let c = p.open(Access::ReadWrite);
        let g = find(&c, b"g");
        let shared = group(&c, find(&c, b"g/below"), b"shared", CreationOrder::default());
        group(&c, shared, b"leaf", CreationOrder::default());
        c.link_create(c.root(), b"also", LinkTarget::Hard(shared), CharSet::Utf8).unwrap();
        group(&c, find(&c, b"g/below"), b"alone", CreationOrder::default());
        drop((g, c));
        Container::delete_branch(&p.target, name(), &Options::default()).unwrap();
        begin(&p);
        let b = on_branch(&p, Access::ReadWrite);
        b.link_delete(b.root(), b"g").unwrap();
        b.flush().unwrap();
        assert_eq!(b.object_info(find(&b, b"also")).unwrap().link_count, 1);
        drop(b);
        merge(&p).unwrap();
        let c = check(&p);
        assert!(there(&c, b"also/leaf") && !there(&c, b"g"));
        assert_eq!(c.object_info(find(&c, b"also")).unwrap().link_count, 1);
        is_whole(&p);
    }
}

#[test]
fn a_deleted_branch_frees_its_space() {
    for p in prepared() {
        let before = keys_of(&p.open(Access::ReadOnly));
        let b = on_branch(&p, Access::ReadWrite);
        open(&b, b"plain").write(&Selection::All, &[8; 200_000]).unwrap();
        drop(b);
        Container::delete_branch(&p.target, name(), &Options::default()).unwrap();
        let after: Vec<_> = keys_of(&p.open(Access::ReadOnly));
        let own = |keys: &[Vec<u8>]| -> Vec<Vec<u8>> {
            keys.iter().filter(|key| !matches!(key[0], keys::BRANCH | keys::TAG)).cloned().collect()
        };
        assert_eq!(own(&after), own(&before));
        assert!(after.iter().all(|key| !matches!(key[0], keys::BRANCH | keys::TAG)));
        is_whole(&p);
        let e = merge(&p).unwrap_err();
        assert!(e.to_string().contains("there is no branch 'fix', nor any other"), "{e}");
    }
}

#[test]
fn a_base_is_retained_when_the_main_line_overwrites() {
    for p in prepared() {
        for n in 0..12u8 {
            let c = p.open(Access::ReadWrite);
            open(&c, b"plain").write(&Selection::All, &vec![n; 200_000]).unwrap();
            open(&c, b"d").write(&Selection::All, &[n; 400]).unwrap();
            drop(c);
        }
        let b = on_branch(&p, Access::ReadWrite);
        assert_eq!(all(&open(&b, b"plain")), vec![3; 200_000]);
        assert_eq!(all(&open(&b, b"d")), [7; 400]);
        // Overwriting and deleting the base's data frees none of its payloads.
        open(&b, b"plain").write(&part(0, 25_000), &[8; 100_000]).unwrap();
        b.link_delete(b.root(), b"d").unwrap();
        b.flush().unwrap();
        drop(b);
        is_whole(&p);
        let ledger = main_ledger(&p, Access::ReadWrite);
        let e = ledger.untag(name().tag()).unwrap_err();
        assert!(e.to_string().contains("holds what the branch 'fix' began with"), "{e}");
        let e = ledger.tag(name().tag(), None, Tagging { replace: true, keep: None }).unwrap_err();
        assert!(e.to_string().contains("holds what the branch 'fix' began with"), "{e}");
        ledger.tag(TagName::new("paper").unwrap(), None, Tagging::default()).unwrap();
    }
}

#[test]
fn using_a_deleted_branch_is_an_error() {
    for p in prepared() {
        let (a, reader) = (on_branch(&p, Access::ReadWrite), {
            let ledger = h5lake_ledger::Options { at: Some(At::Branch(name())), ..Default::default() };
            Container::open_apart(&p.target, Access::ReadOnly, &Options { ledger, ..Options::default() })
                .unwrap()
        });
        dataset(&a, b"more", chunked(100, 10, false)).write(&Selection::All, &[4; 400]).unwrap();
        a.flush().unwrap();
        assert!(reader.refresh().unwrap() && there(&reader, b"more"));
        open(&a, b"more").write(&part(0, 1), &[1; 4]).unwrap();
        merge(&p).unwrap();
        let e = reader.refresh().unwrap_err();
        assert!(e.to_string().contains("the branch 'fix' was merged or deleted since it was opened"), "{e}");
        assert_eq!(all(&open(&reader, b"more")), [4; 400]);
        let e = a.flush().unwrap_err();
        assert!(e.to_string().contains("the branch 'fix' was merged or deleted since it was opened"), "{e}");
        drop((a, reader));
        assert_eq!(all(&open(&check(&p), b"more")), [4; 400]);
        assert!(keys_of(&p.open(Access::ReadOnly)).iter().all(|key| key[0] != keys::BRANCH));
    }
}

#[test]
fn writers_of_a_branch_and_of_the_main_line_write_at_the_same_time() {
    for p in prepared() {
        let branch = || {
            let ledger = h5lake_ledger::Options { at: Some(At::Branch(name())), ..Default::default() };
            Container::open_apart(&p.target, Access::ReadWrite, &Options { ledger, ..Options::default() })
                .unwrap()
        };
        let (a, b, m) = (branch(), branch(), super::many::apart(&p));
        for n in 0..5u8 {
            for (which, c) in [&a, &b, &m].into_iter().enumerate() {
                let at = 10 * which as u64 + u64::from(n);
                open(c, b"d").write(&part(at, 1), &[10 * which as u8 + n; 4]).unwrap();
                dataset(c, format!("{which}-{n}").as_bytes(), chunked(10, 10, false));
                c.flush().unwrap();
            }
        }
        a.refresh().unwrap();
        assert!(there(&a, b"1-4") && !there(&a, b"2-0"));
        drop((a, b, m));
        assert!(!there(&check(&p), b"0-0"));
        merge(&p).unwrap();
        let c = check(&p);
        for which in 0..3u8 {
            for n in 0..5u8 {
                assert!(there(&c, format!("{which}-{n}").as_bytes()));
                let at = usize::from(10 * which + n) * 4;
                assert_eq!(all(&open(&c, b"d"))[at], 10 * which + n);
            }
        }
        is_whole(&p);
    }
}

#[test]
fn a_copy_contains_only_the_opened_line() {
    for p in prepared() {
        let b = on_branch(&p, Access::ReadWrite);
        dataset(&b, b"more", chunked(100, 10, false)).write(&Selection::All, &[4; 400]).unwrap();
        drop(b);
        let ledger = h5lake_ledger::Options { at: Some(At::Branch(name())), ..Default::default() };
        let of_branch = Options { ledger, ..Options::default() };
        for (from, has_more) in [(of_branch, true), (Options::default(), false)] {
            let to = file();
            super::checks::copy_to(&p.target, &from, &to.target, &Options::default(), &mut |_, _| ())
                .unwrap();
            let c = check(&to);
            assert_eq!(there(&c, b"more"), has_more);
            assert!(keys_of(&c).iter().all(|key| key[0] != keys::BRANCH && key[0] != keys::TAG));
            drop(c);
            // New objects get new ids.
            let c = to.open(Access::ReadWrite);
            group(&c, c.root(), b"another", CreationOrder::default());
            drop(c);
            check(&to);
            is_whole(&to);
        }
    }
}

#[test]
fn a_renamed_attribute_keeps_its_payload() {
    for p in places() {
        let c = p.create();
        c.attr_create(c.root(), b"long", attr_spec(1, 60_000)).unwrap().write(&[5; 60_000]).unwrap();
        drop(c);
        begin(&p);
        let b = on_branch(&p, Access::ReadWrite);
        b.attr_rename(b.root(), b"long", b"renamed").unwrap();
        drop(b);
        is_whole(&p);
        merge(&p).unwrap();
        is_whole(&p);
        let c = p.open(Access::ReadWrite);
        take_free_space(&c);
        assert_eq!(c.attr_open(c.root(), b"renamed").unwrap().read().unwrap(), vec![5; 60_000]);
        drop(c);
        is_whole(&p);
    }
}

/// An attribute that the branch renamed and the main line changed is a conflict of both names: no change of the branch
/// is merged, and nothing is lost.
#[test]
fn an_attribute_renamed_in_the_branch_and_changed_on_the_main_line_is_a_conflict() {
    for (length, deletes, last) in [
        (60_000, true, false),
        (60_000, false, false),
        (60_000, false, true),
        (60_000, true, true),
        (100, true, false),
    ] {
        for p in places() {
            let c = p.create();
            let value = vec![5; length as usize];
            c.attr_create(c.root(), b"a", attr_spec(1, length)).unwrap().write(&value).unwrap();
            drop(c);
            begin(&p);
            let b = on_branch(&p, Access::ReadWrite);
            b.attr_rename(b.root(), b"a", b"b").unwrap();
            drop(b);
            let main = p.open(Access::ReadWrite);
            match deletes {
                true => main.attr_delete(main.root(), b"a").map(drop).unwrap(),
                false => main.attr_open(main.root(), b"a").unwrap().write(&vec![6; length as usize]).unwrap(),
            }
            drop(main);
            let on_conflict = if last { OnConflict::Last } else { OnConflict::Fail };
            let options = Options { on_conflict, ..Options::default() };
            let e = Container::merge_branch(&p.target, name(), &options).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
            is_whole(&p);
            let b = on_branch(&p, Access::ReadOnly);
            assert_eq!(b.attr_open(b.root(), b"b").unwrap().read().unwrap(), value);
        }
    }
}

#[test]
fn a_writer_does_not_join_a_new_branch_of_the_same_name() {
    for p in prepared() {
        let a = on_branch(&p, Access::ReadWrite);
        dataset(&a, b"first", chunked(100, 10, false)).write(&Selection::All, &[4; 400]).unwrap();
        a.flush().unwrap();
        dataset(&a, b"lost", chunked(100, 10, false));
        Container::delete_branch(&p.target, name(), &Options::default()).unwrap();
        let main = super::many::apart(&p);
        group(&main, main.root(), b"theirs", CreationOrder::default());
        drop(main);
        let ledger = h5lake_ledger::Options { writers: h5lake_ledger::Writers::Many, ..Default::default() };
        let ledger = match &p.target {
            Target::File(path) => Ledger::open_file(path, Access::ReadWrite, ledger),
            Target::Objects { store, key, .. } => {
                Ledger::open_objects(store.clone(), key, Access::ReadWrite, ledger)
            }
        };
        let ledger = ledger.unwrap();
        ledger.create_branch(name(), None).unwrap();
        ledger.close().unwrap();
        let e = a.flush().unwrap_err();
        assert!(e.to_string().contains("the branch 'fix' was merged or deleted since it was opened"), "{e}");
        drop(a);
        let b = on_branch(&p, Access::ReadOnly);
        assert!(there(&b, b"theirs") && !there(&b, b"first") && !there(&b, b"lost"));
        drop(b);
        merge(&p).unwrap();
        check(&p);
        is_whole(&p);
    }
}
