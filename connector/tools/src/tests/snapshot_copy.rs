//! Copies of snapshots: to new containers, and over newer versions.

use super::*;
use crate::repair::tests::{described, fill};
use crate::verify::{Versions, verify};
use h5lake_ledger::At;
use object_stores::{MemoryStore, TraceStore};

pub(super) fn assert_whole(place: &Place) {
    let report = verify(&place.target, &Options::default(), Versions::Newest, &mut |_, _| ()).unwrap();
    assert!(report.is_whole() && report.found.is_empty(), "{:?}", report.found);
}

fn options() -> Options {
    let ledger = h5lake_ledger::Options {
        retention: Some(std::time::Duration::from_secs(3600)),
        ..h5lake_ledger::Options::default()
    };
    Options { ledger, ..Options::default() }
}

fn id_of(c: &Container, path: &[u8]) -> ObjectId {
    match c.resolve(c.root(), path, LastLink::Follow, 0).unwrap() {
        Resolution::Object { id } => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_copy_is_equal_and_whole_between_all_places() {
    for from in [file, memory] {
        for to in [file, memory] {
            let (source, target) = (from(), to());
            let blob = fill(&source);
            let (o, mut shown) = (Options::default(), 0);
            let copied =
                copy_to(End::new(&source.target, &o), End::new(&target.target, &o), &mut |n, _| shown = n)
                    .unwrap();
            assert!(copied.bytes > 2_000_000 && shown == copied.bytes, "{copied:?}");
            assert_eq!(described(&source, &blob), described(&target, &blob));
            assert_whole(&target);
            let again = copy_to(End::new(&source.target, &o), End::new(&target.target, &o), &mut |_, _| ())
                .unwrap_err();
            assert_eq!(again.kind(), ErrorKind::AlreadyExists);
            assert_eq!(described(&source, &blob), described(&target, &blob));
        }
    }
}

/// Returns a place in a store that counts requests.
fn traced() -> (Place, TraceStore) {
    let trace = TraceStore::new(Arc::new(MemoryStore::new()));
    let target =
        Target::Objects { store: Arc::new(trace.clone()), key: "c.h5".into(), url: "memory:traced".into() };
    (Place::at(target), trace)
}

#[test]
fn a_copy_of_an_old_version_asks_as_much_beside_many_later_versions() {
    let requests = [20, 400].map(|commits| {
        let (source, trace) = traced();
        let c = source.create_with(options());
        for n in 0..commits {
            group(&c, c.root(), format!("g{n}").as_bytes(), CreationOrder::default());
            c.flush().unwrap();
        }
        drop(c);
        trace.reset();
        let mut old = options();
        old.ledger.at = Some(At::Version(2));
        let o = Options::default();
        copy_to(End::new(&source.target, &old), End::new(&file().target, &o), &mut |_, _| ()).unwrap();
        let listed = trace.count(object_stores::Operation::List).requests;
        assert_eq!(listed, 0, "beside {commits} versions");
        trace.requests()
    });
    // With few versions, all of them are in the manifest. With many, the history and segments lead to the version.
    assert!(requests[1] <= requests[0] + 10, "{requests:?}");
}

#[test]
fn damage_is_no_copy() {
    let (source, target) = (file(), file());
    fill(&source);
    let (Target::File(path), Target::File(copy)) = (&source.target, &target.target) else { panic!() };
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(64).position(|w| w == [0xb8; 64]).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let o = Options::default();
    let refused =
        copy_to(End::new(&source.target, &o), End::new(&target.target, &o), &mut |_, _| ()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(!copy.exists());
}

/// Changes some objects of every kind: entries are created, deleted and changed, with payloads and without.
fn change(place: &Place) {
    let c = Container::open(&place.target, Access::ReadWrite, options()).unwrap();
    let long = c.dataset(id_of(&c, b"/long")).unwrap();
    long.write(&Selection::Runs(vec![Run { offset: 10, count: 1000 }]), &[0x55; 4000]).unwrap();
    c.dataset(id_of(&c, b"/filtered")).unwrap().write(&Selection::All, &[0x66; 80_000]).unwrap();
    c.dataset(id_of(&c, b"/small")).unwrap().write(&Selection::All, &[4; 40]).unwrap();
    c.link_delete(c.root(), b"plain").unwrap();
    c.attr_open(id_of(&c, b"/g"), b"big").unwrap().write(&[8; 90_000]).unwrap();
    c.attr_delete(id_of(&c, b"/g"), b"small").unwrap();
    c.heap_put(id_of(&c, b"/texts"), &[0x77; 30_000]).unwrap();
    let new = dataset(&c, b"new", dataset_spec(1, simple(&[200_000], &[200_000]), Layout::Contiguous));
    new.write(&Selection::All, &[0x44; 200_000]).unwrap();
    c.flush().unwrap();
}

#[test]
fn an_old_version_becomes_the_newest_again() {
    for place in places() {
        let blob = fill(&place);
        let before = described(&place, &blob);
        let version = place.open(Access::ReadOnly).version();
        change(&place);
        let changed = described(&place, &blob);
        assert_ne!(before, changed);
        let newest = place.open(Access::ReadOnly).version();
        let last_id = id_of(&place.open(Access::ReadOnly), b"/new");
        let restore = |at| restore_version(&place.target, &options(), At::Version(at), &mut |_, _| ());
        let done = restore(version).unwrap();
        assert_eq!((done.from, done.to), (version, newest + 1));
        match &place.target {
            // Unchanged data is not copied: the other parts of a long dataset. All data of the deleted dataset is copied.
            Target::File(_) => assert!(done.bytes > 90_000 && done.bytes < 2_000_000, "{done:?}"),
            // The store has all payloads of a retained version.
            Target::Objects { .. } => assert_eq!(done.bytes, 0),
        }
        assert_eq!(described(&place, &blob), before);
        assert_whole(&place);
        // The versions between are retained, and can be restored in turn.
        restore(newest).unwrap();
        assert_eq!(described(&place, &blob), changed);
        assert_whole(&place);
        restore(version).unwrap();
        let c = Container::open(&place.target, Access::ReadWrite, options()).unwrap();
        let made = c.create_group(GroupSpec::default()).unwrap();
        assert!(made.id() > last_id, "an id is used again");
        c.link_create(c.root(), b"made", LinkTarget::Hard(made.id()), CharSet::Utf8).unwrap();
        drop(made);
        c.flush().unwrap();
        let newest = c.version();
        drop(c);
        assert_whole(&place);
        let done = restore(newest).unwrap();
        assert_eq!((done.from, done.to, done.entries), (newest, newest, 0));
        assert!(restore(newest + 7).is_err());
    }
}

#[test]
fn a_copy_disturbs_no_writer() {
    for place in places() {
        fill(&place);
        let version = place.open(Access::ReadOnly).version();
        change(&place);
        let writer = Container::open(&place.target, Access::ReadWrite, options()).unwrap();
        let refused = restore_version(&place.target, &options(), At::Version(version), &mut |_, _| ());
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Locked);
        drop(writer);
    }
}

/// One payload is longer than the limit of a read, with short ones before and after it.
#[test]
fn long_payloads_are_copied() {
    const LONG: u64 = 40 << 20;
    let (source, target) = (file(), memory());
    let c = source.create();
    for (name, length) in [(&b"a"[..], 50_000), (b"b", LONG), (b"c", 60_000)] {
        let made = dataset(
            &c,
            name,
            dataset_spec(1, simple(&[length], &[length]), Layout::Chunked { chunk: vec![length] }),
        );
        made.write(&Selection::All, &vec![name[0]; length as usize]).unwrap();
    }
    drop(c);
    let o = Options::default();
    let copied = copy_to(End::new(&source.target, &o), End::new(&target.target, &o), &mut |_, _| ()).unwrap();
    assert_eq!(copied.bytes, LONG + 110_000);
    let c = target.open(Access::ReadOnly);
    let b = c.dataset(id_of(&c, b"/b")).unwrap();
    let mut data = vec![0; LONG as usize];
    b.read(&Selection::All, &mut data).unwrap();
    assert!(data.iter().all(|byte| *byte == b'b'));
    assert_whole(&target);
}
