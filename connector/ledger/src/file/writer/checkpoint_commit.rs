//! Commits that are checkpoints: pages are written and kept before, and one head makes them a version.

use std::collections::BTreeMap;

use super::checkpoint::PendingCheckpoint;
use super::{FileWriter, Noted};
use crate::address::PageRef;
use crate::error::{Error, Result};
use crate::file::file_io::FileIo;
use crate::file::free_space::run_of;
use crate::file::locks::Locks;
use crate::file::space_delta::{Pairs, SpaceDelta};
use crate::storage::Checkpoint;
use crate::wal::record::{self, Author, Header};

/// What belongs to the base that the next commit is to be.
#[derive(Debug, Default)]
pub(super) struct KeptPages {
    /// Written for it, by offset.
    fresh: BTreeMap<u64, u64>,
    /// What of the base in force it does without.
    freed: Pairs,
    /// What is kept and the checkpoint under way does without. It is given back when that is kept too: were it before, and the checkpoint
    /// failed, what was kept would be torn.
    pub(super) superseded: Pairs,
}

impl KeptPages {
    /// Notes that a run is not needed any more; false if it is not kept here.
    pub(super) fn supersede(&mut self, run: (u64, u64)) -> bool {
        let known = self.fresh.get(&run.0) == Some(&run.1);
        if known {
            self.superseded.push(run);
        }
        known
    }
}

impl FileWriter {
    /// Keeps what was written for the coming base. Returns its bytes.
    pub(crate) fn checkpoint_keep(&mut self, raw: &dyn FileIo) -> Result<u64> {
        self.check_sound()?;
        // So that a forked child, which may read it, never has to write it.
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

    /// Gives back what was written for the coming base.
    pub(crate) fn checkpoint_forget(&mut self) {
        self.checkpoint_rollback();
        for (offset, length) in std::mem::take(&mut self.checkpoint.kept).fresh {
            self.put_back(offset, length);
        }
    }

    /// Makes what is kept the next version and its base.
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

    /// Writes the record of a version that is read from its pages alone: it leads to the records before it, and has no entries.
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
