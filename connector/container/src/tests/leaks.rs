use super::*;

#[test]
fn deleting_everything_leaves_an_empty_container() {
    for place in places() {
        let c = place.create();
        c.flush().unwrap();
        let empty = keys_of(&c);
        for i in 0..50u32 {
            let name = format!("g{i}");
            let g = group(&c, c.root(), name.as_bytes(), tracked());
            let mut spec =
                dataset_spec(4, simple(&[10_000], &[UNLIMITED]), Layout::Chunked { chunk: vec![999] });
            spec.datatype.has_heap = i % 3 == 0;
            let d = c.create_dataset(spec).unwrap();
            c.link_create(g, b"d", LinkTarget::Hard(d.id()), CharSet::Ascii).unwrap();
            c.link_create(g, b"d2", LinkTarget::Hard(d.id()), CharSet::Ascii).unwrap();
            let data = c.dataset(d.id()).unwrap();
            data.write(&Selection::All, &vec![i as u8; 40_000]).unwrap();
            data.set_extent(&[5000]).unwrap();
            c.heap_put(d.id(), &vec![1; 70_000]).unwrap();
            let a = text_attribute(&c, g, b"a", b"some text");
            let long = text_attribute(&c, g, b"long", &[b'x'; 20_000]);
            assert_eq!((text_of(&a).len(), text_of(&long).len()), (9, 20_000));
            c.attr_create(g, b"plain", attr_spec(16, 1000)).unwrap().write(&vec![3; 16_000]).unwrap();
            if i % 7 == 0 {
                c.flush().unwrap();
            }
        }
        let anonymous = c.create_group(GroupSpec::default()).unwrap();
        c.flush().unwrap();
        drop(anonymous);
        for i in 0..50u32 {
            c.link_delete(c.root(), format!("g{i}").as_bytes()).unwrap();
        }
        c.flush().unwrap();
        let mut left = keys_of(&c);
        left.retain(|k| k.as_slice() != keys::NEXT_OBJECT);
        assert_eq!(left, empty);
        assert!(c.handles.counts.lock().is_empty());
        let state = c.state();
        assert_eq!(state.attributes.len(), 0);
        assert!(state.datasets.values().all(|d| d.strong_count() == 0));
    }
}

#[test]
fn threads_share_a_container() {
    let c = file().create();
    std::thread::scope(|s| {
        for t in 0..4u8 {
            let c = c.clone();
            s.spawn(move || {
                for i in 0..50u8 {
                    let name = [b't', t + b'0', b'_', i + 32];
                    let name: Vec<u8> = name.iter().map(|&b| if b == b'/' { b'x' } else { b }).collect();
                    let spec = dataset_spec(1, simple(&[3000], &[3000]), Layout::Contiguous);
                    let Ok(o) = c.create_dataset(spec) else { panic!() };
                    let _ = c.link_create(c.root(), &name, LinkTarget::Hard(o.id()), CharSet::Ascii);
                    let d = c.dataset(o.id()).unwrap();
                    d.write(&Selection::All, &vec![t; 3000]).unwrap();
                    c.flush().unwrap();
                    let mut out = vec![0; 3000];
                    d.read(&Selection::All, &mut out).unwrap();
                    assert_eq!(out, vec![t; 3000]);
                }
            });
        }
    });
    assert!(c.group_info(c.root()).unwrap().link_count >= 196);
}

#[test]
fn overwritten_and_deleted_data_frees_its_space() {
    let c = file().create();
    let spec = || dataset_spec(1, simple(&[4 << 20], &[4 << 20]), Layout::Contiguous);
    let d = dataset(&c, b"d", spec());
    for i in 0..40u8 {
        d.write(&Selection::All, &vec![i; 4 << 20]).unwrap();
        let attribute = c.attr_create(c.root(), b"a", attr_spec(1, 1 << 20)).unwrap();
        attribute.write(&vec![i; 1 << 20]).unwrap();
        c.flush().unwrap();
        c.attr_delete(c.root(), b"a").unwrap();
    }
    // 200 MiB were written, 4 MiB are alive.
    assert!(c.size().unwrap() < 50 << 20, "{} bytes", c.size().unwrap());
    for i in 0..40u8 {
        let name = [b'x', i];
        let d = dataset(&c, &name, spec());
        d.write(&Selection::All, &vec![i; 4 << 20]).unwrap();
        drop(d);
        c.flush().unwrap();
        c.link_delete(c.root(), &name).unwrap();
    }
    assert!(c.size().unwrap() < 60 << 20, "{} bytes", c.size().unwrap());
}

/// Many ranges of a block are stored at once, and some are merged with those stored just before.
#[test]
fn space_of_written_and_merged_changes_is_freed() {
    let ledger = h5lake_ledger::Options { retention: Some(std::time::Duration::ZERO), ..Default::default() };
    let (place, options) = (file(), Options { ledger, ..Options::default() });
    let c = place.create_with(options.clone());
    let d = dataset(&c, b"d", dataset_spec(1, simple(&[1 << 20], &[1 << 20]), Layout::Contiguous));
    for round in 0..20u64 {
        for n in 0..16 {
            let start = vec![(round % 5) * 200_000 + n * 3000];
            let one = vec![1];
            let run = Selection::Hyperslab { start, stride: one.clone(), count: one, block: vec![2000] };
            d.write(&run, &[round as u8; 2000]).unwrap();
        }
        c.flush().unwrap();
    }
    drop(d);
    c.link_delete(c.root(), b"d").unwrap();
    c.flush().unwrap();
    drop(c);
    Container::vacuum_patiently(&place.target, &options, std::time::Duration::from_secs(5)).unwrap();
    let size = place.open(Access::ReadOnly).size().unwrap();
    assert!(size < 16 << 10, "{size} bytes");
}

#[test]
fn objects_made_and_deleted_before_a_commit_leave_nothing_staged() {
    for place in places() {
        let c = place.create();
        group(&c, c.root(), b"there", CreationOrder::default());
        c.flush().unwrap();
        let churn = |n: u32| {
            for i in 0..n {
                let name = format!("g{i}");
                let made = group(&c, c.root(), name.as_bytes(), CreationOrder::default());
                text_attribute(&c, made, b"a", b"some text");
                c.link_delete(c.root(), name.as_bytes()).unwrap();
                let refused = c.create_group(GroupSpec::default()).unwrap();
                let link = LinkTarget::Hard(refused.id());
                c.link_create(c.root(), b"there", link, CharSet::Utf8).unwrap_err();
            }
            c.ledger.staged_bytes()
        };
        let (few, many) = (churn(10), churn(1000));
        assert!(many <= few + 200, "{few} bytes are staged, and then {many}");
        c.flush().unwrap();
        assert_eq!(c.group_info(c.root()).unwrap().link_count, 1);
    }
}
