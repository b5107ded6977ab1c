//! The storage use of a snapshot, and the common parts of two snapshots.

use super::*;

#[test]
fn all_data_of_a_snapshot_is_counted() {
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

/// Two writes that overlap except for some bytes at either end, as interleaved writes of processes do.
#[test]
fn a_remaining_fragment_does_not_retain_the_whole_write() {
    const BYTES: u64 = 500_000;
    let part = |from: u64, to: u64| Selection::Runs(vec![Run { offset: from, count: to - from }]);
    for (from, to) in [(4, BYTES), (0, BYTES - 4), (8, BYTES - 8), (BYTES / 20, BYTES)] {
        for layout in [Layout::Contiguous, Layout::Chunked { chunk: vec![BYTES] }] {
            let place = file();
            let c = place.create();
            let d = dataset(&c, b"d", dataset_spec(1, simple(&[BYTES], &[BYTES]), layout));
            d.write(&Selection::All, &vec![1; BYTES as usize]).unwrap();
            c.flush().unwrap();
            d.write(&part(from, to), &vec![2; (to - from) as usize]).unwrap();
            c.flush().unwrap();
            let stored = c.storage_use().unwrap().payload_bytes;
            assert!(stored <= BYTES * 21 / 20, "{stored} bytes, without {from}..{to}");
            let mut out = vec![0; BYTES as usize];
            d.read(&Selection::All, &mut out).unwrap();
            let is_new = |n: usize| (from..to).contains(&(n as u64));
            assert!(out.iter().enumerate().all(|(n, byte)| *byte == 1 + u8::from(is_new(n))));
        }
    }
}

/// Returns the elements of parts, by their numbers.
fn elements(parts: &[Selection], dims: &[u64]) -> Vec<u64> {
    let runs = parts.iter().flat_map(|part| part.runs(dims).unwrap());
    runs.flat_map(|run| run.offset..run.offset + run.count).collect()
}

#[test]
fn changed_parts_are_found_by_their_records() {
    let chunked = || Layout::Chunked { chunk: vec![2, 2] };
    for place in places() {
        let c = place.create();
        let line = dataset(&c, b"line", dataset_spec(1, simple(&[3 << 20], &[3 << 20]), Layout::Contiguous));
        line.write(&Selection::All, &vec![1; 3 << 20]).unwrap();
        let boxes = dataset(&c, b"boxes", dataset_spec(1, simple(&[3, 5], &[3, 5]), chunked()));
        boxes.write(&Selection::All, &[1; 15]).unwrap();
        let grows = dataset(&c, b"grows", dataset_spec(1, simple(&[3, 5], &[UNLIMITED, 5]), chunked()));
        c.flush().unwrap();
        let old = Container::open_apart(&place.target, Access::ReadOnly, &Options::default()).unwrap();
        let before = |now: &Dataset| old.dataset(now.object().id()).unwrap();
        for same in [&line, &boxes, &grows] {
            assert_eq!(same.changed_parts(&before(same), 10).unwrap(), Some(Vec::new()));
        }
        let one = |offset| Selection::Runs(vec![Run { offset, count: 1 }]);
        line.write(&one((2 << 20) + 5), &[2]).unwrap();
        boxes.write(&one(14), &[2]).unwrap();
        grows.write(&one(0), &[2]).unwrap();
        c.flush().unwrap();
        let parts = line.changed_parts(&before(&line), 10).unwrap().unwrap();
        assert_eq!(elements(&parts, &[3 << 20]), (2 << 20..3 << 20).collect::<Vec<_>>());
        // The chunk at the corner, of which one element is within the extent; and one that did not exist.
        let parts = boxes.changed_parts(&before(&boxes), 10).unwrap().unwrap();
        assert_eq!(elements(&parts, &[3, 5]), [14]);
        let parts = grows.changed_parts(&before(&grows), 10).unwrap().unwrap();
        assert_eq!(elements(&parts, &[3, 5]), [0, 1, 5, 6]);
        assert_eq!(grows.changed_parts(&before(&grows), 0).unwrap(), None);
        // Other datasets, and other layouts, cannot be compared.
        assert_eq!(line.changed_parts(&before(&boxes), 10).unwrap(), None);
        grows.set_extent(&[4, 5]).unwrap();
        assert_eq!(grows.changed_parts(&before(&grows), 10).unwrap(), None);
        c.heap_put(boxes.object().id(), &[1; 9]).unwrap();
        c.flush().unwrap();
        assert_eq!(boxes.changed_parts(&before(&boxes), 10).unwrap(), None);
    }
}
