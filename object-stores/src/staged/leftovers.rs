//! What writers left that died: found, brought to the store, or thrown away.

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

/// How long a stage of this process is waited for that ends.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// What a leftover brought to the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Operations: puts and deletions.
    pub operations: u64,
    /// Bytes of objects.
    pub bytes: u64,
}

/// The queue of a writer that is gone. No other process touches it while this is held.
#[derive(Debug)]
pub struct Leftover {
    about: About,
    folder: Folder,
    waiting: Vec<Queued>,
    damage: Option<String>,
}

/// The folders of queues in `dir`, of the container at a place or of all. Some may be of writers that live.
///
/// # Errors
/// Those of reading the folder.
pub fn leftovers(dir: &Path, place: Option<&str>) -> io::Result<Vec<(PathBuf, About)>> {
    // Without links in its name: the folders of this process are known by such names.
    match std::fs::canonicalize(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        dir => folder::list(&dir?, place),
    }
}

/// Whether a queue in `dir` that is of a store holds what was to outlive a loss of power. Then the store that it is brought to has to
/// sync, whatever its opener asked for.
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

/// Returns an object of a leftover that does not belong to the container which the leftover's name leads to now.
pub type Foreign<'a> = dyn Fn(&Leftover) -> Result<Option<Key>> + 'a;

/// The error of a queue that cannot arrive.
fn stuck(store: String, why: String) -> Error {
    Error::new(ErrorKind::StageBroken, Operation::Put).in_store(store).because(why)
}

/// Whether operations wait in the folder of a queue; one that cannot be read may have some.
pub fn has_operations(path: &Path) -> bool {
    folder::numbers(path).map_or(true, |numbers| !numbers.is_empty())
}

/// Whether a queue of a name lies in `dir` and holds nothing: all that was put into it has arrived, or was thrown away. A queue that
/// cannot be found proves nothing: the folder may be hidden from this process, or on a disk that is not mounted.
pub fn is_drained(dir: &Path, queue: &str) -> bool {
    let is_name = !queue.is_empty() && queue.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_name && folder::numbers(&dir.join(queue)).is_ok_and(|numbers| numbers.is_empty())
}

/// What a leftover brought to the store, and its folder. It is removed when nothing names it any more: until then it tells, because it
/// is there and empty, that all has arrived.
#[derive(Debug)]
pub struct Brought {
    /// Operations and bytes.
    pub arrival: Arrival,
    queue: Arc<Queue>,
}

impl Brought {
    /// The name of its queue.
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
    /// Takes one over; `None` while its writer lives.
    ///
    /// # Errors
    /// What keeps the folder from being read.
    pub fn open(path: &Path, about: About) -> io::Result<Option<Self>> {
        let Some(folder) = Folder::adopt(path)? else { return Ok(None) };
        let (waiting, damage) = folder.operations()?;
        Ok(Some(Leftover { about, folder, waiting, damage }))
    }

    /// Whose it is.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The name of its queue.
    pub fn queue(&self) -> &str {
        self.folder.name()
    }

    /// What waits in it.
    pub fn waiting(&self) -> Arrival {
        let bytes = self.waiting.iter().map(Queued::length).sum();
        Arrival { operations: self.waiting.len() as u64, bytes }
    }

    /// What is wrong with its files, if anything is.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// The operations that wait in it, in their order.
    pub fn pending(&self) -> impl Iterator<Item = Pending<'_>> {
        self.waiting.iter().map(|queued| Pending { folder: &self.folder, queued })
    }

    /// Brings all that is whole to the store of its container, unless it is `foreign` there. The caller holds the container's lock, and
    /// [removes](Brought::remove) the folder once no lock object names it.
    ///
    /// # Errors
    /// If something is another writer's by now, or damaged, or does not arrive. Then the folder stays with what did not.
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

    /// Throws it away.
    ///
    /// # Errors
    /// Those of deleting files.
    pub fn discard(self) -> io::Result<()> {
        self.folder.remove()
    }
}

impl StagedStore {
    /// Whether an earlier writer of the container left something in the folder of stages.
    ///
    /// # Errors
    /// Those of reading the folder.
    pub fn has_leftovers(&self) -> io::Result<bool> {
        let found = folder::list(&self.dir, Some(&self.about.place))?;
        Ok(found.iter().any(|(path, _)| path != self.queue.folder.path()))
    }

    /// A leftover, if its writer is gone. A stage of this process that has just ended is waited for.
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

    /// Whether a queue of a name is an earlier writer's of this very container.
    pub fn has_queue(&self, queue: &str) -> bool {
        let all = folder::list(&self.dir, Some(&self.about.place)).unwrap_or_default();
        all.iter().any(|(path, _)| path.file_name().is_some_and(|name| name == queue))
    }

    /// Brings to the store what earlier writers of the container left here. Whoever calls this holds the container's lock, and
    /// [removes](Brought::remove) the folders once no lock object names them.
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
                // Whoever replaced the container did not want it.
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
