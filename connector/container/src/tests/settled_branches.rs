//! Merges of branches with concurrent changes of the main line: those that count as one change, those that the branch
//! overrules, and those that are refused.

use super::branches::{is_whole, merge, name, on_branch, prepared};
use super::many::{all, check, chunked, find, open, part, there};
use super::*;

#[test]
fn counts_within_a_branch_are_checked() {
    type Damage = fn(&mut record::HeaderRecord);
    let damages: [(Damage, &str); 3] = [
        (|h| h.group.as_mut().unwrap().link_count += 1, "it says that it has 3 links, and has 2"),
        (|h| h.attribute_count -= 1, "it says that it has 0 attributes, and has 1"),
        (|h| h.link_count += 1, "it says that 2 links and uses lead to it, and 1 do"),
    ];
    for (damage, expected) in damages {
        for p in prepared() {
            let b = on_branch(&p, Access::ReadWrite);
            let g = find(&b, b"g");
            let new = group(&b, g, b"new", CreationOrder::default());
            b.link_create(new, b"again", LinkTarget::Hard(new), CharSet::Utf8).unwrap();
            b.link_delete(new, b"again").unwrap();
            b.flush().unwrap();
            is_whole(&p);
            let key = keys::of(keys::HEADER, g.0);
            let mut header: record::HeaderRecord =
                record::decode(b.ledger.get(&key).unwrap().unwrap(), String::new).unwrap();
            damage(&mut header);
            b.ledger.put(&key, prost::Message::encode_to_vec(&header)).unwrap();
            b.flush().unwrap();
            drop(b);
            let report = super::checks::verify(
                &p.target,
                &Options::default(),
                super::checks::Versions::All,
                &mut |_, _| (),
            )
            .unwrap();
            let found: Vec<_> = report.found.iter().map(|f| (&*f.what, &*f.why)).collect();
            assert!(
                matches!(&found[..], [(what, why)] if *what == "/g in the branch fix" && why.starts_with(expected)),
                "{found:?}"
            );
        }
    }
}

#[test]
fn equal_changes_of_both_lines_are_merged() {
    type Change = fn(&Arc<Container>);
    type Check = fn(&Container);
    let cases: [(Change, Check); 4] = [
        (|c| c.link_delete(find(c, b"g"), b"below").unwrap(), |c| assert!(!there(c, b"g/below"))),
        (
            |c| c.attr_delete(find(c, b"g"), b"x").unwrap(),
            |c| assert!(c.attrs(find(c, b"g"), Index::Name, Order::Native).unwrap().is_empty()),
        ),
        (
            |c| {
                let d = open(c, b"d");
                d.set_extent(&[120]).unwrap();
                d.write(&part(100, 20), &[5; 80]).unwrap();
            },
            |c| assert_eq!(c.object_info(find(c, b"d")).unwrap().link_count, 1),
        ),
        (|c| c.link_delete(c.root(), b"d").unwrap(), |c| assert!(!there(c, b"d"))),
    ];
    for (change, holds) in cases {
        for p in prepared() {
            let b = on_branch(&p, Access::ReadWrite);
            change(&b);
            drop(b);
            let c = p.open(Access::ReadWrite);
            change(&c);
            drop(c);
            merge(&p).unwrap();
            holds(&check(&p));
            is_whole(&p);
        }
    }
}

#[test]
fn a_preferred_branch_overrules_the_main_line() {
    type Change = fn(&Arc<Container>);
    let cases: [(Change, Change, Change); 7] = [
        (
            |b| open(b, b"d").write(&part(5, 2), &[9; 8]).unwrap(),
            |c| open(c, b"d").write(&part(6, 2), &[6; 8]).unwrap(),
            |c| assert_eq!(all(&open(c, b"d"))[20..32], [[9; 4], [9; 4], [6; 4]].concat()),
        ),
        (
            |b| b.link_delete(find(b, b"g"), b"below").unwrap(),
            |c| _ = group(c, find(c, b"g/below"), b"deep", CreationOrder::default()),
            |c| assert!(!there(c, b"g/below")),
        ),
        (
            |b| b.attr_create(find(b, b"g"), b"y", attr_spec(1, 1)).unwrap().write(&[5]).unwrap(),
            |c| c.attr_create(find(c, b"g"), b"y", attr_spec(1, 1)).unwrap().write(&[6]).unwrap(),
            |c| assert_eq!(c.attr_open(find(c, b"g"), b"y").unwrap().read().unwrap()[..], [5]),
        ),
        (
            |b| open(b, b"d").set_extent(&[200]).unwrap(),
            |c| open(c, b"d").set_extent(&[150]).unwrap(),
            |c| assert_eq!(open(c, b"d").space().dims(), [200]),
        ),
        (
            |b| open(b, b"d").set_extent(&[50]).unwrap(),
            |c| open(c, b"d").write(&part(90, 2), &[6; 8]).unwrap(),
            |c| assert_eq!(open(c, b"d").space().dims(), [50]),
        ),
        (
            |b| [50, 100].iter().for_each(|n| open(b, b"d").set_extent(&[*n]).unwrap()),
            |c| open(c, b"d").write(&part(90, 2), &[6; 8]).unwrap(),
            |c| assert_eq!(all(&open(c, b"d"))[200..], [0; 200]),
        ),
        (
            |b| dataset(b, b"made", chunked(100, 10, false)).write(&Selection::All, &[4; 400]).unwrap(),
            |c| _ = dataset(c, b"made", chunked(10, 10, false)),
            |c| assert_eq!(all(&open(c, b"made")), [4; 400]),
        ),
    ];
    for (ours, theirs, holds) in cases {
        for p in prepared() {
            let b = on_branch(&p, Access::ReadWrite);
            ours(&b);
            drop(b);
            let c = p.open(Access::ReadWrite);
            theirs(&c);
            drop(c);
            let e = merge(&p).unwrap_err();
            assert!(e.to_string().contains("or let the branch count (H5LAKE_CONFLICT=last)"), "{e}");
            // The whole branch is merged, or nothing of it.
            let part = Options { on_conflict: OnConflict::Merge, ..Options::default() };
            Container::merge_branch(&p.target, name(), &part).unwrap_err();
            let last = Options { on_conflict: OnConflict::Last, ..Options::default() };
            Container::merge_branch(&p.target, name(), &last).unwrap();
            holds(&check(&p));
            is_whole(&p);
        }
    }
}

#[test]
fn deletions_of_the_main_line_are_never_overruled() {
    for p in prepared() {
        let b = on_branch(&p, Access::ReadWrite);
        group(&b, find(&b, b"g/below"), b"deep", CreationOrder::default());
        drop(b);
        let c = p.open(Access::ReadWrite);
        c.link_delete(find(&c, b"g"), b"below").unwrap();
        drop(c);
        for on_conflict in [OnConflict::Fail, OnConflict::Last] {
            let e =
                Container::merge_branch(&p.target, name(), &Options { on_conflict, ..Options::default() });
            let text = e.unwrap_err().to_string();
            assert!(
                text.contains("delete it in the branch, too") && !text.contains("let the branch count"),
                "{text}"
            );
        }
        // The conflict is resolved: the branch deletes it, too.
        let b = on_branch(&p, Access::ReadWrite);
        b.link_delete(find(&b, b"g"), b"below").unwrap();
        group(&b, b.root(), b"kept", CreationOrder::default());
        drop(b);
        merge(&p).unwrap();
        let c = check(&p);
        assert!(there(&c, b"kept") && !there(&c, b"g/below"));
        drop(c);
        is_whole(&p);
    }
}
