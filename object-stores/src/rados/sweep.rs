//! Sweeps orphaned parts: those of a writer that died, or of a writer that could not remove the parts of the object it
//! replaced.
//!
//! A process sweeps once, after it has put its first long object. It reads some thousand names from a random position
//! on, so that all names are read eventually, whatever the pool's size. An upload counts as abandoned if its first part
//! was written a day ago and its object does not consist of its parts. A writer that finishes an upload first writes to
//! the first part. So the first part of an upload that is about to be finished is young, or has another version than
//! the sweeper saw, or is marked already: then the upload fails.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use h5lake_rados_abi::Read;

use super::client::{Namespace, object_name};
use super::parts::{OF, SWEPT, part_name, upload_of_first};

/// The age of its first part, in seconds, from which on an upload can no longer be finished.
pub(super) const MIN_AGE: i64 = 24 * 3600;
/// The number of names that one process reads.
const MAX_NAMES: usize = 10_000;
/// The number of uploads that one process checks.
const MAX_UPLOADS: usize = 64;
/// The time that a successful put waits for a sweep.
pub(super) const MAX_SWEEP_TIME: Duration = Duration::from_secs(10);

impl Namespace {
    /// Removes the parts of uploads that were abandoned at least `age` seconds ago; returns the number of uploads.
    /// Removes nothing if the cluster's clock is unknown, because by another clock an upload in progress could look
    /// old.
    ///
    /// # Errors
    /// The first error encountered.
    pub(super) fn sweep(&self, from: u32, age: i64) -> io::Result<usize> {
        let Some(before) = self.clock.seconds().map(|now| now.saturating_sub(age)) else { return Ok(0) };
        let mut uploads = Vec::new();
        let mut names = 0;
        let mut take = |name: &[u8]| {
            names += 1;
            uploads.extend(upload_of_first(name));
            if names < MAX_NAMES && uploads.len() < MAX_UPLOADS {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        self.ask(|pool, bound| pool.names(Some(from), bound, &mut take), |()| 0)?;
        let mut swept = 0;
        for upload in uploads {
            if self.is_given_up(upload, before)? {
                self.remove_parts(upload, None)?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// Returns whether an upload was abandoned before the time `before`. If so, no writer can finish it after this
    /// call.
    fn is_given_up(&self, upload: u128, before: i64) -> io::Result<bool> {
        let first = part_name(upload, 0);
        let name = object_name(&first)?;
        let read = Read { name: &name, offset: 0, buffers: Vec::new(), version: None };
        let looked = self.ask(
            |pool, bound| {
                pool.read_all(vec![read], OF, bound)
                    .pop()
                    .unwrap_or_else(|| Err(io::Error::other("no answer")))
            },
            |_| 0,
        );
        let found = match looked {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
            found => found?,
        };
        let Some(key) = found.attribute.and_then(|key| String::from_utf8(key).ok()) else { return Ok(false) };
        if found.modified > before || self.has_parts_of(&key, upload)? {
            return Ok(false);
        }
        let mark = self
            .write(&first, 0, |operation| operation.assert_version(found.version).set_attribute(SWEPT, b"1"));
        match mark {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ERANGE | libc::EOVERFLOW | libc::ENOENT)) => {
                Ok(false)
            }
            mark => mark.and_then(|_| self.has_parts_of(&key, upload)).map(|is_needed| !is_needed),
        }
    }

    /// Returns whether the object under a key consists of an upload's parts.
    fn has_parts_of(&self, key: &str, upload: u128) -> io::Result<bool> {
        match self.read_head(key, 0, &mut [], None) {
            Ok((head, _)) => Ok(head.parts.is_some_and(|parts| parts.upload == upload)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(e) => Err(e),
        }
    }
}
