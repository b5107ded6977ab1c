//! What a forked child sees of its parent's stage, without the parent's locks: another thread may have held them at the fork.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::folder;
use super::operation::Queued;
use super::queue::Queue;
use crate::per_process::PerProcess;
use crate::{Key, Result};

type Newest = HashMap<Key, Arc<Queued>>;

/// The parent's queue as its files show it, looked at once in each child.
pub(super) struct Inherited(PerProcess<Newest>);

impl Inherited {
    pub(super) const fn new() -> Self {
        Inherited(PerProcess::new())
    }

    /// The newest operation of a key that is queued.
    pub(super) fn newest(&self, queue: &Queue, key: &Key) -> Result<Option<Arc<Queued>>> {
        let newest = self.0.get_or_make(|| look(queue.folder.path())).map_err(|e| queue.io(e))?;
        Ok(newest.get(key).cloned())
    }
}

fn look(path: &Path) -> io::Result<Newest> {
    let mut newest = Newest::new();
    let numbers = match folder::numbers(path) {
        // The parent has drained all, and closed.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(newest),
        other => other?,
    };
    for number in numbers {
        match Queued::read(&folder::file_of(path, number), number) {
            Ok(queued) => {
                let queued = Arc::new(queued);
                for key in queued.keys() {
                    newest.insert(key.clone(), queued.clone());
                }
            }
            // It has arrived since.
            Err(e) if e.kind() == io::ErrorKind::NotFound => (),
            Err(e) => return Err(e),
        }
    }
    Ok(newest)
}

/// Does something with a file from a place on; `None` if the file is gone.
pub(super) fn read_at<T>(
    path: &Path,
    offset: u64,
    read: impl FnOnce(&mut File) -> io::Result<T>,
) -> io::Result<Option<T>> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    file.seek(SeekFrom::Start(offset))?;
    read(&mut file).map(Some)
}
