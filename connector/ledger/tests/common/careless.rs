//! A writer that continues after every failure, and a record of the outcomes that it was given.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub, reason = "tests")]

use h5lake_ledger::Ledger;

use super::work::{Chance, Map, content, stage};

#[derive(Debug)]
pub struct Outcomes {
    /// The states that may exist now: the state of the last acknowledged commit, and those of later commits that were
    /// not acknowledged.
    pub possible: Vec<Map>,
    /// The states that may exist after a power loss, if commits are synced.
    pub durable: Vec<Map>,
    /// The description of the history.
    pub what: String,
}

impl Outcomes {
    /// Returns the record for a new container.
    pub fn nothing(what: String) -> Self {
        Outcomes { possible: vec![Map::new()], durable: vec![Map::new()], what }
    }

    /// Stages a batch of changes and commits it, in up to two attempts. Returns false if the staged changes are
    /// unknown.
    pub fn commit(&mut self, l: &Ledger, model: &mut Map, n: u64) -> bool {
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

    /// Rolls back after a failed commit, which may have taken effect all the same: the content found then is one of the
    /// possible states. Returns false if the outcome is still unknown.
    fn take_back(&mut self, l: &Ledger, model: &mut Map) -> bool {
        let Ok(found) = l.rollback().and_then(|()| content(l)) else { return false };
        if l.is_outcome_unknown() {
            return false;
        }
        assert!(self.possible.contains(&found), "{}: taken back to other content", self.what);
        *model = found;
        true
    }

    /// Runs one session of the writer up to its close. `look` reads and checks the content after each step; it receives
    /// the step's name.
    pub fn session(
        &mut self,
        l: Ledger,
        c: &mut Chance,
        number: u64,
        look: &mut dyn FnMut(&Self, &mut Chance, &str),
    ) {
        let (mut model, mut is_known) = (self.possible[0].clone(), true);
        for n in 0..14 {
            is_known = match c.below(9) {
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
            look(self, c, &format!("session {number}, step {n}"));
        }
        if is_known && l.commit_to_close().is_ok() && self.possible.last() == Some(&model) {
            self.note_commit(&model);
        }
        let _the_same_error = l.close();
    }
}
