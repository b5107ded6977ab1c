//! A container in an object store: input and output for the [core](crate::core).
//!
//! The head object is a [register](crate::register), and a commit is one swap of it. This module reads and puts the objects that manifests
//! name. A session of the core decides what may be swapped.

mod audit;
mod batch_read;
mod checkpoint;
mod closing;
mod committer;
mod copying;
mod dead_commits;
mod draft;
mod fetch;
mod filtering;
mod freed_places;
mod group_commit;
mod head;
mod io;
mod journal;
mod leftovers;
pub(crate) mod listing;
mod names;
mod note;
mod numbers;
mod open;
mod pack;
mod pack_gaps;
mod past;
mod queue_turn;
mod reclaim;
mod references;
mod replaced;
mod salvage;
mod segments;
mod staged;
mod storage;
mod store_clock;
mod uploads;
mod verified_ranges;
mod view;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use object_stores::{Key, ObjectStore, PutPayload};

pub(crate) use copying::{BegunCopy, create_copy};
pub(crate) use draft::create_whole;
pub(crate) use leftovers::{drain, forget, role_of};
pub(crate) use names::is_immutable;
pub(crate) use open::{break_lock, create, lock_holder, open, probe, remove};
pub(crate) use replaced::{list as replaced_of, restore, sweep_name};

use crate::address::Address;
use crate::buffers::{self, Scratch};
use crate::core::ids::ContainerId;
use crate::core::manifest::Manifest;
use crate::core::reclaim::is_held;
use crate::core::records::Segments;
use crate::error::{Error, ErrorKind, Result};
use crate::locks::Mutex;
use crate::options::{At, Writers};
use crate::register::{Load, Register};
use crate::storage::RemoteCommits;
use crate::store::verified_ranges::VerifiedRanges;
use fetch::Fetcher;
use names::Names;
use view::{NewCommits, View, new_commits};
use writer::Writer;

/// The maximum number of times that a reader loads the manifest again because an object that it names was deleted meanwhile.
const MAX_LOADS: u32 = 16;

/// A container in an object store.
#[derive(Debug)]
pub(crate) struct ObjectStorage {
    target: Arc<str>,
    store: Arc<dyn ObjectStore>,
    names: Names,
    fetcher: Fetcher,
    id: ContainerId,
    /// True if the container was made for extents in sources.
    is_for_sources: bool,
    register: Arc<dyn Register>,
    /// This lock is taken before that of `writer`.
    view: Mutex<View>,
    /// The state of a writer; `None` for readers.
    writer: Option<Mutex<Writer>>,
    writers: Writers,
    /// The version to show; `None` for the newest version.
    at: Option<At>,
    /// For a store in this process's memory: the ranges of objects that were verified.
    proven: Option<Arc<Mutex<VerifiedRanges>>>,
    /// A new container that is not published before it is complete.
    draft: Mutex<Option<draft::Draft>>,
    /// True if the snapshot in use was reclaimed.
    gone: AtomicBool,
    /// For a container in memory: protects its objects until this handle is dropped.
    _opened: Option<replaced::Opened>,
}

impl ObjectStorage {
    fn fetcher(&self) -> Fetcher {
        self.fetcher.clone()
    }

    fn fail(&self, kind: ErrorKind) -> Error {
        Error::new(&self.target, kind)
    }

    /// Calls `f` for a writer. Returns the default value for a reader.
    fn of_writer<T: Default>(&self, f: impl FnOnce(&mut Writer) -> T) -> T {
        self.writer.as_ref().map_or_else(T::default, |writer| f(&mut writer.lock()))
    }

    fn with_writer<T>(&self, f: impl FnOnce(&mut Writer) -> Result<T>) -> Result<T> {
        let Some(writer) = &self.writer else { return Err(self.fail(ErrorKind::ReadOnly)) };
        f(&mut writer.lock())
    }

    fn with_view<T>(&self, f: impl FnOnce(&mut Writer, &mut View) -> Result<T>) -> Result<T> {
        let Some(writer) = &self.writer else { return Err(self.fail(ErrorKind::ReadOnly)) };
        let mut view = self.view.lock();
        f(&mut writer.lock(), &mut view)
    }

    fn is_shared(&self) -> bool {
        self.writer.is_some() && self.writers == Writers::Many
    }

    /// Loads the newest manifest into a reader's view. Returns whether it is another manifest. Returns an error, and leaves the view
    /// unchanged, if the name leads to another container or to none.
    fn load(&self, view: &mut View) -> Result<bool> {
        let found = match self.register.load(Some(&view.token))? {
            Load::NotModified => return Ok(false),
            Load::Loaded(found, token) => found.map(|bytes| (bytes, token)),
        };
        let Some((bytes, token)) = found else { return Err(self.fail(ErrorKind::Gone)) };
        let manifest = head::decode(&bytes, &self.target)?;
        if manifest.id != self.id {
            return Err(self.fail(ErrorKind::Gone));
        }
        (view.manifest, view.token) = (Arc::new(manifest), token);
        Ok(true)
    }

    fn poll(&self, last: u64) -> Result<Option<RemoteCommits>> {
        let mut view = self.view.lock();
        if let Some(writer) = &self.writer {
            return self.poll_writer(&mut view, &mut writer.lock());
        }
        if let Some(at) = self.at.filter(|at| !matches!(at, At::Replaced(_))) {
            return self.old_version(&mut view, at);
        }
        let is_kept = matches!(self.at, Some(At::Replaced(_)));
        if view.reported.is_some() && !is_kept {
            match self.load(&mut view) {
                // The container was replaced or deleted. A reader continues with its snapshot as long as the objects exist.
                Err(e) if *e.kind() == ErrorKind::Gone => return Ok(None),
                loaded => drop(loaded?),
            }
        }
        let reload =
            |view: &mut View| if is_kept { Err(self.fail(ErrorKind::Gone)) } else { self.load(view) };
        let found = self.read_newest(&mut *view, reload, |view, fetcher| {
            new_commits(&view.manifest, view.reported, last, false, &mut view.segments, fetcher)
        })?;
        Ok(found.map(|found| self.report(&mut view, found)))
    }

    /// Reads objects that a manifest names. If one of them is missing, a vacuum may have deleted it since the manifest was loaded: then
    /// `reload` loads the manifest again, and returns whether it is another one.
    ///
    /// # Errors
    /// Those of `read` and `reload`; `Corrupt` if the newest manifest names an object that is missing.
    fn read_newest<C, T>(
        &self,
        context: &mut C,
        reload: impl Fn(&mut C) -> Result<bool>,
        read: impl Fn(&mut C, &Fetcher) -> Result<T>,
    ) -> Result<T> {
        let fetcher = self.fetcher();
        for _ in 0..MAX_LOADS {
            match read(context, &fetcher) {
                Err(e) if *e.kind() == ErrorKind::Gone => {
                    if !reload(context)? {
                        return Err(fetcher.corrupt("manifest", "an object that it names is missing"));
                    }
                }
                done => return done,
            }
        }
        Err(self.fail(ErrorKind::Gone))
    }

    /// Records in the view which version was reported to the ledger.
    fn report(&self, view: &mut View, found: NewCommits) -> RemoteCommits {
        self.gone.store(false, Ordering::Relaxed);
        view.reported = Some(found.reported);
        found.commits
    }

    fn poll_writer(&self, view: &mut View, w: &mut Writer) -> Result<Option<RemoteCommits>> {
        if view.reported.is_some() {
            if !self.is_shared() {
                return Ok(None);
            }
            w.committer.refresh()?;
        }
        self.known_commits(view, w)
    }

    /// Returns the commits that the writer knows and that were not reported to the ledger yet.
    fn known_commits(&self, view: &mut View, w: &mut Writer) -> Result<Option<RemoteCommits>> {
        let (reported, wants_skipped) = (view.reported, self.is_shared());
        let reload = |(_, w): &mut (&mut View, &mut Writer)| match reported {
            None => w.committer.refresh(),
            Some(_) => Err(self.fail(ErrorKind::Gone)),
        };
        let found = self.read_newest(&mut (&mut *view, &mut *w), reload, |(view, w), fetcher| {
            let known = w.committer.known();
            if known.id != self.id {
                return Err(committer::replaced(known.is_absent(), &self.target));
            }
            view.manifest = known.clone();
            new_commits(&known, reported, u64::MAX, wants_skipped, &mut w.io.segments, fetcher)
        })?;
        let Some(found) = found else { return Ok(None) };
        w.take_notes(&found.records);
        Ok(Some(self.report(view, found)))
    }

    /// Returns the commits that show an old version. They are reported only once.
    fn old_version(&self, view: &mut View, at: At) -> Result<Option<RemoteCommits>> {
        if view.reported.is_some() {
            return Ok(None);
        }
        let found = self.read_newest(
            view,
            |view| self.load(view),
            |view, fetcher| {
                let manifest = view.manifest.clone();
                let tags = reclaim::all_tags(&manifest, fetcher)?;
                let past = past::look_up(&manifest, at, &tags, &mut view.segments, fetcher)?;
                past::commits_of_past(&manifest, &past, &mut view.segments, fetcher)
            },
        )?;
        Ok(Some(self.report(view, found)))
    }

    /// Returns the error for a missing object: the snapshot in use was reclaimed, or is damaged. The newest manifest shows which.
    fn missing(&self, key: &Key) -> Error {
        let mut view = self.view.lock();
        let Some(reported) = view.reported else { return self.fail(ErrorKind::Gone) };
        let damaged = || Error::corrupt(&self.target, format!("object {key}"), "it is missing");
        if matches!(self.at, Some(At::Replaced(_))) {
            self.gone.store(true, Ordering::Relaxed);
            return self.fail(ErrorKind::Gone);
        }
        let mut newest = view.clone();
        let loaded = match &self.writer {
            Some(writer) => {
                let mut w = writer.lock();
                w.committer.refresh().map(|_| newest.manifest = w.committer.known())
            }
            None => self.load(&mut newest).map(drop),
        };
        if let (Some(At::Tag(name)), Ok(())) = (self.at, &loaded) {
            // A tag holds its version as long as it exists.
            let tags = reclaim::all_tags(&newest.manifest, &self.fetcher()).unwrap_or_default();
            if newest.manifest.id == self.id && !tags.iter().any(|tag| tag.name.as_str() == name.as_str()) {
                self.gone.store(true, Ordering::Relaxed);
                let why = "it is missing since the tag that kept this version was deleted";
                return Error::corrupt(&self.target, format!("object {key}"), why);
            }
        }
        let gone = match loaded {
            Err(e) if *e.kind() == ErrorKind::Gone => true,
            Err(e) => return e,
            Ok(()) if newest.manifest.id != self.id => true,
            Ok(()) => match reclaim::all_tags(&newest.manifest, &self.fetcher()) {
                Ok(tags) if !is_held(&newest.manifest, reported.version, tags.iter()) => true,
                // Staged changes of a concurrent writer may refer to objects that were reclaimed since.
                Ok(_) if self.is_shared() => match self.names(&newest.manifest, key) {
                    Ok(is_named) => !is_named,
                    Err(e) => return e,
                },
                Ok(_) => false,
                Err(e) => return e,
            },
        };
        if !gone {
            return damaged();
        }
        if self.writer.is_none() && self.at.is_none() && newest.manifest.id == self.id {
            (view.manifest, view.token) = (newest.manifest, newest.token);
        }
        self.gone.store(true, Ordering::Relaxed);
        self.fail(ErrorKind::Gone)
    }

    /// Returns whether a version that the manifest retains may need an object.
    fn names(&self, manifest: &Manifest, key: &Key) -> Result<bool> {
        let fetcher = self.fetcher();
        let name = key.as_str().rsplit('/').next().unwrap_or_default();
        let Some(object) = names::object_of(name) else { return Ok(true) };
        if fetcher.tables(&manifest.tables, |_| None)?.usage.contains_key(&object) {
            return Ok(true);
        }
        let line = &manifest.line;
        let over_root = (line.base(), line.version);
        let records = fetcher.records(line, over_root, &mut Segments::default())?;
        let data = records.iter().flat_map(|record| &record.parts).filter_map(|part| part.data());
        Ok(data.flat_map(|data| &data.notes.gained).any(|gained| gained.object == object))
    }

    /// Puts several payloads as one object. The writer is locked only to name and to count the object, so several threads can put objects
    /// at the same time.
    fn pack_of(&self, pieces: PutPayload, lengths: impl Iterator<Item = usize>) -> Result<Vec<Address>> {
        let object = self.with_writer(Writer::new_object)?;
        let mut total = 0;
        let mut place = |length: usize| {
            let place = Address { location: object.pack(), offset: total, length: length as u64 };
            total += length as u64;
            place
        };
        let places = lengths.map(&mut place).collect();
        let etag = Writer::put_pack(&self.fetcher(), object, pieces)?;
        self.with_writer(|w| {
            w.pack_arrived(object, etag, total);
            Ok(())
        })?;
        Ok(places)
    }

    /// Copies payloads into one buffer, one after the other. Returns `None` if there is not enough memory.
    fn joined(data: &[&[u8]], total: usize) -> Option<PutPayload> {
        let (mut bytes, mut at) = (buffers::try_take(total)?, 0);
        for data in data {
            bytes[at..at + data.len()].copy_from_slice(data);
            at += data.len();
        }
        Some(PutPayload::from(Bytes::from_owner(Scratch::from(bytes))))
    }
}
