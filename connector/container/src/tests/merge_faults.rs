//! Errors of the store while the batches of two writers are merged: no change is lost.

use super::many::{all, check, chunked, open, options, part};
use super::*;
use object_stores::{FaultStore, ObjectStore, Rule, Select, Timing};

const N: u64 = 12_000;
const CHUNK: u64 = 6_000;

fn place(store: Arc<dyn ObjectStore>) -> Place {
    let url = format!("merged in {}", store.place_of("c.h5"));
    Place { target: Target::Objects { store, key: "c.h5".into(), url }, _dir: None }
}

/// Bytes of which filters make no less, so that blocks are payloads.
fn noise(count: u64, salt: u64) -> Vec<u8> {
    (0..count * 4).map(|i| ((i + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn put(wanted: &mut [u8], start: u64, data: &[u8]) {
    wanted[start as usize * 4..][..data.len()].copy_from_slice(data);
}

/// The nth call that a flush makes of the store fails, for each n: that is told, and the next flush commits all.
fn with_faults(select: Select, gzip: bool, shrinks: bool) {
    let mut errors = 0;
    for n in 0.. {
        let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let faults = FaultStore::new(memory.clone());
        let (p, of_b) = (place(memory), place(Arc::new(faults.clone())));
        let mut wanted = noise(N, 1);
        let c = p.create_with(options());
        dataset(&c, b"d", chunked(N, CHUNK, gzip)).write(&Selection::All, &wanted).unwrap();
        drop(c);
        let a = Container::open_apart(&p.target, Access::ReadWrite, &options()).unwrap();
        let b = Container::open_apart(&of_b.target, Access::ReadWrite, &options()).unwrap();
        for (writer, salt) in [(&a, 2), (&b, 3)] {
            let d = open(writer, b"d");
            for chunk in 0..2 {
                let (start, data) = (chunk * CHUNK + salt * 1000, noise(900, salt));
                d.write(&part(start, 900), &data).unwrap();
                put(&mut wanted, start, &data);
            }
        }
        if shrinks {
            open(&a, b"d").set_extent(&[N - 500]).unwrap();
            wanted.truncate((N - 500) as usize * 4);
        }
        a.flush().unwrap();
        faults.inject(Rule::fail_nth(select, n, Timing::Before, object_stores::ErrorKind::Io));
        let flushed = b.flush();
        let struck = faults.struck();
        faults.clear();
        if let Err(e) = flushed {
            assert!(e.to_string().contains("injected fault"), "{n}: {e}");
            errors += 1;
            b.flush().unwrap();
        }
        drop((a, b));
        let c = check(&p);
        assert!(all(&open(&c, b"d")) == wanted, "{select:?} {n}, gzip {gzip}, shrinks {shrinks}");
        if struck == 0 {
            break;
        }
    }
    assert!(errors > 0, "{select:?}: no call failed");
}

#[test]
fn an_error_while_blocks_are_merged_loses_no_change() {
    for gzip in [false, true] {
        for shrinks in [false, true] {
            with_faults(Select::Reading, gzip, shrinks);
            with_faults(Select::Mutating, gzip, shrinks);
        }
    }
}
