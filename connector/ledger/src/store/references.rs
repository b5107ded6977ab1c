//! Tags: references of the manifest that hold versions.

use std::sync::Arc;

use super::ObjectStorage;
use super::fetch::Fetcher;
use super::io::Io;
use super::note::mark_of;
use super::past;
use super::reclaim::{all_tags, tags_with};
use super::view::View;
use super::writer::Writer;
use crate::address::{Location, PageRef};
use crate::clock::micros;
use crate::core::change::{Change, NewTag, Reject};
use crate::core::events::Outcome;
use crate::core::history::Mark;
use crate::core::ids::{Name, Nonce};
use crate::core::manifest::Manifest;
use crate::core::references::{Tag, encode_page};
use crate::core::runs::Table;
use crate::core::usage::Dead;
use crate::error::{Error, ErrorKind, Result};
use crate::options::At;
use crate::tags::{TagEntry, TagName, Tagging};

/// The latest time of a tag, in microseconds since 1970: some 70,000 years.
const MAX_TIME: u64 = 1 << 61;

/// The maximum number of attempts to remove a tag that other writers move.
const MAX_ATTEMPTS: u32 = 16;

/// Converts a tag for the ledger.
fn entry_of(tag: &Tag) -> Option<(TagName, TagEntry)> {
    let name = TagName::new(tag.name.as_str())?;
    let entry =
        TagEntry { mark: mark_of(&tag.mark), tagged: tag.made, until: tag.until, ..TagEntry::default() };
    Some((name, entry))
}

/// Returns the tags of a manifest in the order of their names.
fn sorted_tags(manifest: &Manifest, fetcher: &Fetcher) -> Result<Vec<Tag>> {
    let mut all = all_tags(manifest, fetcher)?;
    all.sort_unstable_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    Ok(all)
}

/// Returns the number of bytes of the dead extents that a version needs.
fn bytes_held(dead: &Table<Dead>, version: u64) -> u64 {
    let held = dead.iter().filter(|dead| dead.birth <= version && version < dead.death);
    held.fold(0, |sum, dead| sum.saturating_add(dead.place.length))
}

fn core_name(name: &TagName, target: &str) -> Result<Name> {
    Name::new(name.as_str()).ok_or_else(|| Error::invalid(target, TagName::RULE))
}

/// A tag to be made.
struct Wanted {
    name: Name,
    mark: Mark,
    made: u64,
    until: Option<u64>,
    replace: bool,
}

/// Prepares the change that makes a tag on a manifest.
fn prepared(io: &Io, manifest: &Manifest, wanted: &Wanted) -> Result<Change> {
    let read = io.fetcher.tags(&manifest.references)?;
    let all = tags_with(manifest, &read, &io.fetcher)?;
    let there = all.iter().find(|tag| tag.name == wanted.name).filter(|_| wanted.replace);
    let replaces = there.map(|tag| (tag.id, read.tags.iter().any(|stored| stored.id == tag.id)));
    Ok(Change::Tag(Box::new(NewTag {
        name: wanted.name.clone(),
        mark: wanted.mark.clone(),
        made: wanted.made,
        until: wanted.until,
        publication: None,
        replaces,
        read,
    })))
}

impl Writer {
    /// Makes a tag of a version; `None` is the newest version.
    fn tag(
        &mut self,
        view: &mut View,
        name: &TagName,
        at: Option<At>,
        how: Tagging,
    ) -> Result<(TagName, TagEntry)> {
        let target = self.io.fetcher.target.clone();
        let mark = self.mark_to_tag(view, at)?;
        let made = self.present();
        let until = how.keep.map(|keep| made.saturating_add(micros(keep)).min(MAX_TIME));
        let wanted = Wanted { name: core_name(name, &target)?, mark, made, until, replace: how.replace };
        let change = prepared(&self.io, &self.committer.known(), &wanted)?;
        let done = self.make(change, &mut |io, _, on| prepared(io, on, &wanted).map(Some))?;
        view.manifest = self.committer.known();
        let tags = all_tags(&view.manifest, &self.io.fetcher)?;
        let found = tags.iter().find(|tag| tag.name == wanted.name);
        match (done, found) {
            (Outcome::Done { .. }, Some(tag)) => {
                self.fold_tags(view);
                entry_of(tag).ok_or_else(|| Error::new(&target, ErrorKind::Conflict))
            }
            (Outcome::Rejected(Reject::NameTaken), Some(tag)) => {
                let (name, version) = (name.to_string(), tag.mark.number);
                Err(Error::new(&target, ErrorKind::TagExists { name, version }))
            }
            (Outcome::Rejected(Reject::NotHeld), _) => {
                let at = At::Version(wanted.mark.number);
                let fetcher = self.io.fetcher.clone();
                Err(past::not_kept(&view.manifest, at, &mut self.io.segments, &fetcher)?)
            }
            (Outcome::Done { .. } | Outcome::NotCommitted | Outcome::Rejected(Reject::NameTaken), _) => {
                Err(Error::new(&target, ErrorKind::Conflict))
            }
            (other, _) => Err(self.committer.failure(&other)),
        }
    }

    fn mark_to_tag(&mut self, view: &View, at: Option<At>) -> Result<Mark> {
        let fetcher = self.io.fetcher.clone();
        let known = self.committer.known();
        let tags = all_tags(&known, &fetcher)?;
        let at = match at {
            Some(at @ (At::Branch(_) | At::Replaced(_))) => {
                let why = format!("{at} is no version of its own; name a version of the main line");
                return Err(Error::invalid(&fetcher.target, why));
            }
            Some(at) => at,
            None => At::Version(self.reported(view)?.number),
        };
        if at == At::Version(0) {
            return Ok(Mark::default());
        }
        Ok(past::look_up(&known, at, &tags, &mut self.io.segments, &fetcher)?.mark)
    }

    /// Moves inline references into a page if there are many. If this fails, the next tag tries again.
    fn fold_tags(&mut self, view: &mut View) {
        let known = self.committer.known();
        if !known.references.wants_fold() {
            return;
        }
        let folded = self.put_tags(&known).and_then(|page| {
            let seen = Box::new((*known.references).clone());
            self.make(Change::FoldTags { page: Some(page), seen }, &mut |_, _, _| Ok(None))
        });
        if let Err(e) = folded {
            tracing::debug!(error = %e, "references were not folded");
        }
        view.manifest = self.committer.known();
    }

    fn put_tags(&mut self, known: &Arc<Manifest>) -> Result<PageRef> {
        let all = all_tags(known, &self.io.fetcher)?;
        let object = self.new_object()?;
        self.io.put_page(object, encode_page(&all))
    }

    /// Removes tags, and returns how many there were. Names without a tag are ignored.
    fn untag(&mut self, view: &mut View, names: &[TagName]) -> Result<usize> {
        names.iter().try_fold(0, |removed, name| Ok(removed + usize::from(self.untag_one(view, name)?)))
    }

    /// Removes the tag of a name, and returns whether there was one. If another writer moves the tag meanwhile, removes the moved tag.
    fn untag_one(&mut self, view: &mut View, name: &TagName) -> Result<bool> {
        let fetcher = self.io.fetcher.clone();
        for _ in 0..MAX_ATTEMPTS {
            let known = self.committer.known();
            let mut tags = all_tags(&known, &fetcher)?.into_iter();
            let Some(tag) = tags.find(|tag| tag.name.as_str() == name.as_str()) else { return Ok(false) };
            let change = untag(&known, tag.id, &fetcher)?;
            let done = self.make(change, &mut |io, _, on| untag(on, tag.id, &io.fetcher).map(Some))?;
            view.manifest = self.committer.known();
            match done {
                Outcome::Done { .. } => return Ok(true),
                Outcome::Rejected(Reject::NoSuchTag) => (),
                Outcome::NotCommitted => break,
                other => return Err(self.committer.failure(&other)),
            }
        }
        Err(Error::new(&fetcher.target, ErrorKind::Conflict))
    }
}

fn untag(manifest: &Manifest, id: Nonce, fetcher: &Fetcher) -> Result<Change> {
    let read = fetcher.tags(&manifest.references)?;
    let is_stored = read.tags.iter().any(|tag| tag.id == id);
    Ok(Change::Untag { id, is_stored, since: manifest.references.since })
}

impl ObjectStorage {
    /// Returns the newest manifest that is available to this handle.
    pub(super) fn newest(&self) -> Result<Arc<Manifest>> {
        match &self.writer {
            Some(writer) => {
                let mut w = writer.lock();
                // An unknown outcome is determined by the next commit, and not here.
                if !w.committer.is_in_doubt() {
                    w.committer.refresh()?;
                }
                Ok(w.committer.known())
            }
            None => {
                let mut newest = self.view.lock().clone();
                match self.load(&mut newest) {
                    Err(e) if *e.kind() == ErrorKind::Gone => (),
                    loaded => drop(loaded?),
                }
                Ok(newest.manifest)
            }
        }
    }

    /// Returns the tags of the newest manifest, or of the manifest that this handle knows.
    pub(crate) fn all_references(&self, newest: bool) -> Result<Vec<(TagName, TagEntry)>> {
        let known = || match &self.writer {
            Some(writer) => writer.lock().committer.known(),
            None => self.view.lock().manifest.clone(),
        };
        let manifest = if newest { self.newest()? } else { known() };
        Ok(sorted_tags(&manifest, &self.fetcher())?.iter().filter_map(entry_of).collect())
    }

    /// Returns the tags of the newest manifest, each with the number of bytes that its version needs although the newest version no longer
    /// uses them. The tables are read once for all tags.
    pub(crate) fn references_with_bytes(&self) -> Result<Vec<(TagName, TagEntry, u64)>> {
        let (manifest, fetcher) = (self.newest()?, self.fetcher());
        let tags = sorted_tags(&manifest, &fetcher)?;
        if tags.is_empty() {
            return Ok(Vec::new());
        }
        let dead = fetcher.tables(&manifest.tables, |_| None)?.dead;
        let with_bytes = |tag: &Tag| {
            let (name, entry) = entry_of(tag)?;
            Some((name, entry, bytes_held(&dead, tag.mark.version)))
        };
        Ok(tags.iter().filter_map(with_bytes).collect())
    }

    pub(crate) fn make_reference(
        &self,
        name: &TagName,
        at: Option<At>,
        how: Tagging,
    ) -> Result<(TagName, TagEntry)> {
        self.with_references(|w, view| w.tag(view, name, at, how))
    }

    /// Removes tags, and returns how many there were.
    pub(crate) fn remove_references(&self, names: &[TagName]) -> Result<usize> {
        self.with_references(|w, view| w.untag(view, names))
    }

    /// Calls `f`, and once more with the newest manifest if the references page of the known manifest was reclaimed.
    fn with_references<T>(&self, mut f: impl FnMut(&mut Writer, &mut View) -> Result<T>) -> Result<T> {
        self.with_view(|w, view| match f(w, view) {
            Err(e) if *e.kind() == ErrorKind::Gone && w.committer.refresh()? => f(w, view),
            done => done,
        })
    }

    /// Returns the objects that the version of a tag may use, with their bytes, and the number of bytes that the version needs although the
    /// newest version no longer uses them.
    pub(crate) fn held_by_tag(&self, name: &TagName) -> Result<(Vec<(Location, u64)>, u64)> {
        let manifest = self.newest()?;
        let fetcher = self.fetcher();
        let tag = all_tags(&manifest, &fetcher)?.into_iter().find(|tag| tag.name.as_str() == name.as_str());
        let Some(tag) = tag else { return Ok((Vec::new(), 0)) };
        let tables = fetcher.tables(&manifest.tables, |_| None)?;
        let version = tag.mark.version;
        let mut objects: Vec<(Location, u64)> = tables
            .usage
            .iter()
            .filter(|(_, usage)| usage.birth <= version)
            .map(|(object, usage)| (object.pack(), usage.total))
            .collect();
        let line = &manifest.line;
        let mut view = self.view.lock();
        let range = (line.base().min(version), version.min(line.version));
        for record in fetcher.records(line, range, &mut view.segments)? {
            let data = record.parts.iter().filter_map(|part| part.data());
            objects.extend(data.flat_map(|data| &data.notes.gained).map(|g| (g.object.pack(), g.bytes)));
        }
        Ok((objects, bytes_held(&tables.dead, version)))
    }
}
