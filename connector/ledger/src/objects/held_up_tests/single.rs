//! Single writers, beside many and beside each other.

use object_stores::FaultStore;

use super::*;
use crate::error::ErrorKind;

fn commits_to(l: &Ledger, times: u64) -> Result<()> {
    (0..times).try_for_each(|n| {
        l.put(b"slow", format!("{n}"))?;
        l.commit().map(drop)
    })
}

#[test]
fn a_single_writer_keeps_the_records_of_many() {
    let w = World::new();
    let slow = w.writer(3600);
    for _ in 0..2 {
        let alone = Options { writers: Writers::One, ..options(0) };
        let l = Ledger::open_objects(w.store.clone(), KEY, Access::ReadWrite, alone).unwrap();
        commits(&l, 9);
        l.vacuum().unwrap();
        l.close().unwrap();
    }
    slow.put(b"slow", "x").unwrap();
    assert!(is_told(&w, b"slow", slow.commit()), "records stay for the usual time");
}

#[test]
fn a_vacuum_leaves_what_one_of_many_has_put_and_not_committed() {
    let w = World::new();
    let slow = w.writer(3600);
    let payload = vec![7; 300_000];
    let mut value = Vec::new();
    slow.write_payload(&payload).unwrap().encode(&mut value);
    slow.send_payloads().unwrap();
    for _ in 0..2 {
        let alone = Options { writers: Writers::One, ..options(0) };
        let l = Ledger::open_objects(w.store.clone(), KEY, Access::ReadWrite, alone).unwrap();
        commits(&l, 1);
        l.vacuum().unwrap();
        l.close().unwrap();
    }
    slow.put(b"slow", value).unwrap();
    slow.commit().unwrap();
    let l = Ledger::open_objects(w.store.clone(), KEY, Access::ReadOnly, Options::default()).unwrap();
    let stored = l.get(b"slow").unwrap().unwrap();
    let mut read = vec![0; payload.len()];
    l.read_payload(&Extent::decode(&stored).unwrap().0, 0, &mut read).unwrap();
    assert!(read == payload);
}

/// A single writer whose lease ended while its record was on its way.
#[test]
fn a_commit_of_a_single_writer_that_is_held_up_is_there_or_told() {
    let w = World::new();
    let alone = || Options { writers: Writers::One, lock: crate::options::LockPolicy::Off, ..options(0) };
    let key = "alone.h5";
    let l = Ledger::create_objects(w.store.clone(), key, Replace::Fail, alone()).unwrap();
    commits(&l, 1);
    l.close().unwrap();
    let slow = Ledger::open_objects(w.hooked.clone(), key, Access::ReadWrite, alone()).unwrap();
    let other = Ledger::open_objects(w.store.clone(), key, Access::ReadWrite, alone()).unwrap();
    slow.put(b"slow", "x").unwrap();
    *w.hooked.before_record.lock() = Some(Box::new(move || commit_and_reclaim(&other)));
    let done = slow.commit();
    let l = Ledger::open_objects(w.store.clone(), key, Access::ReadOnly, Options::default()).unwrap();
    assert!(done.is_err() || l.get(b"slow").unwrap().is_some());
    assert!(done.is_err());
}

/// Where the store refuses no head that comes late, a writer that slept past its lease looks before it puts one: over a newer base,
/// behind which records are gone, an older one would lead nowhere.
#[test]
fn a_writer_that_slept_puts_no_head_over_anothers_in_a_store_without_conditions() {
    type End = fn(Ledger) -> Result<()>;
    let ends: [End; 3] = [
        Ledger::close,
        |l| {
            commits_to(&l, 100)?;
            l.close()
        },
        |l| l.vacuum().map(drop),
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let memory = Arc::new(MemoryStore::new());
        let store = Arc::new(FaultStore::new(memory).without_create().without_update());
        let one = || Options { writers: Writers::One, ..options(0) };
        let slow = Ledger::create_objects(store.clone(), KEY, Replace::Fail, one()).unwrap();
        commits(&slow, 3);
        // As if the lease had ended.
        let found = crate::objects::open::lock_holder(store.as_ref(), KEY).unwrap().unwrap();
        crate::objects::open::break_lock(store.as_ref(), KEY, &found).unwrap();
        let other = Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, one()).unwrap();
        commit_and_reclaim(&other);
        let version = other.version();
        let told = end(slow);
        assert_eq!(told.is_err(), n > 0, "{n}: {told:?}");
        commits(&other, 20);
        other.close().unwrap();
        let l = Ledger::open_objects(store, KEY, Access::ReadOnly, Options::default()).unwrap();
        assert_eq!((l.version(), l.get(b"other").unwrap().unwrap()), (version + 20, "19".into()), "{n}");
    }
}

/// Made by a single writer, which is the default, then opened by many.
#[test]
fn many_in_a_container_that_one_made() {
    let w = World::made_by(alone(600));
    let (slow, fast) = (w.writer(3600), w.writer(0));
    commits(&fast, 30);
    slow.put(b"slow", "x").unwrap();
    let done = slow.commit();
    assert!(is_told(&w, b"slow", done), "records stay for the usual time");
}

#[test]
fn numbers_in_a_container_that_one_made() {
    let w = World::made_by(alone(600));
    let (slow, fast) = (w.writer(3600), w.writer(0));
    assert_eq!(fast.take_numbers(b"n", 10, 1).unwrap(), 1);
    commits(&fast, 30);
    let n = slow.take_numbers(b"n", 10, 1);
    if let Ok(n) = n {
        assert_eq!(n, 11);
    }
    if let Ok(n) = slow.take_numbers(b"n", 10, 1) {
        assert_eq!(n, 11);
    }
}

/// One of many commits after a single writer that keeps nothing has come and gone, and another of many has come.
fn behind_a_single_writer_and_another(w: &World, single: Ledger, idle: &Ledger) {
    commits(&single, 200);
    single.vacuum().unwrap();
    single.close().unwrap();
    let other = w.writer(3600);
    commits(&other, 1);
    idle.put(b"idle", "x").unwrap();
    is_told(w, b"idle", idle.commit());
}

/// An idle writer, a single one, another of many: no clock is moved.
#[test]
fn one_of_many_that_left_no_trace() {
    let w = World::made_by(alone(600));
    let idle = w.writer(3600);
    let l = Ledger::open_objects(w.store.clone(), KEY, Access::ReadWrite, alone(0)).unwrap();
    behind_a_single_writer_and_another(&w, l, &idle);
}

/// The vacuum of a single writer deletes a record that was reported.
#[test]
fn a_vacuum_beside_one_that_left_no_trace() {
    let w = World::made_by(alone(600));
    let idle = w.writer(3600);
    let hooked = World::hooked(&w.store, false);
    let l = Ledger::open_objects(hooked.clone(), KEY, Access::ReadWrite, alone(0)).unwrap();
    let idle = Arc::new(idle);
    let done = Arc::new(Mutex::new(None));
    let (there, i) = (done.clone(), idle.clone());
    // The first listing tells the size.
    let again = hooked.clone();
    *hooked.before_list.lock() = Some(Box::new(move || {
        *again.before_list.lock() = Some(Box::new(move || {
            i.put(b"idle", "x").unwrap();
            *there.lock() = Some(i.commit());
        }))
    }));
    // Whether it ends well is not asked here.
    let _vacuumed = l.vacuum();
    drop(l);
    let done = done.lock().take().unwrap();
    is_told(&w, b"idle", done);
}

/// Vacuums beside one of many that has put a payload long ago. It commits when the vacuum is about to list what there is.
fn commit_beside_a_vacuum(w: &World, slow: &Arc<Ledger>) -> Result<u64> {
    let l = Ledger::open_objects(w.hooked.clone(), KEY, Access::ReadWrite, alone(0)).unwrap();
    let done = Arc::new(Mutex::new(None));
    let (there, again, slow) = (done.clone(), w.hooked.clone(), slow.clone());
    // The first listing tells the size.
    *w.hooked.before_list.lock() = Some(Box::new(move || {
        *again.before_list.lock() = Some(Box::new(move || *there.lock() = Some(slow.commit())));
    }));
    // Whether it ends well is not asked here.
    let _vacuumed = l.vacuum();
    drop(l);
    let done = done.lock().take();
    done.unwrap()
}

/// It looks at the log again before it deletes what it has listed.
#[test]
fn a_vacuum_leaves_what_was_committed_since_it_began() {
    let w = World::new();
    let slow = Arc::new(w.writer(3600));
    w.stage_old_payload(&slow);
    commit_beside_a_vacuum(&w, &slow).unwrap();
    w.check_payload();
}

/// One of many that knows of its long silence does not rely on that.
#[test]
fn what_was_put_long_ago_is_not_committed_beside_a_vacuum() {
    let w = World::new();
    let slow = Arc::new(w.writer(3600));
    w.stage_old_payload(&slow);
    wrong::BY.set(13 * HOUR);
    let e = commit_beside_a_vacuum(&w, &slow).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Locked { .. }), "{e}");
    let e = slow.commit().unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Broken { why } if why.contains("vacuum")), "{e}");
    assert_eq!(w.value(b"slow"), None);
}

/// The same with a payload that is 11 minutes old, and the usual retention time.
#[test]
fn a_vacuum_beside_payloads_of_one_that_left_no_trace() {
    let w = World::made_by(alone(600));
    let slow = w.writer(600);
    let payload = vec![7; 300_000];
    let mut value = Vec::new();
    slow.write_payload(&payload).unwrap().encode(&mut value);
    slow.send_payloads().unwrap();
    let l = Ledger::open_objects(w.store.clone(), KEY, Access::ReadWrite, alone(0)).unwrap();
    l.vacuum().unwrap();
    l.close().unwrap();
    slow.put(b"slow", value).unwrap();
    let done = slow.commit();
    if done.is_ok() {
        let l = Ledger::open_objects(w.store.clone(), KEY, Access::ReadOnly, Options::default()).unwrap();
        let stored = l.get(b"slow").unwrap().unwrap();
        let mut read = vec![0; payload.len()];
        l.read_payload(&Extent::decode(&stored).unwrap().0, 0, &mut read).unwrap();
    }
}

/// Without a lease, and without an hour.
#[test]
fn a_single_writer_without_a_lock() {
    beside_another_single_writer(0, crate::options::LockPolicy::Off);
}

/// 50 s: a lease that was put up to 20 s before the commit has ended after 40 s.
#[test]
fn a_single_writer_whose_lease_ended() {
    beside_another_single_writer(50, crate::options::LockPolicy::Off);
}

/// A single writer that closes and checkpoints over the record of one of many, while that looks.
#[test]
fn a_commit_that_a_single_writer_took_in_is_not_told_to_be_held_up() {
    let w = World::new();
    let slow = w.writer(3600);
    slow.put(b"slow", "x").unwrap();
    let (hooked, store) = (w.hooked.clone(), w.store.clone());
    *w.hooked.before_record.lock() = Some(Box::new(move || {
        *hooked.before_head_get.lock() = Some(Box::new(move || {
            let l = Ledger::open_objects(store, KEY, Access::ReadWrite, alone(600)).unwrap();
            l.vacuum().unwrap();
            l.close().unwrap();
        }))
    }));
    let done = slow.commit();
    assert!(done.is_ok());
}

/// A single writer that opened before many did puts its head over theirs, without a trace of them.
#[test]
fn a_fence_that_comes_late_keeps_the_trace_of_many() {
    wrong::BY.set(0);
    let store = Arc::new(MemoryStore::new());
    let hooked = World::hooked(&store, true);
    let off = |retention| Options { lock: crate::options::LockPolicy::Off, ..alone(retention) };
    let open = |options| Ledger::open_objects(hooked.clone(), KEY, Access::ReadWrite, options).unwrap();
    let l = Ledger::create_objects(hooked.clone(), KEY, Replace::Fail, off(600)).unwrap();
    l.put(b"begin", "it").unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    let late = open(off(600));
    let w = World { store: store.clone(), hooked: hooked.clone() };
    let idle = w.writer(3600);
    commits(&idle, 1);
    late.put(b"late", "x").unwrap();
    late.commit().unwrap_err();
    drop(late);
    let head = store.get(&Key::new(KEY).unwrap(), None).unwrap().bytes;
    let told = crate::objects::manifest::Head::decode(&head, KEY).unwrap().is_after_many_writers();
    let l = open(off(0));
    behind_a_single_writer_and_another(&w, l, &idle);
    assert!(told);
}

/// Held up for so long, while another single writer commits and reclaims.
fn beside_another_single_writer(seconds: i64, lock: crate::options::LockPolicy) {
    let w = World::made_by(alone(0));
    let opts = || Options { lock, ..alone(0) };
    let slow = Ledger::open_objects(w.hooked.clone(), KEY, Access::ReadWrite, opts()).unwrap();
    let other = Ledger::open_objects(w.store.clone(), KEY, Access::ReadWrite, opts()).unwrap();
    slow.put(b"slow", "x").unwrap();
    *w.hooked.before_record.lock() = Some(Box::new(move || {
        wrong::BY.set(wrong::BY.get() + seconds * SECOND);
        commits(&other, 150);
        other.vacuum().unwrap();
    }));
    let done = slow.commit();
    is_told(&w, b"slow", done);
}

/// No reader takes a record that is longer: it would make the container unreadable.
#[test]
fn a_record_that_nobody_could_read_is_not_put() {
    let w = World::new();
    let l = w.alone();
    for n in 0..20 {
        l.put(&[b'x', n], vec![n; 1 << 20]).unwrap();
    }
    let e = l.commit().unwrap_err();
    assert!(e.to_string().contains("commit more often"), "{e}");
    l.rollback().unwrap();
    commits(&l, 1);
    assert_eq!(w.value(b"x\x00"), None);
}

/// What is staged of a store stays in memory.
#[test]
fn a_writer_that_has_staged_much_takes_nothing_more_inline() {
    let w = World::new();
    let l = w.alone();
    assert!(l.takes_inline(1000));
    for n in 0..64 {
        l.put(&[b'x', n], vec![n; 1 << 20]).unwrap();
    }
    assert!(!l.takes_inline(1000) && l.takes_inline(10));
    l.rollback().unwrap();
    assert!(l.takes_inline(1000));
}
