use super::*;
use proptest::prelude::*;

/// Creates a container with one of every kind of object, and flushes it.
fn everything(place: &Place) -> (Vec<ObjectId>, [u8; 16]) {
    let c = place.create();
    let g = group(&c, c.root(), b"g", tracked());
    c.link_create(g, b"soft", LinkTarget::Soft(b"/g".to_vec()), CharSet::Utf8).unwrap();
    let external = LinkTarget::External { file: b"f".to_vec(), path: b"p".to_vec(), flags: 0 };
    c.link_create(g, b"external", external, CharSet::Ascii).unwrap();
    c.attr_create(g, b"small", attr_spec(4, 4)).unwrap().write(&[1; 16]).unwrap();
    c.attr_create(g, b"big", attr_spec(1, 9000)).unwrap().write(&[2; 9000]).unwrap();
    let small = dataset(&c, b"small", dataset_spec(4, simple(&[10], &[10]), Layout::Contiguous));
    small.write(&Selection::All, &[3; 40]).unwrap();
    let mut spec =
        dataset_spec(4, simple(&[100, 100], &[UNLIMITED; 2]), Layout::Chunked { chunk: vec![30, 40] });
    let plain = dataset(&c, b"plain", spec.clone());
    plain.write(&Selection::Runs(vec![Run { offset: 7, count: 700 }]), &[4; 2800]).unwrap();
    c.flush().unwrap();
    plain.write(&Selection::All, &vec![5; 40_000]).unwrap();
    spec.filters = vec![Filter { id: 1, flags: 0, name: Vec::new(), client_data: vec![6] }];
    let filtered = dataset(&c, b"filtered", spec);
    filtered.write(&Selection::All, &(0..40_000u32).map(|i| i as u8).collect::<Vec<_>>()).unwrap();
    let blob = c.heap_put(small.object().id(), &[6; 10_000]).unwrap();
    let ids = [&small, &plain, &filtered].map(|d| d.object().id());
    c.flush().unwrap();
    (std::iter::once(g).chain(ids).collect(), blob)
}

/// Runs every read, and then every change, only to check that nothing panics.
fn use_it(c: &Arc<Container>, ids: &[ObjectId], blob: &[u8; 16]) -> usize {
    let mut failed = 0;
    let mut note = |ok: bool| failed += usize::from(!ok);
    for id in ids.iter().chain([&c.root()]) {
        note(c.object_info(*id).is_ok());
        note(c.attrs(*id, Index::CreationOrder, Order::Native).is_ok());
        for name in [b"small".as_slice(), b"big"] {
            if c.attr_exists(*id, name).is_ok_and(|there| there) {
                note(c.attr_open(*id, name).and_then(|a| a.read()).is_ok());
            }
        }
        if c.object_info(*id).is_ok_and(|o| o.kind == ObjectKind::Group) {
            note(c.links(*id, Index::Name, Order::Native).is_ok());
        }
    }
    note(c.find_path(ids[1]).is_ok());
    let mut out = vec![0; 10_000];
    note(c.heap_get(blob, &mut out).is_ok());
    for id in &ids[1..] {
        let Ok(d) = c.dataset(*id) else {
            note(false);
            continue;
        };
        let points = d.space().points().unwrap_or(0);
        if points > 0 && points.saturating_mul(d.datatype().size) < 1 << 20 {
            let mut out = vec![0; (points * d.datatype().size) as usize];
            note(d.read(&Selection::All, &mut out).is_ok());
            note(
                d.write(
                    &Selection::Runs(vec![Run { offset: 0, count: 1 }]),
                    &out[..d.datatype().size as usize],
                )
                .is_ok(),
            );
        }
        note(d.storage_size().is_ok());
        note(d.set_extent(&[35, 35]).is_ok() || *id == ids[1]);
    }
    let copy = c.copy_object(c.root(), c, CopyOptions::default(), &mut |_, _, elements| Ok(elements));
    note(copy.is_ok());
    drop(copy);
    for name in [b"g".as_slice(), b"small", b"plain", b"filtered"] {
        note(c.link_delete(c.root(), name).is_ok());
    }
    note(c.flush().is_ok());
    failed
}

#[test]
fn nothing_fails_without_damage() {
    let place = memory();
    let (ids, blob) = everything(&place);
    assert_eq!(use_it(&place.open(Access::ReadWrite), &ids, &blob), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn damage_causes_errors_and_no_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let place = memory();
        let (ids, blob) = everything(&place);
        let c = place.open(Access::ReadWrite);
        let keys = keys_of(&c);
        let key = which.get(&keys);
        // The container's own record is read when it is opened, before this.
        prop_assume!(key.as_slice() != keys::CONTAINER);
        let mut value = c.ledger.get(key).unwrap().unwrap().to_vec();
        prop_assume!(!value.is_empty());
        for (at, v) in changes {
            let at = at.index(value.len());
            value[at] ^= v;
        }
        if let Some(cut) = cut {
            value.truncate(cut.index(value.len()));
        }
        c.ledger.put(key, value).unwrap();
        use_it(&c, &ids, &blob);
    }
}

/// Each dataset refers to the next one as its committed type, in a ring: a copy of one must end.
#[test]
fn a_dataset_in_the_place_of_a_committed_type_is_damage() {
    let place = memory();
    let c = place.create();
    let all = [b"a", b"b"]
        .map(|name| dataset(&c, name, dataset_spec(4, simple(&[4], &[4]), Layout::Contiguous)).object().id());
    c.flush().unwrap();
    for (one, other) in [(all[0], all[1]), (all[1], all[0])] {
        let key = keys::of(keys::HEADER, one.0);
        let mut h: record::HeaderRecord =
            record::decode(c.ledger.get(&key).unwrap().unwrap(), String::new).unwrap();
        h.dataset.as_mut().unwrap().datatype.as_mut().unwrap().committed = Some(other.0);
        c.ledger.put(&key, h.encode_to_vec()).unwrap();
    }
    c.ledger.commit().unwrap();
    drop(c);
    let c = place.open(Access::ReadWrite);
    let copied = c.copy_object(all[0], &c, CopyOptions::default(), &mut |_, _, elements| Ok(elements));
    assert_eq!(copied.unwrap_err().kind(), ErrorKind::Corrupt);
}
