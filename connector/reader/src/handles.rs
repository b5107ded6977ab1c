//! The handles of C programs: numbers of open files and datasets.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use h5lake_container::{Error, ErrorKind, Result};
use h5lake_ledger::locks::RwLock;

use crate::reader::Reader;
use crate::reader::stored::StoredElements;

/// The maximum number of open handles.
const MAX_HANDLES: usize = 1 << 20;

/// An open file or dataset.
#[derive(Clone)]
pub enum Handle {
    /// A file.
    File(Arc<Reader>),
    /// A dataset.
    Dataset(Arc<StoredElements>),
}

/// The open handles by their numbers, which are never used again.
#[derive(Default)]
pub struct Handles {
    open: RwLock<HashMap<u64, Handle>>,
    last: AtomicU64,
}

impl Handles {
    /// Adds a handle and returns its number.
    ///
    /// # Errors
    /// If too many handles are open.
    pub fn add(&self, handle: Handle) -> Result<u64> {
        let mut open = self.open.write();
        if open.len() >= MAX_HANDLES {
            let text = format!("{MAX_HANDLES} files and datasets are open; close some of them");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        open.insert(number, handle);
        Ok(number)
    }

    /// Closes a handle. Calls that use it continue.
    ///
    /// # Errors
    /// If there is no such handle.
    pub fn close(&self, number: u64) -> Result<()> {
        // The last user of a container may wait for its store, which must not happen under the lock.
        let removed = self.open.write().remove(&number);
        removed.map(drop).ok_or_else(|| not_open(number))
    }

    /// Returns a file.
    ///
    /// # Errors
    /// If there is no such handle, or it is not one of a file.
    pub fn file(&self, number: u64) -> Result<Arc<Reader>> {
        match self.open.read().get(&number) {
            Some(Handle::File(file)) => Ok(file.clone()),
            _ => Err(not_open(number)),
        }
    }

    /// Returns a dataset.
    ///
    /// # Errors
    /// If there is no such handle, or it is not one of a dataset.
    pub fn dataset(&self, number: u64) -> Result<Arc<StoredElements>> {
        match self.open.read().get(&number) {
            Some(Handle::Dataset(dataset)) => Ok(dataset.clone()),
            _ => Err(not_open(number)),
        }
    }
}

fn not_open(number: u64) -> Error {
    let text = format!("{number} is not the handle of an open file or dataset; open it again");
    Error::new(ErrorKind::InvalidArgument, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_open_are_errors() {
        let handles = Handles::default();
        for number in [0, 1, u64::MAX] {
            assert!(handles.file(number).is_err() && handles.dataset(number).is_err());
            assert!(handles.close(number).is_err());
        }
    }
}
