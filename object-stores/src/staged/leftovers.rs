//! Queues of writers that died: finds them, uploads them to the store, or discards them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::folder::{self, About, Folder};
use super::operation::{Action, Queued, read_content};
use super::queue::Queue;
use super::{StagedStore, drain};
use crate::{Error, ErrorKind, Key, ObjectStore, Operation, Result};

/// The time to wait for a stage of this process that is just ending.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The amount that a leftover uploaded to the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// The number of operations: puts and deletions.
    pub operations: u64,
    /// The number of bytes of objects.
    pub bytes: u64,
}

/// The queue of a writer that has ended. No other process touches the queue while this is held.
#[derive(Debug)]
pub struct Leftover {
    about: About,
    folder: Folder,
    waiting: Vec<Queued>,
    damage: Option<String>,
}

/// Lists the folders of queues in `dir`, of the container at `place` or of all containers. Writers of some may still be
/// running.
///
/// # Errors
/// Those of reading the folder.
pub fn leftovers(dir: &Path, place: Option<&str>) -> io::Result<Vec<(PathBuf, About)>> {
    // The path must contain no symbolic links, because the set of this process's folders uses such paths.
    match std::fs::canonicalize(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        dir => folder::list(&dir?, place),
    }
}

/// Returns whether any queue in `dir` for the store at `url` was written with power-loss durability. If so, the store
/// that receives the queue has to sync its writes, whatever its opener requested.
pub fn needs_sync(dir: &Path, url: &str) -> bool {
    leftovers(dir, None).is_ok_and(|all| all.iter().any(|(_, about)| about.sync && about.url == url))
}

/// A pending operation of a [`Leftover`].
#[derive(Clone, Copy, Debug)]
pub struct Pending<'a> {
    folder: &'a Folder,
    queued: &'a Queued,
}

impl<'a> Pending<'a> {
    /// The objects that the operation puts or deletes.
    pub fn keys(&self) -> &'a [Key] {
        self.queued.keys()
    }

    /// Returns whether the operation deletes objects.
    pub fn is_deletion(&self) -> bool {
        matches!(self.queued.action, Action::Delete(_))
    }

    /// Reads the bytes that the operation puts: none for a deletion.
    ///
    /// # Errors
    /// `InvalidData` if the bytes are damaged; those of reading the file.
    pub fn read(&self) -> io::Result<Bytes> {
        match self.queued.action {
            Action::Put { content, .. } => {
                read_content(self.folder.open_operation(self.queued.number)?, content)
            }
            Action::Delete(_) => Ok(Bytes::new()),
        }
    }
}

/// A function that returns an object of a leftover that does not belong to the container which the leftover's name
/// leads to now.
pub type Foreign<'a> = dyn Fn(&Leftover) -> Result<Option<Key>> + 'a;

/// Returns the error for a queue from which an operation cannot arrive in the store.
fn stuck(store: String, why: String) -> Error {
    Error::new(ErrorKind::StageBroken, Operation::Put).in_store(store).because(why)
}

/// Returns whether operations are pending in the folder of a queue; true if the folder cannot be read.
pub fn has_operations(path: &Path) -> bool {
    folder::numbers(path).map_or(true, |numbers| !numbers.is_empty())
}

/// Returns whether the queue with this name exists in `dir` and is empty: all its operations have arrived, or were
/// discarded. A missing queue proves nothing: the folder may be hidden from this process, or on a disk that is not
/// mounted.
pub fn is_drained(dir: &Path, queue: &str) -> bool {
    let is_name = !queue.is_empty() && queue.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_name && folder::numbers(&dir.join(queue)).is_ok_and(|numbers| numbers.is_empty())
}

/// The result of draining a leftover, with its folder. The folder is removed once no lock object names it any more:
/// until then, that it exists and is empty shows that all operations have arrived.
#[derive(Debug)]
pub struct Brought {
    /// The number of operations and bytes.
    pub arrival: Arrival,
    queue: Arc<Queue>,
}

impl Brought {
    /// Returns the name of the queue.
    pub fn queue(&self) -> &str {
        self.queue.folder.name()
    }

    /// Removes the folder.
    pub fn remove(self) {
        if let Err(e) = self.queue.folder.remove() {
            tracing::warn!(error = %e, folder = %self.queue.folder.path().display(), "an empty stage was not removed");
        }
    }
}

impl Leftover {
    /// Takes over a leftover; returns `None` while its writer is alive.
    ///
    /// # Errors
    /// Those of reading the folder.
    pub fn open(path: &Path, about: About) -> io::Result<Option<Self>> {
        let Some(folder) = Folder::adopt(path)? else { return Ok(None) };
        let (waiting, damage) = folder.operations()?;
        Ok(Some(Leftover { about, folder, waiting, damage }))
    }

    /// Returns the description of the queue: its container and its writer.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Returns the name of the queue.
    pub fn queue(&self) -> &str {
        self.folder.name()
    }

    /// Returns the amount of pending operations and bytes.
    pub fn waiting(&self) -> Arrival {
        let bytes = self.waiting.iter().map(Queued::length).sum();
        Arrival { operations: self.waiting.len() as u64, bytes }
    }

    /// Returns what is wrong with the queue's files, if anything is.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Returns the pending operations in their order.
    pub fn pending(&self) -> impl Iterator<Item = Pending<'_>> {
        self.waiting.iter().map(|queued| Pending { folder: &self.folder, queued })
    }

    /// Uploads all intact operations to the store of their container, unless `foreign` returns an object. The caller
    /// holds the container's lock, and [removes](Brought::remove) the folder once no lock object names it.
    ///
    /// # Errors
    /// If an object belongs to another writer by now, or is damaged, or does not arrive. The folder then stays, with
    /// the operations that did not arrive.
    pub fn drain(
        self,
        inner: Arc<dyn ObjectStore>,
        patience: Duration,
        foreign: &Foreign<'_>,
    ) -> Result<Brought> {
        let path = self.folder.path().to_owned();
        if inner.place_of(&self.about.key) != self.about.place {
            return Err(stuck(inner.name(), format!("{} is of another container", path.display())));
        }
        let arrival = self.waiting();
        if let Some(key) = foreign(&self)? {
            let why = format!(
                "{} holds {key}, which is no object of the container that lies there now: its own was deleted or replaced since. The {} \
                 operations ({} bytes) in it stay; 'h5lake drain --discard' throws them away",
                path.display(),
                arrival.operations,
                arrival.bytes,
            );
            return Err(stuck(inner.name(), why));
        }
        let Leftover { folder, waiting, damage, .. } = self;
        let queue = Queue::new(inner, folder, waiting, patience);
        let drained = drain::start(&queue).map_err(|e| queue.io(e)).and_then(|()| queue.drain());
        queue.end();
        drained?;
        if let Some(damage) = damage {
            let why = format!(
                "all before it arrived, and {}: {damage}. What follows stays there; 'h5lake drain --discard' throws it away",
                path.display()
            );
            return Err(stuck(queue.inner.name(), why));
        }
        Ok(Brought { arrival, queue })
    }

    /// Deletes the leftover without uploading it.
    ///
    /// # Errors
    /// Those of deleting files.
    pub fn discard(self) -> io::Result<()> {
        self.folder.remove()
    }
}

impl StagedStore {
    /// Returns whether an earlier writer of the container left a queue in the staging directory.
    ///
    /// # Errors
    /// Those of reading the folder.
    pub fn has_leftovers(&self) -> io::Result<bool> {
        let found = folder::list(&self.dir, Some(&self.about.place))?;
        Ok(found.iter().any(|(path, _)| path != self.queue.folder.path()))
    }

    /// Takes over a leftover, if its writer has ended. Waits for a stage of this process that is just ending.
    fn adopt(&self, path: &Path, about: About) -> io::Result<Option<Leftover>> {
        if path == self.queue.folder.path() {
            return Ok(None);
        }
        let until = Instant::now() + MAX_WAIT;
        while folder::is_ours(path) {
            if Instant::now() > until {
                let why = format!(
                    "a file that this process has open still uses {}; close it first",
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Leftover::open(path, about)
    }

    /// Returns whether the queue with this name belongs to an earlier writer of this very container.
    pub fn has_queue(&self, queue: &str) -> bool {
        let all = folder::list(&self.dir, Some(&self.about.place)).unwrap_or_default();
        all.iter().any(|(path, _)| path.file_name().is_some_and(|name| name == queue))
    }

    /// Uploads to the store the queues that earlier writers of the container left here. The caller holds the
    /// container's lock, and [removes](Brought::remove) the folders once no lock object names them.
    ///
    /// # Errors
    /// As for [`Leftover::drain`].
    pub fn recover(&self, foreign: &Foreign<'_>) -> Result<Vec<Brought>> {
        let failed = |e| {
            Error::io(Operation::Open, e)
                .in_store(self.inner.name())
                .because(format!("the stage {} cannot be read", self.dir.display()))
        };
        let mut all = Vec::new();
        for (path, about) in folder::list(&self.dir, Some(&self.about.place)).map_err(failed)? {
            let Some(leftover) = self.adopt(&path, about).map_err(failed)? else { continue };
            if let Some(key) = foreign(&leftover)? {
                // The operations belong to the container that was replaced, so they are not uploaded.
                tracing::warn!(path = %path.display(), %key, "the stage holds what belongs to a container that was replaced");
                continue;
            }
            let (host, pid) = (leftover.about.host.clone(), leftover.about.pid);
            let brought = leftover.drain(self.inner.clone(), self.queue.patience, &|_| Ok(None))?;
            let Arrival { operations, bytes } = brought.arrival;
            tracing::info!(
                host,
                pid,
                operations,
                bytes,
                "brought to the store what an earlier writer had staged"
            );
            all.push(brought);
        }
        Ok(all)
    }
}
