//! Copies that continue: a container that is made whole, or left with a journal for the next try.

use std::path::Path;
use std::sync::Arc;

use object_stores::ObjectStore;

use super::Ledger;
use crate::error::{Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::file::{self, Filled};
use crate::journal::EarlierTry;
use crate::options::{Access, LockPolicy, Options, Writers};
use crate::origin::Origin;
use crate::store::{self, BegunCopy};

/// Bytes of a payload that are read at once to prove them.
const PROOF_BYTES: u64 = 1 << 20;

/// A copy that was made.
#[derive(Debug)]
pub struct WholeCopy {
    /// Its ledger.
    pub ledger: Ledger,
    /// An earlier try had committed it, and was killed before it had its name: nothing was left to fill in.
    pub was_whole: bool,
}

impl Ledger {
    /// Makes a new container in a file, as [`create_whole_file`](Self::create_whole_file) does, that is to be a copy of `origin`.
    /// What `fill` [notes](Self::note_copied) stays beside when this process is killed or fails. The next call for the same file and
    /// origin hands it to its `fill`. Where locks do not work, nothing stays.
    ///
    /// # Errors
    /// Those of `fill`; `AlreadyExists`; `Locked` while another copy to the file is under way; those of the file system.
    pub fn create_copy_file<E: From<Error>>(
        path: &Path,
        opts: Options,
        origin: &Origin,
        fill: impl FnOnce(&Ledger, EarlierTry) -> std::result::Result<(), E>,
    ) -> std::result::Result<WholeCopy, E> {
        let opts = Options { writers: Writers::One, ..opts };
        let (mut fill, mut failed) = (Some(fill), None);
        let made = file::create_copy(path, &opts, origin, &mut |storage, earlier| {
            let ledger = Self::start(Box::new(storage), Access::ReadWrite, &opts)?;
            if ledger.version() > 0 {
                return Ok(Filled::Whole(WholeCopy { ledger, was_whole: true }));
            }
            let fill = fill.take().ok_or_else(|| ledger.fail(ErrorKind::AlreadyExists))?;
            Ok(match ledger.fill_copy(earlier, fill) {
                Ok(()) => Filled::Whole(WholeCopy { ledger, was_whole: false }),
                Err(e) => {
                    failed = Some(e);
                    Filled::GivenUp { stays: ledger.give_up_copy() }
                }
            })
        })?;
        match (made, failed) {
            (Some(made), _) => Ok(made),
            (None, Some(e)) => Err(e),
            (None, None) => Err(Error::new(&path.display().to_string(), ErrorKind::AlreadyExists).into()),
        }
    }

    /// Does the same in an object store, where the next call continues the copy until a vacuum of the name removes it, a day or two
    /// later. In a store in memory nothing stays.
    ///
    /// # Errors
    /// Those of `fill`; `AlreadyExists`; `Locked` while another copy to the key is under way; `Conflict` if another took this one
    /// over, which was thought to be dead; those of the store.
    pub fn create_copy_objects<E: From<Error>>(
        store: Arc<dyn ObjectStore>,
        key: &str,
        opts: Options,
        origin: &Origin,
        fill: impl FnOnce(&Ledger, EarlierTry) -> std::result::Result<(), E>,
    ) -> std::result::Result<WholeCopy, E> {
        let opts = Options { lock: LockPolicy::default(), writers: Writers::One, ..opts };
        let BegunCopy { storage, earlier } = store::create_copy(store, key, &opts, origin)?;
        let ledger = Self::start_made(Box::new(storage), &opts)?;
        match ledger.fill_copy(earlier, fill) {
            Ok(()) => {
                ledger.storage.end_journal();
                Ok(WholeCopy { ledger, was_whole: false })
            }
            Err(e) => {
                ledger.give_up_copy();
                Err(e)
            }
        }
    }

    fn fill_copy<E: From<Error>>(
        &self,
        earlier: EarlierTry,
        fill: impl FnOnce(&Ledger, EarlierTry) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        fill(self, earlier)?;
        self.storage.end_adoption()?;
        Ok(self.commit_whole()?)
    }

    /// Leaves what there is of a copy to the next try. Returns false where there is nothing to leave: then all of it is deleted.
    pub(crate) fn give_up_copy(&self) -> bool {
        self.abandon("it was not made whole");
        let is_kept = self.storage.keep_journal();
        if !is_kept && let Err(error) = self.storage.discard() {
            tracing::warn!(%error, "what there was of a new container was not deleted");
        }
        is_kept
    }

    /// Notes that an entry of a copy is staged as it will be committed, and that its payloads are written: `payloads` bytes. Where
    /// the copy has a journal, the next try need not write them again, once enough is noted.
    ///
    /// # Errors
    /// As for [`write_payload`](Self::write_payload).
    pub fn note_copied(&self, key: &[u8], value: &[u8], payloads: u64) -> Result<()> {
        if !self.storage.has_journal() {
            return Ok(());
        }
        let due = self.part.lock().add(key, value, payloads);
        due.map_or(Ok(()), |entries| self.storage.add_part(entries))
    }

    /// Takes over a payload that an earlier try wrote, as if it had been written now. False where it is not there, is damaged as
    /// far as that can be found out without a network, or has a byte of one that was taken over before.
    ///
    /// # Errors
    /// Those of reading but `Corrupt`.
    pub fn adopt_payload(&self, e: &Extent) -> Result<bool> {
        if e.is_empty() || !self.storage.adopt_payload(e.place())? {
            return Ok(false);
        }
        if self.storage.proves_by_reading() && !self.is_sound(e)? {
            self.storage.free_payload(e.place())?;
            return Ok(false);
        }
        self.part.lock().begin_behind(e.len());
        Ok(true)
    }

    fn is_sound(&self, e: &Extent) -> Result<bool> {
        let mut bytes = vec![0; e.len().min(PROOF_BYTES) as usize];
        for from in (0..e.len()).step_by(PROOF_BYTES as usize) {
            let part = &mut bytes[..(e.len() - from).min(PROOF_BYTES) as usize];
            match self.read_payload(e, from, part) {
                Err(e) if matches!(e.kind(), ErrorKind::Corrupt { .. }) => return Ok(false),
                read => read?,
            }
        }
        Ok(true)
    }
}
