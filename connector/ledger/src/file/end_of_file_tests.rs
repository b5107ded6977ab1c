//! Bytes that a slot counts stay in the file until their quarantine is over, so that a plain copy of the file with this
//! slot is as long as the slot says.

use crate::extent::Extent;
use crate::file::file_io::FileIo;
use crate::file::free_space::ReclaimRule;
use crate::file::log::newest_slot;
use crate::file::sim_file::SimFile;
use crate::ledger::Ledger;
use crate::options::{Access, Options};
use crate::work::{Chance, Map, content, data, work};

/// A quarantine longer than any test.
const LONG: ReclaimRule = ReclaimRule { least: 0, courtesy: 3_600_000_000 };

/// Returns the end in the newest slot. Checks that the file is as long.
fn end(f: &SimFile) -> u64 {
    let end = newest_slot(f, "fake").unwrap().end;
    assert!(f.len().unwrap() >= end, "the file is cut off");
    end
}

/// A file with holes that have left the quarantine, and without free space at its end.
fn with_holes(seed: u64) -> (SimFile, Map) {
    let f = SimFile::container();
    let o = Options { checkpoint_bytes: 3000, ..Options::default() };
    let l = f.open(Access::ReadWrite, &o).unwrap();
    let (_, states, done) = work(&l, &Map::new(), seed % 12);
    done.unwrap();
    l.close().unwrap();
    // The quarantine of the last payload's space begins with the close.
    f.open(Access::ReadWrite, &o).unwrap().vacuum().unwrap();
    (f, states.into_iter().last().unwrap())
}

/// Payloads that may grow, by their keys.
type AppendReservations = Vec<(Vec<u8>, Extent)>;

fn put(l: &Ledger, key: &[u8], e: &Extent) {
    let mut value = vec![1];
    e.encode(&mut value);
    l.put(key, value).unwrap();
}

fn step(l: &Ledger, c: &mut Chance, n: u64, growing: &mut AppendReservations, model: &mut Map) {
    let length = [64, 992, 4096, 20_000][c.below(4) as usize];
    match c.below(4) {
        0 => {
            let key = format!("slow-{n}").into_bytes();
            let (bytes, most) = (data(n, length), [length, 8192, 60_000][c.below(3) as usize]);
            let e = l.write_to_grow(&bytes, most).unwrap();
            put(l, &key, &e);
            model.insert(key.clone(), bytes);
            growing.push((key, e));
        }
        1 if !growing.is_empty() => {
            let at = c.below(growing.len() as u64) as usize;
            let (key, old) = &mut growing[at];
            let more = data(n, length);
            if let Some(new) = l.grow_payload(old, &more).unwrap() {
                put(l, key, &new);
                model.get_mut(key).unwrap().extend_from_slice(&more);
                *old = new;
            }
        }
        2 if !growing.is_empty() => {
            let (key, old) = growing.swap_remove(c.below(growing.len() as u64) as usize);
            l.free_payload(&old).unwrap();
            l.delete(&key).unwrap();
            model.remove(&key);
        }
        _ => {
            let key = format!("value-{}", c.below(20)).into_bytes();
            let bytes = data(n, [3, 100, 2500, 18_000][c.below(4) as usize]);
            l.put(&key, [&[0], &*bytes].concat()).unwrap();
            model.insert(key, bytes);
        }
    }
}

/// One writer's session: its commits, checkpoints, rollbacks and close.
fn session(f: &SimFile, seed: u64, committed: &mut Map) {
    let mut c = Chance::new(seed);
    let o = Options {
        checkpoint_bytes: [2000, 20_000, 1 << 20][c.below(3) as usize],
        spill_bytes: [900, 1 << 20, 1 << 20][c.below(3) as usize],
        ..Options::default()
    };
    let l = f.open_with_rule(Access::ReadWrite, &o, LONG).unwrap();
    let (mut growing, mut stable, mut model, mut last) =
        (AppendReservations::new(), AppendReservations::new(), committed.clone(), end(f));
    for n in 0..40 {
        step(&l, &mut c, seed * 1000 + n, &mut growing, &mut model);
        match c.below(12) {
            0..5 => {
                if c.below(8) == 0 { l.commit_to_close() } else { l.commit() }.unwrap();
                (*committed, stable) = (model.clone(), growing.clone());
            }
            5 => {
                l.rollback().unwrap();
                (model, growing) = (committed.clone(), stable.clone());
            }
            6 => drop(l.vacuum().unwrap()),
            _ => (),
        }
        let now = end(f);
        assert!(now >= last, "seed {seed}, step {n}: the end went from {last} to {now}");
        last = now;
    }
    l.close().unwrap();
    assert!(end(f) >= last, "seed {seed}: the end went from {last} to {} at the close", end(f));
}

/// Payloads that were freed before they were in a version: a slot that was written meanwhile counts them. They are
/// truncated when their quarantine is over, for which a patient vacuum waits.
#[test]
fn freed_payloads_are_truncated_after_their_quarantine() {
    let f = SimFile::container();
    let rule = ReclaimRule { least: 0, courtesy: 300_000 };
    let l = f.open_with_rule(Access::ReadWrite, &Options::default(), rule).unwrap();
    l.put(b"k", "v").unwrap();
    l.commit().unwrap();
    l.write_payload(&data(1, 200_000)).unwrap();
    l.vacuum().unwrap();
    let long = end(&f);
    l.rollback().unwrap();
    l.vacuum().unwrap();
    assert_eq!(end(&f), long);
    let left = l.reclaim_delay().unwrap().unwrap();
    assert!(left <= std::time::Duration::from_millis(300), "{left:?}");
    std::thread::sleep(left);
    l.vacuum().unwrap();
    assert!(end(&f) < 20_000 && f.len().unwrap() == end(&f), "{} of {long}", end(&f));
}

#[test]
fn bytes_within_the_recorded_end_are_not_truncated_during_quarantine() {
    for seed in 0..150 {
        let (f, mut model) = with_holes(seed);
        for more in 0..3 {
            session(&f, seed * 3 + more, &mut model);
            let l = f.open(Access::ReadOnly, &Options::default()).unwrap();
            assert!(content(&l).unwrap() == model, "seed {seed}, session {more}");
        }
        // The space is freed when its quarantine is over.
        let before = end(&f);
        let l = f.open(Access::ReadWrite, &Options::default()).unwrap();
        l.vacuum().unwrap();
        assert!(content(&l).unwrap() == model, "seed {seed}");
        drop(l);
        assert!(end(&f) <= before && f.len().unwrap() == end(&f), "seed {seed}");
    }
}
