//! A process or a machine dies at every write. Afterwards the file contains one complete version.

use bytes::Bytes;

use crate::error::ErrorKind;
use crate::extent::Extent;
use crate::file::log::newest_slot;
use crate::file::sim_file::{Fault, SimFile};
use crate::file::superblock;
use crate::options::{Access, Options, SyncPolicy};
use crate::work::{Chance, Map, content, data, work};

fn opts(sync: SyncPolicy) -> Options {
    Options { sync, checkpoint_bytes: 3000, ..Options::default() }
}

/// Ways of committing: by records and checkpoints, with each commit as a checkpoint, and with spills.
fn ways(sync: SyncPolicy) -> [Options; 3] {
    let spilling = Options { spill_bytes: 900, ..opts(sync) };
    [opts(sync), Options { checkpoint_bytes: 0, ..opts(sync) }, spilling]
}

/// Opens the remaining file, checks that it has one of the two possible versions completely, and continues with it.
fn check(bytes: Vec<u8>, done: u64, states: &[Map], what: &str) {
    let left = SimFile::of(bytes);
    let o = opts(SyncPolicy::Process);
    let l = left.open(Access::ReadWrite, &o).unwrap_or_else(|e| panic!("{what}: {e}"));
    let v = l.version();
    assert!(v == done || v == done + 1, "{what}: version {v} after {done} commits");
    let found = content(&l).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(found == states[v as usize], "{what}: version {v} has other content");
    let (_, after, result) = work(&l, &found, 6);
    result.unwrap_or_else(|e| panic!("{what}, going on: {e}"));
    l.close().unwrap_or_else(|e| panic!("{what}, closing: {e}"));
    let r = left.open(Access::ReadOnly, &o).unwrap();
    assert!(content(&r).unwrap() == after[6], "{what}: other content after going on");
}

const COMMITS: u64 = 14;

fn total_changes(o: &Options) -> u64 {
    let f = SimFile::container();
    f.fail_at(0, Fault::Die);
    let l = f.open(Access::ReadWrite, o).unwrap();
    work(&l, &Map::new(), COMMITS).2.unwrap();
    drop(l);
    let total = f.changes();
    assert!(total > 40, "{total} writes are too few to prove much");
    total
}

#[test]
fn a_process_that_dies_at_any_write_leaves_one_version_whole() {
    for o in ways(SyncPolicy::Process) {
        for n in 1..=total_changes(&o) {
            for fault in [Fault::Die, Fault::DieTorn] {
                let f = SimFile::container();
                f.fail_at(n, fault);
                let l = f.open(Access::ReadWrite, &o).unwrap();
                let (done, states, _) = work(&l, &Map::new(), COMMITS);
                drop(l);
                check(f.bytes(), done, &states, &format!("{fault:?} at write {n}, {o:?}"));
            }
        }
    }
}

#[test]
fn a_machine_that_dies_at_any_write_leaves_one_version_whole() {
    for o in ways(SyncPolicy::Commit) {
        for n in 1..=total_changes(&o) {
            for seed in 0..4 {
                let f = SimFile::container();
                f.fail_at(n, Fault::DieTorn);
                let l = f.open(Access::ReadWrite, &o).unwrap();
                let (done, states, _) = work(&l, &Map::new(), COMMITS);
                drop(l);
                let mut c = Chance::new(n * 31 + seed);
                let left = f.after_power_loss(|| c.below(2) == 0);
                check(left, done, &states, &format!("power lost at write {n}, seed {seed}, {o:?}"));
            }
        }
    }
}

/// The process dies at change `n` of a commit that follows an acknowledged version. Another process opens the file and
/// writes payloads, and the machine dies before it commits. The acknowledged version or a later one is complete.
fn dies_after_a_dead_writer(o: &Options, n: u64) {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, o).unwrap();
    let (_, mut states, result) = work(&l, &Map::new(), COMMITS);
    result.unwrap();
    drop(l);
    f.fail_at(n, Fault::Die);
    if let Ok(l) = f.open(Access::ReadWrite, o) {
        states.extend(work(&l, &states[COMMITS as usize], 1).1.into_iter().skip(1));
    }
    f.revive();
    let l = f.open(Access::ReadWrite, o).unwrap();
    for seed in 0..20 {
        l.write_payload(&data(seed, [90_000, 40_000, 5000, 300][seed as usize % 4])).unwrap();
    }
    for seed in 0..6 {
        let mut c = Chance::new(n * 31 + seed);
        let left = f.after_power_loss(|| c.below(2) == 0);
        check(left, COMMITS, &states, &format!("power lost after a death at change {n}, seed {seed}, {o:?}"));
    }
}

#[test]
fn a_syncing_writer_does_not_reuse_space_freed_by_an_unsynced_slot() {
    for o in ways(SyncPolicy::Commit) {
        let f = SimFile::container();
        let l = f.open(Access::ReadWrite, &o).unwrap();
        let (_, states, result) = work(&l, &Map::new(), COMMITS);
        result.unwrap();
        drop(l);
        f.fail_at(0, Fault::Die);
        work(&f.open(Access::ReadWrite, &o).unwrap(), &states[COMMITS as usize], 1).2.unwrap();
        let changes = f.changes();
        assert!(changes > 4, "{changes} changes are too few to prove much");
        (1..=changes).for_each(|n| dies_after_a_dead_writer(&o, n));
    }
}

/// A container with a newest version that was committed without a sync.
fn with_an_unsynced_head() -> SimFile {
    let f = SimFile::container();
    for sync in [SyncPolicy::Commit, SyncPolicy::Process] {
        let l = f.open(Access::ReadWrite, &opts(sync)).unwrap();
        l.put(b"k", format!("{sync:?}")).unwrap();
        l.commit().unwrap();
    }
    f.take_counts();
    f
}

#[test]
fn a_commit_of_nothing_makes_the_version_durable_that_was_found() {
    let f = with_an_unsynced_head();
    let l = f.open(Access::ReadWrite, &opts(SyncPolicy::Commit)).unwrap();
    assert_eq!(l.commit().unwrap(), 2);
    let left = SimFile::of(f.after_power_loss(|| false));
    assert_eq!(left.open(Access::ReadOnly, &Options::default()).unwrap().version(), 2);
    (0..3).for_each(|_| assert_eq!(l.commit().unwrap(), 2));
    l.close().unwrap();
    assert_eq!(f.take_counts().syncs, 1);
}

#[test]
fn a_found_head_costs_no_sync_that_a_commit_does_not_do() {
    for (sync, syncs) in [(SyncPolicy::Commit, 2), (SyncPolicy::Process, 0)] {
        let f = with_an_unsynced_head();
        let l = f.open(Access::ReadWrite, &opts(sync)).unwrap();
        l.put(b"k", "third").unwrap();
        l.commit().unwrap();
        l.close().unwrap();
        assert_eq!(f.take_counts().syncs, syncs, "{sync:?}");
    }
}

#[test]
fn a_full_disk_fails_a_commit_and_nothing_else() {
    for o in ways(SyncPolicy::Process) {
        for n in 1..=total_changes(&o) {
            for fault in [Fault::Full, Fault::FullTorn] {
                full_at(n, fault, &o);
            }
        }
    }
}

fn full_at(n: u64, fault: Fault, o: &Options) {
    let what = format!("{fault:?} at write {n}, {o:?}");
    let f = SimFile::container();
    f.fail_at(n, fault);
    let l = f.open(Access::ReadWrite, o).unwrap();
    let (done, states, result) = work(&l, &Map::new(), COMMITS);
    let Err(e) = result else {
        // The checkpoint of a commit failed, or a spill failed, which is no failure of the commit; or the checkpoint of the
        // close failed.
        check(f.bytes(), done, &states, &what);
        return;
    };
    if !matches!(e.kind(), ErrorKind::Broken { .. }) {
        assert!(matches!(e.kind(), ErrorKind::NoSpace { errno: 28 }), "{what}: {e}");
        // Staged changes may be incomplete if staging failed: roll back, or try the commit again.
        l.rollback().unwrap();
        let before = content(&l).unwrap();
        assert!(before == states[done as usize], "{what}: a failed commit is seen");
        let (_, after, again) = work(&l, &before, 4);
        again.unwrap_or_else(|e| panic!("{what}, going on: {e}"));
        assert!(content(&l).unwrap() == after[4], "{what}");
    }
    drop(l);
    let r = f.open(Access::ReadOnly, o).unwrap();
    content(&r).unwrap_or_else(|e| panic!("{what}, reopened: {e}"));
}

#[test]
fn a_failed_commit_can_be_repeated() {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &opts(SyncPolicy::Process)).unwrap();
    let e = l.write_payload(&data(1, 100)).unwrap();
    l.put(b"p", e.to_bytes()).unwrap();
    f.fail_at(1, Fault::FullTorn);
    assert!(matches!(l.commit().unwrap_err().kind(), ErrorKind::NoSpace { .. }));
    let seen = f.open(Access::ReadOnly, &opts(SyncPolicy::Process)).unwrap();
    assert_eq!((seen.version(), seen.get(b"p").unwrap()), (0, None));
    assert_eq!(l.commit().unwrap(), 1);
    assert!(seen.refresh().unwrap());
    let e = Extent::decode(&seen.get(b"p").unwrap().unwrap()).unwrap().0;
    let mut buf = [0; 100];
    seen.read_payload(&e, 0, &mut buf).unwrap();
    assert_eq!(buf[..], data(1, 100)[..]);
}

/// Every byte of a container is changed, one at a time. An open or a read returns an error, or the newest version. If the
/// container was not closed and the changed byte is in the slot, the version before is returned.
#[test]
fn no_changed_byte_gives_wrong_data() {
    for is_closed in [true, false] {
        let f = SimFile::container();
        let l = f.open(Access::ReadWrite, &opts(SyncPolicy::Process)).unwrap();
        let (_, states, result) = work(&l, &Map::new(), 9);
        result.unwrap();
        let open = f.bytes();
        drop(l);
        bytes_are_changed(if is_closed { f.bytes() } else { open }, &states, is_closed);
    }
}

fn bytes_are_changed(good: Vec<u8>, states: &[Map], is_closed: bool) {
    let slots = (512..512 + superblock::SLOT, 4096..4096 + superblock::SLOT);
    let (mut seen, mut old) = (0u64, 0u64);
    // All bytes of the superblock, then a sample, because payloads are long.
    let sample = (0..4608usize).chain((4608..good.len()).step_by(37));
    for at in sample {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        let f = SimFile::of(bad);
        let opened = f.open(Access::ReadOnly, &opts(SyncPolicy::Process));
        match opened.and_then(|l| Ok((l.version(), content(&l)?))) {
            Ok((9, c)) => assert!(c == states[9], "byte {at}: other content"),
            Ok((v, c)) => {
                assert!(!is_closed, "byte {at}: version {v} of a closed container");
                assert!(slots.0.contains(&at) || slots.1.contains(&at), "byte {at}: version {v}");
                assert!(v == 8 && c == states[8], "byte {at}: version {v}");
                old += 1;
            }
            Err(e) => {
                assert!(
                    matches!(
                        e.kind(),
                        ErrorKind::Corrupt { .. }
                            | ErrorKind::NewerFormat { .. }
                            | ErrorKind::NotAContainer { .. }
                    ),
                    "byte {at}: {e}"
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 50 && (old > 50) != is_closed, "{seen} errors, {old} old versions");
}

#[test]
fn a_file_truncated_anywhere_is_reported() {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &opts(SyncPolicy::Process)).unwrap();
    work(&l, &Map::new(), 5).2.unwrap();
    drop(l);
    let good = f.bytes();
    for len in (64..good.len() - 32).step_by(101) {
        let cut = SimFile::of(good[..len].to_vec());
        let e = cut.open(Access::ReadOnly, &opts(SyncPolicy::Process)).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::Corrupt { .. }), "{len}: {e}");
    }
}

/// Fills a container with `keys` keys and returns its file.
fn filled(keys: u64) -> SimFile {
    let f = SimFile::container();
    let o = Options::default();
    let l = f.open(Access::ReadWrite, &o).unwrap();
    for n in 0..keys {
        l.put(format!("key-{n:08}").as_bytes(), Bytes::from(data(n, 60))).unwrap();
        if n % 500 == 499 {
            l.commit().unwrap();
        }
    }
    l.commit().unwrap();
    l.close().unwrap();
    f
}

#[test]
fn commits_and_openings_cost_the_same_in_small_and_big_containers() {
    let mut costs = Vec::new();
    for keys in [10, 1_000, 100_000] {
        let f = filled(keys);
        let size = f.bytes().len();
        f.take_counts();
        let l = f.open(Access::ReadOnly, &Options::default()).unwrap();
        assert!(l.get(b"key-00000005").unwrap().is_some());
        let open = f.take_counts();
        drop(l);
        let l = f.open(Access::ReadWrite, &Options::default()).unwrap();
        l.put(b"key-00000003", "first").unwrap();
        l.commit().unwrap();
        f.take_counts();
        l.put(b"key-00000005", "changed").unwrap();
        l.commit().unwrap();
        let commit = f.take_counts();
        println!("{keys} keys, {size} bytes: cold open and one get {open:?}; commit {commit:?}");
        costs.push((open, commit));
    }
    for (open, commit) in costs {
        assert!(open.reads <= 8 && open.read_bytes <= 128 << 10, "{open:?}");
        assert!(commit.writes == 2 && commit.written_bytes <= 512, "{commit:?}");
    }
}

#[test]
fn the_undamaged_part_of_a_container_can_be_salvaged() {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &opts(SyncPolicy::Process)).unwrap();
    let mut state = Map::new();
    let mut states = vec![state.clone()];
    // The version has three records after a checkpoint.
    let base = loop {
        state = work(&l, &state, 1).1[1].clone();
        states.push(state.clone());
        let slot = newest_slot(&f, "fake").unwrap();
        if slot.base_version > 0 && slot.version == slot.base_version + 3 {
            break slot.base_version;
        }
        assert!(slot.version < 200, "the workload never has such a log");
    };
    let (version, newest) = (l.version(), newest_slot(&f, "fake").unwrap());
    drop(l);
    let salvage = Options { salvage: true, ..opts(SyncPolicy::Process) };
    let open = |bytes: &Vec<u8>, o: &Options| SimFile::of(bytes.clone()).open(Access::ReadOnly, o);
    let mut bytes = f.bytes();
    assert_eq!(open(&bytes, &salvage).unwrap().version(), version, "nothing is damaged");
    let spoil = |bytes: &mut Vec<u8>, p: Option<crate::address::PageRef>| {
        bytes[p.unwrap().place.offset as usize + 9] ^= 1;
    };
    spoil(&mut bytes, newest.record);
    let e = open(&bytes, &opts(SyncPolicy::Process)).unwrap_err();
    assert!(e.to_string().contains("salvage"), "{e}");
    let l = open(&bytes, &salvage).unwrap();
    assert_eq!(l.version(), version - 1);
    assert!(content(&l).unwrap() == states[version as usize - 1]);
    assert!(!l.refresh().unwrap());
    assert!(
        SimFile::of(bytes.clone()).open(Access::ReadWrite, &salvage).is_err(),
        "nobody writes on top of damage"
    );
    let records = crate::file::log::records(&f, &newest, base, "fake").unwrap();
    spoil(&mut bytes, Some(records[1].at));
    let l = open(&bytes, &salvage).unwrap();
    assert_eq!(l.version(), base);
    assert!(content(&l).unwrap() == states[base as usize]);
    spoil(&mut bytes, newest.root);
    assert!(open(&bytes, &salvage).is_err());
}

/// A container with free space at its front, and pages and spilled values after it; and its content.
fn with_a_free_front(o: &Options) -> (SimFile, Map) {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &Options::default()).unwrap();
    let mut state = Map::new();
    let front = l.write_payload(&data(1, 400_000)).unwrap();
    l.put(b"front", front.to_bytes()).unwrap();
    l.commit().unwrap();
    for n in 0..400 {
        let (key, bytes) =
            (format!("key-{n:05}").into_bytes(), data(n, if n % 40 == 7 { 3000 } else { 120 }));
        l.put(&key, [&[0], &bytes[..]].concat()).unwrap();
        state.insert(key, bytes);
    }
    l.commit().unwrap();
    l.vacuum().unwrap();
    l.free_payload(&front).unwrap();
    l.delete(b"front").unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    drop(f.open(Access::ReadWrite, o).unwrap());
    (f, state)
}

#[test]
fn vacuum_moves_pages_and_values_away_from_the_end() {
    let o = Options::default();
    let (f, state) = with_a_free_front(&o);
    let before = f.bytes().len() as u64;
    assert!(before > 450_000, "{before}");
    let l = f.open(Access::ReadWrite, &o).unwrap();
    let freed: u64 = (0..3).map(|_| l.vacuum().unwrap()).sum();
    let after = f.bytes().len() as u64;
    assert!(after < 120_000 && freed == before - after, "{before} {after} {freed}");
    f.take_counts();
    l.vacuum().unwrap();
    let again = f.take_counts().written_bytes;
    assert!(again < 2000 && f.bytes().len() as u64 <= after, "moved to and fro: {again} bytes");
    assert!(content(&l).unwrap() == state);
    let (_, states, went_on) = work(&l, &state, 5);
    went_on.unwrap();
    l.close().unwrap();
    assert!(content(&f.open(Access::ReadOnly, &o).unwrap()).unwrap() == states[5]);
}

/// Dies at write `n` of three vacuums. The remaining file is complete, and another vacuum completes the work.
fn dies_while_it_gathers(
    start: &[u8],
    state: &Map,
    n: u64,
    fault: Fault,
    o: &Options,
    power_loss: Option<u64>,
) {
    let what = format!("{fault:?} at write {n}, {power_loss:?}");
    let f = SimFile::of(start.to_vec());
    f.fail_at(n, fault);
    if let Ok(l) = f.open(Access::ReadWrite, o) {
        let version = l.version();
        let _dies = (0..3).try_for_each(|_| l.vacuum().map(drop));
        assert_eq!(l.version(), version, "{what}");
    }
    let left = match power_loss {
        None => f.bytes(),
        Some(seed) => {
            let mut c = Chance::new(n * 31 + seed);
            f.after_power_loss(|| c.below(2) == 0)
        }
    };
    let left = SimFile::of(left);
    let l = left.open(Access::ReadWrite, o).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(content(&l).unwrap_or_else(|e| panic!("{what}: {e}")) == *state, "{what}");
    for _ in 0..3 {
        l.vacuum().unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    assert!(content(&l).unwrap() == *state, "{what}");
    assert!(left.bytes().len() < 120_000, "{what}: {} bytes", left.bytes().len());
    let (_, states, went_on) = work(&l, state, 3);
    went_on.unwrap_or_else(|e| panic!("{what}, going on: {e}"));
    drop(l);
    assert!(content(&left.open(Access::ReadOnly, o).unwrap()).unwrap() == states[3], "{what}");
}

#[test]
fn a_vacuum_that_dies_at_any_write_leaves_the_version_whole() {
    for (sync, seeds) in [(SyncPolicy::Process, 0), (SyncPolicy::Commit, 3)] {
        let o = Options { sync, ..Options::default() };
        let (f, state) = with_a_free_front(&o);
        let start = f.bytes();
        f.fail_at(0, Fault::Die);
        let l = f.open(Access::ReadWrite, &o).unwrap();
        let _freed: u64 = (0..3).map(|_| l.vacuum().unwrap()).sum();
        drop(l);
        let total = f.changes();
        assert!(total > 12, "{total} writes are too few to prove much");
        for n in 1..=total {
            for fault in [Fault::Die, Fault::DieTorn] {
                dies_while_it_gathers(&start, &state, n, fault, &o, None);
                (0..seeds).for_each(|s| dies_while_it_gathers(&start, &state, n, fault, &o, Some(s)));
            }
            for fault in [Fault::Full, Fault::FullTorn] {
                dies_while_it_gathers(&start, &state, n, fault, &o, None);
            }
        }
    }
}
