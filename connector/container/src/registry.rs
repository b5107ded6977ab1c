//! The registry of the containers that are open in this process, through which a container is opened once and shared.

use crate::{Container, Target};
use h5lake_ledger::locks::{Mutex, MutexGuard};
use h5lake_ledger::{At, OpenedFile};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Weak};

/// The key of an open container: its target, and the version that it shows unless that is the newest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RegistryKey(RegistryTarget, Option<At>);

/// The identity of a target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum RegistryTarget {
    /// A file by device and inode, so that links to it and other spellings of its path are equal.
    File(u64, u64),
    /// A path at which the system knows no file.
    Path(PathBuf),
    /// An object of a store, as [`ObjectStore::place_of`](object_stores::ObjectStore::place_of) calls it.
    Key(String),
}

#[derive(Default)]
pub(crate) struct OpenContainers(HashMap<RegistryKey, Weak<Container>>);

static OPEN: LazyLock<Mutex<OpenContainers>> = LazyLock::new(Mutex::default);
/// Keys of containers that were dropped while `OPEN` was locked.
static GONE: Mutex<Vec<RegistryKey>> = Mutex::new(Vec::new());

/// Locks the registry, so that opens and creations run one by one.
pub(crate) fn lock() -> MutexGuard<'static, OpenContainers> {
    let mut open = OPEN.lock();
    open.sweep();
    open
}

/// Removes a container that is being dropped. Never blocks, because the drop may happen under the lock.
pub(crate) fn remove(place: &RegistryKey) {
    GONE.lock().push(place.clone());
    if let Some(mut open) = OPEN.try_lock() {
        open.sweep();
    }
}

impl OpenContainers {
    fn sweep(&mut self) {
        for place in std::mem::take(&mut *GONE.lock()) {
            if self.0.get(&place).is_some_and(|c| c.strong_count() == 0) {
                self.0.remove(&place);
            }
        }
    }

    /// Returns the container that this process has open for a target. The following containers are not returned, so that the caller opens a
    /// new one: a container inherited from a parent process, a container with changes that can never be committed, a snapshot that was
    /// reclaimed, a container in a file that another program replaced in place, and a container in a file with a descriptor that other code
    /// closed.
    pub(crate) fn find(
        &self,
        target: &Target,
        opened: Option<&OpenedFile>,
        at: Option<At>,
    ) -> Option<Arc<Container>> {
        let place =
            opened.map_or_else(|| place(target), |file| RegistryTarget::File(file.id().0, file.id().1));
        self.0
            .get(&RegistryKey(place, at))
            .and_then(Weak::upgrade)
            .filter(|c| c.is_ours() && !c.is_lost() && !c.ledger.is_gone() && c.ledger.is_current())
    }

    pub(crate) fn add(&mut self, target: &Target, at: Option<At>, container: &Arc<Container>) {
        // The identity of the open file, even if its path leads to another file by now.
        let place = match container.ledger.identity().file {
            Some((device, inode)) => RegistryTarget::File(device, inode),
            None => place(target),
        };
        let place = RegistryKey(place, at);
        self.0.insert(place.clone(), Arc::downgrade(container));
        container.set_place(place);
    }
}

fn place(target: &Target) -> RegistryTarget {
    match target {
        Target::File(path) => match std::fs::metadata(path) {
            Ok(m) => RegistryTarget::File(m.dev(), m.ino()),
            Err(_) => RegistryTarget::Path(path.clone()),
        },
        Target::Objects { store, key, .. } => RegistryTarget::Key(store.place_of(key)),
    }
}
