//! Creation orders after merges: each is unique.

use super::checks::{Versions, verify};
use super::many::{check, find, writers, writers_that};
use super::*;
use h5lake_records::record::AttributeRecord;

fn soft(to: &[u8]) -> LinkTarget {
    LinkTarget::Soft(to.to_vec())
}

/// Creates a group that tracks all orders.
fn prepare(c: &Arc<Container>) -> ObjectId {
    let spec = GroupSpec { link_order: tracked(), attribute_order: tracked(), ..GroupSpec::default() };
    let g = c.create_group(spec).unwrap();
    c.link_create(c.root(), b"g", LinkTarget::Hard(g.id()), CharSet::Utf8).unwrap();
    for name in [b"x", b"y", b"z"] {
        c.attr_create(g.id(), name, attr_spec(1, 1)).unwrap().write(&[1]).unwrap();
        c.link_create(g.id(), name, soft(b"old"), CharSet::Utf8).unwrap();
    }
    g.id()
}

/// Sets an existing attribute like h5py.
fn set(c: &Arc<Container>, name: &[u8], value: u8) {
    let g = find(c, b"g");
    c.attr_create(g, b"temporary", attr_spec(1, 1)).unwrap().write(&[value]).unwrap();
    c.attr_delete(g, name).unwrap();
    c.attr_rename(g, b"temporary", name).unwrap();
}

fn link_anew(c: &Arc<Container>, name: &[u8]) {
    let g = find(c, b"g");
    c.link_delete(g, name).unwrap();
    c.link_create(g, name, soft(b"new"), CharSet::Utf8).unwrap();
}

fn is_unique(mut orders: Vec<i64>) -> bool {
    let count = orders.len();
    orders.sort_unstable();
    orders.dedup();
    orders.len() == count
}

fn orders(c: &Container) -> [Vec<i64>; 2] {
    let g = find(c, b"g");
    let attributes = c.attrs(g, Index::Name, Order::Native).unwrap();
    let links = c.links(g, Index::Name, Order::Native).unwrap();
    [
        attributes.iter().map(|a| i64::from(a.creation_order.unwrap())).collect(),
        links.iter().map(|l| l.creation_order.unwrap()).collect(),
    ]
}

#[test]
fn a_recreated_entry_follows_remote_entries() {
    for p in places() {
        let [a, b, c] = writers(&p, |c| _ = prepare(c));
        for (c, own) in [(&a, b"x"), (&b, b"y"), (&c, b"z")] {
            c.attr_create(find(c, b"g"), &[own[0], b'1'], attr_spec(1, 1)).unwrap();
            set(c, own, 2);
            link_anew(c, own);
            c.attr_create(find(c, b"g"), &[own[0], b'2'], attr_spec(1, 1)).unwrap();
        }
        [&a, &b, &c].iter().for_each(|c| c.flush().unwrap());
        drop((a, b, c));
        let c = check(&p);
        for all in orders(&c) {
            assert!(is_unique(all.clone()), "{all:?}");
        }
    }
}

/// An entry that keeps its place is not new.
#[test]
fn an_overwritten_entry_keeps_its_order() {
    for p in places() {
        let [a, b] = writers(&p, |c| _ = prepare(c));
        let before = orders(&a)[0].clone();
        a.attr_create(find(&a, b"g"), b"more", attr_spec(1, 1)).unwrap();
        a.flush().unwrap();
        b.attr_open(find(&b, b"g"), b"z").unwrap().write(&[5]).unwrap();
        b.attr_create(find(&b, b"g"), b"other", attr_spec(1, 1)).unwrap();
        b.flush().unwrap();
        drop((a, b));
        let c = check(&p);
        assert_eq!(orders(&c)[0], [3, 4, before[0], before[1], before[2]].map(|n| n));
    }
}

/// A group that became empty restarts its orders at 0: an attribute may get the order that it had.
#[test]
fn orders_of_an_emptied_group_follow_remote_orders() {
    for p in places() {
        let [a, b] = writers_that(&p, OnConflict::Last, |c| _ = prepare(c));
        a.attr_create(find(&a, b"g"), b"more", attr_spec(1, 1)).unwrap();
        a.link_create(find(&a, b"g"), b"more", soft(b"m"), CharSet::Utf8).unwrap();
        a.flush().unwrap();
        let g = find(&b, b"g");
        for name in [b"x", b"y", b"z"] {
            b.attr_delete(g, name).unwrap();
            b.link_delete(g, name).unwrap();
        }
        for name in [b"z", b"x"] {
            b.attr_create(g, name, attr_spec(1, 1)).unwrap();
            b.link_create(g, name, soft(b"n"), CharSet::Utf8).unwrap();
        }
        b.flush().unwrap();
        drop((a, b));
        let c = check(&p);
        for all in orders(&c) {
            assert!(is_unique(all.clone()), "{all:?}");
        }
    }
}

#[test]
fn verify_reports_duplicate_orders() {
    for p in places() {
        let c = p.create();
        let g = prepare(&c);
        c.flush().unwrap();
        let key = keys::named(keys::ATTRIBUTE, g.0, b"y");
        let value = c.ledger.get(&key).unwrap().unwrap();
        let r: AttributeRecord = record::decode(value, String::new).unwrap();
        c.ledger.put(&key, AttributeRecord { creation_order: 0, ..r }.encode_to_vec()).unwrap();
        let key = keys::named(keys::LINK, g.0, b"y");
        let value = c.ledger.get(&key).unwrap().unwrap();
        let r: record::LinkRecord = record::decode(value, String::new).unwrap();
        let r = record::LinkRecord { creation_order: Some(2), ..r };
        c.ledger.put(&key, r.encode_to_vec()).unwrap();
        c.flush().unwrap();
        drop(c);
        let report = verify(&p.target, &Options::default(), Versions::Newest, &mut |_, _| ()).unwrap();
        let found: Vec<_> = report.found.iter().map(|f| (f.kind, f.what.as_str(), f.why.as_str())).collect();
        let wanted = [
            ("creation order", "/g", "2 of its attributes have the creation order 0"),
            ("creation order", "/g", "2 of its links have the creation order 2"),
        ];
        assert!(report.is_whole() && found == wanted, "{found:#?}");
    }
}
