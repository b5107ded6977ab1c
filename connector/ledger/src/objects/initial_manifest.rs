//! The first head of a new container: what names it, and what it replaces.
//!
//! Where the program only asked for the new container to take a name, it goes on while the head is on its way: whatever would not be
//! there without the head waits for it, the first commit above all. So does whoever asks for the container in the same process.

use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use object_stores::{Condition, Etag, Key, ObjectStore, PutMode};

use crate::locks::{Condvar, Mutex};
use crate::objects::lock;
use crate::objects::manifest::{put_or_find, put_over};
use crate::objects::replaced::{End, Outgoing};
use crate::objects::uploads::PutAnswer;
use crate::options::Replace;
use crate::process;

/// When the first head of a new container is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstHeadPut {
    /// At once, or on its way at once.
    Soon,
    /// Behind the first commit: until then nobody finds the container.
    AfterTheFirstCommit,
}

/// A head that is to be the first of its container.
#[derive(Debug)]
pub(super) struct InitialManifest {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) key: Key,
    pub(super) bytes: Bytes,
    pub(super) replace: Replace,
    /// The etag of what lies there and is to be replaced.
    pub(super) over: Option<Option<Etag>>,
    /// The container that is replaced.
    pub(super) replaced: Option<Outgoing>,
    pub(super) target: String,
}

impl InitialManifest {
    /// Puts it; what it replaces stays for the retention time. A repetition is harmless.
    pub(super) fn put(&self) -> PutAnswer {
        if let Some(outgoing) = &self.replaced {
            outgoing.bury(self.store.as_ref(), End::Replaced, &self.target)?;
        }
        let put = match &self.over {
            Some(etag) => put_over(self.store.as_ref(), &self.key, self.bytes.clone(), etag.as_ref()),
            None => self.put_new(),
        }?;
        if let Some(outgoing) = &self.replaced
            // The new container is in place; what is left of old ones is garbage at worst.
            && let Err(e) = outgoing.let_go(self.store.as_ref(), &self.target)
        {
            tracing::warn!(error = %e, "a replaced container was not deleted whole");
        }
        Ok(put)
    }

    fn put_new(&self) -> PutAnswer {
        if self.replace == Replace::Atomically || !self.store.honours(Condition::Create) {
            return put_over(self.store.as_ref(), &self.key, self.bytes.clone(), None);
        }
        // The id in the head is random.
        put_or_find(self.store.as_ref(), &self.key, self.bytes.clone(), PutMode::Create)
    }

    /// Holds it back until somebody waits for it.
    pub(super) fn hold(self) -> PendingPut {
        PendingPut { head: Arc::new(self), thread: None, owner: process::id() }
    }

    /// Sends it on its way.
    pub(super) fn send(self) -> PendingPut {
        let head = Arc::new(self);
        let sent = head.clone();
        let announced = Announced::new(&head.target);
        let put = move || {
            let _until_it_is_there = announced;
            sent.put()
        };
        // Without a thread it is put when somebody waits for it.
        let thread = std::thread::Builder::new().name("h5lake-head".into()).spawn(put).ok();
        PendingPut { head, thread, owner: process::id() }
    }
}

/// A first head on its way.
#[derive(Debug)]
pub(super) struct PendingPut {
    head: Arc<InitialManifest>,
    /// `None` when it is over and failed.
    thread: Option<JoinHandle<PutAnswer>>,
    /// The process that the thread is in.
    owner: u32,
}

impl PendingPut {
    /// Whether it can be waited for: a forked child has none of its parent's threads, and puts nothing.
    pub(super) fn is_own(&self) -> bool {
        self.owner == process::id()
    }

    /// Changes what one says that is held back.
    pub(super) fn say(&mut self, bytes: Bytes) {
        // One that was sent has its own thread to put it, and is none that is held back.
        if let Some(head) = Arc::get_mut(&mut self.head) {
            head.bytes = bytes;
        }
    }

    /// Waits until it is there. After a failure another call tries again.
    pub(super) fn wait(&mut self) -> PutAnswer {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(put)) => put,
            _ => self.head.put(),
        }
    }
}

/// The containers whose heads are on their way, each with the process whose thread that is.
static ON_THEIR_WAY: LazyLock<Mutex<Vec<(u32, String)>>> = LazyLock::new(Mutex::default);
static ONE_ARRIVED: Condvar = Condvar::new();

/// Says that a container's head is on its way, until it is dropped.
struct Announced((u32, String));

impl Announced {
    fn new(target: &str) -> Self {
        let this = (process::id(), target.to_owned());
        lock(&ON_THEIR_WAY).push(this.clone());
        Self(this)
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let mut all = lock(&ON_THEIR_WAY);
        if let Some(at) = all.iter().position(|one| *one == self.0) {
            all.swap_remove(at);
        }
        ONE_ARRIVED.notify_all();
    }
}

/// Waits while a first head of a container is on its way from this process: what another handle has made is to be found. A forked
/// child has none of its parent's threads, and does not wait for them.
pub(super) fn wait_for(target: &str) {
    let me = process::id();
    let mut all = lock(&ON_THEIR_WAY);
    while all.iter().any(|(process, name)| *process == me && name == target) {
        ONE_ARRIVED.wait(&mut all);
    }
}
