//! A disk that fails again and again, and a writer that goes on each time: what was acknowledged is there, whole, after every step, for
//! a reader, for the writer, and for the next writer.

use crate::file::free_space::ReclaimRule;
use crate::file::sim_file::{Fault, SimFile};
use crate::ledger::Ledger;
use crate::options::{Access, Options, SyncPolicy, Writers};
use crate::work::{Chance, Map, content, stage};

const FAULTS: [Fault; 5] = [Fault::Full, Fault::FullTorn, Fault::Fail, Fault::FailTorn, Fault::FailDone];

fn faults(c: &mut Chance) -> Vec<(u64, Fault)> {
    let apart = [4, 12, 40][c.below(3) as usize];
    (0..30).map(|_| (1 + c.below(apart), FAULTS[c.below(5) as usize])).collect()
}

struct History {
    file: SimFile,
    c: Chance,
    options: Options,
    rule: ReclaimRule,
    /// The states that may be there: the one that was acknowledged, and those of commits of which the writer was told nothing good.
    possible: Vec<Map>,
    /// The same of a loss of power, where commits are synced.
    durable: Vec<Map>,
    what: String,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut c = Chance::new(seed);
        let options = Options {
            sync: [SyncPolicy::Process, SyncPolicy::Commit][c.below(2) as usize],
            writers: [Writers::One, Writers::One, Writers::Many][c.below(3) as usize],
            checkpoint_bytes: [0, 3000, 1 << 20][c.below(3) as usize],
            spill_bytes: [900, 1 << 20][c.below(2) as usize],
            ..Options::default()
        };
        let courtesy = [0, 0, 3_600_000_000][c.below(3) as usize];
        let rule = ReclaimRule { least: 0, courtesy };
        let what = format!("seed {seed}, {:?}, {:?}", options.sync, options.writers);
        History {
            file: SimFile::container(),
            c,
            options,
            rule,
            possible: vec![Map::new()],
            durable: vec![Map::new()],
            what,
        }
    }

    fn open(&self) -> Ledger {
        self.file
            .open_resting(Access::ReadWrite, &self.options, self.rule)
            .unwrap_or_else(|e| panic!("{}: {e}", self.what))
    }

    /// What a reader finds now has to be one of the possible states.
    fn look(&mut self, step: &str) -> Map {
        let there = SimFile::of(self.file.bytes());
        let l = there
            .open(Access::ReadOnly, &Options::default())
            .unwrap_or_else(|e| panic!("{}, {step}: {e}", self.what));
        let found = content(&l).unwrap_or_else(|e| panic!("{}, {step}: {e}", self.what));
        assert!(self.possible.contains(&found), "{}, {step}: other content", self.what);
        if self.options.sync == SyncPolicy::Commit {
            let left = self.file.after_power_loss(|| self.c.below(2) == 0);
            let l = SimFile::of(left).open(Access::ReadOnly, &Options::default());
            let left = l
                .and_then(|l| content(&l))
                .unwrap_or_else(|e| panic!("{}, {step}, without power: {e}", self.what));
            assert!(self.durable.contains(&left), "{}, {step}: other content without power", self.what);
        }
        found
    }

    /// One commit's worth of changes and the commit, which is tried twice. False where something is staged that nobody knows.
    fn commit(&mut self, l: &Ledger, model: &mut Map, n: u64) -> bool {
        if stage(l, model, n).is_err() {
            return self.take_back(l, model);
        }
        self.possible.push(model.clone());
        self.durable.push(model.clone());
        if l.commit().is_ok() || l.commit().is_ok() {
            self.note_commit(model);
        }
        true
    }

    fn note_commit(&mut self, model: &Map) {
        self.possible = vec![model.clone()];
        self.durable = self.possible.clone();
    }

    /// A commit that failed may have been made all the same: what is there then is one of the possible states.
    fn take_back(&mut self, l: &Ledger, model: &mut Map) -> bool {
        let Ok(found) = l.rollback().and_then(|()| content(l)) else { return false };
        assert!(self.possible.contains(&found), "{}: taken back to other content", self.what);
        *model = found;
        true
    }

    fn session(&mut self, number: u64) {
        let l = self.open();
        let faults = faults(&mut self.c);
        self.file.fail_often(faults);
        self.file.fail_reads([0, 0, 7, 23, 101][self.c.below(5) as usize]);
        let (mut model, mut is_known) = (self.possible[0].clone(), true);
        for n in 0..14 {
            is_known = match self.c.below(9) {
                0 | 1 => {
                    drop(l.vacuum());
                    true
                }
                2 => {
                    drop(l.give_back());
                    true
                }
                3 => self.take_back(&l, &mut model),
                _ => self.commit(&l, &mut model, number * 1000 + n),
            };
            if !is_known {
                break;
            }
            self.look(&format!("session {number}, step {n}"));
        }
        if is_known && l.commit_to_close().is_ok() && self.possible.last() == Some(&model) {
            self.note_commit(&model);
        }
        let _the_same_error = l.close();
        self.file.fail_often(Vec::new());
        self.file.fail_reads(0);
        self.possible = vec![self.look(&format!("session {number}, closed"))];
    }
}

#[test]
fn a_disk_that_fails_often_loses_nothing() {
    for seed in 0..80 {
        let mut history = History::new(seed);
        (0..4).for_each(|n| history.session(seed * 10 + n));
    }
}
