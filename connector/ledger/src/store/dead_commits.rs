//! Queued commits of processes that have ended.
//!
//! A leader may include a queued commit long after its process was killed. If a new process continues the work of the
//! killed one, such a commit would conflict with the first changes of the new process. So a writer that opens a
//! container cancels the queued commits of processes of the same machine that no longer run. If such a process runs
//! after all, in another namespace of process ids, its commit fails and is made again.

use object_stores::Key;

use super::ObjectStorage;
use super::group_commit::{list, read};
use super::io::Io;
use super::note::Note;
use super::view::View;
use super::writer::Writer;
use crate::author::Author;
use crate::core::change::Change;
use crate::core::group::{Member, undecided};
use crate::core::manifest::Manifest;
use crate::error::Result;
use crate::liveness;

impl ObjectStorage {
    /// Cancels the queued commits of processes of this machine that have ended. When this returns, none of them takes
    /// effect any more.
    ///
    /// # Errors
    /// Those of the store. The container can be used nevertheless.
    pub(super) fn cancel_dead_commits(&self) -> Result<()> {
        self.with_view(|w, view| w.cancel_dead_commits(view))
    }
}

impl Writer {
    fn cancel_dead_commits(&mut self, view: &mut View) -> Result<()> {
        let fetcher = self.io.fetcher.clone();
        let keys: Vec<Key> = list(&fetcher, self.present())?.into_iter().map(|meta| meta.key).collect();
        // A leader deletes queued commits after its swap. So the manifest after the list shows all commits that the list misses.
        self.committer.refresh()?;
        view.manifest = self.committer.known();
        let queued = keys.iter().zip(read(&fetcher, &keys));
        let dead = queued.filter_map(|(key, member)| Some((key.clone(), member.filter(is_of_dead)?)));
        let (keys, members): (Vec<Key>, Vec<Member>) = dead.unzip();
        let known = self.committer.known();
        if let Some(change) = cancellation(&mut self.io, &known, &members)? {
            self.make(change, &mut |io, _, on| cancellation(io, on, &members))?;
            view.manifest = self.committer.known();
        }
        if !keys.is_empty() {
            let _garbage_at_worst = fetcher.store.delete_many(&keys);
        }
        Ok(())
    }
}

/// Returns whether the process that queued a commit ran on this machine and has ended.
fn is_of_dead(member: &Member) -> bool {
    let Author { host, pid, .. } = Note::of(&member.data.author).author;
    host == Author::myself().host && !liveness::is_running(pid)
}

/// Returns the change that cancels queued commits on a manifest; `None` if none of them can take effect any more.
fn cancellation(io: &mut Io, manifest: &Manifest, members: &[Member]) -> Result<Option<Change>> {
    let line = &manifest.line;
    let nonces = match undecided(line, members, &io.segments) {
        Ok(nonces) => nonces,
        Err(unread) => {
            let fetcher = io.fetcher.clone();
            fetcher.segments(&unread, &mut io.segments)?;
            let missing = |_| fetcher.corrupt("segment", "it is not there although it was read");
            undecided(line, members, &io.segments).map_err(missing)?
        }
    };
    let is_needed = !nonces.is_empty();
    Ok(is_needed.then_some(Change::CancelQueued { on: line.version, nonces }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use object_stores::{MemoryStore, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

    use super::*;
    use crate::core::ids::{Nonce, SessionId};
    use crate::core::records::Data;
    use crate::options::{Access, Options, Replace, Writers};
    use crate::store::open::{create, open};

    fn queued(session: u64, view: u64, pid: u32) -> Member {
        let author = Note { author: Author { pid, ..Author::myself() }, bytes: 0 }.encode();
        let data = Data { author, entries: Bytes::from_static(&[0]), ..Data::default() };
        let nonce = Nonce { session: SessionId(session), count: 1 };
        Member { nonce, view, data, conditions: Vec::new() }
    }

    #[test]
    fn queued_commits_of_dead_processes_are_cancelled_when_a_writer_opens() {
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let opts = Options { writers: Writers::Many, ..Options::default() };
        let first = create(store.clone(), "c", Replace::Fail, &opts, Some(&[0])).unwrap();
        let view = first.with_view(|w, _| Ok(w.committer.known().sequence)).unwrap();
        let (dead, alive) = (queued(7, view, u32::MAX), queued(8, view, std::process::id()));
        for (name, member) in [("queue/1", &dead), ("queue/2", &alive)] {
            let key = first.names.key(name, "c").unwrap();
            store.put(&key, PutPayload::from(member.encode()), PutMode::Overwrite).unwrap();
        }
        let next = open(store.clone(), "c", Access::ReadWrite, &opts).unwrap();
        let known = next.with_view(|w, _| Ok(w.committer.known())).unwrap();
        let undecided = undecided(&known.line, &[dead.clone(), alive.clone()], &Default::default());
        assert_eq!(undecided, Ok(vec![alive.nonce]));
        let left: Vec<_> = store.list(&next.names.queue(), None).map(|meta| meta.unwrap().key).collect();
        assert_eq!(left, [first.names.key("queue/2", "c").unwrap()]);
        assert_eq!(known.line.number, 1, "a cancel record makes no version");
    }
}
