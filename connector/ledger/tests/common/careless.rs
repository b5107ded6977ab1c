//! A writer that goes on whatever fails, and what it was told.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub, reason = "tests")]

use h5lake_ledger::Ledger;

use super::work::{Chance, Map, content, stage};

#[derive(Debug)]
pub struct Told {
    /// The states that may be there: the one that was acknowledged, and those of commits of which the writer was told nothing good.
    pub possible: Vec<Map>,
    /// The same of a loss of power, where commits are synced.
    pub durable: Vec<Map>,
    /// Of which history.
    pub what: String,
}

impl Told {
    /// Of a new container.
    pub fn nothing(what: String) -> Self {
        Told { possible: vec![Map::new()], durable: vec![Map::new()], what }
    }

    /// One commit's worth of changes and the commit, which is tried twice. False where something is staged that nobody knows.
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

    /// A commit that failed may have been made all the same: what is there then is one of the possible states. False where nobody knows
    /// yet which.
    fn take_back(&mut self, l: &Ledger, model: &mut Map) -> bool {
        let Ok(found) = l.rollback().and_then(|()| content(l)) else { return false };
        if l.is_in_doubt() {
            return false;
        }
        assert!(self.possible.contains(&found), "{}: taken back to other content", self.what);
        *model = found;
        true
    }

    /// What the writer of one session does, up to its close. `look` looks at what is there after each step, of this name.
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
