use super::*;
use proptest::prelude::*;

/// Checks that each blob has its length and its bytes.
fn assert_blobs(c: &Container, kept: &[([u8; 16], Vec<u8>)]) {
    for (id, blob) in kept {
        assert_eq!(c.heap_len(id).unwrap(), blob.len() as u64);
        let mut out = vec![0; blob.len()];
        c.heap_get(id, &mut out).unwrap();
        assert!(&out == blob);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn blobs_round_trip(
        blobs in prop::collection::vec((prop_oneof![4 => 0usize..200, 1 => 4000usize..200_000], any::<u8>(), any::<bool>(), any::<bool>()), 1..60),
        in_file in any::<bool>(),
    ) {
        let place = if in_file { file() } else { memory() };
        let c = place.create();
        let d = dataset(&c, b"d", dataset_spec(16, simple(&[9], &[9]), Layout::Contiguous));
        let owner = d.object().id();
        let mut kept = Vec::new();
        for (len, v, delete, flush) in blobs {
            let blob = vec![v; len];
            let id = c.heap_put(owner, &blob).unwrap();
            prop_assert_ne!(id, [0; 16]);
            if flush {
                c.flush().unwrap();
            }
            if delete { c.heap_delete(&id).unwrap() } else { kept.push((id, blob)) }
        }
        assert_blobs(&c, &kept);
        drop((d, c));
        let c = place.open(Access::ReadWrite);
        assert_blobs(&c, &kept);
        let half = kept.len() / 2;
        kept[..half].iter().for_each(|(id, _)| c.heap_delete(id).unwrap());
        c.link_delete(c.root(), b"d").unwrap();
        c.flush().unwrap();
        prop_assert_eq!(keys_of(&c).len(), 3);
    }
}

#[test]
fn many_strings_cost_few_keys() {
    let place = file();
    let c = place.create();
    let d = dataset(&c, b"d", dataset_spec(16, simple(&[9], &[9]), Layout::Contiguous));
    let owner = d.object().id();
    let ids: Vec<_> =
        (0..200_000u32).map(|i| c.heap_put(owner, format!("string {i}").as_bytes()).unwrap()).collect();
    c.flush().unwrap();
    assert!(keys_of(&c).len() < 30, "{}", keys_of(&c).len());
    for i in (0..200_000u32).rev().step_by(997) {
        let want = format!("string {i}");
        let mut out = vec![0; want.len()];
        c.heap_get(&ids[i as usize], &mut out).unwrap();
        assert_eq!(out, want.as_bytes());
    }
}

#[test]
fn a_forged_heap_id_is_an_error() {
    let c = memory().create();
    let d = dataset(&c, b"d", dataset_spec(16, simple(&[9], &[9]), Layout::Contiguous));
    let id = c.heap_put(d.object().id(), b"blob").unwrap();
    for (at, v) in [(0, 0xff), (11, 9), (12, 0xff), (14, 0x0f)] {
        let mut forged = id;
        forged[at] = v;
        assert!(c.heap_get(&forged, &mut [0; 4]).is_err());
        assert!(c.heap_len(&forged).map_or(true, |n| n != 4));
    }
    assert!(c.heap_get(&id, &mut [0; 5]).is_err());
}

fn no_convert(_: &Datatype, _: HeapPlace, elements: Elements) -> Result<Elements> {
    panic!("{} bytes need no conversion", elements.data.len())
}

#[test]
fn a_copy_keeps_its_shape() {
    for (from, to) in [(memory(), file()), (file(), memory())] {
        let (a, b) = (from.create(), to.create());
        let g = group(&a, a.root(), b"g", tracked());
        let h = group(&a, g, b"zz", CreationOrder::default());
        a.link_create(g, b"again", LinkTarget::Hard(h), CharSet::Ascii).unwrap();
        a.link_create(h, b"cycle", LinkTarget::Hard(g), CharSet::Ascii).unwrap();
        a.link_create(g, b"soft", LinkTarget::Soft(b"zz".to_vec()), CharSet::Ascii).unwrap();
        a.link_create(g, b"dangling", LinkTarget::Soft(b"no".to_vec()), CharSet::Ascii).unwrap();
        a.attr_create(h, b"attr", attr_spec(1, 5000)).unwrap().write(&[5; 5000]).unwrap();
        a.set_comment(h, Some(b"words")).unwrap();
        let mut spec = dataset_spec(4, simple(&[1000], &[UNLIMITED]), Layout::Chunked { chunk: vec![300] });
        spec.filters = vec![Filter { id: 1, flags: 1, name: Vec::new(), client_data: vec![6] }];
        let d = dataset(&a, b"d", spec);
        a.link_move(a.root(), b"d", h, b"data", None).unwrap();
        d.write(&Selection::All, &[7; 4000]).unwrap();
        let copy = a.copy_object(g, &b, CopyOptions::default(), &mut no_convert).unwrap();
        b.link_create(b.root(), b"copy", LinkTarget::Hard(copy.id()), CharSet::Ascii).unwrap();
        drop(copy);
        drop(b);
        let b = to.open(Access::ReadOnly);
        let at = |path: &[u8]| match b.resolve(b.root(), path, LastLink::Follow, 16).unwrap() {
            Resolution::Object { id } => id,
            other => panic!("{other:?}"),
        };
        assert_eq!(at(b"copy/zz"), at(b"copy/again"));
        assert_eq!(at(b"copy/zz/cycle"), at(b"copy"));
        assert_eq!(b.object_info(at(b"copy/zz")).unwrap().link_count, 2);
        let names = |c: &Container, g| -> Vec<_> {
            let all = c.links(g, Index::CreationOrder, Order::Native).unwrap();
            all.into_iter().map(|l| l.name.clone()).collect()
        };
        assert_eq!(names(&b, at(b"copy")), names(&a, g));
        assert_eq!(b.attr_open(at(b"copy/zz"), b"attr").unwrap().read().unwrap(), vec![5; 5000]);
        assert_eq!(b.comment(at(b"copy/zz")).unwrap().unwrap(), b"words");
        let mut out = vec![0; 4000];
        let e = b.dataset(at(b"copy/zz/data")).unwrap();
        e.read(&Selection::All, &mut out).unwrap();
        assert_eq!(out, [7; 4000]);
        assert_eq!(e.storage_size().unwrap(), d.storage_size().unwrap());
    }
}

#[test]
fn options_of_a_copy() {
    let c = memory().create();
    let g = group(&c, c.root(), b"g", CreationOrder::default());
    let h = group(&c, g, b"h", CreationOrder::default());
    group(&c, h, b"deep", CreationOrder::default());
    c.link_create(g, b"soft", LinkTarget::Soft(b"h".to_vec()), CharSet::Ascii).unwrap();
    c.attr_create(g, b"a", attr_spec(1, 1)).unwrap();
    let o =
        CopyOptions { shallow: true, expand_soft: true, without_attributes: true, ..CopyOptions::default() };
    let copy = c.copy_object(g, &c, o, &mut no_convert).unwrap().id();
    assert_eq!(c.object_info(copy).unwrap_err().kind(), ErrorKind::NotFound);
    let copy = c.copy_object(g, &c, o, &mut no_convert).unwrap();
    let links = c.links(copy.id(), Index::Name, Order::Native).unwrap();
    assert_eq!(links[0].target, links[1].target);
    let LinkTarget::Hard(below) = links[0].target else { panic!() };
    assert!(below != h);
    assert_eq!(c.group_info(below).unwrap().link_count, 0);
    assert_eq!(c.attr_count(copy.id()).unwrap(), 0);
}

#[test]
fn heap_data_moves_to_its_new_owner() {
    let c = memory().create();
    let mut spec = dataset_spec(16, simple(&[2], &[2]), Layout::Contiguous);
    spec.datatype.has_heap = true;
    let d = dataset(&c, b"d", spec);
    let id = c.heap_put(d.object().id(), b"text").unwrap();
    d.write(&Selection::All, &[id, [0; 16]].concat()).unwrap();
    let inner = c.clone();
    let copy = c
        .copy_object(d.object().id(), &c, CopyOptions::default(), &mut |_, to, elements| {
            let HeapPlace::Owner(to) = to else { panic!("a dataset has no inline heap") };
            let mut out = Vec::new();
            for id in elements.data.chunks_exact(16) {
                let id: [u8; 16] = id.try_into().unwrap();
                let mut blob = vec![0; inner.heap_len(&id)? as usize];
                inner.heap_get(&id, &mut blob)?;
                out.extend_from_slice(&inner.heap_put(to, &blob)?);
            }
            Ok(out.into())
        })
        .unwrap();
    let new = c.dataset(copy.id()).unwrap();
    drop(d);
    c.link_delete(c.root(), b"d").unwrap();
    assert!(c.heap_len(&id).is_err());
    let mut out = [0; 32];
    new.read(&Selection::All, &mut out).unwrap();
    let mut blob = [0; 4];
    c.heap_get(out[..16].try_into().unwrap(), &mut blob).unwrap();
    assert_eq!(&blob, b"text");
}

#[test]
fn blobs_of_a_deleted_attribute_live_while_it_is_open() {
    let c = memory().create();
    c.flush().unwrap();
    let before = keys_of(&c).len();
    let a = text_attribute(&c, c.root(), b"a", b"text");
    c.attr_delete(c.root(), b"a").unwrap();
    c.flush().unwrap();
    assert_eq!(text_of(&a), b"text");
    drop(a);
    c.flush().unwrap();
    assert_eq!(keys_of(&c).len(), before);
}

#[test]
fn a_local_heap_is_moved_with_its_attribute() {
    for place in places() {
        let c = place.create();
        let g = group(&c, c.root(), b"g", CreationOrder::default());
        let long = vec![b'x'; 100_000];
        for (name, text) in [(b"a", &b"text"[..]), (b"b", b""), (b"c", &long)] {
            text_attribute(&c, g, name, text);
        }
        c.attr_rename(g, b"a", b"renamed").unwrap();
        let copy = c.copy_object(g, &c, CopyOptions::default(), &mut no_convert).unwrap();
        c.link_create(c.root(), b"copy", LinkTarget::Hard(copy.id()), CharSet::Ascii).unwrap();
        let id = copy.id();
        drop((copy, c));
        let c = place.open(Access::ReadWrite);
        for object in [g, id] {
            for (name, text) in [(&b"renamed"[..], &b"text"[..]), (b"b", b""), (b"c", &long)] {
                assert!(text_of(&c.attr_open(object, name).unwrap()) == text);
            }
        }
        // An attribute without variable-length data has no place for blobs.
        let plain = c.attr_create(g, b"plain", attr_spec(16, 1)).unwrap();
        let mut heap = InlineHeap::default();
        let value = heap.put(b"text");
        assert_eq!(plain.write_with_heap(&value, &heap).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn referenced_objects_are_copied() {
    let (a, b) = (memory().create(), memory().create());
    let mut spec = dataset_spec(8, simple(&[2], &[2]), Layout::Contiguous);
    spec.datatype.has_references = true;
    let d = dataset(&a, b"d", spec);
    let other = group(&a, a.root(), b"other", CreationOrder::default());
    // The dataset refers to the other group, and to itself.
    let refs = [other.0.to_be_bytes(), d.object().id().0.to_be_bytes()].concat();
    d.write(&Selection::All, &refs).unwrap();
    let o = CopyOptions { expand_references: true, ..CopyOptions::default() };
    assert_eq!(a.copy_object(other, &b, o, &mut no_convert).unwrap_err().kind(), ErrorKind::Unsupported);
    let copy = a
        .copy_object_with_references(d.object().id(), &b, o, &mut |_, _, elements, resolve| {
            let id = |r: &[u8]| ObjectId(u64::from_be_bytes(r.try_into().unwrap()));
            let mut out = Vec::new();
            for r in elements.data.chunks_exact(8) {
                out.extend_from_slice(&resolve(id(r))?.unwrap().0.to_be_bytes());
            }
            Ok(out.into())
        })
        .unwrap();
    b.link_create(b.root(), b"copy", LinkTarget::Hard(copy.id()), CharSet::Ascii).unwrap();
    let mut out = [0; 16];
    b.dataset(copy.id()).unwrap().read(&Selection::All, &mut out).unwrap();
    let [to, itself] = [&out[..8], &out[8..]].map(|r| ObjectId(u64::from_be_bytes(r.try_into().unwrap())));
    assert_eq!(itself, copy.id());
    assert_eq!(b.object_info(copy.id()).unwrap().link_count, 1);
    drop(copy);
    b.flush().unwrap();
    assert_eq!(b.object_info(to).unwrap().kind, ObjectKind::Group);
    assert_eq!(b.object_info(to).unwrap().link_count, 1);
}

#[test]
fn references_within_a_copied_tree_lead_to_the_copies() {
    for keep_references in [false, true] {
        let (a, b) = (memory().create(), memory().create());
        let g = group(&a, a.root(), b"g", CreationOrder::default());
        let outside = group(&a, a.root(), b"outside", CreationOrder::default());
        let mut spec = dataset_spec(8, simple(&[2], &[2]), Layout::Contiguous);
        spec.datatype.has_references = true;
        // The reference precedes its target in the order of names.
        let d = dataset(&a, b"d", spec);
        a.link_move(a.root(), b"d", g, b"a", None).unwrap();
        let target = group(&a, g, b"z", CreationOrder::default());
        d.write(&Selection::All, &[target.0.to_be_bytes(), outside.0.to_be_bytes()].concat()).unwrap();
        let o = CopyOptions { keep_references, ..CopyOptions::default() };
        let convert = &mut |_: &Datatype, _, elements: Elements, resolve: &mut crate::Resolve<'_>| {
            let mut out = Vec::new();
            for r in elements.data.chunks_exact(8) {
                let there = resolve(ObjectId(u64::from_be_bytes(r.try_into().unwrap())))?;
                out.extend_from_slice(&there.map_or(0, |id| id.0).to_be_bytes());
            }
            Ok(out.into())
        };
        let copy = a.copy_object_with_references(g, &b, o, convert).unwrap();
        let of = |name: &[u8]| match b.resolve(copy.id(), name, LastLink::Follow, 16).unwrap() {
            Resolution::Object { id } => id,
            other => panic!("{other:?}"),
        };
        let mut out = [0; 16];
        b.dataset(of(b"a")).unwrap().read(&Selection::All, &mut out).unwrap();
        let wanted = if keep_references { of(b"z").0 } else { 0 };
        assert_eq!(out, [wanted.to_be_bytes(), 0_u64.to_be_bytes()].concat()[..]);
        assert_eq!(b.links(b.root(), Index::Name, Order::Native).unwrap().len(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn blobs_of_a_batch_are_read_together_and_separately(
        batches in prop::collection::vec(prop::collection::vec(prop_oneof![8 => 0usize..200, 1 => 4000usize..200_000, 1 => Just(1usize << 21)], 1..40), 1..4),
        order in any::<u64>(),
        in_file in any::<bool>(),
    ) {
        let place = if in_file { file() } else { memory() };
        let c = place.create();
        let d = dataset(&c, b"d", dataset_spec(16, simple(&[9], &[9]), Layout::Contiguous));
        let owner = d.object().id();
        let mut kept: Vec<([u8; 16], Vec<u8>)> = Vec::new();
        for (number, batch) in batches.iter().enumerate() {
            let blobs: Vec<Vec<u8>> = batch.iter().map(|n| vec![(n % 251) as u8 + 1; *n]).collect();
            let slices: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
            let mut ids = Vec::new();
            c.heap_put_all(owner, slices.iter().copied(), |id| ids.push(id)).unwrap();
            kept.extend(ids.into_iter().zip(blobs));
            kept.push((c.heap_put(owner, &[number as u8]).unwrap(), vec![number as u8]));
        }
        let check = |c: &Container, kept: &[([u8; 16], Vec<u8>)]| {
            let wanted: Vec<_> = kept.iter().map(|(id, blob)| (*id, blob.len() as u64)).collect();
            let mut seen = vec![false; kept.len()];
            c.heap_get_all::<Error>(wanted.iter().copied(), |index, bytes| {
                assert!(!std::mem::replace(&mut seen[index], true));
                assert!(bytes == kept[index].1);
                Ok(())
            }).unwrap();
            assert!(seen.iter().all(|s| *s));
            assert_blobs(c, kept);
        };
        // Reads the blobs in stored order, some of them and each twice, and in any order.
        check(&c, &kept);
        let some: Vec<_> = kept.iter().step_by(3).flat_map(|blob| [blob.clone(), blob.clone()]).collect();
        check(&c, &some);
        kept.sort_by_key(|(id, _)| u128::from_be_bytes(*id).wrapping_mul(u128::from(order | 1)));
        check(&c, &kept);
        drop((d, c));
        let c = place.open(Access::ReadWrite);
        check(&c, &kept);
        kept.iter().for_each(|(id, _)| c.heap_delete(id).unwrap());
        c.link_delete(c.root(), b"d").unwrap();
        c.flush().unwrap();
        prop_assert_eq!(keys_of(&c).len(), 3);
    }
}

#[test]
fn blob_offsets_and_forged_ids_are_distinguished() {
    let c = memory().create();
    let d = dataset(&c, b"d", dataset_spec(16, simple(&[9], &[9]), Layout::Contiguous));
    let long = [7; 300];
    let mut ids = Vec::new();
    c.heap_put_all(d.object().id(), [&b"first"[..], &long, b""], |id| ids.push(id)).unwrap();
    let mut read = Vec::new();
    c.heap_get_all::<Error>([(ids[0], 2), (ids[1], 100), (ids[2], 0)].into_iter(), |index, bytes| {
        read.push((index, bytes.to_vec()));
        Ok(())
    })
    .unwrap();
    read.sort();
    assert_eq!(read, [(0, b"fi".to_vec()), (1, vec![7; 100]), (2, Vec::new())]);
    let asks_too_much = c.heap_get_all::<Error>([(ids[0], 6)].into_iter(), |_, _| Ok(())).unwrap_err();
    assert_eq!(asks_too_much.kind(), ErrorKind::InvalidArgument);
    let of_nothing = c.heap_get_all::<Error>([([0; 16], 1)].into_iter(), |_, _| Ok(())).unwrap_err();
    assert_eq!(of_nothing.kind(), ErrorKind::InvalidArgument);
    for (at, v) in [(0, 0xff), (11, 9), (12, 0xff), (14, 0x0f)] {
        let mut forged = ids[0];
        forged[at] = v;
        assert!(c.heap_get_all::<Error>([(forged, 4)].into_iter(), |_, _| Ok(())).is_err());
    }
}

#[test]
fn a_double_deletion_deletes_nothing_else() {
    let c = memory().create();
    let owner = group(&c, c.root(), b"g", CreationOrder::default());
    let (long, short) = (c.heap_put(owner, &[7; 40]).unwrap(), c.heap_put(owner, b"stays").unwrap());
    for _ in 0..3 {
        c.heap_delete(&long).unwrap();
    }
    let mut out = [0; 5];
    c.heap_get(&short, &mut out).unwrap();
    assert_eq!(&out, b"stays");
}

#[test]
fn data_of_a_copied_fill_value_belongs_to_no_element() {
    let c = memory().create();
    let mut spec = dataset_spec(16, simple(&[20], &[20]), Layout::Chunked { chunk: vec![10] });
    spec.datatype.has_heap = true;
    let id = c.heap_put(c.root(), b"fill").unwrap();
    spec.fill.value = FillValue::User(id.to_vec().into());
    let d = dataset(&c, b"d", spec);
    let inner = c.clone();
    let convert = &mut |_: &Datatype, to: HeapPlace, _: Elements| {
        let HeapPlace::Owner(to) = to else { panic!("a dataset has no inline heap") };
        Ok(inner.heap_put(to, b"fill")?.to_vec().into())
    };
    let copy = c.copy_object(d.object().id(), &c, CopyOptions::default(), convert).unwrap();
    let FillValue::User(value) = c.dataset(copy.id()).unwrap().fill().value.clone() else { panic!() };
    let id: [u8; 16] = value[..].try_into().unwrap();
    assert_eq!((Container::heap_owner(&id), c.heap_len(&id).unwrap()), (c.root(), 4));
}
