//! Checks of intact containers, and of containers with errors.

use super::*;
use crate::End;
use crate::repair::repair;
use h5lake_container::testing::{
    Place, attr_spec, dataset, dataset_spec, group, memory, places, simple, tracked,
};
use h5lake_container::{Access, Container, Selection};
use h5lake_records::keys;
use h5lake_records::record::{self, HeaderRecord};
use h5lake_records::{CharSet, Filter, Layout, LinkTarget, ObjectId, UNLIMITED};
use prost::Message;
use std::sync::Arc;

/// Creates a container with every kind of object.
fn everything(place: &Place) -> Arc<Container> {
    let c = place.create();
    let g = group(&c, c.root(), b"g", tracked());
    c.link_create(g, b"soft", LinkTarget::Soft(b"/g".to_vec()), CharSet::Utf8).unwrap();
    c.link_create(c.root(), b"z", LinkTarget::Hard(g), CharSet::Utf8).unwrap();
    c.attr_create(g, b"small", attr_spec(4, 4)).unwrap().write(&[1; 16]).unwrap();
    c.attr_create(g, b"big", attr_spec(1, 9000)).unwrap().write(&[2; 9000]).unwrap();
    let small = dataset(&c, b"small", dataset_spec(4, simple(&[10], &[10]), Layout::Contiguous));
    small.write(&Selection::All, &[3; 40]).unwrap();
    let long = dataset(&c, b"long", dataset_spec(4, simple(&[600_000], &[600_000]), Layout::Contiguous));
    long.write(&Selection::All, &vec![7; 2_400_000]).unwrap();
    let mut spec =
        dataset_spec(8, simple(&[100, 100], &[UNLIMITED; 2]), Layout::Chunked { chunk: vec![50, 60] });
    let plain = dataset(&c, b"plain", spec.clone());
    plain.write(&Selection::All, &vec![5; 80_000]).unwrap();
    c.flush().unwrap();
    plain.write(&Selection::All, &vec![6; 80_000]).unwrap();
    spec.filters = vec![Filter { id: 1, flags: 0, name: Vec::new(), client_data: vec![6] }];
    let filtered = dataset(&c, b"filtered", spec);
    let noise: Vec<u8> = (0..80_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    filtered.write(&Selection::All, &noise).unwrap();
    c.heap_put(small.object().id(), &[6; 10_000]).unwrap();
    c.flush().unwrap();
    for n in 0..300u32 {
        group(&c, g, format!("group {n}").as_bytes(), tracked());
    }
    c.flush().unwrap();
    c
}

fn found(place: &Place) -> Report {
    verify(&place.target, &Options::default(), Versions::All, &mut |_, _| ()).unwrap()
}

#[test]
fn whole_containers_are_whole_while_they_are_written_and_after() {
    for place in places() {
        let c = everything(&place);
        let report = found(&place);
        assert!(report.found.is_empty(), "{:#?}", report.found);
        assert_eq!(report.objects, 306);
        assert!(report.counts.payloads > 5 && report.counts.bytes > 2_500_000, "{:?}", report.counts);
        c.link_delete(c.root(), b"long").unwrap();
        drop(c);
        let report = found(&place);
        assert!(report.found.is_empty(), "{:#?}", report.found);
        assert_eq!(report.objects, 305);
    }
}

/// Changes one entry, and returns the findings.
fn after(change: impl Fn(&Container)) -> Vec<(String, &'static str, String)> {
    let mut all: Vec<Vec<_>> = Vec::new();
    for place in places() {
        let c = everything(&place);
        change(&c);
        c.flush().unwrap();
        drop(c);
        let report = found(&place);
        let named = report.found.into_iter().filter(|f| f.severity == Severity::Damage);
        all.push(named.map(|f| (f.what, f.kind, f.why)).collect());
    }
    assert_eq!(all[0], all[1]);
    all.swap_remove(0)
}

fn id(c: &Container, name: &[u8]) -> ObjectId {
    match c.link(c.root(), name).unwrap().unwrap().target {
        LinkTarget::Hard(id) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn contradictions_are_named() {
    let what = |found: &[(String, &'static str, String)]| -> Vec<String> {
        found.iter().map(|f| f.0.clone()).collect()
    };
    let gone = after(|c| c.ledger().delete(&keys::of(keys::HEADER, id(c, b"plain").0)).unwrap());
    assert!(what(&gone).contains(&"/plain".to_owned()), "{gone:#?}");
    let link = after(|c| c.ledger().delete(&keys::named(keys::LINK, id(c, b"g").0, b"soft")).unwrap());
    assert_eq!(what(&link), ["/g"], "{link:#?}");
    let attribute = after(|c| {
        c.ledger().put(&keys::named(keys::ATTRIBUTE, id(c, b"g").0, b"small"), &b"\xff"[..]).unwrap()
    });
    assert_eq!(what(&attribute), ["attribute small of /g"], "{attribute:#?}");
    let block = after(|c| {
        c.ledger()
            .put(&keys::block(id(c, b"plain").0, &[9, 9]), record::BlockRecord::default().encode_to_vec())
            .unwrap();
    });
    assert_eq!(what(&block), ["chunk [450, 540] of /plain"], "{block:#?}");
    let counter = after(|c| c.ledger().put(keys::NEXT_OBJECT, 2u64.to_be_bytes().to_vec()).unwrap());
    assert_eq!(counter[0].1, "counter of ids", "{counter:#?}");
}

/// Returns a creation property list with one filter, as HDF5 encodes it.
fn list_with(filter: u8) -> Vec<u8> {
    let head = b"\x00\x05pline\0\x04\x01\x01".as_slice();
    [head, &[filter, 0, 0, 0], &[0, 0, 0, 0], &[0], &[1, 0], &[0]].concat()
}

#[test]
fn filters_that_the_property_list_has_not_are_reported() {
    for (stored, listed) in [(3, 3), (3, 64), (1, 3)] {
        for place in places() {
            let c = place.create();
            let mut spec = dataset_spec(4, simple(&[20], &[20]), Layout::Chunked { chunk: vec![20] });
            spec.filters = vec![Filter { id: stored, flags: 1, name: Vec::new(), client_data: vec![] }];
            spec.creation_properties = list_with(listed).into();
            assert_eq!(c.create_dataset(spec.clone()).is_ok(), stored == i32::from(listed));
            spec.creation_properties = list_with(stored as u8).into();
            let id = dataset(&c, b"d", spec).object().id();
            c.flush().unwrap();
            let key = keys::of(keys::HEADER, id.0);
            let header: HeaderRecord =
                record::decode(c.ledger().get(&key).unwrap().unwrap(), String::new).unwrap();
            let header = HeaderRecord { creation_properties: list_with(listed).into(), ..header };
            c.ledger().put(&key, header.encode_to_vec()).unwrap();
            c.flush().unwrap();
            drop(c);

            let agree = stored == i32::from(listed);
            let c = place.open(Access::ReadOnly);
            assert_eq!(c.dataset(id).is_ok(), agree);
            drop(c);
            let report = found(&place);
            let says = format!(
                "the record has the filters [{stored}], and the creation property list has [{listed}]"
            );
            let names = |f: &VerifyFinding| f.path.as_deref() == Some("/d") && f.why.contains(&says);
            assert_eq!(
                (report.is_whole(), report.found.iter().any(names)),
                (agree, !agree),
                "{:#?}",
                report.found
            );
            // A repair leaves the dataset out, and reports it.
            let (to, options) = (memory(), Options::default());
            let done =
                repair(End::new(&place.target, &options), End::new(&to.target, &options), &mut |_, _| ())
                    .unwrap();
            assert_eq!((done.is_whole(), done.lost.iter().any(names)), (agree, !agree), "{:#?}", done.lost);
        }
    }
}
