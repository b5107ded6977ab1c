//! Reads: the committed versions, the addresses of their bytes, and the bytes.

use std::any::Any;
use std::fmt::Debug;
use std::io::IoSliceMut;

use bytes::Bytes;

use crate::address::{Address, Location, Run, Wanted};
use crate::audit::Audit;
use crate::error::{Error, Result};
use crate::history::Mark;
use crate::options::{ContainerIdentity, Version};
use crate::storage::{Check, Properties, RemoteCommits};

/// The part of [`Storage`](super::Storage) for reads.
pub(crate) trait StorageReads: Debug + Send + Sync {
    /// Returns the path of the file or the key of the container, for messages.
    fn target(&self) -> &str;

    fn identity(&self) -> ContainerIdentity;

    fn properties(&self) -> Properties;

    /// Returns this storage as a value of its own type (see `storage_kinds.rs`).
    fn as_any(&self) -> &dyn Any;

    /// Returns the commits that this handle has not observed yet; `None` if there are no such commits. The first call returns the complete
    /// state. A reader gets no version after `last` if possible; later calls return the later versions.
    fn poll_commits(&self, last: u64) -> Result<Option<RemoteCommits>>;

    /// Fills the buffers one after the other, the first one from `offset` within `place`. The caller has checked the bounds.
    fn read(&self, place: &Address, offset: u64, parts: &mut [IoSliceMut<'_>]) -> Result<()>;

    /// Evicts an object that returned damaged bytes from all caches. Returns whether a second read may return other bytes. Returns false if
    /// reads do not go through a cache or a network.
    fn distrust(&self, _: &Location) -> bool {
        false
    }

    /// Reads several runs, each like [`read`](Self::read), and verifies each. A storage in which requests take a round trip joins adjacent
    /// runs, and sends its requests in parallel.
    fn read_many(&self, wanted: &mut [Wanted<'_>], check: &Check<'_>) -> Result<()> {
        for (n, wanted) in wanted.iter_mut().enumerate() {
            let run = &wanted.run;
            match &mut wanted.into {
                Some(into) => self.read(&run.place, run.offset, &mut [IoSliceMut::new(into)])?,
                None => {
                    let mut bytes = vec![0; run.length as usize];
                    self.read(&run.place, run.offset, &mut [IoSliceMut::new(&mut bytes)])?;
                    wanted.bytes = bytes.into();
                }
            }
            check(n, wanted.read())?;
        }
        Ok(())
    }

    /// Returns the bytes of a run in place, without a copy; `None` in a storage that is not in memory. The closure verifies bytes that were
    /// not verified before.
    fn borrow_bytes(&self, _: &Run, _check: &dyn Fn(&[u8]) -> Result<()>) -> Result<Option<Bytes>> {
        Ok(None)
    }

    /// Returns up to `most` versions that can be opened, the newest first.
    fn versions(&self, most: usize) -> Result<Vec<Version>>;

    /// Returns the time and the author of `version`, if the snapshot in use is that version; `None` if they are unknown. This is called if
    /// no record provided them: the version may be that of a checkpoint, and its record may no longer exist.
    fn mark_of_snapshot(&self, version: u64) -> Result<Option<Mark>>;

    /// Returns the bytes that the container takes in its file or its store.
    fn size(&self) -> Result<u64>;

    /// Returns whether a writer has reclaimed the snapshot in use, as far as a read has detected that.
    fn is_gone(&self) -> bool;

    /// Returns the storage's part of a check of the whole container; `None` if this handle has not observed a version yet.
    fn audit(&self) -> Option<Box<dyn Audit + '_>>;

    /// Turns an error of reading stored bytes into `Gone`, if a writer may have reclaimed them, and into `Tampered`, if something else
    /// changed the open file.
    fn classify_read_error(&self, e: Error) -> Error;
}
