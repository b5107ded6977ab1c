//! Tags: named versions that are retained regardless of the retention time.

use bytes::Bytes;

use super::branch::Opener;
use super::{Ledger, State};
use crate::branches::BranchName;
use crate::clock::micros;
use crate::error::{Error, ErrorKind, Result};
use crate::file::FileStorage;
use crate::memtable::EMPTY;
use crate::merged_view::Layers;
use crate::options::{Access, At, Options, Version};
use crate::storage_kinds::StorageKinds;
use crate::store::ObjectStorage;
use crate::tags::{Held, MAX_TAGS, TAG, TagEntry, TagName, Tagging};

/// The number of attempts to open a tagged version while other writers move its tag.
const MAX_OPENINGS: u32 = 16;
/// The latest time of a tag, in microseconds since 1970: some 70,000 years.
const MAX_TIME: u64 = 1 << 61;

/// A named version, which is retained as long as it has the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The name. If the entry of the tag is damaged, the other fields are empty.
    pub name: TagName,
    /// The tagged version; `None` if the entry is damaged.
    pub version: Option<Version>,
    /// The time at which the tag was created, or its version was last published, in microseconds since 1970-01-01 UTC.
    pub tagged: u64,
    /// The time from which on the tag may be [deleted](Ledger::delete_ended_tags), in the same unit; `None` if the tag has no end.
    pub until: Option<u64>,
    /// The number of bytes that the tag protects from being reused. The newest version may use a part of these bytes, too.
    pub bytes: u64,
}

/// The name of a tag, and its entry or the reason why the entry cannot be read.
type Found = (TagName, std::result::Result<TagEntry, &'static str>);

impl Tag {
    fn of((name, entry): Found) -> Self {
        let Ok(entry) = entry else { return Self { name, version: None, tagged: 0, until: None, bytes: 0 } };
        let (m, tagged, until, bytes) = (&entry.mark, entry.tagged, entry.until, entry.bytes());
        let version = Version::of((m.version, m.time), &m.author, m.bytes);
        Self { name, version: Some(version), tagged, until, bytes }
    }
}

impl Ledger {
    /// Returns the tags of the version that this handle sees, in the order of their names.
    ///
    /// # Errors
    /// Read errors.
    pub fn tags(&self) -> Result<Vec<Tag>> {
        if let Some(objects) = self.storage.as_objects() {
            let with_bytes = |(name, entry, bytes)| Tag { bytes, ..Tag::of((name, Ok(entry))) };
            return Ok(objects.references_with_bytes()?.into_iter().map(with_bytes).collect());
        }
        Ok(self.found_tags(&self.lock())?.into_iter().map(Tag::of).collect())
    }

    /// Returns the committed tags.
    fn found_tags(&self, s: &State) -> Result<Vec<Found>> {
        if let Some(objects) = self.storage.as_objects() {
            return references(objects, true);
        }
        self.tags_in_map(s)
    }

    fn tags_in_map(&self, s: &State) -> Result<Vec<Found>> {
        let below = Layers { over: [&EMPTY, &s.log], tree: self.tree(s.root) };
        let (lower, upper) =
            (std::ops::Bound::Included(&[TAG][..]), std::ops::Bound::Excluded(&[TAG + 1][..]));
        let found = below.scan(lower, upper, MAX_TAGS + 1)?;
        if found.len() > MAX_TAGS {
            return Err(Error::corrupt(self.storage.target(), "tags", "there are more than can be"));
        }
        let read = |(key, value): (Bytes, Bytes)| Some((TagName::of_key(&key)?, TagEntry::decode(&value)));
        let count = found.len();
        let tags: Vec<Found> = found.into_iter().filter_map(read).collect();
        if tags.len() < count {
            return Err(Error::corrupt(self.storage.target(), "tags", "a name that is none"));
        }
        Ok(tags)
    }

    /// Returns the committed tags that have readable entries.
    pub(crate) fn readable_tags(&self) -> Vec<(TagName, TagEntry)> {
        let found = self.found_tags(&self.lock()).unwrap_or_default();
        found.into_iter().filter_map(|(name, entry)| Some((name, entry.ok()?))).collect()
    }

    pub(super) fn found_tag(&self, is_it: &dyn Fn(&TagName, &TagEntry) -> bool) -> Result<Option<TagEntry>> {
        let found = self.found_tags(&self.lock())?;
        Ok(found
            .into_iter()
            .filter_map(|(n, e)| Some((n, e.ok()?)))
            .find(|(n, e)| is_it(n, e))
            .map(|(_, e)| e))
    }

    /// Reports to the file which space the tags protect. If a tag cannot be read, all space is protected.
    fn hold_tags(&self, file: &FileStorage, s: &State) {
        let held = match self.found_tags(s) {
            Ok(tags) if tags.iter().all(|(_, entry)| entry.is_ok()) => {
                Held::by(tags.iter().filter_map(|(_, entry)| entry.as_ref().ok()))
            }
            tags => {
                tracing::warn!(damaged = ?tags.err(), "a tag cannot be read, so no space is reclaimed");
                Held::Everything
            }
        };
        file.hold(held, s.version);
    }

    /// Calls [`hold_tags`](Self::hold_tags) if the map may contain tags. In a store, tags are references, which hold space by themselves.
    pub(super) fn hold_tags_if_any(&self, s: &State) {
        if let Some(file) = self.storage.as_file()
            && (file.may_have_tags() || s.knows_tags)
        {
            self.hold_tags(file, s);
        }
    }

    /// Tags a version (the newest version for `None`) in a commit of its own. When this returns, the tag is committed, and the version is
    /// retained until the tag is [deleted](Self::untag), or for as long as `how` says.
    ///
    /// # Errors
    /// `TagExists`; `NoSuchVersion` if the version is not retained; `Invalid` if changes are staged; the errors of
    /// [`commit`](Ledger::commit). `Conflict` if another writer committed first: then nothing has changed.
    pub fn tag(&self, name: TagName, at: Option<At>, how: Tagging) -> Result<Tag> {
        self.tag_with(&name, at, how, None)
    }

    /// Tags the base version of a new branch, and stages the record of the branch for the same commit.
    pub(super) fn tag_for_branch(&self, branch: BranchName, at: Option<At>) -> Result<Tag> {
        self.tag_with(&branch.tag(), at, Tagging::default(), Some(branch))
    }

    fn tag_with(
        &self,
        name: &TagName,
        at: Option<At>,
        how: Tagging,
        branch: Option<BranchName>,
    ) -> Result<Tag> {
        self.check_nothing_is_staged()?;
        if let Some(objects) = self.storage.as_objects() {
            return self.tag_by_reference(objects, name, at, how, branch);
        }
        let Some(file) = self.storage.as_file() else {
            return Err(Error::invalid(self.storage.target(), "a storage that has no tags"));
        };
        // The commit lock of a file keeps other writers from reclaiming the version until the tag is committed.
        let _lock = if self.is_multi_writer { Some(self.lock_commits()?) } else { None };
        self.see_newest()?;
        let result = self.make_tag(file, name, at, how, branch);
        let mut s = self.lock();
        s.knows_tags = true;
        self.hold_tags(file, &s);
        result
    }

    /// Creates a tag in a storage where tags are references: the version is protected from the swap on.
    fn tag_by_reference(
        &self,
        objects: &ObjectStorage,
        name: &TagName,
        at: Option<At>,
        how: Tagging,
        branch: Option<BranchName>,
    ) -> Result<Tag> {
        self.see_newest()?;
        if how.replace {
            self.check_holds_no_branch(name)?;
        }
        let (name, entry) = objects.make_reference(name, at, how)?;
        if let Some(branch) = branch {
            self.stage_branch_record(branch, &entry)?;
            if let Err(e) = self.commit() {
                self.unstage(&branch.record_key())?;
                return Err(e);
            }
        }
        // The newest version needs nothing but what it uses itself.
        let is_newest = entry.mark.version == self.version();
        let bytes = if is_newest { 0 } else { objects.held_by_tag(&name)?.1 };
        Ok(Tag { bytes, ..Tag::of((name, Ok(entry))) })
    }

    /// Creates a tag that is an entry of the map.
    fn make_tag(
        &self,
        file: &FileStorage,
        name: &TagName,
        at: Option<At>,
        how: Tagging,
        branch: Option<BranchName>,
    ) -> Result<Tag> {
        let tags = self.found_tags(&self.lock())?;
        let there = tags.iter().find(|(n, _)| n == name);
        if let Some((_, Ok(entry))) = there.filter(|_| !how.replace) {
            let (name, version) = (name.to_string(), entry.mark.version);
            return Err(self.fail(ErrorKind::TagExists { name, version }));
        }
        if there.is_some() {
            self.check_holds_no_branch(name)?;
        }
        if there.is_none() && tags.len() >= MAX_TAGS {
            let why = format!("there are {MAX_TAGS} tags, and there can be no more; delete some first");
            return Err(Error::invalid(self.storage.target(), why));
        }
        let mut entry = self.entry_for(file, at, &tags)?;
        // The entry may be a copy of the entry of another tag for the same version.
        entry.tagged = self.storage.present()?;
        entry.until = how.keep.map(|keep| entry.tagged.saturating_add(micros(keep)).min(MAX_TIME));
        self.keep_origin()?;
        self.put(&name.key(), entry.encode())?;
        branch.map_or(Ok(()), |branch| self.stage_branch_record(branch, &entry))?;
        self.commit_tag(name)?;
        Ok(Tag::of((*name, Ok(entry))))
    }

    /// Returns an entry for the version that `at` names: a new entry, or the entry of a tag that already protects the version.
    fn entry_for(&self, file: &FileStorage, at: Option<At>, tags: &[Found]) -> Result<TagEntry> {
        let read = || tags.iter().filter_map(|(name, entry)| Some((name, entry.as_ref().ok()?)));
        let version = match at {
            None => self.version(),
            Some(At::Version(version)) => version,
            Some(At::Time(time)) => {
                let found = self.storage.versions(usize::MAX)?.into_iter().find(|v| v.time <= time);
                found.ok_or_else(|| self.not_kept(At::Time(time)))?.number
            }
            Some(at @ (At::Branch(_) | At::Replaced(_))) => {
                let why = format!("{at} is no version of its own; name a version of the main line");
                return Err(Error::invalid(self.storage.target(), why));
            }
            Some(At::Tag(other)) => {
                let entry = read().find(|(name, _)| **name == other).map(|(_, entry)| entry.clone());
                return entry.ok_or_else(|| self.no_such_tag(&other, tags));
            }
        };
        if let Some(entry) = file.prepare_tag(version)? {
            return Ok(entry);
        }
        let kept = read().map(|(_, entry)| entry).find(|entry| entry.mark.version == version);
        kept.cloned().ok_or_else(|| self.not_kept(At::Version(version)))
    }

    /// Deletes a tag in a commit of its own. Its version is then reclaimed like other versions of its age: at once, or after the retention
    /// time.
    ///
    /// # Errors
    /// `NoSuchTag`; `Invalid` if changes are staged; the errors of [`commit`](Ledger::commit). `Conflict` if another writer committed
    /// first: then nothing has changed.
    pub fn untag(&self, name: TagName) -> Result<()> {
        let chosen = |tags: &[Found]| match tags.iter().any(|(n, _)| *n == name) {
            true => Ok(vec![name]),
            false => Err(self.no_such_tag(&name, tags)),
        };
        // A reference that this handle has observed is deleted without another look. The swap finds out if the tag was moved or deleted.
        if let Some(objects) = self.storage.as_objects()
            && let Ok(names) = references(objects, false).and_then(|tags| chosen(&tags))
        {
            self.check_nothing_is_staged()?;
            self.see_newest()?;
            self.check_holds_no_branch(&name)?;
            return match objects.remove_references(&names)? {
                0 => Err(self.no_such_tag(&name, &references(objects, false)?)),
                _ => Ok(()),
            };
        }
        self.delete_tags(chosen).map(drop)
    }

    /// Deletes a tag in a commit of its own, if it is still the tag that was created. Returns whether the tag was deleted. A tag that was
    /// deleted, moved or [published again](Self::publish) since then has another time; such a tag is left alone, and nothing is committed.
    /// The comparison uses the version that the commit follows, so that no other commit can come in between.
    ///
    /// # Errors
    /// The errors of [`untag`](Self::untag) except `NoSuchTag`.
    pub fn untag_if_unchanged(&self, made: &Tag) -> Result<bool> {
        let is_same = |(name, entry): &Found| {
            *name == made.name && entry.as_ref().is_ok_and(|entry| entry.tagged == made.tagged)
        };
        let deleted = self.delete_tags(|tags| {
            Ok(tags.iter().filter(|tag| is_same(tag)).map(|(name, _)| *name).collect())
        })?;
        Ok(!deleted.is_empty())
    }

    /// Gives an existing tag a later time, in a commit of its own, and changes nothing else. Returns `None` if the tag does not exist or is
    /// damaged. The creator of the tag recognises the renewal by the new time.
    pub(super) fn renew_tag(&self, name: &TagName) -> Result<Option<Tag>> {
        self.check_nothing_is_staged()?;
        let _lock = if self.is_multi_writer { Some(self.lock_commits()?) } else { None };
        self.see_newest()?;
        let Some(mut entry) = self.found_tag(&|other, _| other == name)? else { return Ok(None) };
        if let Some(objects) = self.storage.as_objects() {
            let how = Tagging { replace: true, keep: None };
            let renewed = objects.make_reference(name, Some(At::Version(entry.mark.version)), how)?;
            let bytes = objects.held_by_tag(name)?.1;
            return Ok(Some(Tag { bytes, ..Tag::of((renewed.0, Ok(renewed.1))) }));
        }
        // The time must differ from the old time even if the clock went backwards.
        entry.tagged = self.storage.present()?.max(entry.tagged.saturating_add(1));
        self.keep_origin()?;
        self.put(&name.key(), entry.encode())?;
        self.commit_tag(name)?;
        self.hold_tags_if_any(&self.lock());
        Ok(Some(Tag::of((*name, Ok(entry)))))
    }

    /// Deletes the tags that have ended according to the storage's clock, in a commit of its own, and returns their names. Their versions
    /// are then reclaimed like other versions of their age.
    ///
    /// # Errors
    /// The errors of [`untag`](Self::untag).
    pub fn delete_ended_tags(&self) -> Result<Vec<TagName>> {
        if let Some(file) = self.storage.as_file()
            && !file.may_have_tags()
            && !self.lock().knows_tags
        {
            return Ok(Vec::new());
        }
        self.delete_tags(|tags| {
            let now = self.storage.present()?;
            let is_over =
                |(name, entry): &Found| entry.as_ref().is_ok_and(|e| e.is_over(now)).then_some(*name);
            Ok(tags.iter().filter_map(is_over).collect())
        })
    }

    /// Deletes the tags that `choose` selects, in one commit, and returns their names. If it selects no tag, nothing is committed.
    fn delete_tags(&self, choose: impl FnOnce(&[Found]) -> Result<Vec<TagName>>) -> Result<Vec<TagName>> {
        self.check_nothing_is_staged()?;
        let _lock = if self.is_multi_writer { Some(self.lock_commits()?) } else { None };
        self.see_newest()?;
        let tags = self.found_tags(&self.lock())?;
        let chosen = choose(&tags)?;
        if chosen.is_empty() {
            return Ok(chosen);
        }
        chosen.iter().try_for_each(|name| self.check_holds_no_branch(name))?;
        if let Some(objects) = self.storage.as_objects() {
            objects.remove_references(&chosen)?;
            return Ok(chosen);
        }
        self.keep_origin()?;
        chosen.iter().try_for_each(|name| self.delete(&name.key()))?;
        self.commit_tags(&chosen)?;
        self.hold_tags_if_any(&self.lock());
        Ok(chosen)
    }

    /// Returns the number of bytes that only tags retain: deleting all tags would free them in time.
    ///
    /// # Errors
    /// `ReadOnly`; read errors.
    pub fn held_bytes(&self) -> Result<u64> {
        let s = self.writable()?;
        self.hold_tags_if_any(&s);
        self.storage.held_bytes()
    }

    fn check_nothing_is_staged(&self) -> Result<()> {
        let s = self.writable()?;
        if s.staged.is_empty() && s.spilled.is_none() && !self.storage.has_freed() {
            return Ok(());
        }
        Err(Error::invalid(self.storage.target(), "changes are staged; commit them before a tag is made"))
    }

    fn see_newest(&self) -> Result<()> {
        if self.is_multi_writer {
            self.advance(&|_| false)?;
        }
        Ok(())
    }

    /// Commits the staged change to a tag. Returns `Conflict` if another concurrent writer changed the same tag.
    fn commit_tag(&self, name: &TagName) -> Result<u64> {
        self.commit_tags(std::slice::from_ref(name))
    }

    fn commit_tags(&self, names: &[TagName]) -> Result<u64> {
        let done = self.commit();
        if done.is_err() && self.is_multi_writer {
            for name in names {
                let _what_is_staged_are_these_alone = self.unstage(&name.key());
                if let Some(branch) = BranchName::of_tag(name) {
                    let _and_this = self.unstage(&branch.record_key());
                }
            }
        } else if done.is_err() {
            let _what_is_staged_is_this_alone = self.rollback();
        }
        done
    }

    pub(super) fn not_kept(&self, at: At) -> Error {
        let kept = self.storage.versions(usize::MAX).unwrap_or_default();
        let newest = self.version();
        let (oldest, since) = kept.last().map_or((newest, 0), |v| (v.number, v.time));
        self.fail(ErrorKind::NoSuchVersion { asked: at.to_string(), kept: (oldest, newest), since })
    }

    fn no_such_tag(&self, name: &TagName, tags: &[Found]) -> Error {
        let tags = tags.iter().map(|(name, _)| name.to_string()).collect();
        self.fail(ErrorKind::NoSuchTag { name: name.to_string(), tags })
    }

    /// Returns the error for a tag that is missing or damaged.
    pub(super) fn not_found(&self, name: &TagName) -> Error {
        let tags = match self.found_tags(&self.lock()) {
            Ok(tags) => tags,
            Err(e) => return e,
        };
        match tags.iter().find(|(n, _)| n == name) {
            Some((_, Err(why))) => Error::corrupt(self.storage.target(), format!("tag '{name}'"), *why),
            _ => self.no_such_tag(name, &tags),
        }
    }

    /// Opens the version that `at` names. The version is found through a tag if `at` is a tag or if only a tag retains the version. `open`
    /// opens the container with the given options, at the version of a tag's entry if an entry is given.
    pub(super) fn open_past(at: At, opts: &Options, open: &Opener<'_>) -> Result<Self> {
        let newest = || open(&Options { at: None, salvage: false, ..opts.clone() }, Access::ReadOnly, None);
        let not_found = match at {
            At::Tag(name) => {
                let newest = newest()?;
                return match newest.open_tagged(&|n, _| *n == name, opts, open)? {
                    Some(ledger) => Ok(ledger),
                    None => Err(newest.not_found(&name)),
                };
            }
            At::Version(_) | At::Time(_) | At::Branch(_) | At::Replaced(_) => {
                match open(opts, Access::ReadOnly, None) {
                    Err(e) if matches!(e.kind(), ErrorKind::NoSuchVersion { .. }) => e,
                    opened => return opened,
                }
            }
        };
        let At::Version(version) = at else { return Err(not_found) };
        let newest = newest()?;
        newest.open_tagged(&|_, entry| entry.mark.version == version, opts, open)?.ok_or(not_found)
    }

    /// Opens the version of a tag. The tag is looked up again once the version is pinned, because until then a writer could delete the tag
    /// and reuse the space.
    fn open_tagged(
        &self,
        is_it: &dyn Fn(&TagName, &TagEntry) -> bool,
        opts: &Options,
        open: &Opener<'_>,
    ) -> Result<Option<Self>> {
        let mut found = self.found_tag(is_it)?;
        for _ in 0..MAX_OPENINGS {
            let Some(entry) = found else { return Ok(None) };
            let opened = open(opts, Access::ReadOnly, Some(entry.clone()));
            self.refresh()?;
            found = self.found_tag(is_it)?;
            let is_same = |old: &Self| old.identity() == self.identity();
            if found.as_ref() == Some(&entry) && opened.as_ref().map_or(true, is_same) {
                return opened.map(Some);
            }
        }
        Err(self.fail(ErrorKind::Conflict))
    }
}

/// Returns the tags of a storage where tags are references: those of the newest version, or those that this handle has observed.
fn references(objects: &ObjectStorage, newest: bool) -> Result<Vec<Found>> {
    let all = objects.all_references(newest)?;
    Ok(all.into_iter().map(|(name, entry)| (name, Ok(entry))).collect())
}
