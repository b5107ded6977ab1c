//! What a snapshot takes, and what two of them have in common.

use super::*;

#[test]
fn all_that_a_snapshot_holds_is_counted() {
    for place in places() {
        let c = place.create();
        let spec = dataset_spec(1, simple(&[100_000], &[100_000]), Layout::Chunked { chunk: vec![50_000] });
        let made = c.create_dataset(spec).unwrap();
        c.link_create(c.root(), b"d", LinkTarget::Hard(made.id()), CharSet::Utf8).unwrap();
        let part = Selection::Runs(vec![Run { offset: 0, count: 30_000 }]);
        c.dataset(made.id()).unwrap().write(&part, &[7; 30_000]).unwrap();
        c.attr_create(c.root(), b"a", attr_spec(4, 2)).unwrap();
        drop(made);
        c.flush().unwrap();
        let total = c.storage_use().unwrap();
        assert_eq!((total.groups, total.datasets, total.datatypes), (1, 1, 0));
        assert_eq!((total.links, total.attributes, total.version), (1, 1, c.version()));
        assert!(total.payload_bytes >= 30_000 && total.payload_bytes <= 50_000, "{total:?}");
        assert!(total.entry_bytes > 0 && total.other_bytes() < total.size, "{total:?}");
        let Resolution::Object { id } = c.resolve(c.root(), b"d", LastLink::Follow, 0).unwrap() else {
            panic!()
        };
        let stored = c.dataset(id).unwrap().stored_size().unwrap();
        assert_eq!((stored.blocks, stored.bytes), (1, total.payload_bytes));
    }
}

#[test]
fn links_come_by_pages() {
    let c = memory().create();
    let long = vec![b'z'; 3000];
    let mut names: Vec<Vec<u8>> = (0..1500).map(|n| format!("{n:05}").into_bytes()).collect();
    names.push(long);
    for name in &names {
        c.link_create(c.root(), name, LinkTarget::Soft(b"x".to_vec()), CharSet::Utf8).unwrap();
    }
    let mut found: Vec<Vec<u8>> = Vec::new();
    loop {
        let page = c.links_after(c.root(), found.last().map(Vec::as_slice)).unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page.into_iter().map(|link| link.name));
    }
    assert_eq!(found, names);
}

#[test]
fn what_did_not_change_is_stored_alike() {
    for place in places() {
        let c = place.create();
        let mut ids = Vec::new();
        for name in [b"a", b"b"] {
            let spec = dataset_spec(1, simple(&[50_000], &[50_000]), Layout::Contiguous);
            let made = c.create_dataset(spec).unwrap();
            c.link_create(c.root(), name, LinkTarget::Hard(made.id()), CharSet::Utf8).unwrap();
            c.dataset(made.id()).unwrap().write(&Selection::All, &[1; 50_000]).unwrap();
            ids.push(made.id());
        }
        c.flush().unwrap();
        let old = Container::open_apart(&place.target, Access::ReadOnly, &Options::default()).unwrap();
        c.dataset(ids[1]).unwrap().write(&Selection::Runs(vec![Run { offset: 9, count: 1 }]), &[2]).unwrap();
        c.flush().unwrap();
        assert!(c.is_stored_alike(&old, ids[0]).unwrap());
        assert!(!c.is_stored_alike(&old, ids[1]).unwrap());
        let other = memory().create();
        assert!(!c.is_stored_alike(&other, ids[0]).unwrap());
    }
}
