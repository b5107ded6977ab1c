//! Reading: what is committed, where it lies, and its bytes.

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
use crate::storage::{Check, PageSizes, RemoteCommits, Snapshot};

/// The part of [`Storage`](super::Storage) for reads.
pub(crate) trait StorageReads: Debug + Send + Sync {
    /// The file or key, for messages.
    fn target(&self) -> &str;

    fn identity(&self) -> ContainerIdentity;

    fn shape(&self) -> PageSizes;

    /// What is newer than what this handle was last told; `None` if nothing is. The first call tells all.
    fn poll_commits(&self) -> Result<Option<RemoteCommits>> {
        self.poll_commits_up_to(u64::MAX)
    }

    /// The same for a reader that is to see no version after `last`, if that can be had: a later call tells of these.
    fn poll_commits_up_to(&self, last: u64) -> Result<Option<RemoteCommits>>;

    /// What a reader of this process knew of the container: the first [`poll_commits`](Self::poll_commits) then follows
    /// upon that, or says to forget it.
    fn cached_snapshot(&self) -> Option<Snapshot> {
        None
    }

    /// Keeps what a reader knows at its close, for [`cached_snapshot`](Self::cached_snapshot).
    fn cache_snapshot(&self, _: Snapshot) {}

    /// Fills `buf` from `offset` within `place`; the caller has checked the bounds.
    fn read(&self, place: &Address, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Lets go of what caches on the way keep of an object from which damaged bytes came. Whether a second read may give others: not
    /// where bytes are read where they lie.
    fn distrust(&self, _: &Location) -> bool {
        false
    }

    /// Fills one buffer after the other, the first from `offset` within `place`; else as [`read`](Self::read).
    fn read_parts(&self, place: &Address, offset: u64, parts: &mut [IoSliceMut<'_>]) -> Result<()> {
        let mut at = offset;
        for part in parts {
            self.read(place, at, part)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Reads several runs, each as [`read`](Self::read) does, and checks each. A storage whose requests take a round trip
    /// joins neighbours, and asks for the rest side by side.
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

    /// Whether a read takes a round trip, so that it is worth while to ask for several things at once.
    fn is_remote(&self) -> bool {
        false
    }

    /// Whether all that is stored lies in this process's memory, and [`borrow_bytes`](Self::borrow_bytes) answers.
    fn is_in_memory(&self) -> bool {
        false
    }

    /// The bytes of a run where they lie, not copied; `None` in a storage that has them elsewhere. `check` is asked about them
    /// unless they are known to be right.
    fn borrow_bytes(&self, _: &Run, _check: &dyn Fn(&[u8]) -> Result<()>) -> Result<Option<Bytes>> {
        Ok(None)
    }

    /// Whether what holds the bytes compares numbers where they are.
    fn filters(&self) -> bool {
        false
    }

    /// Has numbers compared where they are; the caller has checked the bounds. What is not answered has to be read.
    fn filter_many(&self, parts: &[FilterPart<'_>], _: &Filter) -> Result<Filtered> {
        Ok(Filtered { parts: vec![None; parts.len()], is_refused: true, ..Filtered::default() })
    }

    /// The versions that can be opened, newest first, at most so many.
    fn versions(&self, most: usize) -> Result<Vec<Version>>;

    /// Returns the time and the author of `version`, if the snapshot in use is that version; `None` if they are unknown. Called
    /// if no record provided them: the version may be that of a checkpoint, whose record no longer exists.
    fn mark_of_snapshot(&self, version: u64) -> Result<Option<Mark>>;

    /// Bytes in the file or store.
    fn size(&self) -> Result<u64>;

    /// Where in a file it begins; `None` for one that is no file.
    fn offset_in_file(&self) -> Option<u64> {
        None
    }

    /// Its file, opened anew to read, also if it was renamed since; `None` for one that is no file of a file system.
    fn reopened(&self) -> Option<io::Result<File>> {
        None
    }

    /// The folder that it lies in; `None` for one that is no file of a file system.
    fn folder(&self) -> Option<PathBuf> {
        None
    }

    /// Whether it was made for extents in sources.
    fn is_for_sources(&self) -> bool;

    /// The key of the object that a location is; `None` for a file.
    fn object_key(&self, _: &Location) -> Result<Option<String>> {
        Ok(None)
    }

    /// Whether a writer has reclaimed what the snapshot in use needs, as far as it was found out.
    fn is_gone(&self) -> bool {
        false
    }

    /// Returns whether the data under the name is still the data that this handle shows, as far as a quick check can tell. Then
    /// another open in this process may share the handle.
    fn is_current(&self) -> bool {
        true
    }

    /// What a check of the whole container goes by; `None` where there is nothing beside what is read.
    fn audit(&self) -> Option<Box<dyn Audit + '_>> {
        None
    }

    /// All bytes that belong to what lies at a place.
    fn allocation_of(&self, place: &Address) -> Address {
        *place
    }

    /// Turns an error of reading stored bytes into `Gone`, if a writer may have reclaimed them, and into `Tampered`, if something else
    /// changed the open file.
    fn classify_read_error(&self, e: Error) -> Error;
}
