//! Any sync fails, and the system keeps or drops the bytes that it could not write. Data that was reported as durable
//! stays, for readers of the file and after a power loss.

use crate::file::sim_file::SimFile;
use crate::options::{Access, Options, SyncPolicy, Writers};
use crate::work::{Chance, Map, content, stage};

/// The failing syncs: the first one, their number, and whether the system drops the bytes that they should have written.
#[derive(Debug, Clone, Copy)]
struct Failing {
    from: u64,
    count: u64,
    drops: bool,
}

const NONE: Failing = Failing { from: u64::MAX, count: 0, drops: false };

/// The versions that the file may hold.
struct Outcomes {
    states: Vec<Map>,
    /// The newest version that was reported as durable.
    durable: usize,
}

impl Outcomes {
    fn note_newest(&mut self) {
        self.durable = self.states.len() - 1;
    }
}

/// Commits, vacuums and rolls back until an operation fails, then closes.
fn session(f: &SimFile, seed: u64, writers: Writers, failing: Failing, outcomes: &mut Outcomes) {
    let mut c = Chance::new(seed);
    let spill_bytes = [900, 1 << 20][c.below(2) as usize];
    let o = Options {
        sync: SyncPolicy::Commit,
        checkpoint_bytes: 3000,
        spill_bytes,
        writers,
        ..Options::default()
    };
    let l = f.open(Access::ReadWrite, &o).unwrap();
    f.fail_syncs(failing.from, failing.count, failing.drops);
    let mut model = outcomes.states[outcomes.durable].clone();
    for n in 0..10 {
        match c.below(8) {
            0 | 1 => drop(l.vacuum()),
            2 if l.rollback().is_ok() => model = content(&l).unwrap(),
            2 => (),
            _ => {
                if stage(&l, &mut model, seed * 100 + n).is_err() {
                    break;
                }
                outcomes.states.push(model.clone());
                if l.commit().is_ok() || l.commit().is_ok() {
                    outcomes.note_newest();
                }
            }
        }
    }
    if l.commit_to_close().is_ok() && outcomes.states.last() == Some(&model) {
        outcomes.note_newest();
    }
    let _the_same_error = l.close();
    f.fail_syncs(u64::MAX, 0, false);
}

fn check(bytes: Vec<u8>, outcomes: &Outcomes, what: &str) {
    let file = SimFile::of(bytes);
    let l = file.open(Access::ReadOnly, &Options::default()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let found = content(&l).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(
        outcomes.states[outcomes.durable..].contains(&found),
        "{what}: what was durable is gone, or never was"
    );
}

fn outlives(seed: u64, writers: Writers, failing: Failing) {
    let (f, mut outcomes) = (SimFile::container(), Outcomes { states: vec![Map::new()], durable: 0 });
    session(&f, seed, writers, NONE, &mut outcomes);
    session(&f, seed + 1000, writers, failing, &mut outcomes);
    let what = format!("seed {seed}, {writers:?}, {failing:?}");
    check(f.bytes(), &outcomes, &format!("{what}, then"));
    for power in 0..2 {
        let mut c = Chance::new(seed * 7 + failing.from + power);
        check(f.after_power_loss(|| c.below(2) == 0), &outcomes, &format!("{what}, then without power"));
    }
}

#[test]
fn data_reported_as_durable_survives_failed_syncs() {
    for seed in 0..6 {
        for from in 1..24 {
            for count in [1, 2, 1000] {
                for drops in [false, true] {
                    for writers in [Writers::One, Writers::Many] {
                        outlives(seed, writers, Failing { from, count, drops });
                    }
                }
            }
        }
    }
}
