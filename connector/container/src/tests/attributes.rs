//! Open attributes cache their records, and the last change is staged late: this must not be observable.

use super::*;
use h5lake_records::record::RECORDS_VERSION;
use object_stores::{FaultStore, MemoryStore, ObjectStore, Rule, Select, Timing};
use prost::Message;
use std::time::Duration;

fn value_of(c: &Arc<Container>, id: ObjectId, name: &[u8]) -> Vec<u8> {
    c.attr_open(id, name).unwrap().read().unwrap().to_vec()
}

fn names_of(c: &Container, id: ObjectId) -> Vec<Vec<u8>> {
    c.attrs(id, Index::Name, Order::Increasing).unwrap().into_iter().map(|a| a.name).collect()
}

fn made(c: &Arc<Container>, id: ObjectId, name: &[u8], value: &[u8]) -> Arc<Attribute> {
    let a = c.attr_create(id, name, attr_spec(1, value.len() as u64)).unwrap();
    a.write(value).unwrap();
    a
}

#[test]
fn an_open_attribute_follows_a_refresh() {
    let place = memory();
    let c = place.create();
    let inline = made(&c, c.root(), b"inline", b"old");
    let long = made(&c, c.root(), b"long", &[1; 9000]);
    made(&c, c.root(), b"gone", b"old");
    c.flush().unwrap();
    let reader = Container::open_apart(&place.target, Access::ReadOnly, &Options::default()).unwrap();
    let [a, b, gone] =
        [&b"inline"[..], b"long", b"gone"].map(|n| reader.attr_open(reader.root(), n).unwrap());
    assert_eq!((a.read().unwrap(), b.read().unwrap()), (Bytes::from("old"), vec![1; 9000].into()));
    inline.write(b"new").unwrap();
    long.write(&[2; 9000]).unwrap();
    c.attr_delete(c.root(), b"gone").unwrap();
    c.flush().unwrap();
    assert_eq!((a.read().unwrap(), b.read().unwrap()), (Bytes::from("old"), vec![1; 9000].into()));
    assert!(reader.refresh().unwrap());
    assert_eq!((a.read().unwrap(), b.read().unwrap()), (Bytes::from("new"), vec![2; 9000].into()));
    assert_eq!(gone.read().unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn an_attribute_is_open_once_and_dropped_at_close() {
    for place in places() {
        let c = place.create();
        let long = [&b"n"[..]; 1100].concat();
        for name in [&b""[..], b"a", &[b'm'; 54], &[b'm'; 55], &[b'm'; 56], &long] {
            let a = made(&c, c.root(), name, b"value");
            let again = c.attr_open(c.root(), name).unwrap();
            assert!(Arc::ptr_eq(&a, &again) && a.name() == name);
            drop(a);
            assert_eq!(c.state().attributes.len(), 1);
            c.attr_rename(c.root(), name, b"other").unwrap();
            assert!(Arc::ptr_eq(&again, &c.attr_open(c.root(), b"other").unwrap()));
            assert_eq!((again.name(), again.read().unwrap()), (b"other".to_vec(), Bytes::from("value")));
            drop(again);
            assert_eq!(c.state().attributes.len(), 0);
            c.attr_delete(c.root(), b"other").unwrap();
        }
    }
}

#[test]
fn attributes_closed_under_the_lock_are_dropped_later() {
    let c = memory().create();
    let (a, old) = (made(&c, c.root(), b"a", b"1"), made(&c, c.root(), b"b", b"2"));
    let state = c.state();
    drop((a, old));
    assert_eq!(state.attributes.len(), 2);
    drop(state);
    // The attribute was opened again under the same key: dropping another attribute must not remove it.
    let (a, b) = [&b"a"[..], b"b"].map(|n| c.attr_open(c.root(), n).unwrap()).into();
    c.state().attributes.forget(&keys::attribute(c.root().0, b"a"), &b);
    assert!(Arc::ptr_eq(&a, &c.attr_open(c.root(), b"a").unwrap()));
    drop((a, b));
    assert_eq!(c.state().attributes.len(), 0);
    let open: Vec<_> = (0..500u32).map(|n| made(&c, c.root(), &n.to_le_bytes(), b"3")).collect();
    assert_eq!(c.state().attributes.len(), 500);
    drop(open);
    assert_eq!(c.state().attributes.len(), 0);
}

#[test]
fn an_open_attribute_is_moved_by_compaction() {
    let ledger =
        h5lake_ledger::Options { retention: Some(Duration::ZERO), ..h5lake_ledger::Options::default() };
    let place = memory();
    let c = place.create_with(Options { ledger, ..Options::default() });
    let filler = dataset(&c, b"d", dataset_spec(1, simple(&[6 << 20], &[6 << 20]), Layout::Contiguous));
    filler.write(&Selection::All, &vec![1; 6 << 20]).unwrap();
    let a = made(&c, c.root(), b"a", &[7; 200_000]);
    let b = made(&c, c.root(), b"b", &[8; 200_000]);
    c.flush().unwrap();
    assert_eq!((a.read().unwrap().len(), b.read().unwrap().len()), (200_000, 200_000));
    filler.write(&Selection::All, &vec![2; 6 << 20]).unwrap();
    c.flush().unwrap();
    // The value is written and not staged yet when payloads are about to move.
    b.write(&[9; 200_000]).unwrap();
    assert!(c.compact(u64::MAX).unwrap() >= 200_000);
    c.vacuum().unwrap();
    assert!(a.read().unwrap() == [7; 200_000][..] && b.read().unwrap() == [9; 200_000][..]);
    // The extent at the new location is freed, not the one at the old location.
    a.write(&[6; 200_000]).unwrap();
    c.flush().unwrap();
    c.vacuum().unwrap();
    drop((a, b));
    assert!(value_of(&c, c.root(), b"a") == [6; 200_000] && value_of(&c, c.root(), b"b") == [9; 200_000]);
}

#[test]
fn the_last_change_counts_wherever_it_is_stored() {
    for place in places() {
        let c = place.create();
        let root = c.root();
        let (a, b) = (made(&c, root, b"a", b"1"), made(&c, root, b"b", b"2"));
        for n in 0..4u8 {
            a.write(&[n]).unwrap();
            assert_eq!(value_of(&c, root, b"a"), [n]);
            b.write(&[n + 100]).unwrap();
            b.write(&[n + 101]).unwrap();
            assert_eq!((a.read().unwrap()[0], value_of(&c, root, b"b")), (n, vec![n + 101]));
        }
        // Lists the attributes, and creates one again.
        let last = made(&c, root, b"c", b"3");
        assert_eq!(names_of(&c, root), [b"a", b"b", b"c"]);
        assert!(c.attr_exists(root, b"c").unwrap());
        let again = c.attr_create(root, b"c", attr_spec(1, 1)).map(drop);
        assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
        // Renames an attribute to an existing name.
        assert_eq!(c.attr_rename(root, b"a", b"c").unwrap_err().kind(), ErrorKind::AlreadyExists);
        last.write(b"4").unwrap();
        c.attr_rename(root, b"c", b"d").unwrap();
        assert_eq!((last.read().unwrap()[0], last.name()), (b'4', b"d".to_vec()));
        assert!(!c.attr_exists(root, b"c").unwrap());
        last.write(b"5").unwrap();
        assert_eq!(names_of(&c, root), [b"a", b"b", b"d"]);
        // Deletes an attribute and creates it again while the old one is open.
        last.write(b"5").unwrap();
        c.attr_delete(root, b"d").unwrap();
        assert!(!c.attr_exists(root, b"d").unwrap());
        made(&c, root, b"d", b"6");
        assert_eq!((last.read().unwrap()[0], value_of(&c, root, b"d")), (b'5', b"6".to_vec()));
        assert_eq!(last.write(b"7").unwrap_err().kind(), ErrorKind::NotFound);
        c.attr_delete(root, b"b").unwrap();
        assert_eq!(c.attr_count(root).unwrap(), 2);
        drop((a, b, last));
        c.flush().unwrap();
        drop(c);
        let c = place.open(Access::ReadOnly);
        assert_eq!(names_of(&c, c.root()), [b"a", b"d"]);
        assert_eq!((value_of(&c, c.root(), b"a"), value_of(&c, c.root(), b"d")), (vec![3], b"6".to_vec()));
    }
}

#[test]
fn the_last_change_is_deleted_and_copied_with_its_object() {
    let c = memory().create();
    let id = group(&c, c.root(), b"g", CreationOrder::default());
    made(&c, id, b"a", b"1");
    let copy = c.copy_object(id, &c, CopyOptions::default(), &mut |_, _, elements| Ok(elements)).unwrap();
    assert_eq!(value_of(&c, copy.id(), b"a"), b"1");
    made(&c, id, b"b", b"2");
    c.link_delete(c.root(), b"g").unwrap();
    drop(c.state());
    assert!(keys_of(&c).iter().all(|key| keys::id(key) != Some(id.0)), "something of the group is left");
    c.flush().unwrap();
    assert!(keys_of(&c).iter().all(|key| keys::id(key) != Some(id.0)), "something of the group came back");
}

/// The old value is freed after the new one is stored, and not before.
#[test]
fn a_value_that_cannot_be_written_leaves_the_old_one() {
    let store = MemoryStore::new();
    let faults = FaultStore::new(Arc::new(store.clone())).as_near();
    let url = format!("faults of {}", store.place_of("c.h5"));
    let target = Target::Objects { store: Arc::new(faults.clone()), key: "c.h5".into(), url };
    let place = Place::at(target);
    let ledger =
        h5lake_ledger::Options { retention: Some(Duration::ZERO), ..h5lake_ledger::Options::default() };
    let c = place.create_with(Options { ledger, ..Options::default() });
    // The value is so long that writing it has to wait for its first part, however much is buffered.
    let old = vec![1; 150 << 20];
    let a = made(&c, c.root(), b"a", &old);
    c.flush().unwrap();
    for n in 0..40 {
        let put = Select::One(object_stores::Operation::Put);
        faults.inject(Rule::fail_nth(put, n, Timing::Before, object_stores::ErrorKind::NoSpace));
    }
    assert_eq!(a.write(&vec![2; old.len()]).unwrap_err().kind(), ErrorKind::NoSpace);
    faults.clear();
    assert!(a.read().unwrap() == old[..]);
    // An extent freed by mistake would be reused by the next commits.
    for n in 0..3 {
        made(&c, c.root(), b"b", &[n; 3]);
        c.attr_delete(c.root(), b"b").unwrap();
        c.flush().unwrap();
    }
    c.vacuum().unwrap();
    assert!(a.read().unwrap() == old[..] && value_of(&c, c.root(), b"a") == old);
}

#[test]
fn records_of_a_later_version_are_refused() {
    for place in places() {
        let c = place.create();
        let record = c.ledger.get(keys::CONTAINER).unwrap().unwrap();
        let mut record: record::ContainerRecord = record::decode(record, String::new).unwrap();
        assert_eq!(record.version, RECORDS_VERSION);
        record.version += 1;
        c.ledger.put(keys::CONTAINER, record.encode_to_vec()).unwrap();
        c.flush().unwrap();
        drop(c);
        let refused = Container::open(&place.target, Access::ReadOnly, Options::default()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(refused.to_string().contains("newer h5lake"), "{refused}");
    }
}

#[test]
fn a_value_of_another_length_is_damage() {
    let c = memory().create();
    for (name, has_heap, more) in [(&b"plain"[..], false, 1), (b"short", true, -1), (b"heap", true, 1)] {
        let mut spec = attr_spec(16, 1);
        spec.datatype.has_heap = has_heap;
        let a = c.attr_create(c.root(), name, spec).unwrap();
        a.write(&[1; 16]).unwrap();
        drop(a);
        c.flush().unwrap();
        let key = keys::named(keys::ATTRIBUTE, c.root().0, name);
        let value = c.ledger.get(&key).unwrap().unwrap();
        let mut r: record::AttributeRecord = record::decode(value, String::new).unwrap();
        r.inline = vec![1; (16 + more) as usize].into();
        c.ledger.put(&key, r.encode_to_vec()).unwrap();
        let read = c.attr_open(c.root(), name).unwrap().read();
        assert_eq!(read.is_ok(), name == b"heap", "{read:?}");
    }
}

#[test]
fn a_long_value_is_read_once_and_bounded_memory_keeps_it() {
    let place = file();
    let c = place.create();
    let long = |n: u8| vec![n; 1 << 20];
    for n in 0..10 {
        made(&c, c.root(), &[b'a' + n], &long(n));
    }
    c.flush().unwrap();
    drop(c);
    let c = place.open(Access::ReadWrite);
    let read = || super::statistics::of(&c).bytes_read();
    assert_eq!(value_of(&c, c.root(), b"a"), long(0));
    let before = read();
    (0..100).for_each(|_| assert_eq!(value_of(&c, c.root(), b"a"), long(0)));
    assert_eq!(read(), before);
    for n in 0..10 {
        assert_eq!(value_of(&c, c.root(), &[b'a' + n]), long(n));
        assert!(c.long_values.bytes() <= crate::attribute::MAX_LONG_VALUE_BYTES);
    }
    // A new value is read at once, staged and committed.
    c.attr_open(c.root(), b"a").unwrap().write(&long(77)).unwrap();
    assert_eq!(value_of(&c, c.root(), b"a"), long(77));
    c.flush().unwrap();
    assert_eq!(value_of(&c, c.root(), b"a"), long(77));
}
