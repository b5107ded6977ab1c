//! Commits that are checkpoints: pages are written and retained first, and then one commit slot publishes them as a
//! version.

use std::collections::BTreeMap;

use super::checkpoint::PendingCheckpoint;
use super::{FileWriter, Noted};
use crate::address::PageRef;
use crate::author::Author;
use crate::error::{Error, Result};
use crate::file::file_io::FileIo;
use crate::file::free_space::run_of;
use crate::file::locks::Locks;
use crate::file::space_delta::{Pairs, SpaceDelta};
use crate::storage::Checkpoint;
use crate::wal::record::{self, Header};

/// The pages of the checkpoint that the next commit publishes.
#[derive(Debug, Default)]
pub(super) struct KeptPages {
    /// Runs that were written for it, by offset.
    fresh: BTreeMap<u64, u64>,
    /// Runs of the present checkpoint that it does not need.
    freed: Pairs,
    /// Retained runs that the checkpoint in progress does not need. They are freed when that checkpoint is retained, too.
    /// If they were freed earlier and the checkpoint failed, the retained pages would be incomplete.
    pub(super) superseded: Pairs,
}

impl KeptPages {
    /// Records that a run is not needed any more. Returns false if the run is not retained here.
    pub(super) fn supersede(&mut self, run: (u64, u64)) -> bool {
        let known = self.fresh.get(&run.0) == Some(&run.1);
        if known {
            self.superseded.push(run);
        }
        known
    }
}

impl FileWriter {
    /// Retains the pages that were written for the coming checkpoint. Returns their number of bytes.
    pub(crate) fn checkpoint_keep(&mut self, raw: &dyn FileIo) -> Result<u64> {
        self.check_sound()?;
        // Flushed, so that a forked child, which may read these pages, never has to write them.
        self.pending.flush(raw).map_err(|e| self.io("writing a page", &e))?;
        for (offset, length) in std::mem::take(&mut self.checkpoint.kept.superseded) {
            self.checkpoint.kept.fresh.remove(&offset);
            self.put_back(offset, length);
        }
        let bytes = self.checkpoint.fresh.values().sum();
        self.checkpoint.kept.fresh.append(&mut self.checkpoint.fresh);
        self.checkpoint.kept.freed.append(&mut self.checkpoint.freed);
        Ok(bytes)
    }

    /// Frees the pages that were written for the coming checkpoint.
    pub(crate) fn checkpoint_forget(&mut self) {
        self.checkpoint_rollback();
        for (offset, length) in std::mem::take(&mut self.checkpoint.kept).fresh {
            self.put_back(offset, length);
        }
    }

    /// Publishes the retained pages as the next version and its checkpoint.
    pub(crate) fn commit_as_checkpoint(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        base: Checkpoint,
    ) -> Result<()> {
        self.check_alone(raw)?;
        self.load(raw)?;
        let time = self.next_time();
        let done = self.write_stub(raw, locks, base.version, time).and_then(|stub| {
            self.log.push(stub);
            let mut gone = self.checkpoint.kept.freed.clone();
            gone.extend(self.staged.freed.iter().map(|(o, l)| (*o, *l)));
            let (version, version_time, unborn) = (base.version, time, Pairs::new());
            let done = self.put_folded(
                raw,
                locks,
                PendingCheckpoint { base, version, version_time, time, gone, unborn },
            );
            if done.is_err() {
                self.log.pop();
            }
            done
        });
        if done.is_err() {
            self.checkpoint_rollback();
            return done;
        }
        self.checkpoint.kept = KeptPages::default();
        self.staged.fresh.clear();
        self.staged.freed.clear();
        Ok(())
    }

    /// Writes the record of a version that is read from its pages alone. The record has no entries, and points to the
    /// record before it.
    fn write_stub(&mut self, raw: &dyn FileIo, locks: &Locks, version: u64, time: u64) -> Result<Noted> {
        let sequence = self.head.sequence + 1;
        let end = self.used_end(raw)?;
        let notes = SpaceDelta { sequence, end, ..SpaceDelta::default() };
        let (by, nonce) = (Author::myself(), self.nonces.next());
        let header = Header { previous: self.head.record, ..Header::of_now(version, nonce, time) };
        let nothing = record::encode_changes::<&[u8]>(std::iter::empty());
        let damaged = |why: &str| Error::corrupt(&self.target, "notes of a record", why);
        let notes = notes.encode().map_err(damaged)?;
        let (bytes, crc) = record::encode(&header, &notes, &nothing.as_slice());
        let place = self.checkpoint_write(raw, locks, &bytes)?;
        let written = self.staged.fresh.values().chain(self.checkpoint.kept.fresh.values()).sum::<u64>();
        let added = written + run_of(&place).1;
        Ok(Noted {
            version,
            sequence,
            time,
            by,
            at: PageRef { place, crc },
            added,
            notes: Default::default(),
        })
    }
}
