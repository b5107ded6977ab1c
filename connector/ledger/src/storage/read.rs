//! Reads: the committed versions, the addresses of their bytes, and the bytes.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::path::PathBuf;

use bytes::Bytes;
use object_stores::Filter;

use crate::address::{Address, Location, Run, Wanted};
use crate::audit::Audit;
use crate::error::{Error, Result};
use crate::filtered::{FilterPart, Filtered};
use crate::history::Mark;
use crate::options::{ContainerIdentity, Version};
use crate::storage::{Check, Properties, RemoteCommits, Snapshot};

/// The part of [`Storage`](super::Storage) for reads.
pub(crate) trait StorageReads: Debug + Send + Sync {
    /// Returns the path of the file or the key of the container, for messages.
    fn target(&self) -> &str;

    fn identity(&self) -> ContainerIdentity;

    fn properties(&self) -> Properties;

    /// Returns the commits that this handle has not observed yet; `None` if there are no such commits. The first call returns the complete
    /// state.
    fn poll_commits(&self) -> Result<Option<RemoteCommits>> {
        self.poll_commits_up_to(u64::MAX)
    }

    /// Does the same for a reader that should see no version after `last`, if possible. Later calls return the later versions.
    fn poll_commits_up_to(&self, last: u64) -> Result<Option<RemoteCommits>>;

    /// Returns the state that an earlier reader of this process had cached. The first [`poll_commits`](Self::poll_commits) then continues
    /// from this state, or says to discard it.
    fn cached_snapshot(&self) -> Option<Snapshot> {
        None
    }

    /// Caches the state of a reader at its close, for [`cached_snapshot`](Self::cached_snapshot).
    fn cache_snapshot(&self, _: Snapshot) {}

    /// Fills `buf` from `offset` within `place`. The caller has checked the bounds.
    fn read(&self, place: &Address, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Evicts an object that returned damaged bytes from all caches. Returns whether a second read may return other bytes. Returns false if
    /// reads do not go through a cache or a network.
    fn distrust(&self, _: &Location) -> bool {
        false
    }

    /// Fills the buffers one after the other, the first one from `offset` within `place`. Otherwise like [`read`](Self::read).
    fn read_parts(&self, place: &Address, offset: u64, parts: &mut [IoSliceMut<'_>]) -> Result<()> {
        let mut at = offset;
        for part in parts {
            self.read(place, at, part)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Reads several runs, each like [`read`](Self::read), and verifies each. A storage in which requests take a round trip joins adjacent
    /// runs, and sends its requests in parallel.
    fn read_many(&self, wanted: &mut [Wanted<'_>], check: &Check<'_>) -> Result<()> {
        for (n, wanted) in wanted.iter_mut().enumerate() {
            let run = &wanted.run;
            match &mut wanted.into {
                Some(into) => self.read(&run.place, run.offset, into)?,
                None => {
                    let mut bytes = vec![0; run.length as usize];
                    self.read(&run.place, run.offset, &mut bytes)?;
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

    /// Returns whether the storage can compare numbers itself, so that they need not be transferred.
    fn filters(&self) -> bool {
        false
    }

    /// Lets the storage compare numbers. The caller has checked the bounds. Parts without an answer must be read.
    fn filter_many(&self, parts: &[FilterPart<'_>], _: &Filter) -> Result<Filtered> {
        Ok(Filtered { parts: vec![None; parts.len()], is_refused: true, ..Filtered::default() })
    }

    /// Returns up to `most` versions that can be opened, the newest first.
    fn versions(&self, most: usize) -> Result<Vec<Version>>;

    /// Returns the time and the author of `version`, if the snapshot in use is that version; `None` if they are unknown. This is called if
    /// no record provided them: the version may be that of a checkpoint, and its record may no longer exist.
    fn mark_of_snapshot(&self, version: u64) -> Result<Option<Mark>>;

    /// Returns the bytes that the container takes in its file or its store.
    fn size(&self) -> Result<u64>;

    /// Returns the offset in a file at which the container begins; `None` for a container in a store.
    fn offset_in_file(&self) -> Option<u64> {
        None
    }

    /// Returns the container's file, opened anew for reading, even if it was renamed meanwhile; `None` for a container that is not a file
    /// of a file system.
    fn reopened(&self) -> Option<io::Result<File>> {
        None
    }

    /// Returns the directory of the container; `None` for a container that is not a file of a file system.
    fn folder(&self) -> Option<PathBuf> {
        None
    }

    /// Returns the key of the object at a location; `None` for a file.
    fn object_key(&self, _: &Location) -> Result<Option<String>> {
        Ok(None)
    }

    /// Returns whether a writer has reclaimed the snapshot in use, as far as a read has detected that.
    fn is_gone(&self) -> bool {
        false
    }

    /// Returns whether the data under the name is still the data that this handle shows, as far as a quick check can tell. Then
    /// another open in this process may share the handle.
    fn is_current(&self) -> bool {
        true
    }

    /// Returns the storage's part of a check of the whole container; `None` if this handle has not observed a version yet.
    fn audit(&self) -> Option<Box<dyn Audit + '_>> {
        None
    }

    /// Returns all bytes that are allocated for the content of an address.
    fn allocation_of(&self, place: &Address) -> Address {
        *place
    }

    /// Turns an error of reading stored bytes into `Gone`, if a writer may have reclaimed them, and into `Tampered`, if something else
    /// changed the open file.
    fn classify_read_error(&self, e: Error) -> Error;
}
