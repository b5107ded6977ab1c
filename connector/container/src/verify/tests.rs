//! Whole containers, and containers in which something is wrong.

use super::*;
use crate::record;
use crate::tests::{Place, attr_spec, dataset, dataset_spec, group, places, simple, tracked};
use crate::{CharSet, Container, Filter, Layout, LinkTarget, ObjectId, Selection, UNLIMITED, keys};
use prost::Message;
use std::sync::Arc;

/// A container with something of everything.
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

/// Changes one entry of the map, and says what is then found.
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
    let gone = after(|c| c.ledger.delete(&keys::of(keys::HEADER, id(c, b"plain").0)).unwrap());
    assert!(what(&gone).contains(&"/plain".to_owned()), "{gone:#?}");
    let link = after(|c| c.ledger.delete(&keys::named(keys::LINK, id(c, b"g").0, b"soft")).unwrap());
    assert_eq!(what(&link), ["/g"], "{link:#?}");
    let attribute = after(|c| {
        c.ledger.put(&keys::named(keys::ATTRIBUTE, id(c, b"g").0, b"small"), &b"\xff"[..]).unwrap()
    });
    assert_eq!(what(&attribute), ["attribute small of /g"], "{attribute:#?}");
    let block = after(|c| {
        c.ledger
            .put(&keys::block(id(c, b"plain").0, &[9, 9]), record::BlockRecord::default().encode_to_vec())
            .unwrap();
    });
    assert_eq!(what(&block), ["chunk [450, 540] of /plain"], "{block:#?}");
    let counter = after(|c| c.ledger.put(keys::NEXT_OBJECT, 2u64.to_be_bytes().to_vec()).unwrap());
    assert_eq!(counter[0].1, "counter of ids", "{counter:#?}");
}
