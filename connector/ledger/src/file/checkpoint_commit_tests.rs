//! Commits that are checkpoints, and changes that were spilled before them.

use std::time::Duration;

use crate::error::ErrorKind;
use crate::extent::Extent;
use crate::file::log::{self, newest_slot};
use crate::file::sim_file::{Fault, SimFile};
use crate::file::version_lookup;
use crate::ledger::Ledger;
use crate::options::{Access, At, Options, SyncPolicy, Writers};
use crate::work::{Map, content, data, work};

fn opts() -> Options {
    Options { checkpoint_bytes: 20_000, cache_bytes: 0, ..Options::default() }
}

fn spilling() -> Options {
    Options { spill_bytes: 3000, ..opts() }
}

/// Stages `keys` keys of about a hundred bytes, some with payloads.
fn stage(l: &Ledger, model: &mut Map, seed: u64, keys: std::ops::Range<u64>) {
    for n in keys {
        let key = format!("key-{n:05}").into_bytes();
        if let Some(old) = l.get(&key).unwrap().filter(|v| v[0] == 1) {
            l.free_payload(&Extent::decode(&old[1..]).unwrap().0).unwrap();
        }
        let bytes = data(n + seed, 90);
        let mut value = vec![0];
        if n % 10 == 3 {
            value[0] = 1;
            l.write_payload(&bytes).unwrap().encode(&mut value);
        } else {
            value.extend_from_slice(&bytes);
        }
        l.put(&key, value).unwrap();
        model.insert(key, bytes);
    }
}

fn is_spilled(l: &Ledger) -> bool {
    // Only retained pages of a spill make a difference between the two numbers.
    l.staged_bytes() > l.lock().staged_bytes
}

#[test]
fn a_large_commit_is_written_once() {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &Options { sync: SyncPolicy::Commit, ..Options::default() }).unwrap();
    l.put(b"small", "first").unwrap();
    l.commit().unwrap();
    let mut bytes = 0;
    for n in 0..20_000u64 {
        let (key, value) = (format!("key-{n:08}"), data(n, 60));
        bytes += (key.len() + value.len()) as u64;
        l.put(key.as_bytes(), value).unwrap();
    }
    f.take_counts();
    assert_eq!(l.commit().unwrap(), 2);
    let counts = f.take_counts();
    assert!(counts.written_bytes < bytes * 11 / 10, "{counts:?} for {bytes} bytes");
    assert_eq!(counts.syncs, 2, "before the head and after it");
    let slot = newest_slot(&f, "fake").unwrap();
    assert_eq!((slot.version, slot.base_version, slot.log_bytes, slot.record), (2, 2, 0, None));
    // A reader needs this pointer to find versions between the checkpoints.
    let past = version_lookup::history(&f, &slot, "fake").unwrap().past.pop().unwrap();
    let slot = crate::file::superblock::Slot { record: past.record, ..slot };
    let records = log::records(&f, &slot, 0, "fake").unwrap();
    let changes: Vec<usize> = records.iter().map(|r| r.record.changes().unwrap().len()).collect();
    assert_eq!((past.base.version, past.last, changes), (0, 2, vec![1, 0]));
}

#[test]
fn changes_that_a_close_would_fold_are_written_once() {
    for (keys, to_close) in [(100, true), (2000, true), (100, false)] {
        let f = SimFile::container();
        let l = f.open(Access::ReadWrite, &Options::default()).unwrap();
        l.put(b"small", "first").unwrap();
        l.commit().unwrap();
        let value = |n: u64| data(n, 600);
        (0..keys).for_each(|n: u64| l.put(&n.to_be_bytes(), value(n)).unwrap());
        f.take_counts();
        if to_close { l.commit_to_close() } else { l.commit() }.unwrap();
        l.close().unwrap();
        let (bytes, least) = (f.take_counts().written_bytes, keys * 608);
        assert!((least..least * 11 / 10).contains(&bytes), "{bytes} for {least}, {to_close}");
    }
    // A short log stays a log, as at a close.
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &Options::default()).unwrap();
    l.put(b"few", data(1, 600)).unwrap();
    l.commit_to_close().unwrap();
    l.close().unwrap();
    assert_eq!(newest_slot(&f, "fake").unwrap().base_version, 0);
}

#[test]
fn a_failed_large_commit_can_be_repeated() {
    for o in [opts(), spilling()] {
        let mut fault_at = 1;
        loop {
            let f = SimFile::container();
            let l = f.open(Access::ReadWrite, &o).unwrap();
            let (mut first, what) = (Map::new(), format!("write {fault_at}, {o:?}"));
            stage(&l, &mut first, 0, 0..300);
            l.commit().unwrap();
            let mut model = first.clone();
            f.fail_at(fault_at, Fault::FullTorn);
            stage_or_less(&l, &mut model, 150..400);
            let reached = f.changes();
            assert!(read(&l) == model, "{what}: what is staged is read");
            let before = f.open(Access::ReadOnly, &o).unwrap();
            assert!(content(&before).unwrap() == first, "{what}");
            let version = match l.commit() {
                Ok(version) => version,
                Err(e) => {
                    assert!(matches!(e.kind(), ErrorKind::NoSpace { .. }), "{what}: {e}");
                    assert!(read(&l) == model, "{what}: all of it is still staged");
                    l.commit().unwrap()
                }
            };
            assert_eq!(version, 2, "{what}");
            assert!(before.refresh().unwrap());
            assert!(content(&before).unwrap() == model, "{what}");
            if f.changes() < fault_at {
                assert!(fault_at > 3 && (reached > 5 || o.spill_bytes > 3000), "{reached}, {fault_at}");
                break;
            }
            drop(l);
            let again = f.open(Access::ReadWrite, &o).unwrap();
            let going_on = work(&again, &model, 3).2;
            going_on.unwrap_or_else(|e| panic!("{what}, going on: {e}"));
            fault_at += 1;
        }
    }
}

/// Returns the content of a container. Reading may have to write buffered bytes, and may trigger the fault.
fn read(l: &Ledger) -> Map {
    content(l).or_else(|_| content(l)).unwrap()
}

/// Stages like [`stage`]; a payload that fails is left out.
fn stage_or_less(l: &Ledger, model: &mut Map, keys: std::ops::Range<u64>) {
    for n in keys {
        let (key, bytes) = (format!("key-{n:05}").into_bytes(), data(n + 7, 90));
        let old = l.get(&key).or_else(|_| l.get(&key)).unwrap();
        let mut value = vec![u8::from(n % 10 == 3)];
        match (n % 10 == 3).then(|| l.write_payload(&bytes)) {
            Some(Ok(e)) => e.encode(&mut value),
            Some(Err(_)) => continue,
            None => value.extend_from_slice(&bytes),
        }
        if let Some(old) = old.filter(|v| v[0] == 1) {
            l.free_payload(&Extent::decode(&old[1..]).unwrap().0).unwrap();
        }
        l.put(&key, value).unwrap();
        model.insert(key, bytes);
    }
}

#[test]
fn a_rollback_frees_spilled_pages() {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &spilling()).unwrap();
    let mut state = Map::new();
    stage(&l, &mut state, 0, 0..100);
    l.commit().unwrap();
    let mut longest = 0;
    for n in 0..60 {
        stage(&l, &mut state.clone(), n, 50..250);
        assert!(is_spilled(&l));
        l.rollback().unwrap();
        assert_eq!(l.staged_bytes(), 0);
        assert!(content(&l).unwrap() == state);
        longest = longest.max(f.bytes().len());
        if n == 3 {
            longest *= 2;
        }
    }
    assert!(f.bytes().len() < longest, "{} bytes", f.bytes().len());
    assert_eq!(l.commit().unwrap(), 1, "nothing is staged");
    stage(&l, &mut state, 7, 0..20);
    assert_eq!(l.commit().unwrap(), 2);
    drop(l);
    let r = f.open(Access::ReadOnly, &opts()).unwrap();
    assert!(content(&r).unwrap() == state);
}

#[test]
fn spilling_the_same_keys_again_and_again_takes_no_more_space() {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &spilling()).unwrap();
    let mut state = Map::new();
    let mut sizes = Vec::new();
    for n in 0..40 {
        // The first rounds do not commit, the later rounds do.
        stage(&l, &mut state, n, 0..200);
        if n >= 20 {
            l.commit().unwrap();
        }
        assert!(content(&l).unwrap() == state);
        sizes.push(f.bytes().len());
    }
    assert!(sizes[39] < sizes[3] * 3, "{sizes:?}");
}

#[test]
fn a_writer_that_dies_with_spilled_pages_leaves_their_space() {
    let f = SimFile::container();
    let mut state = Map::new();
    let mut sizes = Vec::new();
    for n in 0..40 {
        let l = f.open(Access::ReadWrite, &spilling()).unwrap();
        assert!(content(&l).unwrap() == state);
        if n % 4 == 3 {
            stage(&l, &mut state, n, 0..200);
            l.commit().unwrap();
        }
        stage(&l, &mut state.clone(), n + 1, 100..300);
        assert!(is_spilled(&l));
        sizes.push(f.bytes().len());
        std::mem::forget(l);
    }
    assert!(sizes[39] < sizes[7] * 2, "{sizes:?}");
}

#[test]
fn reading_spilled_pages_writes_nothing() {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &spilling()).unwrap();
    while !is_spilled(&l) {
        let n = l.staged_bytes();
        l.put(&n.to_be_bytes(), data(n, 90)).unwrap();
    }
    f.take_counts();
    assert!(!l.scan_prefix(b"", None, usize::MAX).unwrap().is_empty());
    let counts = f.take_counts();
    assert_eq!((counts.writes, counts.reads > 0), (0, true), "a forked child may do this");
}

#[test]
fn a_commit_over_a_damaged_page_is_a_record() {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &opts()).unwrap();
    stage(&l, &mut Map::new(), 0, 0..300);
    l.commit().unwrap();
    let slot = newest_slot(&f, "fake").unwrap();
    assert_eq!(slot.base_version, 1);
    let mut bytes = f.bytes();
    drop(l);
    bytes[slot.root.unwrap().place.offset as usize + 9] ^= 1;
    let f = SimFile::of(bytes);
    let l = f.open(Access::ReadWrite, &opts()).unwrap();
    for n in 0..300u64 {
        l.put(&n.to_be_bytes(), data(n, 90)).unwrap();
    }
    assert_eq!(l.commit().unwrap(), 2);
    let slot = newest_slot(&f, "fake").unwrap();
    assert_eq!((slot.version, slot.base_version), (2, 1));
    assert_eq!(l.get(&5u64.to_be_bytes()).unwrap().unwrap(), data(5, 90));
    drop(l);
    // Spilled changes have no such fallback: they stay staged, and the commit reports the damage.
    let l = f.open(Access::ReadWrite, &spilling()).unwrap();
    f.take_counts();
    for n in 0..300u64 {
        l.put(&n.to_be_bytes(), data(n + 1, 90)).unwrap();
    }
    assert!(!is_spilled(&l), "its pages cannot be made");
    let reads = f.take_counts().reads;
    assert!((1..20).contains(&reads), "{reads}: it is not tried at each put");
    assert_eq!(l.commit().unwrap(), 3);
}

#[test]
fn the_version_before_a_base_can_be_salvaged() {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &opts()).unwrap();
    let mut states = vec![Map::new()];
    for keys in [0..300, 10..14, 12..15, 100..400] {
        let mut state = states.last().unwrap().clone();
        stage(&l, &mut state, states.len() as u64, keys);
        l.commit().unwrap();
        states.push(state);
    }
    let slot = newest_slot(&f, "fake").unwrap();
    assert_eq!((slot.version, slot.base_version), (4, 4));
    let mut bytes = f.bytes();
    bytes[slot.root.unwrap().place.offset as usize + 9] ^= 1;
    let f = SimFile::of(bytes);
    assert!(content(&f.open(Access::ReadOnly, &opts()).unwrap()).is_err());
    let mut torn = f.bytes();
    torn[slot.position() as usize + 5] ^= 1;
    let before = SimFile::of(torn).open(Access::ReadOnly, &opts()).unwrap();
    assert_eq!(before.version(), 3, "as after a torn write of the head");
    assert!(content(&before).unwrap() == states[3]);
}

#[test]
fn vacuum_and_compaction_keep_spilled_pages() {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &spilling()).unwrap();
    let mut state = Map::new();
    stage(&l, &mut state, 0, 0..200);
    l.put(b"hole", l.write_payload(&data(9, 300_000)).unwrap().to_bytes()).unwrap();
    l.commit().unwrap();
    stage(&l, &mut state, 1, 150..300);
    let tail = data(8, 40_000);
    l.put(b"tail", [&[1], &l.write_payload(&tail).unwrap().to_bytes()[..]].concat()).unwrap();
    state.insert(b"tail".to_vec(), tail);
    let hole = Extent::decode(&l.get(b"hole").unwrap().unwrap()).unwrap().0;
    l.free_payload(&hole).unwrap();
    l.delete(b"hole").unwrap();
    l.commit().unwrap();
    stage(&l, &mut state, 2, 50..250);
    assert!(is_spilled(&l));
    assert_eq!(l.vacuum().unwrap(), 0);
    let compaction_plan = l.compaction_plan(u64::MAX).unwrap();
    let mut moved = 0;
    for (key, value) in l.scan_prefix(b"", None, usize::MAX).unwrap() {
        if value[0] == 1
            && let old = Extent::decode(&value[1..]).unwrap().0
            && compaction_plan.holds(&old)
            && let Some(new) = l.move_payload(&old).unwrap()
        {
            l.free_payload(&old).unwrap();
            l.put(&key, [&[1], &new.to_bytes()[..]].concat()).unwrap();
            moved += 1;
        }
    }
    assert!(moved > 0, "nothing was worth moving");
    assert_eq!(l.vacuum().unwrap(), 0);
    assert!(content(&l).unwrap() == state);
    l.commit().unwrap();
    for _ in 0..3 {
        l.vacuum().unwrap();
    }
    assert!(content(&l).unwrap() == state);
    assert!(f.bytes().len() < 300_000, "{}", f.bytes().len());
    drop(l);
    assert!(content(&f.open(Access::ReadOnly, &opts()).unwrap()).unwrap() == state);
}

#[test]
fn no_checkpoint_frees_the_pages_under_spilled_pages() {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &spilling()).unwrap();
    let mut state = Map::new();
    stage(&l, &mut state, 0, 0..400);
    l.commit().unwrap();
    // The log has changes all over the checkpoint, and the spilled changes are in its middle.
    for n in 0..40 {
        stage(&l, &mut state, 1, n * 10..n * 10 + 1);
        l.commit().unwrap();
    }
    assert!(newest_slot(&f, "fake").unwrap().record.is_some());
    stage(&l, &mut state, 2, 200..230);
    assert!(is_spilled(&l));
    // All free space is reused, before the commit and after it.
    for n in 0..400 {
        if n % 100 == 0 {
            l.vacuum().unwrap();
        }
        let (key, bytes) = (format!("fill-{n}").into_bytes(), data(n, 1500));
        l.put(&key, [&[1], &l.write_payload(&bytes).unwrap().to_bytes()[..]].concat()).unwrap();
        state.insert(key, bytes);
        if n >= 200 {
            l.commit().unwrap();
        }
    }
    assert!(content(&l).unwrap() == state);
    let r = f.open(Access::ReadOnly, &opts()).unwrap();
    assert!(content(&r).unwrap() == state);
}

#[test]
fn shared_writers_continue_from_a_checkpoint_commit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let hour = Some(Duration::from_secs(3600));
    let l =
        Ledger::create_file(&path, crate::options::Replace::Fail, Options { retention: hour, ..spilling() })
            .unwrap();
    let mut states = vec![Map::new()];
    let mut commit = |l: &Ledger, seed: u64, keys| {
        let mut state = states.last().unwrap().clone();
        stage(l, &mut state, seed, keys);
        assert_eq!(l.commit().unwrap(), states.len() as u64);
        states.push(state);
    };
    commit(&l, 0, 0..5);
    commit(&l, 1, 0..300);
    l.close().unwrap();
    let many = Options { writers: Writers::Many, ..opts() };
    let open = |o: &Options| Ledger::open_file(&path, Access::ReadWrite, o.clone()).unwrap();
    let (a, b) = (open(&many), open(&many));
    for n in 0..6 {
        let l = if n % 2 == 0 { &a } else { &b };
        l.advance(&|_| false).unwrap();
        commit(l, n + 2, n * 40..n * 40 + 120);
    }
    a.close().unwrap();
    b.close().unwrap();
    let l = open(&spilling());
    commit(&l, 20, 250..500);
    for (v, state) in states.iter().enumerate().skip(1) {
        let at = Options { at: Some(At::Version(v as u64)), ..opts() };
        let old = Ledger::open_file(&path, Access::ReadOnly, at).unwrap();
        assert!(content(&old).unwrap() == *state, "version {v}");
    }
    assert_eq!(l.versions(100).unwrap().len(), states.len() - 1);
}
