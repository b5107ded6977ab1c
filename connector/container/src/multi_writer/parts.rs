//! Blocks of which several processes of an MPI program wrote parts: one of them takes the others' parts before a commit.
//!
//! Each of them would merge its part with what the others have committed otherwise, and decode and encode the block anew for
//! that. Parallel HDF5 collects parts so, too (`H5D__mpio_redistribute_shared_chunks`, H5Dmpio.c); MPI's libraries call it
//! two-phase I/O.

use crate::chunk::cache::BlockPart;
use crate::chunk::grid::{CopyRun, Coverage};
use crate::container::State;
use crate::filters::unlocked::without_locks;
use crate::{Container, Error, ErrorKind, Result, keys};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

/// A block that this process has changed, as far as it can be given to another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedBlock {
    /// Its key in the container.
    pub key: Vec<u8>,
    /// The same number for the same key, in every process.
    pub number: u64,
    /// Bytes of it that this process wrote.
    pub bytes: u64,
}

fn number_of(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

impl Container {
    /// The blocks of elements that were changed here and are in memory alone, by their keys, at most so many. What is staged stays
    /// here, and so do elements that lead to blobs. So does all of a dataset that shrank: who commits its new extent commits the fill
    /// behind it, and a merge takes neither from others.
    ///
    /// # Errors
    /// Those of reading the headers of datasets.
    pub fn changed_blocks(&self, most: usize) -> Result<Vec<ChangedBlock>> {
        let mut state = self.state();
        let mut may_go = HashMap::new();
        let keys = self.blocks.lock().dirty_keys(&[keys::BLOCK]);
        let mut found = Vec::new();
        for key in keys {
            if found.len() == most {
                break;
            }
            let Some(id) = keys::id(&key).filter(|_| !self.ledger.is_staged(&key)) else { continue };
            let may_go = match may_go.get(&id) {
                Some(known) => *known,
                None => *may_go.entry(id).or_insert(self.may_give_away(&mut state, id)?),
            };
            let bytes = self.blocks.lock().bytes_of_part(&key);
            if may_go && bytes > 0 {
                found.push(ChangedBlock { number: number_of(&key), key, bytes: bytes as u64 });
            }
        }
        Ok(found)
    }

    fn may_give_away(&self, s: &mut State, id: u64) -> Result<bool> {
        Ok(!s.others.batch.has_cut_of(id) && !self.known(s, id)?.has_heap)
    }

    /// What was written here of a block; `None` where it is not all in memory.
    pub fn part_of_block(&self, key: &[u8]) -> Option<BlockPart> {
        self.blocks.lock().part_of(key)
    }

    /// Writes what another process wrote of a block, as if it had been written here.
    ///
    /// # Errors
    /// `Corrupt` for ranges that the block does not have; those of a write.
    pub fn take_part(&self, key: &[u8], part: &BlockPart) -> Result<()> {
        let id = keys::id(key).filter(|_| key.first() == Some(&keys::BLOCK));
        let id = id.ok_or_else(|| Error::corrupt("a part of what is no block"))?;
        without_locks(|| {
            let mut state = self.state();
            let here = self.blocks.lock().shape_of(key);
            let shape = match here {
                Some(shape) => shape,
                None => self.known(&mut state, id)?.shape,
            };
            let runs = runs_of(part, shape.len)?;
            let mut blocks = self.blocks.lock();
            blocks.note_taken(key, &part.spans);
            blocks.write(&self.ledger, key, &shape, &runs, &part.bytes, Coverage::Partial)
        })
    }

    /// Puts aside what was written here of a block: another process has taken it. What was staged meanwhile stays, and is merged.
    /// [`settle_parts`](Self::settle_parts) or [`take_back_parts`](Self::take_back_parts) has to follow.
    pub fn give_part(&self, key: &[u8]) {
        if !self.ledger.is_staged(key) {
            self.blocks.lock().give_away(key);
        }
    }

    /// The commit is made in all processes: forgets what was given to others.
    pub fn settle_parts(&self) {
        self.blocks.lock().forget_moving(|_| true);
    }

    /// The commit is made in this process: what it took from others is committed.
    pub fn settle_taken_parts(&self) {
        self.blocks.lock().settle_taken();
    }

    /// The commit is made in the process that took this part.
    pub fn settle_part(&self, key: &[u8]) {
        self.blocks.lock().forget_moving(|given| given == key);
    }

    /// The commit failed in some process: what was given to others and is not settled counts as written here again, and what was taken as
    /// theirs. What lies outside of its dataset by now, or of a dataset that is gone, is forgotten.
    pub fn take_back_parts(&self) {
        let mut state = self.state();
        let given = self.blocks.lock().given_keys();
        for key in given {
            match self.known(&mut state, keys::id(&key).unwrap_or_default()) {
                Ok(known) => self.blocks.lock().cut_given(&key, &known.outside(&keys::coords(&key))),
                Err(e) if e.kind() == ErrorKind::NotFound => self.blocks.lock().forget_moving(|k| k == key),
                // Its next flush tells.
                Err(_) => {}
            }
        }
        self.blocks.lock().take_back_moving();
    }
}

/// Where the bytes of a part go in its block of `len` bytes.
fn runs_of(part: &BlockPart, len: usize) -> Result<Vec<CopyRun>> {
    let mut buffer = 0;
    let mut runs = Vec::with_capacity(part.spans.len());
    for span in &part.spans {
        let is_in = span.start < span.end && span.end <= len && span.len() <= part.bytes.len() - buffer;
        if !is_in {
            return Err(Error::corrupt("a part that its block does not have"));
        }
        runs.push(CopyRun { block: span.start, buffer, len: span.len() });
        buffer += span.len();
    }
    Ok(runs)
}
