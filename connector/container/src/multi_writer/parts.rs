//! Blocks that several processes of an MPI program wrote parts of: before a commit, one process takes the parts that the
//! other processes wrote.
//!
//! Otherwise each process would have to merge its part with the commits of the other processes, and decode and encode
//! the block anew for it. Parallel HDF5 collects parts in the same way (`H5D__mpio_redistribute_shared_chunks`,
//! H5Dmpio.c); MPI libraries call it two-phase I/O.

use crate::chunk::cache::BlockPart;
use crate::chunk::grid::{CopyRun, Coverage};
use crate::chunk::layout::BlockLayout;
use crate::container::State;
use crate::{Container, Error, ErrorKind, Result};
use h5lake_filters::unlocked::without_locks;
use h5lake_records::keys;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

/// A block that this process has changed and that it can give to another process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedBlock {
    /// Its key in the container.
    pub key: Vec<u8>,
    /// A number for the key, which is the same in every process.
    pub number: u64,
    /// Bytes of the block that this process wrote.
    pub bytes: u64,
}

fn number_of(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

impl Container {
    /// Returns blocks of elements that were changed here and exist only in memory, in the order of their keys, at most
    /// `most` blocks. Staged blocks are not returned, and neither are blocks with elements that refer to blobs. Blocks
    /// of a dataset that shrank are not returned either: the process that commits the new extent commits the fill
    /// values outside of it, and a merge must not take these from another process.
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
        Ok(!s.remote.batch.has_cut_of(id) && !self.known(s, id)?.has_heap)
    }

    /// Returns the bytes that this process wrote to a block; `None` if they are not all in memory.
    pub fn part_of_block(&self, key: &[u8]) -> Option<BlockPart> {
        self.blocks.lock().part_of(key)
    }

    /// Writes the part of a block that another process wrote, as if it had been written here.
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
            write_part(self, key, &shape, part)
        })
    }

    /// Sets aside the part of a block that another process has taken. A part that was staged meanwhile stays here, and
    /// is merged. [`settle_parts`](Self::settle_parts) or [`take_back_parts`](Self::take_back_parts) has to follow.
    pub fn give_part(&self, key: &[u8]) {
        if !self.ledger.is_staged(key) {
            self.blocks.lock().give_away(key);
        }
    }

    /// Forgets the parts given to other processes and taken from them, after the commit that contains them.
    pub fn settle_parts(&self) {
        self.blocks.lock().forget_moving(|_| true);
    }

    /// Undoes the exchange of parts after the commit failed: parts given to other processes count as written here
    /// again, and parts taken from them count as theirs. Bytes that are outside of their dataset by now, and parts of
    /// deleted datasets, are forgotten.
    pub fn take_back_parts(&self) {
        let mut state = self.state();
        let given = self.blocks.lock().given_keys();
        for key in given {
            match self.known(&mut state, keys::id(&key).unwrap_or_default()) {
                Ok(known) => self.blocks.lock().cut_given(&key, &known.outside(&keys::coords(&key))),
                Err(e) if e.kind() == ErrorKind::NotFound => self.blocks.lock().forget_moving(|k| k == key),
                // The next flush of the block reports the error.
                Err(_) => {}
            }
        }
        self.blocks.lock().take_back_moving();
    }
}

/// Writes the part of a block that another process wrote.
pub(super) fn write_part(
    c: &Container,
    key: &[u8],
    shape: &Arc<BlockLayout>,
    part: &BlockPart,
) -> Result<()> {
    let runs = runs_of(part, shape.len)?;
    let mut blocks = c.blocks.lock();
    blocks.note_taken(key, &part.spans);
    blocks.write(&c.ledger, key, shape, &runs, &part.bytes, Coverage::Partial)
}

/// Returns the places of the bytes of a part in its block of `len` bytes.
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
