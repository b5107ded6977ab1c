//! Writers of a distant store whose commits go together.

use super::many::{all, check, chunked, find, open, options, part};
use super::*;
use object_stores::{LatencyStore, MemoryStore, ObjectStoreExt, Pace};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const WRITERS: u64 = 8;
const COMMITS: u64 = 12;
const CHUNK: u64 = 50;

fn far() -> (Place, Arc<MemoryStore>) {
    let inner = Arc::new(MemoryStore::new());
    let pace = Pace { per_request: Duration::from_millis(4), ..Pace::default() };
    let store = Arc::new(LatencyStore::new(inner.clone(), pace));
    let target = Target::Objects { store, key: "c.h5".into(), url: "far".into() };
    (Place { target, _dir: None }, inner)
}

/// Queued commits that nobody has deleted.
fn queued(store: &MemoryStore) -> usize {
    store.list("", None).filter(|object| object.as_ref().unwrap().key.as_str().contains("/queue/")).count()
}

/// A writer changes its chunk, an attribute of its own group, and every third time an element that all change.
fn write(p: &Place, n: u64, together: &Barrier, conflicts: &AtomicU64) {
    let c = Container::open_apart(&p.target, Access::ReadWrite, &options()).unwrap();
    let d = open(&c, b"d");
    let own = find(&c, format!("g{n}").as_bytes());
    let attribute = c.attr_open(own, b"x").unwrap();
    together.wait();
    for turn in 1..=COMMITS {
        loop {
            let value = [turn as u8; 4 * CHUNK as usize];
            d.write(&part(n * CHUNK, CHUNK), &value).unwrap();
            match turn % 3 {
                0 => d.write(&part(WRITERS * CHUNK, 1), &[n as u8; 4]).unwrap(),
                1 => attribute.write(&[turn as u8]).unwrap(),
                _ => (),
            }
            match c.flush() {
                Ok(()) => break,
                Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict, "{e}"),
            }
            conflicts.fetch_add(1, Ordering::Relaxed);
        }
        // What one has committed one sees, and nobody else changes it.
        assert!(all(&d)[(4 * n * CHUNK) as usize..][..4 * CHUNK as usize].iter().all(|b| *b == turn as u8));
    }
}

#[test]
fn commits_that_are_apart_go_together_and_others_are_merged_or_told() {
    let (p, store) = far();
    let c = p.create_with(options());
    dataset(&c, b"d", chunked((WRITERS + 1) * CHUNK, CHUNK, true));
    for n in 0..WRITERS {
        let g = group(&c, c.root(), format!("g{n}").as_bytes(), CreationOrder::default());
        c.attr_create(g, b"x", attr_spec(1, 1)).unwrap().write(&[0]).unwrap();
    }
    c.flush().unwrap();
    drop(c);
    let (together, conflicts) = (Barrier::new(WRITERS as usize), AtomicU64::new(0));
    std::thread::scope(|s| {
        for n in 0..WRITERS {
            let (p, together, conflicts) = (&p, &together, &conflicts);
            s.spawn(move || write(p, n, together, conflicts));
        }
    });
    let c = check(&p);
    let found = all(&open(&c, b"d"));
    assert!(found[..4 * (WRITERS * CHUNK) as usize].iter().all(|b| *b == COMMITS as u8));
    for n in 0..WRITERS {
        let value = c.attr_open(find(&c, format!("g{n}").as_bytes()), b"x").unwrap().read().unwrap();
        assert_eq!(value[..], [10]);
    }
    // Each flush that succeeded is in a version; most share theirs with others.
    let versions = c.ledger.version();
    assert!(versions < WRITERS * COMMITS, "{versions} versions");
    assert!(conflicts.into_inner() > 0, "the element of all was fought for");
    assert_eq!(queued(&store), 0, "nothing is left in the queue");
}
