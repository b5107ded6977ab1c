//! A disk that fails again and again, and a writer that continues each time. After every step, all acknowledged data is
//! complete for a reader, for the writer, and for the next writer.

use crate::careless::Outcomes;
use crate::file::free_space::ReclaimRule;
use crate::file::sim_file::{Fault, SimFile};
use crate::options::{Access, Options, SyncPolicy, Writers};
use crate::work::{Chance, Map, content};

const FAULTS: [Fault; 5] = [Fault::Full, Fault::FullTorn, Fault::Fail, Fault::FailTorn, Fault::FailDone];

fn fail_often(file: &SimFile, c: &mut Chance) {
    let apart = [4, 12, 40][c.below(3) as usize];
    file.fail_often((0..30).map(|_| (1 + c.below(apart), FAULTS[c.below(5) as usize])).collect());
    file.fail_reads([0, 0, 7, 23, 101][c.below(5) as usize]);
}

fn options(c: &mut Chance) -> Options {
    Options {
        sync: [SyncPolicy::Process, SyncPolicy::Commit][c.below(2) as usize],
        writers: [Writers::One, Writers::One, Writers::Many][c.below(3) as usize],
        checkpoint_bytes: [0, 3000, 1 << 20][c.below(3) as usize],
        spill_bytes: [900, 1 << 20][c.below(2) as usize],
        ..Options::default()
    }
}

fn found(bytes: Vec<u8>, what: &str) -> Map {
    let l = SimFile::of(bytes).open(Access::ReadOnly, &Options::default());
    l.and_then(|l| content(&l)).unwrap_or_else(|e| panic!("{what}: {e}"))
}

/// A reader has to find one of the possible states, even after a power loss.
fn look(file: &SimFile, is_synced: bool, outcomes: &Outcomes, c: &mut Chance, step: &str) -> Map {
    let what = format!("{}, {step}", outcomes.what);
    let now = found(file.bytes(), &what);
    assert!(outcomes.possible.contains(&now), "{what}: other content");
    if is_synced {
        let left = found(file.after_power_loss(|| c.below(2) == 0), &format!("{what}, without power"));
        assert!(outcomes.durable.contains(&left), "{what}: other content without power");
    }
    now
}

fn history(seed: u64) {
    let (file, mut c) = (SimFile::container(), Chance::new(seed));
    let options = options(&mut c);
    let rule = ReclaimRule { least: 0, courtesy: [0, 0, 3_600_000_000][c.below(3) as usize] };
    let is_synced = options.sync == SyncPolicy::Commit;
    let mut outcomes = Outcomes::nothing(format!("seed {seed}, {:?}, {:?}", options.sync, options.writers));
    for session in 0..4 {
        let l = file.open_with_rule(Access::ReadWrite, &options, rule);
        let l = l.unwrap_or_else(|e| panic!("{}: {e}", outcomes.what));
        fail_often(&file, &mut c);
        outcomes.session(l, &mut c, seed * 10 + session, &mut |outcomes, c, step| {
            look(&file, is_synced, outcomes, c, step);
        });
        file.fail_often(Vec::new());
        file.fail_reads(0);
        outcomes.possible = vec![look(&file, is_synced, &outcomes, &mut c, "closed")];
    }
}

#[test]
fn a_disk_that_fails_often_loses_nothing() {
    (0..80).for_each(history);
}
