//! Handles of objects that another writer deleted, or that were dropped with their batch: they return errors, never
//! invented data, and lose no writes.

use super::many::{all, apart, check, chunked, conflict, find, open, there, writers};
use super::*;

fn read(d: &Dataset) -> Result<Vec<u8>> {
    let mut out = vec![0; 40];
    d.read(&Selection::All, &mut out).map(|()| out)
}

fn prepare(c: &Arc<Container>) {
    dataset(c, b"d", chunked(10, 10, false)).write(&Selection::All, &[7; 40]).unwrap();
}

#[test]
fn operations_on_a_remotely_deleted_dataset_are_errors() {
    for p in places() {
        for refreshes in [true, false] {
            let [a, b] = writers(&p, prepare);
            let d = open(&b, b"d");
            a.link_delete(a.root(), b"d").unwrap();
            a.flush().unwrap();
            if refreshes {
                b.refresh().unwrap();
            } else {
                group(&b, b.root(), b"new", CreationOrder::default());
                b.flush().unwrap();
            }
            let coords = [0];
            let errors = [
                read(&d).map(drop),
                d.write(&Selection::All, &[1; 40]),
                d.set_extent(&[20]),
                d.write_chunk(&coords, 0, &[1; 40]),
                d.read_chunk(&coords).map(drop),
                d.chunk_count().map(drop),
                d.storage_size().map(drop),
            ];
            for (n, done) in errors.into_iter().enumerate() {
                let e = done.unwrap_err();
                assert!(e.kind() == ErrorKind::NotFound && e.to_string().contains("dataset 'd'"), "{n}: {e}");
            }
            // Nothing was staged for the dataset.
            b.flush().unwrap();
            drop((d, a, b));
            assert!(!there(&check(&p), b"d"));
        }
    }
}

#[test]
fn reading_a_deleted_dataset_is_an_error() {
    for p in places() {
        let c = p.create();
        prepare(&c);
        drop(c);
        let writer = Container::open_apart(&p.target, Access::ReadWrite, &Options::default()).unwrap();
        let reader = Container::open_apart(&p.target, Access::ReadOnly, &Options::default()).unwrap();
        let d = open(&reader, b"d");
        writer.link_delete(writer.root(), b"d").unwrap();
        writer.flush().unwrap();
        assert_eq!(all(&d), [7; 40]);
        reader.refresh().unwrap();
        assert_eq!(read(&d).unwrap_err().kind(), ErrorKind::NotFound);
        drop((d, writer, reader));
    }
}

/// As in POSIX, an unlinked object exists as long as the process that unlinked it has it open.
#[test]
fn a_dataset_stays_usable_after_its_own_unlink() {
    for p in places() {
        let [a, b] = writers(&p, prepare);
        let d = open(&a, b"d");
        a.link_delete(a.root(), b"d").unwrap();
        a.flush().unwrap();
        group(&b, b.root(), b"new", CreationOrder::default());
        b.flush().unwrap();
        a.refresh().unwrap();
        d.write(&Selection::All, &[8; 40]).unwrap();
        a.flush().unwrap();
        assert_eq!(read(&d).unwrap(), [8; 40]);
        drop(d);
        a.flush().unwrap();
        drop((a, b));
        check(&p);
    }
}

/// An object that a batch created is dropped with the batch.
#[test]
fn operations_on_a_dataset_of_a_dropped_batch_are_errors() {
    for p in places() {
        let [a, b] = writers(&p, prepare);
        let made = dataset(&b, b"made", chunked(10, 10, false));
        let old = open(&b, b"d");
        for c in [&a, &b] {
            c.set_comment(c.root(), Some(c.ledger.version().to_string().as_bytes())).unwrap();
        }
        a.set_comment(a.root(), Some(b"a")).unwrap();
        a.flush().unwrap();
        conflict(&b);
        assert_eq!(read(&made).unwrap_err().kind(), ErrorKind::NotFound);
        made.write(&Selection::All, &[1; 40]).unwrap_err();
        assert_eq!(read(&old).unwrap(), [7; 40]);
        drop((made, old, a, b));
        check(&p);
    }
}

fn number(c: &Arc<Container>, name: &[u8]) -> u8 {
    c.attr_open(c.root(), name).unwrap().read().unwrap()[0]
}

fn drop_batch(a: &Arc<Container>, b: &Arc<Container>) {
    let version = a.ledger.version();
    b.set_comment(b.root(), Some(b"b")).unwrap();
    a.set_comment(a.root(), Some(version.to_string().as_bytes())).unwrap();
    a.flush().unwrap();
    conflict(b);
}

#[test]
fn an_attribute_whose_deletion_was_dropped_is_written_again() {
    for p in places() {
        let [a, b] = writers(&p, |c| {
            c.attr_create(c.root(), b"x", attr_spec(1, 1)).unwrap().write(&[5]).unwrap();
            c.attr_create(c.root(), b"y", attr_spec(1, 1)).unwrap().write(&[6]).unwrap();
        });
        let [x, y] = [b"x", b"y"].map(|name| b.attr_open(b.root(), name).unwrap());
        b.attr_delete(b.root(), b"x").unwrap();
        assert!(x.write(&[9]).is_err(), "it is deleted, as far as this batch goes");
        b.attr_rename(b.root(), b"y", b"x").unwrap();
        b.attr_rename(b.root(), b"x", b"w").unwrap();
        drop_batch(&a, &b);
        assert_eq!([x.read().unwrap()[0], y.read().unwrap()[0]], [5, 6]);
        assert_eq!([x.name(), y.name()], [b"x".to_vec(), b"y".to_vec()]);
        assert!(Arc::ptr_eq(&x, &b.attr_open(b.root(), b"x").unwrap()));
        x.write(&[15]).unwrap();
        y.write(&[16]).unwrap();
        b.flush().unwrap();
        // The committed attribute is deleted.
        b.attr_delete(b.root(), b"x").unwrap();
        b.flush().unwrap();
        drop_batch(&a, &b);
        assert_eq!(x.read().unwrap()[0], 15);
        assert!(x.write(&[3]).is_err());
        assert!(!b.attr_exists(b.root(), b"x").unwrap());
        drop((x, y, a, b));
        assert_eq!(number(&check(&p), b"y"), 16);
    }
}

/// An attribute that was created under the same name has another type.
#[test]
fn a_handle_of_another_attribute_of_that_name_writes_nothing_into_it() {
    for p in places() {
        let [a, b] = writers(&p, |c| {
            c.attr_create(c.root(), b"x", attr_spec(1, 1)).unwrap().write(&[5]).unwrap();
        });
        // The new attribute is dropped with its batch, and the old one is there again.
        b.attr_delete(b.root(), b"x").unwrap();
        let made = b.attr_create(b.root(), b"x", attr_spec(1, 7)).unwrap();
        drop_batch(&a, &b);
        for done in [made.read().map(drop), made.write(&[1; 7])] {
            assert_eq!(done.unwrap_err().kind(), ErrorKind::NotFound);
        }
        // Another writer has created the attribute anew.
        let old = b.attr_open(b.root(), b"x").unwrap();
        assert_eq!(old.read().unwrap(), vec![5]);
        a.attr_delete(a.root(), b"x").unwrap();
        a.attr_create(a.root(), b"x", attr_spec(1, 9)).unwrap().write(&[2; 9]).unwrap();
        a.flush().unwrap();
        b.refresh().unwrap();
        for done in [old.read().map(drop), old.write(&[1])] {
            assert_eq!(done.unwrap_err().kind(), ErrorKind::NotFound);
        }
        assert_eq!(b.attr_open(b.root(), b"x").unwrap().read().unwrap(), vec![2; 9]);
        b.flush().unwrap();
        drop((made, old, a, b));
        let c = check(&p);
        assert_eq!(c.attr_open(find(&c, b"/"), b"x").unwrap().read().unwrap(), vec![2; 9]);
        drop((c, apart(&p)));
    }
}
