//! Single writers in a store without conditional puts, where a record replaces another's of its number.

use object_stores::FaultStore;

use super::*;
use crate::error::ErrorKind;
use crate::objects::open;

/// A store without conditions, a writer that is alone in it, and what another one does that takes its lock away.
struct Unguarded {
    hooked: Arc<Hooked>,
    slow: Ledger,
    other: Box<dyn FnOnce() + Send>,
    store: Arc<dyn ObjectStore>,
}

impl Unguarded {
    fn new() -> Self {
        wrong::BY.set(0);
        let store: Arc<dyn ObjectStore> =
            Arc::new(FaultStore::new(Arc::new(MemoryStore::new())).without_create().without_update());
        let hooked = World::hooked_over(store.clone(), false);
        let slow = Ledger::create_objects(hooked.clone(), KEY, Replace::Fail, alone(600)).unwrap();
        commits(&slow, 1);
        slow.put(b"slow", "x").unwrap();
        let to = store.clone();
        let other = Box::new(move || {
            // As if the lease had ended.
            let found = open::lock_holder(to.as_ref(), KEY).unwrap().unwrap();
            open::break_lock(to.as_ref(), KEY, &found).unwrap();
            let l = Ledger::open_objects(to, KEY, Access::ReadWrite, alone(600)).unwrap();
            l.put(b"theirs", "y").unwrap();
            l.commit().unwrap();
            l.close().unwrap();
        });
        Self { hooked, slow, other, store }
    }
}

/// Nothing refuses a record that comes late: a writer that slept past its lease looks at the lock before it puts one.
#[test]
fn a_writer_that_slept_replaces_no_record_in_a_store_without_conditions() {
    let Unguarded { hooked, slow, other, store } = Unguarded::new();
    // It has found the next number free.
    *hooked.behind_record_get.lock() = Some(other);
    let e = slow.commit().unwrap_err();
    assert_eq!(*e.kind(), ErrorKind::Conflict, "{e}");
    drop(slow);
    let l = Ledger::open_objects(store, KEY, Access::ReadOnly, Options::default()).unwrap();
    assert_eq!((l.get(b"theirs").unwrap().unwrap(), l.get(b"slow").unwrap()), ("y".into(), None));
}

/// It has looked, and its record arrives all the same after its lease.
#[test]
fn a_record_that_comes_after_its_lease_is_told_in_a_store_without_conditions() {
    let Unguarded { hooked, slow, other, .. } = Unguarded::new();
    *hooked.before_record.lock() = Some(Box::new(move || {
        wrong::BY.set(70 * SECOND);
        other();
    }));
    let e = slow.commit().unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Broken { why } if why.contains("held up")), "{e}");
    slow.commit().unwrap_err();
}
