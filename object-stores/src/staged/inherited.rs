//! A forked child's view of its parent's stage, without the parent's locks: another thread may have held them at the
//! fork.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::folder::{self, Folder};
use super::operation::Queued;
use super::queue::Queue;
use crate::per_process::PerProcess;
use crate::{Key, Result};

type Newest = HashMap<Key, Arc<Queued>>;

/// The parent's queue according to its files, read once in each child.
pub(super) struct Inherited(PerProcess<Newest>);

impl Inherited {
    pub(super) const fn new() -> Self {
        Inherited(PerProcess::new())
    }

    /// Returns the newest queued operation of a key.
    pub(super) fn newest(&self, queue: &Queue, key: &Key) -> Result<Option<Arc<Queued>>> {
        let newest = self.0.get_or_make(|| look(queue.folder.path())).map_err(|e| queue.io(e))?;
        Ok(newest.get(key).cloned())
    }
}

fn look(path: &Path) -> io::Result<Newest> {
    let mut newest = Newest::new();
    for queued in folder::look(path)? {
        let queued = Arc::new(queued);
        for key in queued.keys() {
            newest.insert(key.clone(), queued.clone());
        }
    }
    Ok(newest)
}

/// Reads the file of an operation from `offset` on with `read`; returns `None` if the file is gone.
pub(super) fn read_at<T>(
    folder: &Folder,
    number: u64,
    offset: u64,
    read: impl FnOnce(&mut File) -> io::Result<T>,
) -> io::Result<Option<T>> {
    let mut file = match folder.open_operation(number) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    file.seek(SeekFrom::Start(offset))?;
    read(&mut file).map(Some)
}
