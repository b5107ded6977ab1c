//! A process that writes a container which it also has open for reading, and one that replaces such a container.

use super::*;
use h5lake_ledger::LockPolicy;
use std::time::Duration;

fn options(lock: LockPolicy) -> Options {
    let ledger = h5lake_ledger::Options {
        lock,
        retention: Some(Duration::ZERO),
        cache_bytes: 0,
        ..Default::default()
    };
    Options { ledger, cache_bytes: 0, ..Options::default() }
}

fn spec() -> DatasetSpec {
    dataset_spec(4, simple(&[50_000], &[50_000]), Layout::Chunked { chunk: vec![10_000] })
}

fn write(c: &Arc<Container>, value: u8) {
    let id = c.link(c.root(), b"x").unwrap().map(|_| object(c, b"x"));
    let d = id.map_or_else(|| dataset(c, b"x", spec()), |id| c.dataset(id).unwrap());
    d.write(&Selection::All, &[value; 200_000]).unwrap();
    c.flush().unwrap();
}

fn object(c: &Arc<Container>, name: &[u8]) -> ObjectId {
    match c.link(c.root(), name).unwrap().unwrap().target {
        LinkTarget::Hard(id) => id,
        other => panic!("{other:?}"),
    }
}

fn read(c: &Arc<Container>) -> u8 {
    let mut out = vec![0; 200_000];
    c.dataset(object(c, b"x")).unwrap().read(&Selection::All, &mut out).unwrap();
    assert!(out.iter().all(|byte| *byte == out[0]));
    out[0]
}

fn open(p: &Place, access: Access, lock: LockPolicy) -> Arc<Container> {
    Container::open(&p.target, access, options(lock)).unwrap()
}

#[test]
fn a_reader_keeps_its_version_while_its_own_process_writes() {
    for lock in [LockPolicy::default(), LockPolicy::Off] {
        let p = file();
        let c = p.create_with(options(lock));
        write(&c, 1);
        drop(c);
        let reader = open(&p, Access::ReadOnly, lock);
        let writer = open(&p, Access::ReadWrite, lock);
        assert!(!Arc::ptr_eq(&reader, &writer) && !reader.writable() && writer.writable());
        for value in 2..10 {
            write(&writer, value);
            writer.vacuum_once();
            assert_eq!(read(&reader), 1, "{lock:?}: what the writer freed is not used again");
        }
        let newer = open(&p, Access::ReadOnly, lock);
        assert!(Arc::ptr_eq(&newer, &writer), "who opens it now sees what is not flushed yet");
        drop((newer, writer));
        let newer = open(&p, Access::ReadOnly, lock);
        assert_eq!((read(&newer), read(&reader)), (9, 1));
        assert!(reader.refresh().unwrap());
        assert_eq!(read(&reader), 9);
    }
}

impl Container {
    fn vacuum_once(&self) {
        self.ledger.vacuum().unwrap();
    }
}

#[test]
fn a_reader_keeps_the_container_that_its_own_process_replaces() {
    for p in places() {
        let c = p.create();
        write(&c, 1);
        drop(c);
        let reader = p.open(Access::ReadOnly);
        let new = p.create();
        assert!(new.link(new.root(), b"x").unwrap().is_none());
        write(&new, 2);
        assert!(Arc::ptr_eq(&new, &p.open(Access::ReadOnly)), "who opens it now gets the new one");
        assert_eq!(read(&reader), 1);
        drop(new);
        let newer = p.open(Access::ReadOnly);
        assert_eq!((read(&newer), read(&reader)), (2, 1));
        // Closing the replaced container does not hide the new container.
        drop(reader);
        assert!(Arc::ptr_eq(&newer, &p.open(Access::ReadOnly)));
    }
}

#[test]
fn a_container_open_for_writing_is_not_replaced() {
    for p in places() {
        let c = p.create();
        write(&c, 1);
        drop(c);
        let reader = p.open(Access::ReadOnly);
        let writer = p.open(Access::ReadWrite);
        let replaced =
            Container::create(&p.target, Replace::Truncate, FileCreation::default(), Options::default());
        let e = replaced.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Busy, "{e}");
        assert!(e.to_string().contains("open for writing already"), "{e}");
        write(&writer, 2);
        assert_eq!(read(&reader), 1);
    }
}

#[test]
fn a_file_replaced_in_place_is_reopened() {
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let (p, other) = (file(), file());
        for (p, value) in [(&p, 1), (&other, 2)] {
            let c = p.create();
            write(&c, value);
        }
        let (Target::File(path), Target::File(from)) = (&p.target, &other.target) else { panic!() };
        let old = p.open(access);
        std::fs::write(path, std::fs::read(from).unwrap()).unwrap();
        let new = p.open(Access::ReadOnly);
        assert!(!Arc::ptr_eq(&old, &new));
        assert_eq!(read(&new), 2);
    }
}
