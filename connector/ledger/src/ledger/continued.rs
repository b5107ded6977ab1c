//! Copies that can be continued: the container appears complete, or a journal is left for the next attempt.

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
use crate::storage_kinds::StorageKinds;
use crate::store::{self, BegunCopy};

/// The number of bytes of a payload that are read at a time to verify them.
const PROOF_BYTES: u64 = 1 << 20;

/// A finished copy.
#[derive(Debug)]
pub struct WholeCopy {
    /// The ledger of the copy.
    pub ledger: Ledger,
    /// True if an earlier attempt had committed the copy and was killed before the copy got its name, so that nothing was left to copy.
    pub was_whole: bool,
}

impl Ledger {
    /// Creates a new container in a file like [`create_whole_file`](Self::create_whole_file), as a copy of `origin`. The entries that
    /// `fill` passes to [`note_copied`](Self::note_copied) are retained if this process is killed or fails, and the next call for the same
    /// file and origin passes them to its `fill`. On file systems without working locks nothing is retained.
    ///
    /// # Errors
    /// The errors of `fill`; `AlreadyExists`; `Locked` while another copy to the file is in progress; the errors of the file system.
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
                    Filled::GivenUp { stays: ledger.give_up_new() }
                }
            })
        })?;
        match (made, failed) {
            (Some(made), _) => Ok(made),
            (None, Some(e)) => Err(e),
            (None, None) => Err(Error::new(&path.display().to_string(), ErrorKind::AlreadyExists).into()),
        }
    }

    /// Creates a copy in an object store like [`create_copy_file`](Self::create_copy_file). The next call continues the copy until a vacuum
    /// of the name removes it, after a day or two. In a store in memory nothing is retained.
    ///
    /// # Errors
    /// The errors of `fill`; `AlreadyExists`; `Locked` while another copy to the key is in progress; `Conflict` if another process
    /// considered this copy dead and took it over; the errors of the store.
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
                if let Some(objects) = ledger.storage.as_objects() {
                    objects.end_journal();
                }
                Ok(WholeCopy { ledger, was_whole: false })
            }
            Err(e) => {
                ledger.give_up_new();
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

    /// Abandons a new container that is not complete. Returns whether the next attempt can continue it; otherwise all of it is deleted.
    pub(super) fn give_up_new(&self) -> bool {
        self.abandon("it was not made whole");
        self.storage.give_up_new().unwrap_or_else(|error| {
            tracing::warn!(%error, "what there was of a new container was not deleted");
            false
        })
    }

    /// Records that an entry of a copy is staged as it will be committed, and that its payloads (`payloads` bytes) are written. If the copy
    /// has a journal, the next attempt does not have to write them again, once enough entries are recorded.
    ///
    /// # Errors
    /// The errors of [`write_payload`](Self::write_payload).
    pub fn note_copied(&self, key: &[u8], value: &[u8], payloads: u64) -> Result<()> {
        if !self.storage.has_journal() {
            return Ok(());
        }
        let due = self.part.lock().add(key, value, payloads);
        due.map_or(Ok(()), |entries| self.storage.add_part(entries))
    }

    /// Adopts a payload that an earlier attempt wrote, as if this handle had written it. Returns false if the payload is missing, is
    /// damaged as far as that can be determined without a network, or overlaps a payload that was adopted before.
    ///
    /// # Errors
    /// Read errors except `Corrupt`.
    pub fn adopt_payload(&self, e: &Extent) -> Result<bool> {
        if e.is_empty() || !self.storage.adopt_payload(e.place())? {
            return Ok(false);
        }
        if !self.properties.is_over_network && !self.is_sound(e)? {
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
