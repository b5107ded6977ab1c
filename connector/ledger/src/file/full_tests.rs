//! A disk that is full and stays full. Failed writes do not prevent later operations that need no further space.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::file::free_space::ReclaimRule;
use crate::file::sim_file::{Fault, SimFile};
use crate::ledger::Ledger;
use crate::options::{Access, Options, Writers};
use crate::work::{Chance, Map, content, data};

const SEEDS: u64 = 10;

fn is_full<T>(done: Result<T>) -> bool {
    done.is_err_and(|e| matches!(e.kind(), ErrorKind::NoSpace { errno: 28 }))
}

/// A container with free space in its middle, on a disk without space for a longer file.
fn full() -> (SimFile, Ledger) {
    let f = SimFile::container();
    let l = f.open(Access::ReadWrite, &Options::default()).unwrap();
    let first = l.write_payload(&data(1, 20_000)).unwrap();
    l.put(b"first", first.to_bytes()).unwrap();
    l.commit().unwrap();
    l.put(b"second", l.write_payload(&data(2, 20_000)).unwrap().to_bytes()).unwrap();
    l.commit().unwrap();
    l.free_payload(&first).unwrap();
    l.delete(b"first").unwrap();
    l.commit().unwrap();
    f.leave_space(f.bytes().len() as u64);
    (f, l)
}

/// Commits that need no more than the free space of the file succeed.
fn goes_on(f: &SimFile, l: &Ledger, what: &str) {
    l.put(b"third", "3").unwrap();
    l.commit().unwrap_or_else(|e| panic!("{what}: {e}"));
    let r = f.open(Access::ReadOnly, &Options::default()).unwrap();
    assert_eq!(r.get(b"third").unwrap().unwrap(), "3", "{what}");
}

#[test]
fn abandoned_payloads_are_not_written() {
    for length in [1000, 30_000, 60_000, 2_000_000] {
        let (f, l) = full();
        let kept = l.write_payloads(&[&data(3, 30_000), &data(4, length)]);
        l.put(b"third", "never").unwrap();
        let failed = kept.is_err();
        assert!(failed || is_full(l.commit()));
        l.rollback().unwrap();
        goes_on(&f, &l, &format!("{length}, rolled back"));
    }
}

#[test]
fn a_payload_that_was_freed_is_not_written_any_more() {
    let (f, l) = full();
    let [a, b, c] = [3, 4, 5].map(|n| l.write_payload(&data(n, 18_000)).unwrap());
    l.put(b"third", "never").unwrap();
    assert!(is_full(l.commit()));
    for e in [b, c, a] {
        l.free_payload(&e).unwrap();
    }
    goes_on(&f, &l, "freed");
}

#[test]
fn a_payload_that_was_not_written_whole_is_not_written_any_more() {
    let (f, l) = full();
    f.leave_space(512 << 10);
    assert!(is_full(l.write_payload(&data(3, 2_000_000))));
    goes_on(&f, &l, "half of it was written");
}

/// Space in quarantine for the sake of copies alone is reused if the disk has no other space. Space with a retention time
/// is not.
#[test]
fn quarantined_space_is_reused_on_a_full_disk() {
    for (least, fits) in [(0, true), (60_000_000, false)] {
        let f = SimFile::container();
        let rule = ReclaimRule { least, courtesy: 60_000_000 };
        let w = f.open_with_rule(Access::ReadWrite, &Options::default(), rule).unwrap();
        let e = w.write_payload(&data(1, 1_000_000)).unwrap();
        w.put(b"first", e.to_bytes()).unwrap();
        w.commit().unwrap();
        w.free_payload(&e).unwrap();
        w.delete(b"first").unwrap();
        w.commit().unwrap();
        f.leave_space(f.bytes().len() as u64 + (1 << 20));
        let e = w.write_payload(&data(2, 900_000)).unwrap();
        w.put(b"second", e.to_bytes()).unwrap();
        // The disk has space for one payload of that length beyond the end.
        w.commit().unwrap();
        let written = w.write_payload(&data(3, 900_000)).and_then(|e| {
            w.put(b"third", e.to_bytes())?;
            w.commit()
        });
        assert_eq!((written.is_ok(), is_full(written)), (fits, !fits), "kept for {least}");
    }
}

fn is_over_quota<T>(done: &Result<T>) -> bool {
    done.as_ref().is_err_and(|e| matches!(e.kind(), ErrorKind::NoSpace { errno: 122 }))
}

/// The free space that a disk reports includes neither a quota nor the greatest length of a file.
#[test]
fn quarantined_space_is_reused_at_a_quota() {
    for (least, fits) in [(0, true), (60_000_000, false)] {
        let f = SimFile::container();
        let rule = ReclaimRule { least, courtesy: 60_000_000 };
        let w = f.open_with_rule(Access::ReadWrite, &Options::default(), rule).unwrap();
        let mut live = w.write_payload(&data(1, 300_000)).unwrap();
        w.put(b"key", live.to_bytes()).unwrap();
        w.commit().unwrap();
        f.set_quota(f.bytes().len() as u64 + 400_000);
        let mut overwrite = |n| {
            let fresh = w.write_payload(&data(n, 300_000))?;
            w.free_payload(&live)?;
            w.put(b"key", fresh.to_bytes())?;
            live = fresh;
            w.commit()
        };
        overwrite(2).unwrap();
        assert!(is_over_quota(&overwrite(3)), "the first write tells of the quota");
        for n in 4..12 {
            let done = overwrite(n);
            assert_eq!((done.is_ok(), is_over_quota(&done)), (fits, !fits), "kept for {least}, {n}");
        }
        if fits {
            f.set_quota(u64::MAX / 2);
            let (a, b) =
                (w.write_payload(&data(1, 300_000)).unwrap(), w.write_payload(&data(2, 300_000)).unwrap());
            w.put(b"more", [a.to_bytes(), b.to_bytes()].concat()).unwrap();
            w.commit().unwrap();
            overwrite(13).unwrap();
            let length = f.bytes().len();
            overwrite(14).unwrap();
            assert!(f.bytes().len() > length + 200_000, "what rests for copies rests again");
        }
    }
}

/// A region that a concurrent writer reserved has no blocks yet. It is released if the disk has no space for them.
#[test]
fn a_shared_writer_reuses_quarantined_space_on_a_full_disk() {
    let f = SimFile::container();
    let rule = ReclaimRule { least: 0, courtesy: 60_000_000 };
    let opts = Options { writers: Writers::Many, ..Options::default() };
    let w = f.open_with_rule(Access::ReadWrite, &opts, rule).unwrap();
    let mut live = w.write_payload(&data(1, 300_000)).unwrap();
    w.put(b"key", live.to_bytes()).unwrap();
    w.commit().unwrap();
    f.leave_space(f.bytes().len() as u64 + 400_000);
    let mut failed = 0;
    for n in 2..30 {
        let written = w.write_payload(&data(n, 300_000)).and_then(|fresh| {
            w.free_payload(&live)?;
            w.put(b"key", fresh.to_bytes())?;
            live = fresh;
            w.commit()
        });
        if let Err(e) = written {
            assert!(matches!(e.kind(), ErrorKind::NoSpace { errno: 28 }), "{e}");
            failed += 1;
        }
    }
    assert!((1..=3).contains(&failed), "{failed} of 28 found no space");
}

/// Staged values and their payloads, by key.
#[derive(Clone, Default)]
struct Staged {
    map: Map,
    extents: BTreeMap<Vec<u8>, Extent>,
}

impl Staged {
    fn put(&mut self, l: &Ledger, key: Vec<u8>, e: Extent, bytes: Vec<u8>) {
        let mut value = vec![1];
        e.encode(&mut value);
        l.put(&key, value).unwrap();
        self.extents.insert(key.clone(), e);
        self.map.insert(key, bytes);
    }

    fn remove(&mut self, l: &Ledger, key: &[u8]) {
        l.delete(key).unwrap();
        self.map.remove(key);
        if let Some(e) = self.extents.remove(key) {
            l.free_payload(&e).unwrap();
        }
    }

    /// Stages a change; a change that fails is not staged.
    fn step(&mut self, l: &Ledger, c: &mut Chance, n: u64) {
        let length = [64, 992, 4096, 31_000, 40_000, 65_536, 300_000, 1_200_000][c.below(8) as usize];
        let (key, bytes) = (format!("key-{}", c.below(12)).into_bytes(), data(n, length));
        match c.below(5) {
            0 => self.remove(l, &key),
            1 => {
                let Some(old) = self.extents.get(&key) else { return };
                if let Ok(Some(new)) = l.grow_payload(old, &bytes) {
                    let all = [&self.map[&key][..], &bytes].concat();
                    self.put(l, key, new, all);
                }
            }
            2 => {
                if let Ok(e) = l.write_to_grow(&bytes, length * 4) {
                    self.remove(l, &key);
                    self.put(l, key, e, bytes);
                }
            }
            _ => {
                if let Ok(e) = l.write_payload(&bytes) {
                    self.remove(l, &key);
                    self.put(l, key, e, bytes);
                }
            }
        }
    }

    /// Moves as many payloads as possible towards the front.
    fn compact(&mut self, l: &Ledger) {
        let Ok(compaction_plan) = l.compaction_plan(u64::MAX) else { return };
        for (key, e) in self.extents.clone().into_iter().filter(|(_, e)| compaction_plan.holds(e)) {
            if let Ok(Some(new)) = l.move_payload(&e) {
                l.free_payload(&e).unwrap();
                let bytes = self.map[&key].clone();
                self.put(l, key, new, bytes);
            }
        }
    }
}

fn trouble(f: &SimFile, c: &mut Chance) {
    match c.below(6) {
        0 => f.fail_at(1 + c.below(4), Fault::Full),
        1 => f.fail_at(1 + c.below(4), Fault::FullTorn),
        2 => f.leave_space(f.bytes().len() as u64 + [0, 5000, 70_000, 600_000][c.below(4) as usize]),
        _ => f.leave_space(u64::MAX),
    }
}

fn session(f: &SimFile, seed: u64, committed: &mut Map) {
    let mut c = Chance::new(seed);
    let o = Options {
        checkpoint_bytes: [600, 20_000, 1 << 20][c.below(3) as usize],
        spill_bytes: [900, 1 << 20, 1 << 20][c.below(3) as usize],
        writers: [Writers::One, Writers::One, Writers::Many][c.below(3) as usize],
        ..Options::default()
    };
    let l = f.open(Access::ReadWrite, &o).unwrap();
    let extents = |map: &Map| {
        let extent = |k: &Vec<u8>| Extent::decode(&l.get(k).unwrap().unwrap()[1..]).unwrap().0;
        map.keys().map(|k| (k.clone(), extent(k))).collect()
    };
    let mut staged = Staged { map: committed.clone(), extents: extents(committed) };
    for n in 0..60 {
        let what = format!("seed {seed}, step {n}");
        trouble(f, &mut c);
        staged.step(&l, &mut c, seed * 1000 + n);
        let fits = |e: &Error| matches!(e.kind(), ErrorKind::NoSpace { .. });
        match c.below(10) {
            0..3 => match if c.below(8) == 0 { l.commit_to_close() } else { l.commit() } {
                Ok(_) => committed.clone_from(&staged.map),
                Err(e) => assert!(fits(&e), "{what}: {e}"),
            },
            3 => {
                l.rollback().unwrap();
                staged = Staged { map: committed.clone(), extents: extents(committed) };
            }
            4 => staged.compact(&l),
            5 => assert!(l.vacuum().as_ref().err().is_none_or(fits), "{what}"),
            _ => (),
        }
        assert!(content(&l).unwrap() == staged.map, "{what}: what is staged");
        let r = f.open(Access::ReadOnly, &Options::default()).unwrap();
        assert!(content(&r).unwrap() == *committed, "{what}: what is committed");
    }
}

#[test]
fn a_failed_allocation_leaves_all_other_data() {
    for seed in 0..SEEDS {
        let (f, mut committed) = (SimFile::container(), Map::new());
        for more in 0..3 {
            session(&f, seed * 3 + more, &mut committed);
            f.leave_space(u64::MAX);
        }
    }
}
